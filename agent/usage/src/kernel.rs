//! The system calls of a scan. None of them follows a symbolic link, starts an automount or crosses a mount.

use crate::links::Device;
use crate::tree::Size;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, SeekFrom, StatxFlags, openat2, seek, statx};
use rustix::io::Errno;
use std::ffi::CStr;
use std::path::Path;

/// A directory, to be listed.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// What a scan asks of each file.
const WANTED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::NLINK)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::BLOCKS)
    .union(StatxFlags::MNT_ID);
/// Nothing is asked of a server that the kernel knows already.
const QUIETLY: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT).union(AtFlags::STATX_DONT_SYNC);

/// What a scan knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) kind: FileType,
    /// How many names it has.
    pub(crate) names: u32,
    pub(crate) device: Device,
    pub(crate) inode: u64,
    /// Bytes that it seems to have.
    pub(crate) size: u64,
    /// Bytes that it takes.
    pub(crate) allocated: u64,
    /// The mount that it is on: kernels before 5.8 do not say.
    pub(crate) mount: Option<u64>,
}

impl Look {
    /// Which file it is, on its mount.
    pub(crate) fn id(&self) -> (Device, u64) {
        (self.device, self.inode)
    }

    /// What it takes by itself, met for the first time.
    pub(crate) fn own_size(&self) -> Size {
        let apparent = if matches!(self.kind, FileType::RegularFile | FileType::Symlink) { self.size } else { 0 };
        let directories = (self.kind == FileType::Directory).into();
        Size { allocated: self.allocated, apparent, inodes: 1, directories, names: 1 }
    }

    fn of(statx: &rustix::fs::Statx) -> Self {
        let told = StatxFlags::from_bits_retain(statx.stx_mask);
        Self {
            kind: FileType::from_raw_mode(statx.stx_mode.into()),
            names: statx.stx_nlink,
            device: (statx.stx_dev_major, statx.stx_dev_minor),
            inode: statx.stx_ino,
            size: statx.stx_size,
            allocated: statx.stx_blocks.saturating_mul(512),
            mount: told.contains(StatxFlags::MNT_ID).then_some(statx.stx_mnt_id),
        }
    }
}

/// The directory that was asked for; here alone a link is followed.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    open(|flags| openat2(CWD, path, flags, Mode::empty(), ResolveFlags::empty()))
}

/// A directory by its name in an open one. `XDEV` where something is mounted on it: that is not touched.
pub(crate) fn open_in(directory: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let directory = directory.as_fd();
    open(|flags| openat2(directory, name, flags | OFlags::NOFOLLOW, Mode::empty(), ResolveFlags::NO_XDEV))
}

/// Without leaving a time of reading on it, which only its owner may.
fn open(with: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    match with(DIRECTORY | OFlags::NOATIME) {
        Err(Errno::PERM) => with(DIRECTORY),
        answer => answer,
    }
}

/// What stands under this name in a directory.
pub(crate) fn look_in(directory: impl AsFd, name: &CStr) -> Result<Look, Errno> {
    statx(directory, name, QUIETLY, WANTED).map(|told| Look::of(&told))
}

/// What an open directory is.
pub(crate) fn look_at(directory: impl AsFd) -> Result<Look, Errno> {
    statx(directory, c"", QUIETLY | AtFlags::EMPTY_PATH, WANTED).map(|told| Look::of(&told))
}

/// Goes on reading a directory where an earlier reader was.
pub(crate) fn go_on_at(directory: impl AsFd, place: u64) -> Result<(), Errno> {
    seek(directory, SeekFrom::Start(place)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also of what was mounted after the scan began, and so is not left out by its name.
    #[test]
    fn a_mount_is_not_entered_and_what_is_on_it_is_elsewhere() {
        let root = open_root(Path::new("/")).unwrap();
        assert_eq!(open_in(&root, c"proc").unwrap_err(), Errno::XDEV);
        let (here, there) = (look_at(&root).unwrap(), look_in(&root, c"proc").unwrap());
        assert!(here.mount.is_some() && there.mount.is_some() && here.mount != there.mount, "{here:?} {there:?}");
        let etc = open_in(&root, c"etc").unwrap();
        assert_eq!(look_at(&etc).unwrap(), look_in(&root, c"etc").unwrap());
        assert_eq!(look_in(&etc, c"..").unwrap().id(), here.id());
    }
}
