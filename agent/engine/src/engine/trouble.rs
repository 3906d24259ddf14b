//! What fails, or is held back, and when it is tried again.

use super::{Engine, Key};
use crate::Step;
use crate::backoff::{delay, jittered};
use crate::capability::ErasedAction;
use bowline_ports::{ErrorKind, PortError};
use std::sync::Arc;
use tokio::time::Instant;

pub(super) struct Trouble {
    /// Failures in a row; 0: it is held back.
    pub(super) attempts: u32,
    pub(super) begun: Instant,
    pub(super) since: i64,
    pub(super) error: PortError,
    pub(super) next: Instant,
}

impl Engine {
    /// Whether a service was restarted too often lately to be restarted now, for this item; it is told as what is in its way.
    pub(super) fn holds(&mut self, key: &Key, step: &Step<Arc<ErasedAction>>, now: Instant) -> bool {
        let Some((next, count)) = self.restarts.too_many(key, now) else { return false };
        let text = format!("“{}” would be one too many: {count} restarts within the last hour", step.action.text);
        let error = PortError::new(ErrorKind::Busy, text)
            .hint("see in `journalctl -u bowline` why each was needed; `bowline apply` makes it at once");
        let trouble = Trouble { attempts: 0, begun: now, since: self.report.at, error, next };
        self.trouble.insert(key.clone(), trouble);
        true
    }

    pub(super) fn failed(&mut self, key: Key, error: PortError) {
        self.failed_after(key, error, 0);
    }

    /// The same after so many earlier failures in a row.
    pub(super) fn failed_after(&mut self, key: Key, error: PortError, earlier: u32) {
        let at = self.report.at;
        let trouble = self.trouble.entry(key).or_insert_with(|| Trouble {
            attempts: earlier,
            begun: Instant::now(),
            since: at,
            error: error.clone(),
            next: Instant::now(),
        });
        trouble.attempts += 1;
        let delay = delay(error.kind, trouble.attempts);
        trouble.next = Instant::now() + if self.jitter { jittered(delay) } else { delay };
        trouble.error = error;
    }
}
