//! Who was refused a name that nobody holds is noted for `bowline nodes`: in one object a server, of bounded size.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Fault, Machine, NOW, Store, issuer};
use bowline_enroll::refusals::{KEPT, MOST_UNPROVEN};
use bowline_enroll::wire::{Phase, RefusalBody};
use bowline_enroll::{Code, Role};
use bowline_issuer::nodes::holders;
use bowline_ports::ErrorKind;
use serde_json::json;

const NOTE: &str = "/api/v1/namespaces/bowline/configmaps/refused.control";

fn nobody(of: &str) -> Machine {
    Machine::agent(of, 3).at("10.0.2.20")
}

#[tokio::test]
async fn a_good_ticket_that_no_rule_takes_is_noted_and_shown() {
    let store = Store::new();
    let issuer = issuer(&store);
    let machine = nobody("kafka-0");
    assert_eq!(machine.enroll(&issuer).await.unwrap_err().code, Code::OutsideRules);
    assert!(store.writes().is_empty(), "a request writes nothing for that");
    issuer.unnoted().await;
    issuer.note(NOW).await.unwrap();
    let labels = store.at(NOTE).unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels["app.kubernetes.io/managed-by"], "bowline");
    let shown = holders(&store).await.unwrap();
    assert!(shown.all.is_empty() && shown.unreadable.is_empty(), "it is no claim: {shown:?}");
    let [one] = &shown.refused.proven[..] else { panic!("{shown:?}") };
    assert_eq!((one.name.as_str(), one.role, one.code), ("kafka-0", Role::Agent, Code::OutsideRules));
    assert_eq!((one.from, &one.machine), (crate::common::ip("10.0.2.20"), &machine.key.public().short()));

    // Again and again, which is worth no write; nor is it when it comes in at last, and is no longer shown.
    store.writes();
    for _ in 0..10 {
        machine.enroll(&issuer).await.unwrap_err();
        issuer.note(NOW + 500).await.unwrap();
    }
    assert_eq!(store.writes(), [""; 0]);
    Machine::agent("kafka-0", 3).enroll(&issuer).await.unwrap();
    assert!(holders(&store).await.unwrap().refused.proven.is_empty());
}

#[tokio::test]
async fn a_body_that_is_none_is_noted_with_its_good_ticket_and_one_that_only_has_to_wait_is_not() {
    let store = Store::new();
    let issuer = issuer(&store);
    let machine = Machine::agent("kafka-0", 3);
    let text = "{\"version\":1,\"role\":\"agent\",\"name\":\"kafka-0\"}";
    let sent = machine.sent(bowline_enroll::proof::Purpose::Enroll, text.into());
    assert_eq!(sent.to(&issuer).await.result, "bad-request");
    issuer.note(NOW).await.unwrap();
    assert_eq!(holders(&store).await.unwrap().refused.proven[0].code, Code::BadRequest);

    store.put("/api/v1/nodes/kafka-1", json!({ "metadata": { "name": "kafka-1", "deletionTimestamp": "x" } }));
    let asks = Machine::agent("kafka-1", 4).node(&issuer, bowline_enroll::wire::Phase::Settled).await;
    assert_eq!(asks.unwrap_err().code, Code::NotClaimed);
    store.writes();
    issuer.note(NOW).await.unwrap();
    assert_eq!(store.writes(), [""; 0]);
}

