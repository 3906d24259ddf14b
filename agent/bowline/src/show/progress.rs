//! Steps under way: one bar that is drawn over on a terminal, a line at the start and one at the end elsewhere.

use super::paper::{Paper, Tone, WIDTH};
use super::plan::titled;
use bowline_engine::{Report, StepReport};
use bowline_ports::ProgressValue;
use bowline_ports::text::{bytes, clean, span};
use std::collections::BTreeMap;
use std::io::Write;

/// Columns of a bar, its brackets not counted.
const BAR: usize = 20;
/// A line that fills a terminal would make it begin another.
const ROOM: usize = WIDTH - 1;

/// Follows reports. Nobody is told when writing fails: the work goes on without a reader.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    /// Title -> what was seen under way.
    running: BTreeMap<String, Begun>,
    /// Columns of the line that is to be drawn over.
    drawn: usize,
    /// What was last said to be waited for.
    waiting: String,
}

/// A step under way.
#[derive(Debug)]
struct Begun {
    /// Its capability and its item.
    of: (String, String),
    /// When it was seen first.
    at: i64,
}

impl Progress {
    /// For a terminal, or for a file, a pipe, a journal.
    pub(crate) fn new(terminal: bool) -> Self {
        Self { terminal, running: BTreeMap::new(), drawn: 0, waiting: String::new() }
    }

    /// Shows what has changed since the report before.
    pub(crate) fn show(&mut self, report: &Report, out: &mut dyn Write) {
        let steps: Vec<(String, &str, &StepReport)> = report
            .capabilities
            .iter()
            .flat_map(|c| c.steps.iter().map(|s| (clean(&titled(&c.name, &s.item, &s.what)), c.name.as_str(), s)))
            .collect();
        let running: BTreeMap<&str, &ProgressValue> =
            steps.iter().filter_map(|(title, _, s)| Some((title.as_str(), s.running.as_ref()?))).collect();

        let ended: Vec<String> = self.running.keys().filter(|t| !running.contains_key(t.as_str())).cloned().collect();
        for title in ended {
            let Some(begun) = self.running.remove(&title) else { continue };
            let failed = steps.iter().find(|(t, ..)| *t == title).and_then(|(.., s)| s.failing.as_ref());
            let failed = failed.filter(|failing| failing.attempts > 0);
            let line = match (failed, refused(report, &begun)) {
                (Some(failing), _) => format!("failed: {title}: {}", clean(&failing.error)),
                // What was done may be what showed that it must not go on, as a proof does that finds data.
                (None, Some(why)) => format!("ended: {title}: {}", clean(why)),
                (None, None) => format!("done: {title}{}", took(report.at - begun.at)),
            };
            self.line(&line, out);
        }
        for (title, capability, step) in steps.iter().filter(|(.., step)| step.running.is_some()) {
            if !self.running.contains_key(title) {
                let of = ((*capability).to_string(), step.item.clone());
                self.running.insert(title.clone(), Begun { of, at: report.at });
                if !self.terminal {
                    self.line(&format!("begun: {title}"), out);
                }
            }
        }
        let waiting = if running.is_empty() { waiting(report) } else { String::new() };
        if self.terminal {
            // Of several the one that can say how far it is.
            let shown = running.iter().find(|(_, value)| value.total > 0).or_else(|| running.iter().next());
            match shown {
                Some((title, value)) => self.draw(&bar(title, value, running.len() - 1), out),
                None => self.draw(&fit(&waiting, ROOM), out),
            }
        } else if !waiting.is_empty() && waiting != self.waiting {
            self.line(&waiting, out);
        }
        self.waiting = waiting;
        let _ = out.flush();
    }

    /// Leaves the terminal in order, and says what goes on without this program.
    pub(crate) fn end(&mut self, out: &mut dyn Write) {
        self.draw("", out);
        for title in std::mem::take(&mut self.running).into_keys() {
            self.line(&format!("still under way: {title}"), out);
        }
        let _ = out.flush();
    }

    /// What else there is to be told meanwhile.
    pub(crate) fn say(&mut self, text: &str, out: &mut dyn Write) {
        self.line(text, out);
        let _ = out.flush();
    }

    /// A line that stays; on a terminal as many as it needs.
    fn line(&mut self, text: &str, out: &mut dyn Write) {
        self.draw("", out);
        let text = text.replace('\n', "; ");
        let mut paper = Paper::new(false);
        paper.title(Tone::Plain, &text);
        let text = if self.terminal { paper.into_text() } else { format!("{text}\n") };
        let _ = out.write_all(text.as_bytes());
    }

    /// A line that is drawn over by the next one.
    fn draw(&mut self, text: &str, out: &mut dyn Write) {
        let width = text.chars().count();
        if width == 0 && self.drawn == 0 {
            return;
        }
        let _ = write!(out, "\r{text}{:1$}", "", self.drawn.saturating_sub(width));
        if width == 0 {
            let _ = write!(out, "\r");
        }
        self.drawn = width;
    }
}

/// Why the item of a step that ended is refused now.
fn refused<'a>(report: &'a Report, begun: &Begun) -> Option<&'a str> {
    let (capability, item) = &begun.of;
    let capability = report.capabilities.iter().find(|one| one.name == *capability)?;
    capability.refusals.iter().find(|one| one.item == *item).map(|one| one.why.as_str())
}

fn took(seconds: i64) -> String {
    if seconds < 1 { String::new() } else { format!(" ({})", span(seconds)) }
}

/// What a node with nothing under way waits for; empty when it does not.
fn waiting(report: &Report) -> String {
    let headline = clean(&report.headline());
    if headline.starts_with("waiting") { headline } else { String::new() }
}

/// Whole percent, at most 100.
pub(super) fn percent(value: &ProgressValue) -> u64 {
    let hundredfold = u128::from(value.done) * 100;
    hundredfold.checked_div(u128::from(value.total)).map_or(0, |percent| percent.min(100) as u64)
}

/// `k3s: download …  [=======>            ]  38 %  24.1 MiB of 63.0 MiB  +1`
fn bar(title: &str, value: &ProgressValue, others: usize) -> String {
    // Downloads count bytes; other work counts what it likes.
    let download = value.text.starts_with("download");
    let mut end = String::new();
    if value.total > 0 {
        let full = BAR * percent(value) as usize / 100;
        let head = if full < BAR { ">" } else { "" };
        end += &format!("  [{}{head}{:2$}]", "=".repeat(full), "", BAR - full - head.len());
        end += &format!("  {:>3} %", percent(value));
    }
    match (download, value.total) {
        (true, 0) if value.done > 0 => end += &format!("  {}", bytes(value.done)),
        (true, total) if total > 0 => end += &format!("  {} of {}", bytes(value.done), bytes(total)),
        _ if !value.text.is_empty() => end += &format!("  {}", fit(&clean(&value.text), 24)),
        _ => {}
    }
    if others > 0 {
        end += &format!("  +{others}");
    }
    let end = fit(&end, ROOM - 10);
    format!("{}{end}", fit(title, ROOM - end.chars().count()))
}

/// The text on one line of at most `room` columns.
fn fit(text: &str, room: usize) -> String {
    let line = text.replace('\n', " ");
    if line.chars().count() <= room {
        return line;
    }
    let mut short: String = line.chars().take(room.saturating_sub(3)).collect();
    short.push_str("...");
    short
}

#[cfg(test)]
mod tests;
