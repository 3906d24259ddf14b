//! A thread's way through directories: depth first, without recursion.
//!
//! Of a directory so many names are read that the directories among them fill [`NAMES`]; then these are gone through, each
//! the same way, before more is read. The names of all levels lie in one stack of bytes. Of the levels above only the
//! nearest [`OPEN`] are open: one that was closed is opened again from below, by `..`, proven to be the same, and read on from
//! where it was.

mod way;

use crate::kernel::{self, Look};
use crate::links::Device;
use crate::pace::{self, Pace};
use crate::problems::{ProblemKind, Problems};
use crate::share::Shared;
use crate::tree::Size;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::mem::{self, MaybeUninit};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How many bytes of names of directories are read ahead in each directory on the way, before the first of those is entered.
pub const NAMES: usize = 64 << 10;
/// How many directories a thread has open at most, on its way and besides the one that it began with.
pub const OPEN: usize = 64;
/// Directories within directories are followed so far. Whoever may make some can make millions, of which each takes memory until
/// it was gone through; no path that a system call takes has more than 2047 of them.
pub const DEEPEST: usize = 4096;
/// Where so many bytes of names are read ahead in all directories on the way together, only a little is read of each further one.
const MUCH: usize = 2 << 20;
/// A name takes 280 bytes at most.
const LITTLE: usize = 2 << 10;
/// What the kernel tells of a directory at once.
const BUFFER: usize = 32 << 10;
/// After so many files a thread looks up: progress is told, and the budget looked at.
const STRETCH: u32 = 64;

/// Some directories that are in one, to be gone through.
pub(crate) struct Task {
    directory: Arc<OwnedFd>,
    id: (Device, u64),
    node: usize,
    depth: usize,
    /// From the scan's own directory.
    path: Vec<u8>,
    /// Each ended by a zero.
    names: Vec<u8>,
    /// Whether the directory itself is to be read, too.
    unread: bool,
}

impl Task {
    /// All of it.
    pub(crate) fn root(directory: OwnedFd, look: &Look) -> Self {
        let (path, names) = (Vec::new(), Vec::new());
        Self { directory: Arc::new(directory), id: look.id(), node: 0, depth: 0, path, names, unread: true }
    }
}

/// What a thread found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By node, without what is in other nodes.
    pub(crate) sizes: Vec<Size>,
    pub(crate) problems: Problems,
    pub(crate) not_idle: Option<String>,
    pub(crate) cpu: Duration,
}

/// The scan was told to stop.
struct Stopped;

/// Works until nobody has anything left to do.
pub(crate) fn run(shared: &Shared<'_>, first: Option<Task>) -> Found {
    let not_idle = if shared.idle { pace::be_idle() } else { None };
    let mut walk = Walk {
        shared,
        found: Found { not_idle, ..Found::default() },
        pace: Pace::new(shared.share),
        levels: Vec::new(),
        closed: 0,
        names: Vec::new(),
        path: Vec::new(),
        name: Vec::new(),
        buffer: vec![MaybeUninit::uninit(); BUFFER],
        met: (0, 0),
        stretch: 0,
    };
    let mut task = first.or_else(|| shared.next());
    while let Some(next) = task {
        if walk.through(next).is_err() {
            shared.end();
            break;
        }
        task = shared.next();
    }
    walk.look_up();
    Found { cpu: pace::used(), ..walk.found }
}

/// A directory on the way.
struct Level {
    /// `None` while it is closed.
    directory: Option<Arc<OwnedFd>>,
    id: (Device, u64),
    node: usize,
    depth: usize,
    /// Where the names of its directories begin in the stack of names.
    names: usize,
    /// How long its path is.
    path: usize,
    /// Where it is read on.
    place: u64,
    /// Whether there is more to read.
    unread: bool,
}

