//! What `kubectl describe node` tells of those who came.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Fault, Machine, NOW, Store, issuer};
use bowline_enroll::Role;
use bowline_enroll::wire::Phase;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::advance;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events/";
const NODE: &str = "/api/v1/nodes/kafka-0";

/// A cluster in which kafka-0 came in and became a Node; nothing is told yet.
async fn with_a_node() -> Store {
    let store = Store::new();
    store.put("/api/v1/namespaces/default", json!({ "metadata": { "name": "default" } }));
    let issuer = issuer(&store);
    Machine::agent("kafka-0", 1).enroll(&issuer).await.unwrap();
    issuer.tell().await;
    assert_eq!(told(&store), Vec::<String>::new(), "there was no Node to tell it of");
    store.kubelet("kafka-0", "10.0.1.20");
    issuer.sweep(&Machine::of(Role::Server, "control", 200).key.public(), NOW).await.unwrap();
    store
}

fn events(store: &Store) -> Vec<Value> {
    store.paths(EVENTS).iter().map(|path| store.at(path).unwrap()).collect()
}

/// Type and reason of all Events.
fn told(store: &Store) -> Vec<String> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    events(store).iter().map(|event| format!("{} {}", text(event, "type"), text(event, "reason"))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_a_minute_and_only_when_it_is_answered() {
    let store = with_a_node().await;
    let (issuer, successor) = (issuer(&store), Machine::agent("kafka-0", 2));
    for _ in 0..5 {
        successor.enroll(&issuer).await.unwrap_err();
        store.renew("kafka-0");
    }
    assert!(events(&store).is_empty(), "a request waits for none");
    issuer.untold().await;
    issuer.tell().await;
    let all = events(&store);
    let [event] = all.as_slice() else { panic!("{all:?}") };
    let node = store.at(NODE).unwrap();
    assert_eq!(
        event["regarding"]["uid"], node["metadata"]["name"],
        "so that it is told of the next Node of the name, too"
    );
    assert_eq!(
        (&event["type"], &event["reason"], &event["action"]),
        (&json!("Warning"), &json!("Refused"), &json!("enroll"))
    );
    assert_eq!(event["eventTime"], "2027-01-15T08:00:00.000000Z");
    let note = event["note"].as_str().unwrap();
    assert!(note.starts_with("the agent at 10.0.1.20 was refused (/v1/enroll): node-is-alive: "), "{note}");

    store.remove(&store.paths(EVENTS)[0]);
    advance(Duration::from_secs(59)).await;
    store.renew("kafka-0");
    successor.enroll(&issuer).await.unwrap_err();
    issuer.tell().await;
    assert!(events(&store).is_empty(), "a minute is not over");
    advance(Duration::from_secs(1)).await;
    store.renew("kafka-0");
    successor.enroll(&issuer).await.unwrap_err();
    issuer.tell().await;
    assert_eq!(told(&store), ["Warning Refused"]);
}

#[tokio::test(start_paused = true)]
async fn grants_and_what_replaces_a_node_are_told_on_it() {
    let store = with_a_node().await;
    let (issuer, machine) = (issuer(&store), Machine::agent("kafka-0", 1));
    machine.node(&issuer, Phase::Settled).await.unwrap();
    issuer.tell().await;
    assert_eq!(told(&store), ["Normal Adjusted"]);
    machine.enroll(&issuer).await.unwrap();
    issuer.tell().await;
    assert_eq!(told(&store), ["Normal Adjusted", "Normal LetIn"]);

    let successor = Machine::agent("kafka-0", 2);
    successor.enroll(&issuer).await.unwrap_err();
    for _ in 0..3 {
        advance(Duration::from_secs(5)).await;
        successor.enroll(&issuer).await.unwrap_err();
    }
    assert!(store.at(NODE).is_none());
    issuer.tell().await;
    assert_eq!(told(&store), ["Normal Adjusted", "Normal LetIn", "Warning Refused", "Normal Replaced"]);
    let text = format!("{:?}", events(&store));
    for secret in ["K10", "hunter2", crate::common::KEY] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_node_that_leaves_says_so() {
    let store = with_a_node().await;
    let issuer = issuer(&store);
    let answer = Machine::agent("kafka-0", 1).leaving().to(&issuer).await;
    assert_eq!(answer.result, "not-ready", "its Node is being removed");
    issuer.tell().await;
    assert_eq!(told(&store), ["Normal Left"]);
}

#[tokio::test]
async fn a_wrong_proof_is_told_nobody_and_what_can_not_be_written_is_dropped() {
    let store = with_a_node().await;
    let (issuer, machine) = (issuer(&store), Machine::agent("kafka-0", 2));
    let mut wrong = machine.enrolling();
    wrong.headers.proof = "0".repeat(64);
    assert!(wrong.to(&issuer).await.wrong);
    issuer.tell().await;
    assert!(events(&store).is_empty());

    machine.enroll(&issuer).await.unwrap_err();
    store.fail(Some(Fault::Refused(1)));
    issuer.tell().await;
    store.fail(None);
    issuer.tell().await;
    assert!(events(&store).is_empty());
    // One that is there already, by another server, is no trouble either.
    let (one, other) = (crate::common::issuer(&store), crate::common::issuer(&store));
    for issuer in [&one, &other] {
        machine.enroll(issuer).await.unwrap_err();
        issuer.tell().await;
    }
    assert_eq!(told(&store), ["Warning Refused"]);
}
