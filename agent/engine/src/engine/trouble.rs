//! What fails, or is held back, and when it is tried again.

use super::{Engine, Key, log};
use crate::backoff::{delay, jittered};
use crate::capability::ErasedAction;
use crate::{Risk, Step};
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

impl Trouble {
    /// Whether this step has to wait for it: what is held back is restarts alone.
    pub(super) fn is_about(&self, step: &Step<Arc<ErasedAction>>) -> bool {
        self.attempts > 0 || step.risk == Risk::Restart
    }
}

impl Engine {
    /// Whether a service was restarted too often lately to be restarted now, for this item; it is told as what is in its way.
    pub(super) fn holds(&mut self, key: &Key, step: &Step<Arc<ErasedAction>>, now: Instant) -> bool {
        let Some((next, count)) = self.restarts.too_many(key, now) else { return false };
        let what = &step.action.text;
        let error = PortError::new(
            ErrorKind::Busy,
            format!("“{what}” would be one too many: {count} restarts within the last hour"),
        )
        .hint("see in `journalctl -u bowline` why each was needed; `bowline apply` makes it at once");
        if self.restarts.is_news(key, next) {
            log::held_back(key, what, &error);
        }
        let at = self.report.at;
        let held = Trouble { attempts: 0, begun: now, since: at, error, next };
        // What failed is told further.
        self.trouble.entry(key.clone()).and_modify(|trouble| trouble.next = next).or_insert(held);
        true
    }

    pub(super) fn failed(&mut self, key: Key, error: PortError) {
        let at = self.report.at;
        let trouble = self.trouble.entry(key).or_insert_with(|| Trouble {
            attempts: 0,
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
