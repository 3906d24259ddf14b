//! What an agent asks of the servers for its own Node, once it is in.

use super::NODE_ITEM;
use super::clock::{THEIR_CLOCK, asks_time};
use crate::facts::Facts;
use crate::files::Said;
use crate::why::Why;
use crate::{Action, Join};
use bowline_engine::{Conditions, Plan, Wait};
use bowline_enroll::persistent::Wish;
use bowline_enroll::wire::{Cut, Reason};
use bowline_ports::{NodeObject, Ready, condition, taint_text};
use bowline_settings::{Filled, STARTUP_TAINT};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// What the servers said of the name is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Persistent volumes that were not given.
const ASK_VOLUMES: Duration = Duration::from_secs(60);
/// What was not permitted: it may be by now, and the servers do not tell.
const ASK_DENIED: Duration = Duration::from_secs(600);
/// Where all is in place: other servers may let nodes in by now.
const ASK_ISSUERS: Duration = Duration::from_secs(6 * 3600);

/// How what they say of persistent volumes begins.
const VOLUME: &str = "the PersistentVolume ";

/// What the servers are asked for, of whom.
pub(super) struct Own<'a> {
    pub(super) name: &'a str,
    pub(super) address: &'a str,
    pub(super) issuers: &'a [String],
    pub(super) filled: &'a Filled,
}

/// Waits for the facts that labels lack, and refuses what is no value of one: those labels are not asked for.
fn held(filled: &Filled, plan: &mut Plan<Action>) {
    for (key, what, why) in filled.waits() {
        plan.waits.push(Wait::new(format!("join/{key}"), what, why));
    }
    for (key, value, why, hint) in filled.refusals() {
        plan.refuse(format!("join/{key}"), format!("have {key}={value}"), why, hint);
    }
}

/// What the servers are asked for this Node: labels that a kubelet may not set, taints, the end of the startup taint.
pub(super) fn plan(spec: &Join, facts: &Facts, now: &Conditions, own: &Own<'_>, plan: &mut Plan<Action>) {
    let (name, issuers, filled) = (own.name, own.issuers, own.filled);
    held(filled, plan);
    // Changes of the Node that others see are worth another look.
    let _ = now.get(condition::NODE_SEEN);
    let Some(node) = &facts.node else {
        if now.is(condition::NODE_LOST, "yes") {
            lost(spec, facts, now, own, "its Node was deleted", plan);
        } else if now.is(condition::API_SILENT, "yes") {
            lost(spec, facts, now, own, "the API of its cluster does not answer as it did", plan);
        } else if asks_time(facts) {
            lost(spec, facts, now, own, THEIR_CLOCK, plan);
        } else if facts.joined {
            plan.waits.push(
                Wait::new(NODE_ITEM, "this machine's Node", "its labels and taints are the servers' to set")
                    .poll(Duration::from_secs(2)),
            );
        }
        return;
    };
    let volumes = spec.volumes.iter().all(|volume| now.is(&condition::volume(volume), "ready"));
    let labels = now.get(condition::LABELS) == Some("applied") && filled.missing.is_empty() && filled.wrong.is_empty();
    let settled = volumes && labels && node.ready == Ready::True;
    let held = node.taints.iter().any(|taint| taint.starts_with(STARTUP_TAINT));
    let persistent = spec.wishes(own.name, now);
    let asked = asked(spec, facts, own, &node.uid, &persistent);
    let said = facts.said.as_ref().filter(|said| said.asked == asked);
    let lost = said.is_some_and(|said| {
        let label = |(key, value): (&String, &String)| node.labels.get(key) != Some(value) && !cut(said, key);
        let taint = |taint: &bowline_settings::Taint| {
            let text = taint_text(&taint.key, &taint.value, taint.effect.as_str());
            !node.taints.contains(&text) && !cut(said, &taint.to_string())
        };
        said.labels.iter().any(label) || said.taints.iter().any(taint)
    });
    let free = settled && held;
    let beside = beside(spec, own, node);
    // What somebody else kept may be free by now, or kept by another.
    let lost = lost || said.is_some_and(|said| !said.cut.is_empty() && said.beside != beside);
    let since = |said: &Said| Duration::from_secs(facts.uptime.saturating_sub(said.at));
    let old = said.is_some_and(|said| since(said) >= ASK_ISSUERS);
    let denied = |said: &Said| !said.cut.is_empty() || said.refused.is_some();
    let permitted = said.is_some_and(|said| denied(said) && since(said) >= ASK_DENIED);
    // Of a claim that is gone by now, or of a rule that was changed, nobody tells.
    let waits = |said: &&Said| {
        let mut names = said.cut.iter().filter_map(|cut| cut.what.strip_prefix(VOLUME));
        names.any(|name| persistent.iter().any(|wish| wish.name == name))
    };
    let again = said.filter(waits).map(|said| ASK_VOLUMES.saturating_sub(since(said)));
    let about = match (said, lost, free) {
        // What they said stands until the answer says otherwise.
        (Some(said), false, false) if old || permitted || asks_time(facts) || again == Some(Duration::ZERO) => {
            told(said, own.name, plan);
            match () {
                () if old => "which servers let nodes in by now",
                () if asks_time(facts) => "the time",
                () if permitted => "what was not permitted before",
                () => "its persistent volumes",
            }
        }
        (Some(_), false, false) => {
            if let Some(said) = said {
                told(said, own.name, plan);
            }
            if let Some(left) = again {
                let why = "the servers make what is not there yet, or may be permitted by now";
                plan.waits.push(Wait::new(NODE_ITEM, "its persistent volumes", why).poll(left));
            } else if let Some(said) = said.filter(|said| denied(said)) {
                let left = ASK_DENIED.saturating_sub(since(said));
                plan.waits
                    .push(Wait::new(NODE_ITEM, "what was not permitted", "it may be permitted by now").poll(left));
            }
            if held {
                let missing = match (volumes, labels) {
                    (false, _) => "its volumes are not all there",
                    (true, false) => "its labels are not all there",
                    (true, true) => "the Node is not Ready",
                };
                plan.waits.push(Wait::new(NODE_ITEM, "the end of the startup taint", missing));
            } else {
                plan.state(condition::NODE_SETTLED, "yes");
            }
            return;
        }
        (None, ..) if !persistent.is_empty() => "its labels, roles, taints and persistent volumes",
        (None, ..) => "its labels, roles and taints",
        (Some(_), true, _) => "what its Node lacks",
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
        address: own.address.into(),
        issuers: issuers.to_vec(),
        labels: filled.labels.clone(),
        asked,
        beside,
        settled,
        persistent,
        about: about.into(),
    };
    plan.step(NODE_ITEM, action, "a kubelet may not do it itself");
}

