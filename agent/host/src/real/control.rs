//! One writer: a lock that the daemon holds, and a socket over which commands ask it to act.

use bowline_ports::{ErrorKind, PortError};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};

/// The right to change the machine; given back when dropped, also by the kernel when the process dies.
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the lock, or says that another process has it.
    pub fn take(path: &Path) -> Result<Self, PortError> {
        let refused = |e| not_opened(path, &e);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(refused)?;
        }
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                Err(PortError::new(ErrorKind::Busy, "another bowline is at work on this machine")
                    .hint("`systemctl status bowline` shows the daemon"))
            }
            Err(TryLockError::Error(error)) => Err(PortError::io(format_args!("locking {}", path.display()), &error)),
        }
    }

    /// Takes the lock within a time: the process that has it may be about to end, or let it go when it [`is_wanted`](Self::is_wanted).
    /// `waits` is told at first that it has to wait.
    ///
    /// # Errors
    /// Another process has it all that time, or it cannot be taken at all.
    pub async fn take_within(path: &Path, time: Duration, waits: impl FnOnce(&PortError)) -> Result<Self, PortError> {
        let end = tokio::time::Instant::now() + time;
        let (mut waits, mut wants) = (Some(waits), None);
        loop {
            match Self::take(path) {
                Err(busy) if busy.kind == ErrorKind::Busy && tokio::time::Instant::now() < end => {
                    waits.take().into_iter().for_each(|waits| waits(&busy));
                    wants = wants.or_else(|| Self::take(&wanted(path)).ok());
                    tokio::time::sleep(TAKE_AGAIN).await;
                }
                taken => return taken,
            }
        }
    }

    /// Whether another process waits for the lock.
    pub fn is_wanted(path: &Path) -> bool {
        Self::take(&wanted(path)).is_err_and(|error| error.kind == ErrorKind::Busy)
    }

    /// Gives the lock to whoever waits for it: the lock again, where that did not take it.
    ///
    /// # Errors
    /// It is another's now.
    pub async fn give(self, path: &Path) -> Result<Self, PortError> {
        drop(self);
        tokio::time::sleep(TAKE_AGAIN * 3).await;
        Self::take(path)
    }

    /// Whether a process holds the lock: read from the kernel's list, which everybody may, and without taking the lock
    /// for a moment in somebody's way.
    pub fn is_held(path: &Path) -> bool {
        let Ok(meta) = std::fs::metadata(path) else { return false };
        let seen = || std::fs::read_to_string("/proc/locks").is_ok_and(|locks| lists(&locks, meta.dev(), meta.ino()));
        // The kernel hands the list out page by page: a lock that goes meanwhile can hide another one from one reading.
        (0..READINGS).any(|reading| {
            if reading > 0 {
                std::thread::sleep(Duration::from_millis(10));
            }
            seen()
        })
    }
}

/// Held by who waits for a lock.
fn wanted(path: &Path) -> PathBuf {
    path.with_extension("wanted")
}

fn not_opened(path: &Path, error: &std::io::Error) -> PortError {
    let failed = PortError::io(format_args!("opening {}", path.display()), error);
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => failed.hint("run it as root"),
        _ => failed,
    }
}

/// Between two attempts to take the lock.
const TAKE_AGAIN: Duration = Duration::from_millis(100);

/// How often the list of locks is read until a lock is taken for absent.
const READINGS: u32 = 5;

/// Whether `/proc/locks` has a writing flock on a file (`1: FLOCK  ADVISORY  WRITE 812 00:19:1234 0 EOF`).
fn lists(locks: &str, device: u64, inode: u64) -> bool {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [_, "FLOCK", _, "WRITE", _, locked, ..] if *locked == file)
    })
}

/// Between two attempts to take a connection, when one failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// So many commands are answered at a time: a handful is all there can sensibly be.
const PLACES: usize = 8;

/// The answer to one more.
const BUSY: &str = "busy";

/// How many looks there were, and the report of the last one as JSON.
pub type Published = (u64, String);

/// One that asks for a look: it is told how many there were when it was heard.
pub type LookRequest = oneshot::Sender<u64>;

