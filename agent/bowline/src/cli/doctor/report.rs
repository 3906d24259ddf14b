//! What Bowline itself complains of, where no check explained it better: refusals, waits that last too long, steps
//! that fail.

use super::check::{Check, Subject, explained, item_explained};
use bowline_engine::{CapabilityReport, Report, StepReport};

/// `now` is of a look just now, `daemon` the daemon's last report: only it knows what failed.
pub(super) fn diagnose(now: &Report, daemon: Option<&Report>, before: &[Check]) -> Vec<Check> {
    let mut checks = Vec::new();
    for capability in &now.capabilities {
        complaints(capability, before, &mut checks);
    }
    for capability in daemon.iter().flat_map(|report| &report.capabilities) {
        for step in &capability.steps {
            checks.extend(failure(capability, step, before));
        }
        // What only the daemon has (its sockets) is not in a look.
        if !now.capabilities.iter().any(|c| c.name == capability.name) {
            complaints(capability, before, &mut checks);
        }
    }
    if checks.is_empty() && daemon.is_some() {
        checks.push(Check::ok("daemon's report", "nothing beyond what was checked"));
    }
    checks
}

/// The name of a check on an item: `labels/zone` of labels is said once.
fn name(capability: &CapabilityReport, item: &str) -> String {
    if item.starts_with(&capability.name) { item.to_string() } else { format!("{}: {item}", capability.name) }
}

fn complaints(capability: &CapabilityReport, before: &[Check], checks: &mut Vec<Check>) {
    let known = |item: &str| item_explained(before, &capability.name, item);
    if let Some(error) = &capability.error
        && !explained(before, &Subject::Blindness)
    {
        let remedy = "fix what the error names; until then nothing is done here";
        checks.push(Check::finding(&*capability.name, format!("it cannot be looked at: {error}"), remedy));
    }
    for refusal in capability.refusals.iter().filter(|r| !known(&r.item)) {
        let found = format!("refused to {}: {}", refusal.what, refusal.why);
        checks.push(Check::finding(name(capability, &refusal.item), found, &*refusal.hint));
    }
    for wait in capability.waits.iter().filter(|w| !known(&w.item)) {
        if let Some(remedy) = &wait.overdue {
            let found = format!("waited too long for {}: {}", wait.what, wait.why);
            checks.push(Check::finding(name(capability, &wait.item), found, &**remedy));
        }
    }
}

fn failure(capability: &CapabilityReport, step: &StepReport, before: &[Check]) -> Option<Check> {
    let failing = step.failing.as_ref()?;
    let explained =
        explained(before, &Subject::Failure(failing.kind)) || item_explained(before, &capability.name, &step.item);
    if explained {
        return None;
    }
    let times = match failing.attempts {
        0 => "is held back".to_string(),
        1 => "failed".to_string(),
        times => format!("failed {times} times"),
    };
    let found = format!("“{}” {times}: {}", step.what, failing.error);
    let remedy = failing.hint.clone().unwrap_or_else(|| "fix what the error names".into());
    let remedy = match failing.attempts {
        0 => remedy,
        _ => format!("{remedy}; it is tried again by itself, at once with `bowline apply`"),
    };
    Some(Check::finding(name(capability, &step.item), found, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_engine::{CapabilityState, RefusalReport};

    #[test]
    fn what_a_check_explains_is_not_said_again_of_any_capability() {
        for name in crate::wiring::NAMES {
            let it = || "it".to_owned();
            let refusals = vec![RefusalReport { item: it(), what: it(), why: it(), hint: it(), since: 0 }];
            let (steps, waits, notes) = (Vec::new(), Vec::new(), Vec::new());
            let state = CapabilityState::Refused;
            let one = CapabilityReport { name: name.into(), state, steps, waits, refusals, notes, error: None };
            let report = Report { capabilities: vec![one], ..Report::default() };
            let before = Check::finding("a check", "found", "remedy").explains(Subject::Item(name, it()));
            assert_eq!(diagnose(&report, None, &[]).len(), 1, "{name}");
            assert_eq!(diagnose(&report, None, &[before]).len(), 0, "{name}");
        }
    }
}
