//! The cloud's metadata service: where it is, and how it is asked.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where every cloud that has a metadata service answers, by plain HTTP: an address that never leaves the machine's own
/// network.
pub const METADATA: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);

/// What is asked of it in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataAsk {
    /// A header without which it does not answer, where it wants one: its name (lower case) and value.
    pub header: Option<(&'static str, &'static str)>,
    /// How a token is had without which it does not answer, where it wants one.
    pub token: Option<MetadataToken>,
    /// The paths, with their queries.
    pub paths: Vec<String>,
}

/// A token that is asked for by `PUT`, and stands in a header of every other request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataToken {
    /// Its path.
    pub path: &'static str,
    /// The header that says for how long it is wanted, in seconds.
    pub lifetime: (&'static str, &'static str),
    /// The header that carries it.
    pub header: &'static str,
}

/// An answer; that something is not there is one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataAnswer {
    /// HTTP status.
    pub status: u16,
    /// At most 64 KiB of text.
    pub body: String,
}
