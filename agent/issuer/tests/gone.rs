//! `remove-gone-after`: the Node of a machine that is silent for long goes. Nothing is concluded from reads that fail, or that
//! answer only in part.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Fault, Machine, NOW, Store, issuer_with};
use bowline_enroll::Role;
use bowline_issuer::{Issuer, Rest};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, advance};

const CLAIM: &str = "/api/v1/namespaces/bowline/configmaps/claim.kafka-0";
const NODE: &str = "/api/v1/nodes/kafka-0";
const PASSWORD: &str = "/api/v1/namespaces/kube-system/secrets/kafka-0.node-password.k3s";
const HOUR: Duration = Duration::from_secs(3600);
/// Between two looks, while somebody is silent.
const SOON: Duration = Duration::from_secs(300);

fn issuer(store: &Store) -> Issuer<Store> {
    issuer_with(store, |mut settings| {
        settings.remove_gone_after = Some("1h".parse().unwrap());
        settings
    })
}

/// At the time that it is, from [`NOW`] on.
async fn sweep(issuer: &Issuer<Store>, since: Instant) -> Result<Rest, bowline_ports::PortError> {
    let unix = NOW + since.elapsed().as_secs();
    issuer.sweep(&Machine::of(Role::Server, "control", 200).key.public(), unix).await
}

/// Two agents that were looked at when they lived; what was written is forgotten.
async fn two_agents(issuer: &Issuer<Store>, store: &Store) -> Instant {
    let began = Instant::now();
    store.kubelet("control", "10.0.1.10");
    for (name, seed) in [("kafka-0", 1), ("kafka-1", 2)] {
        Machine::agent(name, seed).enroll_with(issuer, seed).await.unwrap();
        store.kubelet(name, "10.0.1.20");
    }
    // What they were given, and what the rules grant them.
    for _ in 0..2 {
        sweep(issuer, began).await.unwrap();
    }
    store.writes();
    began
}

/// The control plane has heard nothing of kafka-0 for so long; the others live.
async fn silent_for(store: &Store, time: Duration) {
    advance(time).await;
    store.silent("kafka-0");
    store.renew("kafka-1");
    store.renew("control");
}

/// A cluster with one that the next sweep would remove.
async fn silent_long_enough() -> (Store, Issuer<Store>, Instant) {
    let store = Store::new();
    let issuer = issuer(&store);
    let began = two_agents(&issuer, &store).await;
    silent_for(&store, HOUR).await;
    sweep(&issuer, began).await.unwrap();
    silent_for(&store, SOON).await;
    (store, issuer, began)
}

/// Looks three times, five minutes apart; until then its name is held.
async fn watched_again(issuer: &Issuer<Store>, store: &Store, began: Instant) {
    for _ in 0..3 {
        assert!(store.at(CLAIM).is_some() && store.at(PASSWORD).is_some());
        sweep(issuer, began).await.unwrap();
        advance(SOON).await;
        store.renew("kafka-1");
        store.renew("control");
    }
}

fn is_whole(store: &Store) -> bool {
    [CLAIM, NODE, PASSWORD].iter().all(|path| store.at(path).is_some())
}

#[tokio::test(start_paused = true)]
async fn a_silent_machine_is_removed_after_its_time_and_nobody_else() {
    let store = Store::new();
    let issuer = issuer(&store);
    let began = two_agents(&issuer, &store).await;
    silent_for(&store, HOUR - SOON).await;
    assert_eq!(sweep(&issuer, began).await.unwrap(), Rest::Soon);
    assert!(store.writes().is_empty());
    silent_for(&store, SOON).await;
    sweep(&issuer, began).await.unwrap();
    assert!(is_whole(&store), "it is looked at once more");
    silent_for(&store, SOON).await;
    sweep(&issuer, began).await.unwrap();
    assert!(store.at(NODE).is_none() && store.at(CLAIM).is_some());
    // Its Lease went with it. The name goes once that was watched for five minutes.
    watched_again(&issuer, &store, began).await;
    assert!(store.at(CLAIM).is_none() && store.at(PASSWORD).is_none());
    assert!(store.at("/api/v1/nodes/kafka-1").is_some() && store.at("/api/v1/nodes/control").is_some());
}

