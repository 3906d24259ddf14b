//! Persistent volumes: what a node's settings tell Kubernetes of its disks, and what is to be done about them.
//!
//! A node speaks of its own disks only: the object is made here, with the node's name in its affinity, and which claims
//! it may be for, the rules say. An object is made over only while no claim is bound to it.

mod object;

pub use object::{Sent, read_volume, sent};

use crate::NodeName;
use crate::claim::MANAGED_BY;
use crate::facts::Read;
use crate::wire::Cut;
use bowline_settings::{ClaimName, EnrollRule, STORAGE_CLASS, Volume, is_object_name, object_name, persistent_path};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The path of all of them in the API.
pub const PATH: &str = "/api/v1/persistentvolumes";
/// The path of all StorageClasses.
pub const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
/// The label of an object of Bowline's with the node that it is about.
pub const NODE_LABEL: &str = "bowline/node";
/// The annotation with the volume of the node's settings.
pub const VOLUME_ANNOTATION: &str = "bowline/volume";
/// How many a node may have.
pub const MOST: usize = 16;

/// The path of all that Bowline made.
pub fn managed() -> String {
    format!("{PATH}?labelSelector={}%3D{}", MANAGED_BY.0, MANAGED_BY.1)
}

/// One that a node would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wish {
    /// The name of the object.
    pub name: String,
    /// The volume in the node's settings.
    pub volume: String,
    /// An absolute directory of the node.
    pub path: PathBuf,
    /// The only claim that it is for, `NAMESPACE/NAME`.
    pub claim: String,
    /// Its StorageClass.
    pub class: String,
    /// Bytes of the disk. None while it is not there: what was made stays as it is, and nothing is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
}

impl Wish {
    /// What a volume of a node's settings wishes for, on a disk of so many bytes; None: nothing.
    pub fn of(node: &str, volume: &Volume, capacity: Option<u64>) -> Option<Self> {
        let spec = volume.persistent.as_ref()?;
        Some(Self {
            name: spec.object_name(node, &volume.name),
            volume: volume.name.clone(),
            path: persistent_path(&volume.mount, spec),
            claim: spec.claim.to_string(),
            class: spec.storage_class.clone(),
            capacity,
        })
    }

    /// Why it is none, as a sentence.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let plain = |path: &Path| {
            let parts: Vec<_> = path.components().collect();
            let normal = parts.iter().skip(1).all(|part| matches!(part, Component::Normal(_)));
            parts.first() == Some(&Component::RootDir) && parts.len() > 1 && normal && path.to_str().is_some()
        };
        let bad = |what: &str| Err(format!("the persistent volume of {} has no {what}", self.volume));
        if !is_object_name(&self.name) {
            return bad("name that Kubernetes takes");
        }
        if !is_object_name(&self.class) {
            return bad("name of a StorageClass");
        }
        if self.claim.parse::<ClaimName>().is_err() {
            return bad("claim");
        }
        if !plain(&self.path) || self.path.as_os_str().len() > 1024 {
            return bad("absolute path");
        }
        if !is_object_name(&self.volume) || self.volume.len() > 63 || self.capacity == Some(0) {
            return bad("volume");
        }
        Ok(())
    }
}

/// How a PersistentVolume stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No claim is bound to it.
    Free,
    /// Its claim is bound to it.
    Bound,
    /// The claim that was bound to it is gone, and Kubernetes keeps it from the next one.
    Released,
}

/// A PersistentVolume as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// The node that Bowline made it for; None: somebody else made it.
    pub node: Option<String>,
    /// What Bowline made it from, as far as the object tells.
    pub wish: Wish,
    /// The node that its affinity names, where it names exactly one.
    pub on: Option<String>,
    /// How it stands.
    pub phase: Phase,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Those that Bowline made for any node, and what others made with a wished name.
    pub volumes: Vec<Read<Object>>,
    /// Names of the StorageClasses, of those that are wished, that are there.
    pub classes: Vec<String>,
}

