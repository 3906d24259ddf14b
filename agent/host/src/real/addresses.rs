//! The addresses of a host, tried one after the other: IPv6 and IPv4 by turns, as RFC 8305 has it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// So many get their share of the time; those behind them what is left.
const TRIES: usize = 3;

/// The connection to the first address that answers, or what became of the last one. However many addresses one family
/// has, the other's first is the second to be tried: where a family leads nowhere, the other is still reached.
pub(crate) async fn connect<T, F: Future<Output = std::io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    within: Duration,
    to: impl Fn(SocketAddr) -> F,
) -> Result<T, String> {
    let each = within / u32::try_from(addresses.len().clamp(1, TRIES)).unwrap_or(1);
    let mut last = "the name has no address".to_owned();
    for address in by_turns(addresses) {
        match timeout(each, to(address)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no answer"),
        }
    }
    Err(last)
}

/// One of each family by turns. The resolver's order holds within a family, and its first address stays the first.
pub(crate) fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut turns = Vec::with_capacity(addresses.len());
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == preferred);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        match (first.next(), second.next()) {
            (None, None) => return turns,
            (one, other) => turns.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 443)).collect()
    }

    #[test]
    fn families_take_turns_and_the_resolver_says_who_begins() {
        let turns = |texts: &[&str]| by_turns(addresses(texts));
        let six = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"];
        assert_eq!(turns(&six), addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"]));
        let four = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
        assert_eq!(turns(&four), addresses(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]));
        assert_eq!(turns(&["192.0.2.2", "192.0.2.1"]), addresses(&["192.0.2.2", "192.0.2.1"]));
        assert!(turns(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_that_leads_nowhere_does_not_hide_the_other() {
        let limit = Duration::from_secs(15);
        let of_six = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "192.0.2.1"];
        let of_four = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"];
        for (texts, alive) in [(&of_six[..], "192.0.2.1"), (&of_four[..], "2001:db8::1")] {
            let alive = addresses(&[alive])[0];
            let to = |address| async move {
                if address != alive {
                    std::future::pending::<()>().await;
                }
                Ok(address)
            };
            let reached = timeout(limit, connect(addresses(texts), limit, to)).await;
            assert_eq!(reached, Ok(Ok(alive)), "within the limit");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_became_of_the_last_address_is_told() {
        let limit = Duration::from_secs(15);
        let refused = |_| async { Err::<(), _>(Error::from(ErrorKind::ConnectionRefused)) };
        let said = connect(addresses(&["192.0.2.1"]), limit, refused).await;
        assert_eq!(said, Err("192.0.2.1:443: connection refused".into()));
        let silent = |_| std::future::pending::<std::io::Result<()>>();
        let said = connect(addresses(&["192.0.2.1", "2001:db8::1"]), limit, silent).await;
        assert_eq!(said, Err("[2001:db8::1]:443: no answer".into()));
        let said = connect(Vec::new(), limit, silent).await;
        assert_eq!(said, Err("the name has no address".into()));
    }
}
