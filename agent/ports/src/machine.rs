//! The machine itself: clock, addresses, mounts, space.

use crate::{Inspect, PortError};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Processor architecture, in the spelling of Go and of K3s's release files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64
    Amd64,
    /// 64-bit ARM
    Arm64,
}

impl Arch {
    /// `amd64` or `arm64`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// Where the kernel tells the name of this boot: a random UUID.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the kernel calls this boot; empty where it does not say.
///
/// # Errors
/// It cannot be read.
pub async fn boot_id(host: &dyn Inspect) -> Result<String, PortError> {
    Ok(host.read(Path::new(BOOT_ID)).await?.map(|file| file.text().trim().to_owned()).unwrap_or_default())
}

/// The clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Seconds since 1970, as the machine believes.
    pub unix: i64,
    /// The kernel or a time service says that the clock is synchronised.
    pub synchronised: bool,
    /// Seconds since boot.
    pub uptime: u64,
    /// Seconds since boot without those that the machine was suspended for: systemd counts so.
    pub awake: u64,
}

/// One address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The interface (`eth0`).
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// Name of the process, where it can be seen.
    pub process: Option<String>,
}

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where.
    pub target: PathBuf,
    /// What, as the kernel shows it (`/dev/sdb`, `tmpfs`).
    pub source: String,
    /// `major:minor` of the filesystem.
    pub number: String,
    /// Filesystem type.
    pub fstype: String,
    /// The part of the filesystem that is mounted; `/` for all of it.
    pub root: PathBuf,
    /// Mounted read-only, by mount or by filesystem, or turned read-only by errors.
    pub read_only: bool,
    /// Errors that the filesystem has met since it was checked last, where the kernel counts them (ext4).
    #[serde(default)]
    pub errors: u64,
    /// An ordinary user's program serves it (FUSE): all that it says of itself is theirs.
    #[serde(default)]
    pub by_user: bool,
}

impl Mount {
    /// Its source for people, pages and logs: one may be a URL (WebDAV, buckets), and a URL may have a user and a password in it,
    /// which are left out.
    pub fn shown_source(&self) -> Cow<'_, str> {
        let source = self.source.as_str();
        if let Some((scheme, rest)) = source.split_once("://") {
            let authority = rest.split('/').next().unwrap_or(rest);
            if let Some((_, host)) = authority.rsplit_once('@') {
                return format!("{scheme}://{host}{}", &rest[authority.len()..]).into();
            }
        }
        source.into()
    }

    /// Whether its source is a device. That of FUSE is any text that a user chose, also a disk's name; `fuseblk` has a device of its own.
    pub fn has_device(&self) -> bool {
        let any_text = self.fstype == "fuse" || self.fstype.starts_with("fuse.");
        self.source.starts_with("/dev/") && !any_text
    }

    /// Its source, where only that tells its disk: these filesystems have a number that no device has.
    pub fn disk_by_source(&self) -> Option<&Path> {
        let made_up = self.number.starts_with("0:") && ["bcachefs", "btrfs"].contains(&self.fstype.as_str());
        made_up.then(|| Path::new(&self.source))
    }

    /// Whether it is on a disk, or a view of such: what a network or a program serves may not answer.
    pub fn is_on_disk(&self) -> bool {
        is_on_disk(&self.fstype, &self.source)
    }
}

/// Whether a filesystem of this type, mounted from there, is on a disk, or a view of such.
pub fn is_on_disk(fstype: &str, source: &str) -> bool {
    source.starts_with("/dev/") && !fstype.starts_with("fuse") || ["overlay", "zfs"].contains(&fstype)
}

/// A disk that is gone, and pods that still have its filesystem mounted: nothing can be read from it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneDisk {
    /// What it was called, as the kernel shows it (`/dev/sdb`).
    pub source: String,
    /// What was on it.
    pub fstype: String,
    /// The pods (`NAMESPACE/NAME`), sorted.
    pub pods: Vec<String>,
}

/// How full a filesystem is, as `statvfs` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Bytes in all.
    pub size: u64,
    /// Free bytes, those reserved for root included.
    pub free: u64,
    /// Bytes that an ordinary user may still write.
    pub available: u64,
    /// Inodes in all; 0 on filesystems without a fixed number.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_url_are_left_out() {
        for (source, shown) in [
            ("/dev/sdb", "/dev/sdb"),
            ("nas:/export", "nas:/export"),
            ("https://u:p@dav.example/a@b", "https://dav.example/a@b"),
            ("https://dav.example/a@b", "https://dav.example/a@b"),
            ("s3://u@key", "s3://key"),
        ] {
            let mount = Mount {
                target: "/mnt".into(),
                source: source.into(),
                number: "0:50".into(),
                fstype: "fuse".into(),
                root: "/".into(),
                read_only: false,
                errors: 0,
                by_user: false,
            };
            assert_eq!(mount.shown_source(), shown);
        }
    }
}
