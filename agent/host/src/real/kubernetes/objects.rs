//! Objects by their paths, for the issuer.

use super::{CALL, Clients, failed};
use bowline_ports::{ErrorKind, Fut, Objects, PortError, Write};
use hyper::http::{Method, Request};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// A cluster's API, by the credentials of a kubeconfig file.
#[derive(Debug, Clone)]
pub struct ObjectApi {
    clients: Arc<Clients>,
    kubeconfig: PathBuf,
}

impl ObjectApi {
    pub(crate) fn new(clients: Arc<Clients>, kubeconfig: PathBuf) -> Self {
        Self { clients, kubeconfig }
    }

    async fn send(
        &self,
        what: &str,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Value, PortError> {
        super::super::blocking::within(what, CALL, async {
            let client = self.clients.client(&self.kubeconfig)?;
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("Content-Type", kind)
                .header("Accept", "application/json")
                .body(body)
                .map_err(|e| PortError::new(ErrorKind::Invalid, format!("{what}: {e}")))?;
            client.request::<Value>(request).await.map_err(|e| failed(what, &e))
        })
        .await
    }
}

impl Objects for ObjectApi {
    fn get<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>> {
        Box::pin(async move {
            let what = format!("reading {}", bare(path));
            match self.send(&what, Method::GET, path, "application/json", Vec::new()).await {
                Ok(value) => Ok(Some(value)),
                Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn write<'a>(&'a self, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
        Box::pin(async move {
            const JSON: &str = "application/json";
            let text = |value: &Value| serde_json::to_vec(value).unwrap_or_default();
            let mut path = path.to_string();
            let (verb, method, kind, body) = match write {
                Write::Create(object) => ("making", Method::POST, JSON, text(object)),
                Write::Replace(object) => ("writing", Method::PUT, JSON, text(object)),
                Write::Merge(patch) => ("changing", Method::PATCH, "application/merge-patch+json", text(patch)),
                Write::Apply(manager, object) => {
                    path.push_str(&format!("?fieldManager={manager}"));
                    // JSON is YAML, and this is the name that every version knows.
                    ("applying", Method::PATCH, "application/apply-patch+yaml", text(object))
                }
                Write::Delete(uid, version) => {
                    let mut preconditions = json!({ "uid": uid });
                    if let Some(version) = version {
                        preconditions["resourceVersion"] = json!(version);
                    }
                    ("deleting", Method::DELETE, JSON, text(&json!({ "preconditions": preconditions })))
                }
            };
            let gone_is_fine = method == Method::DELETE;
            let what = format!("{verb} {}", bare(&path));
            match self.send(&what, method, &path, kind, body).await {
                Err(error) if error.kind == ErrorKind::NotFound && gone_is_fine => Ok(()),
                other => other.map(drop),
            }
        })
    }
}

/// A path without its query, for messages.
fn bare(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}
