//! What the kernel and others count of trouble.

use serde::{Deserialize, Serialize};

/// Trouble that was counted. What nobody counts is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Commands that did not end well, a disk's own news included, by the kernel's name of the disk (`sda`).
    pub io_errors: Vec<(String, u64)>,
    /// Errors that a filesystem wrote down itself, by its device as `major:minor`; btrfs by each of its disks, as a mount names them
    /// (`/dev/sdb`).
    pub filesystem_errors: Vec<(String, u64)>,
    /// Processes that the kernel killed for want of memory, since boot.
    pub oom_kills: Option<u64>,
    /// A package asks for a reboot.
    pub reboot_required: bool,
}
