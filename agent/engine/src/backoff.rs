//! How long to wait before trying again.

use bowline_ports::ErrorKind;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(300);

/// The delay before the next try of an item that has failed `attempts` times in a row (1 or more): growing
/// from the kind's first delay, at most five minutes.
pub fn delay(kind: ErrorKind, attempts: u32) -> Duration {
    let first = match kind {
        // The world moved while we worked: look again soon.
        ErrorKind::Changed => Duration::from_millis(200),
        ErrorKind::Busy => Duration::from_secs(1),
        ErrorKind::Timeout | ErrorKind::Unreachable => Duration::from_secs(2),
        ErrorKind::NotFound | ErrorKind::Other => Duration::from_secs(5),
        // These need somebody to mend something; events wake us when they do.
        ErrorKind::Denied | ErrorKind::NoSpace | ErrorKind::Invalid => Duration::from_secs(15),
    };
    let factor = 2u32.saturating_pow(attempts.saturating_sub(1).min(16));
    first.saturating_mul(factor).min(LONGEST)
}

/// The same with a fifth of jitter either way, so that the nodes of a cluster do not all come back at once.
pub(crate) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.8 + thousandths(400))
}

/// A time that is at least this one, and up to a tenth longer, for the same reason.
pub fn somewhat_longer(least: Duration) -> Duration {
    least.mul_f64(1.0 + thousandths(100))
}

/// By chance: up to so many, as a number.
fn thousandths(most: u64) -> f64 {
    (RandomState::new().build_hasher().finish() % (most + 1)) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_five_minutes_and_stay_within_a_fifth() {
        for attempts in 1..40 {
            for kind in [ErrorKind::Changed, ErrorKind::Busy, ErrorKind::Timeout, ErrorKind::Invalid] {
                let d = jittered(delay(kind, attempts));
                assert!(d <= LONGEST.mul_f64(1.21), "{kind:?} {attempts}: {d:?}");
                assert!(d >= Duration::from_millis(150), "{kind:?} {attempts}: {d:?}");
            }
        }
        assert!(jittered(delay(ErrorKind::Timeout, 20)) >= LONGEST.mul_f64(0.79));
        let minute = Duration::from_secs(60);
        assert!((0..1000).all(|_| (minute..=minute.mul_f64(1.101)).contains(&somewhat_longer(minute))));
        assert!(jittered(delay(ErrorKind::Timeout, 1)) <= Duration::from_millis(2410));
    }
}
