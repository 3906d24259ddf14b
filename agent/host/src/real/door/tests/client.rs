//! Nobody answers.

use super::*;
use bowline_ports::ErrorKind;
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
        let ask = Ask { server: server.into(), path: "/v1/enroll".into(), body: Vec::new() };
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
