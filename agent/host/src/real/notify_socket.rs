//! What the daemon tells systemd, over the socket that `$NOTIFY_SOCKET` names (man 3 `sd_notify`).

use nix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Settings are valid and all surfaces listen.
    Ready,
    /// One line for `systemctl status`.
    Status(&'a str),
    /// Still alive.
    Watchdog,
    /// Settings are being read again; `Ready` follows.
    Reloading,
    /// On the way out.
    Stopping,
}

/// The way to systemd; without one everything told is dropped.
#[derive(Debug)]
pub struct NotifySocket(Option<(UnixDatagram, SocketAddr)>);

impl NotifySocket {
    /// The socket that systemd named in the environment.
    pub fn from_environment() -> io::Result<Self> {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::to(&name),
            _ => Ok(Self(None)),
        }
    }

    /// A socket by its name: a path, or `@` and an abstract name.
    pub fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "NOTIFY_SOCKET is neither a path nor @name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some((socket, address))))
    }

    /// Whether systemd listens at all.
    pub fn connected(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it; never waits for systemd.
    pub fn tell(&self, notice: Notice<'_>) -> io::Result<()> {
        let Some((socket, address)) = &self.0 else { return Ok(()) };
        let text = match notice {
            Notice::Ready => "READY=1".to_owned(),
            Notice::Status(text) => format!("STATUS={}", text.replace(['\n', '\r'], " ")),
            Notice::Watchdog => "WATCHDOG=1".to_owned(),
            Notice::Reloading => {
                let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
                format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros())
            }
            Notice::Stopping => "STOPPING=1".to_owned(),
        };
        socket.send_to_addr(text.as_bytes(), address).map(drop)
    }
}

/// How often systemd wants to hear that the daemon lives (half of `WatchdogSec=`), when it is meant.
pub fn watchdog_interval() -> Option<Duration> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|usec| *usec > 0).map(|usec| Duration::from_micros(usec / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn every_notice_in_the_protocols_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let socket = NotifySocket::to(path.as_os_str()).unwrap();
        assert!(socket.connected());
        for (notice, text) in [
            (Notice::Ready, "READY=1"),
            (Notice::Status("one\ntwo"), "STATUS=one two"),
            (Notice::Watchdog, "WATCHDOG=1"),
            (Notice::Stopping, "STOPPING=1"),
        ] {
            socket.tell(notice).unwrap();
            assert_eq!(heard(&systemd), text);
        }
        socket.tell(Notice::Reloading).unwrap();
        let text = heard(&systemd);
        let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(usec.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn an_abstract_name() {
        let name = format!("bowline-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        NotifySocket::to(OsStr::new(&format!("@{name}"))).unwrap().tell(Notice::Ready).unwrap();
        assert_eq!(heard(&systemd), "READY=1");
        assert!(NotifySocket::to(OsStr::new("relative")).is_err());
    }
}
