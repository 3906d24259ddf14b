//! The bed's web server: plain and TLS, files and bytes by path, faults to order, and counts of what was asked for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::bed::{GATEWAY, lock};
use crate::http;
use crate::run;

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It answers with this status.
    Status(u16),
    /// The connection ends after this many bytes of the body.
    Truncated(u64),
    /// This many bytes a second.
    Slow(u64),
    /// Nothing more comes after this many bytes of the body, and the connection stays open.
    Hang(u64),
    /// The first byte is another one: no checksum fits.
    Corrupt,
}

/// What was asked for at a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How often.
    pub requests: u64,
    /// The bytes of all bodies that were sent.
    pub bytes: u64,
}

/// The bed's web server. Its certificate is signed by a CA of the bed's own.
pub struct Web {
    site: Arc<Site>,
    ca: String,
}

/// What the connections share.
#[derive(Default)]
pub(crate) struct Site {
    paths: Mutex<BTreeMap<String, Content>>,
    folders: Mutex<BTreeMap<String, PathBuf>>,
    faults: Mutex<BTreeMap<String, Fault>>,
    demands: Mutex<BTreeMap<String, Vec<String>>>,
    counts: Mutex<BTreeMap<String, Count>>,
    stopping: AtomicBool,
}

#[derive(Clone)]
enum Content {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl Web {
    pub(crate) fn start(network: &Path, bed: &Path) -> Result<Web> {
        let tls = Arc::new(certificate(&bed.join("tls"))?);
        let ca = fs::read_to_string(bed.join("tls/ca.pem"))?;
        let site = Arc::new(Site::default());
        for (port, tls) in [(80, None), (443, Some(tls))] {
            listen(network, port, tls, &site)?;
        }
        Ok(Web { site, ca })
    }

    /// The CA that signed the server's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// Serves bytes at a path; at `PUT /path` for requests by that method.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        lock(&self.site.paths).insert(path.to_owned(), Content::Bytes(bytes.as_ref().into()));
    }

    /// Answers a path with 403 to whoever does not send all of these headers (`name: value`, the name in lower case).
    pub fn demand(&self, path: &str, headers: &[String]) {
        lock(&self.site.demands).insert(path.to_owned(), headers.to_vec());
    }

    /// Serves a file at a path.
    pub fn put_file(&self, path: &str, file: &Path) {
        lock(&self.site.paths).insert(path.to_owned(), Content::File(file.to_owned()));
    }

    /// Serves everything in a folder below a path that ends in `/`.
    pub fn put_folder(&self, path: &str, folder: &Path) {
        lock(&self.site.folders).insert(path.to_owned(), folder.to_owned());
    }

    /// Breaks a path until [`Web::mend`].
    pub fn fault(&self, path: &str, fault: Fault) {
        lock(&self.site.faults).insert(path.to_owned(), fault);
    }

    /// Mends a path.
    pub fn mend(&self, path: &str) {
        lock(&self.site.faults).remove(path);
    }

    /// What was asked for at a path so far.
    pub fn count(&self, path: &str) -> Count {
        lock(&self.site.counts).get(path).copied().unwrap_or_default()
    }

    /// Every path that was asked for, with its counts.
    pub fn counts(&self) -> BTreeMap<String, Count> {
        lock(&self.site.counts).clone()
    }

    pub(crate) fn stop(&self) {
        self.site.stopping.store(true, Ordering::Relaxed);
    }
}

impl Site {
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn fault_at(&self, path: &str) -> Option<Fault> {
        lock(&self.faults).get(path).copied()
    }

    /// Whether a request with these headers is answered.
    pub(crate) fn allows(&self, path: &str, headers: &[String]) -> bool {
        let demands = lock(&self.demands);
        demands.get(path).into_iter().flatten().all(|demand| headers.contains(demand))
    }

