//! IP networks and the addresses that metrics and enrolment listen on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, excerpt, quote};
use crate::metrics::METRICS_PORT;

/// An IPv4 or IPv6 network in CIDR form, such as `10.0.1.0/24`.
///
/// The address is always the network's own: no bit is set behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The smallest network with `address` in it that has `prefix` bits.
    /// A prefix that is longer than the address counts as a single address.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(width(address));
        Self { address: mask(address, prefix), prefix }
    }

    /// A network as K3s reads its options: with a prefix, and what the address has behind that is cut off. `None` where
    /// it is none.
    pub fn masked(text: &str) -> Option<Self> {
        let (address, prefix) = text.trim().split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix = number::<u8>(prefix).filter(|bits| *bits <= width(address))?;
        Some(Self::around(address, prefix))
    }

    /// The network's first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits are fixed: 0 to 32, or 0 to 128 for IPv6.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is one address only (`/32`, or `/128` for IPv6).
    pub fn is_single(&self) -> bool {
        self.prefix == width(self.address)
    }

    /// Whether `address` lies in the network. An IPv4 address that is written as
    /// IPv6 (`::ffff:10.0.1.5`) counts as the IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4() && mask(address, self.prefix) == self.address
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & keep).into())
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & keep).into())
        }
    }
}

impl FromStr for Cidr {
    type Err = Complaint;

    /// `10.0.1.0/24`, `fd00::/8`, or a plain address, which stands for itself alone.
    fn from_str(text: &str) -> Result<Self, Complaint> {
        let wanted = "expected a network such as \"10.0.1.0/24\", or an address";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| Complaint::new(format!("{} is not a network: {wanted}", quote(text))))?;
        let Some(prefix) = prefix else {
            return Ok(Self::around(address, width(address)));
        };
        let most = width(address);
        let prefix = number::<u8>(prefix).filter(|bits| *bits <= most).ok_or_else(|| {
            Complaint::new(format!("{} is not a network: the part after the `/` is 0 to {most}", quote(text)))
        })?;
        let network = Self::around(address, prefix);
        if network.address != address {
            return Err(Complaint::new(format!("\"{text}\" is an address inside {network}, not a network"))
                .suggest(format!("\"{network}\", or \"{address}\" for this address alone")));
        }
        Ok(network)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A decimal number without sign or leading zeros.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && digits).then(|| text.parse().ok()).flatten()
}

/// What is wrong with an address that means nothing without an interface: the kernel refuses it at every try, and what
/// is written behind a `%` is another number at the next boot.
pub(crate) fn of_one_link(address: IpAddr) -> Option<Complaint> {
    let link = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    link.then(|| {
        Complaint::new(format!("{address} is for a single link: nothing can be reached there without its interface"))
            .suggest("an address of the private network, such as \"fd00::10\"")
    })
}

/// Which of the node's addresses something listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenHost {
    /// This address, as written.
    Ip(IpAddr),
    /// `{address}`: the node's own, which `[node] address` chooses.
    NodeAddress,
}

/// One place where something is served: `IP:port` or `{address}:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// The address.
    pub host: ListenHost,
    /// The TCP port, never 0.
    pub port: u16,
}

impl Listen {
    /// Whether only this machine itself can reach it.
    pub fn is_loopback(&self) -> bool {
        match self.host {
            ListenHost::Ip(address) => address.to_canonical().is_loopback(),
            ListenHost::NodeAddress => false,
        }
    }

    /// Whether both cannot be listened on: the same port, and one of the two addresses is all of that kind.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let all = |listen: &Self| match listen.host {
            ListenHost::Ip(address) if address.is_unspecified() => Some(address),
            _ => None,
        };
        let covers = |all: IpAddr, one: &Self| match one.host {
            // `::` takes IPv4 along.
            ListenHost::Ip(address) => all.is_ipv6() || address.is_ipv4(),
            ListenHost::NodeAddress => true,
        };
        self.port == other.port
            && (all(self).is_some_and(|all| covers(all, other)) || all(other).is_some_and(|all| covers(all, self)))
    }

    /// The socket address, once the node's own address is known.
    pub fn resolve(&self, node_address: Option<IpAddr>) -> Option<SocketAddr> {
        let address = match self.host {
            ListenHost::Ip(address) => Some(address),
            ListenHost::NodeAddress => node_address,
        };
        address.map(|address| SocketAddr::new(address, self.port))
    }
}

