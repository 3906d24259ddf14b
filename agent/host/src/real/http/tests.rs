//! Against loopback, with clients that behave and clients that do not.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

fn handler() -> Handler {
    Arc::new(|request| {
        Box::pin(async move {
            match request.path.as_str() {
                "/" => Response::text(200, format_args!("hello {}", request.peer)),
                "/slow" => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    Response::text(200, "too late")
                }
                "/large" => Response::text(200, "x".repeat(200_000)),
                _ => Response::not_found(),
            }
        })
    })
}

/// A server on one loopback port.
async fn server(sources: Sources, limits: Limits) -> (Listening, SocketAddr) {
    let listening = Server::new(handler(), sources, limits).listen(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
    let address = listening.addresses()[0];
    (listening, address)
}

fn nobody_else() -> Sources {
    Sources::loopback_and(|_| false)
}

/// Sends text and reads until the other side closes.
async fn exchange(mut stream: TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is fine: what came before it is what counts.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    exchange(TcpStream::connect(address).await.unwrap(), &request).await
}

/// Asks until it is answered, as a busy machine may keep it beyond a short limit.
async fn soon_hello(address: SocketAddr, what: &str) {
    let begun = Instant::now();
    while !ask(address, "GET", "/").await.contains("hello") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: not soon");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn paths_and_methods() {
    let (_listening, address) = server(nobody_else(), Limits::default()).await;
    let answer = ask(address, "GET", "/?x=1").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello 127.0.0.1\n"), "{answer}");
    let head = ask(address, "HEAD", "/").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(ask(address, "GET", "/no").await.starts_with("HTTP/1.1 404"));
    let post = ask(address, "POST", "/").await;
    assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD\r\n"), "{post}");
    assert!(ask(address, "GET", "/large").await.len() > 200_000);
    assert!(exchange(TcpStream::connect(address).await.unwrap(), "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn one_connection_serves_several_requests() {
    let (_listening, address) = server(nobody_else(), Limits::default()).await;
    let twice = "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /no HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(TcpStream::connect(address).await.unwrap(), twice).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn several_addresses_and_an_end() {
    let server = Server::new(handler(), nobody_else(), Limits::default());
    let two = ["127.0.0.1:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap()];
    let listening = server.listen(&two).await.unwrap();
    let addresses = listening.addresses().to_vec();
    for address in &addresses {
        assert!(ask(*address, "GET", "/").await.contains("hello"));
    }
    let idle = TcpStream::connect(addresses[0]).await.unwrap();
    drop(listening);
    assert_eq!(exchange(idle, "").await, "", "a connection ends with its listener");
    assert!(TcpStream::connect(addresses[0]).await.is_err());
    assert!(server.listen(&addresses[..1]).await.is_ok(), "the address can be had again at once");
}

async fn ask_from(source: &str, address: SocketAddr, more: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    exchange(socket.connect(address).await.unwrap(), &format!("GET / HTTP/1.1\r\nhost: x\r\n{more}\r\n")).await
}

#[tokio::test]
async fn who_may_not_ask_is_told_so() {
    // Tests have loopback addresses only, so these sources do without the exception for them.
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let other: IpAddr = "127.0.0.3".parse().unwrap();
    let sources = Sources(Arc::new(move |peer| peer == other || gate.load(Ordering::Relaxed)));
    let (_listening, address) = server(sources, Limits::default()).await;
    let refused = ask_from("127.0.0.2", address, "").await;
    assert!(refused.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{refused}");
    assert!(refused.contains("127.0.0.2 may not ask; see metrics.allow"), "{refused}");
    let close = "connection: close\r\n";
    assert!(ask_from("127.0.0.3", address, close).await.starts_with("HTTP/1.1 200"));
    open.store(true, Ordering::Relaxed);
    assert!(ask_from("127.0.0.2", address, close).await.starts_with("HTTP/1.1 200"), "a changed list counts at once");
}

#[test]
fn loopback_is_always_allowed() {
    let Sources(allowed) = Sources::loopback_and(|peer| peer == IpAddr::from([10, 0, 1, 5]));
    for (peer, wanted) in
        [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("10.0.1.5", true), ("10.0.1.6", false)]
    {
        assert_eq!(allowed(peer.parse().unwrap()), wanted, "{peer}");
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_holds_nobody_up() {
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let (_listening, address) = server(nobody_else(), limits).await;
    let begun = Instant::now();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HT").await.unwrap();
    soon_hello(address, "another").await;
    // A byte now and then does not keep it alive.
    let mut end = Vec::new();
    let closed = loop {
        let _ = slow.write_all(b"T").await;
        match timeout(Duration::from_millis(50), slow.read_to_end(&mut end)).await {
            Ok(_) => break begun.elapsed(),
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(20), "it is still open"),
        }
    };
    assert!(closed >= Duration::from_millis(250), "{closed:?}");
}

#[tokio::test]
async fn connections_are_capped() {
    let limits = Limits { connections: 2, answer: Duration::from_millis(500), ..Limits::default() };
    let (_listening, address) = server(nobody_else(), limits).await;
    let (one, two) = (ask(address, "GET", "/slow"), ask(address, "GET", "/slow"));
    let third = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ask(address, "GET", "/").await
    };
    let (one, two, refused) = tokio::join!(one, two, third);
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("content-length: 0"), "{refused}");
    assert!(
        one.contains("no answer within") && two.contains("no answer within"),
        "whoever asked is answered: {one} {two}"
    );
    assert!(ask(address, "GET", "/").await.contains("hello"));
}

/// Whether the other side closes it within that.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    timeout(within, stream.read(&mut [0; 64])).await.is_ok_and(|read| !matches!(read, Ok(1..)))
}

#[tokio::test]
async fn silent_ones_keep_nobody_out() {
    for limits in [
        Limits { connections: 3, ..Limits::default() },
        // One address takes no place of another, whatever it does.
        Limits { each: 3, ..Limits::default() },
    ] {
        let (_listening, address) = server(nobody_else(), limits).await;
        let mut silent = Vec::new();
        for half in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(half.as_bytes()).await.unwrap();
            if half.ends_with('\n') {
                assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
            }
            silent.push(stream);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if limits.each == 3 {
            assert!(ask_from("127.0.0.2", address, "connection: close\r\n").await.contains("hello"));
            for stream in &mut silent {
                assert!(!is_closed(stream, Duration::from_millis(50)).await, "another address has places of its own");
            }
        }
        // Each gives way to one that asks, first the one that was answered, then the one that has been silent for longest.
        let mut asking = Vec::new();
        for next in [2, 0, 1] {
            asking.push(tokio::spawn(async move { ask(address, "GET", "/slow").await }));
            assert!(is_closed(&mut silent[next], Duration::from_secs(20)).await, "{next}");
        }
        asking.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test]
async fn a_slow_handler_is_a_503() {
    let limits = Limits { answer: Duration::from_millis(100), ..Limits::default() };
    let (_listening, address) = server(nobody_else(), limits).await;
    assert!(ask(address, "GET", "/slow").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let limits = Limits {
        connection: Duration::from_millis(200),
        answer: Duration::from_millis(100),
        connections: 1,
        ..Limits::default()
    };
    let (_listening, address) = server(nobody_else(), limits).await;
    let mut stuck = TcpStream::connect(address).await.unwrap();
    for _ in 0..200 {
        let request = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n";
        if timeout(Duration::from_millis(20), stuck.write_all(request)).await.is_err() {
            break;
        }
    }
    // Not because of somebody else, who would be given its place.
    let begun = Instant::now();
    while !matches!(timeout(Duration::from_millis(20), stuck.write_all(b"x")).await, Ok(Err(_))) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is still open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_address_that_can_not_be_had_is_named() {
    let (_listening, address) = server(nobody_else(), Limits::default()).await;
    let another = Server::new(handler(), nobody_else(), Limits::default());
    let error = another.listen(&[address]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(error.message.contains(&address.to_string()), "{error}");
    let hint = error.hint.unwrap();
    assert!(hint.contains(&address.port().to_string()), "{hint}");
    let elsewhere = another.listen(&["192.0.2.1:9787".parse().unwrap()]).await.unwrap_err();
    assert_eq!(elsewhere.kind, ErrorKind::NotFound);
    assert!(elsewhere.message.starts_with("listening on 192.0.2.1:9787: "), "{elsewhere}");
}

#[tokio::test]
async fn what_is_closed_can_be_listened_on_again_at_once() {
    let server = || {
        Server::new(
            Arc::new(|_| Box::pin(async { Response::not_found() })),
            Sources::loopback_and(|_| true),
            Limits::default(),
        )
    };
    let first = server().listen(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
    let address = first.addresses()[0];
    first.close().await;
    assert_eq!(server().listen(&[address]).await.unwrap().addresses(), [address]);
}
