//! Failures and crashes at any change.

use bowline_ports::{ErrorKind, PortError};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::sync::Notify;

/// What happens at the chosen change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMode {
    /// It fails, and nothing is done.
    FailBefore,
    /// It is done, and reported as failed.
    FailAfter,
    /// The agent dies before anything is done.
    CrashBefore,
    /// The agent dies in the middle: a format is half made, a download is cut.
    CrashDuring,
    /// The agent dies when it is done, before it hears of it.
    CrashAfter,
}

/// A fault at the `at`-th change from now, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which change.
    pub at: usize,
    /// What happens.
    pub mode: FaultMode,
}

#[derive(Default)]
pub(super) struct Faults {
    count: AtomicUsize,
    armed: Mutex<Option<(usize, FaultMode)>>,
    dead: AtomicBool,
    death: Notify,
}

impl Faults {
    pub(super) fn arm(&self, fault: Fault) {
        if let Ok(mut armed) = self.armed.lock() {
            *armed = Some((self.count() + fault.at, fault.mode));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(SeqCst)
    }

    pub(super) fn clear(&self) {
        self.dead.store(false, SeqCst);
        if let Ok(mut armed) = self.armed.lock() {
            *armed = None;
        }
    }

    pub(super) async fn crashed(&self) {
        loop {
            let death = self.death.notified();
            if self.dead.load(SeqCst) {
                return;
            }
            death.await;
        }
    }

    /// Counts a change and says what is to happen at it.
    pub(super) async fn next(&self) -> Option<FaultMode> {
        self.alive().await;
        let number = self.count.fetch_add(1, SeqCst);
        let mut armed = self.armed.lock().ok()?;
        match *armed {
            Some((at, mode)) if at == number => {
                *armed = None;
                Some(mode)
            }
            _ => None,
        }
    }

    /// The agent dies here: nobody hears from this call again.
    pub(super) async fn die(&self) {
        self.dead.store(true, SeqCst);
        self.death.notify_waiters();
        std::future::pending::<()>().await;
    }

    /// A dead agent makes no calls.
    async fn alive(&self) {
        if self.dead.load(SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

pub(super) fn failure() -> PortError {
    PortError::new(ErrorKind::Other, "a failure was injected by the simulation")
}
