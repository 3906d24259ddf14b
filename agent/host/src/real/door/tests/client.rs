//! Nobody answers.

use super::*;
use bowline_ports::{Address, ErrorKind};
use tokio::net::TcpListener;

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = ask(free, b"{}", GOOD).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.starts_with(&format!("no connection to {free}: ")), "{error}");
    for (server, kind) in [
        ("no-such-host.invalid:7470", ErrorKind::NotFound),
        ("host", ErrorKind::Invalid),
        ("2001:db8::1:7470", ErrorKind::Invalid),
        (":7470", ErrorKind::Invalid),
    ] {
        let ask = Ask { server: server.into(), path: "/v1/enroll".into(), body: Vec::new(), from: None };
        let error = super::super::client::ask(&ask, &GOOD, Deadlines::default()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{server}: {error}");
    }
}

#[tokio::test]
async fn what_this_machine_cannot_send_is_no_silence() {
    // Without its interface the kernel refuses such an address.
    let error = ask("[fe80::1]:7470".parse().unwrap(), b"{}", GOOD).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Other, "{error}");
    assert!(error.message.starts_with("this machine has no way to [fe80::1]:7470: "), "{error}");
}

#[tokio::test]
async fn a_name_leads_to_its_server() {
    let (door, _) = open(patient()).await;
    let server = format!("localhost:{}", door.address().port());
    let ask = Ask { server, ..ask_of(door.address(), b"{}") };
    assert_eq!(super::super::client::ask(&ask, &GOOD, Deadlines::default()).await.unwrap().status, 200);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(20));
    let deadlines = Deadlines { connect: long, handshake: short, answer: long };
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = mute.local_addr().unwrap();
    let error = super::super::client::ask(&ask_of(address, b"{}"), &GOOD, deadlines).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "it may be overloaded: that is no silence");
    assert!(error.message.ends_with("no TLS handshake within 0.3 s"), "{error}");
    tokio::spawn(async move { while mute.accept().await.is_ok() {} });
    let closes = super::super::client::ask(&ask_of(address, b"{}"), &GOOD, Deadlines::default()).await.unwrap_err();
    assert_eq!(closes.kind, ErrorKind::Busy, "{closes}");
    // Only one of them is short: a busy machine lets no other run out before it.
    let deadlines = Deadlines { connect: long, handshake: long, answer: short };
    let (door, _) = open(Limits { handshake: long, head: long, body: long, ..Limits::default() }).await;
    let error = super::super::client::ask(&ask_of(door.address(), b"slow"), &GOOD, deadlines).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "somebody is there");
    assert!(error.message.ends_with("no answer within 0.3 s"), "{error}");
}

#[tokio::test]
async fn an_answerer_that_takes_too_long_gives_none() {
    let (door, _) = open(Limits { answer: Duration::from_millis(200), ..Limits::default() }).await;
    assert_eq!(ask(door.address(), b"slow", GOOD).await.unwrap_err().kind, ErrorKind::Busy);
    assert_eq!(door.counters().late, 1);
}

#[tokio::test]
async fn it_speaks_from_the_nodes_address_where_it_has_it() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = server.local_addr().unwrap();
    // None of this machine (RFC 5737), not there yet, or of the other family: then from whichever there is.
    for (from, seen) in [
        (Some("127.0.0.9"), "127.0.0.9"),
        (Some("192.0.2.7"), "127.0.0.1"),
        (Some("fd00:1::10"), "127.0.0.1"),
        (None, "127.0.0.1"),
    ] {
        let from = from.map(|from| from.parse().unwrap());
        let stream = super::super::client::reach(to, from, LONG).await.unwrap();
        let (_, peer) = server.accept().await.unwrap();
        assert_eq!(peer.ip().to_string(), seen, "{from:?}");
        drop(stream);
    }
    // Nobody answers: that is told, and not tried from elsewhere.
    drop(server);
    let refused = super::super::client::reach(to, Some("127.0.0.9".parse().unwrap()), LONG).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let (door, _) = open(patient()).await;
    let elsewhere = Ask { from: "192.0.2.7".parse().ok(), ..ask_of(door.address(), b"{}") };
    assert_eq!(super::super::client::ask(&elsewhere, &GOOD, Deadlines::default()).await.unwrap().status, 200);
}

#[test]
fn only_of_the_interface_that_leads_there() {
    let all = [
        ("eth0", "198.51.100.7"),
        ("eth0", "10.0.2.20"),
        ("eth0", "fd00:1::10"),
        ("eth0", "fd00:1::5054"),
        ("eth1", "10.0.1.20"),
        ("eth1", "10.0.1.21"),
    ];
    let all =
        all.map(|(interface, address)| Address { interface: interface.into(), address: address.parse().unwrap() });
    let share =
        |one: &str, other: &str| super::super::client::are_beside(&all, one.parse().unwrap(), other.parse().unwrap());
    assert!(share("fd00:1::10", "fd00:1::5054") && share("10.0.1.20", "10.0.1.21"));
    assert!(!share("10.0.1.20", "198.51.100.7"), "a private address on a public network");
    assert!(!share("10.0.1.30", "10.0.1.20"), "not on an interface yet");
    assert!(!share("10.0.2.20", "198.51.100.7"), "a private address to a public one");
    assert!(!share("198.51.100.7", "fd00:1::10"), "another family");
}

/// Who is seen by a server on 10.9.0.1, which the kernel would speak to from that address, when 10.9.0.20 is to be it. `None`: only
/// root may add addresses, in a network of its own.
fn seen(commands: &[&str], deadlines: Deadlines) -> Option<String> {
    let run = |words: &str| {
        let mut words = words.split(' ');
        words
            .next()
            .is_some_and(|name| std::process::Command::new(name).args(words).status().is_ok_and(|end| end.success()))
    };
    let added = ["ip link set lo up", "ip address add 10.9.0.1/24 dev lo", "ip address add 10.9.0.20/24 dev lo"];
    // Of a thread of its own: the others keep their network.
    std::thread::scope(|scope| {
        let alone = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
            if !added.iter().chain(commands).all(|command| run(command)) {
                return None;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            Some(runtime.block_on(async {
                let server = TcpListener::bind("10.9.0.1:0").await.unwrap();
                let to = server.local_addr().unwrap();
                assert_eq!(crate::real::net::source(to).unwrap().to_string(), "10.9.0.1");
                let ask = Ask { from: "10.9.0.20".parse().ok(), ..ask_of(to, b"{}") };
                let (_, peer) = tokio::select! {
                    peer = server.accept() => peer.unwrap(),
                    end = super::super::client::ask(&ask, &GOOD, deadlines) => panic!("{end:?}"),
                };
                peer.ip().to_string()
            }))
        });
        alone.join().unwrap()
    })
}

#[test]
fn the_kernels_choice_is_not_the_nodes_address() {
    if let Some(seen) = seen(&[], PATIENT) {
        assert_eq!(seen, "10.9.0.20");
    }
}

/// A router, say, that knows one address of the machine, drops what comes of another one.
#[test]
fn it_is_taken_where_the_nodes_address_gets_no_answer() {
    let drops = [
        "nft add table ip t",
        "nft add chain ip t in { type filter hook input priority 0 ; }",
        "nft add rule ip t in ip saddr 10.9.0.20 drop",
    ];
    if let Some(seen) = seen(&drops, Deadlines { connect: Duration::from_secs(2), ..PATIENT }) {
        assert_eq!(seen, "10.9.0.1");
    }
}
