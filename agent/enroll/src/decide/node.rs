//! `POST /v1/node`: what a node asks for itself, and only for itself.

use super::{Decision, JOIN_LASTS, No, Order, held, is_who_it_says};
use crate::Role;
use crate::act::Act;
use crate::claim::Claim;
use crate::code::{Code, Refusal};
use crate::facts::{Facts, Read, Ready, Token};
use crate::keep;
use crate::persistent;
use crate::rules::{Wished, admit, rule};
use crate::wire::{Labels, NodeAnswer, NodeRequest, Phase, VERSION};
use std::time::Duration;

/// Decides about a node's labels and taints, its place in the queue of servers, and its startup taint. A settled node
/// that has what it should have makes no write.
pub fn node(order: &Order<'_>, request: &NodeRequest, facts: &Facts) -> Decision<NodeAnswer> {
    match decide(order, request, facts) {
        Ok(decision) => decision,
        Err(no) => no.decision(order, &request.machine_key, facts),
    }
}

fn decide(order: &Order<'_>, request: &NodeRequest, facts: &Facts) -> Result<Decision<NodeAnswer>, No> {
    let (role, name) = (request.role, &request.name);
    is_who_it_says(order.proven, role, name, &request.machine_key)?;
    let claim = held(order.proven, &request.machine_key, facts)?;
    let wished = Wished { labels: request.labels.0.clone(), taints: request.taints.clone() };
    let admission = admit(order.rules, role, name, order.peer, &wished)?;
    if claim.value.replaces.is_some() {
        let message = format!("{name} was not let in yet: its predecessor's Node has to go first");
        return Err(Refusal::new(Code::NotReady, message).retry(Duration::from_secs(1)).into());
    }
    let mut cut = admission.cut;
    let mut acts = Vec::new();
    let node = facts.node.as_ref().filter(|node| !node.value.deleting);
    let taints = node.map(|node| {
        let (given, settled) = (claim.value.given.as_deref(), request.phase == Phase::Settled);
        keep::of_issuers(&admission.taints, &node.value, given, settled)
    });
    let mut next = Claim {
        // Before the Node has them: what a crash leaves there is known to be Bowline's.
        given: taints.as_ref().map_or_else(|| claim.value.given.clone(), |taints| Some(taints.given.clone())),
        node_uid: node.map(|node| node.uid.clone()).or_else(|| claim.value.node_uid.clone()),
        persistent: request.persistent_volumes.clone(),
        forgotten: persistent::forgotten(name, &request.persistent_volumes, &facts.persistent),
        // Who asks is not silent.
        removed: None,
        wished: Some(wished),
        ..claim.value.clone()
    };
    // The sweep decides by the address on record. It follows to another rule, and with what is written anyway: one who asks from two
    // addresses of one rule in turn makes nobody write.
    let here = rule(order.rules, role, name, order.peer)?;
    let same = rule(order.rules, role, name, claim.value.from).is_ok_and(|before| before == here);
    if !same || next != claim.value {
        next.from = order.peer.to_canonical();
    }
    acts.extend(becomes(claim, next));
    if node.is_some() {
        acts.extend(tokens_have_served(facts));
    }
    acts.extend(turn(request, facts));
    if let (Some(node), Some(taints)) = (node, taints) {
        let labels = keep::labels(&admission.labels, &node.value);
        cut.extend(labels.conflicts);
        if let Some(labels) = labels.apply {
            acts.push(Act::SetLabels { name: name.clone(), uid: node.uid.clone(), labels });
        }
        // After the labels: workloads come when the startup taint goes.
        cut.extend(taints.conflicts);
        if let Some((taints, owned)) = taints.set {
            let (uid, resource_version) = (node.uid.clone(), node.resource_version.clone());
            acts.push(Act::SetTaints { name: name.clone(), uid, resource_version, taints, owned });
        }
    }
    // Last: what the API refuses of them holds up nothing else.
    if !request.persistent_volumes.is_empty() || !facts.persistent.volumes.is_empty() {
        let (permitted, out) = persistent::permitted(here, name, &request.persistent_volumes);
        // What a rule no longer permits is not taken away: it is only not made.
        let goes = |name: &str| !request.persistent_volumes.iter().any(|wish| wish.name == name);
        let outcome = persistent::reconcile(name, &permitted, &facts.persistent, goes);
        cut.extend(out.into_iter().chain(outcome.cut));
        acts.extend(outcome.changes.into_iter().map(Act::Persistent));
    }
    let answer = NodeAnswer {
        version: VERSION,
        labels: Labels(admission.labels),
        taints: admission.taints,
        cut,
        registered: node.is_some(),
        issuers: facts.cluster.issuers.clone(),
        now: facts.now,
    };
    Ok(Decision::Answer { acts, answer: Box::new(answer) })
}

/// Tokens by which it became a Node have served, and the claim remembers that Node: last, so that whoever is interrupted does both
/// again. One that was given out since is for a machine that came back to its Node, and whose K3s is still to start with it.
pub(crate) fn becomes_node(claim: &Read<Claim>, uid: &str, facts: &Facts) -> Vec<Act> {
    let speaks = facts.node.as_ref().is_some_and(|node| node.value.ready != Ready::Unknown);
    let removed = claim.value.removed.clone().filter(|_| !speaks);
    let next = Claim { node_uid: Some(uid.to_owned()), removed, ..claim.value.clone() };
    let new = next.node_uid != claim.value.node_uid;
    let served = facts.tokens.iter().filter(|token| new || token.is_over(facts.now, facts.synchronised));
    served.map(delete_token).chain(becomes(claim, next)).collect()
}

fn delete_token(token: &Token) -> Act {
    Act::DeleteToken { object: token.object.clone(), uid: token.uid.clone() }
}

fn becomes(claim: &Read<Claim>, next: Claim) -> Option<Act> {
    let resource_version = claim.resource_version.clone();
    (next != claim.value).then_some(Act::UpdateClaim { claim: next, resource_version })
}

fn tokens_have_served(facts: &Facts) -> impl Iterator<Item = Act> {
    facts.tokens.iter().map(delete_token)
}

/// A server's place in the queue: kept while it joins, given back when it is a healthy member.
fn turn(request: &NodeRequest, facts: &Facts) -> Option<Act> {
    let join = facts.join.as_ref()?;
    if request.role != Role::Server || join.value.holder.as_ref() != Some(&request.name) {
        return None;
    }
    let resource_version = join.resource_version.clone();
    let member = facts.cluster.members.iter().any(|member| member.node == request.name.as_str() && member.healthy);
    let ready = facts.node.as_ref().is_some_and(|node| node.value.ready == Ready::True && !node.value.deleting);
    if member && ready {
        return Some(Act::ReleaseJoin { resource_version });
    }
    let name = request.name.clone();
    Some(Act::TakeJoin { holder: name, lasts: JOIN_LASTS, at: facts.now, resource_version: Some(resource_version) })
}
