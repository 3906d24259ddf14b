//! `POST /v1/enroll`.

use super::{
    Decision, Life, No, Order, has_quorum_without, is_not_revoked, is_who_it_says, left, life, may_go, no_quorum,
};
use crate::act::Act;
use crate::claim::Claim;
use crate::code::{Code, Refusal};
use crate::facts::{Facts, Node, Read};
use crate::rules::{Admission, Wished, admit};
use crate::token::{BootstrapToken, LIFETIME};
use crate::wire::{EnrollRequest, Grant, JoinHint, Labels, PasswordHash, VERSION};
use crate::{NodeName, Role};
use std::time::Duration;

/// After how long without a word a joining server loses its place.
pub const JOIN_LASTS: Duration = Duration::from_secs(120);
/// How often it is to say that it still joins.
pub const JOIN_RENEW: Duration = Duration::from_secs(30);

/// How long a machine without a Node may need to have one again: it is told at once, or looks every 80 seconds while no watch
/// stands, restarts K3s 15 seconds later, and that takes a moment to come up. (A watch that stands and fell silent would be
/// noticed by the look of every five minutes only.)
const NODELESS: Duration = Duration::from_secs(180);
/// How long a joiner waits at most before it asks again about a living node.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Decides about a machine that wants to come in. `random` is used for a token, and only where one is minted.
///
/// Nothing is trusted but the proof: the body was parsed, not believed.
pub fn enroll(order: &Order<'_>, request: &EnrollRequest, facts: &Facts, random: &[u8; 24]) -> Decision<Grant> {
    match decide(order, request, facts, random) {
        Ok(decision) => decision,
        Err(no) => no.decision(order, &request.machine_key, facts),
    }
}

/// What the name is to this machine.
struct Standing<'a> {
    /// The claim is this machine's already.
    holds: bool,
    /// The Node that has to go first.
    old: Option<&'a Read<Node>>,
    /// A server that is to become a member of etcd.
    joins: bool,
}

fn decide(order: &Order<'_>, request: &EnrollRequest, facts: &Facts, random: &[u8; 24]) -> Result<Decision<Grant>, No> {
    let (role, name) = (request.role, &request.name);
    is_who_it_says(order.proven, role, name, &request.machine_key)?;
    let wished = Wished { labels: request.labels.0.clone(), taints: request.taints.clone() };
    let admission = admit(order.rules, role, name, order.peer, &wished)?;
    is_not_revoked(order.proven, facts)?;
    let Some(hash) = &request.node_password_hash else {
        return Err(Refusal::new(Code::BadRequest, "K3s needs the hash of the node password: it is missing").into());
    };
    let standing = standing(order, request, facts)?;
    if standing.joins {
        may_join(name, facts)?;
    }
    if standing.old.is_some() && !may_go(role, name, &facts.cluster) {
        return Err(no_quorum(&facts.cluster, name).into());
    }
    let mut acts = vec![claim(order, request, facts, &standing)];
    if standing.joins {
        let resource_version = facts.join.as_ref().map(|join| join.resource_version.clone());
        acts.push(Act::TakeJoin { holder: name.clone(), lasts: JOIN_LASTS, at: facts.now, resource_version });
    }
    // Before the old Node: with a token that still lives its machine could make the Node anew.
    acts.extend(
        facts.tokens.iter().map(|token| Act::DeleteToken { object: token.object.clone(), uid: token.uid.clone() }),
    );
    if let Some(old) = standing.old {
        if !old.value.deleting {
            acts.push(Act::delete_node(name, old));
            acts.extend(facts.password.as_ref().map(|password| Act::delete_password(name, password)));
        }
        let message = format!("the old Node {name} is being removed: {name} comes in when it is gone");
        return Ok(again(acts, message));
    }
    if standing.joins && facts.cluster.members.iter().any(|member| member.node == name.as_str()) {
        return Ok(again(acts, format!("K3s is taking the old etcd member of {name} out")));
    }
    password(&mut acts, name, facts, hash);
    let token = match role {
        Role::Server => facts.cluster.server_token.clone(),
        Role::Agent => {
            let token = BootstrapToken::from_random(random);
            let full = token.full(&facts.cluster.ca_hash);
            let expires = facts.now.saturating_add(LIFETIME.as_secs());
            acts.push(Act::MintToken { token, name: name.clone(), expires });
            full
        }
    };
    let mut answer = grant(admission, facts, token);
    answer.token_lasts = (role == Role::Agent).then_some(LIFETIME.as_secs());
    answer.join = standing.joins.then_some(JoinHint { lasts: JOIN_LASTS.as_secs(), renew: JOIN_RENEW.as_secs() });
    Ok(Decision::Answer { acts, answer: Box::new(answer) })
}

