//! How full filesystems are, and whether they answer. A dead network filesystem can hold a thread for ever, so each place has at most one
//! probe under way, and nobody waits for it longer than two seconds.

use super::blocking::Silent;
use bowline_ports::{PortError, Space};
use rustix::fs::{Mode, OFlags, RawDir, StatVfs, StatVfsMountFlags, fstat, fstatfs, fstatvfs, open, stat, statvfs};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(2);
/// `BTRFS_SUPER_MAGIC`.
const BTRFS: u64 = 0x9123_683e;

/// Asks the filesystem at a path. Who asks while somebody else does waits for them.
pub(crate) async fn space_at(silent: &Silent, path: &Path) -> Result<Space, PortError> {
    let doing = "asking the filesystem at";
    let answer = silent.in_turn(DEADLINE, doing, path, move |path| {
        ask(path).map_err(|error| PortError::io(format_args!("{doing} {}", path.display()), &error))
    });
    answer.await
}

/// What a filesystem says that gave up: its disk failed, or it found itself damaged.
const GAVE_UP: [Errno; 3] = [Errno::IO, Errno::UCLEAN, Errno::SHUTDOWN];

/// `statvfs`, at once. One that was shut down by errors answers that from memory, so that its directory is read as well.
pub(crate) fn ask(path: &Path) -> std::io::Result<Space> {
    match ask_once(path, None)? {
        Ok(space) => Ok(space),
        Err(_) => Err(std::io::ErrorKind::Unsupported.into()),
    }
}

/// The same of the filesystem with this number (`major:minor`), where one is given; else the number of the one that is there.
pub(crate) fn ask_once(path: &Path, expected: Option<&str>) -> std::io::Result<Result<Space, String>> {
    let other = |device: u64, expected: &str| Some(super::files::number(device)).filter(|seen| expected != seen);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // Opened once for all questions: to find the way to it takes longer than an answer.
    let answer = match open(path, flags, Mode::empty()) {
        Ok(directory) => {
            if let Some(expected) = expected
                && let Some(seen) = other(fstat(&directory)?.st_dev, expected)
            {
                return Ok(Err(seen));
            }
            let mut names = [MaybeUninit::<u8>::uninit(); 1024];
            match RawDir::new(&directory, &mut names).next() {
                Some(Err(error)) if GAVE_UP.contains(&error) => return Err(error.into()),
                _ => fstatvfs(&directory)?,
            }
        }
        Err(error) if GAVE_UP.contains(&error) => return Err(error.into()),
        // No directory, or none that may be read.
        Err(_) => {
            if let Some(expected) = expected
                && let Some(seen) = other(stat(path)?.st_dev, expected)
            {
                return Ok(Err(seen));
            }
            statvfs(path)?
        }
    };
    Ok(Ok(space(&answer)))
}

/// Whether a path is read-only for this process, by its own mounts: a sandbox has others than the machine. `None` where nothing is
/// there, or it does not say.
pub fn read_only_here(path: &Path) -> Option<bool> {
    statvfs(path).ok().map(|of| of.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether what is open is on a btrfs.
pub(crate) fn is_btrfs(open: impl AsFd) -> std::io::Result<bool> {
    Ok(u64::try_from(fstatfs(open)?.f_type).is_ok_and(|kind| kind == BTRFS))
}

/// `statvfs`, at once, and nothing else.
pub(crate) fn ask_for_room(path: &Path) -> std::io::Result<Space> {
    Ok(space(&statvfs(path)?))
}

/// What makes it possible again to write a file there that found no room.
pub(crate) fn make_room(place: &Path, needed: u64) -> String {
    match ask_for_room(place.ancestors().find(|one| one.exists()).unwrap_or(place)) {
        Ok(Space { inodes: 1.., inodes_free: 0, .. }) => {
            format!("remove files from the filesystem of {}: it has no inode left for another one", place.display())
        }
        _ => format!("make room on the filesystem of {} ({needed} bytes are needed)", place.display()),
    }
}

fn space(answer: &StatVfs) -> Space {
    let unit = answer.f_frsize;
    Space {
        size: answer.f_blocks * unit,
        free: answer.f_bfree * unit,
        available: answer.f_bavail * unit,
        inodes: answer.f_files,
        inodes_free: answer.f_ffree,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::ErrorKind;

    #[tokio::test]
    async fn a_mount_that_hangs_is_not_asked_again_and_does_not_hold_others() {
        let silent = Silent::default();
        let space = space_at(&silent, Path::new("/")).await.unwrap();
        assert!(space.size > 0 && space.size >= space.free && space.free >= space.available);
        let hanging = silent.begin("asking", Path::new("/proc")).unwrap();
        hanging.noted(Err::<(), _>(PortError::new(ErrorKind::Timeout, "late"))).unwrap_err();
        let error = space_at(&silent, Path::new("/proc")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert_eq!(error.message, "asking the filesystem at /proc: its filesystem still does not answer");
        assert!(space_at(&silent, Path::new("/")).await.is_ok());
        drop(hanging);
        assert!(space_at(&silent, Path::new("/proc")).await.is_ok());
    }

    #[tokio::test]
    async fn two_who_ask_at_once_are_both_answered() {
        let silent = Silent::default();
        let both = futures::future::join_all((0..2).map(|_| space_at(&silent, Path::new("/")))).await;
        assert!(both.iter().all(Result::is_ok), "{both:?}");
    }

    #[tokio::test]
    async fn nothing_there_is_not_found() {
        let error = space_at(&Silent::default(), Path::new("/no/such/place")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }

    #[test]
    fn a_file_and_another_filesystem_are_told() {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let number = super::super::files::number(file.as_file().metadata().unwrap().dev());
        let of = |path: &Path, expected| ask_once(path, Some(expected)).unwrap();
        let folder = file.path().parent().unwrap();
        for path in [file.path(), folder] {
            assert!(of(path, &number).unwrap().size > 0);
            assert_eq!(of(path, "199:99"), Err(number.clone()));
        }
        assert_eq!(ask(file.path()).unwrap().size, ask(folder).unwrap().size);
    }
}
