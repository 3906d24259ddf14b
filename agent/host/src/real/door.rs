//! The door between a joining machine and the servers of its cluster: one proven exchange over TLS.
//!
//! The enrolment contract ("One exchange", "Limits") says what goes over the wire. Here is the transport only: both
//! ends compute the same channel binding of the connection and hand it to whoever makes and checks the proofs. No
//! certificate is trusted, so that without a proof nothing that was heard may be used.
//!
//! - `client`: asks. - `server`: listens; `request`: what a request has to look like.
//! - `delays`: how long a wrong proof waits for its answer. - `counters`: how connections ended.
//! - `meter`: what a connection may send.
//! - `tls`, `certificate`: TLS with nothing left to choose.

mod certificate;
pub(crate) mod client;
mod counters;
mod delays;
mod meter;
mod request;
mod server;
mod tls;

use bowline_ports::ask::{BODY, PROOF, SIGNATURE};
pub use client::{answer, ask_over, handshake};
pub use counters::Counters;
pub use request::{Head, head, reader};
pub use server::{Answerer, Asked, Door, Held, Limits, Reply, listen};

/// What a head may have at most, in bytes.
const HEAD: usize = 16 << 10;

#[cfg(test)]
mod tests;
