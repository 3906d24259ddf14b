//! What would be done and why, what is waited for, what is refused: the items of a capability, and `bowline plan`.

use super::paper::{Paper, Tone};
use super::progress::percent;
use bowline_engine::{CapabilityReport, RefusalReport, Report, Risk, StepReport, WaitReport};
use bowline_ports::text::span;

/// Where the text of an item begins.
const INDENT: usize = 10;

/// The plan in a report, grouped by capability.
pub fn plan(report: &Report, colour: bool) -> String {
    let mut paper = Paper::new(colour);
    paper.title(Tone::Bold, &summary(report));
    settings(&mut paper, report);
    for capability in &report.capabilities {
        if has_items(capability) {
            paper.gap();
            paper.title(Tone::Bold, &capability.name);
            items(&mut paper, capability, report.at);
        }
    }
    paper.into_text()
}

fn summary(report: &Report) -> String {
    if report.settings.absent {
        return "nothing to do: no settings yet".into();
    }
    if report.is_empty() {
        let whose = if report.settings.errors.is_empty() { "its" } else { "the earlier" };
        return format!("nothing to do: the node is as {whose} settings say");
    }
    let count = |number: fn(&CapabilityReport) -> usize| report.capabilities.iter().map(number).sum::<usize>();
    let mut parts = vec![match count(|c| c.steps.len()) {
        0 => "nothing to do now".to_string(),
        1 => "1 step to do".into(),
        n => format!("{n} steps to do"),
    }];
    for (number, one, more) in [
        (count(|c| c.waits.len()), "wait", "waits"),
        (count(|c| c.refusals.len()), "refusal", "refusals"),
        (count(|c| usize::from(c.error.is_some())), "that cannot be looked at", "that cannot be looked at"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {}", if number == 1 { one } else { more }));
        }
    }
    parts.join(", ")
}

/// What a person has to know about settings: those that are missing, those that are not in force.
pub(super) fn settings(paper: &mut Paper, report: &Report) {
    if report.settings.absent {
        paper.gap();
        paper.entry(2, Tone::Busy, "wait", INDENT, "settings");
        detail(paper, "why: there is no settings file yet");
        detail(paper, "to do: write a file such as /etc/bowline/config.d/50-node.toml; it is seen at once");
    }
    if !report.settings.errors.is_empty() {
        paper.gap();
        paper.word("settings", INDENT, Tone::Bad, "invalid");
        for error in &report.settings.errors {
            paper.entry(2, Tone::Bad, "error", INDENT, error);
        }
        detail(paper, "to do: fix this; until then the earlier settings stay in force");
    }
}

pub(super) fn has_items(c: &CapabilityReport) -> bool {
    c.error.is_some() || !(c.steps.is_empty() && c.waits.is_empty() && c.refusals.is_empty() && c.notes.is_empty())
}

/// Everything that a capability has to say; ages are counted up to `now`.
pub(super) fn items(paper: &mut Paper, c: &CapabilityReport, now: i64) {
    if let Some(error) = &c.error {
        paper.entry(2, Tone::Bad, "error", INDENT, &format!("cannot look: {error}"));
    }
    for refusal in &c.refusals {
        refusal_item(paper, &c.name, refusal, now);
    }
    for step in &c.steps {
        step_item(paper, &c.name, step, now);
    }
    for wait in &c.waits {
        wait_item(paper, &c.name, wait, now);
    }
    for note in &c.notes {
        paper.entry(2, Tone::Dim, "note", INDENT, &titled(&c.name, &note.item, &note.text));
    }
}

/// `item: text`, without the item where it says no more than the capability does.
pub(super) fn titled(capability: &str, item: &str, text: &str) -> String {
    if item.is_empty() || item == capability { text.to_string() } else { format!("{item}: {text}") }
}

fn detail(paper: &mut Paper, text: &str) {
    paper.entry(INDENT, Tone::Plain, "", INDENT, text);
}

fn step_item(paper: &mut Paper, capability: &str, step: &StepReport, now: i64) {
    let (tone, lead) = match (&step.running, &step.failing) {
        (Some(_), _) => (Tone::Good, "doing"),
        (None, Some(_)) => (Tone::Bad, "failing"),
        (None, None) => (Tone::Busy, "do"),
    };
    paper.entry(2, tone, lead, INDENT, &titled(capability, &step.item, &step.what));
    detail(paper, &format!("why: {}", step.why));
    match step.risk {
        Risk::Safe => {}
        Risk::Restart => detail(paper, "risk: a service is restarted"),
        Risk::Erase => detail(paper, "risk: everything on the device is written over"),
    }
    if let Some(running) = &step.running {
        let percent = (running.total > 0).then(|| format!("{} %", percent(running)));
        let parts: Vec<_> =
            [Some(running.text.clone()), percent].into_iter().flatten().filter(|p| !p.is_empty()).collect();
        if !parts.is_empty() {
            detail(paper, &format!("now: {}", parts.join(", ")));
        }
    }
    if let Some(failing) = &step.failing {
        detail(paper, &format!("error: {}", failing.error));
        let ago = span(now - failing.since);
        let failed = match failing.attempts {
            0 => format!("held back {ago} ago"),
            1 => format!("failed {ago} ago"),
            times => format!("failed {times} times in {ago}"),
        };
        let next = if step.running.is_some() || failing.next_try <= now {
            "tried again now".to_string()
        } else {
            format!("tried again in {}", span(failing.next_try - now))
        };
        detail(paper, &format!("{failed}, {next}"));
        if let Some(hint) = &failing.hint {
            detail(paper, &format!("to do: {hint}"));
        }
    }
}

fn wait_item(paper: &mut Paper, capability: &str, wait: &WaitReport, now: i64) {
    let (tone, lead) = if wait.overdue.is_some() { (Tone::Bad, "overdue") } else { (Tone::Busy, "wait") };
    paper.entry(2, tone, lead, INDENT, &titled(capability, &wait.item, &lasting(&wait.what, now - wait.since)));
    detail(paper, &format!("why: {}", wait.why));
    if let Some(hint) = &wait.overdue {
        detail(paper, &format!("to do: {hint}"));
    }
}

/// What has lasted for some time, with that time.
fn lasting(what: &str, seconds: i64) -> String {
    if seconds > 0 { format!("{what}, for {}", span(seconds)) } else { what.to_string() }
}

fn refusal_item(paper: &mut Paper, capability: &str, refusal: &RefusalReport, now: i64) {
    let what = lasting(&refusal.what, now - refusal.since);
    paper.entry(2, Tone::Bad, "refused", INDENT, &titled(capability, &refusal.item, &what));
    detail(paper, &format!("why: {}", refusal.why));
    detail(paper, &format!("to do: {}", refusal.hint));
}
