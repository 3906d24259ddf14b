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

/// What makes the daemon look at everything, and try again what failed.
const APPLY: &str = "apply";
/// What only makes it look, for who has said the other before and still waits. A daemon that does not know it takes the next word.
const AGAIN: &str = "again";

/// One that asks for a look.
pub struct LookRequest {
    /// What failed is to be tried again at once.
    pub tries: bool,
    heard: oneshot::Sender<u64>,
}

impl LookRequest {
    /// Tells it how many looks there were when it was heard.
    ///
    /// # Errors
    /// It has gone.
    pub fn send(self, looks: u64) -> Result<(), u64> {
        self.heard.send(looks)
    }
}

/// Listens on the control socket. Each first word that is known is sent on; whoever asked gets every report of a look that began
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
        let tries = word.trim() == APPLY;
        if !tries && word.trim() != AGAIN {
            write.write_all(b"unknown\n").await?;
            continue;
        }
        // Only a look that began after the question is an answer to it: one under way may have seen what was before.
        let (heard, looks) = oneshot::channel();
        if asked.send(LookRequest { tries, heard }).await.is_err() {
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
    ask(path, format!("{APPLY}\n")).await
}

/// Asks the daemon to look again, with what failed to be tried again when it is time.
pub async fn ask_again(path: &Path) -> Result<Reports, PortError> {
    ask(path, format!("{AGAIN}\n{APPLY}\n")).await
}

async fn ask(path: &Path, words: String) -> Result<Reports, PortError> {
    let failed = |e: std::io::Error| PortError::io(format!("asking the daemon at {}", path.display()), &e);
    let (read, mut write) = UnixStream::connect(path).await.map_err(failed)?.into_split();
    match write.write_all(words.as_bytes()).await {
        // Closed already: why, it has said.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        asked => asked.map_err(failed)?,
    }
    Ok(Reports { lines: BufReader::new(read).lines(), _write: write })
}

#[cfg(test)]
mod tests;
