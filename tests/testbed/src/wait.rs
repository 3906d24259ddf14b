//! Waiting for something to become true, with a limit and a message that says what was waited for.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Limits are written for an idle machine with two cores; where the tests run it may be slower or busy, and a limit that
/// is too long costs time only where something is wrong.
const PATIENCE: u32 = 4;

/// Asks `probe` until it says `true`. A probe that fails is asked again; its last error is in the message when `limit` is over.
pub fn wait_for(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_some(what, limit, || Ok(probe()?.then_some(())))
}

/// The same as [`wait_for`] for a probe that yields a value.
pub fn wait_some<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let limit = limit * PATIENCE;
    let mut pause = Duration::from_millis(5);
    loop {
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!("; the last look failed: {error:#}"),
        };
        if started.elapsed() > limit {
            bail!("waited {limit:?} for {what}{last}");
        }
        thread::sleep(pause);
        pause = (pause * 5 / 4).min(Duration::from_millis(200));
    }
}
