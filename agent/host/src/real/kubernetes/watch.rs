//! A watch of the Node that is looked at: the API tells when something of it changes, so that nobody has to ask often.
//!
//! What it asks for is what a kubelet may: Nodes, selected by its own name
//! (<https://kubernetes.io/docs/reference/access-authn-authz/node/>). It begins with the version of such a list: that of a Node
//! which nobody has changed for a while is older than what an API server that was started since can tell of.

use super::node::{Metadata, Node};
use super::{ApiRequest, CALL, Clients, failed, send};
use crate::real::blocking::within;
use bowline_ports::{ErrorKind, NODES, NodeObject, PortError};
use http_body_util::BodyExt;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the Node has to be looked at while nobody tells of it.
pub(crate) const UNTOLD: Duration = Duration::from_secs(80);
/// After so long the API ends a watch, which is begun anew: one that fell silent is not trusted for ever.
const LASTS: Duration = Duration::from_secs(1800);
/// And so long it may take to do so.
const GRACE: Duration = Duration::from_secs(60);
/// One line tells of one Node; etcd takes objects of 1.5 MB.
const LONGEST: usize = 4 << 20;

/// The Node as it was read last, and by whom.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) kubeconfig: PathBuf,
    pub(super) node: NodeObject,
}

/// A list of Nodes.
#[derive(Deserialize)]
struct List {
    metadata: Metadata,
    /// An empty one may be null.
    items: Option<Vec<Node>>,
}

/// One line of a watch, before its object is looked at: that of an error is none.
#[derive(Deserialize)]
struct Kind<'a> {
    r#type: &'a str,
}

/// The same line of a Node.
#[derive(Deserialize)]
struct Told {
    object: Node,
}

impl Clients {
    /// Notifies whenever the Node that was read last has changed in something that is looked at, also when a reading before a
    /// watch stands shows that, and as often as it has to be looked at while nobody tells of it. Never ends.
    pub(crate) async fn watch(&self, signal: &Notify) {
        let readings = async {
            loop {
                self.moved.notified().await;
                signal.notify_one();
            }
        };
        tokio::select! {
            () = readings => {}
            () = self.follow_on(signal) => {}
        }
    }

    async fn follow_on(&self, signal: &Notify) {
        loop {
            // Time for an API that ends watches at once.
            tokio::time::sleep(UNTOLD).await;
            let followed = match (self.seen(), self.asked()) {
                (Some(seen), _) => self.follow(seen, signal).await,
                (None, true) => Err(PortError::new(ErrorKind::NotFound, "there was no Node yet")),
                // Nor anybody who wants to know.
                (None, false) => continue,
            };
            if let Err(error) = followed {
                tracing::debug!("{error}; looking every {} s", UNTOLD.as_secs());
                signal.notify_one();
            }
        }
    }

    /// Follows what the API tells of a Node, until it ends that.
    pub(super) async fn follow(&self, seen: Seen, signal: &Notify) -> Result<(), PortError> {
        let Seen { kubeconfig, mut node } = seen;
        let what = format!("watching the Node {}", node.name);
        let own = format!("{NODES}?fieldSelector=metadata.name%3D{}", node.name);
        let client = self.client(&kubeconfig).await?;
        let list: List = within(&what, CALL, send(&client, &what, ApiRequest::get(&own))).await?;
        let mut heard = |now: Option<Node>| {
            let now = now.map(|told| told.describe(&node.name));
            if now.as_ref() != Some(&node) {
                signal.notify_one();
            }
            node = now.unwrap_or_else(|| node.clone());
            // What was told by now is no news to who reads it.
            self.remember(Seen { kubeconfig: kubeconfig.clone(), node: node.clone() });
        };
        heard(list.items.into_iter().flatten().next());
        let version = list.metadata.resource_version;
        let path = format!("{own}&watch=1&resourceVersion={version}&timeoutSeconds={}", LASTS.as_secs());
        let request = ApiRequest::get(&path).into_http(&what)?;
        let answer = within(&what, CALL, async { client.send(request).await.map_err(|e| failed(&what, &e)) }).await?;
        if !answer.status().is_success() {
            return Err(PortError::new(
                ErrorKind::Other,
                format!("{what}: the Kubernetes API says {}", answer.status()),
            ));
        }
        let mut body = answer.into_body();
        let until_it_ends = async {
            let mut line = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|e| failed(&what, &e))?;
                for piece in frame.data_ref().into_iter().flat_map(|data| data.split_inclusive(|byte| *byte == b'\n')) {
                    line.extend_from_slice(piece);
                    if line.len() > LONGEST {
                        return Err(PortError::new(ErrorKind::Invalid, format!("{what}: a line has no end")));
                    }
                    if line.ends_with(b"\n") {
                        heard(told(&line).ok_or_else(|| {
                            PortError::new(ErrorKind::Changed, format!("{what}: it cannot be followed any further"))
                        })?);
                        line = Vec::new();
                    }
                }
            }
            Ok(())
        };
        within(&what, LASTS + GRACE, until_it_ends).await
    }
}

/// The Node that a line tells of, or none that is there any more; `None` for anything else.
fn told(line: &[u8]) -> Option<Option<Node>> {
    match serde_json::from_slice::<Kind>(line).ok()?.r#type {
        "ADDED" | "MODIFIED" => Some(Some(serde_json::from_slice::<Told>(line).ok()?.object)),
        "DELETED" => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
