//! The labels of this Node: applied by the Kubernetes API as field manager `bowline`, and kept. On servers its taints too,
//! and the end of the startup taint; on agents the servers see to those.
//!
//! Never through K3s's own options: a reserved one there stops the kubelet, and the kubelet would own them.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod cordon;
mod taints;

pub use taints::Taints;

use bowline_engine::{Capability, Conditions, Plan, Wait};
use bowline_ports::{
    CORDONED, Change, ErrorKind, FIELD_MANAGER, Inspect, NodeObject, PortError, Progress, TaintChange, UNCORDON, Write,
    condition, node_name, node_path, uncordon,
};
use bowline_settings::{Filled, fill};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The labels and taints of the settings.
pub struct Labels {
    /// Key and value, which may have facts in braces in it.
    pub labels: BTreeMap<String, String>,
    /// What this node sees to itself of its taints; `None` on agents.
    pub taints: Option<Taints>,
    /// The node's name, where the settings give one.
    pub name: Option<String>,
    /// Whose credentials set them: the administrator's on a server, the kubelet's own on an agent.
    pub kubeconfig: PathBuf,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// This Node; `None` while there is none, or no API to ask.
    pub node: Option<NodeObject>,
    /// It was cordoned for the release of a volume, which is over.
    pub uncordon: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Apply the labels.
    Label {
        /// The Node.
        node: String,
        /// All labels that Bowline owns afterwards.
        labels: BTreeMap<String, String>,
        /// What changes, for people.
        changes: Vec<String>,
    },
    /// Change the taints.
    Taint {
        /// The Node.
        node: String,
        /// Those that come and go.
        change: TaintChange,
        /// What changes, for people.
        changes: Vec<String>,
    },
    /// Let it take pods again.
    Uncordon {
        /// The Node.
        node: String,
    },
    /// Forget that Bowline has told it to take none: it takes them.
    ForgetCordon {
        /// The Node.
        node: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label { node, changes, .. } => write!(f, "label Node {node}: {}", changes.join(", ")),
            Self::Taint { node, changes, .. } => write!(f, "taint Node {node}: {}", changes.join(", ")),
            Self::Uncordon { node } => write!(f, "let Node {node} take pods again"),
            Self::ForgetCordon { node } => write!(f, "take the annotation {CORDONED} off Node {node}"),
        }
    }
}

