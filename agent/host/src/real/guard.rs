//! `bowline internal guard`: closes TCP ports to pods, for as long as the process lives.
//!
//! The nftables table has the flag `owner` (Linux 5.12): it belongs to the socket that made it. Nobody else can change,
//! delete or flush it (`nft flush ruleset` leaves it out), and the kernel takes it away when the socket closes. So there is
//! nothing to look at again and again: the ports are closed exactly when this process runs, and systemd starts it again.
//!
//! - `table`: the messages to the kernel.

mod table;

use super::files;
use super::notify_socket::{Notice, NotifySocket};
use bowline_ports::{ErrorKind, GUARD_UNSUPPORTED, GuardOrder, PortError};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The kernel answers at once; this is for a kernel that does not.
const ANSWER: Duration = Duration::from_secs(5);
/// So long a name of an interface can be.
const LONGEST_NAME: usize = 15;

/// Ports that are closed; open again when it is dropped.
#[derive(Debug)]
pub struct Closed {
    _owner: UnixDatagram,
}

impl Closed {
    /// Closes what the order names, in the network namespace of this thread.
    ///
    /// # Errors
    /// Of kind `NotFound` when this kernel has no nftables whose tables have owners, `Denied` when somebody else holds
    /// the table or this process may not change any.
    pub fn new(order: &GuardOrder) -> Result<Self, PortError> {
        if let Some(name) = order.machines.iter().find(|name| name.len() > LONGEST_NAME) {
            return Err(PortError::new(ErrorKind::Invalid, format!("“{name}” is no name of an interface")));
        }
        let owner = connect().map_err(|e| explained(&e))?;
        // One of that name without an owner, of a saved ruleset for example, would be in the way.
        match send(&owner, &table::remove()) {
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            other => other.map_err(|e| explained(&e))?,
        }
        send(&owner, &table::make(order)).map_err(|e| explained(&e))?;
        Ok(Self { _owner: owner })
    }
}

/// A netlink socket is used like any socket for datagrams; as one of the standard library's it needs no unsafe code.
fn connect() -> io::Result<UnixDatagram> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    let socket = UnixDatagram::from(socket);
    socket.set_read_timeout(Some(ANSWER))?;
    Ok(socket)
}

/// Sends a batch, which is done as a whole or not at all. The first answer tells.
fn send(socket: &UnixDatagram, batch: &[u8]) -> io::Result<()> {
    socket.send(batch)?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer)?;
    table::result(&answer[..length])
}

fn explained(error: &io::Error) -> PortError {
    let what = format!("closing ports to pods by nftables: {error}");
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::EINVAL) => {
            PortError::new(ErrorKind::NotFound, what).hint("it takes Linux 5.12 with nf_tables: `modprobe nf_tables`")
        }
        Some(Errno::EPERM | Errno::EACCES) => PortError::new(ErrorKind::Denied, what)
            .hint("does another process hold the table? Look with: nft list table inet bowline"),
        _ => PortError::io("closing ports to pods by nftables", error),
    }
}

/// Closes what the file `order` says, leaves its text in the file `closed` as the sign of it, and stays. Returns only
/// when it cannot.
pub fn run(order: &Path, closed: &Path) -> ExitCode {
    match hold(order, closed) {
        Ok(_closed) => loop {
            std::thread::park();
        },
        Err(error) => {
            // To the journal of the unit; where nobody reads, the exit status tells.
            let _ = writeln!(io::stderr(), "{}", error.in_full());
            if error.kind == ErrorKind::NotFound { ExitCode::from(GUARD_UNSUPPORTED) } else { ExitCode::FAILURE }
        }
    }
}

fn hold(order: &Path, closed: &Path) -> Result<Closed, PortError> {
    let bad = |why: String| PortError::new(ErrorKind::Invalid, format!("{}: {why}", order.display()));
    let file = files::read(order)?.ok_or_else(|| bad("there is no such order".into()))?;
    let parsed: GuardOrder = serde_json::from_slice(&file.content).map_err(|e| bad(e.to_string()))?;
    let held = Closed::new(&parsed)?;
    files::write(closed, &file.content, 0o644)?;
    let ready = NotifySocket::from_environment().and_then(|systemd| systemd.tell(Notice::Ready));
    ready.map_err(|e| PortError::io("telling systemd that the ports are closed", &e))?;
    Ok(held)
}