/// Listens on the control socket. Each word that comes (`apply`) is sent on; whoever asked gets every report of a look that began
/// after it was heard, one a line, until it hangs up.
pub fn listen(
    path: &Path,
    asked: mpsc::Sender<LookRequest>,
    reports: watch::Receiver<Published>,
) -> Result<tokio::task::JoinHandle<()>, PortError> {
    let what = || format!("listening on {}", path.display());
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(PortError::io(what(), &e)),
    }
    let listener = UnixListener::bind(path).map_err(|e| PortError::io(what(), &e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|e| PortError::io(what(), &e))?;
    Ok(tokio::spawn(async move {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(PLACES));
        loop {
            let mut stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // Too many open files, or whoever asked is gone again: that passes, and the daemon must stay to be asked.
                Err(error) => {
                    tracing::warn!("the control socket: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let (asked, reports) = (asked.clone(), reports.clone());
            let Ok(place) = places.clone().try_acquire_owned() else {
                // It has room for the word, and nobody is waited for.
                let _ = stream.write_all(format!("{BUSY}\n").as_bytes()).await;
                continue;
            };
            tokio::spawn(async move {
                let _place = place;
                let _ = answer(stream, asked, reports).await;
            });
        }
    }))
}

async fn answer(
    stream: UnixStream,
    asked: mpsc::Sender<LookRequest>,
    mut reports: watch::Receiver<Published>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut words = BufReader::new(read).lines();
    while let Some(word) = words.next_line().await? {
        if word.trim() != "apply" {
            write.write_all(b"unknown\n").await?;
            continue;
        }
        // Only a look that began after the question is an answer to it: one under way may have seen what was before.
        let (heard, looks) = oneshot::channel();
        if asked.send(heard).await.is_err() {
            return Ok(());
        }
        let Ok(before) = looks.await else { return Ok(()) };
        reports.mark_changed();
        loop {
            tokio::select! {
                changed = reports.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let (looks, text) = reports.borrow_and_update().clone();
                    if looks <= before {
                        continue;
                    }
                    write.write_all(text.as_bytes()).await?;
                    write.write_all(b"\n").await?;
                }
                more = words.next_line() => {
                    if more?.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

/// The daemon's reports, as they are made.
pub struct Reports {
    lines: Lines<BufReader<tokio::net::unix::OwnedReadHalf>>,
    // Held open: closing it tells the daemon that nobody listens any more.
    _write: tokio::net::unix::OwnedWriteHalf,
}

impl Reports {
    /// The next report's JSON; `None` when the daemon ended.
    pub async fn next(&mut self) -> Result<Option<String>, PortError> {
        let line = self.lines.next_line().await.map_err(|e| PortError::io("reading the daemon's answer", &e))?;
        if line.as_deref() == Some(BUSY) {
            let text = format!("the daemon is asked by {PLACES} other commands already");
            return Err(PortError::new(ErrorKind::Busy, text).hint("run it again when one of them has ended"));
        }
        Ok(line)
    }
}

/// Asks the daemon to look again and to try again what failed.
pub async fn ask_apply(path: &Path) -> Result<Reports, PortError> {
    let failed = |e: std::io::Error| PortError::io(format!("asking the daemon at {}", path.display()), &e);
    let (read, mut write) = UnixStream::connect(path).await.map_err(failed)?.into_split();
    match write.write_all(b"apply\n").await {
        // Closed already: why, it has said.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        asked => asked.map_err(failed)?,
    }
    Ok(Reports { lines: BufReader::new(read).lines(), _write: write })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::given_back::given_back;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!Lock::is_held(&path));
        let lock = Lock::take(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "whoever may read it may hold it");
        assert!(Lock::is_held(&path));
        assert_eq!(Lock::take(&path).err().unwrap().kind, ErrorKind::Busy);
        drop(lock);
        given_back("it is held", || !Lock::is_held(&path));
    }

    #[tokio::test]
    async fn who_has_the_lock_is_given_time_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap();
        let mut told = 0;
        let late = Lock::take_within(&path, Duration::from_millis(150), |_| told += 1).await;
        assert_eq!((late.err().map(|error| error.kind), told), (Some(ErrorKind::Busy), 1));
        given_back("it is wanted", || !Lock::is_wanted(&path));
        let begun = tokio::sync::Notify::new();
        let waits = Lock::take_within(&path, Duration::from_secs(60), |_| begun.notify_one());
        let gives = async {
            begun.notified().await;
            while !Lock::is_wanted(&path) {
                tokio::time::sleep(TAKE_AGAIN).await;
            }
            held.give(&path).await.err().map(|error| error.kind)
        };
        let (taken, given) = tokio::join!(waits, gives);
        assert_eq!((taken.is_ok(), given), (true, Some(ErrorKind::Busy)));
    }

    #[test]
    fn only_a_writing_flock_on_that_very_file_counts() {
        let device = nix::sys::stat::makedev(0x103, 0x19);
        let held = |line: &str| lists(line, device, 1234);
        assert!(held("3: POSIX  ADVISORY  READ 7 00:19:9 0 EOF\n1: FLOCK  ADVISORY  WRITE 812 103:19:1234 0 EOF\n"));
        assert!(held("1: FLOCK  ADVISORY  WRITE 812 103:19:1234 0 EOF"));
        for other in
            ["1: FLOCK  ADVISORY  READ 812", "1: -> FLOCK  ADVISORY  WRITE 812", "1: POSIX  ADVISORY  WRITE 812"]
        {
            assert!(!held(&format!("{other} 103:19:1234 0 EOF")), "{other}");
        }
        assert!(!held("1: FLOCK  ADVISORY  WRITE 812 103:19:12345 0 EOF"));
        assert!(!held("1: FLOCK  ADVISORY  WRITE 812 03:19:1234 0 EOF"));
    }

    #[tokio::test]
    async fn a_command_asks_and_gets_reports_of_looks_that_began_after_it_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (asked, mut asks) = mpsc::channel(1);
        let (publish, reports) = watch::channel((6, String::from("old")));
        let server = listen(&path, asked, reports).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut answers = ask_apply(&path).await.unwrap();
        let heard = asks.recv().await.unwrap();
        publish.send((7, "under way when it asked".into())).unwrap();
        heard.send(7).unwrap();
        tokio::task::yield_now().await;
        publish.send((8, "new".into())).unwrap();
        assert_eq!(answers.next().await.unwrap().as_deref(), Some("new"));
        // One that is there before the question's own answer is read is not lost.
        let mut answers = ask_apply(&path).await.unwrap();
        let heard = asks.recv().await.unwrap();
        heard.send(8).unwrap();
        publish.send((9, "at once".into())).unwrap();
        assert_eq!(answers.next().await.unwrap().as_deref(), Some("at once"));
        server.abort();
    }

    #[tokio::test]
    async fn one_command_too_many_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (asked, mut asks) = mpsc::channel(PLACES);
        let (publish, reports) = watch::channel((0, String::new()));
        let server = listen(&path, asked, reports).unwrap();
        let mut others = Vec::new();
        for _ in 0..PLACES {
            others.push((ask_apply(&path).await.unwrap(), asks.recv().await.unwrap()));
        }
        for _ in 0..3 {
            let error = ask_apply(&path).await.unwrap().next().await.unwrap_err();
            assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Busy, true));
            assert_eq!(error.message, "the daemon is asked by 8 other commands already");
        }
        for (mut answers, heard) in others {
            heard.send(0).unwrap();
            publish.send((1, "there".into())).unwrap();
            assert_eq!(answers.next().await.unwrap().as_deref(), Some("there"));
        }
        server.abort();
    }

    #[test]
    fn only_who_may_not_is_told_to_be_root() {
        let hint = |error| not_opened(Path::new("/run/bowline/lock"), &std::io::Error::from(error)).hint;
        for error in [nix::errno::Errno::EACCES, nix::errno::Errno::EPERM] {
            assert_eq!(hint(error).as_deref(), Some("run it as root"));
        }
        for error in [nix::errno::Errno::ENOSPC, nix::errno::Errno::EROFS] {
            assert_eq!(hint(error), None);
        }
    }
}
