//! Moves the pods of this node to others, as `kubectl drain --force --delete-emptydir-data` does: by evictions, which keep to the
//! disruption budgets. The machine goes, and with it what only it has.
//!
//! The kubelet's own credentials may do that to its own node, and no more.

use super::cordon::Cordon;
use super::output;
use bowline_ports::{CORDONED, ErrorKind, Objects, PortError, Write, items};
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
/// The API says no: then the node takes pods again as before. Or pods are left when the time is over: which ones, and what keeps
/// them; the node takes none, for the next try. Or somebody has uncordoned it meanwhile.
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

async fn empty(
    objects: &dyn Objects,
    node: &str,
    what: &Drain<'_>,
    cordon: &Cordon,
    timeout: Duration,
) -> Result<bool, PortError> {
    let path = format!("/api/v1/nodes/{node}");
    let found = objects.get(&path).await?.unwrap_or_default();
    let cordoned = found["spec"]["unschedulable"] == true;
    let ours = !cordoned || found["metadata"]["annotations"][CORDONED] == "true";
    if !cordoned {
        cordon.begins(node);
        let cordon = json!({ "metadata": { "annotations": { CORDONED: "true" } }, "spec": { "unschedulable": true } });
        objects.write(&path, Write::Merge(&cordon)).await?;
        output::complain(&format!("{node} takes no more pods"));
    }
    let end = Instant::now() + timeout;
    let mut told = BTreeMap::new();
    loop {
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
            let now = objects.get(&format!("/api/v1/nodes/{node}")).await?.unwrap_or_default();
            if now["spec"]["unschedulable"] != true {
                cordon.stays();
                let text = format!("{node} was told to take pods again while its pods were moved away");
                return Err(PortError::new(ErrorKind::Changed, text).hint("nothing else was done: run this again"));
            }
            output::complain(&match what.beneath {
                None => format!("no pod that could run elsewhere is left on {node}"),
                Some(directory) => format!("no pod on {node} uses {}", directory.display()),
            });
            return Ok(ours);
        }
        let mut kept = Vec::new();
        for pod in &pods {
            let why = match pod.going {
                true => "it is shutting down".to_owned(),
                false => match evict(objects, pod).await {
                    Ok(()) if pod.alone => {
                        "it was asked to go, and has no controller that would make it anew".to_owned()
                    }
                    Ok(()) => "it was asked to go".to_owned(),
                    Err(error) if error.kind == ErrorKind::NotFound => continue,
                    Err(error) => error.message,
                },
            };
            if told.insert(pod.name(), why.clone()).as_ref() != Some(&why) {
                output::complain(&format!("{}: {why}", pod.name()));
            }
            kept.push(format!("{}: {why}", pod.name()));
        }
        if Instant::now() >= end {
            cordon.stays();
            let text = format!("some pods are still on {node} after {} s:\n{}", timeout.as_secs(), kept.join("\n"));
            let hint = format!("{node} takes no more pods: `kubectl uncordon {node}` lets it; {}", what.hint);
            return Err(PortError::new(ErrorKind::Timeout, text).hint(hint));
        }
        sleep(AGAIN).await;
    }
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
mod tests {
    use super::*;
    use bowline_ports::Fut;
    use std::sync::Mutex;

    const ALL: Drain<'_> = Drain { beneath: None, hint: "" };

    /// A node with pods; those named `budget-…` are kept by a disruption budget for the first look.
    #[derive(Default)]
    struct Node {
        pods: Mutex<Vec<Value>>,
        looks: Mutex<u32>,
        written: Mutex<Vec<String>>,
        object: Mutex<Value>,
        /// Somebody uncordons it at once.
        uncordoned: bool,
        no_list: bool,
    }

