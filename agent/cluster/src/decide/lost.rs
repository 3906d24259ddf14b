//! A Node that was deleted while K3s runs: a kubelet makes it at its start only, so that it does not come back by itself.

use super::ITEM;
use super::binary::outlived;
use crate::facts::Facts;
use crate::{Action, Cluster, caution, remover};
use bowline_engine::{Conditions, Plan, Risk, Wait};
use bowline_ports::records::Restart;
use bowline_ports::{ActiveState, condition};
use bowline_settings::Role;
use std::path::Path;
use std::time::Duration;

/// For so long who deleted it may have something in mind: its machine is told by then that its name is another's, and
/// a server's K3s has noticed that its member was taken out of etcd.
const THINKING: Duration = Duration::from_secs(15);
const WHAT: &str = "the Node to be there again";

/// Remembers the Node that is there; explains one that is not there any more, and restarts K3s for it. True when it is
/// lost.
pub(super) fn plan(spec: &Cluster, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) -> bool {
    if facts.removed && facts.unit.active == ActiveState::Active {
        removed(spec, facts, now, plan);
        return true;
    }
    if let Some(node) = &facts.node {
        // Its name is put on record with it, also where only that is missing or another machine's.
        if facts.node_seen.as_ref() != Some(&node.uid) || !facts.name_recorded {
            plan.step(ITEM, Action::SeeNode { uid: node.uid.clone() }, "if it is deleted, K3s has to be restarted");
        }
        return false;
    }
    let agent = spec.spec.role == Role::Agent;
    if agent && facts.api_error.is_some() && now.waited(ITEM, super::READY) >= THINKING {
        plan.state(condition::API_SILENT, "yes");
    }
    let answered = facts.unit.active == ActiveState::Active && facts.api_error.is_none();
    if !answered || facts.node_seen.is_none() {
        return false;
    }
    plan.state(condition::NODE_LOST, "yes");
    let why = "it was deleted while K3s runs, and a kubelet makes its Node at its start only";
    // A server that still answers is a member of its cluster, whose Node is its own.
    let asked = !agent || spec.token.is_none() || now.is(condition::CLAIM, "held");
    // With what lies in K3s's place it would not come up again.
    let starts = !outlived(facts);
    if asked && starts && now.waited(ITEM, WHAT) >= THINKING {
        let restart = Restart::of("its Node was deleted");
        plan.step_with(ITEM, Action::Restart(restart), why, Risk::Restart);
    } else {
        let why = match (asked, starts) {
            (_, false) => format!("{why}, and the file in K3s's place does not run"),
            (true, true) => why.to_string(),
            (false, true) => format!("{why}; the servers are asked first whether its name is still its own"),
        };
        plan.waits.push(Wait::new(ITEM, WHAT, why).poll(Duration::from_secs(1)));
    }
    true
}

/// What the owner of a K3s does that was taken out of etcd.
pub(super) fn by_its_owner(spec: &Cluster, token: &Path, now: &Conditions, verb: &str) -> String {
    format!(
        "see that its configuration has `server: {}` and `token-file: {}`, then `systemctl {verb} {}`",
        now.get(condition::K3S_SERVERS).and_then(|all| all.split(',').next()).unwrap_or_default(),
        token.display(),
        spec.service()
    )
}

/// A server whose Node was deleted is no member of etcd any more.
fn removed(spec: &Cluster, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
    let why = "its Node was deleted, and its member taken out of etcd with it";
    match &spec.token {
        // Its configuration is its owner's, and without a server in it this would begin a second cluster.
        Some(token) if facts.foreign() && now.get(condition::ENROLLED).is_some() => plan.refuse(
            ITEM,
            "be a server of the cluster",
            format!("{why}; it may join anew, and this K3s is somebody else's"),
            by_its_owner(spec, token, now, "restart"),
        ),
        // `join` says so by this condition, for which this is looked at again: then a restart is on record.
        Some(_) if now.is(condition::JOINS_ANEW, "yes") => plan.waits.push(Wait::new(ITEM, "K3s to be restarted", why)),
        Some(_) => plan.waits.push(Wait::new(ITEM, "the other servers to let it join anew", why)),
        None => {
            let unit = facts.unit_file.as_deref().unwrap_or_default();
            plan.refuse(
                ITEM,
                "be a server of the cluster",
                why,
                format!(
                    "set `servers` in [cluster] to the others: it joins anew with them; or, for this one to be none for good, \
                     take [cluster] out of the settings, then run `{}`{}",
                    remover(spec.spec.role, unit),
                    caution(unit)
                ),
            );
        }
    }
}
