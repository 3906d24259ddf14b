//! What becomes of machines that come to a cluster, told over an API that keeps its promises.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Fault, Machine, NOW, Sent, Store, ip, issuer, keys};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bowline_enroll::{Code, Role};
use bowline_issuer::Asked;
use bowline_settings::CONTROL_PLANE_LABEL;
use serde_json::json;
use std::time::Duration;
use tokio::time::advance;

const CLAIM: &str = "/api/v1/namespaces/bowline/configmaps/claim.kafka-0";
const NODE: &str = "/api/v1/nodes/kafka-0";
const PASSWORD: &str = "/api/v1/namespaces/kube-system/secrets/kafka-0.node-password.k3s";
const TOKENS: &str = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn secret(store: &Store, path: &str, key: &str) -> String {
    let data = store.at(path).unwrap()["data"][key].as_str().unwrap().to_owned();
    String::from_utf8(STANDARD.decode(data).unwrap()).unwrap()
}

#[tokio::test]
async fn an_agent_gets_a_claim_a_password_and_one_token_and_nothing_else() {
    let store = Store::new();
    let machine = Machine::agent("kafka-0", 1);
    let grant = machine.enroll(&issuer(&store)).await.unwrap();

    let tokens = store.paths(TOKENS);
    let [token] = tokens.as_slice() else { panic!("{tokens:?}") };
    let mut there = vec![
        "/api/v1/namespaces/bowline",
        CLAIM,
        "/api/v1/namespaces/kube-node-lease",
        "/api/v1/namespaces/kube-system",
        token,
        PASSWORD,
    ];
    there.sort_unstable();
    assert_eq!(store.paths("/"), there);

    assert_eq!(store.at(CLAIM).unwrap()["data"]["machine-key"], machine.key.public().to_string());
    assert_eq!(store.at(PASSWORD).unwrap()["type"], "k3s.cattle.io/node-password");
    assert_eq!(store.at(PASSWORD).unwrap()["immutable"], true);
    assert_eq!(secret(&store, PASSWORD, "hash"), machine.password());

    assert_eq!(store.at(token).unwrap()["type"], "bootstrap.kubernetes.io/token");
    assert_eq!(secret(&store, token, "auth-extra-groups"), "system:bootstrappers:k3s:default-node-token");
    assert_eq!(secret(&store, token, "description"), "kafka-0");
    let expires: jiff::Timestamp = secret(&store, token, "expiration").parse().unwrap();
    assert_eq!(expires.as_second(), i64::try_from(NOW).unwrap() + 180);
    let (id, text) = (secret(&store, token, "token-id"), secret(&store, token, "token-secret"));
    assert_eq!(*token, format!("{TOKENS}{id}"));
    assert_eq!(grant.token.expose(), format!("K10{}::{id}.{text}", "c".repeat(64)));
    assert_eq!(grant.token_lasts, Some(180));
    assert_eq!(grant.servers, ["https://10.0.1.10:6443"]);
}

#[tokio::test]
async fn who_asks_again_has_one_live_token() {
    let store = Store::new();
    let (issuer, machine) = (issuer(&store), Machine::agent("kafka-0", 1));
    machine.enroll_with(&issuer, 1).await.unwrap();
    let first = store.paths(TOKENS);
    let password = store.at(PASSWORD);
    machine.enroll_with(&issuer, 2).await.unwrap();
    let second = store.paths(TOKENS);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second, "the first is worth nothing any more");
    assert_eq!(store.at(PASSWORD), password, "the same machine, the same password");
}

#[tokio::test]
async fn the_token_goes_as_soon_as_the_node_is_there() {
    let store = Store::new();
    let (issuer, machine) = (issuer(&store), Machine::agent("kafka-0", 1));
    let server = Machine::of(Role::Server, "control", 200).key.public();
    machine.enroll(&issuer).await.unwrap();
    issuer.sweep(&server, NOW).await.unwrap();
    assert_eq!(store.paths(TOKENS).len(), 1, "K3s still has to come in with it");

    store.kubelet("kafka-0", "10.0.1.20");
    issuer.sweep(&server, NOW).await.unwrap();
    assert!(store.paths(TOKENS).is_empty());
    assert_eq!(store.at(CLAIM).unwrap()["data"]["node-uid"], store.at(NODE).unwrap()["metadata"]["uid"]);
    assert!(store.at(PASSWORD).is_some(), "the name stays bound to who has the password");
}

