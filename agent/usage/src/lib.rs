//! How large a directory is, and those in it: bytes and inodes, as `du -x` counts them.
//!
//! A library of its own, which knows nothing of the rest of Bowline, reads directories itself and changes nothing (not even
//! the time when a directory was read, where it may). It is synchronous: [`scan`] is called on a thread that may wait.
//!
//! - **What is counted.** All that is beneath the directory on its own filesystem and its own mount: what is mounted beneath
//!   is left out and named, also bind mounts and single files, and btrfs subvolumes, as `du -x` does. What is hidden beneath
//!   a mount is not seen. A file with several names is counted once, where it is met first.
//! - **What it takes.** Memory for the directories that are asked for, for those on the way to where it is, and for the
//!   names of directories that are next (at most [`NAMES`] bytes of each on the way, and little of further ones where that has
//!   come to much), but for no other file: only those with several names are remembered, 64 neighbouring inodes in 17 to 34
//!   bytes. At most [`OPEN`] directories are open on a thread, however deep it goes. It goes [`DEEPEST`] deep: what lies
//!   deeper is named as unreadable.
//! - **Whom it bothers.** Nobody, where [`Request::idle`] is set: its threads then get what processors and disks have left.
//!   [`Request::share`] limits what it uses of an idle machine.
//! - **What changes meanwhile** is counted as it is found. Nothing that happens to a file ends a scan: see [`Problems`].
//!
//! Modules: `walk` goes through directories, `share` hands some of them to another thread, `kernel` has the system calls,
//! `mounts` what is mounted beneath, `links` the files with several names, `pace` priority and budget.

mod control;
mod kernel;
mod links;
mod mounts;
mod pace;
mod problems;
mod share;
mod tree;
mod walk;

pub use control::Control;
pub use problems::{FIRST, Problem, ProblemKind, Problems};
pub use tree::{Directory, Size, Tree};
pub use walk::{DEEPEST, NAMES, OPEN};

use rustix::io::Errno;
use share::Shared;
use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// For whoever scans filesystems that may hang: one that says nothing of a directory for so long is passed over,
pub const ANSWER: Duration = Duration::from_secs(10);
/// and one that finds no other name in it for so long, however small its share of a processor is.
pub const SILENCE: Duration = Duration::from_secs(60);

/// What a scanning thread's stack may take: it does not recurse.
const STACK: usize = 256 << 10;

/// What to look at, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The directory. A symbolic link is followed here, and nowhere beneath.
    pub root: PathBuf,
    /// How many levels of directories beneath it are told one by one: 0 tells the directory itself alone.
    pub depth: usize,
    /// How many directories are told at most; the others are counted in those that they are in.
    pub directories: usize,
    /// How many threads read.
    pub threads: Threads,
    /// Whether the threads get only the processors and disks that nobody else wants (`SCHED_IDLE`; the kernel ranks their
    /// reads by it). Whether they could is told by [`Tree::not_idle`].
    pub idle: bool,
    /// At most so much of one processor, all threads together: 0.1 is a tenth. `None`: whatever they get.
    pub share: Option<f64>,
}

/// How many threads read: more than two were not quicker on two processors, and are slower on one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One: for disks that seek, and for networked ones with a limit.
    One,
    /// Two.
    Two,
}

impl Request {
    /// The directory alone, by one thread, as quickly as it goes.
    pub fn of(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), depth: 0, directories: 10_000, threads: Threads::One, idle: false, share: None }
    }
}

/// Why there is no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The directory itself cannot be read.
    #[error("{}: {error}", path.display())]
    Root {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// What is mounted beneath cannot be told, and so a hanging network filesystem might be entered.
    #[error("/proc/thread-self/mountinfo: {0}: is /proc mounted?")]
    Mounts(std::io::Error),
    /// The share of a processor makes no sense.
    #[error("a share of {0} of a processor: it has to be more than 0")]
    Share(f64),
    /// No thread could be made.
    #[error("a thread to scan with: {0}")]
    Thread(std::io::Error),
    /// [`Control::stop`] was called.
    #[error("the scan was stopped")]
    Stopped,
}

/// Looks through a directory to its end, and says how large it is. Waits for the threads that it makes: call it from one
/// that may.
///
/// [`Control::stop`] ends it within a second, unless the disk itself does not answer.
pub fn scan(request: &Request, control: &Control) -> Result<Tree, ScanError> {
    let began = Instant::now();
    if let Some(share) = request.share
        && !(share.is_finite() && share > 0.0)
    {
        return Err(ScanError::Share(share));
    }
    let of_root = |error: Errno| ScanError::Root { path: request.root.clone(), error: error.into() };
    let root = kernel::open_root(&request.root).map_err(of_root)?;
    let whole = kernel::look_at(&root).map_err(of_root)?;
    let (real, mounted) = mounts::beneath(&root).map_err(ScanError::Mounts)?;
    let threads = match request.threads {
        Threads::One => 1,
        Threads::Two => 2,
    };
    control.met(1, whole.allocated);
    let shared = Shared::new(request, control, threads, whole, mounted);
    let ended = thread::scope(|scope| {
        let mut first = Some(walk::Task::root(root, &whole));
        let mut running = Vec::new();
        for number in 0..threads {
            let (shared, first) = (&shared, first.take());
            let thread = thread::Builder::new().name(format!("usage-{number}")).stack_size(STACK);
            match thread.spawn_scoped(scope, move || walk::run(shared, first)) {
                Ok(thread) => running.push(thread),
                Err(error) => {
                    shared.end();
                    return Err(ScanError::Thread(error));
                }
            }
        }
        // A panic in there goes on out here.
        Ok(running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect())
    });
    let ended: Vec<walk::Found> = ended?;
    if control.stopped() {
        return Err(ScanError::Stopped);
    }
    let first = Directory { name: OsString::from(&request.root), parent: None, depth: 0, size: whole.own_size() };
    let not_remembered = shared.not_remembered();
    let mut tree = tree::assemble(first, shared.into_nodes(), ended, began.elapsed());
    tree.problems.not_remembered = not_remembered;
    Ok(Tree { real, ..tree })
}
