//! As much of HTTP/1.1 as curl, apt and Bowline speak: GET, HEAD and PUT without a body, ranges, several requests a connection, and
//! faults.

use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::web::{Fault, Site};

/// What can be sent from any offset.
pub(crate) trait Body: Read + Seek + Send {}

/// The longest head of a request that anybody sends.
const HEAD: usize = 64 * 1024;
/// An idle connection is closed after this time.
const IDLE: Duration = Duration::from_secs(60);

struct Request {
    head_only: bool,
    path: String,
    from: Option<u64>,
    close: bool,
    /// `name: value`, the name in lower case.
    headers: Vec<String>,
}

/// Answers the requests of one connection.
pub(crate) fn serve(mut stream: impl Read + Write, site: &Site) -> Result<()> {
    let mut unread = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut unread, site)? {
        let Some(request) = parse(&head) else {
            return Ok(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?);
        };
        site.note(&request.path, 1, 0);
        let fault = site.fault_at(&request.path);
        answer(&mut stream, site, &request, fault)?;
        stream.flush()?;
        if request.close {
            break;
        }
    }
    Ok(())
}

fn answer(stream: &mut (impl Read + Write), site: &Site, request: &Request, fault: Option<Fault>) -> Result<()> {
    if let Some(Fault::Status(code)) = fault {
        return empty(stream, code);
    }
    if !site.allows(&request.path, &request.headers) {
        return empty(stream, 403);
    }
    let Some((mut body, length)) = site.open(&request.path) else {
        return empty(stream, 404);
    };
    let from = request.from.unwrap_or(0);
    if from > 0 && from >= length {
        return empty(stream, 416);
    }
    let (code, range) = match request.from {
        Some(from) => (206, format!("Content-Range: bytes {from}-{}/{length}\r\n", length.saturating_sub(1))),
        None => (200, String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {code} {}\r\nAccept-Ranges: bytes\r\n{range}Content-Length: {}\r\n\r\n",
        reason(code),
        length - from
    )?;
    if request.head_only {
        return Ok(());
    }
    body.seek(SeekFrom::Start(from))?;
    send(stream, site, &request.path, &mut *body, fault)
}

fn send(stream: &mut impl Write, site: &Site, path: &str, body: &mut dyn Body, fault: Option<Fault>) -> Result<()> {
    let started = Instant::now();
    let mut chunk = vec![0; 64 * 1024];
    let mut sent = 0_u64;
    loop {
        let room = match fault {
            Some(Fault::Truncated(limit) | Fault::Hang(limit)) => limit - sent,
            // Twenty pieces a second.
            Some(Fault::Slow(rate)) => (rate / 20).max(1),
            _ => chunk.len() as u64,
        };
        let room = usize::try_from(room.min(chunk.len() as u64))?;
        if room == 0 {
            stream.flush()?;
            while matches!(fault, Some(Fault::Hang(_))) && !site.stopping() && site.fault_at(path) == fault {
                thread::sleep(Duration::from_millis(50));
            }
            bail!("cut short as ordered");
        }
        let n = body.read(&mut chunk[..room])?;
        if n == 0 {
            return Ok(());
        }
        if sent == 0 && fault == Some(Fault::Corrupt) {
            chunk[0] ^= 0xff;
        }
        stream.write_all(&chunk[..n])?;
        sent += n as u64;
        site.note(path, 0, n as u64);
        if let Some(Fault::Slow(rate)) = fault {
            stream.flush()?;
            let due = Duration::from_millis(sent * 1000 / rate.max(1));
            while started.elapsed() < due && !site.stopping() {
                thread::sleep(Duration::from_millis(10));
            }
        }
        if site.stopping() {
            bail!("the bed ends");
        }
    }
}

fn empty(stream: &mut impl Write, code: u16) -> Result<()> {
    Ok(write!(stream, "HTTP/1.1 {code} {}\r\nContent-Length: 0\r\n\r\n", reason(code))?)
}

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        206 => "Partial Content",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        503 => "Service Unavailable",
        _ => "As Ordered",
    }
}

/// The next request's head; `None` when the client has closed the connection, or the bed ends.
fn read_head(stream: &mut impl Read, unread: &mut Vec<u8>, site: &Site) -> Result<Option<String>> {
    let idle = Instant::now();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = unread.split_off(end + 4);
            let head = std::mem::replace(unread, rest);
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if unread.len() > HEAD {
            bail!("too long a request");
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(n) => unread.extend_from_slice(&chunk[..n]),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                if site.stopping() || idle.elapsed() > IDLE {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn parse(head: &str) -> Option<Request> {
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (head_only, mark) = match words.next()? {
        "GET" => (false, ""),
        "HEAD" => (true, ""),
        "PUT" => (false, "PUT "),
        _ => return None,
    };
    let target = words.next()?;
    let path = format!("{mark}{}", target.split('?').next()?);
    let close = words.next() == Some("HTTP/1.0");
    let mut request = Request { head_only, path, from: None, close, headers: Vec::new() };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("range", value) => request.from = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok(),
            ("connection", value) => request.close |= value.eq_ignore_ascii_case("close"),
            (name, value) => request.headers.push(format!("{name}: {value}")),
        }
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_range() {
        let request = parse("GET /a%2Bb?x=1 HTTP/1.1\r\nHost: h\r\nRange: bytes=5-\r\n\r\n").unwrap();
        assert_eq!(
            (request.path.as_str(), request.from, request.head_only, request.close),
            ("/a%2Bb", Some(5), false, false)
        );
        assert!(parse("POST / HTTP/1.1\r\n\r\n").is_none());
        let put = parse("PUT /token HTTP/1.1\r\nX-Ttl:  60\r\n\r\n").unwrap();
        assert_eq!((put.path.as_str(), put.headers.as_slice()), ("PUT /token", &["x-ttl: 60".to_string()][..]));
    }
}
