//! For tests: what they gave back may be held for a moment more, by a child of another test that is no other program yet.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits until it is given back; panics with `what` when it never is.
pub(crate) fn given_back(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < LIMIT, "{what} for ever");
        thread::sleep(Duration::from_millis(10));
    }
}
