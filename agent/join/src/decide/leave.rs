//! Out of the cluster, in good order. The volumes and the settings stay.

use super::{ITEM, issuers};
use crate::facts::Facts;
use crate::files::{Last, Left};
use crate::{Action, Join};
use bowline_engine::{Conditions, Plan, Wait};
use bowline_ports::condition;
use bowline_settings::Role;
use std::time::Duration;

/// For so long K3s may take to notice that it is no member of etcd any more.
const NOTICES: Duration = Duration::from_secs(30);

pub(super) fn plan(spec: &Join, facts: &Facts, left: &Left, now: &Conditions, plan: &mut Plan<Action>) {
    plan.state(condition::LEAVING, "yes");
    let name = facts.enrolled.as_ref().map(|enrolled| enrolled.name.clone());
    let name = name.or_else(|| now.get(condition::NAME).map(String::from)).unwrap_or_else(|| facts.name.clone());
    // Without it (a network that is gone) the servers are asked from whichever address there is.
    let who = Who { name, address: now.get(condition::ADDRESS).map(String::from) };
    let done = match spec.role {
        Role::Agent => agent(spec, facts, left, who, plan),
        Role::Server => server(facts, left, who, plan),
    };
    if done {
        // Who held no name had none to give back, and may have a Node all the same.
        let asked = spec.role == Role::Server || left.given_back.is_some();
        plan.state(condition::LEFT, if asked { "yes" } else { "unasked" });
        let why = "this machine was told to leave its cluster, and has; its volumes stay as they are";
        plan.waits.push(Wait::new(ITEM, "`bowline leave --undo`", why));
    }
}

/// Who leaves.
struct Who {
    name: String,
    address: Option<String>,
}

/// K3s stops, then the name is given back.
fn agent(spec: &Join, facts: &Facts, left: &Left, who: Who, plan: &mut Plan<Action>) -> bool {
    if !facts.down {
        stop(facts, "this machine was told to leave its cluster", plan);
    }
    if facts.stopping {
        return false;
    }
    if facts.enrolled.is_some() {
        asks(facts, left, who, issuers(spec, facts), "another machine may have the name at once", plan);
        return false;
    }
    facts.down
}

/// Asks the servers to take it out, or says for what they wait.
fn asks(facts: &Facts, left: &Left, who: Who, issuers: Vec<String>, why: &str, plan: &mut Plan<Action>) {
    // Longer than it may last, it is of an earlier boot.
    let due = |last: &Last| Some((last.at + last.again).saturating_sub(facts.uptime)).filter(|due| *due <= last.again);
    let due = left.last.as_ref().and_then(due).unwrap_or_default();
    // It stands while they are asked as well, or it would begin anew with each answer, and never be overdue.
    plan.waits.extend(left.last.as_ref().map(|last| {
        let wait = Wait::new(ITEM, "the servers to take it out of the cluster", last.message.clone());
        let wait = wait.deadline(last.code.patience(), last.code.hint(&who.name));
        if due > 0 { wait.poll(Duration::from_secs(due)) } else { wait }
    }));
    if due == 0 {
        let last = left.last.as_ref().map(|last| last.at);
        let Who { name, address } = who;
        plan.step(ITEM, Action::Leave { name, address, issuers, last }, why);
    }
}

/// Stops K3s, once.
fn stop(facts: &Facts, why: &str, plan: &mut Plan<Action>) {
    if facts.stopping {
        let wait = Wait::new(ITEM, "K3s to have stopped", "it is on its way down");
        plan.waits.push(wait.poll(Duration::from_secs(2)));
    } else {
        plan.step(ITEM, Action::Stop, why);
    }
}

/// The other servers take it out of etcd while it runs, or two of them would be no quorum; then K3s stops, once it has
/// noticed and left its mark for the next start.
fn server(facts: &Facts, left: &Left, who: Who, plan: &mut Plan<Action>) -> bool {
    if !facts.held {
        let why = "taken out of etcd it ends, and systemd would start it again: it would join anew";
        plan.step(ITEM, Action::Hold, why);
    }
    let Some(at) = left.given_back else {
        asks(facts, left, who, left.issuers.clone(), "the other servers take it out of the cluster", plan);
        return false;
    };
    if facts.down {
        return true;
    }
    if facts.removed.is_some() || facts.unix - at >= NOTICES.as_secs().cast_signed() {
        stop(facts, "this machine was told to leave its cluster, which goes on without it", plan);
    } else {
        let why = "it was taken out of etcd, and leaves a mark that it has to join anew";
        plan.waits.push(Wait::new(ITEM, "K3s to notice", why).poll(Duration::from_secs(1)));
    }
    false
}
