//! What a node may ask of the servers once it is there: for itself, and nobody else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Fault, Machine, NOW, ROLE, Store, TEAM, issuer, keys};
use bowline_enroll::wire::Phase;
use bowline_enroll::{Code, Role, STARTUP_TAINT};
use bowline_issuer::{Members, Rest};
use bowline_ports::ErrorKind;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::advance;

const CLAIM: &str = "/api/v1/namespaces/bowline/configmaps/claim.kafka-0";
const NODE: &str = "/api/v1/nodes/kafka-0";

fn labels(store: &Store) -> Value {
    store.at(NODE).unwrap()["metadata"]["labels"].clone()
}

fn taints(store: &Store) -> Vec<String> {
    let node = store.at(NODE).unwrap();
    let taints = node["spec"]["taints"].as_array().unwrap();
    taints.iter().map(|taint| taint["key"].as_str().unwrap().to_owned()).collect()
}

/// A machine that came in as kafka-0, and its Node.
async fn a_node() -> (Store, Machine) {
    let store = Store::new();
    let mut machine = Machine::agent("kafka-0", 1);
    machine.labels = [(TEAM.into(), "red".into()), ("node-role.kubernetes.io/master".into(), "yes".into())].into();
    machine.enroll(&issuer(&store)).await.unwrap();
    store.kubelet("kafka-0", "10.0.1.20");
    store.writes();
    (store, machine)
}

#[tokio::test]
async fn labels_and_taints_come_at_once_and_the_startup_taint_goes_last() {
    let (store, machine) = a_node().await;
    let issuer = issuer(&store);
    let answer = machine.node(&issuer, Phase::Initializing).await.unwrap();
    assert!(answer.registered);
    assert_eq!(labels(&store), json!({ "kubernetes.io/hostname": "kafka-0", ROLE: "yes", TEAM: "red" }));
    let cut: Vec<&str> = answer.cut.iter().map(|cut| cut.what.as_str()).collect();
    assert_eq!(cut, ["node-role.kubernetes.io/master=yes"], "and it holds no other back");
    assert_eq!(taints(&store), [STARTUP_TAINT, "dedicated"]);
    assert_eq!(store.at(NODE).unwrap()["metadata"]["annotations"]["bowline/taints"], "dedicated=kafka:NoSchedule");

    machine.node(&issuer, Phase::Settled).await.unwrap();
    assert_eq!(taints(&store), ["dedicated"]);
    assert!(store.paths("/api/v1/namespaces/kube-system/secrets/bootstrap-token-").is_empty());

    store.writes();
    machine.node(&issuer, Phase::Settled).await.unwrap();
    assert!(store.writes().is_empty(), "who has everything makes nobody write");
}

#[tokio::test]
async fn what_is_wished_no_more_goes_and_what_is_not_bowlines_stays() {
    let (store, mut machine) = a_node().await;
    let issuer = issuer(&store);
    machine.node(&issuer, Phase::Settled).await.unwrap();
    store.change(NODE, |node| {
        node["metadata"]["labels"]["example.com/by-hand"] = json!("yes");
        node["spec"]["taints"].as_array_mut().unwrap().push(json!({ "key": "by-hand", "effect": "NoExecute" }));
    });
    machine.labels.clear();
    machine.node(&issuer, Phase::Settled).await.unwrap();
    let left = json!({ "kubernetes.io/hostname": "kafka-0", ROLE: "yes", "example.com/by-hand": "yes" });
    assert_eq!(labels(&store), left);
    assert_eq!(taints(&store), ["dedicated", "by-hand"]);
}

#[tokio::test]
async fn what_somebody_else_keeps_is_told_and_left_alone() {
    let (store, machine) = a_node().await;
    store.change(NODE, |node| {
        node["metadata"]["labels"][ROLE] = json!("no");
        let theirs =
            json!({ "manager": "kubectl", "fieldsV1": { "f:metadata": { "f:labels": { format!("f:{ROLE}"): {} } } } });
        node["metadata"]["managedFields"].as_array_mut().unwrap().push(theirs);
    });
    let answer = machine.node(&issuer(&store), Phase::Settled).await.unwrap();
    assert!(answer.cut.iter().any(|cut| cut.what == format!("{ROLE}=yes") && cut.why.contains("kubectl")));
    assert_eq!((&labels(&store)[ROLE], &labels(&store)[TEAM]), (&json!("no"), &json!("red")));
}

