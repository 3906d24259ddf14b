//! Block devices: who they are and what they hold.

use crate::Mount;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// A filesystem type that Bowline makes and mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// ext4
    Ext4,
    /// XFS
    Xfs,
    /// btrfs
    Btrfs,
}

impl Filesystem {
    /// The name that the kernel and `blkid` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What identifies a device beyond its name: names and links change, these do not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceId {
    /// The serial that the device itself reports (SCSI VPD page 0x80, NVMe, virtio); for a loop device its
    /// backing file. `None` where the device has none, or not one of its own.
    pub serial: Option<String>,
    /// Size in bytes.
    pub size: u64,
}

/// A block device as the kernel and udev show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// `/dev/sdb`.
    pub path: PathBuf,
    /// `major:minor`.
    pub number: String,
    /// Serial and size.
    pub id: DeviceId,
    /// The serial of its controller, which it tells as its own and other disks tell as well, here or on other machines: settings may
    /// name it by that, and what is written to it is not known by it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_serial: Option<String>,
    /// Vendor, trimmed; empty where unknown.
    pub vendor: String,
    /// Model, trimmed; empty where unknown.
    pub model: String,
    /// How it is attached: `scsi`, `sata`, `usb`, `nvme`, `virtio`, `mmc`; empty where that is not known.
    pub transport: String,
    /// It is reached through the network (iSCSI), or what it is built on is.
    pub network: bool,
    /// All links that udev made (`/dev/disk/by-id/…`), sorted.
    pub links: Vec<PathBuf>,
    /// The UUID of what it holds, as udev noted it; of a disk and its copy the link leads to one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// udev has come to it since it appeared: it has the links that it is to have.
    pub announced: bool,
    /// A partition of another device.
    pub partition_of: Option<PathBuf>,
    /// Partitions on it.
    pub partitions: Vec<PathBuf>,
    /// Devices built on it (LVM, RAID, LUKS).
    pub holders: Vec<String>,
    /// What udev found on it that makes it a part of something else (`crypto_LUKS`, `LVM2_member`), in use or not; empty where it found
    /// nothing of that kind.
    pub member: String,
    /// Where it, or a partition of it, is mounted.
    pub mounted_at: Vec<PathBuf>,
    /// It, or a partition of it, is used as swap.
    pub swap: bool,
    /// It holds the running system's root, `/boot` or `/usr`.
    pub root: bool,
    /// The kernel has it read-only.
    pub read_only: bool,
}

impl BlockDevice {
    /// The serial that it tells, be it its own or not.
    pub fn told_serial(&self) -> Option<&str> {
        self.id.serial.as_deref().or(self.shared_serial.as_deref())
    }

    /// Whether it depends on what else is attached that it has a serial of its own: the namespace of an NVMe controller has that one's
    /// as long as it is the only one.
    pub fn may_share_serial(&self) -> bool {
        self.transport == "nvme" && self.partition_of.is_none()
    }

    /// Whether it is this device's filesystem that is mounted there. btrfs has numbers of its own, and is known by its source:
    /// the device, or what LVM and LUKS call it.
    pub fn is_mounted_by(&self, mount: &Mount) -> bool {
        let mapped = |source: &Path| source.starts_with("/dev/mapper") && self.links.iter().any(|link| link == source);
        let named = |source: &Path| source == self.path || mapped(source);
        mount.number == self.number || mount.disk_by_source().is_some_and(named)
    }
}

/// What kind of structure a signature belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureKind {
    /// A filesystem.
    Filesystem,
    /// A partition table.
    PartitionTable,
    /// A member of a RAID, LVM, LUKS, swap or similar.
    Member,
}

/// A structure found on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The kind of structure.
    pub kind: SignatureKind,
    /// Its type as `blkid` names it (`ext4`, `gpt`, `LVM2_member`).
    pub name: String,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
}

/// What a device holds. Blank only if every field says so: see [`Probe::is_blank`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Everything found; of several the first is `blkid`'s.
    pub signatures: Vec<Signature>,
    /// `blkid` found signatures that contradict each other.
    pub ambivalent: bool,
    /// The first byte offset at which something other than zero was read, within the ranges that are proof.
    pub data_at: Option<u64>,
    /// Bytes that were read and found zero; 0 where data was found.
    pub zeros: u64,
    /// Reading failed somewhere: proves nothing.
    pub read_error: Option<String>,
    /// The last mount of the filesystem, where it keeps that itself: ext4 does, XFS and btrfs do not.
    pub last_mount: Option<LastMount>,
    /// Of how many disks its btrfs is; 1 where it is of this one alone, or no btrfs.
    pub disks: u64,
}

/// When a filesystem was mounted last, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastMount {
    /// Where, as far as it kept that.
    pub at: PathBuf,
    /// Seconds since 1970.
    pub unix: i64,
}

impl Probe {
    /// Proven blank: no signature, no contradiction, no read error, and only zeros where data would be.
    pub fn is_blank(&self) -> bool {
        self.signatures.is_empty()
            && !self.ambivalent
            && self.data_at.is_none()
            && self.read_error.is_none()
            && self.zeros > 0
    }

    /// The one filesystem on the whole device, when that is all there is.
    pub fn filesystem(&self) -> Option<&Signature> {
        match self.signatures.as_slice() {
            [one] if one.kind == SignatureKind::Filesystem && !self.ambivalent => Some(one),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_btrfs_is_known_by_its_source_also_by_the_name_that_lvm_gives_it() {
        let device = BlockDevice {
            path: "/dev/dm-0".into(),
            number: "252:0".into(),
            links: vec!["/dev/mapper/vg-data".into(), "/dev/vg/data".into()],
            ..BlockDevice::default()
        };
        let mount = |fstype: &str, number: &str, source: &str| Mount {
            target: "/mnt/data".into(),
            source: source.into(),
            number: number.into(),
            fstype: fstype.into(),
            root: "/".into(),
            read_only: false,
            errors: 0,
            by_user: false,
        };
        for (fstype, number, source, is) in [
            ("ext4", "252:0", "/dev/root", true),
            ("ext4", "252:0", "/dev/mapper/vg-data", true),
            ("btrfs", "0:45", "/dev/dm-0", true),
            ("btrfs", "0:45", "/dev/mapper/vg-data", true),
            ("btrfs", "0:45", "/dev/mapper/vg-other", false),
            ("ext4", "252:1", "/dev/dm-1", false),
            // A disk that is gone, whose name another one has by now.
            ("ext4", "252:1", "/dev/dm-0", false),
            // Any user may write that.
            ("fuse", "0:45", "/dev/dm-0", false),
            ("fuse.btrfs", "0:45", "/dev/mapper/vg-data", false),
            ("fuseblk", "252:0", "/dev/dm-0", true),
        ] {
            assert_eq!(device.is_mounted_by(&mount(fstype, number, source)), is, "{fstype} {number} {source}");
        }
    }
}
