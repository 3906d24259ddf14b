//! Work at a volume's place in the tree, which the daemon's sandbox keeps it from: in a unit of PID 1, like all long work.

use crate::{DeviceId, Filesystem};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Something to be done at a volume's mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TendOrder {
    /// The volume's name.
    pub volume: String,
    /// Its mount point.
    pub mount: PathBuf,
    /// What is to be done there.
    pub work: Work,
}

impl TendOrder {
    /// The name of the work (`prepare-data`).
    pub fn job(&self) -> String {
        let verb = match self.work {
            Work::Prepare { .. } => "prepare",
            Work::Arrange { .. } => "arrange",
            Work::Unmount { .. } => "unmount",
            Work::Shield { on: true } => "shield",
            Work::Shield { on: false } => "bare",
        };
        format!("{verb}-{}", self.volume)
    }
}

/// What there is to do at a mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Before a filesystem that is there already is mounted: looks, reading only, whether its device was made smaller than it is,
    /// or whether it has to be repaired, and makes the mount point unwritable (`chattr +i`, where its filesystem has that), so that
    /// nothing ever lies beneath the volume.
    Prepare {
        /// The device node.
        device: PathBuf,
        /// Who the device has to be.
        id: DeviceId,
        /// What is on it.
        filesystem: Filesystem,
        /// Mounting it failed: it is checked, whatever it says of itself.
        suspect: bool,
        /// What it is mounted with: an option that the kernel does not take makes a mount fail, and is no damage.
        options: Vec<String>,
        /// What can be repaired without losing anything may be.
        repair: bool,
    },
    /// Owner and mode of the volume itself, and directories on it that are not there.
    Arrange {
        /// `major:minor` of the filesystem that has to be mounted there.
        number: String,
        /// Of the volume's own directory.
        root: Access,
        /// To be made; those that are there are left as they are.
        directories: Vec<NewDirectory>,
    },
    /// Writes out what is in memory and unmounts. Refused as `Busy`, with whoever uses it, and nothing is changed.
    Unmount {
        /// `major:minor` of the filesystem that has to be mounted there.
        number: String,
        /// The volume does not belong there any more: the mount point may be written to again.
        for_good: bool,
    },
    /// Makes the mount point, and unwritable, while nothing is mounted there and nothing lies in it; or writable again.
    Shield {
        /// Unwritable.
        on: bool,
    },
}

/// Owner and mode of a directory; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// User and group, by number.
    pub owner: Option<(u32, u32)>,
    /// Permission bits (`0o770`).
    pub mode: Option<u32>,
}

/// A directory to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDirectory {
    /// Below the volume's own directory; no `..`, no link on its way is followed.
    pub path: PathBuf,
    /// Whose it is, and who may use it.
    pub access: Access,
}
