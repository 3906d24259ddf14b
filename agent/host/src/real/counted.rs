//! What the kernel counts of trouble: failed commands of disks, errors of filesystems, processes killed for want of memory; and
//! whether a package asks for a reboot.
//!
//! ```text
//! /sys/block/sda/device/ioerr_cnt     0x2c       (SCSI; other disks do not count; unit attentions, too)
//! /sys/fs/ext4/sda1/errors_count      0          (ext4)
//! /proc/vmstat                        oom_kill 3
//! ```

use bowline_ports::Counted;
use std::fs;
use std::path::Path;

/// Debian's and Ubuntu's mark of a package that is only in force after a reboot.
const REBOOT: &str = "run/reboot-required";

/// Reads it all; takes no longer than reading a few small files of the kernel.
pub fn counted() -> Counted {
    below(Path::new("/"))
}

fn below(root: &Path) -> Counted {
    let each = |folder: &str| {
        let mut names: Vec<_> = fs::read_dir(root.join(folder))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    };
    let disks = each("sys/block").into_iter().filter_map(|disk| {
        let text = fs::read_to_string(root.join("sys/block").join(&disk).join("device/ioerr_cnt")).ok()?;
        let count = u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()?;
        Some((disk, count))
    });
    let filesystems = each("sys/fs/ext4").into_iter().filter_map(|device| {
        let text = fs::read_to_string(root.join("sys/fs/ext4").join(&device).join("errors_count")).ok()?;
        let number = fs::read_to_string(root.join("sys/class/block").join(&device).join("dev")).ok()?;
        Some((number.trim().to_owned(), text.trim().parse().ok()?))
    });
    // btrfs counts for each of its disks (since Linux 5.14); a mount names one of them.
    let of_btrfs = each("sys/fs/btrfs").into_iter().flat_map(|id| {
        let place = format!("sys/fs/btrfs/{id}");
        let counts = each(&format!("{place}/devinfo")).into_iter().filter_map(|number| {
            let text = fs::read_to_string(root.join(&place).join("devinfo").join(number).join("error_stats")).ok()?;
            Some(text.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum::<u64>())
        });
        let errors = counts.reduce(|one, other| one + other);
        let disks = each(&format!("{place}/devices")).into_iter();
        // LUKS and LVM: mounted by the mapper's name.
        let mapped = |disk: &str| fs::read_to_string(root.join("sys/class/block").join(disk).join("dm/name")).ok();
        let named =
            |disk: String| mapped(&disk).map_or(format!("/dev/{disk}"), |name| format!("/dev/mapper/{}", name.trim()));
        disks.filter_map(|disk| Some((named(disk), errors?))).collect::<Vec<_>>()
    });
    let vmstat = fs::read_to_string(root.join("proc/vmstat")).unwrap_or_default();
    Counted {
        io_errors: disks.collect(),
        filesystem_errors: filesystems.chain(of_btrfs).collect(),
        oom_kills: vmstat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()),
        reboot_required: root.join(REBOOT).exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_writes_it() {
        let place = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(below(place.path()), Counted::default());
        write("sys/block/sda/device/ioerr_cnt", "0x2c\n");
        write("sys/block/vda/size", "100\n");
        write("sys/fs/ext4/sda1/errors_count", "3\n");
        write("sys/fs/ext4/features/lazy_itable_init", "supported\n");
        write("sys/class/block/sda1/dev", "8:1\n");
        for (number, text) in [("1", "write_errs 0\nread_errs 2\n"), ("2", "write_errs 1\ncorruption_errs 4\n")] {
            write(&format!("sys/fs/btrfs/7f3a/devinfo/{number}/error_stats"), text);
        }
        write("sys/fs/btrfs/7f3a/devices/sdc/dev", "8:32\n");
        write("sys/fs/btrfs/7f3a/devices/dm-0/dev", "253:0\n");
        write("sys/class/block/dm-0/dm/name", "vg-data\n");
        write("sys/fs/btrfs/features/raid1c34", "0\n");
        write("proc/vmstat", "nr_free_pages 1\noom_kill 3\noom_kill_other 9\n");
        write("run/reboot-required", "*** System restart required ***\n");
        let expected = Counted {
            io_errors: vec![("sda".into(), 44)],
            filesystem_errors: vec![("8:1".into(), 3), ("/dev/mapper/vg-data".into(), 7), ("/dev/sdc".into(), 7)],
            oom_kills: Some(3),
            reboot_required: true,
        };
        assert_eq!(below(place.path()), expected);
    }

    #[test]
    fn this_kernel_counts_what_it_kills() {
        assert!(counted().oom_kills.is_some());
    }
}
