//! How much of its device a filesystem takes, as its superblock says.
//!
//! ext4: `ext4_super_block` at 1 KiB. XFS: `xfs_dsb` at 0. btrfs: the device item in `btrfs_super_block` at 64 KiB.
//! (Linux, fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h, include/uapi/linux/btrfs_tree.h.)

use bowline_ports::{Filesystem, LastMount, PortError};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const EXT4_AT: u64 = 1 << 10;
const BTRFS_AT: u64 = 64 << 10;
/// Where in btrfs's superblock the item of the device itself is.
const DEVICE_ITEM: usize = 0xc9;
/// ext4's feature by which block numbers have 64 bits.
const EXT4_64BIT: u32 = 0x80;

/// Bytes that the filesystem on a device takes; `None` where no such filesystem is there.
pub(crate) fn read(path: &Path, filesystem: Filesystem) -> Result<Option<u64>, PortError> {
    let what = || format!("reading the superblock of {}", path.display());
    let device = File::open(path).map_err(|e| PortError::io(what(), &e))?;
    of(&device, filesystem).map_err(|e| PortError::io(what(), &e))
}

/// The same of a device that is open, mounted or not.
pub(crate) fn of(device: &File, filesystem: Filesystem) -> std::io::Result<Option<u64>> {
    let mut superblock = [0; 1024];
    let at = match filesystem {
        Filesystem::Ext4 => EXT4_AT,
        Filesystem::Xfs => 0,
        Filesystem::Btrfs => BTRFS_AT,
    };
    if filesystem == Filesystem::Xfs {
        // It writes its superblock past the cache of the device, which may have an older one.
        let _ = posix_fadvise(device, 0, 4096, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
    device.read_exact_at(&mut superblock, at)?;
    Ok(match filesystem {
        Filesystem::Ext4 => ext4(&superblock),
        Filesystem::Xfs => xfs(&superblock),
        Filesystem::Btrfs => btrfs(&superblock),
    })
}

/// Whether the filesystem says of itself that it has to be repaired: errors that the kernel met and wrote down, or an ext4
/// without a journal that was not unmounted. One with a journal to be replayed is fine.
pub(crate) fn has_errors(device: &File, filesystem: Filesystem) -> std::io::Result<bool> {
    let mut superblock = [0; 1024];
    let at = match filesystem {
        Filesystem::Ext4 => EXT4_AT,
        Filesystem::Xfs => 0,
        Filesystem::Btrfs => BTRFS_AT,
    };
    device.read_exact_at(&mut superblock, at)?;
    let has = match filesystem {
        Filesystem::Ext4 => ext4_has_errors(&superblock),
        // sb_features_incompat, XFS_SB_FEAT_INCOMPAT_NEEDSREPAIR.
        Filesystem::Xfs => bytes(&superblock, 0xd8).map(|flags| u32::from_be_bytes(flags) & 1 << 4 != 0),
        // BTRFS_SUPER_FLAG_ERROR.
        Filesystem::Btrfs => bytes(&superblock, 0x38).map(|flags| u64::from_le_bytes(flags) & 1 << 2 != 0),
    };
    Ok(has.unwrap_or(false))
}

/// `s_state`: 1 for cleanly unmounted, 2 for errors; with the feature RECOVER the journal is to be replayed.
fn ext4_has_errors(superblock: &[u8]) -> Option<bool> {
    let state = u16::from_le_bytes(bytes(superblock, 0x3a)?);
    let replays = u32::from_le_bytes(bytes(superblock, 0x60)?) & 0x4 != 0;
    Some(state & 2 != 0 || (state & 1 == 0 && !replays))
}

/// Whether an ext4 that notes no errors has a journal to be replayed: until then what it holds looks like damage.
pub(crate) fn has_to_replay(device: &File) -> std::io::Result<bool> {
    let mut superblock = [0; 1024];
    device.read_exact_at(&mut superblock, EXT4_AT)?;
    let replays = bytes(&superblock, 0x60).is_some_and(|flags| u32::from_le_bytes(flags) & 0x4 != 0);
    Ok(replays && ext4_has_errors(&superblock) == Some(false))
}

/// `s_mtime` and `s_last_mounted` of the ext4 on a device; `None` for one that was never mounted.
pub(crate) fn last_mount(device: &File) -> Option<LastMount> {
    let mut superblock = [0; 1024];
    device.read_exact_at(&mut superblock, EXT4_AT).ok()?;
    let unix = i64::from(u32::from_le_bytes(bytes(&superblock, 0x2c)?));
    let at = superblock.get(0x88..0xc8)?.split(|byte| *byte == 0).next()?;
    (unix > 0).then(|| LastMount { at: String::from_utf8_lossy(at).into_owned().into(), unix })
}

/// `s_errors` of the ext4 on a device: whether it turns read-only at an error, where its mount options do not say it.
pub(crate) fn turns_read_only(device: &File) -> bool {
    let mut errors = [0; 2];
    device.read_exact_at(&mut errors, EXT4_AT + 0x3c).is_ok() && u16::from_le_bytes(errors) == 2
}

/// Whether the ext4 on a device, mounted or not, has noted that it met errors: `s_state`.
pub(crate) fn notes_errors(device: &File) -> bool {
    let mut state = [0; 2];
    device.read_exact_at(&mut state, EXT4_AT + 0x3a).is_ok() && u16::from_le_bytes(state) & 2 != 0
}

/// The number that the device has in its btrfs, by which alone the kernel tells whose size is meant: its first disk has 1, and may be
/// gone. The device item of this device begins with it.
pub(crate) fn number(device: &File) -> std::io::Result<u64> {
    let mut number = [0; 8];
    device.read_exact_at(&mut number, BTRFS_AT + DEVICE_ITEM as u64)?;
    Ok(u64::from_le_bytes(number))
}

/// `num_devices` of the btrfs on a device: of how many disks it is. 1 where that cannot be read.
pub(crate) fn disks(device: &File) -> u64 {
    let mut superblock = [0; 1024];
    let read = device.read_exact_at(&mut superblock, BTRFS_AT).is_ok() && btrfs(&superblock).is_some();
    bytes(&superblock, 0x88).filter(|_| read).map_or(1, u64::from_le_bytes)
}

fn bytes<const N: usize>(superblock: &[u8], at: usize) -> Option<[u8; N]> {
    superblock.get(at..at + N)?.try_into().ok()
}

fn ext4(superblock: &[u8]) -> Option<u64> {
    let word = |at| bytes(superblock, at).map(u32::from_le_bytes);
    if bytes(superblock, 0x38)? != [0x53, 0xef] {
        return None;
    }
    let high = if word(0x60)? & EXT4_64BIT != 0 { word(0x150)? } else { 0 };
    let blocks = u64::from(high) << 32 | u64::from(word(0x4)?);
    blocks.checked_mul(1 << 10)?.checked_shl(word(0x18)?)
}

fn xfs(superblock: &[u8]) -> Option<u64> {
    if !superblock.starts_with(b"XFSB") {
        return None;
    }
    let size = u64::from(u32::from_be_bytes(bytes(superblock, 4)?));
    u64::from_be_bytes(bytes(superblock, 8)?).checked_mul(size)
}

fn btrfs(superblock: &[u8]) -> Option<u64> {
    if superblock.get(0x40..0x48)? != b"_BHRfS_M" {
        return None;
    }
    // After its number.
    bytes(superblock, DEVICE_ITEM + 8).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the real programs make takes all of its device, but for what is left over at the end.
    #[test]
    fn real_filesystems() {
        for (filesystem, command) in [
            (Filesystem::Ext4, ["mkfs.ext4", "-q", "-F"].as_slice()),
            (Filesystem::Ext4, &["mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^64bit"]),
            (Filesystem::Xfs, &["mkfs.xfs", "-q", "-f"]),
            (Filesystem::Btrfs, &["mkfs.btrfs", "-q", "-f"]),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(400 << 20).unwrap();
            let done = std::process::Command::new(command[0]).args(&command[1..]).arg(file.path()).output().unwrap();
            assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(read(file.path(), filesystem).unwrap(), Some(400 << 20), "{command:?}");
            for other in [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs] {
                assert_eq!(read(file.path(), other).unwrap().is_some(), other == filesystem, "{command:?} as {other}");
            }
        }
    }

    #[test]
    fn a_btrfs_says_of_how_many_disks_it_is() {
        for (program, options, number) in [
            ("mkfs.btrfs", ["-q", "-f"].as_slice(), 1),
            ("mkfs.btrfs", &["-q", "-f", "-m", "raid1"], 2),
            ("mkfs.ext4", &["-q", "-F"], 1),
        ] {
            let files: Vec<_> = (0..number).map(|_| tempfile::NamedTempFile::new().unwrap()).collect();
            files.iter().for_each(|file| file.as_file().set_len(400 << 20).unwrap());
            let mut command = std::process::Command::new(program);
            command.args(options).args(files.iter().map(tempfile::NamedTempFile::path));
            let done = command.output().unwrap();
            assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
            for (at, file) in (1..).zip(&files) {
                assert_eq!(disks(file.as_file()), number, "{command:?}");
                assert!(program != "mkfs.btrfs" || super::number(file.as_file()).unwrap() == at, "{command:?}");
            }
        }
    }

    #[test]
    fn errors_that_the_kernel_wrote_down() {
        let mut superblock = [0; 1024];
        for (state, features, wrong) in
            [(1, 0, false), (1, 4, false), (0, 4, false), (0, 0, true), (3, 0, true), (2, 4, true)]
        {
            (superblock[0x3a], superblock[0x60]) = (state, features);
            assert_eq!(ext4_has_errors(&superblock), Some(wrong), "state {state}, features {features}");
        }
    }

    #[test]
    fn nonsense_is_none() {
        for superblock in [[0; 1024], [0xff; 1024]] {
            assert_eq!((ext4(&superblock), xfs(&superblock), btrfs(&superblock)), (None, None, None));
        }
        let mut huge = [0xff; 1024];
        huge[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(ext4(&huge), None, "no shift by so much");
    }
}
