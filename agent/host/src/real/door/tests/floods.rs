//! Many at once, bounded in number and time.

use super::*;
use futures::future::join_all;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tokio::task::JoinSet;

/// What a good one may take: less than it would by waiting for others to run out of time.
const SWIFT: Duration = Duration::from_secs(30);

/// Nobody who keeps to the contract is ever too slow.
fn limits() -> Limits {
    Limits { handshake: LONG, head: LONG, body: LONG, ..Limits::default() }
}

/// A good one that wants in meanwhile; how long that took.
async fn good(address: SocketAddr, source: [u8; 4]) -> Duration {
    let begun = Instant::now();
    assert_eq!(ask_from(source, address, GOOD).await.map(|answered| answered.status), Ok(200));
    begun.elapsed()
}

#[tokio::test]
async fn two_thousand_idle_ones_do_not_keep_a_good_one_out() {
    let limits = Limits { connections: 256, each: 64, ..limits() };
    let (door, _) = open(limits).await;
    let mut idle = Vec::new();
    for number in 0..2000_u16 {
        let source = [127, 0, 1, u8::try_from(number % 10).unwrap() + 1];
        idle.push(connect_from(source, door.address()).await.unwrap());
        assert!(door.held().connections <= limits.connections);
        if number % 500 == 499 {
            let took = good(door.address(), [127, 0, 0, 1]).await;
            assert!(took < SWIFT, "from another address: {took:?}");
            let took = good(door.address(), [127, 0, 1, 1]).await;
            assert!(took < SWIFT, "from the same address: {took:?}");
        }
    }
    assert_eq!(door.counters().answered, 8);
    assert!(door.counters().evicted > 1000, "{:?}", door.counters());
    drop(idle);
    soon("all are gone", || door.held().connections == 0).await;
}

#[tokio::test]
async fn a_waiting_failure_holds_no_seat() {
    let here = [127, 0, 0, 1];
    let few = Limits { connections: 4, each: 2, first_delay: LONG, longest_delay: LONG, ..limits() };
    let (door, _) = open(few).await;
    let mut failures = JoinSet::new();
    for delayed in 1..=4 {
        failures.spawn(ask_from(here, door.address(), BAD));
        soon("one more waits", || door.held() == Held { connections: 0, delayed }).await;
    }
    for _ in 0..3 {
        good(door.address(), here).await;
    }
    soon("the good ones are gone", || door.held().connections == 0).await;
    assert_eq!(door.held().delayed, 4, "a good one does not wait for them");
    assert!(failures.try_join_next().is_none());

    let first_delay = Duration::from_secs(1);
    let (door, _) = open(Limits { first_delay, ..few }).await;
    let begun = Instant::now();
    let first = ask_from(here, door.address(), BAD).await.unwrap_err();
    assert!(begun.elapsed() >= first_delay, "{first}");
    assert!(first.message.contains("HTTP 401 with a wrong proof"), "the late answer comes whole: {first}");
}

#[tokio::test]
async fn five_thousand_wrong_proofs_do_not_keep_good_ones_of_their_address_out() {
    let limits = Limits { connections: 256, each: 64, ..limits() };
    let (door, _) = open(limits).await;
    let address = door.address();
    let here = [127, 0, 0, 1];
    let sent = Arc::new(AtomicUsize::new(0));
    let enough = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..50)
        .map(|number| {
            let (sent, enough) = (Arc::clone(&sent), Arc::clone(&enough));
            // It does not wait for its answers. Half of it waits long enough to have asked on a busy machine.
            let patience = Duration::from_millis(if number % 2 == 0 { 200 } else { 4000 });
            tokio::spawn(async move {
                while sent.fetch_add(1, Relaxed) < 5000 || !enough.load(Relaxed) {
                    let _ = tokio::time::timeout(patience, ask_from(here, address, BAD)).await;
                }
            })
        })
        .collect();
    let mut took = Vec::new();
    while sent.load(Relaxed) < 5000 || !enough.load(Relaxed) {
        took.push(good(address, here).await);
        assert!(door.held().connections <= limits.each && door.held().delayed <= limits.delayed_each);
        let Counters { wrong, unanswered, .. } = door.counters();
        enough.store(wrong + unanswered > 1000 && took.len() >= 5, Relaxed);
        assert!(sent.load(Relaxed) < 100_000, "{:?}", door.counters());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    join_all(flood).await;
    let worst = took.iter().max().unwrap();
    assert!(*worst < SWIFT, "{} good ones, at worst {worst:?}, {:?}", took.len(), door.counters());
}

#[tokio::test]
async fn five_hundred_machines_at_once() {
    let (door, _) = open(limits()).await;
    let address = door.address();
    let begun = Instant::now();
    let clients = (0..500_u16).map(|number| {
        let [high, low] = number.to_be_bytes();
        tokio::spawn(good(address, [127, 1, high, low.max(1)]))
    });
    assert!(join_all(clients).await.iter().all(Result::is_ok));
    let took = begun.elapsed();
    assert!(took < LONG, "{took:?} without optimisation");
    assert_eq!(door.counters(), Counters { answered: 500, ..door.counters() });
    assert_eq!((door.counters().full, door.counters().evicted), (0, 0));
}
