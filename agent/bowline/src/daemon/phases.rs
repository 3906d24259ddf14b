//! How long each phase of the first boot took: kept in the state folder, so that the figures outlive the process.

use bowline_engine::Report;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Seconds from the daemon's first start until a phase was reached for the first time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phases {
    /// Seconds since 1970 of the first start.
    pub(crate) began: f64,
    /// Phase -> seconds after `began`.
    pub(crate) reached: BTreeMap<String, f64>,
}

impl Phases {
    pub(crate) fn new(now: f64) -> Self {
        Self { began: now, reached: BTreeMap::new() }
    }

    /// Notes what the report shows to be reached. True when something is new.
    pub(crate) fn note(&mut self, report: &Report, volumes: usize, now: f64) -> bool {
        let condition = |key: &str| report.conditions.get(key).map(String::as_str);
        let volumes_ready =
            report.conditions.iter().filter(|(key, value)| key.starts_with("volume/") && *value == "ready").count();
        let pending =
            |begins: &str| report.capabilities.iter().flat_map(|c| &c.steps).any(|s| s.what.starts_with(begins));
        let seen = |name: &str| report.capabilities.iter().any(|c| c.name == name && c.error.is_none());
        let reached = [
            ("settings", !report.settings.absent && report.settings.errors.is_empty()),
            ("address", condition("address").is_some()),
            ("download", seen("cluster") && !pending("download")),
            ("format", seen("volumes") && !pending("format") && volumes_ready >= volumes),
            ("mount", seen("volumes") && volumes_ready >= volumes),
            ("k3s_start", condition("k3s") == Some("active")),
            ("ready", condition("node") == Some("ready")),
            ("labels", condition("labels") == Some("applied")),
        ];
        let mut new = false;
        for (phase, _) in reached.iter().filter(|(_, reached)| *reached) {
            if !self.reached.contains_key(*phase) {
                self.reached.insert((*phase).to_string(), (now - self.began).max(0.0));
                new = true;
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_metrics::Phase;

    #[test]
    fn each_phase_is_noted_once() {
        let mut report = Report::default();
        report.conditions.insert("address".into(), "10.0.1.10".into());
        let mut phases = Phases::new(100.0);
        assert!(phases.note(&report, 1, 101.5));
        assert_eq!(phases.reached.keys().collect::<Vec<_>>(), ["address", "settings"]);
        let volumes =
            r#"{"name":"volumes","state":"done","steps":[],"waits":[],"refusals":[],"notes":[],"error":null}"#;
        report.capabilities.push(serde_json::from_str(volumes).unwrap());
        assert!(!phases.note(&report, 1, 102.0));
        report.conditions.insert("volume/data".into(), "ready".into());
        assert!(phases.note(&report, 1, 104.0));
        assert_eq!(phases.reached["mount"], 4.0);
        assert_eq!(phases.reached["address"], 1.5);
        assert!(phases.reached.keys().all(|phase| Phase::from_name(phase).is_some()));
    }
}
