//! What a look at how filesystems fill goes by: which there are, and how much room each had before.

use bowline_host::real::MountTable;
use bowline_host::real::samples::FilesystemUuids;
use bowline_metrics::real_mounts;
use bowline_ports::{Mount, PortError, Space};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The filesystems that can fill, and the key of each one's history. Looked for when the mount table changes, and when udev
/// may know one better by now.
#[derive(Default)]
pub(super) struct Places {
    table: MountTable,
    mounts: Vec<Mount>,
    keys: Vec<String>,
    unknown: bool,
}

impl Places {
    /// As they are now.
    pub(super) fn look(&mut self) -> Result<(), PortError> {
        if let Some(mounts) = self.table.news()? {
            self.mounts = real_mounts(&mounts);
            self.unknown = true;
        }
        if self.unknown {
            let uuids = FilesystemUuids::read();
            self.unknown = self.mounts.iter().any(|mount| mount.has_device() && uuids.of(mount).is_none());
            self.keys = self.mounts.iter().map(|mount| key(mount, &uuids)).collect();
        }
        Ok(())
    }

    /// In the order of [`Places::keys`].
    pub(super) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// What each one's history is kept by.
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }
}

/// The filesystem, wherever it is mounted and whatever the kernel calls its disk; else what the mount table says.
pub(super) fn key(mount: &Mount, uuids: &FilesystemUuids) -> String {
    match uuids.of(mount) {
        Some(uuid) => uuid.to_owned(),
        None => format!("{} at {}", mount.source, mount.target.display()),
    }
}

/// How much room each filesystem had, in bytes that an ordinary user may write, when that was last worth a look.
#[derive(Default)]
pub(super) struct Room(BTreeMap<PathBuf, u64>);

impl Room {
    /// Of its size; or of the room that there is, where that is little.
    const PART: u64 = 200;
    const OF_LITTLE: u64 = 8;

    /// Whether one has so much less or more by now that it is worth a look. What comes anew is none; what does not answer is
    /// compared with what it had when it does, and what is not mounted any more is forgotten.
    pub(super) fn moved<'a>(
        &mut self,
        mounts: &[Mount],
        now: impl Iterator<Item = (&'a Path, &'a Space)> + Clone,
    ) -> bool {
        self.0.retain(|at, _| mounts.iter().any(|mount| mount.target == *at));
        let much = |(at, space): (&Path, &Space)| {
            self.0.get(at).is_some_and(|before| {
                let little = (*before).max(space.available) / Self::OF_LITTLE;
                before.abs_diff(space.available) >= (space.size / Self::PART).min(little).max(1)
            })
        };
        let moved = now.clone().any(much);
        for (at, space) in now {
            let before = self.0.entry(at.to_owned()).or_insert(space.available);
            if moved {
                *before = space.available;
            }
        }
        moved
    }
}

/// A disk that is mounted, for tests.
#[cfg(test)]
pub(super) fn mount_at(target: &str) -> Mount {
    Mount {
        target: target.into(),
        source: "/dev/sdb".into(),
        number: "8:16".into(),
        fstype: "ext4".into(),
        root: "/".into(),
        read_only: false,
        errors: 0,
        by_user: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filesystems_of_this_machine_have_keys_that_stay() {
        let mut places = Places::default();
        places.look().unwrap();
        assert_eq!(places.mounts().len(), places.keys().len());
        let before = places.keys().to_vec();
        places.look().unwrap();
        assert_eq!(places.keys(), before);
    }

    /// A second history by the same key would take the samples of the first.
    #[test]
    fn a_fuse_that_names_a_disk_has_not_that_disks_history() {
        let uuids = FilesystemUuids::read();
        // Of this machine's disks, where it has one.
        for link in std::fs::read_dir("/dev/disk/by-uuid").into_iter().flatten().flatten() {
            let source = link.path().display().to_string();
            let of = |fstype: &str| Mount {
                source: source.clone(),
                number: "0:99".into(),
                fstype: fstype.into(),
                ..mount_at("/home/u/m")
            };
            let uuid = link.file_name().into_string().unwrap();
            assert_eq!(key(&of("btrfs"), &uuids), uuid);
            assert_eq!(key(&of("fuse.sshfs"), &uuids), format!("{source} at /home/u/m"));
        }
    }

    #[test]
    fn room_is_worth_a_look_when_it_moves_by_much_or_little_is_left() {
        let (mut room, mut looks) = (Room::default(), Vec::new());
        let mounts = [mount_at("/"), mount_at("/mnt/new")];
        let of = |available| Space { size: 100_000, free: available, available, inodes: 0, inodes_free: 0 };
        for available in [50_000, 49_600, 49_501, 49_500, 49_900, 50_000, 900, 800, 787, 0, 0, 1] {
            looks.push(room.moved(&mounts, [(Path::new("/"), &of(available))].into_iter()));
        }
        let (no, yes) = (false, true);
        assert_eq!(looks, [no, no, no, yes, no, yes, yes, no, yes, yes, no, yes]);
        assert!(!room.moved(&mounts, [(Path::new("/mnt/new"), &of(0))].into_iter()), "it may always have been full");
        assert!(room.moved(&mounts, [(Path::new("/"), &of(600))].into_iter()), "it had not answered in between");
        room.moved(&mounts[1..], [].into_iter());
        assert!(!room.moved(&mounts, [(Path::new("/"), &of(0))].into_iter()), "it was not mounted in between");
    }
}
