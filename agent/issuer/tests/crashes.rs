//! Whatever goes wrong in the middle, asking again ends the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Fault, Machine, NOW, Store, issuer};
use bowline_enroll::Role;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::advance;

/// What is there, without what no two stories have in common: versions, uids, and what tokens are called.
fn end(store: &Store) -> BTreeMap<String, Value> {
    let tale = |(path, mut object): (String, Value)| {
        object["metadata"] = json!(object["metadata"]["labels"]);
        let Some((before, _)) = path.split_once("bootstrap-token-") else { return (path, object) };
        object["data"]["token-id"] = json!("");
        object["data"]["token-secret"] = json!("");
        (format!("{before}bootstrap-token"), object)
    };
    let mut all: BTreeMap<_, _> = store.all().into_iter().map(tale).collect();
    // The attempts while the old machine was not gone are as many as there were.
    for claim in all.values_mut().filter(|object| object["data"]["refused"].is_string()) {
        claim["data"].as_object_mut().unwrap().remove("refused");
    }
    all
}

/// A new machine asks, the old one of its name being gone, until it is let in: the store afterwards, and the calls.
async fn story(fault: Option<Fault>) -> (BTreeMap<String, Value>, usize) {
    let store = Store::new();
    let issuer = issuer(&store);
    let sweeper = Machine::of(Role::Server, "control", 200).key.public();
    Machine::agent("kafka-0", 1).enroll(&issuer).await.unwrap();
    store.kubelet("kafka-0", "10.0.1.20");
    issuer.sweep(&sweeper, NOW).await.unwrap();
    let successor = Machine::agent("kafka-0", 2);
    successor.enroll(&issuer).await.unwrap_err();
    for _ in 0..2 {
        advance(Duration::from_secs(5)).await;
        successor.enroll(&issuer).await.unwrap_err();
    }
    advance(Duration::from_secs(5)).await;
    store.fail(fault);
    let mut random = 10;
    while successor.enroll_with(&issuer, random).await.is_err() {
        advance(Duration::from_secs(1)).await;
        random += 1;
        assert!(random < 60, "{fault:?}: it does not come in any more");
        assert!(store.paths("/api/v1/namespaces/kube-system/secrets/bootstrap-token-").len() <= 1, "{fault:?}");
    }
    let calls = store.calls();
    store.fail(None);
    (end(&store), calls)
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_call_ends_in_the_same_cluster() {
    let (wanted, calls) = story(None).await;
    assert!(calls > 15, "{calls}");
    for at in 1..=calls {
        for fault in [Fault::Refused(at), Fault::AnswerLost(at)] {
            let (found, _) = story(Some(fault)).await;
            assert_eq!(found, wanted, "{fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_was_interrupted_is_finished_by_the_next() {
    for at in 1..60 {
        for fault in [Fault::Refused(at), Fault::AnswerLost(at)] {
            let store = Store::new();
            let issuer = issuer(&store);
            let sweeper = Machine::of(Role::Server, "control", 200).key.public();
            store.kubelet("control", "10.0.1.10");
            Machine::agent("kafka-0", 1).enroll_with(&issuer, 1).await.unwrap();
            Machine::agent("kafka-1", 2).enroll_with(&issuer, 2).await.unwrap();
            store.kubelet("kafka-1", "10.0.1.21");
            store.fail(Some(fault));
            let _ = issuer.sweep(&sweeper, NOW + 600).await;
            store.fail(None);
            issuer.sweep(&sweeper, NOW + 600).await.unwrap();
            let claims = store.paths("/api/v1/namespaces/bowline/configmaps/");
            assert_eq!(claims.len(), 2, "{fault:?}: control, which nobody let in, and kafka-1: {claims:?}");
            assert!(store.paths("/api/v1/namespaces/kube-system/secrets/bootstrap-token-").is_empty(), "{fault:?}");
        }
    }
}
