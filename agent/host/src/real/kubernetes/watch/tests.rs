//! Lines as a real API server 1.34 writes them, told by a small one in this process.

use super::super::tests::{NODE, next, write_kubeconfig};
use super::*;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Only what never comes takes so long.
const SOON: Duration = Duration::from_secs(20);
/// Nothing comes in so long.
const QUIET: Duration = Duration::from_millis(200);

/// A watch that was begun, and the end of it at the API.
struct Begun {
    request: String,
    stream: TcpStream,
    signal: Arc<Notify>,
    ended: tokio::task::JoinHandle<Result<(), PortError>>,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Begun {
    async fn new() -> Self {
        Self::reading(|_| ()).await
    }

    /// Of a Node that was read otherwise.
    async fn reading(changed: impl FnOnce(&mut NodeObject)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        write_kubeconfig(kubeconfig.path(), &listener.local_addr().unwrap().to_string());
        let mut node = serde_json::from_str::<Node>(NODE).unwrap().describe("n1");
        changed(&mut node);
        let seen = Seen { kubeconfig: kubeconfig.path().to_path_buf(), node };
        let signal = Arc::new(Notify::new());
        let heard = Arc::clone(&signal);
        let ended = tokio::spawn(async move { Clients::default().follow(seen, &heard).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let list = next(&mut stream).await.unwrap();
        assert!(list.starts_with("GET /api/v1/nodes?fieldSelector=metadata.name%3Dn1 "), "{list}");
        // Far on, since other Nodes change.
        let body = format!("{{\"metadata\": {{\"resourceVersion\": \"4711\"}}, \"items\": [{NODE}]}}");
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let request = next(&mut stream).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { request, stream, signal, ended, _kubeconfig: kubeconfig }
    }

    async fn send(&mut self, bytes: &str) {
        self.stream.write_all(format!("{:x}\r\n{bytes}\r\n", bytes.len()).as_bytes()).await.unwrap();
    }

    async fn told(&self, patience: Duration) -> bool {
        timeout(patience, self.signal.notified()).await.is_ok()
    }

    async fn end(self) -> Result<(), PortError> {
        drop(self.stream);
        timeout(SOON, self.ended).await.unwrap().unwrap()
    }
}

fn line(kind: &str, node: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", node.replace('\n', " "))
}

#[tokio::test]
async fn what_is_looked_at_is_told_and_a_kubelets_heartbeat_is_not() {
    let mut api = Begun::new().await;
    let asked = api.request.lines().next().unwrap();
    let begins = "GET /api/v1/nodes?fieldSelector=metadata.name%3Dn1&watch=1&resourceVersion=4711&";
    assert!(asked.starts_with(begins), "{asked}");
    assert!(!api.told(QUIET).await, "it is as it was read");
    let beat = NODE.replace("\"77\"", "\"78\"").replace("\"bootID\": \"\"", "\"bootID\": \"another\"");
    api.send(&line("MODIFIED", &beat)).await;
    assert!(!api.told(QUIET).await, "nothing that is looked at is another");

    let labelled = beat.replace("\"role\": \"db\"", "\"role\": \"web\"");
    let text = line("MODIFIED", &labelled);
    let (half, rest) = text.split_at(text.len() / 2);
    api.send(half).await;
    assert!(!api.told(QUIET).await, "half a line is none");
    api.send(&format!("{rest}{}", line("MODIFIED", &labelled))).await;
    assert!(api.told(SOON).await);
    assert!(!api.told(QUIET).await, "the second time it is as it was");

    api.send(&line("DELETED", &labelled)).await;
    assert!(api.told(SOON).await);
    // The API ends it, as it does after a while.
    api.stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(api.end().await, Ok(()));
}

/// What changed between the look and the watch.
#[tokio::test]
async fn a_node_that_is_not_as_it_was_read_is_told_at_once() {
    let api = Begun::reading(|node| node.ready_message = "something else".into()).await;
    assert!(api.told(SOON).await);
}

#[tokio::test]
async fn what_can_not_be_followed_ends_the_watch() {
    const GONE: &str = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\
        \"status\":\"Failure\",\"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";
    for text in [GONE, "{\"type\":\"BOOKMARK\",\"object\":{}}\n", "nonsense\n"] {
        let mut api = Begun::new().await;
        api.send(text).await;
        let error = timeout(SOON, &mut api.ended).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.message, "watching the Node n1: it cannot be followed any further");
        assert!(!api.told(QUIET).await, "a Node that was not told of is no changed one");
    }
    let error = Begun::new().await.end().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "a connection that breaks off: {error}");
}

#[tokio::test]
async fn an_api_that_refuses_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    write_kubeconfig(kubeconfig.path(), &listener.local_addr().unwrap().to_string());
    let node = serde_json::from_str::<Node>(NODE).unwrap().describe("n1");
    let refuses = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        next(&mut stream).await.unwrap();
        let body = r#"{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403}"#;
        let head = format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        stream
    };
    let clients = Clients::default();
    let signal = Notify::new();
    let seen = Seen { kubeconfig: kubeconfig.path().to_path_buf(), node };
    let (followed, _stream) = tokio::join!(clients.follow(seen, &signal), refuses);
    let error = followed.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
}

/// The servers take the startup taint away; who waits for that reads the Node, and the others are told of it at once.
#[tokio::test]
async fn a_node_that_was_read_otherwise_than_before_is_told_before_a_watch_stands() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    write_kubeconfig(kubeconfig.path(), &listener.local_addr().unwrap().to_string());
    let (clients, signal) = (Clients::default(), Notify::new());
    let labelled = NODE.replace("\"role\": \"db\"", "\"role\": \"web\"");
    let answers = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for body in [NODE, NODE, &labelled, &labelled] {
            next(&mut stream).await.unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await.unwrap();
        }
        std::future::pending().await
    };
    let told = async {
        let read = || async { clients.node(kubeconfig.path(), "n1").await.unwrap().unwrap() };
        let mut told = Vec::new();
        for patience in [QUIET, QUIET, SOON, QUIET] {
            read().await;
            told.push(timeout(patience, signal.notified()).await.is_ok());
        }
        told
    };
    tokio::select! {
        () = clients.watch(&signal) => {}
        () = answers => {}
        told = told => assert_eq!(told, [false, false, true, false]),
    }
}

/// Without a Node that was read, and until a watch stands, somebody has to look.
#[tokio::test(start_paused = true)]
async fn while_nobody_tells_it_is_asked_for_every_80_s() {
    let (clients, signal) = (Clients::default(), Notify::new());
    let nobody = tokio::time::timeout(10 * UNTOLD, clients.watch(&signal));
    assert!(nobody.await.is_err() && timeout(QUIET, signal.notified()).await.is_err(), "nobody has asked for a Node");
    clients.node(std::path::Path::new("/no/such/kubeconfig"), "n1").await.unwrap_err();
    let begun = tokio::time::Instant::now();
    let three = async {
        for _ in 0..3 {
            signal.notified().await;
        }
    };
    tokio::select! {
        () = clients.watch(&signal) => {}
        () = three => {}
    }
    assert_eq!(begun.elapsed().as_secs(), 3 * UNTOLD.as_secs());
}
