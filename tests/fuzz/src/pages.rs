//! The bytes of a request at the metrics' socket. The first byte says from where they come.

use crate::{choice, runtime};
use bowline_host::real::http::{Handler, Limits, Request, Response, Server, Sources};
use bowline_metrics::Route;
use bowline_settings::Cidr;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// Whether somebody got a page.
pub fn check(data: &[u8]) -> bool {
    let Some((from, bytes)) = choice(data, 4) else { return false };
    let (peer, allowed) =
        [("127.0.0.1", true), ("10.0.1.7", true), ("::ffff:10.0.1.7", true), ("203.0.113.9", false)][usize::from(from)];
    let network: Cidr = "10.0.1.0/24".parse().unwrap();
    let served = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&served);
    let handler: Handler = Arc::new(move |Request { path, peer, .. }| {
        assert!(!path.contains('?'), "{path}");
        assert!(!matches!(peer, IpAddr::V6(peer) if peer.to_ipv4_mapped().is_some()), "{peer}");
        let page = Route::of(&path);
        seen.fetch_or(page.is_some(), Ordering::Relaxed);
        let response = page.map_or_else(Response::not_found, |page| Response::text(200, format_args!("{page:?}")));
        Box::pin(std::future::ready(response))
    });
    let server = Server::new(handler, Sources::loopback_and(move |peer| network.contains(peer)), Limits::default());
    let answer = runtime().block_on(async {
        let (mut there, here) = duplex(1 << 18);
        there.write_all(bytes).await.unwrap();
        server.serve(here, peer.parse().unwrap()).await;
        let mut answer = Vec::new();
        there.read_to_end(&mut answer).await.unwrap();
        answer
    });
    let answer = String::from_utf8_lossy(&answer);
    let served = served.load(Ordering::Relaxed);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 ") || answer.starts_with("HTTP/1.0 "), "{answer}");
    if !allowed {
        assert!(!served && !answer.contains(" 200 "), "a stranger got a page: {answer}");
    }
    served
}
