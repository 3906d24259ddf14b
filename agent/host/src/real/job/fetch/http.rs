//! A small HTTP client: one request a connection, redirections, deadlines, errors that say what to do.

use super::super::super::addresses;
use super::super::super::resolve::look_up;
use super::url::{Url, Web};
use super::{Limits, amount, clock_says, tls};
use bowline_ports::text::about;
use bowline_ports::{ErrorKind, PortError};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{DATE, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

const REDIRECTIONS: usize = 10;
/// What two clocks may differ without being mentioned.
const SKEW: Duration = Duration::from_secs(300);
const CHUNK: usize = 128 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Gets files, and notices wrong clocks.
#[derive(Debug)]
pub(crate) struct Client {
    ca_file: Option<PathBuf>,
    config: Option<Arc<ClientConfig>>,
    limits: Limits,
    skew: Option<String>,
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    source: Source,
    /// Its length, when the other side told.
    pub(crate) length: Option<u64>,
    /// Its address, for messages.
    pub(crate) shown: String,
    done: u64,
    stall: Duration,
}

#[derive(Debug)]
enum Source {
    Web { body: Incoming, host: String },
    File(File),
}

impl Client {
    pub(crate) fn new(ca_file: Option<PathBuf>, limits: Limits) -> Self {
        Self { ca_file, config: None, limits, skew: None }
    }

    /// How far the clocks are apart, when that is worth a word.
    pub(crate) fn skew(&self) -> Option<String> {
        self.skew.clone()
    }

    /// Asks for a file.
    pub(crate) async fn get(&mut self, url: &str) -> Result<Answer, PortError> {
        let mut web = match Url::parse(url)? {
            Url::Web(web) => web,
            Url::File(path) => return local(path, self.limits.stall),
        };
        let asked = Url::Web(web.clone()).shown();
        for _ in 0..=REDIRECTIONS {
            let response = self.request(&web).await?;
            self.compare_clocks(&web, &response);
            if let Some(further) = redirected(&asked, &web, &response)? {
                web = further;
                continue;
            }
            let body = response.into_body();
            let length = hyper::body::Body::size_hint(&body).exact();
            return Ok(Answer {
                source: Source::Web { body, host: web.host.clone() },
                length,
                shown: asked,
                done: 0,
                stall: self.limits.stall,
            });
        }
        Err(PortError::new(ErrorKind::Invalid, format!("{asked}: more than {REDIRECTIONS} redirections")))
    }

    async fn request(&mut self, web: &Web) -> Result<Response<Incoming>, PortError> {
        let connecting = self.limits.connect;
        let stream = match tokio::time::timeout(connecting, self.connect(web)).await {
            Ok(stream) => stream?,
            Err(_) => {
                return Err(PortError::new(
                    ErrorKind::Timeout,
                    format!("no connection to {} within {} s", web.authority(), connecting.as_secs()),
                )
                .hint("is there a route to it, or a firewall or proxy between?"));
            }
        };
        let broken = |error: &hyper::Error| {
            PortError::new(ErrorKind::Unreachable, format!("{}: the connection broke: {error}", web.shown()))
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        // It ends with the body, whose errors say all that its own would.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let request = Request::get(&web.path)
            .header(HOST, web.authority())
            .header(USER_AGENT, concat!("bowline/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|e| PortError::new(ErrorKind::Invalid, format!("{}: {e}", web.shown())))?;
        match tokio::time::timeout(self.limits.stall, sender.send_request(request)).await {
            Ok(response) => response.map_err(|e| broken(&e)),
            Err(_) => Err(PortError::new(
                ErrorKind::Timeout,
                format!("{}: no answer for {} s", web.shown(), self.limits.stall.as_secs()),
            )),
        }
    }

    async fn connect(&mut self, web: &Web) -> Result<Box<dyn Stream>, PortError> {
        let began = Instant::now();
        // First: a missing CA file should not be told as a network problem.
        let config = if web.tls { Some(self.config()?) } else { None };
        let host = &web.host;
        let addresses = look_up(host, web.port).await.map_err(|error| {
            PortError::new(ErrorKind::Unreachable, format!("the name {host} cannot be resolved: {error}"))
                .hint(format!("does DNS work here? Look with: getent ahosts {host}; cat /etc/resolv.conf"))
        })?;
        // What the name took is gone, and the rest is for all of them.
        let left = self.limits.connect.saturating_sub(began.elapsed());
        let stream = addresses::connect(addresses, left, TcpStream::connect).await.map_err(|cause| {
            PortError::new(ErrorKind::Unreachable, format!("no connection to {}: {cause}", web.authority()))
        })?;
        let Some(config) = config else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.clone())
            .map_err(|e| PortError::new(ErrorKind::Invalid, format!("{host}: not a name for TLS: {e}")))?;
        let connector = tokio_rustls::TlsConnector::from(config);
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(tls::failed(host, &error)),
        }
    }

    fn config(&mut self) -> Result<Arc<ClientConfig>, PortError> {
        match &self.config {
            Some(config) => Ok(Arc::clone(config)),
            None => {
                let config = tls::config(self.ca_file.as_deref())?;
                self.config = Some(Arc::clone(&config));
                Ok(config)
            }
        }
    }

    fn compare_clocks(&mut self, web: &Web, response: &Response<Incoming>) {
        let date = response.headers().get(DATE).and_then(|v| v.to_str().ok());
        let Some(theirs) = date.and_then(|d| httpdate::parse_http_date(d).ok()) else { return };
        let ours = SystemTime::now();
        let apart = ours.duration_since(theirs).unwrap_or_else(|e| e.duration());
        if apart > SKEW {
            let way = if ours > theirs { "ahead of" } else { "behind" };
            self.skew = Some(format!(
                "this machine's clock ({}) is {} {way} that of {}",
                clock_says(),
                about(apart.as_secs_f64()),
                web.host
            ));
        }
    }
}

/// Where an answer leads on; `None` when it is the file that was asked for (`asked` is that address for messages).
///
/// # Errors
/// Anything else, and a place that it may not lead to. Nothing behind a `?` is repeated: it may hold a signature.
pub fn redirected<B>(asked: &str, web: &Web, answer: &Response<B>) -> Result<Option<Web>, PortError> {
    let status = answer.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        let location = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok()).ok_or_else(|| {
            PortError::new(ErrorKind::Invalid, format!("{}: HTTP {status} without a location", web.shown()))
        })?;
        return web.redirected(location).map(Some);
    }
    if status != StatusCode::OK {
        return Err(refused(asked, web, status));
    }
    Ok(None)
}

