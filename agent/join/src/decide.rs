//! The plan: ask until let in, ask again when that is worth nothing any more, and ask for what only servers may do.

use crate::act::NO_ANSWER;
use crate::agree::{differences, taken_over};
use crate::facts::{Facts, Key};
use crate::files::{Enrolled, Last, MACHINE_KEY};
use crate::{Action, Join};
use bowline_engine::{Conditions, Plan, Wait};
use bowline_enroll::decide::JOIN_RENEW;
use bowline_ports::Ready;
use bowline_settings::{Filled, Role, STARTUP_TAINT, fill};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

const ITEM: &str = "join";
const NODE_ITEM: &str = "join/node";
const LET_IN: &str = "to be let into the cluster";
/// A token that ends so soon is asked for again: K3s has to get through with it.
const LEFT: i64 = 20;
/// After how long without success a machine that was let in asks again.
const DOUBT: i64 = 30;

pub(crate) fn plan(spec: &Join, facts: &Facts, now: &Conditions) -> Plan<Action> {
    let mut plan = Plan::default();
    match &facts.key {
        Key::There => {}
        Key::Absent => plan.step(ITEM, Action::MakeKey, "it tells this machine from another of the same name"),
        Key::Broken(why) => {
            plan.refuse(
                ITEM,
                "use the key of this machine",
                format!("{MACHINE_KEY}: {why}"),
                "bring it back from a backup, or remove it: then this is another machine to the cluster",
            );
            return plan;
        }
    }
    if facts.leaving {
        leave(spec, facts, now, &mut plan);
        return plan;
    }
    let ticket = match &facts.ticket {
        Ok(ticket) => ticket,
        Err((why, hint)) => {
            plan.refuse(ITEM, "come into the cluster", why.clone(), hint.clone());
            return plan;
        }
    };
    if !facts.password {
        plan.step(ITEM, Action::MakePassword, "K3s binds the node's name to it");
    }
    let (Some(name), Some(address)) = (now.get("name"), now.get("address")) else {
        plan.waits.push(Wait::new(ITEM, "the node's name and address", "the servers are told them"));
        return plan;
    };
    let server = spec.role == Role::Server;
    if server && !data_is_known(spec, now, &mut plan) {
        return plan;
    }
    // A member of etcd stays one when the cluster key changes.
    let member = server && facts.joined;
    let enrolled = facts
        .enrolled
        .as_ref()
        .filter(|e| facts.token && e.name == name && e.role == spec.role.as_str() && (e.ticket == *ticket || member));
    if enrolled.is_none() && (member || founds(spec, facts, &mut plan)) {
        plan.state("k3s-founds", "yes");
        return plan;
    }
    let issuers = issuers(spec, facts);
    let filled = fill(&spec.labels, |fact| now.get(&fact.condition()).map(String::from));
    let doubt = now.get("k3s-join");
    match reason(facts, enrolled, doubt) {
        None => {}
        Some(why) => {
            if let Some(last) = &facts.last
                && let Some(left) = (last.at + last.again).checked_sub(facts.uptime).filter(|left| *left > 0)
            {
                plan.waits.push(
                    Wait::new(ITEM, LET_IN, because(spec, last, facts.uptime))
                        .deadline(patience(&last.code), hint(&last.code, name))
                        .poll(Duration::from_secs(left)),
                );
            } else {
                let (name, address, labels) = (name.into(), address.into(), filled.labels.clone());
                let action = Action::Enroll { name, address, issuers: issuers.clone(), labels };
                plan.step(ITEM, action, why);
            }
        }
    }
    if let Some(enrolled) = enrolled {
        if server && !agree(spec, facts, enrolled, &mut plan) {
            return plan;
        }
        plan.state("enrolled", enrolled.ca.clone());
        plan.state("k3s-version", enrolled.kubernetes.clone());
        plan.state("k3s-servers", enrolled.servers.join(","));
        plan.state("cluster-cidr", enrolled.agreed.cluster_cidr.clone());
        if server {
            turn(facts, name, &issuers, &mut plan);
        } else {
            own_node(spec, facts, now, &Own { name, issuers: &issuers, filled: &filled }, &mut plan);
        }
    }
    plan
}

