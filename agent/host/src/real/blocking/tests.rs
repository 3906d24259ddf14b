//! What hangs is given up, and keeps nobody else waiting.

use super::*;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

const MOMENT: Duration = Duration::from_millis(50);

/// Work that hangs was given up, and had begun: on a busy machine it may be given up before.
async fn hung<T>(work: impl AsyncFn(mpsc::Sender<()>) -> Result<T, PortError>) -> PortError {
    loop {
        let (begun, begins) = mpsc::channel();
        let error = work(begun).await.map(drop).unwrap_err();
        // It has begun, perhaps only now, or nobody will begin it.
        if begins.recv().is_ok() {
            return error;
        }
    }
}

#[tokio::test]
async fn nobody_is_sent_where_somebody_still_waits() {
    let silent = Silent::default();
    let (answer, waits) = mpsc::channel::<()>();
    let waits = Arc::new(Mutex::new(waits));
    let there = Path::new("/mnt/nas");
    let error = hung(async |begun| {
        let waits = Arc::clone(&waits);
        let hangs = move |_: &Path| {
            begun.send(()).unwrap();
            Ok(waits.lock().is_ok_and(|waits| waits.recv().is_ok()))
        };
        silent.within(MOMENT, "writing", there, hangs).await
    });
    assert_eq!(error.await.message, "writing /mnt/nas: no answer within 0 s");
    let error = silent.look(there, |_| Ok(())).await.unwrap_err();
    let text = "looking at /mnt/nas: its filesystem still does not answer";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Timeout, text));
    assert_eq!(silent.look(Path::new("/mnt/other"), |path| Ok(path.is_absolute())).await, Ok(true));
    answer.send(()).unwrap();
    while silent.look(there, |_| Ok(())).await.is_err() {
        tokio::time::sleep(MOMENT).await;
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
        crate::real::files::write(path, b"old", 0o600)
    });
    let (first, given_up) = futures::future::abortable(first);
    let aborts = async {
        while begins.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        given_up.abort();
    };
    assert!(futures::future::join(first, aborts).await.0.is_err());
    let write = |path: &Path| crate::real::files::write(path, b"new", 0o600);
    let late = silent.in_turn(MOMENT, "writing", &path, write).await.unwrap_err();
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
    let waits = Arc::new(Mutex::new(waits));
    let done = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let hangs = hung(async |begun| {
            let waits = Arc::clone(&waits);
            let work = move || {
                begun.send(()).unwrap();
                Ok(waits.lock().is_ok_and(|waits| waits.recv().is_ok()))
            };
            blocking("hanging".into(), MOMENT, work).await
        });
        hangs.await;
        let sets = Arc::clone(&done);
        let write = blocking("writing".into(), MOMENT, move || {
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
            blocking("hanging".into(), MOMENT, work)
        };
        let hung = futures::future::join_all((0..3 * PLACES).map(hang)).await;
        assert!(hung.iter().all(|hung| hung.as_ref().is_err_and(|error| error.kind == ErrorKind::Timeout)));
        let quick = |_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            blocking("looking".into(), DURABLE, move || {
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

/// As the program has them: volumes of disks that do not answer.
#[test]
fn a_hundred_that_hang_leave_threads_for_the_others() {
    let runtime = event_loop().unwrap();
    let (answer, waits) = mpsc::channel::<()>();
    let waits = Arc::new(Mutex::new(waits));
    runtime.block_on(async {
        let hang = |_| {
            let waits = Arc::clone(&waits);
            let work = move || Ok(waits.lock().is_ok_and(|waits| waits.recv().is_ok()));
            blocking("hanging".into(), MOMENT, work)
        };
        let hung = futures::future::join_all((0..100).map(hang)).await;
        assert!(hung.iter().all(Result::is_err));
        assert_eq!(blocking("beside them".into(), DURABLE, || Ok(7)).await, Ok(7));
    });
    drop(answer);
}

/// The daemon's steps stand still while it writes its status file.
#[test]
fn work_that_was_begun_and_is_not_polled_keeps_nobody_waiting() {
    runtime(64).block_on(async {
        let mut begun: futures::stream::FuturesUnordered<_> =
            (0..3 * PLACES).map(|_| blocking("begun".into(), DURABLE, || Ok(()))).collect();
        let once = futures::future::poll_fn(|context| {
            let _ = futures::StreamExt::poll_next_unpin(&mut begun, context);
            std::task::Poll::Ready(())
        });
        once.await;
        let beside = blocking("beside them".into(), DURABLE, || Ok(7));
        assert_eq!(tokio::time::timeout(DURABLE, beside).await, Ok(Ok(7)));
    });
}

/// Ends the wait for a writer, also when an assertion fails: a runtime that goes waits for its threads.
struct Answers<'a>(&'a Path);

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        let writer = std::fs::File::options().read(true).write(true).open(self.0).unwrap();
        // Who comes to open it later finds nothing to wait for.
        std::fs::remove_file(self.0).unwrap();
        drop(writer);
    }
}

#[test]
fn a_disk_that_hangs_takes_one_thread() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    // Opening it waits until somebody writes.
    nix::unistd::mkfifo(&disk, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let silent = Silent::default();
    let look = async |begun: Option<mpsc::Sender<()>>| {
        let extent = move |path: &Path| {
            begun.map_or(Ok(()), |begun| begun.send(())).unwrap();
            crate::real::extent::read(path, bowline_ports::Filesystem::Ext4)
        };
        silent.within(MOMENT, "looking at", &disk, extent).await
    };
    runtime(2).block_on(async {
        let answers = Answers(&disk);
        let error = hung(async |begun| look(Some(begun)).await).await;
        assert_eq!(error.message, format!("looking at {}: no answer within 0 s", disk.display()));
        for _ in 0..2 {
            let error = look(None).await.unwrap_err();
            let text = "its filesystem still does not answer";
            assert_eq!(error.message, format!("looking at {}: {text}", disk.display()));
            assert_eq!(silent.look(folder.path(), |path| Ok(path.is_dir())).await, Ok(true));
        }
        drop(answers);
        while silent.begin("looking", &disk).is_err() {
            tokio::time::sleep(MOMENT).await;
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
