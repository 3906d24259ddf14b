//! What an ext4 that is mounted says of its errors, and whether they have made it read-only. All of it is in memory but the
//! superblock: to open a disk whose driver is busy with its errors may take minutes.
//!
//! The mount table does not always say that: Linux 6.12, and the stable kernels that took its fix (Debian 12's 6.1 among them),
//! leave `rw` there; only since 6.15 it has a word for it. (fs/ext4/super.c, `ext4_handle_error`; fs/ext4/sysfs.c.)
//!
//! ```text
//! /sys/fs/ext4/sda1/errors_count      3
//! /sys/fs/ext4/sda1/last_error_time   1764489600
//! /sys/fs/ext4/sda1/last_error_func   ext4_journal_check_start
//! ```

use super::extent;
use bowline_ports::PortError;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What finds that the journal was given up, and makes the filesystem read-only whatever its mount options say.
const JOURNAL_IS_GONE: &str = "ext4_journal_check_start";

/// The errors of one that is mounted. Its file is opened once for all looks.
#[derive(Debug)]
pub(crate) struct Errors {
    count: File,
    folder: PathBuf,
    /// The block device.
    pub(crate) device: PathBuf,
}

/// What its superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// When it was mounted, in seconds since 1970.
    mounted: i64,
    /// Whether it turns read-only at an error, where its mount options do not say it.
    turns: bool,
}

impl Superblock {
    /// Reads it from the block device; may take as long as that does.
    pub(crate) fn read(device: &Path) -> Result<Self, PortError> {
        let device = File::open(device).map_err(|e| PortError::io(format_args!("opening {}", device.display()), &e))?;
        let mounted = extent::last_mount(&device).map_or(0, |mount| mount.unix);
        Ok(Self { mounted, turns: extent::turns_read_only(&device) })
    }
}

impl Errors {
    /// Those of the filesystem on the block device `number` (`major:minor`), below the machine's `root`; `None` where there is no
    /// ext4, or `/sys` has none of it, as in a container.
    pub(crate) fn of(root: &Path, number: &str) -> Option<Self> {
        let device = fs::read_link(root.join("sys/dev/block").join(number)).ok()?;
        let folder = root.join("sys/fs/ext4").join(device.file_name()?);
        let count = File::open(folder.join("errors_count")).ok()?;
        Some(Self { count, folder, device: root.join("dev/block").join(number) })
    }

    /// What was mounted anew counts in a new file.
    pub(crate) fn open_anew(&mut self) {
        if let Ok(count) = File::open(self.folder.join("errors_count")) {
            self.count = count;
        }
    }

    /// How many it has met since it was checked last; `None` once it is unmounted.
    pub(crate) fn count(&self) -> Option<u64> {
        let mut text = [0; 32];
        let length = self.count.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
    }

    /// Whether they have made it read-only since it was mounted. `turns`: whether its mount options make it so at an error, where
    /// they say it.
    pub(crate) fn made_read_only(&self, superblock: Superblock, turns: Option<bool>) -> bool {
        let says = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let Ok(last) = says("last_error_time").trim().parse::<i64>() else { return false };
        last >= superblock.mounted
            && (turns.unwrap_or(superblock.turns) || says("last_error_func").trim() == JOURNAL_IS_GONE)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine with an ext4 on 8:17 that was mounted at 1000 s and has met three errors, the last one at `at`.
    pub(crate) fn machine(at: i64, function: &str, turns: bool) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("sys/fs/ext4/sdb1/errors_count", b"3\n");
        write("sys/fs/ext4/sdb1/last_error_time", format!("{at}\n").as_bytes());
        write("sys/fs/ext4/sdb1/last_error_func", format!("{function}\n").as_bytes());
        let mut superblock = [0; 2048];
        superblock[1024 + 0x2c..][..4].copy_from_slice(&1000_u32.to_le_bytes());
        superblock[1024 + 0x3c..][..2].copy_from_slice(&(if turns { 2_u16 } else { 1 }).to_le_bytes());
        write("dev/block/8:17", &superblock);
        fs::create_dir_all(root.path().join("sys/dev/block")).unwrap();
        let leads = "../../devices/pci0000:00/block/sdb/sdb1";
        std::os::unix::fs::symlink(leads, root.path().join("sys/dev/block/8:17")).unwrap();
        root
    }

    #[test]
    fn what_has_errors_is_read_only_where_an_error_makes_it_so() {
        for (at, function, superblock, options, read_only) in [
            (1001, "ext4_lookup", true, None, true),
            (1001, "ext4_lookup", false, None, false),
            (1001, "ext4_lookup", false, Some(true), true),
            (1001, "ext4_lookup", true, Some(false), false),
            (1001, JOURNAL_IS_GONE, false, None, true),
            (1001, JOURNAL_IS_GONE, true, Some(false), true),
            // It was met before, and then mounted once more.
            (999, JOURNAL_IS_GONE, true, Some(true), false),
        ] {
            let root = machine(at, function, superblock);
            let errors = Errors::of(root.path(), "8:17").unwrap();
            assert_eq!(errors.count(), Some(3));
            let says = Superblock::read(&errors.device).unwrap();
            assert_eq!(errors.made_read_only(says, options), read_only, "{at} {function} {superblock} {options:?}");
        }
        assert!(Errors::of(machine(0, "", false).path(), "8:33").is_none(), "no ext4");
    }

    #[test]
    fn they_are_counted_at_each_look() {
        let root = machine(1001, "ext4_lookup", false);
        let mut errors = Errors::of(root.path(), "8:17").unwrap();
        fs::write(root.path().join("sys/fs/ext4/sdb1/errors_count"), "4\n").unwrap();
        assert_eq!(errors.count(), Some(4));
        errors.count = File::open(root.path()).unwrap();
        assert_eq!(errors.count(), None, "as of one that was unmounted");
        errors.open_anew();
        assert_eq!(errors.count(), Some(4));
    }
}
