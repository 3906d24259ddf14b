//! The parts of a Node that Bowline looks at.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The status of a Node's `Ready` condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// The kubelet says yes.
    True,
    /// The kubelet says no.
    False,
    /// Nobody has heard from the kubelet, or it has not spoken yet.
    Unknown,
}

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeObject {
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Label key -> the field managers that own it.
    pub managers: BTreeMap<String, Vec<String>>,
    /// The Ready condition.
    pub ready: Ready,
    /// The Ready condition's own message.
    pub ready_message: String,
    /// `InternalIP` addresses.
    pub internal_ips: Vec<IpAddr>,
    /// `spec.taints` as `key=value:effect`.
    pub taints: Vec<String>,
    /// `status.nodeInfo.kubeletVersion` (`v1.34.1+k3s1`).
    pub kubelet_version: String,
}
