//! The listening end: each connection brings one request, and gets one answer or none.

use super::super::seats::{Patience, Seat, Seats, Stage, source};
use super::counters::{Counters, Outcome, Tally};
use super::delays::{Delays, Waiting};
use super::meter::Meter;
use super::request::{self, Head};
use super::{PROOF, tls};
use bowline_ports::PortError;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the other end may send before the handshake is done: ours has a few hundred bytes, and the first record of its
/// request may come together with the last of them.
const HANDSHAKE_BYTES: usize = 32 << 10;
/// What it may send after that: head and body, with TLS around them.
const REQUEST_BYTES: usize = 64 << 10;
/// How long a connection that has its answer is read on: closed with bytes unread, it would take the answer with it.
const LINGER: Duration = Duration::from_millis(500);

/// A request with all that its proof covers.
#[derive(Clone)]
pub struct Asked {
    /// Who asks; an IPv4 address as such even when it came as IPv6.
    pub peer: IpAddr,
    /// The channel binding (RFC 9266) of this connection.
    pub binding: [u8; 32],
    /// One of the paths that the answerer serves.
    pub path: String,
    /// `Bowline-Proof`: 64 lower-case hex digits; not checked.
    pub proof: Option<String>,
    /// `Bowline-Signature`: 128 lower-case hex digits; not checked.
    pub signature: Option<String>,
    /// At most 16 KiB.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Bowline-Proof` over status, both bodies and the binding.
    pub proof: Option<String>,
    /// JSON of at most 16 KiB.
    pub body: Vec<u8>,
    /// The request's proof was wrong: this answer waits, the longer the more of them its source has sent.
    pub wrong: bool,
}

// Bodies may hold secrets, so that only their sizes are shown.
impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asked({} by {}, {} bytes)", self.path, self.peer, self.body.len())
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({}, {} bytes, wrong: {})", self.status, self.body.len(), self.wrong)
    }
}

/// Whoever knows the answers. It has to verify the proof before anything else, since nobody did.
pub trait Answerer: Send + Sync {
    /// Whether there is something at this path; any other is answered 404 without a proof.
    fn serves(&self, path: &str) -> bool;
    /// The answer. When it takes longer than [`Limits::answer`], the connection is closed without one.
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Reply>;
    /// A connection ended; one of [`Counters::ENDS`]. It has to return at once.
    fn ended(&self, _end: &'static str) {}
}

/// Limits that nobody can get beyond.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one address; a /64 of IPv6 may have four times as many.
    pub each: usize,
    /// Who sent nothing for so long may lose its place to a newcomer.
    pub stale: Duration,
    /// Who has not sent all of its request after so long, too.
    pub slow: Duration,
    /// For the handshake.
    pub handshake: Duration,
    /// For the head of the request.
    pub head: Duration,
    /// For its body.
    pub body: Duration,
    /// For the answerer; longer than who asks waits for it, so that its own deadline speaks first.
    pub answer: Duration,
    /// How long a source's first wrong proof waits for its answer; each later one twice as long.
    pub first_delay: Duration,
    /// And at most; shorter than who asks waits.
    pub longest_delay: Duration,
    /// Wrong proofs that wait at once; more get no answer.
    pub delayed: usize,
    /// The same, of one source.
    pub delayed_each: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            each: 128,
            stale: Duration::from_secs(1),
            slow: Duration::from_secs(2),
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(5),
            body: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            first_delay: Duration::from_millis(250),
            longest_delay: Duration::from_secs(8),
            delayed: 512,
            delayed_each: 8,
        }
    }
}

/// What a door holds at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Connections; at most [`Limits::connections`].
    pub connections: usize,
    /// Wrong proofs that wait for their answers; at most [`Limits::delayed`].
    pub delayed: usize,
}

/// A listening socket with its connections. Dropping it closes them all.
pub struct Door {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    answerer: Arc<dyn Answerer>,
    limits: Limits,
    acceptor: TlsAcceptor,
    seats: Arc<Seats>,
    delays: Arc<Delays>,
    tally: Tally,
}

