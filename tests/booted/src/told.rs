//! What a machine tells people: one line for each thing that `bowline status` shows, and the proof that the other
//! surfaces say the same.

use crate::report;
use anyhow::{Context, Result, ensure};
use bowline_testbed::{Machine, wait_some};
use serde_json::Value;
use std::time::Duration;

/// How long a message may take to come.
const SOON: Duration = Duration::from_secs(25);

/// Every failing step, refusal, wait and note of the report, one line each, as the journal words them.
pub fn lines(report: &Value) -> Vec<String> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_string();
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let errors = list(&report["settings"], "errors");
    let mut all: Vec<String> = errors.iter().map(|e| format!("settings: {}", e.as_str().unwrap_or_default())).collect();
    for capability in list(report, "capabilities") {
        for step in list(&capability, "steps") {
            let failing = &step["failing"];
            let (what, error, hint) = (text(&step, "what"), text(failing, "error"), text(failing, "hint"));
            all.push(match (failing.is_null(), hint.is_empty()) {
                (true, _) => format!("to do: {what} ({})", text(&step, "why")),
                (false, true) => format!("failed: {what}: {error}"),
                (false, false) => format!("failed: {what}: {error} → {hint}"),
            });
        }
        for refusal in list(&capability, "refusals") {
            let [what, why, hint] = ["what", "why", "hint"].map(|key| text(&refusal, key));
            all.push(format!("refused: {what}: {why} → {hint}"));
        }
        for wait in list(&capability, "waits") {
            let (what, why) = (text(&wait, "what"), text(&wait, "why"));
            all.push(match wait["overdue"].as_str() {
                None => format!("waiting for {what}: {why}"),
                Some(overdue) => format!("still waiting for {what}: {why}; to do: {overdue}"),
            });
        }
        all.extend(list(&capability, "notes").iter().map(|note| text(note, "text")));
        all.extend(capability["error"].as_str().map(|error| format!("cannot look: {error}")));
    }
    all
}

/// What the machine tells just now.
pub fn now(machine: &Machine) -> Result<Vec<String>> {
    Ok(lines(&report(machine)?))
}

/// Waits until one line of the report has all these pieces, and returns it. The words must also stand in what people
/// see of `bowline status`, and in the journal.
pub fn tells(machine: &Machine, pieces: &[&str]) -> Result<String> {
    tells_within(machine, SOON, pieces)
}

/// The same with another patience.
pub fn tells_within(machine: &Machine, patience: Duration, pieces: &[&str]) -> Result<String> {
    let mut last = Vec::new();
    // What stands for a moment only has to be on all surfaces in one of its moments.
    wait_some(&format!("{pieces:?} in the status"), patience, || {
        last = now(machine)?;
        let line = last.iter().find(|line| pieces.iter().all(|piece| line.contains(piece))).cloned();
        line.map(|line| shows(machine, pieces).map(|()| line)).transpose()
    })
    .with_context(|| format!("it says instead:\n  {}", last.join("\n  ")))
}

/// That it says so still, right now, while [`tells`] would wait for it to be true again. While it asks once more it says something
/// else, for a moment.
pub fn still_tells(machine: &Machine, pieces: &[&str]) -> Result<String> {
    tells_within(machine, Duration::from_secs(3), pieces)
}

/// What people see of the status, and the journal, have all words.
fn shows(machine: &Machine, pieces: &[&str]) -> Result<()> {
    let shown = machine.run("bowline status")?.stdout;
    let journal = machine.ok("journalctl --sync && journalctl --no-pager -o cat -u bowline")?;
    let (in_status, in_journal) = (bare(&shown), bare(&journal));
    for words in pieces.iter().flat_map(|piece| parts(piece)) {
        ensure!(in_status.contains(&bare(words)), "{words:?} is not in:\n{shown}");
        ensure!(in_journal.contains(&bare(words)), "{words:?} is not in the journal:\n{journal}");
    }
    Ok(())
}

/// Waits until no line has this piece any more.
pub fn no_longer_tells(machine: &Machine, piece: &str) -> Result<()> {
    machine.wait_for(&format!("{piece:?} to go"), SOON, || Ok(!now(machine)?.iter().any(|line| line.contains(piece))))
}

/// What the surfaces show, each in its own order, without the words that only our lines have.
fn parts(piece: &str) -> impl Iterator<Item = &str> {
    let own = ["failed", "refused", "to do", "still waiting for ", "waiting for "];
    piece
        .split(" → ")
        .flat_map(|part| part.split(": "))
        .map(move |part| own.iter().find_map(|words| part.strip_prefix(words)).unwrap_or(part))
}

/// Text without its line breaks and spaces: people see it wrapped.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '·').collect()
}
