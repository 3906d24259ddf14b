//! The clock. The call that would tell whether the kernel's clock is synchronised is not allowed in the sandbox:
//! systemd-timesyncd's mark is read, else systemd's time service asked, which sees chrony's and ntpd's work too.

use super::tool::Tool;
use super::{bus::Bus, units};
use bowline_ports::{Clock, PortError};
use nix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zbus::wire::{ObjectPath, Structure};

const MARK: &str = "/run/systemd/timesync/synchronized";
/// chrony's socket for commands: it keeps the clock.
const CHRONY: &str = "/run/chrony/chronyd.sock";
const ANSWER: Duration = Duration::from_secs(5);
/// How long a clock that was synchronised counts as such without asking again.
const BELIEVED: Duration = Duration::from_secs(600);

/// When the clock was last found synchronised.
#[derive(Debug, Default)]
pub(crate) struct SyncCache(Mutex<Option<Instant>>);

/// Reads the clock.
pub(crate) async fn read(bus: &Bus, seen: &SyncCache) -> Result<Clock, PortError> {
    let recently = seen.0.lock().ok().and_then(|s| *s).is_some_and(|at| at.elapsed() < BELIEVED);
    // A service that does not answer is no reason to believe in the clock.
    let synchronised = recently || Path::new(MARK).exists() || units::clock_synchronised(bus).await.unwrap_or(false);
    if synchronised
        && !recently
        && let Ok(mut seen) = seen.0.lock()
    {
        *seen = Some(Instant::now());
    }
    let uptime = since_boot().map_err(|e| PortError::io("reading the time since boot", &e))?;
    let awake: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_err(|e| PortError::io("reading the time since boot", &e.into()))?
        .into();
    Ok(Clock { unix: unix_now(), synchronised, uptime: uptime.as_secs(), awake: awake.as_secs() })
}

/// The time since boot, suspended time too: whoever sets the clock does not change it.
///
/// # Errors
/// Where the kernel has no such clock.
pub fn since_boot() -> std::io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

/// How far the clock is off, in seconds, by those who keep it: chrony, or systemd-timesyncd at its last answer. Positive: it is
/// behind. `None` where neither says.
pub(crate) async fn offset(bus: &Bus) -> Option<f64> {
    if Path::new(CHRONY).exists() {
        let output = Tool::ChronyTracking.run(None, ANSWER).await.ok().filter(|output| output.status.success())?;
        return tracking(&String::from_utf8_lossy(&output.stdout));
    }
    // Without its mark it is not asked: that would start it.
    if !Path::new(MARK).exists() {
        return None;
    }
    let path = ObjectPath::from_static_str("/org/freedesktop/timesync1").ok()?;
    let (service, interface) = ("org.freedesktop.timesync1", "org.freedesktop.timesync1.Manager");
    let message =
        bus.property("asking how far the clock is off", service, &path, interface, "NTPMessage").await.ok()?;
    let message = Structure::try_from(message).ok()?;
    // (uuuuittayttttbtt), from the ninth on: sent, received there, answered there, received, in microseconds.
    let time = |field: usize| u64::try_from(message.fields().get(field)?).ok().filter(|time| *time > 0);
    Some(ntp(time(8)?, time(9)?, time(10)?, time(11)?))
}

/// RFC 5905, 8: half of what the way there seems to take longer than the way back, in seconds.
fn ntp(origin: u64, received: u64, sent: u64, arrived: u64) -> f64 {
    let less = |one: u64, other: u64| one as f64 - other as f64;
    (less(received, origin) + less(sent, arrived)) / 2e6
}

/// The fifth field of `chronyc -c tracking`: how much the system's clock is slow (negative: fast) of the time of the servers.
fn tracking(text: &str) -> Option<f64> {
    let fields: Vec<&str> = text.trim().split(',').collect();
    // Without a source it has an offset of 0 from nothing.
    let known = fields.get(13).is_some_and(|leap| *leap != "Not synchronised");
    fields.get(4).filter(|_| known)?.parse().ok().filter(|seconds: &f64| seconds.is_finite())
}

/// Seconds since 1970, as the machine believes.
pub fn unix_now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::{ntp, tracking};

    #[test]
    fn half_of_the_difference_of_both_ways() {
        // Half a second behind: it seems to have taken 510 ms there, and less than nothing back.
        assert!((ntp(1_000_000, 1_510_000, 1_511_000, 1_021_000) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_chrony_says() {
        let line = "A9FEA97B,169.254.169.123,4,1790000000.123456789,0.000012345,-0.000001,0.000010,-3.5,0.0,0.01,0.0003,\
                    0.0002,16.2,Normal\n";
        assert_eq!(tracking(line), Some(0.000_012_345));
        let lost = "00000000,,0,0.000000000,0.000000000,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n";
        assert_eq!(tracking(lost), None);
        assert_eq!(tracking("506 Cannot talk to daemon"), None);
    }
}
