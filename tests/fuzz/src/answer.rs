//! Bodies of answers: what a joiner reads of an issuer, with a token in it. The first byte says which answer it is.

use crate::{choice, has_each_key_once, is_hex, shape};
use bowline_enroll::wire::{
    EnrollAnswer, LeaveAnswer, MAX_BODY, NodeAnswer, WireError, parse_enroll_answer, parse_leave_answer,
    parse_node_answer,
};
use std::sync::LazyLock;

/// Whether it is an answer.
pub fn check(data: &[u8]) -> bool {
    let Some((kind, body)) = choice(data, 6) else { return false };
    let status = if kind % 2 == 0 { 200 } else { 409 };
    let taken = match kind / 2 {
        0 => parse_enroll_answer(status, body).map(|answer| match &answer {
            EnrollAnswer::Granted(grant) => {
                let hash = grant.ca_hash().expect("a token without the cluster's CA is refused");
                assert!(is_hex(hash, 64));
                let written = grant.to_body();
                assert!(written.len() > MAX_BODY || parse_enroll_answer(200, &written) == Ok(answer));
            }
            EnrollAnswer::Refused(refusal) => assert_eq!(refusal.refusal().code, refusal.code),
        }),
        1 => parse_node_answer(status, body).map(|answer| {
            let written = answer.as_ref().ok().map(NodeAnswer::to_body).filter(|written| written.len() <= MAX_BODY);
            assert!(written.is_none_or(|written| parse_node_answer(200, &written) == Ok(answer)));
        }),
        _ => parse_leave_answer(status, body).map(|answer| {
            let written = answer.as_ref().ok().map(LeaveAnswer::to_body);
            assert!(written.is_none_or(|written| parse_leave_answer(200, &written) == Ok(answer)));
        }),
    };
    match taken {
        Ok(()) => {
            assert!(body.len() <= MAX_BODY && has_each_key_once(body), "a key stands there twice");
            true
        }
        // An answer may have a token in it: nothing of it is ever said.
        Err(WireError(why)) => {
            assert!(REASONS.contains(&shape(&why)), "it says more than it should: {why}");
            false
        }
    }
}

/// All reasons why something is no answer, without their numbers.
static REASONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut grant = include_str!("../corpus/answer/good-grant").replace("K10", "K20");
    grant.remove(0);
    let bodies = [&b"[]"[..], b"{}", &[b' '; MAX_BODY + 1], br#"{"version":2}"#, grant.as_bytes()];
    let why = |(kind, body): (usize, &[u8])| match kind {
        0 => parse_enroll_answer(200, body).map(drop),
        _ => parse_leave_answer(200, body).map(drop),
    };
    let all = (0..2).flat_map(|kind| bodies.map(|body| (kind, body)));
    all.filter_map(|one| why(one).err()).map(|WireError(why)| shape(&why)).collect()
});