impl Shared {
    fn count(&self, outcome: Outcome) {
        self.tally.count(outcome);
        self.answerer.ended(outcome.name());
    }
}

impl Door {
    /// Where it listens, port filled in.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How connections ended so far.
    pub fn counters(&self) -> Counters {
        self.shared.tally.read()
    }

    /// What it holds at the moment.
    pub fn held(&self) -> Held {
        Held { connections: self.shared.seats.taken(), delayed: self.shared.delays.waiting() }
    }

    /// Closes everything, and returns when the address is free again: a mere drop is carried out a little later.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Listens for requests, with a certificate of its own made now.
///
/// # Errors
/// Names the address that cannot be had; where its port is in use, the hint says by whom, if that can be seen.
pub async fn listen(address: SocketAddr, answerer: Arc<dyn Answerer>, limits: Limits) -> Result<Door, PortError> {
    let acceptor = TlsAcceptor::from(tls::server()?);
    let socket = match TcpListener::bind(address).await {
        Ok(socket) => socket,
        Err(error) => return Err(super::super::http::bind_error(address, &error).await),
    };
    let address = socket.local_addr().unwrap_or(address);
    let seats = Seats::new(limits.connections, limits.each, Patience { silent: limits.stale, slow: limits.slow });
    let delays = Delays::new(limits.first_delay, limits.longest_delay, limits.delayed, limits.delayed_each);
    let shared = Arc::new(Shared { answerer, limits, acceptor, seats, delays, tally: Tally::default() });
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(Arc::clone(&shared), socket));
    Ok(Door { address, shared, tasks })
}

async fn accept(shared: Arc<Shared>, socket: TcpListener) {
    // Owned by this task, so that whoever ends it ends the connections too.
    let mut connections = JoinSet::new();
    let mut waiting = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => {
                    admit(&shared, stream, peer.ip().to_canonical(), &mut connections);
                    // Whoever was let in speaks first: otherwise a burst would find all of its own mute, and push them out.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    // Out of file descriptors: an idle connection has one to give.
                    if shared.seats.shed() {
                        shared.count(Outcome::Evicted);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Ok(Some(late)) = ended {
                    waiting.spawn(answer_later(late));
                }
            }
            Some(_) = waiting.join_next() => {}
        }
    }
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, peer: IpAddr, connections: &mut JoinSet<Option<Later>>) {
    let (seat, lost) = shared.seats.take(peer);
    if lost {
        shared.count(Outcome::Evicted);
    }
    let Some(seat) = seat else {
        shared.count(Outcome::Full);
        return;
    };
    let id = seat.id();
    let task = connections.spawn(serve(Arc::clone(shared), stream, peer, seat));
    shared.seats.occupied(id, task);
}

/// An answer that is encrypted and waits: all that is left of its connection.
struct Later {
    stream: TcpStream,
    bytes: Vec<u8>,
    waiting: Waiting,
}

async fn answer_later(mut later: Later) {
    tokio::time::sleep(later.waiting.delay).await;
    // It fits into the socket's buffer, or whoever asked does not want it.
    let _ = timeout(LINGER, later.stream.write_all(&later.bytes)).await;
    let _ = timeout(LINGER, later.stream.shutdown()).await;
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: IpAddr, seat: Seat) -> Option<Later> {
    let _ = stream.set_nodelay(true);
    let meter = Meter::new(stream, Arc::clone(&seat.pulse), HANDSHAKE_BYTES);
    let tls = match timeout(shared.limits.handshake, shared.acceptor.accept(meter)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            let spoke = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            shared.count(if spoke { Outcome::Handshake } else { Outcome::Broken });
            return None;
        }
        Err(_) => {
            shared.count(Outcome::Slow);
            return None;
        }
    };
    let session = tls.get_ref().1;
    let binding = tls::binding(session).filter(|_| session.alpn_protocol() == Some(tls::ALPN));
    let Some(binding) = binding else {
        shared.count(Outcome::Handshake);
        return None;
    };
    let exchange = Exchange { shared: &shared, seat: &seat, peer, binding, end: OnceLock::new() };
    let (outcome, waiting, tls) = exchange.run(tls).await;
    shared.count(outcome);
    let mut tls = tls?;
    seat.pulse.reached(Stage::Leaving);
    let _ = timeout(LINGER, tls.shutdown()).await;
    if let Some(waiting) = waiting {
        let (stream, bytes) = tls.into_inner().0.into_parts();
        return Some(Later { stream, bytes, waiting });
    }
    let (mut meter, _) = tls.into_inner();
    let mut rest = [0; 512];
    let drained = async { while matches!(meter.read(&mut rest).await, Ok(1..)) {} };
    let _ = timeout(LINGER, drained).await;
    None
}

