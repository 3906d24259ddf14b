//! The Kubernetes API: reading a Node, applying its labels, changing its taints. No other module knows the `kube` crate.
//!
//! A Node is read with what is looked at of it: the whole type brings code for all that it may hold.

mod credentials;
mod node;
mod objects;
mod taints;
mod watch;

pub use objects::ObjectApi;

use super::blocking::Silent;
use bowline_ports::{ErrorKind, FIELD_MANAGER, NodeObject, PortError, node_path};
use credentials::{Credentials, Files};
use hyper::http::{Method, Request};
use kube::Client;
use kube::core::response::Status;
use node::Node;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use watch::Seen;

/// In tests of this crate longer than a busy machine makes anybody wait.
const CALL: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 5 });
const CONNECT: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 3 });

/// Clients by kubeconfig file; one whose files changed is replaced.
#[derive(Default)]
pub(crate) struct Clients {
    kept: Mutex<HashMap<PathBuf, (Files, Client)>>,
    silent: Silent,
    /// The Node that was read last.
    seen: Mutex<Option<Seen>>,
    /// It was another one than at the reading before.
    moved: Notify,
    /// Somebody wanted to read one.
    asked: AtomicBool,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    async fn client(&self, path: &Path) -> Result<Client, PortError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept().get(path).cloned();
        // Its files may lie on a filesystem that hangs.
        let looked = self.silent.look(path, move |path| match before {
            Some((files, client)) if files.same() => Ok(Err(client)),
            _ => Credentials::read(path).map(Ok),
        });
        match looked.await? {
            Ok(changed) => {
                let (files, client) = changed.client(path)?;
                kept().insert(path.to_path_buf(), (files, client.clone()));
                Ok(client)
            }
            Err(client) => Ok(client),
        }
    }

    /// A Node; `None` where there is none of that name. Credentials that are not there are an error.
    async fn get_node(&self, kubeconfig: &Path, what: &str, name: &str) -> Result<Option<Node>, PortError> {
        found(send(&self.client(kubeconfig).await?, what, ApiRequest::get(&node_path(name))).await)
    }

    /// A Node; `None` where there is none of that name.
    pub(crate) async fn node(&self, kubeconfig: &Path, name: &str) -> Result<Option<NodeObject>, PortError> {
        let what = format!("reading the Node {name}");
        self.asked.store(true, Ordering::Relaxed);
        super::blocking::within(what.clone(), CALL, async {
            let Some(node) = self.get_node(kubeconfig, &what, name).await? else { return Ok(None) };
            let node = node.describe(name);
            let seen = Seen { kubeconfig: kubeconfig.to_path_buf(), node: node.clone() };
            // Who read it may not be who tells others that it has changed.
            if self.remember(seen) {
                self.moved.notify_one();
            }
            Ok(Some(node))
        })
        .await
    }

    fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Says whether it was another one before.
    fn remember(&self, seen: Seen) -> bool {
        let mut before = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = before.as_ref().is_some_and(|before| before.node != seen.node);
        *before = Some(seen);
        moved
    }

    /// The Node that was read last.
    fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            let node = self.get_node(kubeconfig, &what, name).await?;
            let uid = node
                .map(|node| node.metadata.uid)
                .filter(|uid| !uid.is_empty())
                .ok_or_else(|| PortError::new(ErrorKind::Changed, format!("{what}: there is no such Node")))?;
            // With its uid a Node that went away meanwhile is a conflict: apply would make it again, empty.
            let patch = serde_json::json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": name, "uid": uid, "labels": labels },
            });
            let path = format!("{}?fieldManager={FIELD_MANAGER}", node_path(name));
            let client = self.client(kubeconfig).await?;
            let request = ApiRequest::patch(&path, APPLY, &patch).into_http(&what)?;
            let answer: Result<IgnoredAny, _> = client.request(request).await;
            answer.map(drop).map_err(|error| not_applied(&what, name, &error))
        })
        .await
    }
}

const JSON: &str = "application/json";
/// JSON is YAML, and this is the name that every version knows.
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";

/// One request: `kind` is the media type of its body.
struct ApiRequest<'a> {
    method: Method,
    path: &'a str,
    kind: &'static str,
    body: Vec<u8>,
}

impl<'a> ApiRequest<'a> {
    fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, kind: JSON, body: Vec::new() }
    }

    fn patch(path: &'a str, kind: &'static str, patch: &Value) -> Self {
        Self { method: Method::PATCH, path, kind, body: serde_json::to_vec(patch).unwrap_or_default() }
    }

    fn into_http<T: From<Vec<u8>>>(self, what: &str) -> Result<Request<T>, PortError> {
        Request::builder()
            .method(self.method)
            .uri(self.path)
            .header("Content-Type", self.kind)
            .header("Accept", JSON)
            .body(self.body.into())
            .map_err(|e| PortError::new(ErrorKind::Invalid, format!("{what}: {e}")))
    }
}

/// Sends one request, and reads the answer as far as it is looked at.
async fn send<T: DeserializeOwned>(client: &Client, what: &str, request: ApiRequest<'_>) -> Result<T, PortError> {
    client.request(request.into_http(what)?).await.map_err(|e| failed(what, &e))
}

/// What the API has; `None` where it says that there is nothing.
fn found<T>(answer: Result<T, PortError>) -> Result<Option<T>, PortError> {
    match answer {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An error of the client as a port's.
fn failed(what: &str, error: &kube::Error) -> PortError {
    match error {
        kube::Error::Api(status) => refused(what, status),
        kube::Error::HyperError(_) | kube::Error::Service(_) => PortError::new(
            ErrorKind::Unreachable,
            format!("{what}: the Kubernetes API cannot be reached: {}", innermost(error)),
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

/// Why labels were not applied to a Node: another manager may own some of them.
fn not_applied(what: &str, node: &str, error: &kube::Error) -> PortError {
    let conflicts = match error {
        kube::Error::Api(status) => conflicts(status),
        _ => Vec::new(),
    };
    if conflicts.is_empty() {
        return failed(what, error);
    }
    let all: Vec<String> = conflicts.iter().map(|(key, manager)| format!("{key} belongs to \"{manager}\"")).collect();
    let keys: Vec<String> = conflicts.iter().map(|(key, _)| format!("{key}-")).collect();
    PortError::new(ErrorKind::Busy, format!("{what}: another manager owns a label: {}", all.join(", "))).hint(format!(
        "take it out of Bowline's settings, or remove it on a server: kubectl label node {node} {}",
        keys.join(" ")
    ))
}

fn refused(what: &str, status: &Status) -> PortError {
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

#[cfg(test)]
mod tests;