#[tokio::test]
async fn a_claim_that_never_became_a_node_ends_with_all_that_came_of_it() {
    let store = Store::new();
    let issuer = issuer(&store);
    let server = Machine::of(Role::Server, "control", 200).key.public();
    Machine::agent("kafka-0", 1).enroll(&issuer).await.unwrap();
    issuer.sweep(&server, NOW + 599).await.unwrap();
    assert!(store.at(CLAIM).is_some());
    issuer.sweep(&server, NOW + 600).await.unwrap();
    assert!(store.at(CLAIM).is_none() && store.at(PASSWORD).is_none() && store.paths(TOKENS).is_empty());
}

/// A server whose clock is hours ahead takes no name away for that.
#[tokio::test(start_paused = true)]
async fn by_a_clock_that_is_not_synchronised_no_claim_is_over() {
    let store = Store::new();
    let issuer = issuer(&store);
    Machine::agent("kafka-0", 1).enroll(&issuer).await.unwrap();
    let Sent { peer, binding, path, headers, body } = Machine::agent("kafka-0", 2).enrolling();
    for (synchronised, result) in [(false, "claimed-elsewhere"), (true, "granted")] {
        issuer.set_synchronised(synchronised);
        let asked = Asked { peer, binding, path, headers: headers.clone(), body: &body };
        assert_eq!(issuer.answer(asked, NOW + 7200, &[9; 24]).await.result, result);
    }
}

/// Its machine was paused for an hour, and no time service has told it so yet.
#[tokio::test(start_paused = true)]
async fn a_server_whose_clock_is_behind_ends_nothing_that_another_has_given() {
    let store = Store::new();
    for (name, address) in [("control", "10.0.1.10"), ("control-2", "10.0.1.11"), ("kafka-9", "10.0.1.29")] {
        store.kubelet(name, address);
        store.renew_at(name, "2027-01-15T08:00:00.000000Z");
    }
    let is_server = |node: &mut serde_json::Value| node["metadata"]["labels"][CONTROL_PLANE_LABEL] = json!("true");
    store.change("/api/v1/nodes/control-2", is_server);
    Machine::agent("kafka-0", 1).enroll(&issuer(&store)).await.unwrap();
    let server = Machine::of(Role::Server, "control", 200).key.public();
    let behind = issuer(&store);
    behind.sweep(&server, NOW - 3600).await.unwrap();
    assert!(store.at(CLAIM).is_some() && store.at(PASSWORD).is_some() && store.paths(TOKENS).len() == 1);
    behind.sweep(&server, NOW + 600).await.unwrap();
    assert!(store.at(CLAIM).is_none(), "its clock was set");
}

/// Each writes its own Lease, and whoever is root there decides what is in it.
#[tokio::test(start_paused = true)]
async fn an_agent_whose_lease_is_of_a_time_to_come_keeps_nothing_alive() {
    let store = Store::new();
    store.kubelet("kafka-9", "10.0.1.29");
    store.renew_at("kafka-9", "2037-01-15T08:00:00.000000Z");
    Machine::agent("kafka-0", 1).enroll(&issuer(&store)).await.unwrap();
    let server = Machine::of(Role::Server, "control", 200).key.public();
    issuer(&store).sweep(&server, NOW + 600).await.unwrap();
    assert!(store.at(CLAIM).is_none());
}

/// A cluster in which a machine came in as kafka-0, and became a Node.
async fn with_a_predecessor() -> Store {
    let store = Store::new();
    let (issuer, machine) = (issuer(&store), Machine::agent("kafka-0", 1));
    machine.enroll(&issuer).await.unwrap();
    store.kubelet("kafka-0", "10.0.1.20");
    issuer.sweep(&Machine::of(Role::Server, "control", 200).key.public(), NOW).await.unwrap();
    store.writes();
    store
}

