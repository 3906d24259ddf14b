//! What joiners and nodes send.

use super::{Labels, MAX_ADDRESSES, MAX_TAINTS, PasswordHash, WireError, fits, read, version, write};
use crate::key::PublicKey;
use crate::persistent::{self, Wish};
use crate::{NodeName, Role};
use bowline_settings::Taint;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The only fields that are read before a proof is verified.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Peek {
    /// The role that is asked for.
    pub role: Role,
    /// The name that is asked for.
    pub name: NodeName,
}

/// Reads role and name of any request, and nothing else of it.
///
/// # Errors
/// A body that is too large, no JSON, or without the two, or with one of them twice.
pub fn peek(body: &[u8]) -> Result<Peek, WireError> {
    fits(body)?;
    serde_json::from_slice(body).map_err(|_| WireError("the body has no role and name that could be read".into()))
}

/// What a node runs, for people and for agents without a version of their own; at most 64 printable characters each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Versions {
    /// Bowline's.
    pub bowline: String,
    /// Kubernetes's, where it is decided: `v1.34.1+k3s1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
}

impl Versions {
    fn check(&self) -> Result<(), WireError> {
        let good =
            |text: &str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good(&self.bowline) && self.kubernetes.as_deref().is_none_or(good) {
            return Ok(());
        }
        Err(WireError("a version has 1 to 64 printable characters".into()))
    }
}

/// The body of `POST /v1/enroll`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EnrollRequest {
    /// [`super::VERSION`].
    pub version: u32,
    /// As what.
    pub role: Role,
    /// By which name.
    pub name: NodeName,
    /// Who the machine is.
    pub machine_key: PublicKey,
    /// The node's own addresses; 1 to [`MAX_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// Whether it has no Kubernetes data of this cluster: a server that says so becomes a new member of etcd, and the
    /// old one of its name goes, also when the machine key is the same.
    #[serde(default)]
    pub fresh: bool,
    /// Labels that it would have.
    #[serde(default)]
    pub labels: Labels,
    /// Taints that it would have; at most [`MAX_TAINTS`].
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// What it runs.
    pub versions: Versions,
    /// For K3s: the scrypt hash of its node password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_password_hash: Option<PasswordHash>,
}

impl EnrollRequest {
    /// Reads the body, after its proof was verified.
    ///
    /// # Errors
    /// A sentence for the joiner.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let request: Self = read(body)?;
        version(request.version)?;
        request.versions.check()?;
        taints(&request.taints)?;
        if request.addresses.is_empty() || request.addresses.len() > MAX_ADDRESSES {
            return Err(WireError(format!("a node has 1 to {MAX_ADDRESSES} addresses")));
        }
        Ok(request)
    }

    /// The body to send.
    pub fn to_body(&self) -> Vec<u8> {
        write(self)
    }
}

/// How far a node is, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It was let in, and its Kubernetes is not up. A server that says so keeps its place in the queue.
    Joining,
    /// Kubernetes is up; volumes or labels of its own are not in place.
    Initializing,
    /// All that it has to do is done: the startup taint can go.
    Settled,
}

/// The body of `POST /v1/node`: what a node asks for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeRequest {
    /// [`super::VERSION`].
    pub version: u32,
    /// Its role.
    pub role: Role,
    /// Its name.
    pub name: NodeName,
    /// Its key, which has to be the claim's.
    pub machine_key: PublicKey,
    /// How far it is.
    pub phase: Phase,
    /// Labels that it would have.
    #[serde(default)]
    pub labels: Labels,
    /// Taints that it would have; at most [`MAX_TAINTS`].
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Persistent volumes that it would have; at most [`persistent::MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub persistent_volumes: Vec<Wish>,
    /// What it runs.
    pub versions: Versions,
}

impl NodeRequest {
    /// Reads the body, after its proof was verified.
    ///
    /// # Errors
    /// A sentence for the node.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let request: Self = read(body)?;
        version(request.version)?;
        request.versions.check()?;
        taints(&request.taints)?;
        persistent_volumes(&request.persistent_volumes)?;
        Ok(request)
    }

    /// The body to send.
    pub fn to_body(&self) -> Vec<u8> {
        write(self)
    }
}

fn persistent_volumes(wishes: &[Wish]) -> Result<(), WireError> {
    if wishes.len() > persistent::MOST {
        return Err(WireError(format!("more than {} persistent volumes", persistent::MOST)));
    }
    for (index, wish) in wishes.iter().enumerate() {
        wish.check().map_err(WireError)?;
        if wishes.iter().take(index).any(|other| other.name == wish.name || other.claim == wish.claim) {
            return Err(WireError(format!("two persistent volumes have the name {} or its claim", wish.name)));
        }
    }
    Ok(())
}

/// The body of `POST /v1/leave`: the name is given back. The kubelet has stopped before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LeaveRequest {
    /// [`super::VERSION`].
    pub version: u32,
    /// Its role.
    pub role: Role,
    /// Its name.
    pub name: NodeName,
    /// Its key, which has to be the claim's.
    pub machine_key: PublicKey,
}

impl LeaveRequest {
    /// Reads the body, after its proof was verified.
    ///
    /// # Errors
    /// A sentence for the node.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let request: Self = read(body)?;
        version(request.version)?;
        Ok(request)
    }

    /// The body to send.
    pub fn to_body(&self) -> Vec<u8> {
        write(self)
    }
}

fn taints(taints: &[Taint]) -> Result<(), WireError> {
    if taints.len() > MAX_TAINTS {
        return Err(WireError(format!("more than {MAX_TAINTS} taints")));
    }
    for (index, taint) in taints.iter().enumerate() {
        if taints.iter().take(index).any(|other| other.key == taint.key && other.effect == taint.effect) {
            return Err(WireError(format!("two taints have the key {} and the effect {}", taint.key, taint.effect)));
        }
    }
    Ok(())
}
