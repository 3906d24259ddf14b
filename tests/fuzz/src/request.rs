//! Bodies of requests: what an issuer reads of whoever asks. The first byte says which request it is.

use crate::{choice, has_each_key_once};
use bowline_enroll::wire::{
    EnrollRequest, LeaveRequest, MAX_ADDRESSES, MAX_BODY, MAX_LABELS, MAX_TAINTS, NodeRequest, WireError, peek,
};
use bowline_enroll::{NodeName, Role};

/// Whether it is a request.
pub fn check(data: &[u8]) -> bool {
    let Some((kind, body)) = choice(data, 3) else { return false };
    match kind {
        0 => both_ways(body, EnrollRequest::parse, EnrollRequest::to_body, |request| {
            assert!((1..=MAX_ADDRESSES).contains(&request.addresses.len()));
            assert!(request.labels.0.len() <= MAX_LABELS && request.taints.len() <= MAX_TAINTS);
            (request.role, &request.name)
        }),
        1 => both_ways(body, NodeRequest::parse, NodeRequest::to_body, |request| {
            assert!(request.labels.0.len() <= MAX_LABELS && request.taints.len() <= MAX_TAINTS);
            (request.role, &request.name)
        }),
        _ => both_ways(body, LeaveRequest::parse, LeaveRequest::to_body, |request| (request.role, &request.name)),
    }
}

fn both_ways<T: PartialEq + std::fmt::Debug>(
    body: &[u8],
    parse: fn(&[u8]) -> Result<T, WireError>,
    write: fn(&T) -> Vec<u8>,
    who: fn(&T) -> (Role, &NodeName),
) -> bool {
    let peeked = peek(body);
    let request = match parse(body) {
        Ok(request) => request,
        Err(WireError(why)) => {
            assert!(!why.is_empty() && why.len() < 1200, "{} bytes of reason", why.len());
            assert!(!why.chars().any(char::is_control), "{why:?}");
            return false;
        }
    };
    assert!(body.len() <= MAX_BODY);
    assert!(has_each_key_once(body), "a key stands there twice");
    let (role, name) = who(&request);
    assert!(!name.as_str().contains(':') && name.as_str().len() <= 63, "{name}");
    // The proof is checked for whom the first look saw.
    let peeked = peeked.expect("what is a request has a role and a name");
    assert_eq!((peeked.role, &peeked.name), (role, name));
    // What was left out is written out: that may take a few bytes more than are read.
    let written = write(&request);
    if written.len() <= MAX_BODY {
        assert_eq!(parse(&written).as_ref(), Ok(&request));
    }
    true
}
