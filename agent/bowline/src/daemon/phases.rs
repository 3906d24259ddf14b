//! How long each phase of the first boot took: kept in the state folder, so that the figures outlive the process.
//!
//! It is counted by the boot clock, which nobody sets: the clock of the day often moves by hours just then. Where the machine boots
//! again before all is reached, the day's clock alone knows how long that took; it is asked once, when it is right.

use bowline_engine::Report;
use bowline_metrics::Phase;
use bowline_ports::condition;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the clock of the day may differ by before the record of the first start is written anew.
const MOVED: f64 = 1.0;

/// A moment, by both clocks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moment {
    /// Seconds since 1970, as the machine believes.
    pub(crate) unix: f64,
    /// Seconds of the boot clock.
    pub(crate) since_boot: f64,
    /// Which boot it is.
    pub(crate) boot: String,
}

/// Seconds from the daemon's first start until a phase was reached for the first time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phases {
    /// Seconds since 1970 of the first start, by what the clock says now.
    pub(crate) began: f64,
    /// The boot by whose clock is counted.
    #[serde(default)]
    boot: String,
    /// The first start by that boot's clock; negative where it was before that boot.
    #[serde(default)]
    start: f64,
    /// Phase -> seconds after `began`.
    pub(crate) reached: BTreeMap<String, f64>,
}

impl Phases {
    pub(crate) fn new(now: Moment) -> Self {
        Self { began: now.unix, boot: now.boot, start: now.since_boot, reached: BTreeMap::new() }
    }

    /// Notes what the report shows to be reached. True when there is something new to be kept.
    pub(crate) fn note(&mut self, report: &Report, volumes: usize, now: &Moment) -> bool {
        let condition = |key: &str| report.conditions.get(key).map(String::as_str);
        if self.reached.len() == Phase::ALL.len() {
            return false;
        }
        let other_boot = self.boot != now.boot;
        if other_boot && condition(condition::CLOCK).is_none() {
            return false;
        }
        if other_boot {
            let latest = self.reached.values().copied().fold(0.0, f64::max);
            self.start = now.since_boot - (now.unix - self.began).max(latest);
            self.boot.clone_from(&now.boot);
        }
        // To the millisecond: what is behind that is noise.
        let passed = ((now.since_boot - self.start).max(0.0) * 1000.0).round() / 1000.0;
        let moved = (now.unix - passed - self.began).abs() > MOVED;
        if moved {
            self.began = now.unix - passed;
        }
        let volumes_ready = report
            .conditions
            .iter()
            .filter(|(key, value)| key.starts_with(condition::VOLUMES) && *value == "ready")
            .count();
        let pending =
            |begins: &str| report.capabilities.iter().flat_map(|c| &c.steps).any(|s| s.what.starts_with(begins));
        let seen = |name: &str| report.capabilities.iter().any(|c| c.name == name && c.error.is_none());
        let reached = [
            ("settings", !report.settings.absent && report.settings.errors.is_empty()),
            ("address", condition(condition::ADDRESS).is_some()),
            ("download", condition(condition::K3S_INSTALLED).is_some()),
            ("format", seen("volumes") && !pending("format") && volumes_ready >= volumes),
            ("mount", seen("volumes") && volumes_ready >= volumes),
            ("k3s_start", condition(condition::K3S) == Some("active")),
            ("ready", condition(condition::NODE) == Some("ready")),
            ("labels", condition(condition::LABELS) == Some("applied")),
        ];
        let before = self.reached.len();
        for (phase, _) in reached.iter().filter(|(_, reached)| *reached) {
            self.reached.entry((*phase).to_string()).or_insert(passed);
        }
        other_boot || moved || self.reached.len() > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix: f64, since_boot: f64, boot: &str) -> Moment {
        Moment { unix, since_boot, boot: boot.into() }
    }

    /// By a clock that nobody sets.
    fn moment(seconds: f64) -> Moment {
        at(1_000_000.0 + seconds, seconds, "first")
    }

