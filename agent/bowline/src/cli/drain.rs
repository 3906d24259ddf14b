//! Moves the pods of this node to others, as `kubectl drain --force --delete-emptydir-data` does: by evictions, which keep to the
//! disruption budgets. The machine goes, and with it what only it has.
//!
//! The kubelet's own credentials may do that to its own node, and no more.

use super::cordon::Cordon;
use super::output;
use bowline_ports::ErrorKind::{Busy, Changed, Denied, NotFound, Timeout, Unreachable};
use bowline_ports::{CORDONED, Objects, PortError, Write, items, node_path};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const AGAIN: Duration = Duration::from_secs(2);

/// Which pods have to go, and what is said where they do not.
pub(super) struct Drain<'a> {
    /// Only those that use something beneath this directory of the node.
    pub(super) beneath: Option<&'a Path>,
    /// What can be done when pods are left.
    pub(super) hint: &'a str,
}

/// Cordons the node and evicts its pods, until none is left but those of DaemonSets and of the node itself. Whether it is Bowline
/// that has cordoned it, now or in an earlier try. `cordon` remembers it, where it is now.
///
/// # Errors
/// The API says no to the cordon, or makes no sense: then the node takes pods again as before. Or pods are left when the time is over
/// (which ones, and what keeps them), or nobody can tell, also because the API lets nothing be read: the node takes none, for the
/// next try. Or somebody has uncordoned it meanwhile.
pub(super) async fn drain(
    objects: &dyn Objects,
    node: &str,
    what: &Drain<'_>,
    cordon: &Cordon,
    timeout: Duration,
) -> Result<bool, PortError> {
    let drained = empty(objects, node, what, cordon, timeout).await;
    if drained.is_err() {
        cordon.undo(objects).await;
    }
    drained
}

/// What to do instead, where the API did not answer at all.
pub(super) fn without_api(error: PortError, instead: &str) -> PortError {
    let silent = matches!(error.kind, Unreachable | Timeout | NotFound) && error.hint.is_none();
    match silent {
        true => error.hint(format!("without the API no pod can be moved: {instead}")),
        false => error,
    }
}

async fn empty(
    objects: &dyn Objects,
    node: &str,
    what: &Drain<'_>,
    cordon: &Cordon,
    timeout: Duration,
) -> Result<bool, PortError> {
    let path = node_path(node);
    let found = objects.get(&path).await?.unwrap_or_default();
    let cordoned = found["spec"]["unschedulable"] == true;
    let ours = !cordoned || found["metadata"]["annotations"][CORDONED] == "true";
    if !cordoned {
        cordon.begins(node);
        let patch = json!({ "metadata": { "annotations": { CORDONED: "true" } }, "spec": { "unschedulable": true } });
        let told = objects.write(&path, Write::Merge(&patch)).await;
        cordon.answered(&told);
        told?;
        output::complain(&format!("{node} takes no more pods"));
    }
    let end = Instant::now() + timeout;
    let mut told = BTreeMap::new();
    let mut away = None;
    loop {
        let text = match kept(objects, node, what, &mut told).await {
            Ok(None) => {
                output::complain(&match what.beneath {
                    None => format!("no pod that could run elsewhere is left on {node}"),
                    Some(directory) => format!("no pod on {node} uses {}", directory.display()),
                });
                return Ok(ours);
            }
            Ok(Some(kept)) => {
                away = None;
                format!("some pods are still on {node} after {} s:\n{}", timeout.as_secs(), kept.join("\n"))
            }
            // A server that is started anew must not undo what was done so far; for a while it knows no rights either.
            Err(error) if matches!(error.kind, Unreachable | Timeout | Busy | Denied) => {
                if away.replace(error.kind).is_none() {
                    output::complain(&format!("{}: it is tried again until the time is over", error.message));
                }
                format!("which pods are still on {node} is not known after {} s: {}", timeout.as_secs(), error.message)
            }
            Err(error) => {
                if error.kind == Changed {
                    cordon.stays();
                }
                return Err(error);
            }
        };
        if Instant::now() >= end {
            cordon.stays();
            let hint =
                format!("{node} takes no more pods: `kubectl uncordon {node}` on a server lets it; {}", what.hint);
            return Err(PortError::new(Timeout, text).hint(hint));
        }
        sleep(AGAIN).await;
    }
}

