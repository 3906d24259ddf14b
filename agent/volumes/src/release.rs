//! Volumes that a person released (`bowline volumes release`): their disk is to go to another machine.

use bowline_ports::{BlockDevice, DeviceId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// That a volume was released, and its disk. Dropped when that disk is gone, or the volume is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The disk.
    pub disk: DeviceId,
    /// The UUID of its filesystem: without a serial it is known by that. Earlier records have none.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Seconds since 1970.
    pub since: i64,
    /// The Node was told to take no more pods for it.
    pub cordoned: bool,
}

impl Released {
    /// That of a volume on this disk.
    pub fn of(device: &BlockDevice, since: i64, cordoned: bool) -> Self {
        Self { disk: device.id.clone(), uuid: device.uuid.clone(), since, cordoned }
    }

    /// Where the record of a volume lies.
    pub fn path_of(volume: &str) -> PathBuf {
        Path::new("/var/lib/bowline/released").join(format!("{volume}.json"))
    }
}

/// When services were stopped for a release, in seconds since boot: what was not started since is not down because of a person.
pub(crate) const STOPPED: &str = "/run/bowline/stopped-for-release";
