//! What an issuer knows of its own machine's time, besides the time that requests come with.

use crate::Issuer;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A clock that went so much further, or less far, than time did was set, or the machine was suspended.
const LEAP: Duration = Duration::from_secs(60);

pub(crate) struct Clock {
    /// For how long the machine had been up, and when.
    up: Mutex<(Duration, Instant)>,
    /// What the clock said last, in seconds since 1970, and when.
    said: Mutex<Option<(u64, Instant)>>,
    /// Since when the API answers.
    begun: OnceLock<Instant>,
    synchronised: AtomicBool,
}

impl Default for Clock {
    fn default() -> Self {
        let up = Mutex::new((Duration::ZERO, Instant::now()));
        Self { up, said: Mutex::default(), begun: OnceLock::new(), synchronised: AtomicBool::new(true) }
    }
}

impl Clock {
    /// For how long this machine has been up when its clock says `unix`, and others had the time to come back: a cluster whose
    /// machines were suspended has it from the moment on at which the clock leaps.
    pub(crate) fn up(&self, unix: u64) -> Duration {
        let now = Instant::now();
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.said.lock().unwrap_or_else(PoisonError::into_inner).replace((unix, now));
        if let Some((said, at)) = last {
            let expected = Duration::from_secs(said) + (now - at);
            if Duration::from_secs(unix).abs_diff(expected) > LEAP {
                *up = (Duration::ZERO, now);
            }
        }
        up.0 + (now - up.1)
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
        let clock = Clock { up: Mutex::new((up, Instant::now())), ..self.clock };
        Self { clock, ..self }
    }

    /// Says whether the clock is synchronised of which it is told the time. As long as it is not, nothing is over because it seems
    /// to be from a time to come.
    pub fn set_synchronised(&self, synchronised: bool) {
        self.clock.synchronised.store(synchronised, Ordering::Relaxed);
    }

    /// Whether the clock that says `unix` is believed.
    pub(crate) fn is_synchronised(&self, unix: u64) -> bool {
        let past = self.leases.0.lock().unwrap_or_else(PoisonError::into_inner).is_past(unix);
        self.clock.is_synchronised() && !past
    }
}