/// Asks those that have to go to do so: which are there still, and why; `None` where none is left. What is new is `told`.
async fn kept(
    objects: &dyn Objects,
    node: &str,
    what: &Drain<'_>,
    told: &mut BTreeMap<String, String>,
) -> Result<Option<Vec<String>>, PortError> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let list = objects.get(&path).await?;
    let all = items(&path, list.as_ref())?;
    let pods = match what.beneath {
        None => pods(all),
        Some(directory) => {
            let mut using = Vec::new();
            for pod in all {
                if uses(objects, pod, directory).await? {
                    using.push(pod.clone());
                }
            }
            self::pods(&using)
        }
    };
    if pods.is_empty() {
        let now = objects.get(&node_path(node)).await?.unwrap_or_default();
        if now["spec"]["unschedulable"] != true {
            let text = format!("{node} was told to take pods again while its pods were moved away");
            return Err(PortError::new(Changed, text).hint("nothing else was done: run this again"));
        }
        return Ok(None);
    }
    let mut kept = Vec::new();
    for pod in &pods {
        let why = match pod.going {
            true => "it is shutting down".to_owned(),
            false => match evict(objects, pod).await {
                Ok(()) if pod.alone => "it was asked to go, and has no controller that would make it anew".to_owned(),
                Ok(()) => "it was asked to go".to_owned(),
                Err(error) if error.kind == NotFound => continue,
                Err(error) => error.message,
            },
        };
        if told.insert(pod.name(), why.clone()).as_ref() != Some(&why) {
            output::complain(&format!("{}: {why}", pod.name()));
        }
        kept.push(format!("{}: {why}", pod.name()));
    }
    Ok(Some(kept))
}

/// Whether a pod has something beneath a directory of its node: by `hostPath`, or by a claim of a volume that lies there.
async fn uses(objects: &dyn Objects, pod: &Value, directory: &Path) -> Result<bool, PortError> {
    let beneath = |path: &Value| path.as_str().is_some_and(|path| Path::new(path).starts_with(directory));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, pod_name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if beneath(&volume["hostPath"]["path"]) {
            return Ok(true);
        }
        let claim = match (&volume["persistentVolumeClaim"]["claimName"], &volume["ephemeral"]) {
            (Value::String(claim), _) => claim.clone(),
            // The claim that Kubernetes makes of it is called by both.
            (_, Value::Object(_)) => format!("{pod_name}-{}", text(&volume["name"])),
            _ => continue,
        };
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}");
        let Some(claim) = objects.get(&path).await? else { continue };
        let Some(name) = claim["spec"]["volumeName"].as_str() else { continue };
        let Some(volume) = objects.get(&format!("/api/v1/persistentvolumes/{name}")).await? else { continue };
        if beneath(&volume["spec"]["local"]["path"]) || beneath(&volume["spec"]["hostPath"]["path"]) {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Pod {
    namespace: String,
    name: String,
    /// It was told to end.
    going: bool,
    /// No controller makes another one in its place.
    alone: bool,
}

impl Pod {
    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The pods that can run elsewhere: not those of DaemonSets, which ignore cordons, of the kubelet's own files, or ended.
fn pods(all: &[Value]) -> Vec<Pod> {
    let stays = |pod: &Value| {
        let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.any(|owner| owner["kind"] == "DaemonSet")
            || !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null()
            || ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase)
    };
    let text = |value: &Value| value.as_str().map(String::from);
    all.iter()
        .filter(|pod| !stays(pod))
        .filter_map(|pod| {
            Some(Pod {
                namespace: text(&pod["metadata"]["namespace"])?,
                name: text(&pod["metadata"]["name"])?,
                going: !pod["metadata"]["deletionTimestamp"].is_null(),
                alone: pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty),
            })
        })
        .collect()
}

/// The API refuses (429) what a disruption budget forbids for now.
async fn evict(objects: &dyn Objects, pod: &Pod) -> Result<(), PortError> {
    let Pod { namespace, name, .. } = pod;
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": name, "namespace": namespace },
    });
    objects.write(&format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction"), Write::Create(&eviction)).await
}

#[cfg(test)]
mod tests;