    fn with(conditions: &[(&str, &str)]) -> Report {
        let mut report = Report::default();
        report.conditions.extend(conditions.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        report
    }

    /// As the daemon finds it when it is started again.
    fn kept(phases: &Phases) -> Phases {
        serde_json::from_slice(&serde_json::to_vec_pretty(phases).unwrap()).unwrap()
    }

    fn capability(name: &str) -> bowline_engine::CapabilityReport {
        let text = r#"{"name":"NAME","state":"done","steps":[],"waits":[],"refusals":[],"notes":[],"error":null}"#;
        serde_json::from_str(&text.replace("NAME", name)).unwrap()
    }

    #[test]
    fn each_phase_is_noted_once() {
        let mut report = with(&[("address", "10.0.1.10")]);
        let mut phases = Phases::new(moment(100.0));
        assert!(phases.note(&report, 1, &moment(101.5)));
        assert_eq!(phases.reached.keys().collect::<Vec<_>>(), ["address", "settings"]);
        report.capabilities.push(capability("volumes"));
        assert!(!phases.note(&report, 1, &moment(102.0)));
        report.conditions.insert("volume/data".into(), "ready".into());
        assert!(phases.note(&report, 1, &moment(104.0)));
        assert_eq!(phases.reached["mount"], 4.0);
        assert_eq!(phases.reached["address"], 1.5);
        assert!(phases.reached.keys().all(|phase| Phase::from_name(phase).is_some()));
    }

    #[test]
    fn the_download_has_ended_when_k3s_is_there() {
        // An agent that the servers have not told their release yet has no such step.
        let mut report = with(&[("address", "10.0.1.10")]);
        report.capabilities.push(capability("cluster"));
        let mut phases = Phases::new(moment(0.0));
        phases.note(&report, 0, &moment(1.0));
        assert!(!phases.reached.contains_key("download"), "{phases:?}");
        report.conditions.insert(condition::K3S_INSTALLED.into(), "v1.34.1+k3s1".into());
        assert!(phases.note(&report, 0, &moment(31.0)));
        assert_eq!(phases.reached["download"], 31.0);
    }

    #[test]
    fn a_clock_that_is_set_meanwhile_changes_nothing() {
        for hours in [-5.0, 5.0] {
            let mut phases = Phases::new(at(1_000_000.0, 20.0, "first"));
            let set = |since_boot: f64| at(1_000_000.0 + hours * 3600.0 + since_boot - 20.0, since_boot, "first");
            assert!(phases.note(&with(&[("address", "10.0.1.10")]), 1, &set(22.0)));
            let mut phases = kept(&phases);
            assert!(phases.note(&with(&[("k3s", "active")]), 1, &set(50.0)));
            assert_eq!((phases.reached["address"], phases.reached["k3s_start"]), (2.0, 30.0));
            assert_eq!(phases.began, 1_000_000.0 + hours * 3600.0, "when it was, by the clock that is right");
        }
    }

    #[test]
    fn a_boot_in_between_counts_with_the_time_that_it_took() {
        let mut phases = Phases::new(at(1_000.0, 20.0, "first"));
        // Set right before it goes down.
        phases.note(&with(&[("address", "10.0.1.10")]), 1, &at(1_000_005.0, 25.0, "first"));
        let mut phases = kept(&phases);
        assert_eq!(phases.began, 1_000_000.0);
        // Not right yet: nothing can be said.
        let running = [("k3s", "active"), ("clock", "ok")];
        assert!(!phases.note(&with(&running[..1]), 1, &at(7.0, 3.0, "second")));
        assert!(phases.note(&with(&running), 1, &at(1_000_090.0, 10.0, "second")));
        let mut phases = kept(&phases);
        // Set once more: from here on that boot's clock counts.
        assert!(phases.note(&with(&[("node", "ready")]), 1, &at(2_000_000.0, 15.0, "second")));
        assert_eq!(
            (phases.reached["address"], phases.reached["k3s_start"], phases.reached["ready"]),
            (5.0, 90.0, 95.0)
        );
        // By a clock that went wrong no phase is before an earlier one.
        assert!(phases.note(&with(&[("labels", "applied"), ("clock", "ok")]), 1, &at(0.0, 1.0, "third")));
        assert_eq!(phases.reached["labels"], 95.0);
    }

    #[test]
    fn a_record_of_an_earlier_bowline_is_counted_on() {
        let mut phases: Phases = serde_json::from_str(r#"{"began": 1000.0, "reached": {"address": 1.5}}"#).unwrap();
        assert!(phases.note(&with(&[("k3s", "active"), ("clock", "ok")]), 1, &at(1060.0, 80.0, "first")));
        assert_eq!((phases.reached["address"], phases.reached["k3s_start"]), (1.5, 60.0));
    }
}
