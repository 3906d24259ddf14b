//! Blocking calls away from the event loop, each with a deadline.

use bowline_ports::{ErrorKind, PortError};
use std::future::Future;
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

fn late(what: impl std::fmt::Display, deadline: Duration) -> PortError {
    PortError::new(ErrorKind::Timeout, format!("{what}: no answer within {} s", deadline.as_secs()))
}
