//! Many machines: at once, and over time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Machine, NOW, Store, issuer, issuer_with_etcd};
use bowline_enroll::key::PublicKey;
use bowline_enroll::wire::Phase;
use bowline_enroll::{Code, Role};
use bowline_issuer::Rest;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::advance;

const TOKENS: &str = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-";

fn server() -> PublicKey {
    Machine::of(Role::Server, "control", 200).key.public()
}

#[tokio::test]
async fn all_who_come_at_once_are_let_in_and_the_api_is_asked_by_a_few_at_a_time() {
    let store = Store::new();
    let issuer = Arc::new(issuer(&store));
    let mut all = JoinSet::new();
    for seed in 0..200 {
        let (issuer, machine) = (Arc::clone(&issuer), Machine::agent(&format!("kafka-{seed}"), seed));
        all.spawn(async move { machine.enroll_with(&issuer, seed).await.unwrap() });
    }
    assert_eq!(all.join_all().await.len(), 200);
    assert_eq!(store.paths(TOKENS).len(), 200, "each has its own");
    assert!(store.most_at_once() <= 100, "{} calls at once", store.most_at_once());
    assert!(store.reads() <= 200 * 6, "nobody else's name is read");
}

/// Agents that came in long ago, with a settled Node each.
async fn settled(count: u8) -> Store {
    let store = Store::new();
    let issuer = issuer(&store);
    for seed in 0..count {
        let machine = Machine::agent(&format!("kafka-{seed}"), seed);
        machine.enroll_with(&issuer, seed).await.unwrap();
        store.kubelet(machine.name.as_str(), "10.0.1.20");
        machine.node(&issuer, Phase::Settled).await.unwrap();
    }
    store.kubelet("control", "10.0.1.10");
    issuer.sweep(&server(), NOW).await.unwrap();
    store.writes();
    store.reads();
    store
}

#[tokio::test]
async fn a_settled_cluster_is_looked_at_as_a_whole_and_nothing_is_written() {
    for (count, reads) in [(2, 8), (11, 17)] {
        let store = settled(count).await;
        assert_eq!(issuer(&store).sweep(&server(), NOW).await.unwrap(), Rest::Long);
        // The store gives three objects at a time: claims, Nodes and Leases; no token, no persistent volume, the turn to
        // join, and whether there is a policy with its binding.
        assert_eq!(store.reads(), reads, "with {count} agents");
        assert_eq!(store.writes(), [""; 0]);
    }
}

#[tokio::test]
async fn only_who_needs_something_is_looked_at_alone() {
    let store = settled(2).await;
    let issuer = issuer(&store);
    store.change("/api/v1/nodes/kafka-1", |node| node["metadata"]["labels"][crate::common::ROLE] = "no".into());
    issuer.sweep(&server(), NOW).await.unwrap();
    assert_eq!(store.at("/api/v1/nodes/kafka-1").unwrap()["metadata"]["labels"][crate::common::ROLE], "yes");
    let written = store.writes();
    assert!(!written.is_empty() && written.iter().all(|write| write.ends_with("/nodes/kafka-1")), "{written:?}");
    assert!(store.reads() <= 8 + 7, "all at once, then the one");
}

#[tokio::test]
async fn who_was_let_in_and_is_no_node_yet_is_looked_after_soon() {
    let store = settled(1).await;
    let issuer = issuer(&store);
    Machine::agent("kafka-9", 9).enroll(&issuer).await.unwrap();
    assert_eq!(issuer.sweep(&server(), NOW).await.unwrap(), Rest::Soon);
    // Its time is over: what came of it ends.
    issuer.sweep(&server(), NOW + 600).await.unwrap();
    assert_eq!(issuer.sweep(&server(), NOW + 600).await.unwrap(), Rest::Long);
    assert!(store.paths(TOKENS).is_empty());
}

/// The turn of the server that joins.
const TURN: &str = "/apis/coordination.k8s.io/v1/namespaces/bowline/leases/server-join";

/// The control node becomes a member of etcd.
fn is_a_member(store: &Store) {
    store.change("/api/v1/nodes/control", |node| {
        let roles = ["control-plane", "etcd"].map(|role| (format!("node-role.kubernetes.io/{role}"), json!("true")));
        node["metadata"]["labels"].as_object_mut().unwrap().extend(roles);
    });
}

#[tokio::test]
async fn a_server_that_joined_gives_its_turn_back_as_soon_as_it_is_a_member() {
    // A K3s that does not say whether it has a vote is a member as soon as it is Ready.
    for (voter, rest) in [(None, Rest::Long), (Some("False"), Rest::Moment), (Some("True"), Rest::Long)] {
        let store = settled(0).await;
        let issuer = issuer_with_etcd(&store);
        store.put(TURN, json!({ "metadata": { "name": "server-join" }, "spec": { "holderIdentity": "control" } }));
        // Its kubelet is not Ready yet when its issuer opens.
        assert_eq!(issuer.sweep(&server(), NOW).await.unwrap(), Rest::Moment);
        assert_eq!(store.at(TURN).unwrap()["spec"]["holderIdentity"], "control");
        is_a_member(&store);
        if let Some(status) = voter {
            store.change("/api/v1/nodes/control", |node| {
                let conditions = node["status"]["conditions"].as_array_mut().unwrap();
                conditions.push(json!({ "type": "EtcdIsVoter", "status": status }));
            });
        }
        assert_eq!(issuer.sweep(&server(), NOW).await.unwrap(), rest, "has a vote: {voter:?}");
        let holder = store.at(TURN).unwrap()["spec"]["holderIdentity"].clone();
        assert_eq!(holder.is_null(), rest == Rest::Long, "has a vote: {voter:?}");
    }
}

/// Whoever has the turn renews it every half minute; who does not for two minutes, by this issuer's own clock, is dead.
#[tokio::test(start_paused = true)]
async fn a_server_that_died_while_it_joined_holds_the_others_up_for_two_minutes() {
    let store = settled(0).await;
    let issuer = issuer_with_etcd(&store);
    is_a_member(&store);
    let dead = json!({ "holderIdentity": "control-3", "renewTime": "2026-11-29T12:00:00.000000Z" });
    store.put(TURN, json!({ "metadata": { "name": "server-join" }, "spec": dead }));
    let next = Machine::of(Role::Server, "control-2", 2).at("10.0.1.11");
    let waits = async || assert_eq!(next.enroll(&issuer).await.unwrap_err().code, Code::Busy);
    waits().await;
    advance(Duration::from_secs(119)).await;
    waits().await;
    // It was alive: the two minutes begin anew.
    store.change(TURN, |lease| lease["spec"]["renewTime"] = json!("2026-11-29T12:01:59.000000Z"));
    for seconds in [1, 118] {
        waits().await;
        advance(Duration::from_secs(seconds)).await;
    }
    waits().await;
    advance(Duration::from_secs(1)).await;
    next.enroll(&issuer).await.unwrap();
    assert_eq!(store.at(TURN).unwrap()["spec"]["holderIdentity"], "control-2");
}
