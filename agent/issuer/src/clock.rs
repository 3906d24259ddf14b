//! What an issuer knows of its own machine's time, besides the time that requests come with.

use crate::Issuer;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) struct Clock {
    /// For how long the machine had been up, and when.
    up: Option<(Duration, Instant)>,
    /// Since when the API answers.
    begun: OnceLock<Instant>,
    synchronised: AtomicBool,
}

impl Default for Clock {
    fn default() -> Self {
        Self { up: None, begun: OnceLock::new(), synchronised: AtomicBool::new(true) }
    }
}

impl Clock {
    /// For how long this machine has been up.
    pub(crate) fn up(&self) -> Duration {
        self.up.map_or(Duration::ZERO, |(up, since)| up + since.elapsed())
    }

    /// For how long the API has answered, at least; to be asked when it does.
    pub(crate) fn since_begun(&self) -> Duration {
        self.begun.get_or_init(Instant::now).elapsed()
    }

    pub(crate) fn is_synchronised(&self) -> bool {
        self.synchronised.load(Ordering::Relaxed)
    }
}

impl<O> Issuer<O> {
    /// The same on a machine that has been up for so long; without it, nothing is believed of silences before this moment.
    pub fn up_for(self, up: Duration) -> Self {
        let clock = Clock { up: Some((up, Instant::now())), ..self.clock };
        Self { clock, ..self }
    }

    /// Says whether the clock is synchronised of which it is told the time. As long as it is not, nothing is over because it seems
    /// to be from a time to come.
    pub fn set_synchronised(&self, synchronised: bool) {
        self.clock.synchronised.store(synchronised, Ordering::Relaxed);
    }
}
