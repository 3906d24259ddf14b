//! What an issuer counts: requests and connections. Lives as long as the daemon, also while the doors are closed.

use crate::counters;
use crate::exposition::Exposition;
use prometheus::{IntCounterVec, Opts, Registry};
use std::sync::{Arc, Mutex, PoisonError};

/// The counters of an issuer, with a registry of their own. Clones count into the same ones.
#[derive(Debug, Clone)]
pub struct Enrolments {
    registry: Registry,
    requests: IntCounterVec,
    connections: IntCounterVec,
    /// Nodes that the cluster is to have, and those of them that it has not; `None` while nobody has counted them lately.
    members: Arc<Mutex<Option<(usize, usize)>>>,
}

impl Enrolments {
    /// All counters at zero, with the series of these paths and results, and of these ends of connections, there from
    /// the start. Words of a program's own only: nothing that a request says may become a label.
    pub fn new(
        requests: impl IntoIterator<Item = (&'static str, &'static str)>,
        ends: &[&'static str],
    ) -> Result<Self, prometheus::Error> {
        let counters = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new(
                    "bowline_enroll_requests_total",
                    "Requests of nodes that the issuer answered, by path and result: what was done, or why not.",
                ),
                &["path", "result"],
            )?,
            connections: IntCounterVec::new(
                Opts::new("bowline_enroll_connections_total", "Connections to the issuer that ended, by how they did."),
                &["end"],
            )?,
            members: Arc::default(),
        };
        counters.registry.register(Box::new(counters.requests.clone()))?;
        counters.registry.register(Box::new(counters.connections.clone()))?;
        for (path, result) in requests {
            counters.requests.with_label_values(&[path, result]);
        }
        for end in ends {
            counters.connections.with_label_values(&[*end]);
        }
        Ok(counters)
    }

    /// A request was answered.
    pub fn answered(&self, path: &'static str, result: &'static str) {
        self.requests.with_label_values(&[path, result]).inc();
    }

    /// A connection ended.
    pub fn ended(&self, end: &'static str) {
        self.connections.with_label_values(&[end]).inc();
    }

    /// How many nodes the cluster is to have, and how many of them it has not; `None` takes an earlier count back.
    pub fn members(&self, counted: Option<(usize, usize)>) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }

    pub(crate) fn members_into(&self, out: &mut Exposition) {
        let Some((expected, missing)) = *self.members.lock().unwrap_or_else(PoisonError::into_inner) else { return };
        let help = "Names held by admitted machines: the nodes that the cluster should have.";
        out.gauge("nodes_expected", help, expected);
        let help = "Nodes that the cluster should have and that are not there, or not Ready; seen within half an hour.";
        out.gauge("nodes_missing", help, missing);
    }

    pub(crate) fn encoded(&self) -> String {
        counters::encoded(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end so")]

    use super::*;
    use crate::exposition::Form;

    #[test]
    fn who_stops_counting_says_nothing_of_who_is_missing() {
        let enrolments = Enrolments::new([], &[]).unwrap();
        let shown = |counted| {
            enrolments.members(counted);
            let mut out = Exposition::with_capacity(Form::Text, 512);
            enrolments.members_into(&mut out);
            out.into_text().contains("nodes_missing")
        };
        assert_eq!([None, Some((3, 1)), None].map(shown), [false, true, false]);
    }
}