fn refused(asked: &str, web: &Web, status: StatusCode) -> PortError {
    let via = if web.shown() == asked { String::new() } else { format!(" (by {})", web.host) };
    let error = PortError::new(ErrorKind::Invalid, format!("{asked}: HTTP {status}{via}"));
    match status.as_u16() {
        404 | 410 => error.hint("does that version exist there? Check `version` and `mirror` in the settings"),
        401 | 403 => error.hint("the server wants credentials, or does not serve this machine's address"),
        429 | 500..=599 => error.hint("the server has a problem of its own; it is tried again"),
        _ => error,
    }
}

fn local(path: PathBuf, stall: Duration) -> Result<Answer, PortError> {
    let what = || format!("reading {}", path.display());
    let file = File::open(&path).map_err(|e| PortError::io(what(), &e))?;
    let meta = file.metadata().map_err(|e| PortError::io(what(), &e))?;
    if !meta.is_file() {
        return Err(PortError::new(ErrorKind::Invalid, format!("{}: not a file", path.display())));
    }
    let shown = path.display().to_string();
    Ok(Answer { source: Source::File(file), length: Some(meta.len()), shown, done: 0, stall })
}

impl Answer {
    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, PortError> {
        let chunk = match &mut self.source {
            Source::File(file) => {
                let mut buffer = vec![0; CHUNK];
                let length =
                    file.read(&mut buffer).map_err(|e| PortError::io(format_args!("reading {}", self.shown), &e))?;
                buffer.truncate(length);
                (length > 0).then(|| Bytes::from(buffer))
            }
            Source::Web { body, host } => loop {
                match tokio::time::timeout(self.stall, body.frame()).await {
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => break Some(data),
                        // Trailers.
                        Err(_) => {}
                    },
                    Ok(Some(Err(error))) => return Err(cut_off(&self.shown, self.done, self.length, &error)),
                    Ok(None) => break None,
                    Err(_) => {
                        return Err(PortError::new(
                            ErrorKind::Timeout,
                            format!(
                                "{}: no data for {} s after {} from {host}",
                                self.shown,
                                self.stall.as_secs(),
                                amount(self.done, self.length)
                            ),
                        ));
                    }
                }
            },
        };
        match &chunk {
            Some(chunk) => self.done += chunk.len() as u64,
            None if self.length.is_some_and(|length| length != self.done) => {
                return Err(PortError::new(
                    ErrorKind::Invalid,
                    format!("{} ended after {}", self.shown, amount(self.done, self.length)),
                ));
            }
            None => {}
        }
        Ok(chunk)
    }
}

fn cut_off(shown: &str, done: u64, length: Option<u64>, error: &hyper::Error) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{shown} was cut off after {}: {error}", amount(done, length)))
        .hint("a truncated file is never installed; it is tried again")
}
