//! The record that is on disk before the first byte is written to a device, so that a filesystem of our own that
//! a power cut left half-made is told from a stranger's data.
//!
//! While the record stands, the filesystem has never been mounted: making it again loses nothing.

use bowline_ports::{DeviceId, Filesystem};
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

    /// Where this record lies.
    pub fn path(&self) -> PathBuf {
        Self::path_of(&self.volume)
    }

    /// The record's text.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

/// The UUID that a volume's filesystem gets on a device: the same for the same disk and name, so that it can be
/// planned, and known again on the next machine.
pub fn planned_uuid(id: &DeviceId, volume: &str) -> String {
    let serial = id.serial.as_deref().unwrap_or("");
    Uuid::new_v5(&NAMESPACE, format!("{serial}\n{}\n{volume}", id.size).as_bytes()).to_string()
}
