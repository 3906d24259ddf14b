//! What hangs is given up, and keeps nobody else waiting.

use super::pool::Pool;
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

/// With so many threads at most, made as the program makes them.
fn runtime(threads: usize) -> tokio::runtime::Runtime {
    pool(threads, |_| true).is_used();
    event_loop().unwrap()
}

/// A pool for which the kernel makes the threads whose numbers may be.
fn pool(most: usize, may_be: impl Fn(usize) -> bool + Send + Sync + 'static) -> Arc<Pool> {
    let number = AtomicUsize::new(0);
    Pool::new(most, move |pool| match may_be(number.fetch_add(1, Ordering::SeqCst)) {
        true => std::thread::Builder::new().spawn(move || pool.work()).map(drop),
        false => Err(std::io::Error::from_raw_os_error(nix::errno::Errno::EAGAIN as i32)),
    })
}

/// As where a limit of processes is reached: tokio's own threads would end the program.
#[tokio::test]
async fn where_no_thread_can_be_made_that_is_what_is_told() {
    pool(64, |number| number > 1).is_used();
    let error = blocking("looking at /".into(), DURABLE, || Ok(())).await.unwrap_err();
    let text = "looking at /: no thread can be started: Resource temporarily unavailable (os error 11)";
    assert_eq!(error.message, text);
    assert!(error.hint.is_some());
    let (begun, begins) = mpsc::channel();
    assert!(elsewhere(move || begun.send(())).is_err());
    assert!(begins.recv().is_err(), "what was told as failed is not done later");
    assert_eq!(blocking("once there are some again".into(), DURABLE, || Ok(7)).await, Ok(7));
}

#[tokio::test]
async fn work_waits_for_the_threads_there_are_where_no_more_can_be_made() {
    pool(64, |number| number == 0).is_used();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work = |number: usize| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        blocking("looking".into(), DURABLE, move || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(number)
        })
    };
    let answers = futures::future::join_all((0..3 * PLACES).map(work)).await;
    assert_eq!(answers, (0..3 * PLACES).map(Ok).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

/// Each hop to a thread that ended would make one anew.
#[tokio::test]
async fn a_thread_is_used_again_and_ends_when_there_is_nothing_to_do() {
    let made = Arc::new(AtomicUsize::new(0));
    let (counts, ended) = (Arc::clone(&made), Arc::new(()));
    let there = Arc::clone(&ended);
    let pool = Pool::new(64, move |pool| {
        counts.fetch_add(1, Ordering::SeqCst);
        let there = Arc::clone(&there);
        std::thread::Builder::new().spawn(move || {
            pool.work();
            drop(there);
        })?;
        Ok(())
    });
    Arc::clone(&pool).is_used();
    for _ in 0..100 {
        blocking("looking".into(), DURABLE, || Ok(())).await.unwrap();
        // It says that it is free after it has answered.
        while pool.busy() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(made.load(Ordering::SeqCst), 1);
    while Arc::strong_count(&ended) > 2 {
        tokio::time::sleep(MOMENT).await;
    }
}

#[tokio::test]
async fn work_that_panics_is_told_as_cut_off_and_its_thread_works_on() {
    pool(1, |number| number == 0).is_used();
    let error = blocking("looking".into(), DURABLE, || -> Result<(), _> { panic!("as a test does") });
    assert_eq!(error.await.unwrap_err().message, "looking: the work was cut off");
    assert_eq!(blocking("after it".into(), DURABLE, || Ok(7)).await, Ok(7));
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
