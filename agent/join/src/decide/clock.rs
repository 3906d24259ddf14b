//! The clock of this machine beside those of the servers: K3s's certificates and tokens are made by theirs.

use crate::Action;
use crate::facts::Facts;
use crate::files::{ASK_TIME, SKEW};
use bowline_engine::{Plan, Wait};
use bowline_ports::condition;
use bowline_ports::text::about;
use std::time::Duration;

const ITEM: &str = "join/clock";
pub(super) const THEIR_CLOCK: &str = "the servers' clock may have been set meanwhile";
/// For so long a server is named whose clock was found to be another one: nobody asks only to see whether it is right by now.
const NAMED: Duration = Duration::from_secs(600);

/// A clock that is not the servers', or a server whose clock is not the others'.
pub(super) fn plan(facts: &Facts, address: &str, plan: &mut Plan<Action>) {
    if !is_off(facts) {
        return odd(facts, address, plan);
    }
    let off = apart(facts.ahead);
    let skew = format!("it is {off} that of the servers");
    plan.state(condition::SKEW, skew.clone());
    let set = "set the clock (`timedatectl set-ntp true`, or `date`)";
    let hint = match (facts.synchronised, facts.told_by.as_str()) {
        (false, _) | (true, "") => set.to_owned(),
        (true, by) => format!(
            "a time service keeps the clock of this machine, so that of {by} may be the wrong one: compare `timedatectl` on \
             both machines, and set the wrong one right"
        ),
    };
    plan.waits.push(
        Wait::new(
            ITEM,
            "the clock of this machine to be right",
            format!("{skew}, and so not in their certificates' time"),
        )
        .deadline(Duration::from_secs(60), hint)
        .poll(Duration::from_secs(2)),
    );
}

/// Names the servers whose clock is another one, where that of the one which was believed is this machine's.
fn odd(facts: &Facts, address: &str, plan: &mut Plan<Action>) {
    let lately = facts.heard.is_some_and(|at| facts.uptime.saturating_sub(at) < NAMED.as_secs());
    // A server's own issuer has its clock, right or wrong.
    let other = host(&facts.told_by) != address;
    for odd in facts.odd.iter().filter(|_| lately && other) {
        let (server, off, by) = (&odd.server, apart(odd.ahead), &facts.told_by);
        plan.note(
            ITEM,
            format!(
                "the clock of {server} is {off} that of {by} and of this machine: see why (`timedatectl` on {}), and set it right",
                host(server)
            ),
        );
    }
}

/// `10 min behind`.
fn apart(ahead: i64) -> String {
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    format!("{} {way}", about(ahead.unsigned_abs() as f64))
}

/// What is before the port.
fn host(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']'])
}

/// Whether this machine's clock is not the servers', by what they said last.
pub(super) fn is_off(facts: &Facts) -> bool {
    facts.ahead.unsigned_abs() > SKEW
}

/// Whether the servers are to be asked for the time again: theirs may have been the wrong one, and right since.
pub(super) fn asks_time(facts: &Facts) -> bool {
    is_off(facts) && is_old(facts, facts.ask_time.max(*ASK_TIME.start()))
}

/// Whether what they said of the time says nothing any more, where nobody asks them for it.
pub(super) fn is_past(facts: &Facts) -> bool {
    is_off(facts) && is_old(facts, *ASK_TIME.start())
}

/// Whether they have said nothing for so many seconds.
fn is_old(facts: &Facts, seconds: u64) -> bool {
    let long_ago = |at: Option<u64>| at.is_none_or(|at| facts.uptime.saturating_sub(at) >= seconds);
    long_ago(facts.heard) && long_ago(facts.said.as_ref().map(|said| said.at))
}
