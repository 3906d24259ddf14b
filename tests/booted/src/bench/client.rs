//! Scrapes as Prometheus does: one connection that is kept, OpenMetrics preferred, gzip taken.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// As Prometheus 2.53 asks.
const HEADERS: &str = "User-Agent: Prometheus/2.53.0\r\n\
    Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n\
    Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n";
const LIMIT: Duration = Duration::from_secs(10);

/// One who scrapes one target.
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// What one scrape was.
pub(crate) struct Scrape {
    /// From the first byte of the request to the last of the answer.
    pub(crate) seconds: f64,
    /// The body as it came.
    pub(crate) body: Vec<u8>,
    /// Whether that is compressed.
    pub(crate) gzip: bool,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Scrapes. To connect is no part of the time, since it is done once in many scrapes.
    pub(crate) fn scrape(&mut self) -> Result<Scrape> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, LIMIT)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(LIMIT))?;
                BufReader::new(stream)
            }
        };
        let begun = Instant::now();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n{HEADERS}", self.address);
        connection.get_mut().write_all(request.as_bytes())?;
        let answer = answer(&mut connection).with_context(|| format!("the answer of {}", self.address))?;
        let seconds = begun.elapsed().as_secs_f64();
        if !answer.last {
            self.connection = Some(connection);
        }
        Ok(Scrape { seconds, body: answer.body, gzip: answer.gzip })
    }
}

struct Answer {
    body: Vec<u8>,
    gzip: bool,
    /// The connection ends with it.
    last: bool,
}

fn answer(from: &mut impl BufRead) -> Result<Answer> {
    let status = line(from)?;
    ensure!(status.starts_with("HTTP/1.1 200 "), "{status:?}");
    let (mut length, mut chunked, mut gzip, mut last) = (None, false, false, false);
    loop {
        let header = line(from)?;
        let Some((name, value)) = header.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.parse::<usize>()?),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "content-encoding" => gzip = value.eq_ignore_ascii_case("gzip"),
            "connection" => last = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => piece(from, length, &mut body)?,
        None if chunked => loop {
            let length = usize::from_str_radix(&line(from)?, 16)?;
            piece(from, length, &mut body)?;
            ensure!(line(from)?.is_empty(), "a chunk is longer than it said");
            if length == 0 {
                break;
            }
        },
        None => bail!("neither a length nor chunks"),
    }
    Ok(Answer { body, gzip, last })
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    ensure!(line.ends_with("\r\n"), "cut off at {line:?}");
    line.truncate(line.len() - 2);
    Ok(line)
}

fn piece(from: &mut impl BufRead, length: usize, into: &mut Vec<u8>) -> Result<()> {
    let whole = into.len() + length;
    from.take(length as u64).read_to_end(into)?;
    ensure!(into.len() == whole, "cut off {} bytes early", whole - into.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_a_length_and_in_chunks() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Encoding: gzip\r\n\r\nhello\
                    HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n\
                    b\r\n, you there\r\n0\r\n\r\n";
        let mut from = text.as_bytes();
        let one = answer(&mut from).unwrap();
        assert_eq!((one.body.as_slice(), one.gzip, one.last), (&b"hello"[..], true, false));
        let two = answer(&mut from).unwrap();
        assert_eq!((two.body.as_slice(), two.gzip, two.last), (&b"hello, you there"[..], false, true));
        assert!(from.is_empty());
    }

    #[test]
    fn what_is_no_whole_answer_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            assert!(answer(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
