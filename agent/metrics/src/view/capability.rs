//! What is said of a capability: its state, and a line for everything that is not as it should be.

use super::html::escape;
use bowline_engine::{CapabilityReport, CapabilityState, StepReport};
use bowline_ports::text::about;
use std::fmt::Write;

pub(super) fn html(out: &mut String, capability: &CapabilityReport, now: i64) {
    let mut lines = String::new();
    for one in &capability.steps {
        step(&mut lines, one);
    }
    for wait in &capability.waits {
        let since = about((now - wait.since).max(0) as f64);
        let (word, tone) = if wait.overdue.is_some() { ("overdue", "bad") } else { ("waits", "busy") };
        let text = format!("for {}, for {since}: {}", wait.what, wait.why);
        line(&mut lines, &wait.item, (word, tone), &text, wait.overdue.as_deref());
    }
    for refusal in &capability.refusals {
        let text = format!("{}: {}", refusal.what, refusal.why);
        line(&mut lines, &refusal.item, ("refused:", "bad"), &text, Some(&refusal.hint));
    }
    if let Some(error) = &capability.error {
        line(&mut lines, "", ("cannot look:", "bad"), error, None);
    }
    for note in &capability.notes {
        line(&mut lines, &note.item, ("", ""), &note.text, None);
    }
    let (name, state) = (escape(&capability.name), capability.state.name());
    let (tone, quiet) = (tone(capability.state), if lines.is_empty() { " class=\"quiet\"" } else { "" });
    let _ = write!(out, "<li{quiet}><h3>{name}</h3> <span class=\"state {tone}\">{state}</span>");
    if !lines.is_empty() {
        let _ = write!(out, "<ul>{lines}</ul>");
    }
    out.push_str("</li>\n");
}

fn step(lines: &mut String, step: &StepReport) {
    if let Some(failing) = &step.failing {
        let times = match failing.attempts {
            0 => "held back:".into(),
            1 => "failed:".into(),
            times => format!("failed {times} times:"),
        };
        let text = format!("{}: {}", step.what, failing.error);
        return line(lines, &step.item, (&times, "bad"), &text, failing.hint.as_deref());
    }
    let word = match &step.running {
        Some(progress) if progress.total > 0 => {
            format!("under way, {:.0} %:", progress.done as f64 / progress.total as f64 * 100.0)
        }
        Some(_) => "under way:".into(),
        None => "to do:".into(),
    };
    line(lines, &step.item, (&word, "busy"), &step.what, None);
}

/// What it is about, a word on how it stands, and what a person can do.
fn line(lines: &mut String, item: &str, (word, tone): (&str, &str), text: &str, hint: Option<&str>) {
    lines.push_str("<li>");
    if !item.is_empty() {
        let colon = if word.is_empty() { ":" } else { "" };
        let _ = write!(lines, "<b>{}{colon}</b> ", escape(item));
    }
    if !word.is_empty() {
        let _ = write!(lines, "<span class=\"{tone}\">{word}</span> ");
    }
    lines.push_str(&escape(text));
    if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
        let _ = write!(lines, "<p class=\"hint\">{}</p>", escape(hint));
    }
    lines.push_str("</li>");
}

fn tone(state: CapabilityState) -> &'static str {
    match state {
        CapabilityState::Done => "good",
        CapabilityState::Working | CapabilityState::Waiting => "busy",
        CapabilityState::Overdue | CapabilityState::Refused | CapabilityState::Failing | CapabilityState::Unknown => {
            "bad"
        }
    }
}