/// One request and its answer.
struct Exchange<'a> {
    shared: &'a Shared,
    seat: &'a Seat,
    peer: IpAddr,
    binding: [u8; 32],
    end: OnceLock<(Outcome, Option<Waiting>)>,
}

/// An error ends the connection without an answer.
type Answer = Result<Response<Full<Bytes>>, io::Error>;

fn no_answer() -> io::Error {
    io::Error::other("no answer is given")
}

impl Exchange<'_> {
    /// How it ended; with the connection, if an answer was written to it.
    async fn run(mut self, mut tls: TlsStream<Meter>) -> (Outcome, Option<Waiting>, Option<TlsStream<Meter>>) {
        tls.get_mut().0.allow(REQUEST_BYTES);
        let Limits { head, body, answer, .. } = self.shared.limits;
        let this = &self;
        let service = service_fn(move |request| Box::pin(this.answer(request)));
        let connection = request::reader(head).serve_connection(TokioIo::new(tls), service).without_shutdown();
        let served = timeout(head + body + answer + LINGER, connection).await;
        let (default, tls) = match served {
            Ok(Ok(parts)) => (Outcome::Broken, Some(parts.io.into_inner())),
            Ok(Err(error)) if error.is_timeout() => (Outcome::Slow, None),
            Ok(Err(error)) if error.is_parse() => (Outcome::Malformed, None),
            Ok(Err(_)) => (Outcome::Broken, None),
            Err(_) => (Outcome::Slow, None),
        };
        match self.end.take() {
            Some((outcome, waiting)) => (outcome, waiting, tls.filter(|_| !matches!(outcome, Outcome::Unanswered))),
            None => (default, None, tls),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let Shared { answerer, limits, .. } = self.shared;
        let Head { path, proof, signature } = match request::head(&request, |path| answerer.serves(path)) {
            Ok(head) => head,
            Err(status) => {
                self.ended(Outcome::Malformed, None);
                return Ok(response(status, None, Vec::new()));
            }
        };
        let body = match timeout(limits.body, request.into_body().collect()).await {
            Ok(Ok(body)) => body.to_bytes().to_vec(),
            Ok(Err(_)) => return Err(no_answer()),
            Err(_) => {
                self.ended(Outcome::Slow, None);
                return Err(no_answer());
            }
        };
        self.seat.pulse.reached(Stage::Working);
        let asked = Asked { peer: self.peer, binding: self.binding, path, proof, signature, body };
        let Ok(reply) = timeout(limits.answer, answerer.answer(asked)).await else {
            self.ended(Outcome::Late, None);
            return Err(no_answer());
        };
        if reply.wrong {
            let Some(waiting) = self.shared.delays.failed(source(self.peer)) else {
                self.ended(Outcome::Unanswered, None);
                return Err(no_answer());
            };
            self.seat.pulse.hold_back();
            self.ended(Outcome::Wrong, Some(waiting));
        } else {
            self.ended(Outcome::Answered, None);
        }
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Ok(response(status, reply.proof.as_deref(), reply.body))
    }

    fn ended(&self, outcome: Outcome, waiting: Option<Waiting>) {
        let _ = self.end.set((outcome, waiting));
    }
}

fn response(status: StatusCode, proof: Option<&str>, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(proof) = proof.and_then(|proof| HeaderValue::from_str(proof).ok()) {
        headers.insert(PROOF, proof);
    }
    answer
}
