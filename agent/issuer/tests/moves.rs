//! What somebody else changes between a look and an act: at any moment, it is not written over.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use crate::common::{Machine, NOW, Store, issuer};
use bowline_enroll::Role;
use bowline_enroll::wire::Phase;
use serde_json::json;
use std::sync::atomic::Ordering;

const CLAIM: &str = "/api/v1/namespaces/bowline/configmaps/claim.kafka-0";
const NODE: &str = "/api/v1/nodes/kafka-0";

#[tokio::test]
async fn who_asks_anew_at_any_moment_before_its_claim_ends_keeps_it() {
    let server = Machine::of(Role::Server, "control", 200).key.public();
    for call in 1.. {
        let store = Store::new();
        let issuer = issuer(&store);
        Machine::agent("kafka-0", 1).enroll(&issuer).await.unwrap();
        // Through another server.
        let asked = store.before(call, CLAIM, |claim| claim["data"]["issued"] = json!((NOW + 600).to_string()));
        let _ = issuer.sweep(&server, NOW + 600).await;
        if !asked.load(Ordering::Relaxed) {
            assert!(call > 10 && store.at(CLAIM).is_none(), "{call} calls");
            return;
        }
        assert!(store.at(CLAIM).is_some(), "it asked before call {call}");
    }
}

#[tokio::test]
async fn a_taint_that_comes_at_any_moment_stays() {
    for call in 1.. {
        let store = Store::new();
        let (issuer, machine) = (issuer(&store), Machine::agent("kafka-0", 1));
        machine.enroll(&issuer).await.unwrap();
        store.kubelet("kafka-0", "10.0.1.20");
        let added = store.before(call, NODE, |node| {
            node["spec"]["taints"].as_array_mut().unwrap().push(json!({ "key": "by-hand", "effect": "NoExecute" }));
        });
        let _ = machine.node(&issuer, Phase::Settled).await;
        if !added.load(Ordering::Relaxed) {
            assert!(call > 7, "{call} calls");
            return;
        }
        let node = store.at(NODE).unwrap();
        let mut taints = node["spec"]["taints"].as_array().unwrap().iter();
        assert!(taints.any(|taint| taint["key"] == "by-hand"), "it came before call {call}");
    }
}
