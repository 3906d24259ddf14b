//! A small HTTP server for what Bowline shows: `GET` and `HEAD` only, plain bodies, a few connections.
//!
//! It knows nothing of what it serves: a [`Handler`] answers a path. It looks after what every listening socket
//! needs: who may connect, how many at once, how long a request, an answer and a connection may take.

use super::seats::{Patience, Pulse, Seat, Seats, Stage};
use super::{blocking, net};
use bowline_ports::{ErrorKind, PortError};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The path, without the query.
    pub path: String,
    /// The `Accept` header; empty without one.
    pub accept: String,
    /// Who asks.
    pub peer: IpAddr,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Media type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
    /// What a browser may do with it (`Content-Security-Policy`). Without one: nothing.
    pub policy: Option<String>,
}

impl Response {
    /// A line of plain text.
    pub fn text(status: u16, line: impl std::fmt::Display) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{line}\n"), policy: None }
    }

    /// Nothing is served at this path.
    pub fn not_found() -> Self {
        Self::text(404, "there is nothing here")
    }
}

/// Answers requests.
pub type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// Who may ask.
#[derive(Clone)]
pub struct Sources(Arc<dyn Fn(IpAddr) -> bool + Send + Sync>);

impl Sources {
    /// The machine itself by its loopback addresses, and whoever `allowed` says yes to. It is asked at each
    /// connection, with an IPv4 address as such even when it came as IPv6.
    pub fn loopback_and(allowed: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |peer| peer.is_loopback() || allowed(peer)))
    }
}

/// Limits that no client can get beyond.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; for another one the longest silent gives way, or it is answered 503.
    pub connections: usize,
    /// The same of one address.
    pub each: usize,
    /// Until a request's head is there, counted from the connection or the answer before.
    pub head: Duration,
    /// For the handler to answer.
    pub answer: Duration,
    /// For a connection in all; then it may finish its request.
    pub connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            // What a browser opens, and a few more.
            each: 8,
            // Also how long an idle connection is kept: longer than Prometheus' usual 15 s between scrapes.
            head: Duration::from_secs(30),
            answer: Duration::from_secs(10),
            connection: Duration::from_secs(600),
        }
    }
}

/// Connections at once of those who may not ask: enough to tell them so, too few to be a burden.
const STRANGERS: usize = 4;
/// None: only the first request of a connection keeps it its seat.
const PATIENCE: Patience = Patience { silent: Duration::ZERO, slow: Duration::ZERO };
/// What the head of a request may take in memory.
const HEAD_BYTES: usize = 16 * 1024;

/// A server; listens nowhere until told to. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    handler: Handler,
    sources: Sources,
    limits: Limits,
    seats: Arc<Seats>,
    strangers: Arc<Semaphore>,
}

/// Listening sockets with their connections. Dropping it closes them all.
#[derive(Debug)]
pub struct Listening {
    addresses: Vec<SocketAddr>,
    tasks: JoinSet<()>,
}

impl Listening {
    /// Where it listens, ports filled in.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Closes everything, and returns when the addresses are free again: a mere drop is carried out a little later.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Server {
    /// A server that answers by `handler` to `sources`.
    pub fn new(handler: Handler, sources: Sources, limits: Limits) -> Self {
        let seats = Seats::new(limits.connections, limits.each, PATIENCE);
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        Self(Arc::new(Shared { handler, sources, limits, seats, strangers }))
    }

    /// Listens on all of these addresses, or on none.
    ///
    /// # Errors
    /// Names the address that cannot be had; where its port is in use, the hint says by whom, if that can be seen.
    pub async fn listen(&self, addresses: &[SocketAddr]) -> Result<Listening, PortError> {
        let mut sockets = Vec::with_capacity(addresses.len());
        for address in addresses {
            match TcpListener::bind(address).await {
                Ok(socket) => sockets.push(socket),
                Err(error) => return Err(bind_error(*address, &error).await),
            }
        }
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn(accept(Arc::clone(&self.0), socket));
        }
        Ok(Listening { addresses, tasks })
    }

    /// Answers the requests of one connection from `peer`, until it ends or has taken too long.
    pub async fn serve(&self, connection: impl AsyncRead + AsyncWrite + Unpin + Send, peer: IpAddr) {
        let peer = peer.to_canonical();
        serve(Arc::clone(&self.0), connection, peer, (self.0.sources.0)(peer).then(|| Arc::new(Pulse::new()))).await;
    }
}

