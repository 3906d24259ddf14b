//! A token goes as soon as its Node is there, also when its machine never asks again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Machine, NOW, Store, issuer};
use bowline_enroll::wire::Phase;
use bowline_issuer::Issuer;
use std::time::Duration;
use tokio::time::{Instant, advance};

const TOKENS: &str = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-";
const CLAIM: &str = "/api/v1/namespaces/bowline/configmaps/claim.kafka-0";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// As the daemon does: until there is nothing to look for, or so much time has passed.
async fn look(issuer: &Issuer<Store>, for_so_long: Duration) {
    let end = Instant::now() + for_so_long;
    while let Some(due) = issuer.nodes_due() {
        if Instant::now() + due > end {
            break;
        }
        advance(due).await;
        issuer.look_for_nodes(NOW).await.unwrap();
    }
    advance(end.saturating_duration_since(Instant::now())).await;
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_machine_that_never_asks_again_goes_within_seconds() {
    let store = Store::new();
    let issuer = issuer(&store);
    assert_eq!(issuer.nodes_due(), None);
    Machine::agent("kafka-0", 1).enroll(&issuer).await.unwrap();
    issuer.minted().await;
    store.writes();
    store.reads();
    look(&issuer, seconds(40)).await;
    assert_eq!(store.reads(), 7, "one read each five seconds, after the first ten");
    assert_eq!((store.writes(), store.paths(TOKENS).len()), (Vec::new(), 1), "K3s still has to come in with it");
    store.kubelet("kafka-0", "10.0.1.20");
    look(&issuer, seconds(5)).await;
    assert!(store.paths(TOKENS).is_empty());
    assert!(store.at(CLAIM).unwrap()["data"]["node-uid"].is_string());
    assert_eq!(issuer.nodes_due(), None, "and nobody looks any more");
}

#[tokio::test(start_paused = true)]
async fn who_asks_by_itself_is_not_looked_for_and_a_dead_token_is_not_either() {
    let store = Store::new();
    let issuer = issuer(&store);
    let machine = Machine::agent("kafka-0", 1);
    machine.enroll(&issuer).await.unwrap();
    store.kubelet("kafka-0", "10.0.1.20");
    machine.node(&issuer, Phase::Initializing).await.unwrap();
    assert_eq!(issuer.nodes_due(), None);

    Machine::agent("kafka-1", 2).enroll_with(&issuer, 2).await.unwrap();
    look(&issuer, seconds(180)).await;
    assert_eq!(issuer.nodes_due(), None, "its token is worth nothing any more");
    assert_eq!(store.paths(TOKENS).len(), 1, "the sweep deletes it");
}

/// It has a Node, and its K3s may need the token to start with.
#[tokio::test(start_paused = true)]
async fn a_machine_that_comes_back_to_its_own_node_is_not_robbed_of_its_token() {
    let store = Store::new();
    let issuer = issuer(&store);
    let machine = Machine::agent("kafka-0", 1);
    machine.enroll(&issuer).await.unwrap();
    store.kubelet("kafka-0", "10.0.1.20");
    machine.node(&issuer, Phase::Settled).await.unwrap();
    machine.enroll_with(&issuer, 3).await.unwrap();
    assert_eq!(issuer.nodes_due(), None);
    let server = Machine::of(bowline_enroll::Role::Server, "control", 200).key.public();
    issuer.sweep(&server, NOW + 20).await.unwrap();
    assert_eq!(store.paths(TOKENS).len(), 1, "its download may take longer");
    issuer.sweep(&server, NOW + 180).await.unwrap();
    assert!(store.paths(TOKENS).is_empty(), "it is over");
}

#[tokio::test(start_paused = true)]
async fn many_are_looked_for_by_one_list_and_more_seldom() {
    let store = Store::new();
    let issuer = issuer(&store);
    for seed in 0..100 {
        Machine::agent(&format!("kafka-{seed}"), seed).enroll_with(&issuer, seed).await.unwrap();
    }
    store.reads();
    store.kubelet("kafka-7", "10.0.1.20");
    look(&issuer, seconds(10)).await;
    // Seven for the one that is there.
    assert_eq!((store.reads(), store.paths(TOKENS).len()), (1 + 7, 99));
    store.kubelet("kafka-8", "10.0.1.21");
    look(&issuer, seconds(19)).await;
    assert_eq!(store.reads(), 0);
    look(&issuer, seconds(1)).await;
    assert_eq!(store.paths(TOKENS).len(), 98);
}

/// What it knew is lost with the daemon; the sweep tells it again.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_was_started_again_looks_for_them_too() {
    let store = Store::new();
    Machine::agent("kafka-0", 1).enroll(&issuer(&store)).await.unwrap();
    let again = issuer(&store);
    again.sweep(&Machine::of(bowline_enroll::Role::Server, "control", 200).key.public(), NOW).await.unwrap();
    store.kubelet("kafka-0", "10.0.1.20");
    look(&again, seconds(10)).await;
    assert!(store.paths(TOKENS).is_empty());
}
