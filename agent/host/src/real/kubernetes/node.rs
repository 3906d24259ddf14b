//! What is looked at of a Node (`core/v1`, Kubernetes 1.34); all else is passed over where it lies.

use super::taints;
use bowline_ports::{CORDONED, NodeObject, OWN_TAINTS, Ready};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::BTreeMap;

/// A Node as the API answers it: what is empty it leaves out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    managed_fields: Vec<Managed>,
}

/// What one manager owns.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Managed {
    manager: String,
    fields_v1: Fields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "f:metadata")]
    metadata: OfMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OfMetadata {
    #[serde(rename = "f:labels")]
    labels: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    /// Whole: those of others are written as they were read.
    pub(super) taints: Vec<Value>,
    unschedulable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    conditions: Vec<Condition>,
    addresses: Vec<Address>,
    node_info: NodeInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    r#type: String,
    address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeInfo {
    kubelet_version: String,
}

impl Node {
    /// As the port tells of it.
    pub(super) fn describe(self, name: &str) -> NodeObject {
        let Node { metadata, spec, status } = self;
        let mut managers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Managed { manager, fields_v1 } in metadata.managed_fields.into_iter().filter(|one| !one.manager.is_empty())
        {
            for key in fields_v1.metadata.labels.keys().filter_map(|key| key.strip_prefix("f:")) {
                let of = managers.entry(key.to_owned()).or_default();
                if !of.contains(&manager) {
                    of.push(manager.clone());
                }
            }
        }
        let condition = status.conditions.into_iter().find(|condition| condition.r#type == "Ready").unwrap_or_default();
        let mut annotations = metadata.annotations;
        let internal = status.addresses.iter().filter(|address| address.r#type == "InternalIP");
        NodeObject {
            name: name.to_owned(),
            uid: metadata.uid,
            labels: metadata.labels,
            managers,
            ready: match condition.status.as_str() {
                "True" => Ready::True,
                "False" => Ready::False,
                _ => Ready::Unknown,
            },
            ready_message: condition.message,
            internal_ips: internal.filter_map(|address| address.address.parse().ok()).collect(),
            taints: spec.taints.iter().map(taints::text).collect(),
            own_taints: annotations.remove(OWN_TAINTS),
            unschedulable: spec.unschedulable,
            cordoned: annotations.contains_key(CORDONED),
            kubelet_version: status.node_info.kubelet_version,
        }
    }
}
