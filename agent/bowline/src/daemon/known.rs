//! What the node was last seen to be, while it cannot be looked at.

use bowline_engine::{Capability, CapabilityState, Report};
use bowline_node::Node;
use std::collections::BTreeMap;

/// What sockets and doors stand by: a look that fails is no reason to close them.
const KEPT: [&str; 2] = ["name", "address"];

/// The node's name and address, as they were seen last.
#[derive(Default)]
pub(crate) struct Known(BTreeMap<String, String>);

impl Known {
    /// The conditions of a report, with name and address as before where the look at the node failed.
    pub(crate) fn conditions(&mut self, report: &Report) -> BTreeMap<String, String> {
        let mut conditions = report.conditions.clone();
        let unseen = |c: &bowline_engine::CapabilityReport| c.name == Node::NAME && c.state == CapabilityState::Unknown;
        if report.capabilities.iter().any(unseen) {
            conditions.extend(self.0.clone());
        } else {
            let kept = KEPT.iter().filter_map(|key| conditions.get_key_value(*key));
            self.0 = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        }
        conditions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_engine::CapabilityReport;

    fn report(state: CapabilityState, conditions: &[(&str, &str)]) -> Report {
        let node = CapabilityReport {
            name: "node".into(),
            state,
            steps: Vec::new(),
            waits: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            error: None,
        };
        let mut report = Report { capabilities: vec![node], ..Report::default() };
        report.conditions.extend(conditions.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        report
    }

    #[test]
    fn name_and_address_outlast_a_look_that_fails_and_nothing_else_does() {
        let seen = [("name", "control"), ("address", "10.0.1.10"), ("gateway", "10.0.1.1")];
        let mut known = Known::default();
        assert_eq!(known.conditions(&report(CapabilityState::Unknown, &[])), BTreeMap::new());
        known.conditions(&report(CapabilityState::Done, &seen));
        for _ in 0..2 {
            let conditions = known.conditions(&report(CapabilityState::Unknown, &[("k3s", "active")]));
            assert_eq!(conditions, report(CapabilityState::Done, &[seen[0], seen[1], ("k3s", "active")]).conditions);
        }
        // An address that a look no longer finds is gone.
        let conditions = known.conditions(&report(CapabilityState::Waiting, &seen[..1]));
        assert_eq!(conditions.keys().collect::<Vec<_>>(), ["name"]);
        assert_eq!(known.conditions(&report(CapabilityState::Unknown, &[])).len(), 1);
    }
}
