//! `bowline status`: how the node stands.

use super::paper::{Paper, Tone};
use super::plan::{has_items, items, settings};
use bowline_engine::{CapabilityState, Overall, Report};
use bowline_ports::text::span;

/// The headline, every capability with its state and what it has to say, and how old all this is.
pub fn status(report: &Report, now: i64, colour: bool) -> String {
    let mut paper = Paper::new(colour);
    let (tone, word) = match report.overall {
        Overall::Ready => (Tone::Good, "ready"),
        Overall::Converging => (Tone::Busy, "converging"),
        Overall::Degraded => (Tone::Bad, "degraded"),
    };
    // The errors themselves follow.
    let headline = match report.settings.errors.as_slice() {
        [] if report.settings.absent => "no settings yet".into(),
        [] => report.headline(),
        _ => "the newest settings are invalid, the earlier ones stay in force".into(),
    };
    let said = headline.strip_prefix(word).and_then(|rest| rest.strip_prefix(':')).map(str::trim);
    paper.entry(0, tone, &format!("{word}:"), 2, said.unwrap_or(&headline));
    settings(&mut paper, report);
    paper.gap();
    let column = report.capabilities.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(8) + 2;
    for capability in &report.capabilities {
        if has_items(capability) {
            paper.gap();
        }
        paper.word(&capability.name, column, tone_of(capability.state), capability.state.name());
        items(&mut paper, capability, now);
        if has_items(capability) {
            paper.gap();
        }
    }
    paper.gap();
    paper.title(Tone::Dim, &footer(report, now));
    paper.into_text()
}

fn tone_of(state: CapabilityState) -> Tone {
    match state {
        CapabilityState::Done => Tone::Good,
        CapabilityState::Working | CapabilityState::Waiting => Tone::Busy,
        CapabilityState::Overdue | CapabilityState::Refused | CapabilityState::Failing | CapabilityState::Unknown => {
            Tone::Bad
        }
    }
}

fn footer(report: &Report, now: i64) -> String {
    let looked = match (report.at, report.looks) {
        (0, _) => "not looked yet".to_string(),
        (at, 0) => format!("not looked yet since it was started; before that, {} ago", span(now - at)),
        (at, _) => format!("looked {} ago", span(now - at)),
    };
    match report.settings.files.as_slice() {
        [] => format!("{looked}; no settings"),
        [one] => format!("{looked}; settings from {one}"),
        [first, rest @ ..] => format!("{looked}; settings from {first} and {} more", rest.len()),
    }
}
