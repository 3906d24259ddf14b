//! Logs that nobody writes to any more.
//!
//! Those who write logs may own the directories of theirs, and put links into them while this runs as root. So each file is
//! removed out of a directory that was opened without following any link, after a look at it in there.
//!
//! One that somebody still has open stays: without its name it would free nothing, and nobody could find it.

use super::super::super::processes::open_files;
use super::super::super::unix_now;
use super::{Freed, Meanwhile};
use bowline_ports::{ErrorKind, PortError};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A file that may go.
struct Old {
    /// Its directory, beneath the root.
    directory: PathBuf,
    name: OsString,
    inode: u64,
    /// When it was written last, in seconds since 1970.
    at: i64,
}

/// Beneath the root, what is no rotated log whatever its name is: the journal's and the containers' own.
const OWNED: [&str; 3] = ["journal", "pods", "containers"];
/// Files of one go, at most: the rest has its turn in the next one. Those that are still open are none of them, or they would have
/// each turn.
const FILES: usize = 100_000;
/// What was freed is told whenever so many were looked at.
const TELL: usize = 256;

/// Removes files beneath `root` that fit one of the patterns, the oldest first.
pub(super) fn rotated(
    root: &Path,
    patterns: &[String],
    older_than: u64,
    at_most: u64,
    meanwhile: Meanwhile<'_>,
) -> Freed {
    let (mut found, mut trouble) = (Vec::new(), None);
    for pattern in patterns {
        let paths = match glob::glob(pattern) {
            Ok(paths) => paths,
            Err(error) => {
                let text = format!("{pattern:?} is no pattern: {error}");
                trouble = Some(PortError::new(ErrorKind::Invalid, text));
                continue;
            }
        };
        for path in paths {
            match path {
                Ok(path) => found.extend(relative(root, &path).filter(|(directory, _)| !owned(directory))),
                Err(error) => trouble = Some(PortError::io(format_args!("{}", error.path().display()), error.error())),
            }
        }
    }
    let (freed, result) = remove(root, found, older_than, (at_most, FILES), meanwhile);
    (freed, result.and_then(|told| trouble.map_or(Ok(told), Err)))
}

fn owned(directory: &Path) -> bool {
    let first = directory.iter().next();
    OWNED.iter().any(|owned| first == Some(OsStr::new(owned)))
}

/// Removes what the containers of these pods have logged, the oldest first.
pub(super) fn of_pods(root: &Path, ended: &[String], older_than: u64, at_most: u64, meanwhile: Meanwhile<'_>) -> Freed {
    let mut found = Vec::new();
    let plain = |name: &&String| matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    for pod in ended.iter().filter(plain) {
        for container in names(&root.join(pod)) {
            let directory = Path::new(pod).join(container);
            let files = names(&root.join(&directory));
            found.extend(files.into_iter().map(|name| (directory.clone(), name)));
        }
    }
    remove(root, found, older_than, (at_most, FILES), meanwhile)
}

/// The directory and the name of a path, beneath the root; none of one that leads back.
fn relative(root: &Path, path: &Path) -> Option<(PathBuf, OsString)> {
    let inner = path.strip_prefix(root).ok()?;
    if !inner.components().all(|one| matches!(one, Component::Normal(_))) {
        return None;
    }
    Some((inner.parent()?.to_path_buf(), inner.file_name()?.to_owned()))
}

/// The names in a directory; none where there is none.
fn names(directory: &Path) -> Vec<OsString> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(mut directory) = Dir::open(directory, flags, Mode::empty()) else { return Vec::new() };
    let names = directory.iter().flatten().map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
    names.filter(|name| name != "." && name != "..").collect()
}

