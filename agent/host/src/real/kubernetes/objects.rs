//! Objects by their paths, for the issuer.

use super::super::blocking::within;
use super::{APPLY, ApiRequest, CALL, Clients, JSON, MERGE, found, send};
use bowline_ports::{ErrorKind, Fut, Objects, PortError, Write};
use hyper::http::Method;
use kube::Client;
use serde::de::IgnoredAny;
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

    async fn client(&self) -> Result<Client, PortError> {
        self.clients.client(&self.kubeconfig).await
    }
}

impl Objects for ObjectApi {
    fn get<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>> {
        Box::pin(async move {
            let what = format!("reading {}", bare(path));
            let client = self.client().await?;
            found(within(&what, CALL, send(&client, &what, ApiRequest::get(path))).await)
        })
    }

    fn write<'a>(&'a self, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
        Box::pin(async move {
            let text = |value: &Value| serde_json::to_vec(value).unwrap_or_default();
            let mut path = path.to_string();
            let (verb, method, kind, body) = match write {
                Write::Create(object) => ("making", Method::POST, JSON, text(object)),
                Write::Replace(object) => ("writing", Method::PUT, JSON, text(object)),
                Write::Merge(patch) => ("changing", Method::PATCH, MERGE, text(patch)),
                Write::Apply(manager, object) => {
                    path.push_str(&format!("?fieldManager={manager}"));
                    ("applying", Method::PATCH, APPLY, text(object))
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
            let client = self.client().await?;
            let request = ApiRequest { method, path: &path, kind, body };
            match within(&what, CALL, send::<IgnoredAny>(&client, &what, request)).await {
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
