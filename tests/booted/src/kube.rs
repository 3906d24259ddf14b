//! Nodes as a server's administrator sees them, asked by curl: `kubectl` is a program of 130 MB, and takes a tenth of a second of
//! a processor for each question; who waits asks several times a second.

use anyhow::{Context, Result, bail};
use bowline_testbed::Machine;
use serde_json::Value;

/// K3s keeps the administrator's certificate here.
const CREDENTIALS: &str = "/var/lib/rancher/k3s/server/tls";

/// A Node, as the API has it; `None` when there is none of this name.
pub fn node(server: &Machine, name: &str) -> Result<Option<Value>> {
    get(server, &format!("/api/v1/nodes/{name}"))
}

/// All Nodes.
pub fn nodes(server: &Machine) -> Result<Vec<Value>> {
    let list = get(server, "/api/v1/nodes")?.context("an API without Nodes")?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Whether a Node is Ready.
pub fn is_ready(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// An object or a list, by its path; `None` where there is none.
///
/// # Errors
/// Any answer but these two.
pub fn get(server: &Machine, path: &str) -> Result<Option<Value>> {
    let said = server.ok(&format!(
        "cd {CREDENTIALS} && curl --silent --show-error --cacert server-ca.crt --cert client-admin.crt --key client-admin.key \
         --write-out '\\n%{{http_code}}' https://127.0.0.1:6443{path}"
    ))?;
    match said.rsplit_once('\n') {
        Some((body, "200")) => Ok(Some(serde_json::from_str(body)?)),
        Some((_, "404")) => Ok(None),
        _ => bail!("{path}: {said}"),
    }
}
