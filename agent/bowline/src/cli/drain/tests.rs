//! Draining a Node that is told what pods it has.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use super::*;
use bowline_ports::{ErrorKind, Fut};
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
    /// From that look on so many are not answered.
    silent: (u32, u32),
    /// It is told to take no pods so much later than it is asked to, and nobody is answered.
    slow: Option<Duration>,
    coming: Mutex<Option<(Instant, Value)>>,
}

impl Node {
    /// What is on its way comes, once it is time.
    fn comes(&self) {
        let mut coming = self.coming.lock().unwrap();
        if let Some((_, patch)) = coming.take_if(|(at, _)| Instant::now() >= *at) {
            *self.object.lock().unwrap() = patch;
        }
    }
}

impl Objects for Node {
    fn get<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>> {
        self.comes();
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
        let look = *self.looks.lock().unwrap();
        if (self.silent.0..self.silent.0 + self.silent.1).contains(&look) {
            return Box::pin(async { Err(PortError::new(ErrorKind::Unreachable, "the API cannot be reached")) });
        }
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
            Write::Merge(patch) if self.slow.is_some() && patch["spec"]["unschedulable"] == true => {
                let at = Instant::now() + self.slow.unwrap_or_default();
                *self.coming.lock().unwrap() = Some((at, patch.clone()));
                return Box::pin(std::future::pending());
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
    assert!(error.message.ends_with("reading /api/v1/pods: the answer is no list"), "{error}");
    assert_eq!(*node.written.lock().unwrap(), ["/api/v1/nodes/kafka-0"], "no pod was asked to go");
}

/// A server that is started anew meanwhile.
#[tokio::test(start_paused = true)]
async fn an_api_that_does_not_answer_for_a_while_undoes_nothing() {
    for (silent, ends) in [((2, 3), true), ((2, 100), false)] {
        let node = Node { pods: Mutex::new(vec![pod("budget-kafka", json!({}))]), silent, ..Node::default() };
        let drained = drain(&node, "kafka-0", &ALL, &Cordon::default(), Duration::from_secs(60)).await;
        assert_eq!(drained.is_ok(), ends);
        assert_eq!(node.object.lock().unwrap()["spec"]["unschedulable"], true, "it takes no pods");
        if let Err(error) = drained {
            assert_eq!(error.kind, ErrorKind::Timeout);
            assert!(error.message.ends_with("is not known after 60 s: the API cannot be reached"), "{error}");
            assert!(error.hint.unwrap().contains("`kubectl uncordon kafka-0`"));
        }
    }
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

/// Who ends the command while it is being put on record finds it there, or all as before.
#[tokio::test(start_paused = true)]
async fn what_is_being_put_on_record_is_waited_for() {
    for (written, code, left) in
        [(Ok(()), Ok("told"), json!(true)), (Err(ErrorKind::NoSpace), Err(ErrorKind::NoSpace), json!(null))]
    {
        let (node, cordon, on_record) = (Node::default(), Cordon::default(), Mutex::new(None));
        let write = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            *on_record.lock().unwrap() = Some(written.is_ok());
            written.map_err(|kind| PortError::new(kind, "it cannot be written"))
        };
        let work = async {
            drain(&node, "kafka-0", &ALL, &cordon, Duration::from_secs(60)).await?;
            cordon.put_on_record(write).await?;
            std::future::pending::<Result<&str, PortError>>().await
        };
        let told = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            "told"
        };
        assert_eq!(cordon.unless(told, &node, work).await.map_err(|error| error.kind), code);
        assert_eq!(*on_record.lock().unwrap(), Some(written.is_ok()));
        assert_eq!(node.object.lock().unwrap()["spec"]["unschedulable"], left, "{written:?}");
    }
}

/// What is asked of the API last is not always what it does last.
#[tokio::test(start_paused = true)]
async fn a_cordon_that_comes_after_it_was_undone_is_undone_as_well() {
    for slow in [200, 800, 3000].map(Duration::from_millis) {
        let (node, cordon) = (Node { slow: Some(slow), ..Node::default() }, Cordon::default());
        let work = async { drain(&node, "kafka-0", &ALL, &cordon, Duration::from_secs(60)).await.map(|_| "moved") };
        let told = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            "told"
        };
        assert_eq!(cordon.unless(told, &node, work).await, Ok("told"));
        tokio::time::sleep(slow).await;
        node.comes();
        assert_eq!(node.object.lock().unwrap()["spec"]["unschedulable"], json!(null), "{slow:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_pods_that_use_a_directory_go_when_it_is_about_that() {
    let claim = json!({ "spec": { "volumes": [{ "persistentVolumeClaim": { "claimName": "data-kafka" } }] } });
    let host = |path: &str| json!({ "spec": { "volumes": [{ "emptyDir": {} }, { "hostPath": { "path": path } }] } });
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

#[test]
fn what_to_do_without_the_api_is_said_where_it_is_that() {
    let hint = |kind| without_api(PortError::new(kind, "x"), "stop it").hint;
    for kind in [ErrorKind::Unreachable, ErrorKind::Timeout, ErrorKind::NotFound] {
        assert_eq!(hint(kind).as_deref(), Some("without the API no pod can be moved: stop it"));
    }
    assert_eq!(hint(ErrorKind::Invalid), None);
    let own = without_api(PortError::new(ErrorKind::Timeout, "x").hint("wait"), "stop it");
    assert_eq!(own.hint.as_deref(), Some("wait"));
}
