//! What `bowline doctor` finds on a machine: one finding for each fault, and what mends it.

use crate::looks::SOON;
use crate::{FIRST_BOOT, ready};
use anyhow::{Context, Result, ensure};
use bowline_testbed::Machine;
use serde_json::Value;
use std::time::Duration;

/// Something done to a machine, the finding (check, and a piece of what it says), and who mends it.
pub struct Harm {
    /// A command that does it.
    pub done: &'static str,
    /// The name of the check.
    pub check: &'static str,
    /// A piece of what is found.
    pub found: &'static str,
    /// Who mends it.
    pub mend: Mend,
}

/// Who mends something.
pub enum Mend {
    /// The command of the finding, as it is printed.
    Printed(&'static str),
    /// A person who follows the remedy, of which this is a piece.
    Person(&'static str, &'static str),
}

/// Does harm, has its finding mend it, and sees that nothing is found any more.
pub fn play(machine: &Machine, harm: &Harm) -> Result<()> {
    let finding = harmed(machine, harm).with_context(|| harm.done.to_string())?;
    match harm.mend {
        Mend::Printed(command) => {
            ensure!(finding["command"] == command, "{finding}");
            // It says so with its status when something is still under way.
            machine.wait_for(command, SOON, || machine.ok(command).map(|_| true))?;
        }
        Mend::Person(piece, command) => {
            ensure!(finding["remedy"].as_str().is_some_and(|remedy| remedy.contains(piece)), "{finding}");
            machine.ok(command)?;
        }
    }
    well(machine).with_context(|| format!("mended after: {}", harm.done))
}

/// Does harm, and waits for its finding. The daemon mends some of it by itself as soon as it looks, and it looks when a
/// disk comes or goes, be it a neighbour's: such harm is done again.
fn harmed(machine: &Machine, harm: &Harm) -> Result<Value> {
    machine.ok(harm.done)?;
    let mended_by_itself = matches!(harm.mend, Mend::Printed("bowline apply"));
    let again = || if mended_by_itself { machine.ok(harm.done).map(drop) } else { Ok(()) };
    finding(machine, harm.check, harm.found, again)
}

/// The findings of a look at the machine.
pub fn findings(machine: &Machine) -> Result<Vec<Value>> {
    findings_with(machine, "")
}

/// The same by a doctor with variables of its own, such as another clock.
pub fn findings_with(machine: &Machine, environment: &str) -> Result<Vec<Value>> {
    let output = machine.run(&format!("{environment} bowline doctor --json"))?;
    let checks: Vec<Value> = serde_json::from_str(&output.stdout).with_context(|| output.to_string())?;
    let found: Vec<_> = checks.into_iter().filter(|c| c["result"] == "finding").collect();
    ensure!(output.code == i32::from(!found.is_empty()), "{output}");
    Ok(found)
}

/// Waits until there is this finding and no other, and returns it.
pub fn the_finding(machine: &Machine, check: &str, piece: &str) -> Result<Value> {
    finding(machine, check, piece, || Ok(()))
}

/// The same; `again` is called where there is no finding at all.
fn finding(machine: &Machine, check: &str, piece: &str, again: impl Fn() -> Result<()>) -> Result<Value> {
    let mut last = Vec::new();
    machine
        .wait_for(&format!("the finding {check}: {piece}"), SOON, || {
            last = findings(machine)?;
            if last.is_empty() {
                again()?;
            }
            // People see the same, unless it was mended in between.
            Ok(is_alone(&last, check, piece) && machine.run("bowline doctor")?.stdout.contains(check))
        })
        .with_context(|| {
            format!("{last:#?}\n{}", machine.run("bowline doctor").map(|said| said.stdout).unwrap_or_default())
        })?;
    Ok(last.remove(0))
}

/// Whether this finding is there, and no other.
pub fn is_alone(findings: &[Value], check: &str, piece: &str) -> bool {
    let [one] = findings else { return false };
    one["name"] == check && one["found"].as_str().is_some_and(|found| found.contains(piece))
}

/// The remedy of a finding.
pub fn remedy(finding: &Value) -> &str {
    finding["remedy"].as_str().unwrap_or_default()
}

/// Nothing is wrong, and the node is ready.
pub fn well(machine: &Machine) -> Result<()> {
    ready(machine)?;
    nothing_found(machine, FIRST_BOOT)
}

/// Nothing is wrong.
pub fn nothing_found(machine: &Machine, patience: Duration) -> Result<()> {
    let mut last = Vec::new();
    machine
        .wait_for("no finding", patience, || {
            last = findings(machine)?;
            Ok(last.is_empty())
        })
        .with_context(|| format!("{last:#?}"))
}