/// Each restart begins a watch anew, and one of days would never come to its end: the API knows since when a Node is silent. Of
/// that no more counts than this machine has been up: a cluster that was off has the time to come back.
#[tokio::test(start_paused = true)]
async fn how_long_it_was_silent_before_this_issuer_looked_is_believed_once_it_was_watched() {
    let (long_ago, lately) = ("2026-01-01T00:00:00Z", "2027-01-15T08:30:00Z");
    for (said, up, goes) in [(long_ago, HOUR, true), (lately, HOUR, false), (long_ago, SOON, false)] {
        let store = Store::new();
        let began = two_agents(&issuer(&store), &store).await;
        advance(HOUR).await;
        store.silent_since("kafka-0", said);
        let restarted = issuer(&store).up_for(up);
        sweep(&restarted, began).await.unwrap();
        silent_for(&store, SOON - Duration::from_secs(1)).await;
        sweep(&restarted, began).await.unwrap();
        assert!(is_whole(&store), "it has watched for less than five minutes");
        for _ in 0..2 {
            silent_for(&store, SOON).await;
            sweep(&restarted, began).await.unwrap();
        }
        assert_eq!(store.at(NODE).is_none(), goes, "silent since {said}, up for {up:?}");
        // Its Lease went with the Node, and says nothing any more: another issuer knows by the claim that it is to go.
        let restarted = issuer(&store).up_for(SOON);
        watched_again(&restarted, &store, began).await;
        assert_eq!(store.at(CLAIM).is_none() && store.at(PASSWORD).is_none(), goes);
    }
}

/// Since when a Node is silent another server's clock says. This one's is two hours ahead: it believes none of that before it is
/// synchronised, nor when all nodes have an earlier time, and goes by what it has watched itself.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_not_synchronised_makes_no_silence_longer() {
    let (lately, ahead) = ("2027-01-15T08:30:00Z", 2 * 3600);
    let late = Some("2027-01-15T08:40:00.000000Z");
    for (synchronised, renewed, goes) in [(false, None, false), (true, None, true), (true, late, false)] {
        let store = Store::new();
        let began = two_agents(&issuer(&store), &store).await;
        store.silent_since("kafka-0", lately);
        let issuer = issuer(&store).up_for(3 * HOUR);
        issuer.set_synchronised(synchronised);
        let key = Machine::of(Role::Server, "control", 200).key.public();
        let looks = async |times| {
            for _ in 0..times {
                issuer.sweep(&key, NOW + began.elapsed().as_secs() + ahead).await.unwrap();
                advance(SOON).await;
                store.renew("kafka-1");
                store.renew("control");
                if let Some(at) = renewed {
                    store.renew_at("kafka-1", at);
                }
            }
        };
        if let Some(at) = renewed {
            store.renew_at("kafka-1", at);
        }
        looks(4).await;
        assert_eq!(store.at(NODE).is_none(), goes, "synchronised: {synchronised}, newest Lease: {renewed:?}");
        looks(10).await;
        assert!(store.at(NODE).is_none(), "watched for its whole time");
    }
}

/// All machines were suspended for ten hours, the servers' go on first: their clocks leap, and the silence is as long.
#[tokio::test(start_paused = true)]
async fn a_cluster_that_was_suspended_has_the_time_to_come_back() {
    let store = Store::new();
    let began = two_agents(&issuer(&store), &store).await;
    let issuer = issuer(&store).up_for(100 * HOUR);
    let key = Machine::of(Role::Server, "control", 200).key.public();
    let sweep = async |suspended: u64| {
        silent_for(&store, SOON).await;
        issuer.sweep(&key, NOW + began.elapsed().as_secs() + suspended).await.unwrap();
    };
    sweep(0).await;
    store.silent_since("kafka-0", "2027-01-15T08:00:00Z");
    for _ in 0..10 {
        sweep(10 * 3600).await;
        assert!(is_whole(&store), "its machine may be the next to go on");
    }
    for _ in 0..4 {
        if is_whole(&store) {
            sweep(10 * 3600).await;
        }
    }
    assert!(store.at(NODE).is_none(), "it had its hour");
}

