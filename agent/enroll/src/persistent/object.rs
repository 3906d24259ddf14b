//! PersistentVolumes as API objects, both ways.

use super::{CLASSES, Change, NODE_LABEL, Object, PATH, Phase, VOLUME_ANNOTATION, Wish};
use crate::claim::MANAGED_BY;
use crate::facts::Read;
use bowline_settings::ClaimName;
use serde_json::{Value, json};

/// How a change is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// An object, into a collection.
    Create(Value),
    /// A merge patch, with what it was read as in it.
    Merge(Value),
    /// Deleted, if it is still this one (uid, resourceVersion).
    Delete(String, String),
}

/// The path of a change, and how it is sent there.
pub fn sent(change: &Change) -> (String, Sent) {
    let at = |name: &str| format!("{PATH}/{name}");
    match change {
        Change::CreateClass { name } => (CLASSES.to_owned(), Sent::Create(class(name))),
        Change::Create { node, wish } => (PATH.to_owned(), Sent::Create(volume(node, wish))),
        Change::Resize { name, resource_version, capacity } => {
            let patch = json!({
                "metadata": { "resourceVersion": resource_version },
                "spec": { "capacity": { "storage": capacity.to_string() } },
            });
            (at(name), Sent::Merge(patch))
        }
        Change::Reopen { name, resource_version } => {
            let patch = json!({
                "metadata": { "resourceVersion": resource_version },
                "spec": { "claimRef": { "uid": null, "resourceVersion": null } },
            });
            (at(name), Sent::Merge(patch))
        }
        Change::Delete { name, uid, resource_version } => {
            (at(name), Sent::Delete(uid.clone(), resource_version.clone()))
        }
    }
}

/// Volumes of it are there already, and a pod that would use one decides on which node that is.
fn class(name: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": name, "labels": { MANAGED_BY.0: MANAGED_BY.1 } },
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

fn volume(node: &str, wish: &Wish) -> Value {
    let (namespace, claim) = wish.claim.split_once('/').unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": wish.name,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, NODE_LABEL: node },
            "annotations": { VOLUME_ANNOTATION: wish.volume },
        },
        "spec": {
            "capacity": { "storage": wish.capacity.unwrap_or_default().to_string() },
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": wish.class,
            "local": { "path": wish.path },
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": claim,
            },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": [node] },
            ] }] } },
        },
    })
}

/// One as the API has it.
pub fn read_volume(object: &Value) -> Read<Object> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let managed = object["metadata"]["labels"][MANAGED_BY.0] == MANAGED_BY.1;
    let reference = &object["spec"]["claimRef"];
    let claim = ClaimName {
        namespace: reference["namespace"].as_str().unwrap_or_default().to_owned(),
        name: reference["name"].as_str().unwrap_or_default().to_owned(),
    };
    let phase = match object["status"]["phase"].as_str() {
        Some("Released") => Phase::Released,
        Some("Bound") => Phase::Bound,
        // A claim is bound to it before its phase says so.
        _ if reference["uid"].is_string() => Phase::Bound,
        _ => Phase::Free,
    };
    let values = object.pointer("/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values");
    let on = values.and_then(Value::as_array).filter(|values| values.len() == 1).and_then(|values| values.first());
    let name = text("/metadata/name");
    let volume = Object {
        node: object["metadata"]["labels"][NODE_LABEL].as_str().filter(|_| managed).map(String::from),
        wish: Wish {
            name: name.clone(),
            volume: object["metadata"]["annotations"][VOLUME_ANNOTATION].as_str().unwrap_or_default().to_owned(),
            path: text("/spec/local/path").into(),
            claim: claim.to_string(),
            class: text("/spec/storageClassName"),
            capacity: bytes(&text("/spec/capacity/storage")),
        },
        on: on.and_then(Value::as_str).map(String::from),
        phase,
        deleting: !object["metadata"]["deletionTimestamp"].is_null(),
        name,
    };
    Read { value: volume, uid: text("/metadata/uid"), resource_version: text("/metadata/resourceVersion") }
}

/// A quantity in bytes. Bowline writes plain numbers, which the API keeps; people may have written `10Gi` or `10G`.
fn bytes(quantity: &str) -> Option<u64> {
    let digits = quantity.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let power = |base: u64, exponent| base.checked_pow(exponent);
    let factor = match quantity.get(digits.len()..)? {
        "" => 1,
        "k" => power(1000, 1)?,
        "M" => power(1000, 2)?,
        "G" => power(1000, 3)?,
        "T" => power(1000, 4)?,
        "P" => power(1000, 5)?,
        "Ki" => power(1024, 1)?,
        "Mi" => power(1024, 2)?,
        "Gi" => power(1024, 3)?,
        "Ti" => power(1024, 4)?,
        "Pi" => power(1024, 5)?,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
