//! The labels of this Node: applied by the Kubernetes API as field manager `bowline`, and kept.
//!
//! Never through K3s's own options: a reserved one there stops the kubelet, and the kubelet would own them.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

use bowline_engine::{Capability, Conditions, Plan, Wait};
use bowline_ports::{Change, ErrorKind, Inspect, NodeObject, PortError, Progress, k3s_admin_kubeconfig};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The field manager under which Bowline owns labels.
pub const MANAGER: &str = "bowline";

/// The labels of the settings.
pub struct Labels {
    /// Key and value.
    pub labels: BTreeMap<String, String>,
    /// The node's name, where the settings give one.
    pub name: Option<String>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// This Node; `None` while there is none, or no API to ask.
    pub node: Option<NodeObject>,
}

/// The one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Action {
    /// The Node.
    pub node: String,
    /// All labels that Bowline owns afterwards.
    pub labels: BTreeMap<String, String>,
    /// What changes, for people.
    pub changes: Vec<String>,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "label Node {}: {}", self.node, self.changes.join(", "))
    }
}

impl Capability for Labels {
    const NAME: &'static str = "labels";
    const EVERY: Duration = Duration::from_secs(60);
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => host.host_name().await?.to_lowercase(),
        };
        let kubeconfig = k3s_admin_kubeconfig();
        if host.meta(&kubeconfig).await?.is_none() {
            return Ok(Facts { node: None });
        }
        match host.node(&kubeconfig, &name).await {
            Ok(node) => Ok(Facts { node }),
            Err(PortError { kind: ErrorKind::Unreachable | ErrorKind::Timeout, .. }) => Ok(Facts { node: None }),
            Err(error) => Err(error),
        }
    }

    fn plan(&self, facts: &Facts, now: &Conditions) -> Plan<Action> {
        let mut plan = Plan::default();
        // Stated for a K3s that is ours or adopted only: the Node of one that is refused is not ours to label.
        let registered = now.get("node").is_some();
        let Some(node) = facts.node.as_ref().filter(|_| registered) else {
            plan.waits.push(
                Wait::new("labels", "the Node", "its API object carries the labels")
                    .poll(Duration::from_secs(if registered { 1 } else { 5 })),
            );
            return plan;
        };
        let owned = |key: &String| node.managers.get(key).is_some_and(|m| m.iter().any(|m| m == MANAGER));
        let mut wanted = BTreeMap::new();
        let mut changes = Vec::new();
        for (key, value) in &self.labels {
            let there = node.labels.get(key);
            let others: Vec<_> =
                node.managers.get(key).into_iter().flatten().filter(|m| *m != MANAGER).cloned().collect();
            match there {
                Some(there) if there != value && !others.is_empty() => plan.refuse(
                    format!("labels/{key}"),
                    format!("set {key}={value}"),
                    format!("{key}={there} is kept by {}", others.join(", ")),
                    format!("remove it there (`kubectl label node {} {key}-`), or from the settings", node.name),
                ),
                Some(there) if there == value => {
                    wanted.insert(key.clone(), value.clone());
                    if !owned(key) {
                        changes.push(format!("{key}={value} (taken over)"));
                    }
                }
                _ => {
                    wanted.insert(key.clone(), value.clone());
                    changes.push(format!("{key}={value}"));
                }
            }
        }
        let dropped = node.labels.keys().filter(|key| owned(key) && !wanted.contains_key(*key));
        changes.extend(dropped.map(|key| match node.managers.get(key).map_or(0, Vec::len) {
            // Somebody else keeps it too: it stays on the Node.
            2.. => format!("{key} no longer kept"),
            _ => format!("{key} removed"),
        }));
        if changes.is_empty() {
            if plan.refusals.is_empty() {
                plan.state("labels", "applied");
            }
        } else {
            let action = Action { node: node.name.clone(), labels: wanted, changes };
            plan.step("labels", action, "the settings say so");
        }
        plan
    }

    async fn apply(&self, action: &Action, host: &dyn Change, _: &Progress) -> Result<(), PortError> {
        host.apply_labels(&k3s_admin_kubeconfig(), &action.node, &action.labels).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::Ready;

    fn node(labels: &[(&str, &str, &str)]) -> Facts {
        let mut managers = BTreeMap::<String, Vec<String>>::new();
        for (key, _, manager) in labels {
            managers.entry(key.to_string()).or_default().push(manager.to_string());
        }
        let node = NodeObject {
            name: "n1".into(),
            uid: "u".into(),
            labels: labels.iter().map(|(k, v, _)| (k.to_string(), v.to_string())).collect(),
            managers,
            ready: Ready::True,
            ready_message: String::new(),
            internal_ips: Vec::new(),
            taints: Vec::new(),
            kubelet_version: "v1.34.1+k3s1".into(),
        };
        Facts { node: Some(node) }
    }

    fn plan(settings: &[(&str, &str)], facts: &Facts) -> Plan<Action> {
        let labels = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Labels { labels, name: None }.plan(facts, &Conditions::from_pairs([("node", "ready")]))
    }

    #[test]
    fn missing_labels_are_set_and_forgotten_ones_removed() {
        let facts = node(&[("old", "1", MANAGER), ("kept", "x", MANAGER), ("foreign", "y", "kubectl-label")]);
        let plan = plan(&[("role", "kafka"), ("kept", "x")], &facts);
        assert_eq!(plan.steps[0].action.to_string(), "label Node n1: role=kafka, old removed");
        assert_eq!(plan.steps[0].action.labels.len(), 2);
    }

    #[test]
    fn a_forgotten_label_that_somebody_else_keeps_too_stays() {
        let plan = plan(&[], &node(&[("old", "1", MANAGER), ("old", "1", "kubectl-label")]));
        assert_eq!(plan.steps[0].action.changes, ["old no longer kept"]);
    }

    #[test]
    fn what_somebody_else_keeps_differently_is_left_alone_and_said_and_holds_nothing_back() {
        let plan = plan(&[("role", "kafka"), ("zone", "a")], &node(&[("zone", "b", "kubelet")]));
        assert_eq!(plan.refusals[0].why, "zone=b is kept by kubelet");
        assert_eq!(plan.steps[0].action.labels.keys().collect::<Vec<_>>(), ["role"]);
    }

    #[test]
    fn an_equal_label_is_owned_too_so_that_it_stays() {
        let plan = plan(&[("role", "kafka")], &node(&[("role", "kafka", "kubectl-label")]));
        assert_eq!(plan.steps[0].action.changes, ["role=kafka (taken over)"]);
    }

    #[test]
    fn a_node_of_a_k3s_that_is_not_ours_is_left_alone() {
        let labels = BTreeMap::from([("role".to_string(), "kafka".to_string())]);
        let plan = Labels { labels, name: None }.plan(&node(&[]), &Conditions::default());
        assert!(plan.steps.is_empty());
        assert_eq!(plan.waits[0].what, "the Node");
    }

    #[test]
    fn nothing_is_done_when_all_is_as_it_should_be() {
        let plan = plan(&[("role", "kafka")], &node(&[("role", "kafka", MANAGER), ("x", "y", "kubelet")]));
        assert!(plan.steps.is_empty());
        assert_eq!(plan.conditions["labels"], "applied");
    }
}