/// Out of the cluster: K3s stops, then the name is given back. The volumes and the settings stay.
fn leave(spec: &Join, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
    plan.state("leaving", "yes");
    let name = facts.enrolled.as_ref().map(|enrolled| enrolled.name.clone());
    let name = name.or_else(|| now.get("name").map(String::from)).unwrap_or_else(|| facts.host_name.clone());
    if !facts.down {
        plan.step(ITEM, Action::Stop, "this machine was told to leave its cluster");
    }
    if facts.enrolled.is_some() {
        let action = Action::Leave { name, issuers: issuers(spec, facts) };
        plan.step(ITEM, action, "another machine may have the name at once");
    } else if facts.down {
        plan.state("left", "yes");
        let why = "this machine was told to leave its cluster, and has; its volumes stay as they are";
        plan.waits.push(Wait::new(ITEM, "`bowline leave --undo`", why));
    }
}

/// Whether a server can tell if it has the cluster's data: that may be on a volume.
fn data_is_known(spec: &Join, now: &Conditions, plan: &mut Plan<Action>) -> bool {
    let missing = spec.volumes.iter().find(|volume| !now.is(&format!("volume/{volume}"), "ready"));
    if let Some(volume) = missing {
        plan.waits.push(Wait::new(ITEM, format!("volume {volume}"), "K3s's data may be on it"));
    }
    missing.is_none()
}

/// Whether a server founds the cluster: it may, and none of the others has answered for so long.
fn founds(spec: &Join, facts: &Facts, plan: &mut Plan<Action>) -> bool {
    let (Some(wait), Some(last)) = (spec.spec.init, &facts.last) else { return false };
    let since = last.silent_since.filter(|_| last.code == NO_ANSWER);
    let over = since.is_some_and(|since| facts.uptime.saturating_sub(since) >= wait.duration().as_secs());
    if over {
        let servers: Vec<_> = spec.spec.servers.iter().map(ToString::to_string).collect();
        plan.note(ITEM, format!("it founds a cluster: for {wait} none of {} has answered", servers.join(", ")));
    }
    over
}

fn because(spec: &Join, last: &Last, uptime: u64) -> String {
    match (spec.spec.init, last.silent_since) {
        (Some(wait), Some(since)) => {
            let left = wait.duration().as_secs().saturating_sub(uptime.saturating_sub(since));
            format!("{}; it founds a cluster if nobody answers for {left} s more", last.message)
        }
        _ => last.message.clone(),
    }
}

/// Takes over what the cluster's servers agreed on. False: these settings say something else.
fn agree(spec: &Join, facts: &Facts, enrolled: &Enrolled, plan: &mut Plan<Action>) -> bool {
    let taken = taken_over(&spec.config, &enrolled.agreed);
    if !taken.is_empty() {
        plan.state("k3s-options", serde_json::to_string(&taken).unwrap_or_default());
    }
    let all = differences(&spec.config, &enrolled.agreed);
    for difference in &all {
        let (option, ours, theirs) = (&difference.option, &difference.ours, &difference.theirs);
        plan.refuse(
            format!("join/{option}"),
            format!("be a server with {option} = {ours}"),
            format!("the cluster's servers have {option} = {theirs}, and all have to have the same"),
            format!("set `{option}` in [cluster.config] to what they have, or leave it out"),
        );
    }
    // One that is a member already goes on as it is.
    all.is_empty() || facts.joined
}

