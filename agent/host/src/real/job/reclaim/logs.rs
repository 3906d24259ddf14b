//! Logs that nobody writes to any more.
//!
//! Those who write logs may own the directories of theirs, and put links into them while this runs as root. So each file is
//! removed out of a directory that was opened without following any link, after a look at it in there.

use super::{Freed, now};
use bowline_ports::{ErrorKind, PortError};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A file that may go.
struct Old {
    /// Its directory, beneath the root.
    directory: PathBuf,
    name: OsString,
    /// When it was written last, in seconds since 1970.
    at: i64,
}

/// Removes files beneath `root` that fit one of the patterns, the oldest first.
pub(super) fn rotated(root: &Path, patterns: &[String], older_than: u64, at_most: u64) -> Freed {
    let mut found = Vec::new();
    for pattern in patterns {
        match glob::glob(pattern) {
            Ok(paths) => found.extend(paths.flatten().filter_map(|path| relative(root, &path))),
            Err(error) => {
                let text = format!("{pattern:?} is no pattern: {error}");
                return (0, Err(PortError::new(ErrorKind::Invalid, text)));
            }
        }
    }
    remove(root, found, older_than, at_most)
}

/// Removes what the containers of these pods have logged, the oldest first.
pub(super) fn of_pods(root: &Path, ended: &[String], older_than: u64, at_most: u64) -> Freed {
    let mut found = Vec::new();
    let plain = |name: &&String| matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    for pod in ended.iter().filter(plain) {
        for container in names(&root.join(pod)) {
            let directory = Path::new(pod).join(container);
            let files = names(&root.join(&directory));
            found.extend(files.into_iter().map(|name| (directory.clone(), name)));
        }
    }
    remove(root, found, older_than, at_most)
}

/// The directory and the name of a path, beneath the root.
fn relative(root: &Path, path: &Path) -> Option<(PathBuf, OsString)> {
    let inner = path.strip_prefix(root).ok()?;
    Some((inner.parent()?.to_path_buf(), inner.file_name()?.to_owned()))
}

/// The names in a directory; none where there is none.
fn names(directory: &Path) -> Vec<OsString> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(mut directory) = Dir::open(directory, flags, Mode::empty()) else { return Vec::new() };
    let names = directory.iter().flatten().map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
    names.filter(|name| name != "." && name != "..").collect()
}

fn remove(root: &Path, found: Vec<(PathBuf, OsString)>, older_than: u64, at_most: u64) -> Freed {
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
    let failed = |what: &Path, error: Errno| PortError::io(format_args!("removing {}", what.display()), &error.into());
    let top = match open(root, flags, Mode::empty()) {
        Ok(top) => top,
        // Nothing was logged yet.
        Err(Errno::ENOENT) => return (0, Ok(())),
        Err(error) => return (0, Err(failed(root, error))),
    };
    let Ok(device) = fstat(&top).map(|stat| stat.st_dev) else { return (0, Ok(())) };
    let newest = now().saturating_sub(i64::try_from(older_than).unwrap_or(i64::MAX));
    let may_go = |stat: &FileStat| {
        let regular = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        regular && stat.st_dev == device && stat.st_mtime <= newest
    };
    let mut old: Vec<Old> = Vec::new();
    for (directory, name) in found {
        let Some(stat) = within(&top, &directory).and_then(|fd| look(&fd, &name)).filter(&may_go) else { continue };
        old.push(Old { directory, name, at: stat.st_mtime });
    }
    old.sort_by(|one, other| (one.at, &one.directory, &one.name).cmp(&(other.at, &other.directory, &other.name)));
    old.dedup_by(|one, other| (&one.directory, &one.name) == (&other.directory, &other.name));
    let (mut freed, mut result) = (0_u64, Ok(()));
    for one in old {
        let Some(directory) = within(&top, &one.directory) else { continue };
        // Again, in the directory that it is removed from.
        let Some(stat) = look(&directory, &one.name).filter(&may_go) else { continue };
        let bytes = if stat.st_nlink > 1 { 0 } else { u64::try_from(stat.st_blocks).unwrap_or(0) * 512 };
        if freed.saturating_add(bytes) > at_most {
            break;
        }
        match unlinkat(&directory, one.name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => freed += bytes,
            Err(Errno::ENOENT) => {}
            Err(error) => result = Err(failed(&root.join(&one.directory).join(&one.name), error)),
        }
    }
    (freed, result)
}

/// A directory beneath another, without following a link or crossing into another mount.
fn within(top: &OwnedFd, directory: &Path) -> Option<OwnedFd> {
    let path = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
    openat2(top, path, how).ok()
}

fn look(directory: &impl AsFd, name: &OsStr) -> Option<FileStat> {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
}
