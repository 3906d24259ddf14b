//! How often a service was restarted for an item lately. Whatever the reason is that comes again and again, a service that is
//! restarted faster than it comes up never does.

use super::Key;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// So many within [`LATELY`] are made at once: settings are edited, a certificate is renewed.
const AT_ONCE: usize = 3;
const LATELY: Duration = Duration::from_secs(3600);
/// From the last of them to the next; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Restarts {
    made: BTreeMap<Key, Vec<Instant>>,
    /// Until when the journal was told that one is held back.
    told: BTreeMap<Key, Instant>,
}

impl Restarts {
    /// Somebody asks for them.
    pub(super) fn forget(&mut self) {
        self.made.clear();
    }

    /// Whether the journal was not told yet of one that is held back until then.
    pub(super) fn is_news(&mut self, key: &Key, next: Instant) -> bool {
        self.told.insert(key.clone(), next) != Some(next)
    }

    pub(super) fn note(&mut self, key: &Key, now: Instant) {
        let all = self.made.entry(key.clone()).or_default();
        all.retain(|at| now.duration_since(*at) < LATELY);
        all.push(now);
    }

    /// Before which moment another one would be one too many, and how many there were lately.
    pub(super) fn too_many(&self, key: &Key, now: Instant) -> Option<(Instant, usize)> {
        let lately = self.made.get(key)?.iter().filter(|at| now.duration_since(**at) < LATELY);
        let (last, count) = (lately.clone().next_back()?, lately.count());
        let beyond = u32::try_from(count.checked_sub(AT_ONCE)?).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(beyond)).min(LONGEST_PAUSE);
        Some((*last + pause, count)).filter(|(next, _)| *next > now)
    }
}