struct Walk<'a> {
    shared: &'a Shared<'a>,
    found: Found,
    pace: Pace,
    /// From the one that the task began with, which stays open.
    levels: Vec<Level>,
    /// Levels from 1 to this one are closed.
    closed: usize,
    names: Vec<u8>,
    path: Vec<u8>,
    /// The one that is entered next.
    name: Vec<u8>,
    buffer: Vec<MaybeUninit<u8>>,
    /// Names and bytes that were not told as progress yet.
    met: (u64, u64),
    stretch: u32,
}

impl Walk<'_> {
    fn through(&mut self, task: Task) -> Result<(), Stopped> {
        let Task { directory, id, node, depth, path, names, unread } = task;
        (self.names, self.path, self.closed) = (names, path, 0);
        let path = self.path.len();
        self.levels.clear();
        self.levels.push(Level { directory: Some(directory), id, node, depth, names: 0, path, place: 0, unread });
        while let Some(level) = self.levels.last() {
            if self.names.len() > level.names {
                self.hand_over();
                self.descend()?;
            } else if level.unread {
                self.read()?;
            } else {
                self.ascend();
            }
        }
        Ok(())
    }

    /// Reads on in the last level.
    fn read(&mut self) -> Result<(), Stopped> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let directory = level.directory.clone();
        let mut buffer = mem::take(&mut self.buffer);
        let (at_once, ahead) = if self.names.len() < MUCH { (BUFFER, NAMES) } else { (LITTLE, 1) };
        let read = match &directory {
            Some(directory) => self.list(directory, level.node, level.names + ahead, &mut buffer[..at_once]),
            None => Ok(None),
        };
        self.buffer = buffer;
        let place = read?;
        if let Some(level) = self.levels.last_mut() {
            level.unread = place.is_some();
            level.place = place.unwrap_or_default();
        }
        Ok(())
    }

    /// Counts what is in a directory, and keeps the names of its directories. Says where to read on, when all names together come to
    /// so many bytes.
    fn list(
        &mut self,
        directory: &OwnedFd,
        node: usize,
        enough: usize,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<Option<u64>, Stopped> {
        let shared = self.shared;
        let mounted = shared.mounted.within(&self.path);
        let mut entries = RawDir::new(directory, buffer);
        loop {
            let entry = match entries.next() {
                None => return Ok(None),
                Some(Ok(entry)) => entry,
                Some(Err(Errno::INTR)) => continue,
                // It was removed while it was read.
                Some(Err(Errno::NOENT)) => return Ok(None),
                Some(Err(error)) => {
                    self.problem(ProblemKind::Unreadable, Some(error), None);
                    return Ok(None);
                }
            };
            let (name, place) = (entry.file_name(), entry.next_entry_cookie());
            if name != c"." && name != c".." {
                self.breathe()?;
                if mounted.iter().any(|one| one == name.to_bytes()) {
                    self.problem(ProblemKind::Mount, None, Some(name));
                } else {
                    self.meet(directory, name, entry.file_type(), node);
                }
            }
            if entries.is_buffer_empty() && self.names.len() >= enough {
                return Ok(Some(place));
            }
        }
    }

    /// Counts one file; of a directory only its name is kept.
    fn meet(&mut self, directory: &OwnedFd, name: &CStr, kind: FileType, node: usize) {
        if std::str::from_utf8(name.to_bytes()).is_err() {
            self.problem(ProblemKind::NotUtf8, None, Some(name));
        }
        if kind == FileType::Directory {
            return self.names.extend(name.to_bytes_with_nul());
        }
        match kernel::look_in(directory, name) {
            Ok(look) if self.shared.is_elsewhere(&look) => self.problem(ProblemKind::Mount, None, Some(name)),
            // Some filesystems do not tell before, and it may have become one.
            Ok(look) if look.kind == FileType::Directory => self.names.extend(name.to_bytes_with_nul()),
            Ok(look) => self.count(&look, node),
            Err(error) => self.missed(error, name),
        }
    }

    fn count(&mut self, look: &Look, node: usize) {
        let directory = look.kind == FileType::Directory;
        self.met.0 += 1;
        let mut size = Size { names: 1, ..Size::default() };
        if directory || self.shared.is_new(look) {
            self.met.1 += look.allocated;
            size = Size { names: 1, ..look.own_size() };
        }
        if self.found.sizes.len() <= node {
            self.found.sizes.resize(node + 1, Size::default());
        }
        self.found.sizes[node] += size;
    }

    /// Enters the last directory of which the name was kept.
    fn descend(&mut self) -> Result<(), Stopped> {
        self.breathe()?;
        let Some(level) = self.levels.last() else { return Ok(()) };
        let (parent, depth, path) = (level.node, level.depth + 1, self.path.len());
        let begin = self.names[level.names..self.names.len() - 1].iter().rposition(|byte| *byte == 0);
        let begin = begin.map_or(level.names, |zero| level.names + zero + 1);
        let mut text = mem::take(&mut self.name);
        text.clear();
        text.extend(self.names.drain(begin..));
        if let (Some(directory), Ok(name)) = (level.directory.clone(), CStr::from_bytes_with_nul(&text)) {
            let open = || kernel::open_in(&*directory, name).and_then(|opened| Ok((kernel::look_at(&opened)?, opened)));
            match (depth <= DEEPEST).then(open).transpose() {
                // A subvolume.
                Ok(Some((look, _))) if look.device != self.shared.device => {
                    self.problem(ProblemKind::Mount, None, Some(name));
                }
                Ok(Some((look, opened))) => {
                    let node = self.shared.node(name.to_bytes(), parent, depth);
                    self.count(&look, node);
                    if path > 0 {
                        self.path.push(b'/');
                    }
                    self.path.extend(name.to_bytes());
                    self.enter(opened, look.id(), node, depth);
                }
                Err(Errno::XDEV) => self.problem(ProblemKind::Mount, None, Some(name)),
                not_entered => {
                    match not_entered {
                        Err(error) => self.missed(error, name),
                        Ok(_) => self.too_deep(name),
                    }
                    // What it takes itself can be seen from outside.
                    if let Ok(look) = kernel::look_in(&*directory, name)
                        && look.kind == FileType::Directory
                        && look.device == self.shared.device
                        && !self.shared.is_elsewhere(&look)
                    {
                        let node = self.shared.node(name.to_bytes(), parent, depth);
                        self.count(&look, node);
                    }
                }
            }
        }
        self.name = text;
        Ok(())
    }

    /// Before every file: whether to stop, and once in a while whether to pause.
    fn breathe(&mut self) -> Result<(), Stopped> {
        self.stretch += 1;
        if self.stretch >= STRETCH {
            self.look_up();
            self.pace.pause(self.shared.control);
        }
        if self.shared.control.stopped() { Err(Stopped) } else { Ok(()) }
    }

    fn look_up(&mut self) {
        let (names, allocated) = mem::take(&mut self.met);
        self.shared.control.met(names, allocated);
        self.stretch = 0;
    }

    fn missed(&mut self, error: Errno, name: &CStr) {
        match is_gone(error) {
            true => self.problem(ProblemKind::Vanished, None, Some(name)),
            false => self.problem(ProblemKind::Unreadable, Some(error), Some(name)),
        }
    }

    fn too_deep(&mut self, name: &CStr) {
        let error = format!("not looked into: more than {DEEPEST} directories lie one in the other there");
        self.tell(ProblemKind::Unreadable, Some(error), Some(name));
    }

    fn problem(&mut self, kind: ProblemKind, error: Option<Errno>, name: Option<&CStr>) {
        self.tell(kind, error.map(|error| std::io::Error::from(error).to_string()), name);
    }

    /// Where none is named, it is the last level itself.
    fn tell(&mut self, kind: ProblemKind, error: Option<String>, name: Option<&CStr>) {
        self.found.problems.met(kind, error, || {
            let mut path: PathBuf = self.shared.root.to_owned();
            if !self.path.is_empty() {
                path.push(OsStr::from_bytes(&self.path));
            }
            path.extend(name.map(|name| OsStr::from_bytes(name.to_bytes())));
            path
        });
    }
}

/// It was listed, and is not there any more, or is something else.
fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}
