//! Filesystems that do not grow as others do, or that a check can say nothing of.

use super::Real;
use super::devices::{run, settled};
use crate::suite::{Fixture, STRANGER, contract};
use bowline_ports::{
    Change, DeviceId, ErrorKind, Filesystem, GrowOrder, Inspect, PortError, Progress, TendOrder, Work,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(super) mod cases {
    use super::Real;

    super::contract! { Real::new(), [super];
        a_btrfs_grows_whose_first_disk_is_gone,
        an_ext4_that_notes_errors_does_not_grow_and_is_told_why,
        a_damaged_journal_is_repaired_where_that_may_be,
        a_note_of_errors_stays_where_nothing_may_be_repaired,
        what_a_tool_is_too_old_for_is_not_called_damaged,
    }
}

const SMALL: u64 = 400 << 20;
const LARGE: u64 = 700 << 20;

async fn id(real: &Real, path: &Path) -> DeviceId {
    let devices = real.host.block_devices().await.unwrap();
    devices.into_iter().find(|one| one.path == path).unwrap().id
}

async fn grow(real: &Real, device: &Path, mount: &Path, filesystem: Filesystem) -> Result<(), PortError> {
    let (volume, uuid) = (format!("care-{filesystem}"), None);
    let (id, device, mount) = (id(real, device).await, device.to_path_buf(), mount.to_path_buf());
    real.host.grow(&GrowOrder { volume, device, id, uuid, mount, filesystem }, &Progress::default()).await
}

async fn prepare(real: &Real, device: &Path, filesystem: Filesystem, repair: bool) -> Result<(), PortError> {
    let (id, device, options) = (id(real, device).await, device.to_path_buf(), Vec::new());
    let work = Work::Prepare { device, id, filesystem, suspect: true, options, repair };
    let order = TendOrder { volume: "care".into(), mount: real.directory.join("mnt"), work };
    real.host.tend(&order, &Progress::default()).await
}

/// `max` alone would mean the disk with the number 1.
async fn a_btrfs_grows_whose_first_disk_is_gone(real: &Real) {
    let (first, second, at) = (real.make_disk(SMALL), real.make_disk(LARGE), real.directory.join("at"));
    let [one, other, mount] = [&first, &second, &at].map(|path| path.to_str().unwrap());
    real.make_filesystem(&first, Filesystem::Btrfs, "11111111-2222-4333-8444-de71ced2de71");
    real.mount(&first, &at);
    run(&["btrfs", "device", "add", "-f", other, mount]);
    run(&["btrfs", "device", "remove", one, mount]);
    run(&["btrfs", "filesystem", "resize", &format!("2:{SMALL}"), mount]);
    run(&["btrfs", "filesystem", "sync", mount]);
    settled();
    assert_eq!(real.host.extent(&second, Filesystem::Btrfs).await.unwrap(), Some(SMALL));
    grow(real, &second, &at, Filesystem::Btrfs).await.unwrap();
    run(&["btrfs", "filesystem", "sync", mount]);
    assert_eq!(real.host.extent(&second, Filesystem::Btrfs).await.unwrap(), Some(LARGE));
}

async fn an_ext4_that_notes_errors_does_not_grow_and_is_told_why(real: &Real) {
    let (path, at) = (real.make_disk(LARGE), real.directory.join("at"));
    real.make_filesystem_of(&path, Filesystem::Ext4, STRANGER, SMALL);
    run(&["debugfs", "-w", "-R", "ssv state 2", path.to_str().unwrap()]);
    real.mount(&path, &at);
    let error = grow(real, &path, &at, Filesystem::Ext4).await.unwrap_err();
    assert!(error.message.contains("Permission denied to resize filesystem"), "{error}");
    let hint = error.hint.unwrap();
    assert!(hint.contains("`repair = \"safe\"`") && hint.contains("`e2fsck -f -p "), "{hint}");
}

/// e2fsck ends with a code that says both: that there are errors, and that it could not go on.
async fn a_damaged_journal_is_repaired_where_that_may_be(real: &Real) {
    let path = real.make_disk(64 << 20);
    real.make_filesystem(&path, Filesystem::Ext4, STRANGER);
    let device = path.to_str().unwrap();
    let told = run(&["dumpe2fs", "-h", device]);
    let size: u64 = told.lines().find_map(|line| line.strip_prefix("Block size:")).unwrap().trim().parse().unwrap();
    let block: u64 = run(&["debugfs", "-R", "bmap <8> 0", device]).parse().unwrap();
    let disk = File::options().write(true).open(&path).unwrap();
    disk.write_all_at(&vec![0; usize::try_from(size).unwrap()], block * size).unwrap();
    disk.sync_all().unwrap();
    let error = prepare(real, &path, Filesystem::Ext4, false).await.unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.message.contains("has to be repaired"), "{error}");
    prepare(real, &path, Filesystem::Ext4, true).await.unwrap();
    run(&["e2fsck", "-n", "-f", device]);
}

/// Of one that is sound: what takes the note away writes to it.
async fn a_note_of_errors_stays_where_nothing_may_be_repaired(real: &Real) {
    let path = real.make_disk(64 << 20);
    real.make_filesystem(&path, Filesystem::Ext4, STRANGER);
    let device = path.to_str().unwrap();
    run(&["debugfs", "-w", "-R", "ssv state 2", device]);
    let notes = || run(&["dumpe2fs", "-h", device]).lines().any(|line| line.ends_with("with errors"));
    for (repair, left) in [(false, true), (true, false)] {
        prepare(real, &path, Filesystem::Ext4, repair).await.unwrap();
        assert_eq!(notes(), left, "repair: {repair}");
    }
}

async fn what_a_tool_is_too_old_for_is_not_called_damaged(real: &Real) {
    let path = real.make_disk(64 << 20);
    real.make_filesystem(&path, Filesystem::Ext4, STRANGER);
    let device = path.to_str().unwrap();
    // One that is optional for the kernel, and is not for the tool that checks.
    run(&["debugfs", "-w", "-R", "feature FEATURE_C20", device]);
    let before = run(&["sha256sum", device]);
    for repair in [false, true] {
        let error = prepare(real, &path, Filesystem::Ext4, repair).await.unwrap_err();
        let text = format!(
            "ext4 on {device} could not be checked: it has unsupported feature(s): FEATURE_C20; the kernel or its tools are older \
             than the filesystem"
        );
        assert_eq!((error.kind, error.message), (ErrorKind::Invalid, text));
        let hint = error.hint.unwrap();
        assert!(
            hint.starts_with("nothing was changed, and nothing is known to be damaged: install a newer e2fsprogs")
                && !hint.contains("fsck"),
            "{hint}"
        );
    }
    assert_eq!(run(&["sha256sum", device]), before, "nothing was written");
}
