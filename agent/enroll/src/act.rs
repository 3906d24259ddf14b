//! What an issuer does. The host does these in their order and stops at the first that fails.

use crate::claim::Claim;
use crate::facts::{Node, Read};
use crate::token::BootstrapToken;
use crate::wire::PasswordHash;
use crate::{NodeName, persistent};
use bowline_settings::Taint;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One change of the cluster. What deletes names what was looked at: a conflict means that something moved, and that
/// all is to be looked at again. To find deleted what is to be deleted is success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Create the claim; it must not exist.
    CreateClaim(Claim),
    /// Replace the claim's data.
    UpdateClaim {
        /// What it says afterwards.
        claim: Claim,
        /// What it was read as.
        resource_version: String,
    },
    /// Delete the claim.
    DeleteClaim {
        /// Whose.
        name: NodeName,
        /// Its uid.
        uid: String,
        /// What it was read as.
        resource_version: String,
    },
    /// Take or renew the join Lease.
    TakeJoin {
        /// Who joins.
        holder: NodeName,
        /// How long it lasts.
        lasts: Duration,
        /// The issuer's clock, seconds since 1970: what makes a renewal a change, which others see. None believes it.
        at: u64,
        /// What the Lease was read as; None: create it.
        resource_version: Option<String>,
    },
    /// Give the join Lease back.
    ReleaseJoin {
        /// What it was read as.
        resource_version: String,
    },
    /// Delete a Node.
    DeleteNode {
        /// Which.
        name: NodeName,
        /// Its uid.
        uid: String,
        /// What it was read as.
        resource_version: String,
    },
    /// Delete the Secret `kube-system/NODE.node-password.k3s`.
    DeletePassword {
        /// Whose.
        name: NodeName,
        /// Its uid.
        uid: String,
        /// What it was read as.
        resource_version: String,
    },
    /// Create that Secret; it must not exist.
    StorePassword {
        /// Whose.
        name: NodeName,
        /// Its field `hash`.
        hash: PasswordHash,
    },
    /// Delete a bootstrap token.
    DeleteToken {
        /// The name of the Secret in `kube-system`.
        object: String,
        /// Its uid.
        uid: String,
    },
    /// Create a bootstrap token of the group [`crate::token::GROUP`].
    MintToken {
        /// Id and secret.
        token: BootstrapToken,
        /// Its description.
        name: NodeName,
        /// Seconds since 1970.
        expires: u64,
    },
    /// Apply labels to a Node, server-side and never forced, as the manager [`crate::keep::MANAGER`].
    SetLabels {
        /// Which Node.
        name: NodeName,
        /// Its uid.
        uid: String,
        /// All labels that the servers see to afterwards.
        labels: BTreeMap<String, String>,
    },
    /// Replace a Node's taints, and the record of those that are Bowline's.
    SetTaints {
        /// Which Node.
        name: NodeName,
        /// Its uid.
        uid: String,
        /// What it was read as.
        resource_version: String,
        /// All its taints afterwards.
        taints: Vec<Taint>,
        /// The annotation [`crate::keep::TAINTS_ANNOTATION`] afterwards.
        owned: String,
    },
    /// Change a persistent volume of a node.
    Persistent(persistent::Change),
}

impl Act {
    /// The end of a claim that was looked at. Where tickets of its name were revoked, that much of it stays.
    pub(crate) fn end(claim: &Read<Claim>, now: u64) -> Self {
        let (value, resource_version) = (&claim.value, claim.resource_version.clone());
        if value.barred.is_empty() {
            return Self::DeleteClaim { name: value.name.clone(), uid: claim.uid.clone(), resource_version };
        }
        let claim = Claim { node_uid: None, replaces: None, removed: None, ..value.revoke(now, value.refused_keys()) };
        Self::UpdateClaim { claim, resource_version }
    }

    /// The deletion of a Node that was looked at.
    pub(crate) fn delete_node(name: &NodeName, node: &Read<Node>) -> Self {
        let (uid, resource_version) = (node.uid.clone(), node.resource_version.clone());
        Self::DeleteNode { name: name.clone(), uid, resource_version }
    }

    /// The deletion of a node-password Secret that was looked at.
    pub(crate) fn delete_password<T>(name: &NodeName, secret: &Read<T>) -> Self {
        let (uid, resource_version) = (secret.uid.clone(), secret.resource_version.clone());
        Self::DeletePassword { name: name.clone(), uid, resource_version }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateClaim(claim) => write!(f, "claim {} for machine {}", claim.name, claim.machine_key.short()),
            Self::UpdateClaim { claim, .. } => {
                write!(f, "write the claim of {} (machine {})", claim.name, claim.machine_key.short())
            }
            Self::DeleteClaim { name, .. } => write!(f, "end the claim of {name}"),
            Self::TakeJoin { holder, .. } => write!(f, "let {holder} join as the only server"),
            Self::ReleaseJoin { .. } => f.write_str("let the next server join"),
            Self::DeleteNode { name, uid, .. } => write!(f, "delete the Node {name} ({uid})"),
            Self::DeletePassword { name, .. } => write!(f, "delete the node password of {name}"),
            Self::StorePassword { name, .. } => write!(f, "store the node password of {name}"),
            Self::DeleteToken { object, .. } => write!(f, "delete {object}"),
            Self::MintToken { token, name, .. } => write!(f, "create {} for {name}", token.object_name()),
            Self::SetLabels { name, labels, .. } => write!(f, "set {} labels on {name}", labels.len()),
            Self::SetTaints { name, taints, .. } => write!(f, "set {} taints on {name}", taints.len()),
            Self::Persistent(change) => change.fmt(f),
        }
    }
}