fn again(acts: Vec<Act>, message: String) -> Decision<Grant> {
    Decision::Again { acts, refusal: Refusal::new(Code::NotReady, message).retry(Duration::from_secs(1)) }
}

/// Who holds the name, and whether its old machine is gone.
fn standing<'a>(order: &Order<'_>, request: &EnrollRequest, facts: &'a Facts) -> Result<Standing<'a>, No> {
    let name = &request.name;
    let claim = facts.claim.as_ref().map(|claim| &claim.value);
    let holds = claim.is_some_and(|claim| claim.is_held_by(&request.machine_key, request.role));
    if let Some(claim) = claim
        && !holds
        // With a Node of its own it only was not written down yet: then the Node tells whether it lives.
        && (facts.node.is_none() || claim.replaces.is_some())
        && let Some(end) = claim.expires()
        && !facts.claim_is_over()
    {
        // By a clock that is not synchronised it ends no sooner than it was watched for as long as it lasts.
        let lasts = if facts.synchronised { 0 } else { end.saturating_sub(claim.issued) };
        let unwatched = lasts.saturating_sub(facts.lease_still_for.as_secs());
        let left = Duration::from_secs(end.saturating_sub(facts.now).max(unwatched));
        let message = format!(
            "machine {} was let in as {name} from {} and has not joined yet: its claim ends in {} seconds",
            claim.machine_key.short(),
            claim.from,
            left.as_secs()
        );
        return Err(Refusal::new(Code::ClaimedElsewhere, message).retry(left.min(LONGEST_WAIT)).into());
    }
    // A server that lost its data is another member of etcd, also with the same key: its old self has to go.
    let anew = request.role == Role::Server && request.fresh;
    let replaces = claim.is_some_and(|claim| claim.replaces.is_some());
    let old = facts.node.as_ref().filter(|_| !holds || replaces || anew);
    match old {
        Some(old) => {
            is_gone(order, name, &old.value, facts)?;
        }
        // Its Node was deleted, which a running kubelet survives: only time tells.
        None if !holds && facts.node.is_none() => {
            let was = claim.filter(|claim| claim.node_uid.is_some() && claim.revoked.is_none());
            if let Some(left) = was.and_then(|_| nodeless(order, facts)) {
                let message = format!("{name} has no Node, and its machine may live: it has to be silent for longer");
                return Err(No::watch(Refusal::new(Code::NodeIsAlive, message).retry(left.min(LONGEST_WAIT))));
            }
        }
        None => {}
    }
    let joins = request.role == Role::Server && (facts.node.is_none() || old.is_some());
    Ok(Standing { holds, old, joins })
}

/// For how much longer the machine of a claim has to be silent when its Node is not there. Without a Node no kubelet renews its
/// Lease: a living machine first has to notice, and to make its Node again. So is it whatever address the joiner speaks from: a pod
/// on the host's network has that of its node.
fn nodeless(order: &Order<'_>, facts: &Facts) -> Option<Duration> {
    left(facts, false, order.grace.max(NODELESS))
}