#[tokio::test]
async fn a_predecessor_and_a_neighbour_are_refused() {
    let (store, _) = a_node().await;
    let issuer = issuer(&store);
    let before = store.all();
    let old = Machine::agent("kafka-0", 66);
    assert_eq!(old.node(&issuer, Phase::Settled).await.unwrap_err().code, Code::ClaimedElsewhere);
    let left = old.leaving().to(&issuer).await;
    assert_eq!(left.result, "claimed-elsewhere");

    // A neighbour with its own good ticket, and its own key, that says to be kafka-0.
    let mut neighbour = Machine::agent("kafka-0", 67);
    neighbour.ticket = keys().ticket(Role::Agent, &crate::common::name("kafka-1")).unwrap();
    for sent in [neighbour.enrolling(), neighbour.leaving()] {
        assert_eq!(sent.to(&issuer).await.result, "not-let-in");
    }
    for (path, object) in store.all() {
        assert!(path == CLAIM || before[&path] == object, "{path} has changed");
    }
    assert!(
        Machine::agent("kafka-1", 67).node(&issuer, Phase::Settled).await.is_err_and(|no| no.code == Code::NotClaimed)
    );
}

#[tokio::test]
async fn who_leaves_takes_everything_of_its_own_along() {
    let (store, machine) = a_node().await;
    let issuer = issuer(&store);
    let first = machine.leaving().to(&issuer).await;
    assert_eq!((first.status, first.result), (503, "not-ready"), "the Node goes first");
    assert!(store.at(NODE).is_none());
    let then = machine.leaving().to(&issuer).await;
    assert_eq!((then.status, then.result), (200, "left"));
    assert!(store.at(CLAIM).is_none());
    assert!(store.paths("/api/v1/namespaces/kube-system/secrets/").is_empty());
    // The name is free at once.
    Machine::agent("kafka-0", 2).enroll(&issuer).await.unwrap();
}

#[tokio::test]
async fn a_server_writes_down_that_its_name_is_its_own() {
    let store = Store::new();
    store.kubelet("control", "10.0.1.10");
    let server = Machine::of(Role::Server, "control", 200);
    issuer(&store).sweep(&server.key.public(), NOW).await.unwrap();
    let claim = store.at("/api/v1/namespaces/bowline/configmaps/claim.control").unwrap();
    assert_eq!(claim["data"]["role"], "server");
    assert_eq!(claim["data"]["machine-key"], server.key.public().to_string());
    store.writes();
    issuer(&store).sweep(&server.key.public(), NOW).await.unwrap();
    let again: Vec<String> = store.writes().into_iter().filter(|write| write.contains("claim")).collect();
    assert!(again.is_empty(), "once: {again:?}");
    // Recreated with the cluster's data on a volume that was kept: another key, and the same Node, which runs here.
    let recreated = Machine::of(Role::Server, "control", 66);
    issuer(&store).sweep(&recreated.key.public(), NOW).await.unwrap();
    let claim = store.at("/api/v1/namespaces/bowline/configmaps/claim.control").unwrap();
    assert_eq!(claim["data"]["machine-key"], recreated.key.public().to_string());
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_name_and_is_not_there_is_counted() {
    let (store, _) = a_node().await;
    store.kubelet("control", "10.0.1.10");
    let (issuer, server) = (issuer(&store), Machine::of(Role::Server, "control", 200).key.public());
    assert_eq!(issuer.members(), None, "nobody looked yet");
    issuer.sweep(&server, NOW).await.unwrap();
    // The server has written its own claim; what it counts is what it finds.
    assert_eq!(issuer.sweep(&server, NOW).await, Ok(Rest::Long));
    assert_eq!(issuer.members(), Some(Members { expected: 2, missing: 0 }));
    store.change(NODE, |node| node["status"]["conditions"][0]["status"] = "Unknown".into());
    assert_eq!(issuer.sweep(&server, NOW).await, Ok(Rest::Soon), "it may be back at any time");
    assert_eq!(issuer.members(), Some(Members { expected: 2, missing: 1 }));
    store.remove(NODE);
    issuer.sweep(&server, NOW).await.unwrap();
    let one = Some(Members { expected: 2, missing: 1 });
    assert_eq!(issuer.members(), one);
    // Its API is away: who is missing is looked for every five minutes, and may be back.
    store.fail(Some(Fault::Away(ErrorKind::Unreachable)));
    for (minutes, counted) in [(5, one), (5, None)] {
        advance(Duration::from_secs(minutes * 60)).await;
        issuer.sweep(&server, NOW).await.unwrap_err();
        assert_eq!(issuer.members(), counted, "{minutes} minutes more");
    }
    store.fail(None);
    store.kubelet("kafka-0", "10.0.1.20");
    issuer.sweep(&server, NOW).await.unwrap();
    let all = Some(Members { expected: 2, missing: 0 });
    assert_eq!(issuer.members(), all);
    store.fail(Some(Fault::Away(ErrorKind::Unreachable)));
    for (minutes, counted) in [(30, all), (10, None)] {
        advance(Duration::from_secs(minutes * 60)).await;
        issuer.sweep(&server, NOW).await.unwrap_err();
        assert_eq!(issuer.members(), counted, "{minutes} minutes more");
    }
}
