//! Blocking calls away from the event loop, each with a deadline.

mod pool;

pub use pool::elsewhere;

use bowline_ports::{ErrorKind, PortError};
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// How long an ordinary look at a file or a directory may take.
pub(crate) const QUICK: Duration = Duration::from_secs(5);
/// How long a change on a filesystem (with its fsync) may take.
pub(crate) const DURABLE: Duration = Duration::from_secs(60);

/// The future's result, or an error of kind `Timeout` that says what did not answer.
pub(crate) async fn within<T>(
    what: impl std::fmt::Display,
    deadline: Duration,
    work: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    match tokio::time::timeout(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(late(what, deadline)),
    }
}

/// So much work goes on at a time while all of it answers: each thread keeps memory of its own, for a while after its end, too.
const PLACES: usize = 8;

/// The event loop of this program: one thread, and a few for what may block.
///
/// # Errors
/// The kernel has nothing left for one.
pub fn event_loop() -> std::io::Result<tokio::runtime::Runtime> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Those of crates: they too keep memory of their own until they end.
    runtime.enable_all().thread_keep_alive(Duration::from_secs(1));
    runtime.build()
}

thread_local! {
    /// Those of this event loop, which is one thread.
    static FREE: Arc<Semaphore> = Arc::new(Semaphore::new(PLACES));
}

/// Runs blocking work on another thread and waits for it no longer than the deadline, once one of the places is free: whoever has one
/// gives it back by a deadline, too. What has not begun when nobody waits for it
/// any more is not done: a write that was told as failed is not made later.
pub(crate) async fn blocking<T: Send + 'static>(
    what: String,
    deadline: Duration,
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    let free = FREE.with(Arc::clone);
    // A task of its own: one that is begun and then not polled for a while, as a step beside a look, must keep nobody waiting.
    let task = tokio::spawn(async move {
        // Given back by whoever stops waiting: what hangs keeps a thread, and nobody's place.
        let _place = free.acquire_owned().await;
        match pool::elsewhere(work) {
            Ok(answer) => Ok(tokio::time::timeout(deadline, answer).await),
            Err(error) => Err(error),
        }
    });
    let _waits = Waits(task.abort_handle());
    match task.await {
        Ok(Ok(Ok(Ok(result)))) => result,
        Ok(Ok(Err(_elapsed))) => Err(late(what, deadline)),
        Ok(Err(error)) => Err(no_thread(what, &error)),
        Ok(Ok(Ok(Err(_)))) | Err(_) => Err(PortError::new(ErrorKind::Other, format!("{what}: the work was cut off"))),
    }
}

/// The error when there is no thread for it, and what to do about it.
pub fn no_thread(what: impl std::fmt::Display, error: &std::io::Error) -> PortError {
    PortError::io(format_args!("{what}: no thread can be started"), error)
        .hint("are there too many processes, or is there too little memory? Look with: systemd-cgtop -t; free -h")
}

/// Somebody waits for work elsewhere, which is not begun any more when they do not.
struct Waits(AbortHandle);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Paths whose filesystem or disk had not answered when it should have, with how much work still waits there: nobody else is sent
/// there, so that all the threads there are do not end so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silent {
    late: Arc<Mutex<HashMap<PathBuf, usize>>>,
    /// Whose turn it is at a path, for work that may not go on side by side there.
    turns: Arc<Mutex<HashMap<PathBuf, Weak<tokio::sync::Mutex<()>>>>>,
}

impl Silent {
    /// Work at a path on another thread, unless an earlier one still waits there.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce(&Path) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        self.within(QUICK, "looking at", path, work).await
    }

    /// The same with another deadline, and with what is done there.
    pub(crate) async fn within<T: Send + 'static>(
        &self,
        deadline: Duration,
        doing: &str,
        path: &Path,
        work: impl FnOnce(&Path) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        self.holding((), deadline, format!("{doing} {}", path.display()), path, work).await
    }

    /// The same, with what is to be let go of when the path is free again.
    async fn holding<T: Send + 'static>(
        &self,
        kept: impl Send + 'static,
        deadline: Duration,
        what: String,
        path: &Path,
        work: impl FnOnce(&Path) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let there = self.begin(&what, path)?;
        let held = Arc::clone(&there);
        let answer = blocking(what, deadline, move || {
            let answer = work(&held.path);
            drop(held);
            drop(kept);
            answer
        });
        there.noted(answer.await)
    }

    /// The same when what was begun there before is over. That of a step that was given up goes on by itself: it must neither
    /// share a temporary file with the next one, nor end after it.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        deadline: Duration,
        doing: &str,
        path: &Path,
        work: impl FnOnce(&Path) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let (what, since) = (format!("{doing} {}", path.display()), Instant::now());
        // One that is known to hang is not waited for.
        drop(self.begin(&what, path)?);
        let turn = self.turn(path).lock_owned();
        let turn = within(&what, deadline, async { Ok(turn.await) }).await?;
        let left = deadline.saturating_sub(since.elapsed()).max(deadline.min(QUICK));
        self.holding(turn, left, what, path, work).await
    }

    fn turn(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = turns.get(path).and_then(Weak::upgrade).unwrap_or_default();
        turns.insert(path.to_path_buf(), Arc::downgrade(&turn));
        turn
    }

    /// Begins work at a path, unless an earlier one still waits there.
    pub(crate) fn begin(&self, what: &str, path: &Path) -> Result<Arc<UnderWay>, PortError> {
        if self.paths().contains_key(path) {
            let who = if path.starts_with("/dev") { "it" } else { "its filesystem" };
            return Err(PortError::new(ErrorKind::Timeout, format!("{what}: {who} still does not answer")));
        }
        let late = AtomicBool::new(false);
        Ok(Arc::new(UnderWay { silent: self.clone(), path: path.to_path_buf(), late }))
    }

    fn paths(&self) -> MutexGuard<'_, HashMap<PathBuf, usize>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work at a path. Everything that may wait there holds it: it is over when the last of them has let go.
#[derive(Debug)]
pub(crate) struct UnderWay {
    silent: Silent,
    path: PathBuf,
    late: AtomicBool,
}

impl UnderWay {
    /// What came of it. When that is no answer in time, nobody else is sent there until it is over.
    pub(crate) fn noted<T>(&self, answer: Result<T, PortError>) -> Result<T, PortError> {
        if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Timeout)
            && !self.late.swap(true, Ordering::Relaxed)
        {
            *self.silent.paths().entry(self.path.clone()).or_default() += 1;
        }
        answer
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !*self.late.get_mut() {
            return;
        }
        let mut paths = self.silent.paths();
        match paths.get_mut(&self.path) {
            Some(others) if *others > 1 => *others -= 1,
            _ => drop(paths.remove(&self.path)),
        }
    }
}

fn late(what: impl std::fmt::Display, deadline: Duration) -> PortError {
    PortError::new(ErrorKind::Timeout, format!("{what}: no answer within {} s", deadline.as_secs()))
}

#[cfg(test)]
mod tests;
