//! Owner, mode and directories of a mounted volume. Pods write there: no link of theirs is followed.

use super::super::super::files;
use bowline_ports::{Access, ErrorKind, NewDirectory, PortError};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, unlinkat};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

/// Makes what is missing, and gives the volume's own directory its owner and mode.
pub(super) fn arrange(mount: &Path, number: &str, root: Access, directories: &[NewDirectory]) -> Result<(), PortError> {
    let what = || format!("opening {}", mount.display());
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let top = File::options().read(true).custom_flags(flags.bits()).open(mount);
    let top = OwnedFd::from(top.map_err(|e| PortError::io(what(), &e))?);
    let stat = fstat(&top).map_err(|e| PortError::io(what(), &e.into()))?;
    // btrfs gives its files device numbers of their own.
    let there = super::mounts::read()?.into_iter().rfind(|one| one.target == mount);
    if files::number(stat.st_dev) != number && there.is_none_or(|one| one.number != number) {
        let text = format!("{}: the volume is not mounted there any more", mount.display());
        return Err(PortError::new(ErrorKind::Changed, text));
    }
    for directory in directories {
        let path = mount.join(&directory.path);
        make(&top, directory).map_err(|errno| {
            let error = PortError::io(format_args!("making the directory {}", path.display()), &errno.into());
            match errno {
                Errno::ELOOP | Errno::EXDEV | Errno::ENOTDIR => error.hint(
                    "a link, another mount or a file is on its way, which Bowline does not follow: remove it, or \
                     change `directories`",
                ),
                _ => error,
            }
        })?;
    }
    give(&top, root).map_err(|e| PortError::io(format_args!("owner and mode of {}", mount.display()), &e.into()))
}

fn give(directory: impl AsFd, access: Access) -> nix::Result<()> {
    if let Some((user, group)) = access.owner {
        fchown(&directory, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    match access.mode {
        Some(mode) => fchmod(&directory, Mode::from_bits_truncate(mode)),
        None => Ok(()),
    }
}

/// It comes into being whole: owner, mode and name at once.
fn make(top: &OwnedFd, wanted: &NewDirectory) -> nix::Result<()> {
    let mut above = top.try_clone().map_err(|_| Errno::EMFILE)?;
    let mut parts = wanted.path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(Path::new(name)),
        _ => None,
    });
    let mut next = parts.next();
    while let Some(name) = next {
        next = parts.next();
        above = match open(&above, name) {
            Ok(there) => there,
            Err(Errno::ENOENT) => {
                let plain = Access { owner: Some((0, 0)), mode: Some(0o755) };
                let last = if next.is_none() { wanted.access } else { plain };
                create(&above, name, last)?
            }
            Err(errno) => return Err(errno),
        };
    }
    Ok(())
}

fn open(above: &OwnedFd, name: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
    openat2(above, name, how)
}

fn create(above: &OwnedFd, name: &Path, access: Access) -> nix::Result<OwnedFd> {
    let temporary = files::temporary(name);
    match mkdirat(above, &temporary, Mode::from_bits_truncate(0o700)) {
        // Of an attempt that was cut off: empty.
        Err(Errno::EEXIST) => {
            unlinkat(above, &temporary, UnlinkatFlags::RemoveDir)?;
            mkdirat(above, &temporary, Mode::from_bits_truncate(0o700))?;
        }
        other => other?,
    }
    let made = open(above, &temporary)?;
    give(&made, Access { mode: Some(access.mode.unwrap_or(0o755)), ..access })?;
    fsync(&made)?;
    match renameat2(above, &temporary, above, name, RenameFlags::RENAME_NOREPLACE) {
        // Somebody was faster.
        Err(Errno::EEXIST) => {
            unlinkat(above, &temporary, UnlinkatFlags::RemoveDir)?;
            return open(above, name);
        }
        other => other?,
    }
    fsync(above)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn directory(path: &str, mode: u32) -> NewDirectory {
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        NewDirectory { path: path.into(), access: Access { owner: Some(owner), mode: Some(mode) } }
    }

    fn number(path: &Path) -> String {
        files::number(std::fs::metadata(path).unwrap().dev())
    }

    #[test]
    fn directories_are_made_once_with_their_mode_and_then_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (top, number) = (place.path(), number(place.path()));
        let wanted = [directory("a/deep/data-0", 0o2770), directory("b", 0o700)];
        let root = Access { owner: None, mode: Some(0o751) };
        arrange(top, &number, root, &wanted).unwrap();
        let mode = |path: &str| std::fs::metadata(top.join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/deep"), mode("a/deep/data-0"), mode("b")), (0o755, 0o755, 0o2770, 0o700));
        assert_eq!(mode(""), 0o751);
        // A pod has made it its own; what an attempt that was cut off left is no obstacle.
        std::fs::set_permissions(top.join("b"), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        std::fs::create_dir(top.join(".c.bowline-tmp")).unwrap();
        arrange(top, &number, root, &[directory("b", 0o700), directory("c", 0o750)]).unwrap();
        assert_eq!((mode("b"), mode("c")), (0o711, 0o750));
        assert!(!top.join(".c.bowline-tmp").exists());
    }

    #[test]
    fn a_link_of_a_pod_leads_nowhere() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let number = number(place.path());
        symlink(elsewhere.path(), place.path().join("data")).unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        for path in ["data/x", "data", "file/x"] {
            let error = arrange(place.path(), &number, Access::default(), &[directory(path, 0o777)]).unwrap_err();
            assert!(error.message.contains(path) && error.hint.is_some(), "{error:?}");
        }
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_done_on_what_is_mounted_there_instead() {
        let place = tempfile::tempdir().unwrap();
        let error = arrange(place.path(), "7:999", Access::default(), &[directory("a", 0o755)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Changed);
        assert!(!place.path().join("a").exists());
    }
}
