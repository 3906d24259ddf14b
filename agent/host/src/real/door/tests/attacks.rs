//! In the middle, again, and by another protocol.

use super::*;
use bowline_ports::ErrorKind;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Somebody in the middle, with a certificate of its own (any is accepted), passes everything on both ways.
async fn relay(door: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(tls::server().unwrap());
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut victim) = acceptor.accept(stream).await else { continue };
            let (mut onwards, _) = raw(door).await;
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut victim, &mut onwards).await });
        }
    });
    address
}

#[tokio::test]
async fn a_relay_fools_neither_end() {
    let (door, _) = open(patient()).await;
    let error = ask(relay(door.address()).await, b"{}", GOOD).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("HTTP 401 with a wrong proof"), "{error}");
    soon("the door saw a wrong proof", || door.counters().wrong == 1).await;
    assert_eq!(door.counters().answered, 0);
}

#[tokio::test]
async fn a_recorded_request_is_worth_nothing() {
    let (door, echo) = open(patient()).await;
    let (stream, binding) = raw(door.address()).await;
    let recorded = good_request(&binding, "{}");
    assert!(say(stream, &recorded).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let (stream, other) = raw(door.address()).await;
    assert_ne!(binding, other);
    assert!(say(stream, &recorded).await.starts_with("HTTP/1.1 401"));
    assert_eq!(echo.asked.load(Relaxed), 2);
}

#[tokio::test]
async fn a_connection_has_one_request() {
    let (door, echo) = open(patient()).await;
    let (stream, binding) = raw(door.address()).await;
    let twice = good_request(&binding, "{}").repeat(2);
    let answer = say(stream, &twice).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    let (mut stream, binding) = raw(door.address()).await;
    let again = good_request(&binding, "{}");
    stream.write_all(again.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert!(!say(stream, &again).await.contains("HTTP/1.1"), "also when it comes later");
    assert_eq!(echo.asked.load(Relaxed), 2);
}

#[tokio::test]
async fn other_protocols_are_not_spoken() {
    let (door, echo) = open(patient()).await;
    let old = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
        let mut config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        config.alpn_protocols = vec![tls::ALPN.to_vec()];
        Arc::new(config)
    };
    let none = config(|config| config.alpn_protocols.clear());
    let wrong = config(|config| config.alpn_protocols = vec![b"http/1.1".to_vec()]);
    for (what, config) in [("no ALPN", none), ("wrong ALPN", wrong), ("TLS 1.2", old())] {
        // Without ALPN the other end hears of it after the handshake.
        if let Ok((stream, binding)) = tls_with(door.address(), config).await {
            assert_eq!(say(stream, &good_request(&binding, "{}")).await, "", "{what}");
        }
    }
    soon("all three are counted", || door.counters().handshake == 3).await;
    let mut plain = TcpStream::connect(door.address()).await.unwrap();
    plain.write_all(b"POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    soon("plain HTTP is counted", || door.counters().handshake == 4).await;
    assert_eq!(echo.asked.load(Relaxed), 0);
}

/// A server that does with one connection what it is told, as long as it speaks TLS.
async fn fake(
    change: impl FnOnce(&mut ServerConfig),
    answer: impl Fn(&Binding) -> String + Send + 'static,
) -> SocketAddr {
    let mut config = Arc::unwrap_or_clone(tls::server().unwrap());
    change(&mut config);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let binding = tls::binding(stream.get_ref().1).unwrap();
        let mut asked = vec![0; 4096];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(answer(&binding).as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut asked).await;
    });
    address
}

/// How the asking end takes an answer.
async fn taken(answer: impl Fn(&Binding) -> String + Send + 'static) -> Result<u16, String> {
    let asked = ask(fake(|_| {}, answer).await, b"{}", GOOD).await;
    asked.map(|answered| answered.status).map_err(|error| {
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        error.message.rsplit_once(" (").unwrap().1.trim_end_matches(')').to_owned()
    })
}

#[tokio::test]
async fn only_the_proven_answer_is_used() {
    let head = |status: u16, length: usize, proofs: &[String]| {
        let proofs: String = proofs.iter().map(|proof| format!("{PROOF}: {proof}\r\n")).collect();
        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{proofs}\r\n")
    };
    let proof = |x: &Binding| GOOD.server(x, 200, b"{}", b"ok");
    assert_eq!(taken(move |x| head(200, 2, &[proof(x)]) + "ok").await, Ok(200));
    let wrong = |status: u16| Err(format!("HTTP {status} with a wrong proof"));
    assert_eq!(taken(move |x| head(409, 2, &[proof(x)]) + "ok").await, wrong(409), "status");
    assert_eq!(taken(move |x| head(200, 2, &[proof(x)]) + "OK").await, wrong(200), "body");
    let other_request = move |x: &Binding| head(200, 2, &[GOOD.server(x, 200, b"[]", b"ok")]) + "ok";
    assert_eq!(taken(other_request).await, wrong(200), "request");
    let other_key = move |x: &Binding| head(200, 2, &[BAD.server(x, 200, b"{}", b"ok")]) + "ok";
    assert_eq!(taken(other_key).await, wrong(200), "key");
    let other_connection = move |_: &Binding| head(200, 2, &[proof(&[1; 32])]) + "ok";
    assert_eq!(taken(other_connection).await, wrong(200), "binding");
    // Its own proof sent back to it.
    let mirror = move |x: &Binding| head(200, 2, &[GOOD.client(x, b"{}")]) + "{}";
    assert_eq!(taken(mirror).await, wrong(200), "mirror");
    let said = |cause: &str| Err(format!("HTTP 200, {cause}"));
    assert_eq!(taken(move |_| head(200, 2, &[]) + "ok").await, said("without a proof"));
    assert_eq!(taken(move |x| head(200, 2, &[proof(x), proof(x)]) + "ok").await, said("with two proofs"));
    let large = move |x: &Binding| head(200, BODY + 1, &[proof(x)]) + &"x".repeat(BODY + 1);
    assert_eq!(taken(large).await, said("larger than an answer may be"));
    let chunked = move |x: &Binding| {
        format!("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n{PROOF}: {}\r\n\r\n2\r\nok\r\n0\r\n\r\n", proof(x))
    };
    assert_eq!(taken(chunked).await, said("without a length"));
    let endless = move |x: &Binding| format!("HTTP/1.1 200 X\r\n{PROOF}: {}\r\n\r\nok", proof(x));
    assert_eq!(taken(endless).await, said("without a length"));
    assert!(taken(|_| "SSH-2.0-OpenSSH_9.6\r\n\r\n".into()).await.is_err(), "no HTTP");
}

#[tokio::test]
async fn a_server_of_another_protocol_is_told_apart() {
    let nothing = |_: &Binding| String::new();
    let silent = fake(|config| config.alpn_protocols.clear(), nothing).await;
    let other = fake(|config| config.alpn_protocols = vec![b"h2".to_vec()], nothing).await;
    for (address, cause) in [(silent, "does not speak bowline/1"), (other, "")] {
        let error = ask(address, b"{}", GOOD).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(error.message.contains(cause), "{error}");
    }
    let cut = fake(|_| {}, |_| "HTTP/1.1 200 X\r\ncontent-le".into()).await;
    assert_eq!(ask(cut, b"{}", GOOD).await.unwrap_err().kind, ErrorKind::Busy, "somebody is there");
}