/// One server joins at a time; who does says so until it is up. Its own issuer gives the turn back.
fn turn(facts: &Facts, name: &str, issuers: &[String], plan: &mut Plan<Action>) {
    if facts.node.is_some() {
        return;
    }
    let about = "its turn to join";
    let due = facts.said.as_ref().map_or(0, |said| said.at + JOIN_RENEW.as_secs());
    match due.checked_sub(facts.uptime).filter(|left| *left > 0) {
        Some(left) => plan.waits.push(
            Wait::new(NODE_ITEM, "this server to be up", format!("it keeps {about} until then"))
                .poll(Duration::from_secs(left)),
        ),
        None => {
            let action = Action::AskForNode {
                name: name.into(),
                issuers: issuers.to_vec(),
                labels: BTreeMap::new(),
                asked: String::new(),
                settled: false,
                about: about.into(),
            };
            plan.step(NODE_ITEM, action, "one server joins at a time");
        }
    }
}

/// Why to ask the servers to be let in; `None` when there is no reason.
fn reason(facts: &Facts, enrolled: Option<&Enrolled>, doubt: Option<&str>) -> Option<String> {
    let Some(enrolled) = enrolled else {
        return Some(match &facts.enrolled {
            None => "it gets a credential for this one name and role".into(),
            Some(_) => "its name, role or ticket is another one now".into(),
        });
    };
    let left = enrolled.expires.map(|end| end - facts.unix);
    if !facts.joined && left.is_some_and(|left| left < LEFT) {
        return Some("the token that it was given has ended before K3s came up".into());
    }
    // Just let in, K3s needs a moment.
    let lately = left.is_some_and(|left| left > TOKEN_LASTS - DOUBT && left <= TOKEN_LASTS);
    doubt.filter(|_| !lately).map(|doubt| format!("the cluster does not take K3s: {doubt}"))
}

/// Seconds that a token lasts, by the contract.
const TOKEN_LASTS: i64 = 180;

/// Whom to ask: those of the settings, and those learnt.
fn issuers(spec: &Join, facts: &Facts) -> Vec<String> {
    let mut all: Vec<String> = spec.spec.servers.iter().map(ToString::to_string).collect();
    for learnt in facts.enrolled.iter().flat_map(|e| &e.issuers) {
        if !all.contains(learnt) {
            all.push(learnt.clone());
        }
    }
    all
}

fn patience(code: &str) -> Duration {
    match code {
        // What a person has to change does not come by itself.
        "not-let-in" | "outside-rules" | "revoked" | "bad-request" => Duration::ZERO,
        "node-is-alive" | "claimed-elsewhere" => Duration::from_secs(180),
        _ => Duration::from_secs(300),
    }
}

fn hint(code: &str, name: &str) -> String {
    match code {
        "not-let-in" => format!("make the ticket anew on a server: `bowline ticket --role agent {name}`"),
        "outside-rules" => "add a rule `[[enroll.allow]]` for it on the servers".into(),
        "revoked" => "the runbook for compromised nodes says how it comes in again".into(),
        "node-is-alive" | "claimed-elsewhere" => {
            format!("if another machine runs as {name}, stop it or give this one another `node.name`")
        }
        "no-answer" => "see that a server runs and is reached on TCP 7470; `bowline doctor` tries it".into(),
        _ => "see `bowline status` and `bowline doctor` on the servers".into(),
    }
}

/// What the servers are asked for, of whom.
struct Own<'a> {
    name: &'a str,
    issuers: &'a [String],
    filled: &'a Filled,
}

/// Waits for the facts that labels lack, and refuses what is no value of one: those labels are not asked for.
fn held(filled: &Filled, plan: &mut Plan<Action>) {
    for (key, fact) in &filled.missing {
        let wait = Wait::new(format!("join/{key}"), format!("the fact {fact}"), "the label is made of it");
        plan.waits.push(wait);
    }
    for (key, value) in &filled.wrong {
        plan.refuse(
            format!("join/{key}"),
            format!("have {key}={value}"),
            format!("“{value}” is no value of a label: at most 63 letters, digits, `-`, `_` and `.`"),
            format!("write a value of your own for {key} in [node] labels, or remove it"),
        );
    }
}

