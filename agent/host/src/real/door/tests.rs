//! Over loopback, with a toy scheme of proofs: those who keep to the contract, and those who do not.

mod attacks;
mod client;
mod floods;
mod requests;
mod resumption;

use super::client::Deadlines;
use super::*;
use bowline_ports::{Answered, Ask, PortError, Proofs};
use futures::future::BoxFuture;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(super) type Binding = [u8; 32];

/// Proofs by a key; the real scheme is another crate's.
#[derive(Clone, Copy)]
pub(super) struct Toy(pub(super) &'static str);

pub(super) const GOOD: Toy = Toy("key");
pub(super) const BAD: Toy = Toy("another key");

impl Toy {
    fn hash(self, label: &str, binding: &Binding, parts: &[&[u8]]) -> String {
        let mut hash = Sha256::new().chain_update(self.0).chain_update(label).chain_update(binding);
        parts.iter().for_each(|part| hash.update(Sha256::digest(part)));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn client(self, binding: &Binding, body: &[u8]) -> String {
        self.hash("client", binding, &[body])
    }

    pub(super) fn server(self, binding: &Binding, status: u16, request: &[u8], answer: &[u8]) -> String {
        self.hash("server", binding, &[&status.to_be_bytes(), request, answer])
    }
}

impl Proofs for Toy {
    fn request(&self, binding: &Binding, body: &[u8]) -> Vec<(&'static str, String)> {
        vec![(PROOF, self.client(binding, body)), (SIGNATURE, "0".repeat(128))]
    }

    fn answer(&self, binding: &Binding, status: u16, request: &[u8], answer: &[u8], proof: &str) -> bool {
        self.server(binding, status, request, answer) == proof
    }
}

/// Answers with what was asked; `slow` as a body takes its time.
#[derive(Default)]
pub(super) struct Echo {
    pub(super) asked: AtomicUsize,
    pub(super) ended: Mutex<Vec<&'static str>>,
}

impl Answerer for Echo {
    fn serves(&self, path: &str) -> bool {
        path == "/v1/enroll"
    }

    fn ended(&self, end: &'static str) {
        self.ended.lock().unwrap().push(end);
    }

    fn answer(&self, asked: Asked) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            self.asked.fetch_add(1, Relaxed);
            assert_eq!(asked.path, "/v1/enroll");
            if asked.body == b"slow" {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            let right = asked.proof == Some(GOOD.client(&asked.binding, &asked.body));
            let (status, body) = if right { (200, asked.body.clone()) } else { (401, b"no".to_vec()) };
            let proof = GOOD.server(&asked.binding, status, &asked.body, &body);
            Reply { status, proof: Some(proof), body, wrong: !right }
        })
    }
}

pub(super) async fn open(limits: Limits) -> (Door, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    let door = listen("127.0.0.1:0".parse().unwrap(), Arc::<Echo>::clone(&echo), limits).await.unwrap();
    (door, echo)
}

pub(super) fn ask_of(address: SocketAddr, body: &[u8]) -> Ask {
    Ask { server: address.to_string(), path: "/v1/enroll".into(), body: body.to_vec(), from: None }
}

pub(super) async fn ask(address: SocketAddr, body: &[u8], toy: Toy) -> Result<Answered, PortError> {
    super::client::ask(&ask_of(address, body), &toy, PATIENT).await
}

/// Loopback has many addresses to come from.
pub(super) async fn connect_from(source: [u8; 4], address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}

/// Longer than a busy machine makes anybody wait.
pub(super) const LONG: Duration = Duration::from_secs(60);
/// Of who waits for as long as it takes.
const PATIENT: Deadlines = Deadlines { connect: LONG, handshake: LONG, answer: LONG };

/// As it is but for what a busy machine may miss.
pub(super) fn patient() -> Limits {
    Limits { handshake: LONG, head: LONG, body: LONG, ..Limits::default() }
}

/// Waits for as long as it takes.
pub(super) async fn ask_from(source: [u8; 4], address: SocketAddr, toy: Toy) -> Result<Answered, PortError> {
    let stream = connect_from(source, address).await.map_err(|error| PortError::io("connecting", &error))?;
    super::client::over(stream, &ask_of(address, b"{}"), &toy, PATIENT).await
}

/// A client's configuration, to be made worse.
pub(super) fn config(change: impl FnOnce(&mut ClientConfig)) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(tls::client().unwrap());
    change(&mut config);
    Arc::new(config)
}

pub(super) async fn tls_with(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<(TlsStream<TcpStream>, Binding)> {
    let name = ServerName::try_from("door.test").unwrap();
    let stream = TlsConnector::from(config).connect(name, TcpStream::connect(address).await?).await?;
    let binding = tls::binding(stream.get_ref().1).unwrap();
    Ok((stream, binding))
}

/// A connection that is used by hand.
pub(super) async fn raw(address: SocketAddr) -> (TlsStream<TcpStream>, Binding) {
    tls_with(address, config(|_| {})).await.unwrap()
}

/// A request as the contract wants it.
pub(super) fn good_request(binding: &Binding, body: &str) -> String {
    let proof = GOOD.client(binding, body.as_bytes());
    let length = body.len();
    format!("POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{PROOF}: {proof}\r\n\r\n{body}")
}

/// Everything that comes until the other side closes.
pub(super) async fn rest(mut stream: TlsStream<TcpStream>) -> String {
    let mut text = Vec::new();
    // How it is closed does not matter: what came before counts.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

/// Sends text and gives back all that comes.
pub(super) async fn say(mut stream: TlsStream<TcpStream>, text: &str) -> String {
    let _ = stream.write_all(text.as_bytes()).await;
    rest(stream).await
}

/// Waits for something that happens soon.
pub(super) async fn soon(what: &str, is: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 10 s");
}

#[tokio::test]
async fn what_is_asked_is_answered() {
    let (door, echo) = open(patient()).await;
    for body in [b"".to_vec(), b"{\"v\":1}".to_vec(), vec![b'x'; BODY]] {
        let answered = ask(door.address(), &body, GOOD).await.unwrap();
        assert_eq!(answered, Answered { status: 200, body });
    }
    assert_eq!(echo.asked.load(Relaxed), 3);
    soon("all are gone", || door.held() == Held { connections: 0, delayed: 0 }).await;
    assert_eq!(door.counters(), Counters { answered: 3, ..Counters::default() });
    let address = door.address();
    door.close().await;
    assert!(TcpStream::connect(address).await.is_err());
    drop(listen(address, echo, Limits::default()).await.unwrap());
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let (door, echo) = open(patient()).await;
    let Err(error) = listen(door.address(), echo, Limits::default()).await else { panic!("twice the same address") };
    assert_eq!(error.kind, bowline_ports::ErrorKind::Busy);
    assert!(error.message.contains(&door.address().to_string()), "{error}");
}
