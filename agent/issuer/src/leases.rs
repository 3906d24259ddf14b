//! How long Leases have stood still, by this issuer's own monotonic clock: no other clock is believed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// More names than these are forgotten, the longest unseen first: to forget is only to watch anew.
const MOST: usize = 4096;

/// Of two looks that are further apart, so much counts as watched: a kubelet that could not renew its Lease for a moment,
/// since the API did not answer, must not count as gone.
const CLOSELY: Duration = Duration::from_secs(5);

/// Some node renews its Lease within this, as long as any lives.
const RENEWED_WITHIN: Duration = Duration::from_secs(60);

/// For how long a Lease has stood still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Still {
    /// Since it was first seen as it is.
    pub(crate) since: Duration,
    /// Of that, what was watched closely.
    pub(crate) watched: Duration,
}

/// What is remembered of Leases from sweep to sweep.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// What was seen of each, and since when.
    seen: HashMap<String, Seen>,
    /// Whose Nodes are due to be removed, and since when.
    due: HashMap<String, Instant>,
    /// When any was renewed last, by the clock of whoever did, in seconds since 1970.
    newest: Option<u64>,
    /// A time that most other servers have reached.
    others: Option<u64>,
    /// The journal knows that this server's clock is behind.
    behind: bool,
}

#[derive(Debug)]
struct Seen {
    what: Option<String>,
    since: Instant,
    last: Instant,
    watched: Duration,
}

impl Leases {
    /// Notes what a Lease says now (`None`: there is none), and tells for how long it has said so. A Lease that is
    /// renewed never says the same twice, so that nothing between two looks is missed.
    pub(crate) fn look(&mut self, name: &str, what: Option<String>, now: Instant) -> Still {
        if self.seen.len() >= MOST
            && !self.seen.contains_key(name)
            && let Some(oldest) = self.seen.iter().min_by_key(|(_, seen)| seen.last).map(|(name, _)| name.clone())
        {
            self.seen.remove(&oldest);
        }
        let first = || Seen { what: what.clone(), since: now, last: now, watched: Duration::ZERO };
        let seen = self.seen.entry(name.to_owned()).or_insert_with(first);
        seen.watched += now.saturating_duration_since(seen.last).min(CLOSELY);
        seen.last = now;
        if seen.what != what {
            (seen.what, seen.since, seen.watched) = (what, now, Duration::ZERO);
        }
        Still { since: now.saturating_duration_since(seen.since), watched: seen.watched }
    }

    /// Notes when any Lease was renewed last, in seconds since 1970, and when those of the other servers were.
    pub(crate) fn renewed(&mut self, newest: Option<u64>, mut servers: Vec<u64>) {
        self.newest = newest;
        servers.sort_unstable();
        self.others = servers.get(servers.len().saturating_sub(1) / 2).copied();
    }

    /// The time, no later than the clocks of all nodes have it: they renew their Leases several times a minute.
    pub(crate) fn no_later(&self, unix: u64) -> u64 {
        self.newest.map_or(unix, |newest| unix.min(newest.saturating_add(RENEWED_WITHIN.as_secs())))
    }

    /// Whether this time is one that most of the other servers have left behind: the clock that says so is slow, whatever a time
    /// service said of it, as after a pause of its machine. Of agents nothing is believed: each writes its own Lease.
    pub(crate) fn is_past(&self, unix: u64) -> bool {
        self.others.is_some_and(|others| others > unix.saturating_add(RENEWED_WITHIN.as_secs()))
    }

    /// By how many seconds the clock that says `unix` is behind, when that is news; 0: not any more.
    pub(crate) fn news_of_being_behind(&mut self, unix: u64) -> Option<u64> {
        let behind = self.is_past(unix);
        (std::mem::replace(&mut self.behind, behind) != behind)
            .then(|| if behind { self.others.unwrap_or(unix).saturating_sub(unix) } else { 0 })
    }

