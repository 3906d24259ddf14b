//! Volumes that a person released (`bowline volumes release`): their disk is to go to another machine.

use bowline_ports::{BlockDevice, Change, DeviceId, Inspect, PortError, UNCORDON};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where the records lie, and how their names end.
const FOLDER: &str = "/var/lib/bowline/released";
const NAMED: &str = ".json";

/// That a volume was released, and its disk. Dropped when that disk is gone, the volume is taken back, or the settings have it no
/// more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The disk, by the serial that it tells. Earlier records have none where others told it as well.
    pub disk: DeviceId,
    /// The UUID of its filesystem: without a serial of its own it is known by that. Earlier records have none.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Others told its serial as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Seconds since 1970.
    pub since: i64,
    /// The Node was told to take no more pods for it.
    pub cordoned: bool,
}

impl Released {
    /// That of a volume on this disk.
    pub fn of(device: &BlockDevice, since: i64, cordoned: bool) -> Self {
        // Whether a serial is a disk's own may change while others come and go.
        let disk = DeviceId { serial: device.told_serial().map(str::to_owned), size: device.id.size };
        Self { disk, uuid: device.uuid.clone(), shared: device.shared_serial.is_some(), since, cordoned }
    }

    /// Where the record of a volume lies.
    pub fn path_of(volume: &str) -> PathBuf {
        Path::new(FOLDER).join(format!("{volume}{NAMED}"))
    }

    /// Of which volumes there is one.
    ///
    /// # Errors
    /// Their folder cannot be read.
    pub async fn all(host: &dyn Inspect) -> Result<Vec<String>, PortError> {
        let names = host.list(Path::new(FOLDER)).await?.unwrap_or_default();
        // One that begins with a dot is being written.
        let names = names.iter().filter(|name| !name.starts_with('.')).filter_map(|name| name.strip_suffix(NAMED));
        Ok(names.map(String::from).collect())
    }
}

/// Where it stands since when the disk of a released volume is gone, in seconds since boot: it is that of every boot anew.
pub(crate) fn gone_path(volume: &str) -> PathBuf {
    Path::new("/run/bowline/released-gone").join(volume)
}

/// Takes a volume back: drops the record that it was released. A Node that was cordoned for it is to take pods again.
///
/// # Errors
/// The records cannot be written.
pub async fn take_back(host: &dyn Change, volume: &str) -> Result<(), PortError> {
    let path = Released::path_of(volume);
    let record = host.read(&path).await?;
    // One that cannot be read may be: the Node itself says who has cordoned it.
    let cordoned = |content: &[u8]| serde_json::from_slice::<Released>(content).map_or(true, |r| r.cordoned);
    match record {
        // By one change, which takes no room: of that note, only its name counts.
        Some(file) if cordoned(&file.content) => {
            host.rename(&path, &Path::new(UNCORDON).join(volume), 0o600).await?;
        }
        _ => host.remove(&path).await?,
    }
    host.remove(&gone_path(volume)).await
}

/// When services were stopped for a release, in seconds since boot: what was not started since is not down because of a person.
pub(crate) const STOPPED: &str = "/run/bowline/stopped-for-release";
