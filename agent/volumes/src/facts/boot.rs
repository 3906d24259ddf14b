//! This boot of the machine.

use bowline_ports::{Inspect, PortError, boot_id};
use std::time::Duration;

/// One boot of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// What the kernel calls it: no other boot, of no other machine, has that.
    pub id: String,
    /// Seconds since; `None` where that could not be read.
    pub uptime: Option<u64>,
}

impl Boot {
    pub(super) async fn of(host: &dyn Inspect) -> Result<Self, PortError> {
        Ok(Self { id: boot_id(host).await?, uptime: host.clock().await.ok().map(|clock| clock.uptime) })
    }

    /// What no other machine has, and this one not for longer than a minute: disks of one size may follow each other.
    pub(crate) fn seed(&self) -> String {
        format!("{}/{}", self.id, self.uptime.unwrap_or_default() / 60)
    }

    /// Whether disks that are there may not all have been found yet.
    pub(crate) fn is_young(&self, age: Duration) -> bool {
        self.uptime.is_some_and(|uptime| uptime < age.as_secs())
    }
}
