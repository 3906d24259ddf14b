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

/// A time with a fifth of jitter either way, so that the nodes of a cluster do not all come back at once.
pub fn jittered(delay: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 401;
    delay.mul_f64(0.8 + random as f64 / 1000.0)
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
        assert!(jittered(delay(ErrorKind::Timeout, 1)) <= Duration::from_millis(2410));
    }
}
