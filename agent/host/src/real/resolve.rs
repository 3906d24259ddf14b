//! Names of hosts, asked of whatever this machine resolves names with.

use super::blocking::{elsewhere, within};
use bowline_ports::{ErrorKind, PortError};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(6);

/// Whether a host's name leads to an address.
///
/// # Errors
/// When it does not, or nobody answers within a few seconds.
pub async fn resolves(host: &str) -> Result<(), PortError> {
    // The port has no meaning here, and the call wants one.
    addresses(host, 443).await.map(|_| ())
}

/// The addresses that a host's name leads to, with this port; at least one.
pub(crate) async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, PortError> {
    let what = format!("resolving {host}");
    let hint = "look with: resolvectl status; cat /etc/resolv.conf";
    let answer = within(&what, DEADLINE, async {
        let found = look_up(host, port).await.map_err(|error| {
            let cause = error.to_string();
            let cause = cause.strip_prefix("failed to lookup address information: ").unwrap_or(&cause);
            PortError::new(ErrorKind::Unreachable, format!("{what}: {cause}"))
        })?;
        if found.is_empty() {
            return Err(PortError::new(ErrorKind::Unreachable, format!("{what}: the name has no address")));
        }
        Ok(found)
    });
    answer.await.map_err(|error| error.hint(hint))
}

/// What the machine's own resolver finds.
pub(crate) async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    let found = elsewhere(move || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter))?;
    found.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_leads_to_itself() {
        assert_eq!(resolves("127.0.0.1").await, Ok(()));
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_unreachable_and_says_so() {
        let error = resolves("no-such-host.invalid").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Timeout), "{error:?}");
        assert!(error.message.starts_with("resolving no-such-host.invalid: "), "{error}");
        assert!(error.hint.is_some());
    }
}
