//! The plan: ask until let in, ask again when that is worth nothing any more, and ask for what only servers may do.

mod alike;
mod clock;
mod data;
mod gone;
mod key;
mod leave;
mod own;
mod reason;

use crate::agree::{differences, two_networks};
use crate::facts::{Facts, NoTicket};
use crate::files::{ANSWERED, AnsweredBy, Enrolled, Last};
use crate::why::Why;
use crate::{Action, Join};
use alike::{agree, goes_on, of_one_kind, they_have};
use bowline_engine::{Conditions, Plan, Wait};
use bowline_enroll::decide::{JOIN_LASTS, JOIN_RENEW};
use bowline_ports::condition;
use bowline_settings::{Role, fill};
use std::collections::BTreeMap;
use std::time::Duration;

const ITEM: &str = "join";
const NODE_ITEM: &str = "join/node";
const LET_IN: &str = "to be let into the cluster";
/// For so long a file that is not there may just not have been brought yet.
const NOT_BROUGHT: Duration = Duration::from_secs(60);
/// Why a server asks again that was let in.
const LAPSED: &str = "one server joins at a time, and its turn has passed";
/// Why a server asks again whose K3s does not come in.
const ANOTHER: &str = "K3s does not stay up, nor reach the server that it joins: another one may take it";
/// When: others have had their turn by then.
const TURN_OVER: Duration = Duration::from_secs(150);
/// Why a member forgets what came of asking before.
const IS_IN: &str = "it is in: what came of asking before says nothing of the day when it has to ask again";
pub(crate) fn plan(spec: &Join, facts: &Facts, now: &Conditions) -> Plan<Action> {
    let mut plan = Plan::default();
    if let Some(left) = &facts.leaving {
        leave::plan(spec, facts, left, now, &mut plan);
        return plan;
    }
    if spec.role == Role::Server {
        gone::watch(facts, now, &mut plan);
    }
    if facts.removed.is_some() && facts.owed {
        plan.state(condition::JOINS_ANEW, "yes");
    }
    if facts.other_left {
        plan.step(ITEM, Action::ForgetLeft, "the disk of this machine is a copy of that one's");
    }
    if facts.held {
        plan.step(ITEM, Action::Release, "it is to be in its cluster again");
    }
    if spec.founds() {
        if let Err(none) = &facts.ticket {
            no_ticket("let nodes in", "the cluster key with which it lets nodes in", none, &mut plan);
        }
        gone::founder(facts, &mut plan);
        return plan;
    }
    if gone::runs_as_another(facts, &mut plan) {
        return plan;
    }
    let ticket = match &facts.ticket {
        Ok(ticket) => ticket,
        Err(none) => {
            let awaited = match spec.role {
                Role::Server => "the cluster key with which it joins",
                Role::Agent => "the ticket with which it joins",
            };
            no_ticket("come into the cluster", awaited, none, &mut plan);
            return plan;
        }
    };
    let server = spec.role == Role::Server;
    if server && !data_is_known(spec, now, &mut plan) {
        return plan;
    }
    // Not before there is a ticket: an image that is made without one is to have no key.
    if !key::plan(facts, spec.role, &mut plan) {
        return plan;
    }
    if !facts.password {
        plan.step(ITEM, Action::MakePassword, "K3s binds the node's name to it");
    }
    let (Some(name), Some(address)) = (now.get(condition::NAME), now.get(condition::ADDRESS)) else {
        plan.waits.push(Wait::new(ITEM, "the node's name and address", "the servers are told them"));
        return plan;
    };
    // A member of etcd stays one when the cluster key changes. K3s says that it is up when it has data, wherever they lie.
    let was_taken_out = facts.removed.is_some() || facts.gave_way;
    let has_founded = facts.up && spec.spec.init.is_some() && facts.enrolled.is_none() && !was_taken_out;
    let member = server && (facts.joined || has_founded);
    let enrolled = facts
        .enrolled
        .as_ref()
        .filter(|e| facts.token && e.name == name && e.role == spec.role.as_str() && (e.ticket == *ticket || member));
    if member && facts.answered.is_some() {
        plan.step(ITEM, Action::Forget, IS_IN);
    }
    let founds = !member && founds(spec, facts, &mut plan);
    if enrolled.is_none() && (member || founds) {
        if member && facts.last.is_some() && facts.answered.is_none() {
            plan.step(ITEM, Action::Forget, IS_IN);
        }
        data::plan(spec, facts, name, &mut plan);
        // Until it has a cluster's data somebody may answer, and then it founds none.
        if member {
            return plan;
        }
    }
    if server && enrolled.is_none() && !member && gone::begins(spec, facts, &mut plan) {
        return plan;
    }
    if let Some(service) = now.get(condition::K3S_ELSEWHERE) {
        let why =
            format!("K3s is installed here as {service}: its Node, which may be alive, would be taken away for it");
        plan.waits.push(Wait::new(ITEM, LET_IN, why));
        return plan;
    }
    if gone::gives_way(facts, spec.role, enrolled.is_some(), name, &mut plan) {
        return plan;
    }
    let issuers = issuers(spec, facts);
    let filled = fill(&spec.labels, |fact| now.get(&fact.condition()).map(String::from));
    let doubt = now.get(condition::K3S_JOIN).filter(|words| !(server && facts.joined) || reason::is_of_itself(words));
    let lapsed = server && enrolled.is_some_and(|enrolled| lapsed(spec, facts, enrolled));
    let why = match (lapsed, server && is_alone(facts, now)) {
        (true, _) => Some(LAPSED.to_owned()),
        (_, stands) => reason::to_ask(facts, enrolled, doubt).or_else(|| stands.then(|| ANOTHER.to_owned())),
    };
    match why {
        None => {}
        Some(why) => {
            let left = facts.last.as_ref().map_or(0, |last| (last.at + last.again).saturating_sub(facts.uptime));
            // It stands while they are asked as well, or it would begin anew with each answer, and never be overdue.
            plan.waits.extend(facts.last.as_ref().map(|last| {
                let wait = Wait::new(ITEM, LET_IN, because(spec, last, facts));
                let wait = wait.deadline(last.code.patience(), last.code.hint(name));
                if left > 0 { wait.poll(Duration::from_secs(left)) } else { wait }
            }));
            if left == 0 {
                let (name, address, labels) = (name.into(), address.into(), filled.labels.clone());
                let last = facts.last.as_ref().map(|last| last.at);
                let action = Action::Enroll { name, address, issuers: issuers.clone(), labels, last };
                plan.step(ITEM, action, why);
            }
        }
    }
    if let Some(enrolled) = enrolled.filter(|_| !lapsed) {
        let fits = match spec.role {
            Role::Server if facts.joined => {
                goes_on(spec, enrolled, &mut plan);
                true
            }
            Role::Server => agree(spec, enrolled, they_have, &mut plan),
            Role::Agent => of_one_kind(enrolled, &mut plan),
        };
        // One that is a member already goes on as it is.
        if !fits && !facts.joined {
            return plan;
        }
        comes_in(enrolled, &mut plan);
        // A server whose Node is there asks nobody any more: what was said of its clock is soon old.
        if !(server && facts.node.is_some() && clock::is_past(facts)) {
            clock::plan(facts, address, &mut plan);
        }
        if server {
            turn(facts, (name, address), &issuers, now, &mut plan);
        } else {
            own::plan(spec, facts, now, &own::Own { name, address, issuers: &issuers, filled: &filled }, &mut plan);
        }
    }
    plan
}

