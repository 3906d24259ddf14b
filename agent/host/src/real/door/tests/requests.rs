//! Requests that are not as they should be.

use super::*;
use std::time::Instant;
use tokio::io::AsyncRead;

#[tokio::test]
async fn what_is_not_as_agreed_is_refused_before_anybody_is_asked() {
    let (door, echo) = open(patient()).await;
    let proof = format!("{PROOF}: {}\r\n", "0".repeat(64));
    let length = "content-length: 2\r\n";
    let post = "POST /v1/enroll HTTP/1.1";
    let cases = [
        ("chunked", format!("{post}\r\ntransfer-encoding: chunked\r\n{proof}\r\n2\r\n{{}}\r\n0\r\n\r\n"), 400),
        ("no length", format!("{post}\r\n{proof}\r\n"), 411),
        ("too large", format!("{post}\r\ncontent-length: 16385\r\n{proof}\r\n{}", "x".repeat(16385)), 413),
        ("far too large", format!("{post}\r\ncontent-length: 9999999999999\r\n{proof}\r\n"), 413),
        ("two lengths", format!("{post}\r\n{length}content-length: 3\r\n\r\n{{}}"), 400),
        (
            "length and chunked",
            format!("{post}\r\n{length}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            400,
        ),
        ("negative", format!("{post}\r\ncontent-length: -2\r\n\r\n{{}}"), 400),
        ("GET", format!("GET /v1/enroll HTTP/1.1\r\n{proof}\r\n"), 405),
        ("path", format!("POST /v1/other HTTP/1.1\r\n{length}\r\n{{}}"), 404),
        ("query", format!("POST /v1/enroll?a HTTP/1.1\r\n{length}\r\n{{}}"), 404),
        ("whole URL", format!("POST http://x/v1/enroll HTTP/1.1\r\n{length}\r\n{{}}"), 404),
        ("HTTP/1.0", format!("POST /v1/enroll HTTP/1.0\r\n{length}\r\n{{}}"), 505),
        ("two proofs", format!("{post}\r\n{length}{proof}{proof}\r\n{{}}"), 400),
        ("short proof", format!("{post}\r\n{length}{PROOF}: 00\r\n\r\n{{}}"), 400),
        ("upper case", format!("{post}\r\n{length}{PROOF}: {}\r\n\r\n{{}}", "A".repeat(64)), 400),
        ("signature", format!("{post}\r\n{length}{proof}{SIGNATURE}: zz\r\n\r\n{{}}"), 400),
        ("no HTTP", "hello\r\n\r\n".to_owned(), 400),
        ("large head", format!("{post}\r\n{length}x: {}\r\n\r\n{{}}", "x".repeat(20_000)), 431),
    ];
    let number = cases.len() as u64;
    for (what, text, status) in cases {
        let answer = say(raw(door.address()).await.0, &text).await;
        assert!(answer.starts_with("HTTP/1.") && answer[8..].starts_with(&format!(" {status} ")), "{what}: {answer}");
        assert!(!answer.contains(PROOF), "{what}: {answer}");
    }
    assert_eq!(echo.asked.load(Relaxed), 0);
    soon("all are counted", || door.counters().malformed == number).await;
}

#[tokio::test]
async fn a_request_without_a_proof_is_a_wrong_one() {
    let (door, echo) = open(patient()).await;
    let text = "POST /v1/enroll HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
    assert!(say(raw(door.address()).await.0, text).await.starts_with("HTTP/1.1 401 "));
    assert_eq!((echo.asked.load(Relaxed), door.counters().wrong), (1, 1));
    assert_eq!(*echo.ended.lock().unwrap(), ["wrong"]);
    assert!(Counters::ENDS.contains(&"wrong") && Counters::ENDS.len() == 10, "{:?}", Counters::ENDS);
}

/// A connection by hand, though a busy machine keeps some too long for a short limit.
async fn patiently_raw(address: SocketAddr) -> TlsStream<TcpStream> {
    for _ in 0..50 {
        if let Ok((stream, _)) = tls_with(address, config(|_| {})).await {
            return stream;
        }
    }
    panic!("no handshake");
}

/// The same of a request.
async fn patiently_ask(address: SocketAddr) -> Answered {
    for _ in 0..50 {
        if let Ok(answered) = ask(address, b"{}", GOOD).await {
            return answered;
        }
    }
    panic!("no answer");
}

/// Whether the other side has closed it.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(10), stream.read_to_end(&mut Vec::new())).await.is_ok()
}

#[tokio::test]
async fn the_slow_are_cut_off_and_hold_nobody_up() {
    let short = Duration::from_millis(400);
    // The answer's own limit is none of those that cut them off.
    let answer = Duration::from_secs(120);
    let limits = Limits { handshake: short, head: short, body: short, answer, ..Limits::default() };
    let (door, _) = open(limits).await;
    let begun = Instant::now();
    let mut handshake = TcpStream::connect(door.address()).await.unwrap();
    let (mut head, mut body) = (patiently_raw(door.address()).await, patiently_raw(door.address()).await);
    body.write_all(b"POST /v1/enroll HTTP/1.1\r\ncontent-length: 9999\r\n\r\n").await.unwrap();
    head.write_all(b"POST /v1/enroll HTTP/1.1\r\nx: ").await.unwrap();
    // The beginning of a client's first record, then a byte now and then: that does not keep it alive.
    handshake.write_all(&[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3]).await.unwrap();
    let mut closed = [false; 3];
    while closed != [true; 3] {
        let _ = handshake.write_all(b"x").await;
        let _ = head.write_all(b"x").await;
        let _ = body.write_all(b"x").await;
        closed[0] |= is_closed(&mut handshake).await;
        closed[1] |= is_closed(&mut head).await;
        closed[2] |= is_closed(&mut body).await;
        assert_eq!(patiently_ask(door.address()).await.status, 200);
        assert!(begun.elapsed() < Duration::from_secs(60), "{closed:?}, {:?}", door.counters());
    }
    soon("all are counted", || door.counters().slow >= 3).await;
    assert!(begun.elapsed() >= Duration::from_millis(350), "{:?}", begun.elapsed());
    drop((handshake, head, body));
    soon("nothing is left of them", || door.held().connections == 0).await;
}

#[tokio::test]
async fn who_sends_too_much_is_cut_off() {
    let (door, _) = open(patient()).await;
    // A handshake message of 64 KiB, as large as they come.
    let mut stream = TcpStream::connect(door.address()).await.unwrap();
    for _ in 0..8 {
        let mut record = vec![22, 3, 1, 0x20, 0];
        record.extend([1, 0, 0xff, 0xff]);
        record.resize(5 + 0x2000, 0);
        if stream.write_all(&record).await.is_err() {
            break;
        }
    }
    // As an error of TLS, of HTTP to come, or of the budget: the first that is noticed.
    let counters = || door.counters();
    soon("it is closed", || counters().broken + counters().handshake == 1).await;
    assert_eq!(door.held().connections, 0);
}