#[tokio::test]
async fn who_has_no_ticket_is_counted_by_address_and_fills_nothing() {
    let store = Store::new();
    let issuer = issuer(&store);
    for number in 0..2000_u32 {
        let machine = Machine::agent(&format!("kafka-{number}"), 3).at(&format!("10.1.{}.7", number % 100));
        let mut sent = machine.enrolling();
        sent.headers.proof = "0".repeat(64);
        assert!(sent.to(&issuer).await.wrong);
    }
    assert!(store.writes().is_empty() && store.reads() == 0, "nothing of the API is touched for that");
    issuer.note(NOW).await.unwrap();
    let size = store.at(NOTE).unwrap().to_string().len();
    assert!(size < 10_000, "{size} bytes");
    assert_eq!(store.paths("/api/v1/namespaces/bowline/configmaps/"), [NOTE]);
    let refused = holders(&store).await.unwrap().refused;
    assert_eq!(refused.unproven.len(), MOST_UNPROVEN);
    let counted: u64 = refused.unproven.iter().map(|one| one.times).sum();
    assert_eq!(counted + refused.others, 2000, "each is counted");
    assert!(refused.proven.is_empty());
}

#[tokio::test]
async fn what_a_server_noted_outlives_it_and_what_two_noted_is_shown_together() {
    let store = Store::new();
    let first = issuer(&store);
    nobody("kafka-0").enroll(&first).await.unwrap_err();
    first.note(NOW).await.unwrap();
    // It is started again, and refuses another one; the API is away for a moment.
    let again = issuer(&store);
    nobody("kafka-1").enroll(&again).await.unwrap_err();
    for fault in 1..=2 {
        store.fail(Some(Fault::Refused(fault)));
        assert!(again.note(NOW).await.is_err());
        store.fail(None);
    }
    again.note(NOW).await.unwrap();
    let other = store.at(NOTE).unwrap();
    let mut other = json!({ "metadata": other["metadata"], "data": other["data"] });
    other["metadata"]["name"] = json!("refused.control-9");
    other["data"]["refused"] = json!(other["data"]["refused"].as_str().unwrap().replace("kafka-0", "kafka-9"));
    store.put("/api/v1/namespaces/bowline/configmaps/refused.control-9", other);
    let refused = holders(&store).await.unwrap().refused;
    let mut names: Vec<&str> = refused.proven.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["kafka-0", "kafka-1", "kafka-9"]);
}

#[tokio::test]
async fn what_is_over_is_swept_and_a_settled_cluster_is_not_written_to() {
    let store = Store::new();
    let issuer = issuer(&store);
    let key = Machine::of(Role::Server, "control", 200).key.public();
    nobody("kafka-0").enroll(&issuer).await.unwrap_err();
    issuer.note(NOW).await.unwrap();
    issuer.sweep(&key, NOW).await.unwrap();
    store.writes();
    issuer.sweep(&key, NOW + KEPT.as_secs() - 1).await.unwrap();
    issuer.note(NOW + KEPT.as_secs() - 1).await.unwrap();
    assert_eq!(store.writes(), [""; 0]);
    issuer.sweep(&key, NOW + KEPT.as_secs()).await.unwrap();
    assert_eq!(store.writes(), [format!("DELETE {NOTE}")]);
    issuer.sweep(&key, NOW + KEPT.as_secs()).await.unwrap();
    assert_eq!(store.writes(), [""; 0]);
}

/// Whoever joins goes by this very predicate, and asks another server.
#[tokio::test]
async fn a_server_that_can_read_nothing_sends_everybody_to_another_one() {
    let store = Store::new();
    let issuer = issuer(&store);
    let machine = Machine::agent("kafka-0", 3);
    for kind in [ErrorKind::Unreachable, ErrorKind::Timeout, ErrorKind::Denied, ErrorKind::Other] {
        store.fail(Some(Fault::Away(kind)));
        let enrols = machine.enroll(&issuer).await.unwrap_err();
        let asks = machine.node(&issuer, Phase::Initializing).await.unwrap_err();
        let leaves: RefusalBody = serde_json::from_slice(&machine.leaving().to(&issuer).await.body).unwrap();
        for refusal in [enrols, asks, leaves] {
            assert!(refusal.is_elsewhere() && refusal.is_starting(), "{kind:?}: {refusal:?}");
        }
    }
    assert!(store.writes().is_empty());
    store.fail(None);
    machine.enroll(&issuer).await.unwrap();
}
