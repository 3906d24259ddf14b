//! TCP ports that are closed to pods, by a unit of Bowline's own that needs no Bowline to run.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The unit that closes them: of the package, and started at every boot before K3s.
pub const GUARD_SERVICE: &str = "bowline-guard.service";
/// What it is to close: a [`GuardOrder`] as JSON. Without it, it is not started.
pub const GUARD_ORDER: &str = "/var/lib/bowline/guard.json";
/// What it has closed: the order's own text, there for exactly as long as the ports are closed.
pub const GUARD_CLOSED: &str = "/run/bowline-guard/closed.json";
/// Family and name of the nftables table that it keeps.
pub const GUARD_TABLE: (&str, &str) = ("inet", "bowline");
/// The exit status with which it says that this kernel cannot do it. It is not started again then.
pub const GUARD_UNSUPPORTED: u8 = 69;

/// What pods are kept from. Whatever comes through another interface than those of machines is of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuardOrder {
    /// The interfaces by which machines come, of at most 15 bytes each.
    pub machines: Vec<String>,
    /// TCP ports of this machine.
    pub here: Vec<u16>,
    /// TCP ports of every other machine.
    pub elsewhere: Vec<u16>,
    /// The networks of the pods (address, bits), among whom the ports are their own.
    pub pods: Vec<(IpAddr, u8)>,
}

impl GuardOrder {
    /// The text of [`GUARD_ORDER`].
    pub fn text(&self) -> String {
        // A value of plain data has a text.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}
