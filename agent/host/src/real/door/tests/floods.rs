//! Many at once, bounded in number and time.

use super::*;
use futures::future::join_all;
use std::time::Instant;

/// A good one that wants in meanwhile; how long that took.
async fn good(address: SocketAddr, source: [u8; 4]) -> Duration {
    let begun = Instant::now();
    let answered = ask_from(source, address, GOOD).await;
    assert_eq!(answered.map(|answered| answered.status), Ok(200));
    begun.elapsed()
}

#[tokio::test]
async fn two_thousand_idle_ones_do_not_keep_a_good_one_out() {
    let limits = Limits { connections: 256, each: 64, ..Limits::default() };
    let (door, _) = open(limits).await;
    let mut idle = Vec::new();
    for number in 0..2000_u16 {
        let source = [127, 0, 1, u8::try_from(number % 10).unwrap() + 1];
        idle.push(connect_from(source, door.address()).await.unwrap());
        assert!(door.held().connections <= limits.connections);
        if number % 500 == 499 {
            let took = good(door.address(), [127, 0, 0, 1]).await;
            assert!(took < Duration::from_secs(2), "from another address: {took:?}");
            let took = good(door.address(), [127, 0, 1, 1]).await;
            assert!(took < Duration::from_secs(2), "from the same address: {took:?}");
        }
    }
    assert_eq!(door.counters().answered, 8);
    assert!(door.counters().evicted > 1000, "{:?}", door.counters());
    drop(idle);
    soon("all are gone", || door.held().connections == 0).await;
}

#[tokio::test]
async fn a_waiting_failure_holds_no_seat() {
    let limits = Limits { connections: 4, each: 2, first_delay: Duration::from_secs(2), ..Limits::default() };
    let (door, _) = open(limits).await;
    let begun = Instant::now();
    let address = door.address();
    let failures: Vec<_> = (0..4).map(|_| tokio::spawn(ask_from([127, 0, 0, 1], address, BAD))).collect();
    soon("four wait", || door.held() == Held { connections: 0, delayed: 4 }).await;
    for _ in 0..3 {
        good(address, [127, 0, 0, 1]).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "a good one does not wait");
    let first = failures.into_iter().next().unwrap().await.unwrap().unwrap_err();
    assert!(begun.elapsed() >= Duration::from_secs(2), "{first}");
    assert!(first.message.contains("HTTP 401 with a wrong proof"), "the late answer comes whole: {first}");
}

#[tokio::test]
async fn five_thousand_wrong_proofs_do_not_keep_good_ones_of_their_address_out() {
    let limits = Limits { connections: 256, each: 64, ..Limits::default() };
    let (door, _) = open(limits).await;
    let address = door.address();
    let here = [127, 0, 0, 1];
    let sent = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = (0..50)
        .map(|_| {
            let sent = Arc::clone(&sent);
            tokio::spawn(async move {
                while sent.fetch_add(1, Relaxed) < 5000 {
                    // It does not wait for its answers.
                    let _ = tokio::time::timeout(Duration::from_millis(200), ask_from(here, address, BAD)).await;
                }
            })
        })
        .collect();
    let mut took = Vec::new();
    while sent.load(Relaxed) < 5000 {
        took.push(good(address, here).await);
        assert!(door.held().connections <= limits.each && door.held().delayed <= limits.delayed_each);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    join_all(flood).await;
    let worst = took.iter().max().unwrap();
    let Counters { wrong, unanswered, .. } = door.counters();
    assert!(took.len() >= 5 && *worst < Duration::from_secs(5), "{} good ones, at worst {worst:?}", took.len());
    assert!(wrong + unanswered > 1000, "{:?}", door.counters());
}

#[tokio::test]
async fn five_hundred_machines_at_once() {
    let (door, _) = open(Limits::default()).await;
    let address = door.address();
    let begun = Instant::now();
    let clients = (0..500_u16).map(|number| {
        let [high, low] = number.to_be_bytes();
        tokio::spawn(good(address, [127, 1, high, low.max(1)]))
    });
    assert!(join_all(clients).await.iter().all(Result::is_ok));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?} without optimisation");
    assert_eq!(door.counters(), Counters { answered: 500, ..door.counters() });
    assert_eq!((door.counters().full, door.counters().evicted), (0, 0));
}
