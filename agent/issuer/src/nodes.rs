//! Who holds which name, and how somebody is put out of one: for `bowline nodes`.

use crate::acts::{self, SECRETS};
use crate::object::{NODE_LABEL, read_claim};
use crate::read::{claims, each};
use bowline_enroll::claim::{Claim, NAMESPACE};
use bowline_enroll::facts::Read;
use bowline_enroll::key::PublicKey;
use bowline_enroll::refusals::{Proven, Refusals};
use bowline_enroll::{Act, NodeName};
use bowline_ports::{ErrorKind, NODES, Objects, PortError, items};
use std::collections::BTreeMap;
use std::fmt;

#[cfg(test)]
mod tests;

/// How often a claim that others write at the same time is looked at anew.
const TRIES: usize = 5;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its machine is a Node.
    Registered,
    /// Its machine was let in, and is no Node yet.
    Pending,
    /// Its machine was a Node, and that Node is not there now.
    Missing,
    /// Nobody holds the name.
    Revoked,
}

impl Standing {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Pending => "pending",
            Self::Missing => "missing",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A claim, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The claim.
    pub claim: Claim,
    /// What became of it.
    pub standing: Standing,
}

/// All claims of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// By their names.
    pub all: Vec<Holder>,
    /// Sentences about claims that cannot be read: somebody wrote them by hand, or a newer Bowline did.
    pub unreadable: Vec<String>,
    /// Whom the servers refused a name that nobody holds, or without a ticket; the latest first.
    pub refused: Refusals,
}

/// All claims, and what became of each.
///
/// # Errors
/// The API does not answer, or says no.
pub async fn holders(objects: &dyn Objects) -> Result<Holders, PortError> {
    let mut nodes = BTreeMap::<String, String>::new();
    let see = |node: &serde_json::Value| {
        let text = |key: &str| node["metadata"][key].as_str().map(String::from);
        nodes.extend(text("name").zip(text("uid")));
    };
    let ((claims, mut refused), ()) = tokio::try_join!(claims(objects), each(objects, NODES, see))?;
    let mut holders = Holders::default();
    for claim in claims {
        match claim {
            Ok(Read { value: claim, .. }) => {
                let node = nodes.get(claim.name.as_str()).map(String::as_str);
                let standing = standing(&claim, node);
                holders.all.push(Holder { claim, standing });
            }
            Err(error) => holders.unreadable.push(error.message),
        }
    }
    holders.all.sort_by(|one, other| one.claim.name.cmp(&other.claim.name));
    // Who was let in since then was refused for a reason that is gone.
    let since = |one: &Proven| {
        let mut claims = holders.all.iter().map(|holder| &holder.claim);
        claims.any(|claim| claim.name == one.name && claim.role == one.role && claim.issued >= one.at)
    };
    refused.proven.retain(|one| !since(one));
    refused.proven.sort_by_key(|one| std::cmp::Reverse(one.at));
    refused.unproven.sort_by_key(|one| std::cmp::Reverse(one.at));
    holders.refused = refused;
    Ok(holders)
}

/// `node` is the uid of the Node of this name.
fn standing(claim: &Claim, node: Option<&str>) -> Standing {
    if claim.revoked.is_some() {
        return Standing::Revoked;
    }
    match (node, claim.node_uid.as_deref()) {
        // That of the machine which had the name before.
        (Some(node), None) if claim.replaces.as_deref() == Some(node) => Standing::Pending,
        // The next sweep notes its uid.
        (Some(_), _) => Standing::Registered,
        (None, Some(_)) => Standing::Missing,
        (None, None) => Standing::Pending,
    }
}

/// What a revocation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The claim is ended.
    Done {
        /// As it is now.
        claim: Box<Claim>,
        /// It was so before, for all these keys.
        already: bool,
        /// How many bootstrap tokens were deleted.
        tokens: usize,
    },
    /// Nobody had held it, and the ticket is refused all the same.
    Unheld,
    /// There is no such claim. Nothing was changed.
    Unknown {
        /// The names that have claims.
        names: Vec<NodeName>,
    },
}

/// Ends the claim of a name: tickets of these keys ([`bowline_enroll::key::ClusterKey::id`]) are refused from now on,
/// and the tokens that its machine was given and has not used are deleted. The claim comes first: an issuer writes it
/// before it mints, so that whoever asks now finds it moved. What was minted in between, the next sweep deletes.
/// Of a name that nobody holds nothing is changed, unless there is a key that `nobody` has: by that it gets a claim.
///
/// # Errors
/// The API does not answer, or says no. What was done is done; to do it again does the rest.
pub async fn revoke(
    objects: &dyn Objects,
    name: &NodeName,
    now: u64,
    keys: &[String],
    nobody: Option<PublicKey>,
) -> Result<Revocation, PortError> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{}", Claim::object_name(name));
    let mut moved =
        PortError::new(ErrorKind::Changed, format!("the claim of {name} is written by others all the time"));
    for _ in 0..TRIES {
        let Some(object) = objects.get(&path).await? else {
            if let Some(nobody) = nobody {
                let claim = Claim::of_nobody(name.clone(), nobody, now, keys.to_vec());
                match acts::act(objects, &Act::CreateClaim(claim)).await {
                    Ok(()) => return Ok(Revocation::Unheld),
                    Err(error) if error.kind == ErrorKind::Changed => {
                        moved = error;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let (claims, _) = claims(objects).await?;
            let names = claims.into_iter().flatten().map(|claim| claim.value.name).collect();
            return Ok(Revocation::Unknown { names });
        };
        let before = read_claim(&object)?;
        let known = before.value.revoked.as_ref().map(|revoked| revoked.keys.clone()).unwrap_or_default();
        let already = before.value.revoked.is_some() && keys.iter().all(|key| known.contains(key));
        let claim = if already {
            before.value
        } else {
            // A key that another server still has stays on record.
            let more = keys.iter().filter(|key| !known.contains(key)).cloned();
            let claim = before.value.revoke(now, known.iter().cloned().chain(more).collect());
            let act = Act::UpdateClaim { claim: claim.clone(), resource_version: before.resource_version };
            match acts::act(objects, &act).await {
                Ok(()) => claim,
                Err(error) if error.kind == ErrorKind::Changed => {
                    moved = error;
                    continue;
                }
                Err(error) => return Err(error),
            }
        };
        let tokens = delete_tokens(objects, name).await?;
        return Ok(Revocation::Done { claim: Box::new(claim), already, tokens });
    }
    Err(moved)
}

/// Deletes every bootstrap token of a name, also one that somebody wrote a strange expiry into.
async fn delete_tokens(objects: &dyn Objects, name: &NodeName) -> Result<usize, PortError> {
    let path = format!("{SECRETS}?labelSelector={NODE_LABEL}%3D{name}");
    let list = objects.get(&path).await?;
    let mut count = 0;
    let is_token = |secret: &&serde_json::Value| secret["type"] == "bootstrap.kubernetes.io/token";
    for secret in items(&path, list.as_ref())?.iter().filter(is_token) {
        let text = |key: &str| secret["metadata"][key].as_str().map(String::from);
        let (Some(object), Some(uid)) = (text("name"), text("uid")) else { continue };
        acts::act(objects, &Act::DeleteToken { object, uid }).await?;
        count += 1;
    }
    Ok(count)
}
