//! Block devices, by what the kernel and udev broadcast on netlink.

use super::Broadcasts;
use nix::sys::socket::SockProtocol;
use std::time::Duration;
use tokio::sync::Notify;

/// The kernel's own events (1) and those that udev passes on when its links are made (2).
const GROUPS: u32 = 1 | 2;

/// Notifies of every change; never ends.
pub(super) async fn watch(signal: &Notify) {
    let (protocol, concerns, again) = (SockProtocol::NetlinkKObjectUEvent, is_block, Duration::from_secs(5));
    Broadcasts { what: "devices", protocol, groups: GROUPS, concerns, again }.follow(signal).await;
}

/// Both senders write `KEY=value` with a zero byte after each.
fn is_block(message: &[u8]) -> bool {
    message.split(|b| *b == 0).any(|word| word == b"SUBSYSTEM=block")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_count() {
        let kernel = b"add@/devices/virtual/block/loop0\0ACTION=add\0SUBSYSTEM=block\0MAJOR=7\0";
        assert!(is_block(kernel));
        assert!(!is_block(b"add@/devices/virtual/net/lo\0ACTION=add\0SUBSYSTEM=net\0"));
        assert!(is_block(b"libudev\0\xfe\xed\xca\xfe\x28\0\0\0ACTION=change\0SUBSYSTEM=block\0"));
        assert!(!is_block(b"SUBSYSTEM=blocks\0"));
    }
}
