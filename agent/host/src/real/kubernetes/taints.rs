//! A Node's taints: one list, so read and written with what was read as the condition.

use super::{ApiRequest, CALL, Clients, MERGE, Node, send};
use bowline_ports::{ErrorKind, FIELD_MANAGER, OWN_TAINTS, PortError, TaintChange, node_path, taint_text};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::path::Path;

/// How often a Node is read again that moved between reading and writing: a kubelet writes its status all the time.
const TRIES: usize = 4;

impl Clients {
    /// Changes a Node's taints with uid and resourceVersion as preconditions; those not named keep all they have.
    pub(crate) async fn set_taints(
        &self,
        kubeconfig: &Path,
        name: &str,
        change: &TaintChange,
    ) -> Result<(), PortError> {
        let what = format!("tainting the Node {name}");
        super::super::blocking::within(what.clone(), CALL, async {
            let client = self.client(kubeconfig).await?;
            let path = format!("{}?fieldManager={FIELD_MANAGER}", node_path(name));
            let mut moved = PortError::new(ErrorKind::Changed, format!("{what}: others write it all the time"));
            for _ in 0..TRIES {
                let node = self.get_node(kubeconfig, &what, name).await?;
                let patch =
                    patch(node, change).map_err(|why| PortError::new(ErrorKind::Changed, format!("{what}: {why}")))?;
                match send::<IgnoredAny>(&client, &what, ApiRequest::patch(&path, MERGE, &patch)).await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind == ErrorKind::Changed => moved = error,
                    Err(error) => return Err(error),
                }
            }
            Err(moved)
        })
        .await
    }
}

/// What to write to a Node that is still as it was looked at; else why not.
fn patch(node: Option<Node>, change: &TaintChange) -> Result<Value, &'static str> {
    let node = node.filter(|node| node.metadata.uid == change.uid).ok_or("there is another Node now")?;
    let own = node.metadata.annotations.get(OWN_TAINTS).map(String::as_str);
    let taints =
        change.of(node.spec.taints, own, text, taint).ok_or("its taints are not any more what was looked at")?;
    // An empty record is none.
    let record = if change.after.is_empty() { json!(null) } else { json!(change.after) };
    Ok(json!({
        "metadata": {
            "uid": node.metadata.uid,
            "resourceVersion": node.metadata.resource_version,
            "annotations": { OWN_TAINTS: record },
        },
        "spec": { "taints": taints },
    }))
}

pub(super) fn text(taint: &Value) -> String {
    let part = |name: &str| taint[name].as_str().unwrap_or_default();
    taint_text(part("key"), part("value"), part("effect"))
}

fn taint(text: &str) -> Option<Value> {
    let (rest, effect) = text.rsplit_once(':')?;
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    let mut taint = json!({ "key": key, "effect": effect });
    if !value.is_empty() {
        taint["value"] = json!(value);
    }
    Some(taint)
}
