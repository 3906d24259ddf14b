//! What an issuer does without being asked: claims that never became a Node end, tokens that have served go, and the
//! Nodes of machines that are gone for long, where the settings say so; what rules grant follows the settings.

use crate::act::Act;
use crate::claim::Claim;
use crate::decide::may_go;
use crate::facts::{Facts, Read, Ready};
use crate::key::PublicKey;
use crate::persistent::{self, Change, Found};
use crate::{NodeName, Role, keep, rules};
use bowline_settings::EnrollRule;
use std::net::IpAddr;
use std::time::Duration;

/// What is to be cleaned up about one name. `facts` are those of a request about it, `remove_gone_after` is the setting
/// `enroll.remove-gone-after`.
pub fn name(name: &NodeName, facts: &Facts, remove_gone_after: Option<Duration>) -> Vec<Act> {
    let mut acts = Vec::new();
    let delete =
        |token: &crate::facts::Token| Act::DeleteToken { object: token.object.clone(), uid: token.uid.clone() };
    let Some(claim) = &facts.claim else {
        // A token outlives its claim only by a crash between two acts.
        return facts.tokens.iter().filter(|token| token.is_over(facts.now, facts.synchronised)).map(delete).collect();
    };
    let end = Act::end(claim, facts.now);
    let password = || facts.password.as_ref().map(|password| Act::delete_password(name, password));
    if claim.value.revoked.is_some() {
        // It stays until a machine comes in under the name, by another key: other servers may accept the old one still.
        acts.extend(facts.tokens.iter().map(delete));
        return acts;
    }
    if facts.claim_is_over() && (facts.node.is_none() || claim.value.replaces.is_some()) {
        // With a Node there, its password is that of the machine that was to be replaced.
        acts.extend(password().filter(|_| facts.node.is_none()));
        acts.extend(facts.tokens.iter().map(delete));
        let turn = facts.join.as_ref().filter(|join| join.value.holder.as_ref() == Some(name));
        acts.extend(turn.map(|join| Act::ReleaseJoin { resource_version: join.resource_version.clone() }));
        acts.push(end);
        return acts;
    }
    if remove_gone_after.is_some_and(|after| is_due(name, facts, after)) {
        match &facts.node {
            Some(node) if node.value.deleting => {}
            Some(node) => {
                // Whoever sweeps then knows that the name is to go with it: its Lease went, and tells nothing any more.
                if claim.value.removed.as_ref() != Some(&node.uid) {
                    acts.push(Act::UpdateClaim {
                        claim: Claim { removed: Some(node.uid.clone()), ..claim.value.clone() },
                        resource_version: claim.resource_version.clone(),
                    });
                }
                acts.push(Act::delete_node(name, node));
            }
            None => {
                acts.extend(password());
                acts.extend(facts.tokens.iter().map(delete));
                acts.push(end);
            }
        }
        return acts;
    }
    match facts.node.as_ref().filter(|node| !node.value.deleting && claim.value.replaces.is_none()) {
        Some(node) => acts.extend(crate::decide::becomes_node(claim, &node.uid, facts)),
        None => {
            acts.extend(facts.tokens.iter().filter(|token| token.is_over(facts.now, facts.synchronised)).map(delete))
        }
    }
    acts
}

/// What the rules grant a registered Node now, when that is not what it has. A Node that asks for something is answered
/// by [`crate::decide::node`].
pub fn granted(name: &NodeName, facts: &Facts, rules: &[EnrollRule]) -> Vec<Act> {
    let mut acts = Vec::new();
    let (Some(Read { value: claim, resource_version, .. }), Some(node)) = (&facts.claim, &facts.node) else {
        return acts;
    };
    if claim.revoked.is_some() {
        return acts;
    }
    // The Node is that of the claim, and not its predecessor's.
    if node.value.deleting || claim.node_uid.as_deref() != Some(node.uid.as_str()) || claim.replaces.is_some() {
        return acts;
    }
    let Some((labels, taints)) = keep::follow(rules, claim, &node.value) else { return acts };
    // Before the Node has them, as for one that asks.
    if claim.given.as_ref() != Some(&taints.given) {
        let claim = Claim { given: Some(taints.given), ..claim.clone() };
        acts.push(Act::UpdateClaim { claim, resource_version: resource_version.clone() });
    }
    let uid = node.uid.clone();
    if let Some(labels) = labels.apply {
        acts.push(Act::SetLabels { name: name.clone(), uid: uid.clone(), labels });
    }
    if let Some((taints, owned)) = taints.set {
        let resource_version = node.resource_version.clone();
        acts.push(Act::SetTaints { name: name.clone(), uid, resource_version, taints, owned });
    }
    acts
}

/// What is to be done about the persistent volumes that a node asked for last. What it asks for itself is answered by
/// [`crate::decide::node`]; here they are kept.
pub fn persistent_volumes(facts: &Facts, rules: &[EnrollRule]) -> Vec<Act> {
    let Some(claim) = &facts.claim else { return Vec::new() };
    let mut acts: Vec<Act> =
        keeps_volumes(&claim.value, &facts.persistent, rules).into_iter().map(Act::Persistent).collect();
    // Those that are gone are forgotten for good.
    let there = |name: &String| facts.persistent.volumes.iter().any(|volume| volume.value.name == *name);
    let left: Vec<String> = claim.value.forgotten.iter().filter(|name| there(name)).cloned().collect();
    if left.len() < claim.value.forgotten.len() {
        let (resource_version, claim) = (claim.resource_version.clone(), claim.value.clone());
        acts.push(Act::UpdateClaim { claim: Claim { forgotten: left, ..claim }, resource_version });
    }
    acts
}