impl Listen {
    /// Reads one; `usual` is the port that messages give as an example.
    pub(crate) fn parse(text: &str, usual: u16) -> Result<Self, Complaint> {
        let bad = || {
            Complaint::new(format!(
                "{} is not a place to listen on: expected an address and a \
                 port, such as \"127.0.0.1:{usual}\", \"[::1]:{usual}\" or \"{{address}}:{usual}\"",
                quote(text)
            ))
        };
        let (host, port) = if let Some(port) = text.strip_prefix("{address}:") {
            (ListenHost::NodeAddress, number::<u16>(port).ok_or_else(bad)?)
        } else if let Some((name, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            let why = match name {
                "address" => "`{address}` has no port here".to_owned(),
                other => {
                    format!("`{{{}}}` cannot be used here: only `{{address}}`, the node's own address", excerpt(other))
                }
            };
            return Err(Complaint::new(why).suggest(format!("\"{{address}}:{usual}\"")));
        } else {
            let socket: SocketAddr = text.parse().map_err(|_| bad())?;
            (ListenHost::Ip(socket.ip()), socket.port())
        };
        if let ListenHost::Ip(address) = host
            && let Some(complaint) = of_one_link(address)
        {
            return Err(complaint);
        }
        if port == 0 {
            return Err(
                Complaint::new("port 0 is no port to listen on").suggest(format!("write port {usual}, the usual one"))
            );
        }
        Ok(Self { host, port })
    }
}

impl FromStr for Listen {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        Self::parse(text, METRICS_PORT)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            ListenHost::Ip(address) => SocketAddr::new(address, self.port).fmt(f),
            ListenHost::NodeAddress => write!(f, "{{address}}:{}", self.port),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Cidr, Listen};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks() {
        for (text, inside, outside) in [
            ("10.0.1.0/24", "10.0.1.255", "10.0.2.0"),
            ("10.0.1.7", "10.0.1.7", "10.0.1.8"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
        ] {
            let network: Cidr = text.parse().unwrap();
            assert!(network.contains(ip(inside)), "{text} {inside}");
            assert!(!network.contains(ip(outside)), "{text} {outside}");
            assert_eq!(network.to_string().parse::<Cidr>().unwrap(), network);
        }
        assert!("10.0.1.7".parse::<Cidr>().unwrap().is_single());
        assert!("::1".parse::<Cidr>().unwrap().is_single());
    }

    #[test]
    fn not_networks() {
        for text in [
            "",
            "/",
            "10.0.1.0/",
            "10.0.1.0/33",
            "10.0.1.0/+8",
            "10.0.1.0/08",
            "10.0.1/24",
            "::/129",
            "host",
            "10.0.1.0/24/24",
            " 10.0.1.0/24",
            "10.0.1.5/24",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
        let inside = "10.0.1.5/24".parse::<Cidr>().unwrap_err();
        assert!(inside.suggestion.unwrap().contains("10.0.1.0/24"));
    }

    #[test]
    fn places_to_listen() {
        for text in ["127.0.0.1:9787", "[::1]:9787", "{address}:9787", "0.0.0.0:1"] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
        }
        let own: Listen = "{address}:9787".parse().unwrap();
        assert_eq!(own.resolve(None), None);
        assert_eq!(own.resolve(Some(ip("10.0.1.20"))), "10.0.1.20:9787".parse().ok());
        assert!(!own.is_loopback());
        assert!("127.8.8.8:1".parse::<Listen>().unwrap().is_loopback());
        for text in [
            "9787",
            ":9787",
            "127.0.0.1",
            "127.0.0.1:0",
            "{address}",
            "{address}:x",
            "{public-ipv4}:9787",
            "localhost:9787",
            "::1:9787",
            "{address",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        for text in ["[fe80::10]:9787", "[fe80::10%2]:9787"] {
            let refused = text.parse::<Listen>().unwrap_err();
            assert!(refused.message.contains(" is for a single link"), "{refused}");
        }
    }
}
