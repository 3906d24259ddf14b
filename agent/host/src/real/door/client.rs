//! The asking end: one connection, one request, one answer, which is used only when it is proven.

use super::super::addresses::by_turns;
use super::super::{net, resolve};
use super::{BODY, HEAD, PROOF, tls};
use bowline_ports::{Address, Answered, Ask, ErrorKind, PortError, Proofs};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long each part may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// Until one of the server's addresses takes the connection.
    pub(crate) connect: Duration,
    /// For the handshake.
    pub(crate) handshake: Duration,
    /// From the request to the whole answer: an issuer talks to Kubernetes meanwhile.
    pub(crate) answer: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(3), handshake: seconds(5), answer: seconds(15) }
    }
}

/// Asks, and gives back a proven answer.
pub(crate) async fn ask(ask: &Ask, proofs: &dyn Proofs, deadlines: Deadlines) -> Result<Answered, PortError> {
    let stream = connect(&ask.server, ask.from, deadlines.connect).await?;
    over(stream, ask, proofs, deadlines).await
}

/// The same over a connection that is there: for who has to choose where it comes from.
///
/// # Errors
/// As `Change::ask` of the ports.
pub async fn ask_over(stream: TcpStream, ask: &Ask, proofs: &dyn Proofs) -> Result<Answered, PortError> {
    over(stream, ask, proofs, Deadlines::default()).await
}

pub(super) async fn over(
    stream: TcpStream,
    ask: &Ask,
    proofs: &dyn Proofs,
    deadlines: Deadlines,
) -> Result<Answered, PortError> {
    let server = &ask.server;
    let answer = async {
        let stream = late(server, "no TLS handshake", deadlines.handshake, handshake(server, stream)).await?;
        late(server, "no answer", deadlines.answer, exchange(ask, proofs, stream)).await
    };
    // Somebody who took the connection is there: a door that is full closes it.
    answer.await.map_err(|error| match error.kind {
        ErrorKind::Timeout | ErrorKind::Unreachable => PortError { kind: ErrorKind::Busy, ..error },
        _ => error,
    })
}

/// The result, or an error of kind `Timeout` that says what did not come.
async fn late<T>(
    server: &str,
    what: &str,
    deadline: Duration,
    work: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    timeout(deadline, work).await.unwrap_or_else(|_| {
        Err(PortError::new(ErrorKind::Timeout, format!("{server}: {what} within {} s", deadline.as_secs_f32()))
            .hint("is that server overloaded, or is something between that lets no data through?"))
    })
}

/// Something is there that cannot prove what it says.
fn not_proven(server: &str, cause: impl std::fmt::Display) -> PortError {
    PortError::new(
        ErrorKind::Denied,
        format!(
            "the answer of {server} is not proven: something else answers there, or the cluster key differs ({cause})"
        ),
    )
    .hint("is that address a server of this cluster? Was the cluster key changed? Compare this machine's ticket")
}

fn broken(server: &str, error: impl std::fmt::Display) -> PortError {
    PortError::new(ErrorKind::Unreachable, format!("{server}: the connection broke before an answer: {error}"))
}

async fn addresses(server: &str) -> Result<Vec<SocketAddr>, PortError> {
    if let Ok(address) = server.parse() {
        return Ok(vec![address]);
    }
    let parts = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parts.filter(|(host, _)| !host.is_empty() && !host.contains(':')) else {
        return Err(PortError::new(ErrorKind::Invalid, format!("{server}: not a host and a port"))
            .hint("write host:port; an IPv6 address in brackets: [2001:db8::1]:7470"));
    };
    // That nobody tells where it is does not mean that it is not there.
    let nameless = |error| PortError { kind: ErrorKind::NotFound, ..error };
    resolve::addresses(host, port).await.map_err(nameless)
}

async fn connect(server: &str, from: Option<IpAddr>, deadline: Duration) -> Result<TcpStream, PortError> {
    let addresses = addresses(server).await?;
    let each = deadline / u32::try_from(addresses.len().clamp(1, 3)).unwrap_or(1);
    let (mut refused, mut silent) = (None, false);
    let all = async {
        for address in by_turns(addresses) {
            let from = from.filter(|from| is_beside(*from, address));
            match timeout(each, reach(address, from, each / 2)).await {
                Ok(Ok(stream)) => return Some(stream),
                // What comes of another one's address says more.
                Ok(Err(error)) if is_local(&error) && refused.is_some() => {}
                Ok(Err(error)) => refused = Some(error),
                Err(_) => silent = true,
            }
        }
        None
    };
    let connected = timeout(deadline, all).await.ok().flatten();
    connected.ok_or_else(|| match refused {
        Some(error) if is_local(&error) && !silent => {
            let message = format!("this machine has no way to {server}: {error}");
            PortError::new(ErrorKind::Other, message)
                .hint("has it an address and a route there? `ip route get ADDRESS`")
        }
        Some(error) => PortError::new(ErrorKind::Unreachable, format!("no connection to {server}: {error}")),
        None => {
            let message = format!("no connection to {server} within {} s", deadline.as_secs_f32());
            PortError::new(ErrorKind::Timeout, message).hint("is there a route to it, or a firewall between?")
        }
    })
}

