//! Blocking calls away from the event loop, each with a deadline.

use bowline_ports::{ErrorKind, PortError};
use std::collections::HashSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// Runs blocking work on another thread and waits for it no longer than the deadline.
pub(crate) async fn blocking<T: Send + 'static>(
    what: String,
    deadline: Duration,
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    let task = tokio::task::spawn_blocking(work);
    match tokio::time::timeout(deadline, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(PortError::new(ErrorKind::Other, format!("{what}: the work was cut off: {error}"))),
        Err(_) => Err(late(what, deadline)),
    }
}

/// Paths whose filesystem had not answered when it should have, each with a thread that still waits for it: nobody else is sent
/// there, so that all the threads there are do not end so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silent(Arc<Mutex<HashSet<PathBuf>>>);

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
        let what = format!("{doing} {}", path.display());
        if self.paths().contains(path) {
            return Err(PortError::new(ErrorKind::Timeout, format!("{what}: its filesystem still does not answer")));
        }
        let (paths, owned, ended) = (self.clone(), path.to_path_buf(), Arc::new(AtomicBool::new(false)));
        let has_ended = Arc::clone(&ended);
        let answer = blocking(what, deadline, move || {
            let answer = work(&owned);
            // In one with the removal: what is noted after the deadline is noted of one that still waits.
            let mut paths = paths.paths();
            has_ended.store(true, Ordering::Relaxed);
            paths.remove(&owned);
            answer
        })
        .await;
        if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Timeout) {
            let mut paths = self.paths();
            if !ended.load(Ordering::Relaxed) {
                paths.insert(path.to_path_buf());
            }
        }
        answer
    }

    fn paths(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn late(what: impl std::fmt::Display, deadline: Duration) -> PortError {
    PortError::new(ErrorKind::Timeout, format!("{what}: no answer within {} s", deadline.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn nobody_is_sent_where_somebody_still_waits() {
        let (silent, moment) = (Silent::default(), Duration::from_millis(50));
        let (answer, waits) = mpsc::channel();
        let there = Path::new("/mnt/nas");
        let error = silent.within(moment, "writing", there, move |_| Ok(waits.recv().is_ok())).await.unwrap_err();
        assert_eq!(error.message, "writing /mnt/nas: no answer within 0 s");
        let error = silent.look(there, |_| Ok(())).await.unwrap_err();
        let text = "looking at /mnt/nas: its filesystem still does not answer";
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Timeout, text));
        assert_eq!(silent.look(Path::new("/mnt/other"), |path| Ok(path.is_absolute())).await, Ok(true));
        answer.send(()).unwrap();
        while silent.look(there, |_| Ok(())).await.is_err() {
            tokio::time::sleep(moment).await;
        }
    }
}
