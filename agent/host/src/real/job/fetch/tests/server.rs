//! A web server that answers wrongly when asked to.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the server does with a path; any other is 404.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    File(Vec<u8>),
    Dated(Vec<u8>, &'static str),
    /// These bytes of so many, then the end.
    Truncated(Vec<u8>, u64),
    /// These bytes of so many, then nothing more.
    Hanging(Vec<u8>, u64),
    /// Not even a head.
    Silent,
    Redirect(String),
}

pub(super) struct Server {
    address: SocketAddr,
    ca_file: tempfile::NamedTempFile,
}

impl Server {
    pub(super) async fn start(replies: &[(&'static str, Reply)]) -> Self {
        Self::with_years(replies, 2001, 2101).await
    }

    /// With a certificate for these years.
    pub(super) async fn with_years(replies: &[(&'static str, Reply)], from: i32, to: i32) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.not_before = date_time_ymd(from, 1, 1);
        leaf.not_after = date_time_ymd(to, 1, 1);
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let replies: HashMap<&'static str, Reply> = replies.iter().cloned().collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, replies) = (acceptor.clone(), replies.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, &replies).await;
                    }
                });
            }
        });
        Self { address, ca_file }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    pub(super) fn ca_file(&self) -> &Path {
        self.ca_file.path()
    }
}

async fn serve(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    replies: &HashMap<&'static str, Reply>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let ok = |length: u64, more: &str| format!("HTTP/1.1 200 OK\r\n{more}Content-Length: {length}\r\n\r\n");
    let (head, body) = match replies.get(path) {
        None => ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), Vec::new()),
        Some(Reply::File(body)) => (ok(body.len() as u64, ""), body.clone()),
        Some(Reply::Dated(body, date)) => (ok(body.len() as u64, &format!("Date: {date}\r\n")), body.clone()),
        Some(Reply::Truncated(body, length) | Reply::Hanging(body, length)) => (ok(*length, ""), body.clone()),
        Some(Reply::Silent) => (String::new(), Vec::new()),
        Some(Reply::Redirect(to)) => {
            (format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"), Vec::new())
        }
    };
    // The client may have gone already: that is its right.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.flush().await;
    if matches!(replies.get(path), Some(Reply::Hanging(..) | Reply::Silent)) {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}
