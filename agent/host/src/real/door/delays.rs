//! How long a wrong proof waits for its answer. Only failures wait, and who waits holds nothing but its connection
//! and the few bytes to be sent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Sources that are remembered; then the one that failed longest ago is forgotten.
const SOURCES: usize = 4096;
/// A source without failures for so long begins anew.
const FORGET: Duration = Duration::from_secs(60);

/// The failures of all sources.
#[derive(Debug)]
pub(super) struct Delays {
    first: Duration,
    longest: Duration,
    total: usize,
    each: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sources: HashMap<IpAddr, Failures>,
    waiting: usize,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    waiting: usize,
}

/// A place to wait at; free again when dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    source: IpAddr,
    delays: Arc<Delays>,
    /// For how long.
    pub(super) delay: Duration,
}

impl Delays {
    /// A source's first failure waits for `first`, each later one twice as long, up to `longest`; `total` of all and
    /// `each` of one source at once.
    pub(super) fn new(first: Duration, longest: Duration, total: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { first, longest, total, each, table: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more failure of a source. `None`: too many wait already, this one gets no answer.
    pub(super) fn failed(self: &Arc<Self>, source: IpAddr) -> Option<Waiting> {
        let mut table = self.lock();
        let now = Instant::now();
        if table.sources.len() >= SOURCES && !table.sources.contains_key(&source) {
            let oldest = table.sources.iter().filter(|(_, f)| f.waiting == 0).min_by_key(|(_, f)| f.last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                table.sources.remove(&oldest);
            }
        }
        let full = table.waiting >= self.total;
        let failures = table.sources.entry(source).or_insert(Failures { count: 0, last: now, waiting: 0 });
        if now.duration_since(failures.last) > FORGET {
            failures.count = 0;
        }
        failures.last = now;
        let delay = self.first.saturating_mul(1 << failures.count.min(16)).min(self.longest);
        failures.count = failures.count.saturating_add(1);
        if full || failures.waiting >= self.each {
            return None;
        }
        failures.waiting += 1;
        table.waiting += 1;
        Some(Waiting { source, delays: Arc::clone(self), delay })
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut table = self.delays.lock();
        table.waiting = table.waiting.saturating_sub(1);
        if let Some(failures) = table.sources.get_mut(&self.source) {
            failures.waiting = failures.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + last).into()
    }

    #[test]
    fn delays_grow_for_each_source_alone() {
        let delays = Delays::new(Duration::from_millis(250), Duration::from_secs(8), 100, 100);
        let waits: Vec<_> = (0..8).map(|_| delays.failed(ip(1)).unwrap()).collect();
        let seen: Vec<_> = waits.iter().map(|w| w.delay.as_millis()).collect();
        assert_eq!(seen, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(delays.failed(ip(2)).unwrap().delay.as_millis(), 250);
        assert_eq!(delays.waiting(), 8);
        drop(waits);
        assert_eq!(delays.waiting(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let delays = Delays::new(Duration::ZERO, Duration::ZERO, 3, 2);
        let (one, two) = (delays.failed(ip(1)), delays.failed(ip(1)));
        assert!(one.is_some() && two.is_some());
        assert!(delays.failed(ip(1)).is_none(), "of one source");
        let three = delays.failed(ip(2));
        assert!(three.is_some());
        assert!(delays.failed(ip(3)).is_none(), "of all");
        drop((one, two, three));
        for address in 0..10_000 {
            drop(delays.failed(ip(address)));
        }
        assert!(delays.lock().sources.len() <= SOURCES);
    }
}