fn is_gone(order: &Order<'_>, name: &NodeName, node: &Node, facts: &Facts) -> Result<(), No> {
    let (message, wait) = match life(node, facts, order.peer, order.grace) {
        Life::Gone => return Ok(()),
        Life::Moving(left) => (
            format!(
                "the node {name} may be alive: its Lease has to stand still for {} seconds more",
                left.as_secs().max(1)
            ),
            left.max(Duration::from_secs(1)),
        ),
        Life::Speaking => (
            format!("the node {name} may be alive: the cluster has not given it up (Ready is not Unknown)"),
            Duration::from_secs(5),
        ),
    };
    Err(No::watch(Refusal::new(Code::NodeIsAlive, message).retry(wait.min(LONGEST_WAIT))))
}

/// Whether a server can join now: etcd, its turn, and a quorum.
fn may_join(name: &NodeName, facts: &Facts) -> Result<(), No> {
    if !facts.cluster.etcd {
        let message = "this cluster has its data in sqlite, on one server only: no other can join";
        return Err(Refusal::new(Code::NotReady, message).into());
    }
    if let Some(join) = &facts.join
        && let Some(holder) = &join.value.holder
        && holder != name
        && join.value.still_for < JOIN_LASTS
    {
        let left = JOIN_LASTS.saturating_sub(join.value.still_for);
        let message = format!("the server {holder} is joining: one at a time");
        return Err(No::watch(Refusal::new(Code::Busy, message).retry(left.min(Duration::from_secs(5)))));
    }
    if !has_quorum_without(&facts.cluster, name) {
        return Err(no_quorum(&facts.cluster, name).into());
    }
    Ok(())
}

fn claim(order: &Order<'_>, request: &EnrollRequest, facts: &Facts, standing: &Standing<'_>) -> Act {
    let before = facts.claim.as_ref();
    let mine = before.map(|claim| &claim.value).filter(|_| standing.holds);
    let node_uid = mine.and_then(|claim| claim.node_uid.clone()).filter(|_| standing.old.is_none());
    let valid = before.map(|claim| &claim.value).filter(|claim| claim.revoked.is_none());
    let claim = Claim {
        name: request.name.clone(),
        role: request.role,
        machine_key: request.machine_key,
        since: mine.map_or(facts.now, |claim| claim.since),
        issued: facts.now,
        from: order.peer.to_canonical(),
        addresses: request.addresses.clone(),
        node_uid,
        replaces: standing.old.map(|old| old.uid.clone()),
        revoked: None,
        barred: before.map(|claim| claim.value.refused_keys()).unwrap_or_default(),
        given: mine.map_or_else(|| Some(Vec::new()), |claim| claim.given.clone()),
        wished: Some(Wished { labels: request.labels.0.clone(), taints: request.taints.clone() }),
        refused: before.map(|claim| claim.value.refused.clone()).unwrap_or_default(),
        // Kept as they were until its machine asks for its own.
        persistent: valid.map(|claim| claim.persistent.clone()).unwrap_or_default(),
        forgotten: valid.map(|claim| claim.forgotten.clone()).unwrap_or_default(),
        removed: None,
    };
    match before {
        None => Act::CreateClaim(claim),
        Some(before) => Act::UpdateClaim { claim, resource_version: before.resource_version.clone() },
    }
}

/// The Secret that binds the name to who has the password. It cannot be changed: another one is made.
fn password(acts: &mut Vec<Act>, name: &NodeName, facts: &Facts, hash: &PasswordHash) {
    if let Some(there) = &facts.password {
        if there.value == hash.as_str() {
            return;
        }
        acts.push(Act::delete_password(name, there));
    }
    acts.push(Act::StorePassword { name: name.clone(), hash: hash.clone() });
}

fn grant(admission: Admission, facts: &Facts, token: bowline_settings::Secret) -> Grant {
    Grant {
        version: VERSION,
        token,
        token_lasts: None,
        issuers: facts.cluster.issuers.clone(),
        servers: facts.cluster.servers.clone(),
        agreed: facts.cluster.agreed.clone(),
        kubernetes: facts.cluster.kubernetes.clone(),
        labels: Labels(admission.labels),
        taints: admission.taints,
        cut: admission.cut,
        join: None,
        now: facts.now,
    }
}