/// A connection from that address. Where this machine cannot speak from it (now), and where that gets no answer for a while, as behind
/// a router that knows another one of this machine, from whichever the kernel takes.
pub(super) async fn reach(to: SocketAddr, from: Option<IpAddr>, alone: Duration) -> std::io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(to).await };
    let own = async {
        let socket = if to.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.bind((from, 0).into())?;
        socket.connect(to).await
    };
    tokio::pin!(own);
    match timeout(alone, &mut own).await {
        Ok(Err(error)) if is_local(&error) || error.kind() == std::io::ErrorKind::HostUnreachable => {
            TcpStream::connect(to).await
        }
        Ok(other) => other,
        Err(_) => tokio::select! {
            Ok(stream) = &mut own => Ok(stream),
            other = TcpStream::connect(to) => other,
        },
    }
}

/// Whether the kernel would speak from another address of the same interface and kind. What leaves otherwise with this address
/// (by another interface, or from a private network to a public address) would be dropped in most networks, without a word.
fn is_beside(from: IpAddr, to: SocketAddr) -> bool {
    let taken = net::source(to).filter(|taken| *taken != from);
    let Some((taken, all)) = taken.zip(net::addresses().ok()) else { return false };
    are_beside(&all, from, taken)
}

pub(super) fn are_beside(all: &[Address], one: IpAddr, other: IpAddr) -> bool {
    let private = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    let has = |interface: &str, address| all.iter().any(|a| a.interface == interface && a.address == address);
    let alike = one.is_ipv4() == other.is_ipv4() && private(one) == private(other);
    alike && all.iter().any(|a| a.address == one && has(&a.interface, other))
}

/// Whether this machine's own kernel refused, and nothing was sent: no route, no address to send from, or none that can be
/// sent to. (A router on the way may say that there is no route, too.)
fn is_local(error: &std::io::Error) -> bool {
    let local = [Errno::EINVAL, Errno::EADDRNOTAVAIL, Errno::EAFNOSUPPORT, Errno::ENETUNREACH];
    error.raw_os_error().is_some_and(|raw| local.contains(&Errno::from_raw(raw)))
}

/// The TLS connection alone: for who has something else to say over it.
///
/// # Errors
/// The connection breaks (`Unreachable`), or something else than an issuer is there (`Denied`).
pub async fn handshake(server: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, PortError> {
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().map_err(|error| broken(server, error))?;
    // No certificate is looked at, so that the name in it does not matter.
    let name = ServerName::IpAddress(peer.ip().into());
    let tls = TlsConnector::from(tls::client()?).connect(name, stream).await.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(spoken) => not_proven(server, spoken),
            None => broken(server, &error),
        }
    })?;
    if tls.get_ref().1.alpn_protocol() != Some(tls::ALPN) {
        return Err(not_proven(server, "it does not speak bowline/1"));
    }
    Ok(tls)
}

async fn exchange(ask: &Ask, proofs: &dyn Proofs, tls: TlsStream<TcpStream>) -> Result<Answered, PortError> {
    let binding = tls::binding(tls.get_ref().1).ok_or_else(|| broken(&ask.server, "TLS gives no channel binding"))?;
    answer(ask, proofs, &binding, tls).await
}

/// Asks over a connection with this channel binding, and reads the answer: nothing is used of one that is not proven.
///
/// # Errors
/// The connection breaks (`Unreachable`), or no proof is valid (`Denied`). Neither repeats a piece of the answer.
pub async fn answer(
    ask: &Ask,
    proofs: &dyn Proofs,
    binding: &[u8; 32],
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Answered, PortError> {
    let server = &ask.server;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(connection)).await.map_err(|error| broken(server, error))?;
    // Ends with this call, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = request(ask, proofs.request(binding, &ask.body))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| if error.is_parse() { not_proven(server, error) } else { broken(server, error) })?;
    let status = answer.status().as_u16();
    let proof = proof(&answer).map_err(|cause| not_proven(server, format_args!("HTTP {status}, {cause}")))?;
    let body = Limited::new(answer.into_body(), BODY).collect().await.map_err(|error| broken(server, error))?;
    let body = body.to_bytes().to_vec();
    if !proofs.answer(binding, status, &ask.body, &body, &proof) {
        return Err(not_proven(server, format_args!("HTTP {status} with a wrong proof")));
    }
    Ok(Answered { status, body })
}

fn request(ask: &Ask, headers: Vec<(&'static str, String)>) -> Result<Request<Full<Bytes>>, PortError> {
    let invalid = |error: hyper::http::Error| {
        PortError::new(ErrorKind::Invalid, format!("{}{} cannot be asked: {error}", ask.server, ask.path))
    };
    let mut request = Request::post(&ask.path)
        .header(HOST, &ask.server)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(CONTENT_LENGTH, ask.body.len())
        .header(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::from(ask.body.clone()))).map_err(invalid)
}

/// The one proof of an answer that has the form of one.
fn proof(answer: &Response<Incoming>) -> Result<String, &'static str> {
    let headers = answer.headers();
    let length = answer.body().size_hint().exact();
    if headers.contains_key(TRANSFER_ENCODING) || length.is_none() {
        return Err("without a length");
    }
    if length.is_some_and(|length| length > BODY as u64) {
        return Err("larger than an answer may be");
    }
    let mut proofs = headers.get_all(PROOF).iter();
    let proof = proofs.next().ok_or("without a proof")?;
    if proofs.next().is_some() {
        return Err("with two proofs");
    }
    proof.to_str().map(str::to_owned).map_err(|_| "with a proof that is no text")
}
