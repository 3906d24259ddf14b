//! No session outlives its connection.

use super::*;
use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::server::ServerSessionMemoryCache;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server of the same name that gives tickets.
async fn giver() -> SocketAddr {
    let mut config = Arc::unwrap_or_clone(tls::server().unwrap());
    config.session_storage = ServerSessionMemoryCache::new(32);
    config.send_tls13_tickets = 4;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _ = stream.write_all(b"!").await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

async fn kind(address: SocketAddr, config: &Arc<ClientConfig>, text: bool) -> Option<HandshakeKind> {
    let (mut stream, binding) = tls_with(address, Arc::clone(config)).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind();
    if text {
        stream.write_all(good_request(&binding, "{}").as_bytes()).await.unwrap();
    }
    // Tickets come with what is read.
    assert!(!rest(stream).await.is_empty());
    kind
}

#[tokio::test]
async fn an_offered_session_is_not_taken_and_none_is_given() {
    let (door, _) = open(patient()).await;
    let giver = giver().await;
    let willing = config(|config| config.resumption = Resumption::in_memory_sessions(8));
    assert_eq!(kind(giver, &willing, false).await, Some(HandshakeKind::Full));
    assert_eq!(kind(giver, &willing, false).await, Some(HandshakeKind::Resumed), "it does offer what it has");
    assert_eq!(kind(door.address(), &willing, true).await, Some(HandshakeKind::Full));
    let fresh = config(|config| config.resumption = Resumption::in_memory_sessions(8));
    for _ in 0..2 {
        assert_eq!(kind(door.address(), &fresh, true).await, Some(HandshakeKind::Full));
    }
    // Our own end takes no ticket either.
    let own = config(|_| {});
    for _ in 0..2 {
        assert_eq!(kind(giver, &own, false).await, Some(HandshakeKind::Full));
    }
    soon("all were answered", || door.counters().answered == 3).await;
}
