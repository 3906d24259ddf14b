//! How far the clock is off, asked now and then of those who keep it: a scrape asks nobody.

use bowline_host::real::RealHost;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two questions: who keeps a clock asks its servers about every minute to every half hour.
const EVERY: Duration = Duration::from_secs(300);

/// What was said last. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Offset(Arc<Mutex<Option<f64>>>);

impl Offset {
    /// In seconds; positive: the clock is behind. `None` while nobody says it.
    pub(crate) fn last(&self) -> Option<f64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks again and again.
    pub(crate) fn begin(&self, host: Arc<RealHost>) -> JoinHandle<()> {
        let last = self.clone();
        tokio::spawn(async move {
            loop {
                let said = host.clock_offset().await;
                *last.0.lock().unwrap_or_else(PoisonError::into_inner) = said;
                tokio::time::sleep(EVERY).await;
            }
        })
    }
}