/// A file that may still come is waited for; one that is wrong is refused.
fn no_ticket(what: &str, awaited: &str, none: &NoTicket, plan: &mut Plan<Action>) {
    if none.missing {
        let wait = Wait::new(ITEM, awaited, none.why.clone());
        plan.waits.push(wait.deadline(NOT_BROUGHT, none.hint.clone()).poll(Duration::from_secs(2)));
    } else {
        plan.refuse(ITEM, what, none.why.clone(), none.hint.clone());
    }
}

/// Whether a server can tell if it has the cluster's data: that may be on a volume.
fn data_is_known(spec: &Join, now: &Conditions, plan: &mut Plan<Action>) -> bool {
    let missing = spec.volumes.iter().find(|volume| !now.is(&condition::volume(volume), "ready"));
    if let Some(volume) = missing {
        plan.waits.push(Wait::new(ITEM, format!("volume {volume}"), "K3s's data may be on it"));
    }
    missing.is_none()
}

/// Whether a server founds the cluster: it may, and none of the others has answered for so long, nor may just now. One that
/// has heard of a cluster founds none: it was answered, taken out of it, or replaced in it.
fn founds(spec: &Join, facts: &Facts, plan: &mut Plan<Action>) -> bool {
    let (Some(wait), Some(last), false) = (spec.spec.init, &facts.last, facts.has_cluster(spec)) else {
        return false;
    };
    // While they are asked once more, one may be about to answer. A K3s that was started goes on meanwhile.
    let silent_yet = facts.uptime < last.at + last.again || (!facts.down && facts.founding);
    let over = silent_yet && silence(spec, last, facts).is_some_and(|silent| silent >= wait.duration().as_secs());
    if over {
        plan.note(ITEM, format!("it founds a cluster: for {wait} none of {} has answered", spec.asked().join(", ")));
    }
    over
}

/// For how many seconds none of the servers in the settings has answered.
fn silence(spec: &Join, last: &Last, facts: &Facts) -> Option<u64> {
    let since = last.silent_since.filter(|_| last.code == Why::NO_ANSWER && last.asked == spec.asked());
    since.map(|since| facts.uptime.saturating_sub(since))
}

fn because(spec: &Join, last: &Last, facts: &Facts) -> String {
    match (spec.spec.init.filter(|_| !facts.has_cluster(spec)), silence(spec, last, facts)) {
        (Some(wait), Some(silent)) => match wait.duration().as_secs().saturating_sub(silent) {
            0 => format!("{}; it founds a cluster if nobody answers before its K3s has data", last.message),
            left => format!("{}; it founds a cluster if nobody answers for {left} s more", last.message),
        },
        _ => format!("{}{}", last.message, for_good(spec, last, facts)),
    }
}

