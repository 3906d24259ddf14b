//! The Kubernetes API: reading a Node, applying its labels, changing its taints. No other module knows the `kube` crate.

mod credentials;
mod objects;
mod taints;

pub use objects::ObjectApi;

use bowline_ports::{ErrorKind, NodeObject, OWN_TAINTS, PortError, Ready};
use credentials::{Credentials, Files};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::core::response::Status;
use kube::{Api, Client};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The name under which Bowline owns fields.
pub const FIELD_MANAGER: &str = "bowline";

const CALL: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);

/// Clients by kubeconfig file; one whose files changed is replaced.
#[derive(Default)]
pub(crate) struct Clients(Mutex<HashMap<PathBuf, (Files, Client)>>);

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    fn client(&self, path: &Path) -> Result<Client, PortError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((files, client)) = kept.get(path)
            && files.same()
        {
            return Ok(client.clone());
        }
        let (files, client) = Credentials::read(path)?.client(path)?;
        kept.insert(path.to_path_buf(), (files, client.clone()));
        Ok(client)
    }

    /// A Node; `None` where there is none of that name.
    pub(crate) async fn node(&self, kubeconfig: &Path, name: &str) -> Result<Option<NodeObject>, PortError> {
        let what = format!("reading the Node {name}");
        super::blocking::within(what.clone(), CALL, async {
            let api: Api<Node> = Api::all(self.client(kubeconfig)?);
            Ok(api.get_opt(name).await.map_err(|e| failed(&what, &e))?.map(|node| describe(name, node)))
        })
        .await
    }

    /// Server-side apply of a Node's labels; never makes a Node.
    pub(crate) async fn apply_labels(
        &self,
        kubeconfig: &Path,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), PortError> {
        let what = format!("labelling the Node {name}");
        super::blocking::within(what.clone(), CALL, async {
            let api: Api<Node> = Api::all(self.client(kubeconfig)?);
            let node = api.get_metadata_opt(name).await.map_err(|e| failed(&what, &e))?;
            let uid = node
                .and_then(|n| n.metadata.uid)
                .ok_or_else(|| PortError::new(ErrorKind::Changed, format!("{what}: there is no such Node")))?;
            // With its uid a Node that went away meanwhile is a conflict: apply would make it again, empty.
            let patch = serde_json::json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": name, "uid": uid, "labels": labels },
            });
            let parameters = PatchParams::apply(FIELD_MANAGER);
            api.patch_metadata(name, &parameters, &Patch::Apply(&patch)).await.map_err(|e| failed(&what, &e))?;
            Ok(())
        })
        .await
    }
}

/// An error of the client as a port's.
fn failed(what: &str, error: &kube::Error) -> PortError {
    match error {
        kube::Error::Api(status) => refused(what, status),
        kube::Error::HyperError(_) | kube::Error::Service(_) => PortError::new(
            ErrorKind::Unreachable,
            format!("{what}: the Kubernetes API can not be reached: {}", innermost(error)),
        ),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
            PortError::new(ErrorKind::Invalid, format!("{what}: the Kubernetes API's answer makes no sense: {error}"))
        }
        other => PortError::new(ErrorKind::Other, format!("{what}: {}", innermost(other))),
    }
}

/// The first cause: the layers above it only say that something failed.
fn innermost(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn refused(what: &str, status: &Status) -> PortError {
    let conflicts = conflicts(status);
    if !conflicts.is_empty() {
        let all: Vec<String> =
            conflicts.iter().map(|(key, manager)| format!("{key} belongs to \"{manager}\"")).collect();
        return PortError::new(ErrorKind::Busy, format!("{what}: another manager owns a label: {}", all.join(", ")))
            .hint("take it out of Bowline's settings, or remove it there: kubectl label node NAME KEY-");
    }
    let text = if status.message.is_empty() { &status.reason } else { &status.message };
    let kind = match status.code {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Changed,
        408 | 504 => ErrorKind::Timeout,
        429 | 500 | 502 | 503 => ErrorKind::Unreachable,
        400..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    };
    PortError::new(kind, format!("{what}: the Kubernetes API says: {text}"))
}

/// Label key and manager of each conflict.
fn conflicts(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|d| &d.causes);
    causes
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| {
            let key = cause.field.strip_prefix(".metadata.labels.").unwrap_or(&cause.field).to_owned();
            let manager = cause.message.split('"').nth(1).unwrap_or(&cause.message).to_owned();
            (key, manager)
        })
        .collect()
}

fn describe(name: &str, node: Node) -> NodeObject {
    let mut managers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in node.metadata.managed_fields.into_iter().flatten() {
        let (Some(manager), Some(fields)) = (entry.manager, entry.fields_v1) else { continue };
        let labels = fields.0.pointer("/f:metadata/f:labels").and_then(|l| l.as_object());
        for key in labels.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("f:")) {
            let of = managers.entry(key.to_owned()).or_default();
            if !of.contains(&manager) {
                of.push(manager.clone());
            }
        }
    }
    let status = node.status.unwrap_or_default();
    let condition = status.conditions.into_iter().flatten().find(|c| c.type_ == "Ready");
    let mut annotations = node.metadata.annotations.unwrap_or_default();
    let taints = node.spec.and_then(|s| s.taints).into_iter().flatten();
    NodeObject {
        name: name.to_owned(),
        uid: node.metadata.uid.unwrap_or_default(),
        labels: node.metadata.labels.unwrap_or_default(),
        managers,
        ready: match condition.as_ref().map(|c| c.status.as_str()) {
            Some("True") => Ready::True,
            Some("False") => Ready::False,
            _ => Ready::Unknown,
        },
        ready_message: condition.and_then(|c| c.message).unwrap_or_default(),
        internal_ips: status
            .addresses
            .into_iter()
            .flatten()
            .filter(|a| a.type_ == "InternalIP")
            .filter_map(|a| a.address.parse().ok())
            .collect(),
        taints: taints.map(|taint| taints::text(&taint)).collect(),
        own_taints: annotations.remove(OWN_TAINTS),
        kubelet_version: status.node_info.map(|i| i.kubelet_version).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
