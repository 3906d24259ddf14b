//! A Node's taints: one list, so read and written with what was read as the condition.

use super::{CALL, Clients, FIELD_MANAGER, failed};
use bowline_ports::{ErrorKind, OWN_TAINTS, PortError, TaintChange};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
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
            let api: Api<Node> = Api::all(self.client(kubeconfig)?);
            let mut moved = PortError::new(ErrorKind::Changed, format!("{what}: others write it all the time"));
            for _ in 0..TRIES {
                let node = api.get_opt(name).await.map_err(|e| failed(&what, &e))?;
                let patch =
                    patch(node, change).map_err(|why| PortError::new(ErrorKind::Changed, format!("{what}: {why}")))?;
                let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
                match api.patch(name, &parameters, &Patch::Merge(&patch)).await.map_err(|e| failed(&what, &e)) {
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
fn patch(node: Option<Node>, change: &TaintChange) -> Result<serde_json::Value, &'static str> {
    let node =
        node.filter(|node| node.metadata.uid.as_ref() == Some(&change.uid)).ok_or("there is another Node now")?;
    let meta = node.metadata;
    let own = meta.annotations.as_ref().and_then(|all| all.get(OWN_TAINTS)).map(String::as_str);
    let there = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let taints = change.of(there, own, text, taint).ok_or("its taints are not any more what was looked at")?;
    // An empty record is none.
    let record = if change.after.is_empty() { json!(null) } else { json!(change.after) };
    Ok(json!({
        "metadata": {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "annotations": { OWN_TAINTS: record },
        },
        "spec": { "taints": taints },
    }))
}

/// `key=value:effect`, with `=` also where there is no value.
pub(super) fn text(taint: &Taint) -> String {
    format!("{}={}:{}", taint.key, taint.value.as_deref().unwrap_or_default(), taint.effect)
}

fn taint(text: &str) -> Option<Taint> {
    let (rest, effect) = text.rsplit_once(':')?;
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    let value = Some(value).filter(|value| !value.is_empty()).map(String::from);
    Some(Taint { key: key.into(), value, effect: effect.into(), time_added: None })
}
