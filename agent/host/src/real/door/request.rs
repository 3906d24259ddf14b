//! What a request has to look like before anybody is asked about it.

use super::{BODY, HEAD, PROOF, SIGNATURE};
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::TokioTimer;
use std::time::Duration;

/// The parts of a head that are used.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// One of the paths that are served.
    pub path: String,
    /// `Bowline-Proof`: 64 lower-case hex digits.
    pub proof: Option<String>,
    /// `Bowline-Signature`: 128 lower-case hex digits.
    pub signature: Option<String>,
}

/// How the bytes of a request are read: one of them, whose head comes within this time.
pub fn reader(within: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(within).max_buf_size(HEAD).keep_alive(false);
    builder
}

/// The head of a request, or the status that it is refused with. Its body has a length, of at most 16 KiB.
///
/// # Errors
/// The status.
pub fn head<B: Body>(request: &Request<B>, serves: impl Fn(&str) -> bool) -> Result<Head, StatusCode> {
    let headers = request.headers();
    let path = request.uri().path();
    if request.version() != Version::HTTP_11 {
        return Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }
    // With a query, or as a whole URL, it is not the path that was agreed on.
    if *request.uri() != *path || !serves(path) {
        return Err(StatusCode::NOT_FOUND);
    }
    if *request.method() != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    // Lengths that contradict each other are refused by hyper.
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(StatusCode::BAD_REQUEST);
    }
    if !headers.contains_key(CONTENT_LENGTH) {
        return Err(StatusCode::LENGTH_REQUIRED);
    }
    match request.body().size_hint().exact() {
        Some(length) if length <= BODY as u64 => {}
        Some(_) => return Err(StatusCode::PAYLOAD_TOO_LARGE),
        None => return Err(StatusCode::BAD_REQUEST),
    }
    let proof = hex(headers, PROOF, 64)?;
    let signature = hex(headers, SIGNATURE, 128)?;
    Ok(Head { path: path.to_owned(), proof, signature })
}

/// A header of so many lower-case hex digits, if it is there; only once.
fn hex(headers: &HeaderMap, name: &str, digits: usize) -> Result<Option<String>, StatusCode> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| StatusCode::BAD_REQUEST)?;
    let formed = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if values.next().is_some() || !formed {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_hex_and_there_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(hex(&headers, PROOF, 4), Ok(None));
        for (value, fine) in [("00af", true), ("00AF", false), ("00a", false), ("00afa", false), ("00a ", false)] {
            headers.insert(PROOF, value.parse().unwrap());
            assert_eq!(hex(&headers, PROOF, 4).is_ok(), fine, "{value}");
        }
        headers.insert(PROOF, "00af".parse().unwrap());
        headers.append(PROOF, "00af".parse().unwrap());
        assert_eq!(hex(&headers, PROOF, 4), Err(StatusCode::BAD_REQUEST), "twice the same is twice");
    }
}
