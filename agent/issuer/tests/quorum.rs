//! Whose Node is a member of etcd goes only while the others are a quorum: by what they are now.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Machine, Store, issuer_with_etcd};
use bowline_enroll::{Code, Role};
use bowline_issuer::Issuer;
use serde_json::json;
use std::time::Duration;
use tokio::time::advance;

/// A member of etcd that is Ready.
fn member(store: &Store, name: &str, address: &str) {
    store.kubelet(name, address);
    store.change(&format!("/api/v1/nodes/{name}"), |node| {
        let roles = ["control-plane", "etcd"].map(|role| (format!("node-role.kubernetes.io/{role}"), json!("true")));
        node["metadata"]["labels"].as_object_mut().unwrap().extend(roles);
    });
}

/// What a machine is told once the Lease of its predecessor has stood still for long enough.
async fn told(machine: &Machine, issuer: &Issuer<Store>) -> Code {
    for _ in 0..4 {
        assert_eq!(machine.enroll(issuer).await.unwrap_err().code, Code::NodeIsAlive);
        advance(Duration::from_secs(4)).await;
    }
    machine.enroll(issuer).await.unwrap_err().code
}

/// Whether its Node was deleted, or nothing was.
fn was_removed(store: &Store, name: &str) -> bool {
    let deletions: Vec<String> = store.writes().into_iter().filter(|write| write.starts_with("DELETE")).collect();
    let gone = store.at(&format!("/api/v1/nodes/{name}")).is_none();
    assert_eq!(deletions.is_empty(), !gone, "{deletions:?}");
    gone
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_makes_no_quorum() {
    for (silent, code) in [(["b"].as_slice(), Code::NotReady), (&["a", "b"], Code::NoQuorum)] {
        let store = Store::new();
        for (name, last) in [("control", 10), ("control-2", 11), ("a", 12), ("b", 13)] {
            member(&store, name, &format!("10.0.1.{last}"));
        }
        silent.iter().for_each(|name| store.silent(name));
        let next = Machine::of(Role::Server, "control-2", 2).at("10.0.1.11");
        assert_eq!(told(&next, &issuer_with_etcd(&store)).await, code, "silent: {silent:?}");
        assert_eq!(was_removed(&store, "control-2"), code == Code::NotReady, "silent: {silent:?}");
    }
}

/// Of the servers an agent is told from the API's own memory, which may be behind: there b is still Ready.
#[tokio::test(start_paused = true)]
async fn an_agent_that_takes_the_name_of_a_member_is_judged_by_what_etcd_says() {
    for (silent, code) in [(None, Code::NotReady), (Some("b"), Code::NoQuorum)] {
        let store = Store::new();
        for (name, last) in [("control", 10), ("kafka-0", 20), ("b", 13)] {
            member(&store, name, &format!("10.0.1.{last}"));
        }
        store.remember();
        silent.iter().for_each(|name| store.silent(name));
        let next = Machine::agent("kafka-0", 2);
        assert_eq!(told(&next, &issuer_with_etcd(&store)).await, code, "silent: {silent:?}");
        assert_eq!(was_removed(&store, "kafka-0"), code == Code::NotReady, "silent: {silent:?}");
    }
}