/// What the servers are asked for this Node: labels that a kubelet may not set, taints, the end of the startup taint.
fn own_node(spec: &Join, facts: &Facts, now: &Conditions, own: &Own<'_>, plan: &mut Plan<Action>) {
    let (name, issuers, filled) = (own.name, own.issuers, own.filled);
    held(filled, plan);
    // Changes of the Node that others see are worth another look.
    let _ = now.get("node-seen");
    let Some(node) = &facts.node else {
        if facts.joined {
            plan.waits.push(
                Wait::new(NODE_ITEM, "this machine's Node", "its labels and taints are the servers' to set")
                    .poll(Duration::from_secs(2)),
            );
        }
        return;
    };
    let volumes = spec.volumes.iter().all(|volume| now.is(&format!("volume/{volume}"), "ready"));
    let labels = now.get("labels") == Some("applied") && filled.missing.is_empty() && filled.wrong.is_empty();
    let settled = volumes && labels && node.ready == Ready::True;
    let held = node.taints.iter().any(|taint| taint.starts_with(STARTUP_TAINT));
    let wishes = serde_json::json!([node.uid, filled.labels, spec.taints, facts.ticket.as_ref().ok()]).to_string();
    let asked: String = hex::encode(Sha256::digest(wishes)).chars().take(16).collect();
    let said = facts.said.as_ref().filter(|said| said.asked == asked);
    let lost = said.is_some_and(|said| {
        let label = |(key, value): (&String, &String)| node.labels.get(key) != Some(value) && !cut(said, key);
        let taint = |taint: &bowline_settings::Taint| {
            let text = format!("{}={}:{}", taint.key, taint.value, taint.effect);
            !node.taints.contains(&text) && !cut(said, &taint.to_string())
        };
        said.labels.iter().any(label) || said.taints.iter().any(taint)
    });
    let free = settled && held;
    let about = match (said, lost, free) {
        (Some(_), false, false) => {
            if let Some(said) = said {
                told(said, plan);
            }
            if held {
                let missing = match (volumes, labels) {
                    (false, _) => "its volumes are not all there",
                    (true, false) => "its labels are not all there",
                    (true, true) => "the Node is not Ready",
                };
                plan.waits.push(Wait::new(NODE_ITEM, "the end of the startup taint", missing));
            } else {
                plan.state("node-settled", "yes");
            }
            return;
        }
        (None, ..) => "its labels, roles and taints",
        (Some(_), true, _) => "what its Node has lost",
        (Some(_), false, true) => "the end of the startup taint",
    };
    // Not more often than this, whatever they say.
    if let Some(left) = said.and_then(|said| (said.at + 5).checked_sub(facts.uptime)).filter(|left| *left > 0) {
        plan.waits
            .push(Wait::new(NODE_ITEM, about, "the servers were asked a moment ago").poll(Duration::from_secs(left)));
        return;
    }
    let action = Action::AskForNode {
        name: name.into(),
        issuers: issuers.to_vec(),
        labels: filled.labels.clone(),
        asked,
        settled,
        about: about.into(),
    };
    plan.step(NODE_ITEM, action, "a kubelet may not do it itself");
}

fn cut(said: &crate::files::Said, what: &str) -> bool {
    said.cut.iter().any(|cut| cut.what == what || cut.what.starts_with(&format!("{what}=")))
}

/// What was not given, as a refusal of each.
fn told(said: &crate::files::Said, plan: &mut Plan<Action>) {
    for cut in &said.cut {
        plan.refuse(
            format!("join/{}", cut.what),
            format!("have {}", cut.what),
            cut.why.clone(),
            "permit it in `[[enroll.allow]]` on the servers, or take it out of the settings",
        );
    }
    if let Some((code, message)) = &said.refused {
        plan.refuse(NODE_ITEM, "have labels and taints of this Node set", format!("{code}: {message}"), hint(code, ""));
    }
}

#[cfg(test)]
mod tests;