impl Capability for Labels {
    const NAME: &'static str = "labels";
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        let name = node_name(host, self.name.as_deref()).await?;
        if host.meta(&self.kubeconfig).await?.is_none() {
            return Ok(Facts { node: None, uncordon: false });
        }
        let uncordon = !uncordon(host).await?.is_empty();
        match host.node(&self.kubeconfig, &name).await {
            Ok(node) => Ok(Facts { node, uncordon }),
            Err(PortError { kind: ErrorKind::Unreachable | ErrorKind::Timeout, .. }) => {
                Ok(Facts { node: None, uncordon })
            }
            Err(error) => Err(error),
        }
    }

    fn plan(&self, facts: &Facts, now: &Conditions) -> Plan<Action> {
        let mut plan = Plan::default();
        // `cluster` reads the Node now and then, and tells by this that others have changed something.
        let _ = (now.get(condition::NODE_SEEN), now.get(condition::CORDON_OVER));
        if now.is(condition::LEAVING, "yes") {
            return plan;
        }
        // Stated for a K3s that is ours or adopted only: the Node of one that is refused is not ours to label.
        let registered = now.get(condition::NODE).is_some();
        let Some(node) = facts.node.as_ref().filter(|_| registered) else {
            plan.waits.push(
                Wait::new("labels", "the Node", "its API object carries the labels")
                    .poll(Duration::from_secs(if registered { 1 } else { 5 })),
            );
            return plan;
        };
        let owned = |key: &String| node.managers.get(key).is_some_and(|m| m.iter().any(|m| m == FIELD_MANAGER));
        let mut wanted = BTreeMap::new();
        let mut changes = Vec::new();
        let filled = fill(&self.labels, |fact| now.get(&fact.condition()).map(String::from));
        for key in self.held(&filled, &mut plan) {
            // What is on the Node already stays meanwhile.
            if let Some(there) = node.labels.get(key).filter(|_| owned(key)) {
                wanted.insert(key.clone(), there.clone());
            }
        }
        for (key, value) in &filled.labels {
            let there = node.labels.get(key);
            let others: Vec<_> =
                node.managers.get(key).into_iter().flatten().filter(|m| *m != FIELD_MANAGER).cloned().collect();
            match there {
                Some(there) if there != value && !others.is_empty() => plan.refuse(
                    format!("labels/{key}"),
                    format!("set {key}={value}"),
                    format!("{key}={there} is kept by {}", others.join(", ")),
                    match others.iter().all(|other| other == bowline_enroll::keep::MANAGER) {
                        true => "a rule of the servers gives it: change `grant` in [[enroll.allow]] there, or take it out of the settings".into(),
                        false => format!("remove it there (`kubectl label node {} {key}-` on a server), or from the settings", node.name),
                    },
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
        let labelled = changes.is_empty() && plan.refusals.is_empty() && plan.waits.is_empty();
        if labelled {
            plan.state(condition::LABELS, "applied");
        }
        if !changes.is_empty() {
            let action = Action::Label { node: node.name.clone(), labels: wanted, changes };
            plan.step("labels", action, "the settings say so");
        }
        cordon::plan(node, facts.uncordon, now, &mut plan);
        if let Some(taints) = &self.taints {
            taints.plan(node, labelled, now, &mut plan);
        }
        plan
    }

    async fn apply(&self, action: &Action, host: &dyn Change, _: &Progress) -> Result<(), PortError> {
        match action {
            Action::Label { node, labels, .. } => host.apply_labels(&self.kubeconfig, node, labels).await,
            Action::Uncordon { node } => {
                let over = uncordon(host).await?;
                let path = node_path(node);
                let there = host.object(&self.kubeconfig, &path).await?.unwrap_or_default();
                if let Some(end) = cordon::end(&there) {
                    host.write_object(&self.kubeconfig, &path, Write::Merge(&end)).await?;
                }
                // What came meanwhile is not over by this.
                for volume in over {
                    host.remove(&Path::new(UNCORDON).join(volume)).await?;
                }
                Ok(())
            }
            Action::ForgetCordon { node } => {
                let path = node_path(node);
                let there = host.object(&self.kubeconfig, &path).await?.unwrap_or_default();
                match cordon::forget(&there) {
                    Some(patch) => host.write_object(&self.kubeconfig, &path, Write::Merge(&patch)).await,
                    None => Ok(()),
                }
            }
            Action::Taint { node, change, .. } => host.set_taints(&self.kubeconfig, node, change).await,
        }
    }
}

impl Labels {
    /// Waits for the facts that labels lack, refuses what is no value of one; gives the keys of both.
    fn held<'a>(&self, filled: &'a Filled, plan: &mut Plan<Action>) -> Vec<&'a String> {
        for (key, what, why) in filled.waits() {
            plan.waits.push(Wait::new(format!("labels/{key}"), what, why));
        }
        for (key, value, why, hint) in filled.refusals() {
            let value = self.labels.get(key).unwrap_or(value);
            plan.refuse(format!("labels/{key}"), format!("set {key}={value}"), why, hint);
        }
        filled.missing.iter().map(|(key, _)| key).chain(filled.wrong.iter().map(|(key, _)| key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::Ready;

    pub(crate) fn node(labels: &[(&str, &str, &str)]) -> Facts {
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
            own_taints: None,
            unschedulable: false,
            cordoned: false,
            kubelet_version: "v1.34.1+k3s1".into(),
        };
        Facts { node: Some(node), uncordon: false }
    }

    fn plan(settings: &[(&str, &str)], facts: &Facts) -> Plan<Action> {
        let labels = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Labels { labels, taints: None, name: None, kubeconfig: PathBuf::new() }
            .plan(facts, &Conditions::from_pairs([("node", "ready")]))
    }

    fn applied(plan: &Plan<Action>) -> (&BTreeMap<String, String>, &[String]) {
        let Action::Label { labels, changes, .. } = &plan.steps[0].action else { panic!("{plan:?}") };
        (labels, changes)
    }

    #[test]
    fn missing_labels_are_set_and_forgotten_ones_removed() {
        let facts =
            node(&[("old", "1", FIELD_MANAGER), ("kept", "x", FIELD_MANAGER), ("foreign", "y", "kubectl-label")]);
        let plan = plan(&[("role", "kafka"), ("kept", "x")], &facts);
        assert_eq!(plan.steps[0].action.to_string(), "label Node n1: role=kafka, old removed");
        assert_eq!(applied(&plan).0.len(), 2);
    }

    #[test]
    fn a_forgotten_label_that_somebody_else_keeps_too_stays() {
        let plan = plan(&[], &node(&[("old", "1", FIELD_MANAGER), ("old", "1", "kubectl-label")]));
        assert_eq!(applied(&plan).1, ["old no longer kept"]);
    }

    #[test]
    fn what_somebody_else_keeps_differently_is_left_alone_and_said_and_holds_nothing_back() {
        let plan = plan(&[("role", "kafka"), ("zone", "a")], &node(&[("zone", "b", "kubelet")]));
        assert_eq!(plan.refusals[0].why, "zone=b is kept by kubelet");
        assert_eq!(applied(&plan).0.keys().collect::<Vec<_>>(), ["role"]);
    }

    #[test]
    fn an_equal_label_is_owned_too_so_that_it_stays() {
        let plan = plan(&[("role", "kafka")], &node(&[("role", "kafka", "kubectl-label")]));
        assert_eq!(applied(&plan).1, ["role=kafka (taken over)"]);
    }

    #[test]
    fn a_node_of_a_k3s_that_is_not_ours_is_left_alone() {
        let labels = BTreeMap::from([("role".to_string(), "kafka".to_string())]);
        let spec = Labels { labels, taints: None, name: None, kubeconfig: PathBuf::new() };
        let plan = spec.plan(&node(&[]), &Conditions::default());
        assert!(plan.steps.is_empty());
        assert_eq!(plan.waits[0].what, "the Node");
    }

    #[test]
    fn a_label_whose_fact_is_missing_or_no_value_is_held_back_alone() {
        let labels = [("zone", "{zone}"), ("gpu", "{gpu}"), ("at", "{address}"), ("role", "kafka")]
            .map(|(key, value)| (key.to_string(), value.to_string()));
        let labels = Labels { labels: BTreeMap::from(labels), taints: None, name: None, kubeconfig: PathBuf::new() };
        let now = [("node", "ready"), ("fact/zone", "a"), ("fact/address", "fd00::7")];
        let plan = labels.plan(&node(&[("gpu", "old", FIELD_MANAGER)]), &Conditions::from_pairs(now));
        let Action::Label { labels: wanted, changes, .. } = &plan.steps[0].action else { panic!("{:?}", plan.steps) };
        assert_eq!(changes, &["role=kafka", "zone=a"]);
        assert_eq!(wanted["gpu"], "old");
        assert_eq!((plan.waits[0].item.as_str(), plan.waits[0].what.as_str()), ("labels/gpu", "the fact {gpu}"));
        assert_eq!((plan.waits.len(), plan.refusals.len()), (1, 1));
        assert!(plan.refusals[0].why.starts_with("“fd00::7” is not a label value"), "{}", plan.refusals[0].why);
        let there = [("gpu", "old", FIELD_MANAGER), ("role", "kafka", FIELD_MANAGER), ("zone", "a", FIELD_MANAGER)];
        let after = labels.plan(&node(&there), &Conditions::from_pairs(now));
        assert!(after.steps.is_empty() && !after.conditions.contains_key("labels"));
    }

    #[test]
    fn nothing_is_done_when_all_is_as_it_should_be() {
        let plan = plan(&[("role", "kafka")], &node(&[("role", "kafka", FIELD_MANAGER), ("x", "y", "kubelet")]));
        assert!(plan.steps.is_empty());
        assert_eq!(plan.conditions["labels"], "applied");
    }
}
