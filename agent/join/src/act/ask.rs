//! Whom of the servers to believe, when they are asked one after the other.

use crate::exchange::Exchange;
use crate::files::{Last, SERVERS_CLOCK, Told};
use crate::why::{Unanswered, Why};
use bowline_enroll::Code;
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::RefusalBody;
use bowline_ports::{Answered, Ask, Change, Clock, ErrorKind, PortError, read_json, write_json};
use serde::Deserialize;
use std::net::IpAddr;

/// A proven answer.
pub(super) struct Heard {
    /// Who gave it, `ADDRESS:PORT`.
    pub(super) by: String,
    pub(super) answer: Answered,
    /// What its clock says; a refusal is none to tell the time by.
    pub(super) told: Option<Told>,
}

/// What there is of the time in every answer that gives something.
#[derive(Deserialize)]
struct Time {
    now: u64,
}

/// What is given by a clock that is not this machine's.
const BY_ANOTHER_CLOCK: u8 = 3;

/// The first proven answer, with who gave it; or why there is none. That of a server which cannot decide just now, or which
/// refuses by what it has alone (its rules, its release, its key), or which gives something by another clock than this machine has,
/// counts only when no other one gives a better one. So one server with a wrong clock keeps nobody out, and where all are against
/// this machine's, it is this one's that is wrong.
pub(super) async fn ask(
    host: &dyn Change,
    issuers: &[String],
    body: Vec<u8>,
    exchange: &Exchange,
    from: Option<IpAddr>,
) -> Result<Result<Heard, Last>, PortError> {
    let mut silent = Vec::new();
    let mut code = Why::NO_ANSWER;
    let mut passed: Option<(u8, Heard)> = None;
    let mut others: Vec<Told> = Vec::new();
    for server in issuers {
        let ask = Ask { server: server.clone(), path: exchange.purpose.path().into(), body: body.clone(), from };
        match host.ask(&ask, exchange).await {
            Ok(answer) => {
                let clock = host.clock().await?;
                let mut told = told(server, &answer, &clock);
                let other = told.as_ref().filter(|told| told.is_off(&clock));
                let weight = if other.is_some() { Some(BY_ANOTHER_CLOCK) } else { passes_by(&answer) };
                let before = passed.as_ref().map_or(0, |(before, _)| *before);
                others.extend(other.cloned());
                if let Some(right) = told.as_mut().filter(|_| weight.is_none()) {
                    right.odd = others.iter().map(|other| other.odd(right)).collect();
                }
                let heard = Heard { by: server.clone(), answer, told };
                match weight {
                    // What a server has given stands, whatever the next one refuses.
                    None if before < BY_ANOTHER_CLOCK || heard.told.is_some() => return Ok(Ok(heard)),
                    // Unless it may have ended that token on its way to another one: then it is asked for again at once.
                    None if exchange.purpose == Purpose::Enroll && has_begun(&heard.answer) => {
                        passed = Some((BY_ANOTHER_CLOCK, heard));
                    }
                    // Of several that give, the last one: its token ended those before it.
                    Some(weight) if before < weight || weight == BY_ANOTHER_CLOCK => passed = Some((weight, heard)),
                    _ => {}
                }
            }
            Err(error) => {
                // Somebody is there, be it one with another key: that is no silence, and nothing is concluded from it.
                match error.kind {
                    ErrorKind::Denied => code = Why::Unanswered(Unanswered::NotProven),
                    ErrorKind::Busy if code != Why::Unanswered(Unanswered::NotProven) => {
                        code = Why::Unanswered(Unanswered::Late);
                    }
                    ErrorKind::NotFound if code == Why::NO_ANSWER => code = Why::Unanswered(Unanswered::Nameless),
                    // What fails on this machine tells nothing of the server.
                    ErrorKind::Other if code == Why::NO_ANSWER => code = Why::Unanswered(Unanswered::NoWay),
                    _ => {}
                }
                silent.push(error.message);
            }
        }
    }
    if let Some((_, heard)) = passed {
        return Ok(Ok(heard));
    }
    let message = silent.join("; ");
    Ok(Err(Last { code, message, at: 0, again: 1, silent_since: None, asked: Vec::new() }))
}

/// What a server that gives something says of the time.
fn told(by: &str, answer: &Answered, clock: &Clock) -> Option<Told> {
    let time: Time = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)?;
    Some(Told { unix: time.now, uptime: clock.uptime, by: by.into(), ..Told::default() })
}

/// Keeps that.
pub(super) async fn keep_time(host: &dyn Change, told: Option<Told>) -> Result<(), PortError> {
    match told {
        Some(told) => {
            let before: Option<Told> = read_json(host, SERVERS_CLOCK).await?;
            write_json(host, SERVERS_CLOCK, &told.after(before.as_ref()), 0o600).await
        }
        None => Ok(()),
    }
}

/// Whether a server refuses which has begun to let the machine in, and may have ended an earlier token.
fn has_begun(answer: &Answered) -> bool {
    let refusal: Option<RefusalBody> = serde_json::from_slice(&answer.body).ok();
    refusal.is_some_and(|refusal| {
        refusal.code == Code::NotReady && refusal.retry_after.is_some() && !refusal.is_elsewhere()
    })
}

/// Whether another server may answer otherwise: 1 where this one cannot decide just now, 2 where what a person set on it stands
/// in the way, which may be behind the others', or it is newer than this machine and the others, and refuses for a reason of its own.
fn passes_by(answer: &Answered) -> Option<u8> {
    let refusal: RefusalBody = serde_json::from_slice(&answer.body).ok()?;
    match refusal.code {
        Code::NotReady if refusal.is_elsewhere() => Some(1),
        Code::OutsideRules | Code::BadRequest | Code::Revoked | Code::Other(_) => Some(2),
        _ => None,
    }
    .filter(|_| match refusal.code {
        Code::Other(_) => answer.status != 200,
        code => answer.status == code.status(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_by_what_it_has_alone_is_passed_by() {
        let weight = |status, code: &str, retry: Option<u64>| {
            let body = serde_json::json!({ "version": 1, "code": code, "message": "", "retry-after": retry, "now": 1 });
            passes_by(&Answered { status, body: body.to_string().into_bytes() })
        };
        assert_eq!([weight(503, "not-ready", Some(30)), weight(503, "not-ready", Some(1))], [Some(1), None]);
        assert_eq!([weight(403, "outside-rules", None), weight(409, "outside-rules", None)], [Some(2), None]);
        assert_eq!([weight(409, "node-is-alive", Some(5)), weight(409, "not-claimed", None)], [None, None]);
        // A newer one's reason: whatever its status is, an older server may let it in.
        assert_eq!([weight(409, "in-quarantine", None), weight(503, "in-quarantine", Some(5))], [Some(2), Some(2)]);
        assert_eq!(weight(200, "in-quarantine", None), None);
    }
}
