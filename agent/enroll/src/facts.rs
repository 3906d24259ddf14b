//! What an issuer read before it decides: everything is looked at first.

use crate::claim::Claim;
use crate::token::LIFETIME;
use crate::wire::Agreed;
use crate::{NodeName, persistent};
use bowline_settings::{Secret, Taint};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// An object as it was read: a change names what it was read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// What it says.
    pub value: T,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

/// The condition `Ready` of a Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The kubelet says that all is well.
    True,
    /// The kubelet says that something is not: it lives.
    False,
    /// The control plane says that it heard nothing; also a Node without the condition.
    Unknown,
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its addresses of type `InternalIP`.
    pub internal_ips: Vec<IpAddr>,
    /// Its condition `Ready`.
    pub ready: Ready,
    /// Since when that is `Unknown`, seconds since 1970, by the clock of the server whose controller said so.
    pub unknown_since: Option<u64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The field managers of each label.
    pub managers: BTreeMap<String, Vec<String>>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// The taints that Bowline set ([`crate::keep::TAINTS_ANNOTATION`]), as the annotation has them.
    pub owned_taints: Option<String>,
    /// Whether it is being deleted (it has a deletionTimestamp, and finalizers).
    pub deleting: bool,
}

/// The Secret `kube-system/NODE.node-password.k3s`: its field `hash`.
pub type Password = String;

/// A bootstrap token of Bowline's that is there, also an expired one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The name of the Secret in `kube-system`.
    pub object: String,
    /// Its uid.
    pub uid: String,
    /// Its description: whose it is.
    pub node: String,
    /// When it expires, seconds since 1970.
    pub expires: u64,
}

impl Token {
    /// Whether it is worth nothing any more; or would be worth something for much longer than it was to last: the servers' clock was
    /// set back. Those of two servers may differ by as much as it lasts. By a clock that is not synchronised none is: the control plane
    /// itself removes tokens that have expired.
    pub fn is_over(&self, now: u64, synchronised: bool) -> bool {
        synchronised && (self.expires <= now || self.expires > now.saturating_add(2 * LIFETIME.as_secs()))
    }
}

/// A member of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name of its node.
    pub node: String,
    /// Whether it answers, and is no learner.
    pub healthy: bool,
}

/// The Lease under which one server joins at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLease {
    /// Whose turn it is; None: it was given back.
    pub holder: Option<NodeName>,
    /// How long this issuer has watched it stand still, by its own monotonic clock.
    pub still_for: Duration,
}

/// What the issuer knows of its own cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// SHA-256 of the CA bundle: 64 lower-case hexadecimal digits.
    pub ca_hash: String,
    /// The server token in its full form (`K10…`).
    pub server_token: Secret,
    /// Whether the datastore is embedded etcd.
    pub etcd: bool,
    /// etcd's members.
    pub members: Vec<Member>,
    /// Where issuers answer, `ADDRESS:PORT`.
    pub issuers: Vec<String>,
    /// K3s's servers, `https://ADDRESS:6443`.
    pub servers: Vec<String>,
    /// The settings to agree on.
    pub agreed: Agreed,
    /// The release that this server runs.
    pub kubernetes: String,
}

/// Everything that a decision about one name is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The claim of the name.
    pub claim: Option<Read<Claim>>,
    /// The Node of the name.
    pub node: Option<Read<Node>>,
    /// How long this issuer has watched the node's Lease stand still, by its own monotonic clock: since it first saw
    /// what it sees now, be that a Lease of this renewTime, or none. Zero when it has not watched.
    pub lease_still_for: Duration,
    /// Of that, what was watched without longer gaps: while nobody looked, the API may not have taken a renewal.
    pub lease_watched_for: Duration,
    /// For how long the issuer's machine has been up: of a silence that it is told of, no more is believed. While all were off, or
    /// clocks were wrong, nobody could speak.
    pub up: Duration,
    /// The node-password Secret of the name.
    pub password: Option<Read<Password>>,
    /// The bootstrap tokens of the name.
    pub tokens: Vec<Token>,
    /// The join Lease; needed for servers only.
    pub join: Option<Read<JoinLease>>,
    /// The cluster.
    pub cluster: Cluster,
    /// Persistent volumes; read only of a node that wishes for some, or did.
    pub persistent: persistent::Found,
    /// This server's clock, seconds since 1970.
    pub now: u64,
    /// Whether that clock is synchronised.
    pub synchronised: bool,
}

impl Facts {
    /// Whether the claim never became a Node and its time is over. Where this server's clock is not synchronised, which did not write
    /// the claim perhaps, it has to have watched for that time itself.
    pub fn claim_is_over(&self) -> bool {
        self.claim.as_ref().map(|claim| &claim.value).is_some_and(|claim| {
            let watched =
                claim.expires().is_some_and(|end| self.lease_still_for.as_secs() >= end.saturating_sub(claim.issued));
            claim.is_expired(self.now, self.synchronised) && (self.synchronised || watched)
        })
    }
}