    impl Objects for Node {
        fn get<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>> {
            let object = match path {
                "/api/v1/nodes/kafka-0" => Some(self.object.lock().unwrap().clone()),
                "/api/v1/namespaces/default/persistentvolumeclaims/data-kafka"
                | "/api/v1/namespaces/default/persistentvolumeclaims/sorter-scratch" => {
                    Some(json!({ "spec": { "volumeName": "pv" } }))
                }
                "/api/v1/persistentvolumes/pv" => Some(json!({ "spec": { "local": { "path": "/mnt/data/0" } } })),
                _ => None,
            };
            if object.is_some() || path.contains("/persistentvolumeclaims/") {
                return Box::pin(async move { Ok(object) });
            }
            assert_eq!(path, "/api/v1/pods?fieldSelector=spec.nodeName%3Dkafka-0");
            *self.looks.lock().unwrap() += 1;
            let list = if self.no_list { json!({}) } else { json!({ "items": *self.pods.lock().unwrap() }) };
            Box::pin(async move { Ok(Some(list)) })
        }

        fn write<'a>(&'a self, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
            self.written.lock().unwrap().push(path.to_owned());
            let result = match write {
                Write::Create(eviction) => {
                    let name = eviction["metadata"]["name"].as_str().unwrap().to_owned();
                    if name.starts_with("budget-") && *self.looks.lock().unwrap() < 2 {
                        Err(PortError::new(ErrorKind::Unreachable, "it would violate the pod's disruption budget"))
                    } else {
                        self.pods.lock().unwrap().retain(|pod| pod["metadata"]["name"] != *name);
                        Ok(())
                    }
                }
                Write::Merge(patch) if !self.uncordoned => {
                    *self.object.lock().unwrap() = patch.clone();
                    Ok(())
                }
                _ => Ok(()),
            };
            Box::pin(async move { result })
        }
    }

    fn pod(name: &str, more: Value) -> Value {
        let mut pod = json!({ "metadata": { "namespace": "default", "name": name } });
        pod.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!("default");
        pod
    }

    #[tokio::test(start_paused = true)]
    async fn pods_go_within_their_budgets_and_what_belongs_to_the_node_stays() {
        let daemon = json!({ "metadata": { "ownerReferences": [{ "kind": "DaemonSet" }] } });
        let mirror = json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" } } });
        let ended = json!({ "status": { "phase": "Succeeded" } });
        let all = vec![
            pod("web", json!({})),
            pod("budget-kafka", json!({})),
            pod("logs", daemon),
            pod("own", mirror),
            pod("job", ended),
        ];
        let node = Node { pods: Mutex::new(all), ..Node::default() };
        assert!(
            drain(&node, "kafka-0", &ALL, &Cordon::default(), Duration::from_secs(60)).await.unwrap(),
            "Bowline has cordoned it"
        );
        let left: Vec<_> = node.pods.lock().unwrap().iter().map(|pod| pod["metadata"]["name"].clone()).collect();
        assert_eq!(left, ["logs", "own", "job"]);
        assert_eq!(node.written.lock().unwrap()[0], "/api/v1/nodes/kafka-0", "cordoned first");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_cordoned_a_node_is_known_when_it_is_drained_again() {
        for (annotations, ours) in [(json!({ CORDONED: "true" }), true), (json!({}), false)] {
            let object = json!({ "metadata": { "annotations": annotations }, "spec": { "unschedulable": true } });
            let node = Node { object: Mutex::new(object), ..Node::default() };
            assert_eq!(drain(&node, "kafka-0", &ALL, &Cordon::default(), Duration::from_secs(60)).await.unwrap(), ours);
            assert_eq!(*node.written.lock().unwrap(), Vec::<String>::new());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_somebody_uncordons_meanwhile_is_not_drained() {
        let node = Node { uncordoned: true, ..Node::default() };
        let error = drain(&node, "kafka-0", &ALL, &Cordon::default(), Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.message, "kafka-0 was told to take pods again while its pods were moved away");
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_in_the_way_is_told_when_the_time_is_over() {
        let going = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        let mut stuck = pod("stuck", json!({}));
        stuck["metadata"]["deletionTimestamp"] = going["metadata"]["deletionTimestamp"].clone();
        let node = Node { pods: Mutex::new(vec![stuck]), ..Node::default() };
        let error = drain(&node, "kafka-0", &ALL, &Cordon::default(), Duration::from_secs(10)).await.unwrap_err();
        assert!(error.message.contains("default/stuck: it is shutting down"), "{error}");
        assert!(error.hint.unwrap().contains("kubectl uncordon kafka-0"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_no_list_does_not_mean_that_no_pod_is_left() {
        let node = Node { pods: Mutex::new(vec![pod("web", json!({}))]), no_list: true, ..Node::default() };
        let error = drain(&node, "kafka-0", &ALL, &Cordon::default(), Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(error.message, "reading /api/v1/pods: the answer is no list");
        assert_eq!(node.object.lock().unwrap()["spec"]["unschedulable"], json!(null), "it takes pods again");
    }

    /// What a command has done to the Node that is told to end goes with it; what was there before, or is needed, stays.
    #[tokio::test(start_paused = true)]
    async fn a_drain_that_is_told_to_end_lets_the_node_take_pods_again() {
        let kept = || vec![pod("stuck", json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }))];
        let end = |after| async move {
            tokio::time::sleep(Duration::from_secs(after)).await;
            "told"
        };
        let before = json!({ "metadata": { "annotations": { CORDONED: "true" } }, "spec": { "unschedulable": true } });
        for (object, after, code, left) in [
            (json!({}), 5, Ok("told"), json!(null)),
            (before, 5, Ok("told"), json!(true)),
            // The time is over first: the next try is to find it so.
            (json!({}), 100, Err(ErrorKind::Timeout), json!(true)),
        ] {
            let node = Node { pods: Mutex::new(kept()), object: Mutex::new(object), ..Node::default() };
            let cordon = Cordon::default();
            let limit = Duration::from_secs(60);
            let work = async { drain(&node, "kafka-0", &ALL, &cordon, limit).await.map(|_| "moved") };
            assert_eq!(cordon.unless(end(after), &node, work).await.map_err(|error| error.kind), code);
            assert_eq!(node.object.lock().unwrap()["spec"]["unschedulable"], left);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_does_not_get_on_record_is_undone() {
        for (written, left) in [(Ok(()), json!(true)), (Err(ErrorKind::NoSpace), json!(null))] {
            let (node, cordon) = (Node::default(), Cordon::default());
            let write = async { written.map_err(|kind| PortError::new(kind, "it cannot be written")) };
            let work = async {
                drain(&node, "kafka-0", &ALL, &cordon, Duration::from_secs(60)).await?;
                cordon.put_on_record(write).await
            };
            assert_eq!(cordon.unless(std::future::pending(), &node, work).await.map_err(|error| error.kind), written);
            assert_eq!(node.object.lock().unwrap()["spec"]["unschedulable"], left, "{written:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_pods_that_use_a_directory_go_when_it_is_about_that() {
        let claim = json!({ "spec": { "volumes": [{ "persistentVolumeClaim": { "claimName": "data-kafka" } }] } });
        let host =
            |path: &str| json!({ "spec": { "volumes": [{ "emptyDir": {} }, { "hostPath": { "path": path } }] } });
        let ephemeral =
            json!({ "spec": { "volumes": [{ "name": "scratch", "ephemeral": { "volumeClaimTemplate": {} } }] } });
        let all = vec![
            pod("kafka", claim),
            pod("sorter", ephemeral.clone()),
            // Not bound to anything here.
            pod("elsewhere", ephemeral),
            pod("backup", host("/mnt/data")),
            pod("near", host("/mnt/data-2")),
            pod("web", json!({})),
        ];
        let node = Node { pods: Mutex::new(all), ..Node::default() };
        let beneath = Drain { beneath: Some(Path::new("/mnt/data")), hint: "" };
        drain(&node, "kafka-0", &beneath, &Cordon::default(), Duration::from_secs(60)).await.unwrap();
        let left: Vec<_> = node.pods.lock().unwrap().iter().map(|pod| pod["metadata"]["name"].clone()).collect();
        assert_eq!(left, ["elsewhere", "near", "web"]);
    }
}
