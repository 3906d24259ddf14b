//! Long work that runs as a unit of PID 1, and its progress.

use crate::{DeviceId, Filesystem, PortError};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Make a filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatOrder {
    /// The volume's name; also the filesystem's label.
    pub volume: String,
    /// The device node.
    pub device: PathBuf,
    /// Who the device has to be: read again under the lock, a difference ends the work.
    pub id: DeviceId,
    /// What to make.
    pub filesystem: Filesystem,
    /// Where it will be mounted: nothing can be made there any more as long as it is not.
    pub mount: PathBuf,
    /// The planned UUID.
    pub uuid: String,
    /// A file that has [`mark`](Self::mark) from just before the first byte is written, when all is proven, to the end.
    pub begun: PathBuf,
    /// Our own attempt on this very device was cut off: while that mark is there, bytes without any signature are ours. An
    /// order that differs only in this, or in where it will be mounted, is the same work.
    pub resume: bool,
}

impl FormatOrder {
    /// What tells that writing was begun, and of what: which filesystem, on which device.
    pub fn mark(&self) -> String {
        let serial = self.id.serial.as_deref().unwrap_or_default();
        format!("{} {} {} {serial}\n", self.uuid, self.filesystem, self.id.size)
    }
}

/// Grow a mounted filesystem to the size of its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrowOrder {
    /// The volume's name.
    pub volume: String,
    /// The device node.
    pub device: PathBuf,
    /// Who the device has to be, and how large.
    pub id: DeviceId,
    /// The UUID of what is on it, as far as that is known.
    pub uuid: Option<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// What is on it.
    pub filesystem: Filesystem,
}

/// So much of a serial is in a unit's name: its end, by which they differ.
const SERIAL: usize = 64;

impl GrowOrder {
    /// The name of the work: growing each disk to each size is work of its own, and of one without a serial each filesystem. Of a serial
    /// letters and digits are in it; it may be a path.
    pub fn job(volume: &str, id: &DeviceId, uuid: Option<&str>) -> String {
        let serial: String = id
            .serial
            .as_deref()
            .or(uuid)
            .iter()
            .flat_map(|text| text.chars())
            .filter(char::is_ascii_alphanumeric)
            .collect();
        format!("grow-{volume}-{}-{}", id.size, &serial[serial.len().saturating_sub(SERIAL)..])
    }
}

/// How a download is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Digest {
    /// SHA-256 in lower-case hex, from the settings.
    Pinned(String),
    /// The release's own checksum file, and the name to look for in it.
    File {
        /// URL of the checksum file.
        url: String,
        /// The file name in its second column.
        name: String,
    },
}

/// Download a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchOrder {
    /// The work's name (`k3s`).
    pub name: String,
    /// `https://…`, `http://…` or `file:/…`.
    pub url: String,
    /// PEM file with the only authorities to trust; the system's store when absent.
    pub ca_file: Option<PathBuf>,
    /// How it is verified, before `to` comes into being.
    pub digest: Digest,
    /// Where the verified file is put.
    pub to: PathBuf,
}

/// Long work as systemd and its own notes show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Still at it.
    Running(ProgressValue),
    /// Ended well.
    Done,
    /// Ended badly.
    Failed(PortError),
}

/// How far some work is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgressValue {
    /// Units done (bytes for downloads).
    pub done: u64,
    /// Units in all; 0 when not known.
    pub total: u64,
    /// What happens just now ("downloading", "writing inode tables").
    pub text: String,
}

/// A shared progress value: the one who works writes it, the report reads it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<ProgressValue>>);

impl Progress {
    /// Sets the value.
    pub fn set(&self, value: ProgressValue) {
        if let Ok(mut guard) = self.0.lock() {
            *guard = value;
        }
    }

    /// The value as last set.
    pub fn get(&self) -> ProgressValue {
        self.0.lock().map(|guard| guard.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_another_disk_of_the_same_size_is_other_work() {
        let id = |serial: Option<&str>| DeviceId { serial: serial.map(str::to_owned), size: 1 << 30 };
        assert_eq!(GrowOrder::job("data", &id(Some("12345678")), Some("ab-1")), "grow-data-1073741824-12345678");
        assert_eq!(GrowOrder::job("data", &id(Some("/tmp/disk 1.img")), None), "grow-data-1073741824-tmpdisk1img");
        assert_eq!(GrowOrder::job("data", &id(None), Some("ab-1")), "grow-data-1073741824-ab1");
        assert_eq!(GrowOrder::job("data", &id(None), None), "grow-data-1073741824-");
        let long = "x".repeat(300);
        let of = |end: &str| GrowOrder::job("data", &id(Some(&format!("{long}{end}"))), None);
        assert!(of("1") != of("2") && of("1").len() < 100);
    }
}
