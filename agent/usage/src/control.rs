//! What the caller shares with a scan: to stop it, and to see how far it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Stops a scan and tells its progress, from any thread. One of them for each scan.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    names: AtomicU64,
    allocated: AtomicU64,
}

impl Control {
    /// Of a scan that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the scan: it looks at this before every file. One that has not begun does not begin.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How many names it has met so far. It only grows, and lags by what is met in one piece of a directory.
    pub fn names(&self) -> u64 {
        self.names.load(Ordering::Relaxed)
    }

    /// How many bytes those take on the disk.
    pub fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    pub(crate) fn met(&self, names: u64, allocated: u64) {
        self.names.fetch_add(names, Ordering::Relaxed);
        self.allocated.fetch_add(allocated, Ordering::Relaxed);
    }
}
