//! Failures and crashes at any call.

use bowline_ports::{ErrorKind, PortError};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::sync::Notify;

/// What happens at the chosen call. A look does nothing that could be half done: there, before and after are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMode {
    /// It fails, and nothing is done.
    FailBefore,
    /// It is done, or goes on in its unit, and is reported as failed.
    FailAfter,
    /// The agent dies before anything is done.
    CrashBefore,
    /// The agent dies in the middle: the unit that makes a filesystem, or downloads, is half of its way, and goes on.
    CrashDuring,
    /// The agent dies when it is done, before it hears of it.
    CrashAfter,
}

impl FaultMode {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::FailBefore, Self::FailAfter, Self::CrashBefore, Self::CrashDuring, Self::CrashAfter];

    /// Whether the agent goes on.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::FailBefore | Self::FailAfter)
    }
}

/// Which calls are counted to find the one where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Looks and changes alike.
    All,
    /// Changes alone.
    Changes,
}

/// A fault at the `at`-th call from now, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Among which calls.
    pub among: Calls,
    /// Which of them.
    pub at: usize,
    /// What happens.
    pub mode: FaultMode,
    /// As what a failure is reported.
    pub kind: ErrorKind,
}

impl Fault {
    /// A fault at a change; a failure is of no special kind.
    pub fn at_change(at: usize, mode: FaultMode) -> Self {
        Self { among: Calls::Changes, at, mode, kind: ErrorKind::Other }
    }

    /// A fault at any call.
    pub fn at_call(at: usize, mode: FaultMode, kind: ErrorKind) -> Self {
        Self { among: Calls::All, at, mode, kind }
    }
}

#[derive(Default)]
pub(super) struct Faults {
    calls: AtomicUsize,
    changes: AtomicUsize,
    /// `at` is of all that were ever counted.
    armed: Mutex<Option<Fault>>,
    /// The call where one happened last.
    hit: Mutex<Option<&'static str>>,
    dead: AtomicBool,
    death: Notify,
}

impl Faults {
    pub(super) fn arm(&self, fault: Fault) {
        if let Ok(mut armed) = self.armed.lock() {
            *armed = Some(Fault { at: self.count(fault.among) + fault.at, ..fault });
        }
    }

    pub(super) fn count(&self, among: Calls) -> usize {
        match among {
            Calls::All => self.calls.load(SeqCst),
            Calls::Changes => self.changes.load(SeqCst),
        }
    }

    pub(super) fn hit(&self) -> Option<&'static str> {
        self.hit.lock().ok().and_then(|hit| *hit)
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

    /// Counts a look, which may fail, or be the last thing that the agent does.
    pub(super) async fn look(&self, call: &'static str) -> Result<(), PortError> {
        self.alive().await;
        match self.happens(call, self.calls.fetch_add(1, SeqCst), None) {
            None => return Ok(()),
            Some(fault) if fault.mode.is_failure() => return Err(failure(call, fault.kind)),
            Some(_) => self.die().await,
        }
        Ok(())
    }

    /// Counts a change and says what is to happen at it.
    pub(super) async fn change(&self, call: &'static str) -> Option<Fault> {
        self.alive().await;
        let (call_number, number) = (self.calls.fetch_add(1, SeqCst), self.changes.fetch_add(1, SeqCst));
        self.happens(call, call_number, Some(number))
    }

    /// The armed fault, if this is its call.
    fn happens(&self, call: &'static str, of_all: usize, of_changes: Option<usize>) -> Option<Fault> {
        let mut armed = self.armed.lock().ok()?;
        let fault = armed.take_if(|fault| match fault.among {
            Calls::All => fault.at == of_all,
            Calls::Changes => Some(fault.at) == of_changes,
        })?;
        if let Ok(mut hit) = self.hit.lock() {
            *hit = Some(call);
        }
        Some(fault)
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

pub(super) fn failure(call: &str, kind: ErrorKind) -> PortError {
    PortError::new(kind, format!("{call}: a failure was injected by the simulation"))
}