/// Of files in these directories beneath `root`, those that may go: so many bytes and files at most.
pub(super) fn remove(
    root: &Path,
    found: Vec<(PathBuf, OsString)>,
    older_than: u64,
    (at_most, files): (u64, usize),
    meanwhile: Meanwhile<'_>,
) -> Freed {
    let failed = |what: &Path, error: Errno| PortError::io(format_args!("removing {}", what.display()), &error.into());
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
    // A link in its place may lead into a volume.
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let top = match openat2(AT_FDCWD, root, how) {
        Ok(top) => top,
        // Nothing was logged yet.
        Err(Errno::ENOENT) => return (0, Ok(String::new())),
        Err(error) => return (0, Err(failed(root, error))),
    };
    let device = match fstat(&top) {
        Ok(stat) => stat.st_dev,
        Err(error) => return (0, Err(failed(root, error))),
    };
    let newest = unix_now().saturating_sub(i64::try_from(older_than).unwrap_or(i64::MAX));
    // One with another name frees nothing.
    let may_go = |stat: &FileStat| {
        let regular = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        regular && stat.st_nlink == 1 && stat.st_dev == device && stat.st_mtime <= newest
    };
    let seen = |directory: &Path, name: &OsStr| -> Result<Option<(OwnedFd, FileStat)>, Errno> {
        let Some(fd) = within(&top, directory)? else { return Ok(None) };
        Ok(look(&fd, name)?.filter(&may_go).map(|stat| (fd, stat)))
    };
    let (mut freed, mut result, mut too_large, mut open) = (0_u64, Ok(()), 0_u64, 0_u64);
    let mut old: Vec<Old> = Vec::new();
    for (directory, name) in found {
        match seen(&directory, &name) {
            Ok(Some((_, stat))) => old.push(Old { directory, name, inode: stat.st_ino, at: stat.st_mtime }),
            Ok(None) => {}
            Err(error) => result = Err(failed(&root.join(directory).join(name), error)),
        }
    }
    old.sort_by(|one, other| (one.at, &one.directory, &one.name).cmp(&(other.at, &other.directory, &other.name)));
    old.dedup_by(|one, other| (&one.directory, &one.name) == (&other.directory, &other.name));
    let held: HashSet<u64> = match old.is_empty() {
        true => HashSet::new(),
        false => match open_files(Path::new("/proc")) {
            Ok(all) => all.into_iter().filter(|(on, _)| *on == device).map(|(_, inode)| inode).collect(),
            Err(error) => return (0, Err(PortError::io("looking which of them are still open", &error))),
        },
    };
    old.retain(|one| {
        !held.contains(&one.inode) || {
            open += 1;
            false
        }
    });
    for (number, one) in old.into_iter().take(files).enumerate() {
        if number > 0 && number % TELL == 0 {
            meanwhile(freed);
        }
        // Again, in the directory that it is removed from.
        let Ok(Some((directory, stat))) = seen(&one.directory, &one.name) else { continue };
        if held.contains(&stat.st_ino) {
            open += 1;
            continue;
        }
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if bytes > at_most {
            too_large += 1;
        }
        if freed.saturating_add(bytes) > at_most {
            continue;
        }
        match unlinkat(&directory, one.name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => freed += bytes,
            Err(Errno::ENOENT) => {}
            Err(error) => result = Err(failed(&root.join(&one.directory).join(&one.name), error)),
        }
    }
    if too_large > 0 && result.is_ok() {
        let text = format!("{too_large} of them are larger than at-most, and stay");
        result = Err(PortError::new(ErrorKind::Other, text));
    }
    // Who follows logs has them open after they were rotated: that is no fault.
    let told = if open > 0 { format!("{open} of them are still open, and stay") } else { String::new() };
    (freed, result.map(|()| told))
}

/// A directory beneath another, without following a link or crossing into another mount; none where that leads nowhere.
fn within(top: &OwnedFd, directory: &Path) -> Result<Option<OwnedFd>, Errno> {
    let path = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(top, path, how) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn look(directory: &impl AsFd, name: &OsStr) -> Result<Option<FileStat>, Errno> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
