//! Block devices, by what the kernel and udev broadcast on netlink.

use super::listen;
use nix::sys::socket::SockProtocol;
use std::io;
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::sync::Notify;

/// The kernel's own events (1) and those that udev passes on when its links are made (2).
const GROUPS: u32 = 1 | 2;
const AGAIN: Duration = Duration::from_secs(5);

/// Notifies of every change; never ends.
pub(super) async fn watch(signal: &Notify) {
    match listen(SockProtocol::NetlinkKObjectUEvent, GROUPS) {
        Ok(socket) => loop {
            match heard(&socket).await {
                Ok(true) => signal.notify_one(),
                Ok(false) => {}
                // The queue overflowed: something was missed.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => signal.notify_one(),
                Err(error) => {
                    tracing::warn!("listening for devices: {error}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        },
        Err(error) => {
            tracing::warn!("listening for devices: {error}; looking every {} s", AGAIN.as_secs());
            let look = || std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
            let names = || {
                let mut names: Vec<_> = look().map(|e| e.file_name()).collect();
                names.sort();
                names
            };
            let mut before = names();
            loop {
                tokio::time::sleep(AGAIN).await;
                let now = names();
                if now != before {
                    signal.notify_one();
                    before = now;
                }
            }
        }
    }
}

/// Waits for one message; whether it is about a block device.
async fn heard(socket: &UnixDatagram) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    let length = socket.recv(&mut buffer).await?;
    Ok(is_block(&buffer[..length]))
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
