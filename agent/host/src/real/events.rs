//! What wakes the daemon: changed settings, block devices that come, go or change, addresses and the default route, the host
//! name, systemd's units, and this machine's Node. Each kind of event is told at most once in half a second, the first at once.

mod devices;
mod filesystems;
mod host_name;
mod network;
mod settings;
mod units;

pub use settings::{Unfinished, is_linked};

use super::bus::Bus;
use super::kubernetes::Clients;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::sync::{Notify, mpsc, watch};

/// Between two events of a kind.
const PACE: Duration = Duration::from_millis(500);

/// Something changed: look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A file in the settings directory.
    Settings,
    /// A block device came, went or changed, or a filesystem on one stands otherwise.
    Devices,
    /// An address came or went, or a default route.
    Network,
    /// The host is called otherwise.
    HostName,
    /// A watched unit changed its state, or a job for it ended.
    Units,
    /// The Node has changed, or nobody tells whether it has and it was not looked at for a while.
    Node,
}

/// What to watch.
#[derive(Debug)]
pub struct Sources {
    /// The directory of the settings; it need not exist yet.
    pub settings: PathBuf,
    /// The names of the units; may change at any time.
    pub units: watch::Receiver<Vec<String>>,
    /// Told of: which of the settings files somebody is in the middle of writing.
    pub unfinished: Unfinished,
}

/// Starts watching; it ends when the receiver is dropped.
pub(crate) fn watch(bus: Arc<Bus>, clusters: Arc<Clients>, sources: Sources) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(8);
    // Before anybody looks: what changes from then on is told.
    let named = host_name::now();
    tokio::spawn(async move {
        let signals = [const { Notify::const_new() }; 6];
        let [settings, devices, network, name, units, node] = &signals;
        tokio::select! {
            () = sender.closed() => {}
            () = settings::watch(&sources.settings, &sources.unfinished, settings) => {}
            () = devices::watch(devices) => {}
            () = filesystems::watch(devices) => {}
            () = network::watch(network) => {}
            () = host_name::watch(named, name) => {}
            () = units::watch(&bus, sources.units, units) => {}
            () = clusters.watch(node) => {}
            () = pass_on(settings, Event::Settings, &sender) => {}
            () = pass_on(devices, Event::Devices, &sender) => {}
            () = pass_on(network, Event::Network, &sender) => {}
            () = pass_on(name, Event::HostName, &sender) => {}
            () = pass_on(units, Event::Units, &sender) => {}
            () = pass_on(node, Event::Node, &sender) => {}
        }
    });
    receiver
}

/// A `Notify` keeps one permit: whatever happens during the pause is one event after it.
async fn pass_on(signal: &Notify, event: Event, sender: &mpsc::Sender<Event>) {
    loop {
        signal.notified().await;
        if sender.send(event).await.is_err() {
            return;
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Listens to groups of the kernel's broadcasts. A netlink socket is read like any socket for datagrams; as one of the standard
/// library's it needs no unsafe code.
fn listen(protocol: SockProtocol, groups: u32) -> io::Result<UnixDatagram> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    UnixDatagram::from_std(std::os::unix::net::UnixDatagram::from(socket))
}

/// What is heard of the kernel's broadcasts.
struct Broadcasts {
    what: &'static str,
    protocol: SockProtocol,
    groups: u32,
    concerns: fn(&[u8]) -> bool,
    /// How long nobody listens after an error. Something is missed meanwhile.
    again: Duration,
}

impl Broadcasts {
    /// Notifies of every message that concerns; never ends.
    async fn follow(&self, signal: &Notify) {
        let mut trouble = String::new();
        loop {
            let error = match listen(self.protocol, self.groups) {
                Ok(socket) => self.hear(&socket, signal).await,
                Err(error) => error,
            };
            let text = error.to_string();
            if text != trouble {
                tracing::warn!("listening for {}: {text}; looking every {} s", self.what, self.again.as_secs());
            }
            trouble = text;
            tokio::time::sleep(self.again).await;
            signal.notify_one();
        }
    }

    async fn hear(&self, socket: &UnixDatagram, signal: &Notify) -> io::Error {
        let mut buffer = [0; 8192];
        loop {
            match socket.recv(&mut buffer).await {
                Ok(length) if (self.concerns)(&buffer[..length]) => signal.notify_one(),
                Ok(_) => {}
                // The queue overflowed: something was missed.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => signal.notify_one(),
                Err(error) => return error,
            }
        }
    }
}

#[cfg(test)]
mod tests;
