//! That nobody can be let in, as the report says it.

use bowline_engine::{CapabilityReport, CapabilityState, Failing, Risk, StepReport};
use bowline_host::real::unix_now;
use bowline_ports::PortError;
use std::time::{Duration, Instant};

pub(super) const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What it means that there is no door, or that one of several is missing.
pub(super) const NOBODY: &str = "nobody can be let in";
pub(super) const ELSEWHERE: &str = "nodes are let in at the other addresses only";

/// Why there is no door, or not every one, and since when.
pub(super) struct Failed {
    tried: Instant,
    /// Seconds since 1970.
    since: i64,
    attempts: u32,
    error: PortError,
}

impl Failed {
    /// A try that failed, after an earlier one or not; `what` follows from it. Each trouble is told once.
    pub(super) fn again(before: Option<Self>, what: &str, error: PortError) -> Self {
        if before.as_ref().is_none_or(|before| before.error != error) {
            tracing::warn!("{what}: {}", error.in_full());
        }
        let (since, attempts) = before.map_or((unix_now(), 0), |before| (before.since, before.attempts));
        Self { tried: Instant::now(), since, attempts: attempts.saturating_add(1), error }
    }

    /// Until the next try.
    pub(super) fn left(&self) -> Duration {
        TRY_AGAIN.saturating_sub(self.tried.elapsed())
    }

    pub(super) fn report(&self) -> CapabilityReport {
        let step = StepReport {
            item: "enroll".into(),
            what: "let nodes in".into(),
            why: "`[enroll]` says so".into(),
            risk: Risk::Safe,
            action: serde_json::Value::Null,
            running: None,
            failing: Some(Failing {
                attempts: self.attempts,
                since: self.since,
                kind: self.error.kind,
                error: self.error.message.clone(),
                hint: self.error.hint.clone(),
                next_try: unix_now() + self.left().as_secs().cast_signed(),
            }),
        };
        CapabilityReport {
            name: "enroll".into(),
            state: CapabilityState::Failing,
            steps: vec![step],
            waits: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::ErrorKind;

    #[test]
    fn what_fails_is_in_the_report_with_what_helps() {
        let error =
            || PortError::new(ErrorKind::NoSpace, "writing /var/lib/bowline/machine.key: No space").hint("make room");
        let first = Failed::again(None, NOBODY, error());
        let since = first.since;
        let again = Failed::again(Some(Failed { since: since - 60, ..first }), NOBODY, error());
        let report = again.report();
        assert_eq!(report.state, CapabilityState::Failing);
        let failing = report.steps[0].failing.as_ref().unwrap();
        assert_eq!((failing.attempts, failing.since, failing.kind), (2, since - 60, ErrorKind::NoSpace));
        assert_eq!((failing.error.as_str(), failing.hint.as_deref()), (error().message.as_str(), Some("make room")));
    }
}