#[tokio::test(start_paused = true)]
async fn while_the_old_machine_lives_nothing_is_written_but_the_attempt() {
    let store = with_a_predecessor().await;
    let (issuer, successor) = (issuer(&store), Machine::agent("kafka-0", 2));
    let before = store.all();
    for _ in 0..30 {
        assert_eq!(successor.enroll(&issuer).await.unwrap_err().code, Code::NodeIsAlive);
        advance(seconds(10)).await;
        store.renew("kafka-0");
    }
    assert_eq!(store.writes(), [format!("PUT {CLAIM}")], "the attempt, once within a minute");
    let mut after = store.all();
    let noted = after.remove(CLAIM).unwrap();
    assert!(noted["data"]["refused"].as_str().unwrap().contains(&successor.key.public().short()));
    for (path, object) in after {
        assert!(path.contains("/leases/") || before[&path] == object, "{path} has changed");
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_same_address_a_machine_is_replaced_within_seconds_and_the_token_comes_last() {
    let store = with_a_predecessor().await;
    let (issuer, successor) = (issuer(&store), Machine::agent("kafka-0", 2));
    for after in [0, 4, 4, 4, 2] {
        advance(seconds(after)).await;
        let refusal = successor.enroll(&issuer).await.unwrap_err();
        assert_eq!(refusal.code, Code::NodeIsAlive);
        assert!(refusal.retry_after.is_some_and(|after| after <= 4), "its Lease is watched closely");
    }
    store.writes();
    advance(seconds(1)).await;
    let begun = successor.enroll(&issuer).await.unwrap_err();
    assert_eq!((begun.code, begun.retry_after), (Code::NotReady, Some(1)));
    assert_eq!(
        store.writes(),
        [format!("PUT {CLAIM}"), format!("DELETE {NODE}"), format!("DELETE {PASSWORD}")],
        "the claim first, then what the old machine had, and no token yet"
    );
    successor.enroll(&issuer).await.unwrap();
    assert_eq!(secret(&store, PASSWORD, "hash"), successor.password());
    assert_eq!(store.paths(TOKENS).len(), 1);
    assert!(store.at(NODE).is_none());
}

/// What a kubelet could not tell while the API stood still is not held against it.
#[tokio::test(start_paused = true)]
async fn nobody_is_gone_because_the_api_was() {
    let store = with_a_predecessor().await;
    let (issuer, successor) = (issuer(&store), Machine::agent("kafka-0", 2));
    for after in [0, 4, 4, 4] {
        advance(seconds(after)).await;
        assert_eq!(successor.enroll(&issuer).await.unwrap_err().code, Code::NodeIsAlive);
    }
    store.fail(Some(Fault::Refused(1)));
    successor.enroll(&issuer).await.unwrap_err();
    store.fail(None);
    advance(seconds(4)).await;
    assert_eq!(successor.enroll(&issuer).await.unwrap_err().code, Code::NodeIsAlive, "watched anew");
    advance(seconds(60)).await;
    assert_eq!(successor.enroll(&issuer).await.unwrap_err().code, Code::NodeIsAlive, "nobody looked meanwhile");
    advance(seconds(5)).await;
    successor.enroll(&issuer).await.unwrap_err();
    assert!(store.at(NODE).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_finalizer_is_waited_for() {
    let store = with_a_predecessor().await;
    let (issuer, successor) = (issuer(&store), Machine::agent("kafka-0", 2));
    successor.enroll(&issuer).await.unwrap_err();
    store.change(NODE, |node| node["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z"));
    for _ in 0..2 {
        advance(seconds(5)).await;
        successor.enroll(&issuer).await.unwrap_err();
    }
    advance(seconds(5)).await;
    for _ in 0..3 {
        assert_eq!(successor.enroll(&issuer).await.unwrap_err().code, Code::NotReady);
        assert!(store.paths(TOKENS).is_empty(), "no token while the old Node is there");
    }
    store.remove(NODE);
    successor.enroll(&issuer).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn from_another_address_it_takes_the_whole_grace_and_the_cluster_s_own_word() {
    let store = with_a_predecessor().await;
    let (issuer, successor) = (issuer(&store), Machine::agent("kafka-0", 2).at("10.0.1.99"));
    successor.enroll(&issuer).await.unwrap_err();
    advance(seconds(59)).await;
    store.silent("kafka-0");
    assert_eq!(successor.enroll(&issuer).await.unwrap_err().code, Code::NodeIsAlive, "a second too early");
    advance(seconds(1)).await;
    store.change(NODE, |node| node["status"]["conditions"][0]["status"] = json!("False"));
    assert_eq!(successor.enroll(&issuer).await.unwrap_err().code, Code::NodeIsAlive, "a kubelet said False");
    store.silent("kafka-0");
    assert_eq!(successor.enroll(&issuer).await.unwrap_err().code, Code::NotReady);
    successor.enroll(&issuer).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_issuer_believes_only_what_it_has_watched_itself() {
    let store = with_a_predecessor().await;
    let successor = Machine::agent("kafka-0", 2);
    successor.enroll(&issuer(&store)).await.unwrap_err();
    advance(seconds(3600)).await;
    let other = issuer(&store);
    assert_eq!(successor.enroll(&other).await.unwrap_err().code, Code::NodeIsAlive);
}

#[tokio::test(start_paused = true)]
async fn the_same_machine_comes_back_at_once_and_keeps_its_node() {
    let store = with_a_predecessor().await;
    Machine::agent("kafka-0", 1).enroll(&issuer(&store)).await.unwrap();
    assert!(store.at(NODE).is_some());
}

#[tokio::test]
async fn of_two_machines_through_two_issuers_exactly_one_wins() {
    for late in 0..30 {
        for swapped in [false, true] {
            let store = Store::new();
            let (one, other) = (issuer(&store), issuer(&store));
            let (first, second) = (Machine::agent("kafka-0", 1), Machine::agent("kafka-0", 2));
            let later = async {
                for _ in 0..late {
                    tokio::task::yield_now().await;
                }
                second.enroll_with(&other, 2).await
            };
            let soon = first.enroll_with(&one, 1);
            let (a, b) = if swapped {
                let (b, a) = tokio::join!(later, soon);
                (a, b)
            } else {
                tokio::join!(soon, later)
            };
            let winner = match (&a, &b) {
                (Ok(_), Err(_)) => &first,
                (Err(_), Ok(_)) => &second,
                both => panic!("{late} steps apart: {both:?}"),
            };
            assert_eq!(store.at(CLAIM).unwrap()["data"]["machine-key"], winner.key.public().to_string());
            assert_eq!(secret(&store, PASSWORD, "hash"), winner.password());
            assert_eq!(store.paths(TOKENS).len(), 1);
            // The loser is told who was faster, at the latest when it asks again.
            let loser = if winner.key.public() == first.key.public() { &second } else { &first };
            assert_eq!(loser.enroll(&one).await.unwrap_err().code, Code::ClaimedElsewhere);
        }
    }
}

#[tokio::test]
async fn a_server_s_ticket_is_no_agent_s_and_rules_hold_for_good_tickets_too() {
    let store = Store::new();
    let issuer = issuer(&store);
    store.writes();
    let mut thief = Machine::agent("kafka-0", 3);
    thief.ticket = keys().ticket(Role::Server, &thief.name).unwrap();
    assert_eq!(thief.enrolling().to(&issuer).await.result, "not-let-in");

    let refused = [
        Machine::of(Role::Server, "kafka-0", 3),
        Machine::of(Role::Server, "control-2", 3).at("10.0.1.12"),
        Machine::agent("control-2", 3).at("10.0.1.11"),
        Machine::agent("worker", 3),
        Machine::agent("kafka-0", 3).at("10.0.2.20"),
    ];
    for machine in refused {
        let refusal = machine.enroll(&issuer).await.unwrap_err();
        assert_eq!(refusal.code, Code::OutsideRules, "{} as {} from {}", machine.name, machine.role, machine.address);
    }
    assert!(store.writes().is_empty());
    Machine::agent("kafka-0", 3).at("::ffff:10.0.1.20").enroll(&issuer).await.unwrap();
    assert_eq!(store.at(CLAIM).unwrap()["data"]["from"], ip("10.0.1.20").to_string());
}

#[tokio::test]
async fn a_revoked_name_stays_out_until_the_cluster_key_is_another() {
    let store = with_a_predecessor().await;
    let id = keys().iter().next().unwrap().id();
    store.change(CLAIM, |claim| claim["data"]["revoked"] = json!(json!({ "at": NOW, "keys": [id] }).to_string()));
    let (issuer, holder) = (issuer(&store), Machine::agent("kafka-0", 1));
    assert_eq!(holder.enroll(&issuer).await.unwrap_err().code, Code::Revoked);
    assert_eq!(Machine::agent("kafka-0", 2).enroll(&issuer).await.unwrap_err().code, Code::Revoked);
    let node = holder.node(&issuer, bowline_enroll::wire::Phase::Settled).await;
    assert_eq!(node.unwrap_err().code, Code::Revoked);
    assert!(store.paths(TOKENS).is_empty());
}
