//! How long Leases have stood still, by this issuer's own monotonic clock: no other clock is believed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// More names than these are forgotten, the longest unseen first: to forget is only to watch anew.
const MOST: usize = 4096;

/// What was seen of each Lease, and since when.
#[derive(Debug, Default)]
pub(crate) struct Leases(HashMap<String, Seen>);

#[derive(Debug)]
struct Seen {
    what: Option<String>,
    since: Instant,
    last: Instant,
}

impl Leases {
    /// Notes what a Lease says now (`None`: there is none), and tells for how long it has said so. A Lease that is
    /// renewed never says the same twice, so that nothing between two looks is missed.
    pub(crate) fn look(&mut self, name: &str, what: Option<String>, now: Instant) -> Duration {
        if self.0.len() >= MOST
            && !self.0.contains_key(name)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, seen)| seen.last).map(|(name, _)| name.clone())
        {
            self.0.remove(&oldest);
        }
        let seen = self.0.entry(name.to_owned()).or_insert_with(|| Seen { what: what.clone(), since: now, last: now });
        seen.last = now;
        if seen.what != what {
            (seen.what, seen.since) = (what, now);
        }
        now.saturating_duration_since(seen.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_moves_starts_anew_and_a_new_name_has_not_been_watched() {
        let (mut leases, begin) = (Leases::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(leases.look("a", Some("1".into()), at(0)), Duration::ZERO);
        assert_eq!(leases.look("a", Some("1".into()), at(20)), Duration::from_secs(20));
        assert_eq!(leases.look("a", Some("2".into()), at(21)), Duration::ZERO);
        assert_eq!(leases.look("a", None, at(30)), Duration::ZERO);
        assert_eq!(leases.look("a", None, at(31)), Duration::from_secs(1));
        assert_eq!(leases.look("b", None, at(31)), Duration::ZERO);
    }

    #[test]
    fn names_are_bounded() {
        let (mut leases, begin) = (Leases::default(), Instant::now());
        for number in 0..(MOST as u64 + 10) {
            leases.look(&number.to_string(), None, begin + Duration::from_millis(number));
        }
        assert_eq!(leases.0.len(), MOST);
    }
}
