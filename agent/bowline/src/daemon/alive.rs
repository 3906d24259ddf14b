//! systemd's watchdog: told that the daemon lives for as long as its loop does. A look at slow disks may take minutes
//! and is no reason to be killed; a loop that stands still for longer than any look is.

use bowline_host::real::notify_socket::{Notice, NotifySocket, watchdog_interval};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than the deadlines of all reads of one look together.
const LONGEST_LOOK: Duration = Duration::from_secs(600);

/// Since when the loop has been looking; `None` while it waits.
#[derive(Clone, Default)]
pub(crate) struct Alive(Arc<Mutex<Option<Instant>>>);

impl Alive {
    /// The loop begins a look, or has told what came of it.
    pub(crate) fn looking(&self, looking: bool) {
        if let Ok(mut since) = self.0.lock() {
            *since = looking.then(Instant::now);
        }
    }

    /// Tells systemd, for as long as it is true.
    pub(crate) async fn tell_systemd(self, systemd: Option<Arc<NotifySocket>>) {
        let (Some(systemd), Some(every)) = (systemd, watchdog_interval()) else { return };
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            let since = self.0.lock().ok().and_then(|since| *since);
            if since.is_none_or(|since| since.elapsed() < LONGEST_LOOK) {
                let _ = systemd.tell(Notice::Watchdog);
            }
        }
    }
}
