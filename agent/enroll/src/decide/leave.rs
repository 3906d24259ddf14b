//! `POST /v1/leave`: the holder gives its name back.

use super::enroll::JOIN_LASTS;
use super::{Decision, No, Order, held, is_who_it_says, may_go, no_quorum};
use crate::act::Act;
use crate::code::{Code, Refusal};
use crate::facts::Facts;
use crate::wire::{LeaveAnswer, LeaveRequest, VERSION};
use std::time::Duration;

/// Decides about a machine that leaves. Its Kubernetes has stopped; what it has in the cluster goes, the claim last,
/// so that one who was interrupted can ask again.
pub fn leave(order: &Order<'_>, request: &LeaveRequest, facts: &Facts) -> Decision<LeaveAnswer> {
    match decide(order, request, facts) {
        Ok(decision) => decision,
        Err(no) => no.decision(order, &request.machine_key, facts),
    }
}

fn decide(order: &Order<'_>, request: &LeaveRequest, facts: &Facts) -> Result<Decision<LeaveAnswer>, No> {
    let name = &request.name;
    is_who_it_says(order.proven, request.role, name, &request.machine_key)?;
    let answer = Box::new(LeaveAnswer { version: VERSION });
    // The answer to an earlier request got lost. Of a name whose tickets were revoked once, a claim that nobody holds stays.
    let ended = facts
        .claim
        .as_ref()
        .is_none_or(|claim| claim.value.revoked.is_some() && !claim.value.refuses(order.proven.key_id()));
    if ended && facts.node.is_none() {
        return Ok(Decision::Answer { acts: Vec::new(), answer });
    }
    let claim = held(order.proven, &request.machine_key, facts)?;
    // Until its predecessor's Node is gone, the Node of this name is not the one that leaves.
    let own = facts.node.as_ref().filter(|_| claim.value.replaces.is_none());
    let turn = facts.join.as_ref().filter(|join| join.value.holder.as_ref() == Some(name));
    let release = turn.map(|join| Act::ReleaseJoin { resource_version: join.resource_version.clone() });
    let mut acts = Vec::new();
    let password = facts.password.as_ref().filter(|_| claim.value.replaces.is_none());
    if let Some(node) = own {
        if !may_go(request.role, name, &facts.cluster) {
            return Err(no_quorum(&facts.cluster, name).into());
        }
        // Its member goes with its Node from now on.
        acts.extend(release);
        if !node.value.deleting {
            acts.push(Act::delete_node(name, node));
        }
        let message = format!("the Node {name} is being removed");
        let refusal = Refusal::new(Code::NotReady, message).retry(Duration::from_secs(1));
        return Ok(Decision::Again { acts, refusal });
    }
    if let Some(turn) = turn.filter(|_| claim.value.node_uid.is_none())
        && let Some(left) = JOIN_LASTS.checked_sub(turn.value.still_for).filter(|left| !left.is_zero())
    {
        // Its member goes with its Node alone.
        let message = format!(
            "{name} is joining, and may be a member of etcd: it leaves as soon as it is a Node, or in {} seconds",
            left.as_secs()
        );
        return Err(No::watch(Refusal::new(Code::NotReady, message).retry(left.min(Duration::from_secs(5)))));
    }
    acts.extend(password.map(|password| Act::delete_password(name, password)));
    acts.extend(
        facts.tokens.iter().map(|token| Act::DeleteToken { object: token.object.clone(), uid: token.uid.clone() }),
    );
    acts.extend(release);
    acts.push(Act::end(claim, facts.now));
    Ok(Decision::Answer { acts, answer })
}