    pub(crate) fn note(&self, path: &str, requests: u64, bytes: u64) {
        let mut counts = lock(&self.counts);
        let count = counts.entry(path.to_owned()).or_default();
        count.requests += requests;
        count.bytes += bytes;
    }

    /// The content of a path and its length, if there is any.
    pub(crate) fn open(&self, path: &str) -> Option<(Box<dyn http::Body>, u64)> {
        let content = lock(&self.paths).get(path).cloned().or_else(|| {
            let folders = lock(&self.folders);
            let (below, folder) =
                folders.iter().find_map(|(prefix, folder)| Some((path.strip_prefix(prefix)?, folder)))?;
            // apt writes `~` as `%7e`.
            let below = decoded(below);
            let outside = below.split('/').any(|part| part == "..");
            (!outside).then(|| Content::File(folder.join(below)))
        })?;
        match content {
            Content::Bytes(bytes) => {
                let length = bytes.len() as u64;
                Some((Box::new(Cursor::new(bytes)), length))
            }
            Content::File(file) => {
                let file = File::open(file).ok()?;
                let data = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
                Some((Box::new(BufReader::new(file)), data.len()))
            }
        }
    }
}

/// A path with its percent-encoded bytes as characters.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => text.push_str(&format!("{}{}", char::from(byte), &part[2..])),
            None => text.push_str(&format!("%{part}")),
        }
    }
    text
}

/// Listens inside the bed's network: a thread that has entered it binds the socket, and everything it starts is in it too.
fn listen(network: &Path, port: u16, tls: Option<Arc<ServerConfig>>, site: &Arc<Site>) -> Result<()> {
    let network = File::open(network)?;
    let site = Arc::clone(site);
    let (bound, result) = mpsc::channel::<Result<()>>();
    thread::spawn(move || {
        let listening = setns(&network, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from).and_then(|()| {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        drop(network);
        let listener = match listening {
            Ok(listener) => {
                bound.send(Ok(())).ok();
                listener
            }
            Err(error) => {
                bound.send(Err(anyhow!("port {port} in the bed: {error}"))).ok();
                return;
            }
        };
        while !site.stopping() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let (tls, site) = (tls.clone(), Arc::clone(&site));
                    // A connection that breaks is the client's affair.
                    thread::spawn(move || converse(stream, tls, &site).ok());
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    });
    result.recv().context("the web server's thread ended")?
}

fn converse(stream: TcpStream, tls: Option<Arc<ServerConfig>>, site: &Site) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    // Reading wakes up now and then, so that an idle connection does not outlive the bed.
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    match tls {
        None => http::serve(stream, site),
        Some(tls) => http::serve(StreamOwned::new(ServerConnection::new(tls)?, stream), site),
    }
}

/// A CA and a certificate for the bed's address, made by openssl; valid for as long as public ones, so that a wrong clock shows.
fn certificate(dir: &Path) -> Result<ServerConfig> {
    fs::create_dir(dir)?;
    let openssl = |words: &str| run::ok(Command::new("openssl").args(words.split(' ')).current_dir(dir)).map(drop);
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650";
    openssl(&format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=bowline-testbed-ca"))?;
    fs::write(
        dir.join("extensions"),
        format!("subjectAltName=IP:{GATEWAY},DNS:bed.test\nbasicConstraints=CA:FALSE\n"),
    )?;
    openssl(&format!("req {new} -keyout server.key -out server.csr -subj /CN=bed.test"))?;
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile extensions -out server.pem",
    )?;
    let chain = CertificateDer::pem_file_iter(dir.join("server.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_no_client_auth().with_single_cert(chain, key)?)
}

impl<T: Read + std::io::Seek + Send> http::Body for T {}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn encoded_characters_are_decoded_and_others_stay() {
        assert_eq!(decoded("b/bowline_0.1.1%7e1_amd64.deb"), "b/bowline_0.1.1~1_amd64.deb");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%2e%2E/x"), "../x");
    }
}
