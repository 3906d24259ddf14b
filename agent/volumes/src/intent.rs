//! What is on disk before the first byte is written to a device, so that a filesystem of our own that a power cut left
//! half-made is told from a stranger's data: the record of what is meant, then, made by the unit that formats once the
//! device is proven blank, the mark that writing has begun. A record without its mark tells nothing of what is on the device.
//!
//! While the mark stands, the filesystem has never been mounted: making it again loses nothing.

use bowline_ports::{DeviceId, Filesystem, FormatOrder};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Bowline's own namespace for UUIDs of filesystems.
const NAMESPACE: Uuid = Uuid::from_u128(0x9a3d_62a1_4a0e_5f0f_8f43_6a1d_0c5b_1e77);

/// What is about to be done to which device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The volume's name.
    pub volume: String,
    /// The device node at the time.
    pub device: PathBuf,
    /// Serial and size: the device.
    pub id: DeviceId,
    /// The filesystem.
    pub filesystem: Filesystem,
    /// Its planned UUID.
    pub uuid: String,
}

impl Intent {
    /// Where the record of a volume lies.
    pub fn path_of(volume: &str) -> PathBuf {
        Path::new("/var/lib/bowline/intents").join(format!("format-{volume}.json"))
    }

    /// Where the mark lies that writing has begun.
    pub fn begun_of(volume: &str) -> PathBuf {
        Self::path_of(volume).with_extension("begun")
    }

    /// Both, in the order in which they go: a mark without its record could be taken for another one's.
    pub fn files_of(volume: &str) -> [PathBuf; 2] {
        [Self::begun_of(volume), Self::path_of(volume)]
    }

    /// What its mark says.
    pub fn mark(&self) -> String {
        self.order(Path::new(""), false).mark()
    }

    /// The order that it announces, for a volume to be mounted there; `resume` when it was begun and cut off.
    pub fn order(&self, mount: &Path, resume: bool) -> FormatOrder {
        FormatOrder {
            volume: self.volume.clone(),
            device: self.device.clone(),
            id: self.id.clone(),
            filesystem: self.filesystem,
            mount: mount.to_path_buf(),
            uuid: self.uuid.clone(),
            begun: Self::begun_of(&self.volume),
            resume,
        }
    }

    /// Whether it announces the same work, by whatever name the device has.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.id == other.id && self.uuid == other.uuid && self.filesystem == other.filesystem
    }

    /// Where this record lies.
    pub fn path(&self) -> PathBuf {
        Self::path_of(&self.volume)
    }
}

/// The UUID that a volume's filesystem gets on a device: the same for the same disk and name, so that it can be
/// planned, and known again on the next machine. Disks without a serial are alike on all machines, and two with one UUID could not
/// be attached to one machine: theirs is of this moment (`moment`), and its record keeps it.
pub fn planned_uuid(id: &DeviceId, volume: &str, moment: &str) -> String {
    let serial = id.serial.as_deref().unwrap_or(moment);
    Uuid::new_v5(&NAMESPACE, format!("{serial}\n{}\n{volume}", id.size).as_bytes()).to_string()
}
