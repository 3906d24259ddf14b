//! Waiting for something to become true, with a limit and a message that says what was waited for.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Limits are written for an idle machine with two cores; where the tests run it may be slower or busy, and a limit that
/// is too long costs time only where something is wrong. (A volume of an emulated machine was ready after 188 s beside compilers.)
pub(crate) const PATIENCE: u32 = 8;

/// Between two looks, for each wait that goes on in this process: many together leave the processors to what they wait for.
const PAUSE: Duration = Duration::from_millis(100);
/// The shortest and the longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// A look that takes long keeps the processors from what is waited for, or they are busy: the pause is so many times as long, up to
/// a limit.
const EASE: (u32, Duration) = (3, Duration::from_secs(1));

static WAITING: AtomicU32 = AtomicU32::new(0);

/// A wait that goes on.
struct Waiting;

impl Waiting {
    fn begin() -> Self {
        WAITING.fetch_add(1, Relaxed);
        Waiting
    }

    /// How long to do nothing, so long after the beginning, when a look took so long: what takes long is seen a little later.
    fn pause(&self, since: Duration, look: Duration) -> Duration {
        let longest = (PAUSE * WAITING.load(Relaxed)).min(PAUSES.1);
        (since / 4).clamp(PAUSES.0, longest).max((look * EASE.0).min(EASE.1))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Relaxed);
    }
}

/// Asks `probe` until it says `true`. A probe that fails is asked again; its last error is in the message when `limit` is over.
pub fn wait_for(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_some(what, limit, || Ok(probe()?.then_some(())))
}

/// The same as [`wait_for`] for a probe that yields a value.
pub fn wait_some<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let limit = limit * PATIENCE;
    let waiting = Waiting::begin();
    loop {
        let look = Instant::now();
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!("; the last look failed: {error:#}"),
        };
        if started.elapsed() > limit {
            bail!("waited {limit:?} for {what}{last}");
        }
        thread::sleep(waiting.pause(started.elapsed(), look.elapsed()));
    }
}