/// The Node was there, and is not any more, or cannot be read. Whether the name is still this machine's, or the cluster
/// another one, the servers say: they are asked every minute.
fn lost(spec: &Join, facts: &Facts, now: &Conditions, own: &Own<'_>, why: &str, plan: &mut Plan<Action>) {
    let persistent = spec.wishes(own.name, now);
    let asked = asked(spec, facts, own, "", &persistent);
    let fresh = |said: &&Said| said.asked == asked && facts.uptime.saturating_sub(said.at) < ASK_AGAIN.as_secs();
    match facts.said.as_ref().filter(fresh) {
        Some(said) if said.refused.is_none() => plan.state(condition::CLAIM, "held"),
        Some(said) => told(said, own.name, plan),
        None => {
            let about = "whether its name is still its own".to_string();
            let (name, address) = (own.name.into(), own.address.into());
            let (issuers, labels) = (own.issuers.to_vec(), own.filled.labels.clone());
            let (beside, settled) = (String::new(), false);
            let action =
                Action::AskForNode { name, address, issuers, labels, asked, beside, settled, persistent, about };
            plan.step(NODE_ITEM, action, why);
        }
    }
}

/// What is asked for, and about which Node, as a hash.
fn asked(spec: &Join, facts: &Facts, own: &Own<'_>, uid: &str, persistent: &[Wish]) -> String {
    short(&serde_json::json!([uid, own.filled.labels, spec.taints, facts.ticket.as_ref().ok(), persistent]))
}

/// What the Node has of what is asked for, as a hash.
fn beside(spec: &Join, own: &Own<'_>, node: &NodeObject) -> String {
    let labels: Vec<_> = own.filled.labels.keys().map(|key| (node.labels.get(key), node.managers.get(key))).collect();
    let wished = |text: &&String| spec.taints.iter().any(|taint| text.starts_with(&format!("{}=", taint.key)));
    let taints: Vec<_> = node.taints.iter().filter(wished).collect();
    short(&serde_json::json!([labels, taints]))
}

fn short(value: &serde_json::Value) -> String {
    hex::encode(Sha256::digest(value.to_string())).chars().take(16).collect()
}

fn cut(said: &Said, what: &str) -> bool {
    said.cut.iter().any(|cut| cut.what == what || cut.what.starts_with(&format!("{what}=")))
}

/// What helps where a label or taint was not given.
fn remedy(cut: &Cut, name: &str) -> String {
    let key = cut.what.split(['=', ':']).next().unwrap_or_default();
    match cut.reason {
        Reason::NotPermitted => {
            "permit it in `[[enroll.allow]]` on the servers, or take it out of the settings".to_owned()
        }
        Reason::Kept => {
            let kind = if cut.what.contains(':') { "taint" } else { "label" };
            format!("remove it there (`kubectl {kind} node {name} {key}-` on a server), or take it out of the settings")
        }
        Reason::Given => {
            "the rule decides: change it in `[[enroll.allow]]` on the servers, or take it out of the settings"
                .to_owned()
        }
        Reason::Never => "take it out of the settings, or of `grant` in `[[enroll.allow]]` on the servers".to_owned(),
    }
}

/// What was not given, as a refusal of each.
fn told(said: &Said, name: &str, plan: &mut Plan<Action>) {
    for cut in &said.cut {
        plan.refuse(
            format!("join/{}", cut.what),
            format!("have {}", cut.what),
            cut.why.clone(),
            match cut.what.strip_prefix(VOLUME) {
                Some(name) => format!(
                    "`kubectl describe pv {name}` on a server tells who uses it; for which claims this node may have \
                     volumes, `permit-claims` in [[enroll.allow]] says there"
                ),
                None => remedy(cut, name),
            },
        );
    }
    if let Some((code, message)) = &said.refused {
        plan.refuse(
            NODE_ITEM,
            "have labels and taints of this Node set",
            format!("{code}: {message}"),
            Why::Refused(*code).hint(name),
        );
    }
}