/// The changes alone, of a claim as it was seen.
pub fn keeps_volumes(claim: &Claim, found: &Found, rules: &[EnrollRule]) -> Vec<Change> {
    let none = claim.persistent.is_empty() && claim.forgotten.is_empty();
    if none || claim.revoked.is_some() || claim.replaces.is_some() {
        return Vec::new();
    }
    let Ok(rule) = rules::rule(rules, claim.role, &claim.name, claim.from) else { return Vec::new() };
    let (permitted, _) = persistent::permitted(rule, &claim.name, &claim.persistent);
    let goes = |name: &str| claim.forgotten.iter().any(|forgotten| forgotten == name);
    persistent::reconcile(&claim.name, &permitted, found, goes).changes
}

/// Whether time alone brings something to clean up about a name: a token or a claim that ends, and where they are
/// removed (`enroll.remove-gone-after`) a Node that is silent.
pub fn is_under_way(facts: &Facts, removes: bool) -> bool {
    let claim = facts.claim.as_ref().map(|claim| &claim.value).filter(|claim| claim.revoked.is_none());
    let ends = claim.is_some_and(|claim| claim.expires().is_some());
    let silent = facts.node.as_ref().is_none_or(|node| node.value.ready == Ready::Unknown);
    !facts.tokens.is_empty() || ends || (claim.is_some() && removes && silent)
}

/// A server's turn to join, given back by itself: it has joined.
pub fn turn(own: &NodeName, facts: &Facts) -> Option<Act> {
    let join = facts.join.as_ref().filter(|join| join.value.holder.as_ref() == Some(own))?;
    let member = facts.cluster.members.iter().any(|member| member.node == own.as_str() && member.healthy);
    member.then(|| Act::ReleaseJoin { resource_version: join.resource_version.clone() })
}

/// For so long this issuer itself has watched a machine be silent, before it believes the API that it has been for longer. Each
/// restart of Bowline, and each read that fails, begins the watch anew: for days it would never come to its end. Of what the API
/// says no more is believed than the issuer's machine has been up, so that a cluster that was off has the time to come back.
pub const WATCHED: Duration = Duration::from_secs(300);

/// Whether a machine that was a Node has been silent for so long that its Node, or what is left of it, is to be removed.
pub fn is_due(name: &NodeName, facts: &Facts, after: Duration) -> bool {
    let Some(claim) = facts.claim.as_ref().map(|claim| &claim.value) else { return false };
    let was = claim.node_uid.is_some() && claim.revoked.is_none();
    let silent = facts.node.as_ref().is_none_or(|node| node.value.ready == Ready::Unknown);
    let quorum = facts.node.is_none() || may_go(claim.role, name, &facts.cluster);
    let told = match &facts.node {
        Some(node) => node.value.unknown_since.is_some_and(|since| {
            // Another server's clock says since when.
            let silent = Duration::from_secs(facts.now.saturating_sub(since));
            facts.synchronised && silent.min(facts.up) >= after
        }),
        None => claim.removed.is_some() && claim.removed == claim.node_uid,
    };
    let still_for = if told { after.min(WATCHED) } else { after };
    was && facts.lease_still_for >= still_for && silent && quorum
}

/// Persistent volumes of a machine that has left for good, or was revoked: those to which no claim is bound go. Their data
/// stay on the disk, and a machine that comes in under the name has them made again. One that a claim is bound to stays:
/// without it the claim would be lost for ever.
pub fn left_volumes(name: &NodeName, facts: &Facts) -> Vec<Act> {
    let left = match &facts.claim {
        // A server makes its own again, for as long as it runs.
        Some(claim) => claim.value.revoked.is_some() && (claim.value.role == Role::Agent || facts.node.is_none()),
        // Whoever came in by hand has no claim either.
        None => facts.node.is_none(),
    };
    if !left {
        return Vec::new();
    }
    persistent::unbound(name, &facts.persistent).into_iter().map(Act::Persistent).collect()
}

/// The claim of this server itself, which nobody let in: it founded the cluster, or had it before it had a cluster
/// key. None when there is nothing to write: also when another machine holds the name.
pub fn own(name: &NodeName, key: &PublicKey, address: IpAddr, facts: &Facts) -> Option<Act> {
    let node = facts.node.as_ref()?;
    match &facts.claim {
        None => Some(Act::CreateClaim(Claim {
            addresses: vec![address.to_canonical()],
            node_uid: Some(node.uid.clone()),
            // Its Node may have taints of the time of an earlier claim.
            given: None,
            ..Claim::new(name.clone(), Role::Server, *key, address.to_canonical(), facts.now)
        })),
        Some(claim) if claim.value.is_held_by(key, Role::Server) && claim.value.replaces.is_none() => {
            let stale = claim.value.node_uid.as_deref() != Some(node.uid.as_str());
            stale.then(|| Act::UpdateClaim {
                claim: Claim { node_uid: Some(node.uid.clone()), ..claim.value.clone() },
                resource_version: claim.resource_version.clone(),
            })
        }
        // Recreated with the cluster's data on a volume that was kept: the Node is the one of the claim, be it written down there
        // yet or not, and runs here.
        Some(claim)
            if claim.value.role == Role::Server
                && claim.value.revoked.is_none()
                && claim.value.replaces.is_none()
                && claim.value.node_uid.as_ref().is_none_or(|uid| *uid == node.uid) =>
        {
            Some(Act::UpdateClaim {
                claim: Claim {
                    machine_key: *key,
                    since: facts.now,
                    issued: facts.now,
                    from: address.to_canonical(),
                    addresses: vec![address.to_canonical()],
                    node_uid: Some(node.uid.clone()),
                    ..claim.value.clone()
                },
                resource_version: claim.resource_version.clone(),
            })
        }
        Some(_) => None,
    }
}