/// Why an address cannot be listened on, and by whom it is used.
pub(super) async fn bind_error(address: SocketAddr, error: &std::io::Error) -> PortError {
    let mut failure = PortError::io(format_args!("listening on {address}"), error);
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            failure.kind = ErrorKind::Busy;
            let port = address.port();
            let asked = format!("looking who uses port {port}");
            let user = blocking::blocking(asked, blocking::QUICK, move || net::listener(port)).await;
            let user = user.ok().flatten().and_then(|listener| listener.process);
            failure.hint(match user {
                Some(process) => format!("port {port} is used by {process}: stop it, or choose another port"),
                None => format!("see who uses it with `ss -ltnp sport = :{port}`, or choose another port"),
            })
        }
        std::io::ErrorKind::AddrNotAvailable => {
            failure.kind = ErrorKind::NotFound;
            failure.hint(format!("no interface of this machine has the address {}", address.ip()))
        }
        _ => failure,
    }
}

async fn accept(shared: Arc<Shared>, socket: TcpListener) {
    // Owned by this task, so that whoever ends it ends the connections too.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => {
                    admit(&shared, stream, peer.ip().to_canonical(), &mut connections);
                    // As at the issuers' door: whoever was let in speaks first, before somebody else finds it silent.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    // Out of file descriptors: the next try would fail at once as well.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, peer: IpAddr, connections: &mut JoinSet<()>) {
    let (mut seat, mut place) = (None, None);
    if (shared.sources.0)(peer) {
        seat = shared.seats.take(peer).0;
        if seat.is_none() {
            // The socket is new, so that its buffer takes this at once; a failure changes nothing.
            let _ =
                stream.try_write(b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            return;
        }
    } else {
        place = Arc::clone(&shared.strangers).try_acquire_owned().ok();
        if place.is_none() {
            return;
        }
    }
    let server = Arc::clone(shared);
    let id = seat.as_ref().map(Seat::id);
    let task = connections.spawn(async move {
        let _ = stream.set_nodelay(true);
        serve(server, stream, peer, seat.as_ref().map(|seat| Arc::clone(&seat.pulse))).await;
        drop((seat, place));
    });
    if let Some(id) = id {
        shared.seats.occupied(id, task);
    }
}

/// Without a pulse it may not ask.
async fn serve(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    peer: IpAddr,
    pulse: Option<Arc<Pulse>>,
) {
    let allowed = pulse.is_some();
    let limits = shared.limits;
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (shared, pulse) = (Arc::clone(&shared), pulse.clone());
        async move {
            if let Some(pulse) = &pulse {
                pulse.asked();
            }
            let answer = answer(&shared, &request, peer, allowed).await;
            if let Some(pulse) = &pulse {
                pulse.reached(Stage::Leaving);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES).keep_alive(allowed);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let lifetime = if allowed { limits.connection } else { limits.head };
    // How a connection ends (reset, timeout, nonsense sent) is the client's affair.
    if timeout(lifetime, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(limits.answer, connection).await;
    }
}

async fn answer(
    shared: &Shared,
    request: &hyper::Request<Incoming>,
    peer: IpAddr,
    allowed: bool,
) -> hyper::Response<Full<Bytes>> {
    if !allowed {
        let mut refused =
            finish(Response::text(403, format_args!("{peer} may not ask; see metrics.allow in the settings")), false);
        refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return refused;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = finish(Response::text(405, "only GET and HEAD"), false);
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let headers = request.headers();
    let gzip = takes_gzip(&header(headers, ACCEPT_ENCODING));
    let asked = Request { path: request.uri().path().to_string(), accept: header(headers, ACCEPT), peer };
    match timeout(shared.limits.answer, (shared.handler)(asked)).await {
        Ok(response) => finish(response, gzip),
        Err(_) => {
            let seconds = shared.limits.answer.as_secs();
            finish(Response::text(503, format_args!("no answer within {seconds} s")), false)
        }
    }
}

/// A header that may be there several times; the same as one with commas.
fn header(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(", ")
}

/// Whether `Accept-Encoding` names gzip, and not with `q=0`.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let zero = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f64));
        named && !parts.any(zero)
    })
}

/// Less is not worth the work.
const WORTH_COMPRESSING: usize = 1400;

fn compressed(body: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body.as_bytes())?;
    encoder.finish()
}

fn finish(response: Response, gzip: bool) -> hyper::Response<Full<Bytes>> {
    let small = (gzip && response.body.len() >= WORTH_COMPRESSING).then(|| compressed(&response.body).ok()).flatten();
    let encoded = small.is_some();
    let body = small.map_or_else(|| Bytes::from(response.body), Bytes::from);
    let mut answer = hyper::Response::new(Full::new(body));
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let policy = response.policy.as_deref().unwrap_or("default-src 'none'; frame-ancestors 'none'");
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    if encoded {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

#[cfg(test)]
mod tests;