/// What is so where a server that may found was answered once, and nobody answers any more.
fn for_good(spec: &Join, last: &Last, facts: &Facts) -> String {
    let silent = last.code == Why::NO_ANSWER;
    // Another reason would stay.
    let else_free = facts.removed.is_none() && !facts.gave_way;
    match facts.answered_by(spec).filter(|_| silent && else_free) {
        Some(AnsweredBy { by, .. }) => {
            let by = if by.is_empty() { "a server of the cluster" } else { by };
            format!(
                "; {by} answered before, so it founds none: if that cluster is gone for good, `rm {ANSWERED}` lets it found another"
            )
        }
        None => String::new(),
    }
}

/// With what it was let in with.
fn comes_in(enrolled: &Enrolled, plan: &mut Plan<Action>) {
    plan.state(condition::ENROLLED, enrolled.ca.clone());
    plan.state(condition::K3S_VERSION, enrolled.kubernetes.clone());
    plan.state(condition::K3S_SERVERS, enrolled.servers.join(","));
    plan.state(condition::CLUSTER_CIDR, enrolled.agreed.cluster_cidr.clone());
}

/// Whether a server that was let in has lost its turn to join before K3s was started: it was down, or waited for its settings to be
/// mended. With settings that differ from the cluster's it does not ask for another one, which others may need.
fn lapsed(spec: &Join, facts: &Facts, enrolled: &Enrolled) -> bool {
    let over = facts.heard.is_none_or(|at| facts.uptime.saturating_sub(at) >= JOIN_LASTS.as_secs());
    // One that was started has lost its data, or does not see them just now: to be let in anew would end its member.
    let never = !facts.joined && !facts.enabled && !facts.was_up && facts.removed.is_none() && !facts.gave_way;
    let agreed = &enrolled.agreed;
    never && facts.down && over && differences(&spec.config, agreed).is_empty() && two_networks(agreed).is_none()
}

/// Whether K3s of a server that is no member yet has long not come in, since it does not reach the one that it joins. Who lets it in
/// names its own K3s as the first to join; nothing else would be another's to cure, and each try takes the turn from others.
fn is_alone(facts: &Facts, now: &Conditions) -> bool {
    let unreached = now.is(condition::K3S_CRASHES, "yes") && now.get(condition::K3S_UNREACHED).is_some();
    let long = facts.heard.is_none_or(|at| facts.uptime.saturating_sub(at) >= TURN_OVER.as_secs());
    unreached && !facts.joined && !facts.was_up && !facts.foreign && long
}

/// One server joins at a time; who does says so until it is up. Its own issuer gives the turn back. One that was up
/// before learns by the same answer that its name is another machine's.
fn turn(facts: &Facts, node: (&str, &str), issuers: &[String], now: &Conditions, plan: &mut Plan<Action>) {
    if facts.node.is_some() {
        return;
    }
    // Not so long that others cannot join. One that was up before holds no turn, and has to learn whose its name is.
    if !facts.was_up && now.is(condition::K3S_CRASHES, "yes") {
        let why = "K3s does not stay up: other servers may join meanwhile";
        plan.waits.push(Wait::new(NODE_ITEM, "this server to be up", why).poll(JOIN_RENEW));
        return;
    }
    if facts.removed.is_some() && facts.foreign {
        let why = "its K3s is somebody else's, who starts it: other servers may join meanwhile";
        plan.waits.push(Wait::new(NODE_ITEM, "this server to be up", why));
        return;
    }
    let about = "its turn to join";
    let due = facts.said.as_ref().map_or(0, |said| said.at + JOIN_RENEW.as_secs());
    match due.checked_sub(facts.uptime).filter(|left| *left > 0) {
        Some(left) => {
            let trouble = facts.said.as_ref().and_then(|said| said.trouble.as_ref());
            let why = match trouble {
                None => format!("it keeps {about} until then"),
                Some(trouble) => format!("it asks for {about} again: {trouble}"),
            };
            plan.waits.push(Wait::new(NODE_ITEM, "this server to be up", why).poll(Duration::from_secs(left)));
        }
        None => {
            let action = ask_briefly(node, issuers, about);
            plan.step(NODE_ITEM, action, "one server joins at a time");
        }
    }
}

/// A server asks for nothing but an answer: whose its name is, and its turn. An agent that asked so would lose its labels.
fn ask_briefly((name, address): (&str, &str), issuers: &[String], about: &str) -> Action {
    Action::AskForNode {
        name: name.into(),
        address: address.into(),
        issuers: issuers.to_vec(),
        labels: BTreeMap::new(),
        asked: String::new(),
        beside: String::new(),
        settled: false,
        persistent: Vec::new(),
        about: about.into(),
    }
}

/// Whom to ask: those of the settings, and those learnt.
fn issuers(spec: &Join, facts: &Facts) -> Vec<String> {
    let mut all = spec.asked();
    for learnt in facts.enrolled.iter().flat_map(|e| &e.issuers) {
        if !all.contains(learnt) {
            all.push(learnt.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests;
