//! The cloud's metadata service: short requests by plain HTTP to one address of the machine's own network. No name is
//! resolved, no proxy asked, no redirection followed.

use super::blocking::within;
use crate::pace::Pace;
use bowline_ports::{ErrorKind, METADATA, MetadataAnswer, MetadataAsk, PortError};
use futures::future::try_join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// It is one hop away, or not there at all.
const CONNECT: Duration = Duration::from_secs(1);
/// For everything that is asked in one go: a look takes no longer for it.
const TOTAL: Duration = Duration::from_secs(2);
/// The largest answer.
const BODY: usize = 64 << 10;
/// What the head of an answer may take in memory.
const HEAD: usize = 16 << 10;

type Headers = Vec<(&'static str, String)>;

/// The service.
#[derive(Debug)]
pub(crate) struct Service {
    at: SocketAddr,
    total: Duration,
    pace: Pace,
}

impl Default for Service {
    fn default() -> Self {
        Self::at(METADATA.into())
    }
}

impl Service {
    /// A service that answers somewhere else.
    pub(crate) fn at(at: SocketAddr) -> Self {
        Self { at, total: TOTAL, pace: Pace::default() }
    }

    pub(crate) async fn ask(&self, ask: &MetadataAsk) -> Result<Vec<MetadataAnswer>, PortError> {
        self.pace.ask(ask, |ask| within(self.at.ip(), self.total, self.now(ask))).await
    }

    async fn now(&self, ask: MetadataAsk) -> Result<Vec<MetadataAnswer>, PortError> {
        let mut headers: Headers = ask.header.map(|(name, value)| (name, value.to_owned())).into_iter().collect();
        if let Some(token) = ask.token {
            let (name, seconds) = token.lifetime;
            let answer = self.request(Method::PUT, token.path, &vec![(name, seconds.to_owned())]).await?;
            if answer.status != 200 {
                return Err(self.broken(ErrorKind::Invalid, format_args!("HTTP {} for a token", answer.status)));
            }
            headers.push((token.header, answer.body.trim().to_owned()));
        }
        try_join_all(ask.paths.iter().map(|path| self.request(Method::GET, path, &headers))).await
    }

    async fn request(&self, method: Method, path: &str, headers: &Headers) -> Result<MetadataAnswer, PortError> {
        let unreachable = |cause: &dyn Display| self.broken(ErrorKind::Unreachable, cause);
        let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(self.at)).await {
            Ok(stream) => stream.map_err(|error| unreachable(&format_args!("no connection: {error}")))?,
            Err(_) => return Err(self.broken(ErrorKind::Timeout, "no connection within 1 s")),
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        // Ends with this call, however that ends.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(HOST, self.at.ip().to_string())
            .header(CONNECTION, "close");
        if method == Method::PUT {
            request = request.header(CONTENT_LENGTH, 0);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| self.broken(ErrorKind::Invalid, &error))?;
        let answer = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), BODY).collect().await;
        let body = body.map_err(|error| self.broken(ErrorKind::Invalid, format_args!("{path}: {error}")))?.to_bytes();
        Ok(MetadataAnswer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn broken(&self, kind: ErrorKind, cause: impl Display) -> PortError {
        PortError::new(kind, format!("{}: {cause}", self.at.ip()))
    }
}

#[cfg(test)]
mod tests;
