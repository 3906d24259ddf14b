//! Whether a TCP port can be reached from here, and if not, how it fails: the remedy hangs on that.

use super::resolve;
use bowline_ports::PortError;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What came of trying to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It takes connections.
    Open,
    /// Refused by a machine that is there: nothing listens. Some firewalls answer like this too.
    Closed,
    /// Somebody on the way said that this host is not to be reached (ICMP, such as iptables's
    /// `icmp-host-prohibited`), nobody has the address, or a firewall of this very machine forbids it.
    Rejected,
    /// There is no route to it from here.
    NoRoute,
    /// Nothing came back.
    Silent,
    /// It could not be tried: the name has no address, or this machine has trouble of its own.
    Untried(PortError),
}

/// Tries to connect to each address of a host, and closes the connection at once. `deadline` is for each address.
pub async fn reach(host: &str, port: u16, deadline: Duration) -> Reach {
    let addresses = match resolve::addresses(host, port).await {
        Ok(addresses) => addresses,
        Err(error) => return Reach::Untried(error),
    };
    let mut last = Reach::Silent;
    for address in addresses {
        last = match timeout(deadline, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Reach::Open,
            Ok(Err(error)) => why(&error)
                .unwrap_or_else(|| Reach::Untried(PortError::io(format_args!("connecting to {address}"), &error))),
            Err(_) => Reach::Silent,
        };
    }
    last
}

fn why(error: &io::Error) -> Option<Reach> {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Some(Reach::Closed),
        ErrorKind::HostUnreachable | ErrorKind::PermissionDenied => Some(Reach::Rejected),
        ErrorKind::NetworkUnreachable => Some(Reach::NoRoute),
        ErrorKind::TimedOut => Some(Reach::Silent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const SOON: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn an_open_port_and_a_closed_one() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(reach("127.0.0.1", port, SOON).await, Reach::Open);
        drop(socket);
        // A child of another test has it until it becomes another program.
        let begin = std::time::Instant::now();
        while reach("127.0.0.1", port, SOON).await == Reach::Open {
            assert!(begin.elapsed() < Duration::from_secs(20), "it is open for ever");
        }
        assert_eq!(reach("127.0.0.1", port, SOON).await, Reach::Closed);
    }

    #[tokio::test]
    async fn a_port_that_says_nothing() {
        // Its queue is full, and the kernel drops what else comes.
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        let any = nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 0);
        nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &any).unwrap();
        nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let at: nix::sys::socket::SockaddrIn =
            nix::sys::socket::getsockname(std::os::fd::AsRawFd::as_raw_fd(&socket)).unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(stream)) =
            timeout(Duration::from_millis(300), TcpStream::connect(("127.0.0.1", at.port()))).await
        {
            held.push(stream);
        }
        assert_eq!(reach("127.0.0.1", at.port(), Duration::from_millis(300)).await, Reach::Silent);
    }

    #[test]
    fn errors_by_their_numbers() {
        let of = |number: nix::errno::Errno| why(&io::Error::from_raw_os_error(number as i32));
        assert_eq!(of(nix::errno::Errno::EHOSTUNREACH), Some(Reach::Rejected));
        assert_eq!(of(nix::errno::Errno::EPERM), Some(Reach::Rejected));
        assert_eq!(of(nix::errno::Errno::ENETUNREACH), Some(Reach::NoRoute));
        assert_eq!(of(nix::errno::Errno::ETIMEDOUT), Some(Reach::Silent));
        assert_eq!(of(nix::errno::Errno::EMFILE), None);
    }
}
