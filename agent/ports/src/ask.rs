//! One exchange with a server node of the cluster, proven both ways (the enrolment contract, "One exchange").

use std::fmt;
use std::net::IpAddr;

/// The protocol that both ends demand of ALPN.
pub const ALPN: &[u8] = b"bowline/1";
/// The label of the TLS exporter (RFC 9266); no context, 32 bytes.
pub const CHANNEL_BINDING: &[u8] = b"EXPORTER-Channel-Binding";
/// The header with the proof, once in each request and answer: 64 lower-case hex digits.
pub const PROOF: &str = "bowline-proof";
/// The header with the machine key's signature, once in each request: 128 lower-case hex digits.
pub const SIGNATURE: &str = "bowline-signature";
/// How many bytes a body has at most, either way.
pub const BODY: usize = 16 << 10;

/// Makes and checks the proofs of exchanges. The host carries them and does not know the scheme.
///
/// `binding` is the channel binding of RFC 9266: 32 bytes that only the two ends of one TLS connection share.
pub trait Proofs: Send + Sync {
    /// The headers that prove a request with this body on this connection: names (lower case) and values.
    fn request(&self, binding: &[u8; 32], body: &[u8]) -> Vec<(&'static str, String)>;
    /// Whether `proof` (the header [`PROOF`]) proves an answer: this HTTP status and body, to this request's
    /// body, on this connection.
    fn answer(&self, binding: &[u8; 32], status: u16, request: &[u8], answer: &[u8], proof: &str) -> bool;
}

/// What is asked of whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Ask {
    /// `host:port`; IPv6 addresses in brackets.
    pub server: String,
    /// `/v1/enroll`.
    pub path: String,
    /// JSON of at most [`BODY`].
    pub body: Vec<u8>,
    /// The node's address: what the server knows it by, and its rules are for.
    pub from: Option<IpAddr>,
}

/// A proven answer; refusals are answers too.
#[derive(Clone, PartialEq, Eq)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// JSON of at most [`BODY`].
    pub body: Vec<u8>,
}

// Both bodies may hold secrets, so that only their sizes are shown.
impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({} of {}, {} bytes)", self.path, self.server, self.body.len())
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answered({}, {} bytes)", self.status, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_not_shown() {
        let ask = Ask { server: "a:7470".into(), path: "/v1/enroll".into(), body: b"secret".to_vec(), from: None };
        assert_eq!(format!("{ask:?}"), "Ask(/v1/enroll of a:7470, 6 bytes)");
        let answered = Answered { status: 200, body: b"K10secret".to_vec() };
        assert_eq!(format!("{answered:?}"), "Answered(200, 9 bytes)");
    }
}
