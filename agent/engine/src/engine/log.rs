//! Journal lines: one for each change of how things stand, none for an idle look.
//!
//! Each kind of line has a stable `MESSAGE_ID`, so that `journalctl MESSAGE_ID=…` and alerting can rely on it.

use super::Key;
use crate::report::{Overall, Report};
use bowline_ports::PortError;
use std::borrow::Cow;
use std::collections::BTreeSet;

const STEP_DONE: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e01";
const STEP_FAILED: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e02";
const WAITING: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e03";
const OVERDUE: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e04";
const REFUSED: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e05";
const READY: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e06";
const BLIND: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e07";
const HELD_BACK: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e09";
const NOTE: &str = "0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e08";

pub(super) fn done(key: &Key, what: &str) {
    tracing::info!(message_id = STEP_DONE, capability = key.0, item = key.1, "done: {what}");
}

pub(super) fn failed(key: &Key, what: &str, error: &PortError) {
    tracing::warn!(message_id = STEP_FAILED, capability = key.0, item = key.1, "failed: {what}: {}", error.in_full());
}

pub(super) fn held_back(key: &Key, what: &str, why: &PortError) {
    tracing::warn!(message_id = HELD_BACK, capability = key.0, item = key.1, "held back: {what}: {}", why.in_full());
}

/// Writes what is in the new report and was not in the old one.
pub(super) fn differences(old: &Report, new: &Report) {
    let before: BTreeSet<_> = lines(old).into_iter().map(|line| line.key).collect();
    for line in lines(new).into_iter().filter(|line| !before.contains(&line.key)) {
        let Line { id, capability, item, text, .. } = line;
        if id == WAITING || id == NOTE {
            tracing::info!(message_id = id, capability, item, "{text}");
        } else {
            tracing::warn!(message_id = id, capability, item, "{text}");
        }
    }
    if new.overall == Overall::Ready && old.overall != Overall::Ready {
        tracing::info!(message_id = READY, "ready: the node is as its settings say");
    }
}

struct Line<'a> {
    key: (&'static str, &'a str, &'a str, Cow<'a, str>),
    id: &'static str,
    capability: &'a str,
    item: &'a str,
    text: String,
}

fn lines(report: &Report) -> Vec<Line<'_>> {
    let mut all = Vec::new();
    for c in &report.capabilities {
        let name = c.name.as_str();
        for w in &c.waits {
            let (id, text) = match &w.overdue {
                None => (WAITING, format!("waiting for {}: {}", w.what, w.why)),
                Some(overdue) => (OVERDUE, format!("still waiting for {}: {}; to do: {overdue}", w.what, w.why)),
            };
            // Another reason is another line. Seconds that are left and sizes that grow are none.
            let reason = format!("{}: {}", w.what, w.why).replace(|c: char| c.is_ascii_digit(), "");
            let key = (id, name, w.item.as_str(), Cow::from(reason));
            all.push(Line { key, id, capability: name, item: &w.item, text });
        }
        for r in &c.refusals {
            let text = format!("refused: {}: {} → {}", r.what, r.why, r.hint);
            all.push(Line {
                key: (REFUSED, name, &r.item, Cow::from(&r.why)),
                id: REFUSED,
                capability: name,
                item: &r.item,
                text,
            });
        }
        for n in &c.notes {
            all.push(Line {
                key: (NOTE, name, &n.item, Cow::from(&n.text)),
                id: NOTE,
                capability: name,
                item: &n.item,
                text: n.text.clone(),
            });
        }
        if let Some(error) = &c.error {
            let text = format!("cannot look at {name}: {error}");
            all.push(Line { key: (BLIND, name, "", Cow::from(error)), id: BLIND, capability: name, item: "", text });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{CapabilityReport, CapabilityState, WaitReport};

    fn waits_because(why: &str) -> Report {
        let wait =
            WaitReport { item: "k3s".into(), what: "K3s to stay up".into(), why: why.into(), since: 0, overdue: None };
        let cluster = CapabilityReport {
            name: "cluster".into(),
            state: CapabilityState::Waiting,
            steps: Vec::new(),
            waits: vec![wait],
            refusals: Vec::new(),
            notes: Vec::new(),
            error: None,
        };
        Report { capabilities: vec![cluster], ..Report::default() }
    }

    #[test]
    fn another_reason_is_another_line_and_a_number_that_changes_is_none() {
        let told = |why: &str| lines(&waits_because(why)).remove(0).key.3.into_owned();
        assert_eq!(
            told("it founds a cluster if nobody answers for 21 s more"),
            told("it founds a cluster if nobody answers for 9 s more")
        );
        assert_ne!(
            told("it ended with status 1; it said: nothing"),
            told("it ended with status 1; it said: no such flag")
        );
    }
}
