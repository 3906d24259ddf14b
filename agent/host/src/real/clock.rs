//! The clock. The call that would tell whether the kernel's clock is synchronised is not allowed in the sandbox:
//! systemd-timesyncd's mark is read, else systemd's time service asked, which sees chrony's and ntpd's work too.

use super::{bus::Bus, units};
use bowline_ports::{Clock, PortError};
use nix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MARK: &str = "/run/systemd/timesync/synchronized";
/// How long a clock that was synchronised counts as such without asking again.
const BELIEVED: Duration = Duration::from_secs(600);

/// When the clock was last found synchronised.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Option<Instant>>);

/// Reads the clock.
pub(crate) async fn read(bus: &Bus, seen: &Seen) -> Result<Clock, PortError> {
    let recently = seen.0.lock().ok().and_then(|s| *s).is_some_and(|at| at.elapsed() < BELIEVED);
    // A service that does not answer is no reason to believe in the clock.
    let synchronised = recently || Path::new(MARK).exists() || units::clock_synchronised(bus).await.unwrap_or(false);
    if synchronised
        && !recently
        && let Ok(mut seen) = seen.0.lock()
    {
        *seen = Some(Instant::now());
    }
    let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_err(|e| PortError::io("reading the time since boot", &std::io::Error::from(e)))?;
    Ok(Clock { unix: now(), synchronised, uptime: uptime.tv_sec().unsigned_abs() })
}

/// Seconds since 1970, as the machine believes.
pub(crate) fn now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}
