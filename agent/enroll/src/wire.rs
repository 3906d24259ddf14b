//! What is sent: JSON bodies, read with limits, without duplicate keys; requests without unknown fields.
//!
//! Every reader here takes bytes from the network and is total: it ends, in time and memory linear in the body's 16
//! KiB, with a value or a [`WireError`].

mod answer;
mod hash;
mod request;
mod unique;

pub use answer::{
    Agreed, Cut, EnrollAnswer, Grant, JoinHint, LeaveAnswer, NodeAnswer, Reason, RefusalBody, parse_enroll_answer,
    parse_leave_answer, parse_node_answer,
};
pub use hash::PasswordHash;
pub use request::{EnrollRequest, LeaveRequest, NodeRequest, Peek, Phase, Versions, peek};
pub use unique::Labels;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// The version of the bodies.
pub const VERSION: u32 = 1;
/// How many bytes a body has at most, requests and answers.
pub const MAX_BODY: usize = 16 * 1024;
/// How many labels a node may ask for.
pub const MAX_LABELS: usize = 64;
/// How many taints a node may ask for.
pub const MAX_TAINTS: usize = 32;
/// How many addresses a node may name.
pub const MAX_ADDRESSES: usize = 16;

/// Why a body is none: a sentence that repeats nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError(pub String);

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WireError {}

fn fits(body: &[u8]) -> Result<(), WireError> {
    if body.len() > MAX_BODY {
        return Err(WireError(format!("the body has {} bytes: at most {MAX_BODY} are read", body.len())));
    }
    // Serde takes a list for the fields in their order, too: there, no key would be a duplicate.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(WireError("the body is no JSON object".into()));
    }
    Ok(())
}

/// Reads a request. What is wrong may be repeated: nothing in it is secret.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    fits(body)?;
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let text: String =
            text.chars().map(|letter| if letter.is_control() { '·' } else { letter }).take(200).collect();
        WireError(format!("the body is not what version {VERSION} asks for: {text}"))
    })
}

/// Reads an answer, which may have a token in it: only the place of a mistake is told.
fn read_quietly<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    fits(body)?;
    // Of the fields that are read, serde sees to that itself.
    let each_once = serde_json::from_slice::<unique::EachOnce>(body);
    each_once.and_then(|_| serde_json::from_slice(body)).map_err(|error| {
        WireError(format!(
            "the answer is not what version {VERSION} says, at line {} column {}: do the servers run a newer Bowline?",
            error.line(),
            error.column()
        ))
    })
}

/// The bytes of a body. Nothing that is sent here can fail to be JSON; if it did, the body would be empty, and refused.
fn write<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

fn version(found: u32) -> Result<(), WireError> {
    if found == VERSION {
        return Ok(());
    }
    Err(WireError(format!("version {found} of the bodies is not known here: this Bowline speaks version {VERSION}")))
}
