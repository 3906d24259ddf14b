//! Blocking calls away from the event loop, each with a deadline.

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
        let task = tokio::task::spawn_blocking(work);
        let _waits = Waits(task.abort_handle());
        tokio::time::timeout(deadline, task).await
    });
    let _waits = Waits(task.abort_handle());
    match task.await {
        Ok(Ok(Ok(result))) => result,
        Ok(Err(_elapsed)) => Err(late(what, deadline)),
        Ok(Ok(Err(error))) | Err(error) => {
            Err(PortError::new(ErrorKind::Other, format!("{what}: the work was cut off: {error}")))
        }
    }
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
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
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

    #[tokio::test]
    async fn what_was_given_up_half_way_is_over_before_the_next_begins() {
        let folder = tempfile::tempdir().unwrap();
        let (silent, path) = (Silent::default(), folder.path().join("k3s.yaml"));
        let (begun, begins) = mpsc::channel();
        let (answer, waits) = mpsc::channel();
        let first = silent.in_turn(DURABLE, "writing", &path, move |path| {
            begun.send(()).unwrap();
            waits.recv().unwrap();
            super::super::files::write(path, b"old", 0o600)
        });
        let (first, given_up) = futures::future::abortable(first);
        let aborts = async {
            while begins.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            given_up.abort();
        };
        assert!(futures::future::join(first, aborts).await.0.is_err());
        let write = |path: &Path| super::super::files::write(path, b"new", 0o600);
        let moment = Duration::from_millis(50);
        let late = silent.in_turn(moment, "writing", &path, write).await.unwrap_err();
        assert_eq!(late.kind, ErrorKind::Timeout);
        answer.send(()).unwrap();
        silent.in_turn(DURABLE, "writing", &path, write).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(silent.turns.lock().unwrap().values().all(|turn| turn.strong_count() == 0));
    }

    fn runtime(threads: usize) -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(threads).build().unwrap()
    }

    #[test]
    fn what_had_not_begun_by_its_deadline_is_not_done_later() {
        // Dropped last: it waits for its threads.
        let runtime = runtime(1);
        let (answer, waits) = mpsc::channel::<()>();
        let done = Arc::new(AtomicBool::new(false));
        runtime.block_on(async {
            let moment = Duration::from_millis(50);
            blocking("hanging".into(), moment, move || Ok(waits.recv().is_ok())).await.unwrap_err();
            let sets = Arc::clone(&done);
            let write = blocking("writing".into(), moment, move || {
                sets.store(true, Ordering::Relaxed);
                Ok(())
            });
            assert_eq!(write.await.unwrap_err().kind, ErrorKind::Timeout);
            answer.send(()).unwrap();
            assert_eq!(blocking("after it".into(), DURABLE, || Ok(7)).await, Ok(7));
        });
        assert!(!done.load(Ordering::Relaxed), "it was told as failed");
    }

    #[test]
    fn what_hangs_takes_nobodys_place_and_no_more_work_goes_on_than_there_are_places() {
        let runtime = runtime(64);
        let (answer, waits) = mpsc::channel::<()>();
        let (waits, now, most) =
            (Arc::new(Mutex::new(waits)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        runtime.block_on(async {
            let hang = |_| {
                let waits = Arc::clone(&waits);
                let work = move || Ok(waits.lock().is_ok_and(|waits| waits.recv().is_ok()));
                blocking("hanging".into(), Duration::from_millis(50), work)
            };
            let hung = futures::future::join_all((0..3 * PLACES).map(hang)).await;
            assert!(hung.iter().all(|hung| hung.as_ref().is_err_and(|error| error.kind == ErrorKind::Timeout)));
            let quick = |_| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                blocking("looking".into(), QUICK, move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                })
            };
            let answers = futures::future::join_all((0..5 * PLACES).map(quick)).await;
            assert!(answers.iter().all(Result::is_ok));
        });
        assert!((2..=PLACES).contains(&most.load(Ordering::SeqCst)), "{most:?}");
        drop(answer);
    }

    /// The daemon's steps stand still while it writes its status file.
    #[test]
    fn work_that_was_begun_and_is_not_polled_keeps_nobody_waiting() {
        runtime(64).block_on(async {
            let mut begun: futures::stream::FuturesUnordered<_> =
                (0..3 * PLACES).map(|_| blocking("begun".into(), QUICK, || Ok(()))).collect();
            let once = futures::future::poll_fn(|context| {
                let _ = futures::StreamExt::poll_next_unpin(&mut begun, context);
                std::task::Poll::Ready(())
            });
            once.await;
            let beside = blocking("beside them".into(), QUICK, || Ok(7));
            assert_eq!(tokio::time::timeout(QUICK, beside).await, Ok(Ok(7)));
        });
    }

    #[test]
    fn a_disk_that_hangs_takes_one_thread() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        // Opening it waits until somebody writes.
        nix::unistd::mkfifo(&disk, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (silent, moment) = (Silent::default(), Duration::from_millis(50));
        let extent = |path: &Path| super::super::extent::read(path, bowline_ports::Filesystem::Ext4);
        runtime(2).block_on(async {
            for text in
                ["no answer within 0 s", "its filesystem still does not answer", "its filesystem still does not answer"]
            {
                let error = silent.within(moment, "looking at", &disk, extent).await.unwrap_err();
                assert_eq!(error.message, format!("looking at {}: {text}", disk.display()));
                assert_eq!(silent.look(folder.path(), |path| Ok(path.is_dir())).await, Ok(true));
            }
            drop(std::fs::File::options().write(true).open(&disk).unwrap());
            while silent.begin("looking", &disk).is_err() {
                tokio::time::sleep(moment).await;
            }
        });
    }

    #[tokio::test]
    async fn work_is_over_when_all_of_it_is() {
        let (silent, path) = (Silent::default(), Path::new("/dev/sdb"));
        let is_free = || silent.begin("probing", path).is_ok();
        let (one, other) = (silent.begin("probing", path).unwrap(), silent.begin("probing", path).unwrap());
        let late = || Err::<(), _>(PortError::new(ErrorKind::Timeout, "late"));
        assert!(one.noted(Ok(())).is_ok() && is_free());
        assert!(one.noted(late()).is_err() && one.noted(late()).is_err() && other.noted(late()).is_err());
        let part = Arc::clone(&one);
        drop(one);
        assert!(!is_free());
        drop(part);
        assert!(!is_free(), "the other still waits");
        drop(other);
        assert!(is_free());
    }
}