/// Looks as well for what is there by the wished names, and for the classes of what is not.
///
/// # Errors
/// Those of `get`.
pub async fn gather<E, F: Future<Output = Result<Option<Value>, E>>>(
    mut found: Found,
    wishes: &[Wish],
    get: impl Fn(String) -> F,
) -> Result<Found, E> {
    for wish in wishes {
        if found.volumes.iter().any(|volume| volume.value.name == wish.name) {
            continue;
        }
        let there = get(format!("{PATH}/{}", wish.name)).await?;
        found.volumes.extend(there.as_ref().map(read_volume));
        if !found.classes.contains(&wish.class) && get(format!("{CLASSES}/{}", wish.class)).await?.is_some() {
            found.classes.push(wish.class.clone());
        }
    }
    Ok(found)
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Make a StorageClass without a provisioner.
    CreateClass {
        /// Its name.
        name: String,
    },
    /// Make one.
    Create {
        /// Of which node.
        node: String,
        /// What.
        wish: Wish,
    },
    /// Tell how large it is.
    Resize {
        /// Its name.
        name: String,
        /// What it was read as.
        resource_version: String,
        /// Bytes.
        capacity: u64,
    },
    /// Let its claim be bound to it again: the one that was is gone.
    Reopen {
        /// Its name.
        name: String,
        /// What it was read as.
        resource_version: String,
    },
    /// Delete it; no claim is bound to it. Its data stays.
    Delete {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// What it was read as.
        resource_version: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateClass { name } => write!(f, "make the StorageClass {name}"),
            Self::Create { wish, .. } => write!(f, "make the PersistentVolume {} for {}", wish.name, wish.claim),
            Self::Resize { name, capacity, .. } => write!(f, "tell the PersistentVolume {name} its {capacity} bytes"),
            Self::Reopen { name, .. } => write!(f, "let a new claim have the PersistentVolume {name}"),
            Self::Delete { name, .. } => write!(f, "delete the PersistentVolume {name}"),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Changes, in their order.
    pub changes: Vec<Change>,
    /// What cannot be done, or not yet, each with why.
    pub cut: Vec<Cut>,
}

/// What a rule makes of an agent's wishes: those that it permits, and the others with why not. The name of each has the
/// node in it, so that no node can take another's.
pub fn permitted(rule: &EnrollRule, node: &NodeName, wishes: &[Wish]) -> (Vec<Wish>, Vec<Cut>) {
    let (mut good, mut cut) = (Vec::new(), Vec::new());
    for wish in wishes {
        let name = object_name(node.as_str(), &wish.volume);
        let why = if wish.name != name {
            format!("that of an agent's volume {} is called {name}", wish.volume)
        } else if !rule.permit_claims.iter().any(|pattern| pattern.matches(&wish.claim)) {
            format!("the rule \"{}\" does not permit volumes for the claim {}", rule.name, wish.claim)
        } else {
            good.push(wish.clone());
            continue;
        };
        cut.push(Cut { what: what(&wish.name), why, ..Cut::default() });
    }
    (good, cut)
}

fn what(name: &str) -> String {
    format!("the PersistentVolume {name}")
}

/// Compares what a node would have with what is there. What was made and is not wished any more goes, where `goes` says so
/// of its name: whoever knows only a part of the wishes cannot tell by them.
pub fn reconcile(node: &NodeName, wishes: &[Wish], found: &Found, goes: impl Fn(&str) -> bool) -> Outcome {
    let mut outcome = Outcome::default();
    for wish in wishes {
        let there = found.volumes.iter().find(|volume| volume.value.name == wish.name);
        let why = match there.map(|there| &there.value) {
            Some(Object { node: None, .. }) => Some("it is there already, and was not made by Bowline".to_owned()),
            Some(Object { node: Some(other), .. }) if other != node.as_str() => {
                Some(format!("it is there already, and the node {other}'s: give this one another `name`"))
            }
            Some(Object { phase: Phase::Bound, .. }) => None,
            _ => taken(node, wish, found),
        };
        match (why, there) {
            (Some(why), _) => outcome.cut.push(Cut { what: what(&wish.name), why, ..Cut::default() }),
            (None, None) => create(node, wish, found, &mut outcome),
            (None, Some(there)) => keep(node, wish, there, &mut outcome),
        }
    }
    let forgotten = |volume: &&Read<Object>| {
        volume.value.node.as_deref() == Some(node.as_str()) && !wishes.iter().any(|wish| wish.name == volume.value.name)
    };
    for there in found.volumes.iter().filter(forgotten).filter(|there| goes(&there.value.name)) {
        let name = &there.value.name;
        match there.value.phase {
            _ if there.value.deleting => {}
            Phase::Bound => {
                let why = format!("it is not in the settings any more, and goes once {} is", there.value.wish.claim);
                outcome.cut.push(Cut { what: what(name), why: format!("{why} deleted"), ..Cut::default() });
            }
            Phase::Free | Phase::Released => outcome.changes.push(delete(there)),
        }
    }
    outcome
}

/// Names of those that were made for a node and are wished no more.
pub fn forgotten(node: &NodeName, wishes: &[Wish], found: &Found) -> Vec<String> {
    let volumes = found.volumes.iter().map(|volume| &volume.value);
    let of_node = volumes.filter(|volume| volume.node.as_deref() == Some(node.as_str()));
    of_node.map(|volume| volume.name.clone()).filter(|name| !wishes.iter().any(|wish| wish.name == *name)).collect()
}

/// Deletes those of a node that no claim is bound to.
pub(crate) fn unbound(node: &NodeName, found: &Found) -> Vec<Change> {
    let goes = |volume: &Object| {
        volume.node.as_deref() == Some(node.as_str()) && !volume.deleting && volume.phase != Phase::Bound
    };
    found.volumes.iter().filter(|volume| goes(&volume.value)).map(delete).collect()
}

/// Whether another node's is for the same claim: of two, nobody could tell which data the claim gets.
fn taken(node: &NodeName, wish: &Wish, found: &Found) -> Option<String> {
    let other =
        found.volumes.iter().map(|volume| &volume.value).find(|other| {
            other.wish.claim == wish.claim && other.node.as_deref().is_some_and(|of| of != node.as_str())
        })?;
    let (name, of) = (&other.name, other.node.as_deref().unwrap_or_default());
    Some(format!("{} has the node {of}'s already: if that is over, `kubectl delete pv {name}` on a server", wish.claim))
}

fn create(node: &NodeName, wish: &Wish, found: &Found, outcome: &mut Outcome) {
    if wish.capacity.is_none() {
        return;
    }
    if wish.class == STORAGE_CLASS && !found.classes.contains(&wish.class) {
        let class = Change::CreateClass { name: wish.class.clone() };
        if !outcome.changes.contains(&class) {
            outcome.changes.push(class);
        }
    }
    outcome.changes.push(Change::Create { node: node.to_string(), wish: wish.clone() });
}

fn keep(node: &NodeName, wish: &Wish, there: &Read<Object>, outcome: &mut Outcome) {
    let (volume, is) = (&there.value, &there.value.wish);
    let (name, resource_version) = (volume.name.clone(), there.resource_version.clone());
    if volume.deleting {
        match volume.phase {
            Phase::Bound => {
                let why = format!("somebody deleted it; it goes, and is made anew, once {} is deleted", is.claim);
                outcome.cut.push(Cut { what: what(&name), why, ..Cut::default() });
            }
            Phase::Free | Phase::Released => outcome.cut.push(made_anew(&name)),
        }
        return;
    }
    // What Kubernetes lets nobody change.
    let same = is.path == wish.path && is.class == wish.class && is.claim == wish.claim;
    if !(same && volume.on.as_deref() == Some(node.as_str())) {
        if volume.phase == Phase::Bound {
            let why = format!(
                "the settings say {} for {} (class {}), and it is {} for {} (class {}): it is made anew once that claim \
                 is deleted",
                wish.path.display(),
                wish.claim,
                wish.class,
                is.path.display(),
                is.claim,
                is.class
            );
            outcome.cut.push(Cut { what: what(&name), why, ..Cut::default() });
        } else {
            outcome.changes.push(delete(there));
            outcome.cut.push(made_anew(&name));
        }
        return;
    }
    if volume.phase == Phase::Released {
        outcome.changes.push(Change::Reopen { name, resource_version });
    } else if let Some(capacity) = wish.capacity.filter(|capacity| is.capacity != Some(*capacity)) {
        outcome.changes.push(Change::Resize { name, resource_version, capacity });
    }
}

fn made_anew(name: &str) -> Cut {
    Cut {
        what: what(name),
        why: "its predecessor is on its way out, and it is made anew then".to_owned(),
        ..Cut::default()
    }
}

fn delete(there: &Read<Object>) -> Change {
    Change::Delete {
        name: there.value.name.clone(),
        uid: there.uid.clone(),
        resource_version: there.resource_version.clone(),
    }
}

#[cfg(test)]
mod tests;