#[tokio::test(start_paused = true)]
async fn who_speaks_at_any_moment_before_it_is_removed_keeps_its_node() {
    for call in 1.. {
        let (store, issuer, began) = silent_long_enough().await;
        let spoke = store.before(call, NODE, |node| node["status"]["conditions"][0]["status"] = json!("True"));
        let _ = sweep(&issuer, began).await;
        if !spoke.load(Ordering::Relaxed) {
            assert!(call > 10 && store.at(NODE).is_none(), "{call} calls");
            return;
        }
        assert!(store.at(NODE).is_some(), "it spoke before call {call}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_removed_because_the_api_was_away_between_two_looks() {
    let store = Store::new();
    let issuer = issuer(&store);
    let began = two_agents(&issuer, &store).await;
    // For hours nobody could renew a Lease, and nobody looked: when it is back, all are silent.
    advance(3 * HOUR).await;
    for name in ["kafka-0", "kafka-1", "control"] {
        store.silent(name);
    }
    sweep(&issuer, began).await.unwrap();
    advance(Duration::from_secs(30)).await;
    sweep(&issuer, began).await.unwrap();
    assert!(is_whole(&store), "they have to have the time to say that they live");
    for name in ["kafka-0", "kafka-1", "control"] {
        store.renew(name);
    }
    advance(SOON).await;
    sweep(&issuer, began).await.unwrap();
    assert!(is_whole(&store) && store.at("/api/v1/nodes/kafka-1").is_some());
}

/// Every read of the sweep that would remove it fails once, in every way: then nothing is deleted, and its Lease is watched
/// anew, or it is removed by what was read well.
#[tokio::test(start_paused = true)]
async fn nothing_is_concluded_from_a_failed_or_partial_read() {
    type Ways = [fn(usize) -> Fault; 4];
    let ways: Ways = [Fault::Refused, Fault::AnswerLost, Fault::NoList, Fault::NoCollection];
    let (mut stopped, mut retried) = (0, 0);
    for at in 1..28 {
        for way in ways {
            let (store, issuer, began) = silent_long_enough().await;
            store.writes();
            store.fail(Some(way(at)));
            let done = sweep(&issuer, began).await;
            store.fail(None);
            let (written, noted) = (store.writes(), format!("PUT {CLAIM}"));
            assert!(
                written.iter().all(|write| write.ends_with("/nodes/kafka-0") || *write == noted),
                "{:?}: {written:?}",
                way(at)
            );
            if done.is_ok() {
                assert!(store.at(NODE).is_none(), "{:?}: it was due", way(at));
                continue;
            }
            if written.is_empty() {
                assert!(is_whole(&store), "{:?}", way(at));
                sweep(&issuer, began).await.unwrap();
                if store.at(NODE).is_none() {
                    // All was read well, and the deletion itself was refused.
                    retried += 1;
                    continue;
                }
                stopped += 1;
                silent_for(&store, HOUR - SOON).await;
                sweep(&issuer, began).await.unwrap();
                assert!(is_whole(&store), "{:?}: watched anew", way(at));
            }
            assert!(store.at("/api/v1/nodes/kafka-1").is_some(), "{:?}", way(at));
        }
    }
    assert_eq!(retried, 1);
    assert!(stopped > 40, "only {stopped} of the faults hit a read");
}

/// A list that ends after its first page shows some Nodes, and the others count as gone no sooner for that.
#[tokio::test(start_paused = true)]
async fn who_is_on_a_page_that_does_not_come_is_not_gone() {
    let store = Store::new();
    let issuer = issuer(&store);
    let began = two_agents(&issuer, &store).await;
    for number in 0..6 {
        // Before them in the list, so that theirs is another page.
        store.kubelet(&format!("a-{number}"), "10.0.1.30");
    }
    advance(2 * HOUR).await;
    for fault in 1..20 {
        store.fail(Some(Fault::NoList(fault)));
        let _ = sweep(&issuer, began).await;
        store.fail(None);
        advance(SOON).await;
    }
    assert!(is_whole(&store));
    // And the exemptions of `only-claimed` do not shrink by it either.
    let claim = store.at("/api/v1/namespaces/bowline/configmaps/claim.control").unwrap();
    assert_eq!(claim["data"]["role"], json!("server"));
}