    /// Notes whether the Node of this name is due to be removed, and tells for how long it has been. Between two looks the
    /// API may have been away without anybody noticing: right after that every Lease stands still, and every Node is silent.
    pub(crate) fn due(&mut self, name: &str, due: bool, now: Instant) -> Duration {
        if !due {
            self.due.remove(name);
            return Duration::ZERO;
        }
        now.saturating_duration_since(*self.due.entry(name.to_owned()).or_insert(now))
    }

    /// Forgets who was due of names that are gone: one that comes back is due anew.
    pub(crate) fn keep_due(&mut self, is_there: impl Fn(&str) -> bool) {
        self.due.retain(|name, _| is_there(name));
    }

    /// The API did not answer: whoever could not renew its Lease meanwhile is watched anew.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
        self.due.clear();
        (self.newest, self.others) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_moves_starts_anew_and_a_new_name_has_not_been_watched() {
        let (mut leases, begin) = (Leases::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let still = |since, watched| Still { since: Duration::from_secs(since), watched: Duration::from_secs(watched) };
        assert_eq!(leases.look("a", Some("1".into()), at(0)), still(0, 0));
        assert_eq!(leases.look("a", Some("1".into()), at(4)), still(4, 4));
        assert_eq!(leases.look("a", Some("1".into()), at(20)), still(20, 9));
        assert_eq!(leases.look("a", Some("2".into()), at(21)), still(0, 0));
        assert_eq!(leases.look("a", None, at(30)), still(0, 0));
        assert_eq!(leases.look("a", None, at(31)), still(1, 1));
        assert_eq!(leases.look("b", None, at(31)), still(0, 0));
        leases.forget();
        assert_eq!(leases.look("a", None, at(32)), still(0, 0));
    }

    #[test]
    fn who_is_due_is_due_since_the_first_look_that_saw_it() {
        let (mut leases, begin) = (Leases::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(leases.due("a", true, at(0)), Duration::ZERO);
        assert_eq!(leases.due("a", true, at(60)), Duration::from_secs(60));
        assert_eq!(leases.due("a", false, at(61)), Duration::ZERO);
        assert_eq!(leases.due("a", true, at(70)), Duration::ZERO);
        leases.forget();
        assert_eq!(leases.due("a", true, at(200)), Duration::ZERO);
        assert_eq!(leases.due("b", true, at(200)), Duration::ZERO);
        leases.keep_due(|name| name == "b");
        assert_eq!(leases.due.len(), 1);
        assert_eq!(leases.due("a", true, at(300)), Duration::ZERO, "its name was gone");
        assert_eq!(leases.due("b", true, at(300)), Duration::from_secs(100));
    }

    #[test]
    fn it_is_no_later_than_all_nodes_have_it() {
        let mut leases = Leases::default();
        assert_eq!(leases.no_later(9000), 9000, "none says");
        leases.renewed(Some(1000), Vec::new());
        assert_eq!([1000, 1060, 9000].map(|unix| leases.no_later(unix)), [1000, 1060, 1060]);
        assert!(!leases.is_past(0), "no server says so");
    }

    #[test]
    fn it_is_behind_when_most_other_servers_are_further() {
        let mut leases = Leases::default();
        let mut past = |servers: &[u64], unix| {
            leases.renewed(Some(9000), servers.to_vec());
            leases.is_past(unix)
        };
        assert_eq!([939, 940, 9000].map(|unix| past(&[1000], unix)), [true, false, false]);
        assert!(!past(&[9000, 1000], 1000) && past(&[9000, 8000], 1000), "of two both");
        assert!(!past(&[9000, 1000, 1001], 1000) && past(&[9000, 1000, 8000], 1000), "of three two");
        assert!(!past(&[], 0));
        leases.renewed(Some(9000), vec![9000]);
        let news = [1000, 1010, 9000, 9000].map(|unix| leases.news_of_being_behind(unix));
        assert_eq!(news, [Some(8000), None, Some(0), None]);
    }

    #[test]
    fn names_are_bounded() {
        let (mut leases, begin) = (Leases::default(), Instant::now());
        for number in 0..(MOST as u64 + 10) {
            leases.look(&number.to_string(), None, begin + Duration::from_millis(number));
        }
        assert_eq!(leases.seen.len(), MOST);
    }
}
