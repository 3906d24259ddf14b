//! Addresses, the default route, and who listens.

use super::processes::{descriptors, name, processes};
use bowline_ports::{Address, Listener, PortError};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

/// Addresses of all interfaces.
pub(crate) fn addresses() -> Result<Vec<Address>, PortError> {
    let interfaces = nix::ifaddrs::getifaddrs()
        .map_err(|e| PortError::io("asking the kernel for the addresses", &std::io::Error::from(e)))?;
    let mut addresses: Vec<Address> = interfaces
        .filter_map(|one| {
            let storage = one.address?;
            let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (_, Some(v6)) => IpAddr::V6(v6.ip()),
                _ => return None,
            };
            Some(Address { interface: device(&one.interface_name).to_owned(), address })
        })
        .collect();
    addresses.sort_by(|a, b| (&a.interface, a.address).cmp(&(&b.interface, b.address)));
    Ok(addresses)
}

/// Those that a node may be known by: of IPv6's none that is still looked for on the link (tentative), that another machine there
/// has (`dadfailed`), or that is for a while only (privacy). Nobody can listen at the first two.
pub(crate) fn lasting() -> Result<Vec<Address>, PortError> {
    let table = match fs::read_to_string("/proc/self/net/if_inet6") {
        Ok(table) => table,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(PortError::io("reading /proc/self/net/if_inet6", &error)),
    };
    let passing = passing(&table);
    let mut all = addresses()?;
    all.retain(|one| !passing.contains(one));
    Ok(all)
}

/// `IFA_F_TEMPORARY`, `IFA_F_DADFAILED`, and `IFA_F_TENTATIVE` unless it is `IFA_F_OPTIMISTIC` (`linux/if_addr.h`).
const TEMPORARY: u32 = 0x01;
const OPTIMISTIC: u32 = 0x04;
const DUPLICATE: u32 = 0x08;
const TENTATIVE: u32 = 0x40;

/// Of `fd000001000000000000000000000010 02 40 00 80 eth0`: the address, its device, prefix, scope, flags, and the device's name.
fn passing(table: &str) -> Vec<Address> {
    let of = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [address, _, _, _, flags, interface] = words[..] else { return None };
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let passes = flags & (TEMPORARY | DUPLICATE) != 0 || flags & (TENTATIVE | OPTIMISTIC) == TENTATIVE;
        passes.then(|| Address { interface: interface.to_owned(), address: IpAddr::V6(address) })
    };
    table.lines().filter_map(of).collect()
}

/// The device of an address: the C library gives the label in its place where the address has one (`eth1:0`), and no device has
/// a `:` in its name.
fn device(label: &str) -> &str {
    label.split(':').next().unwrap_or(label)
}

/// The interface of the default route, IPv4 before IPv6.
pub(crate) fn default_route() -> Result<Option<String>, PortError> {
    // `/proc/self/net`, since the sandbox hides `/proc/net`.
    let table =
        fs::read_to_string("/proc/self/net/route").map_err(|e| PortError::io("reading /proc/self/net/route", &e))?;
    if let Some(interface) = route_v4(&table) {
        return Ok(Some(interface));
    }
    match fs::read_to_string("/proc/self/net/ipv6_route") {
        Ok(table) => Ok(route_v6(&table)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PortError::io("reading /proc/self/net/ipv6_route", &error)),
    }
}

/// Of documentation (RFC 5737): nobody has it, and no route but the default one leads there.
const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The address that this machine speaks from by its default route, as the kernel chooses it: connecting a datagram socket sends
/// nothing.
pub(crate) fn default_source() -> Result<Option<Ipv4Addr>, PortError> {
    let asking = |e| PortError::io("asking the kernel for the address of the default route", &e);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(asking)?;
    if socket.connect(ANYWHERE).is_err() {
        return Ok(None);
    }
    Ok(match socket.local_addr().map_err(asking)?.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

/// The address that this machine speaks to that one from, as the kernel chooses it. Nothing is sent either.
pub(crate) fn source(to: SocketAddr) -> Option<IpAddr> {
    let any = if to.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

fn route_v4(table: &str) -> Option<String> {
    let mut best: Option<(u32, &str)> = None;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", _, flags, _, _, metric, "00000000", ..] = fields.as_slice() else { continue };
        let (Ok(flags), Ok(metric)) = (u32::from_str_radix(flags, 16), metric.parse()) else { continue };
        if flags & UP != 0 && flags & REJECT == 0 && best.is_none_or(|(least, _)| metric < least) {
            best = Some((metric, interface));
        }
    }
    best.map(|(_, interface)| interface.to_owned())
}

fn route_v6(table: &str) -> Option<String> {
    let mut best: Option<(u32, &str)> = None;
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, "00", _, _, _, metric, _, _, flags, interface] = fields.as_slice() else { continue };
        let (Ok(flags), Ok(metric)) = (u32::from_str_radix(flags, 16), u32::from_str_radix(metric, 16)) else {
            continue;
        };
        let everything = destination.bytes().all(|b| b == b'0');
        let usable = flags & UP != 0 && flags & REJECT == 0 && *interface != "lo";
        if everything && usable && best.is_none_or(|(least, _)| metric < least) {
            best = Some((metric, interface));
        }
    }
    best.map(|(_, interface)| interface.to_owned())
}

/// Who listens on a TCP port.
pub(crate) fn listener(port: u16) -> Result<Option<Listener>, PortError> {
    for (table, required) in [("/proc/self/net/tcp", true), ("/proc/self/net/tcp6", false)] {
        let text = match fs::read_to_string(table) {
            Ok(text) => text,
            Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(PortError::io(format_args!("reading {table}"), &error)),
        };
        if let Some(inode) = listening(&text, port) {
            return Ok(Some(Listener { port, process: owner(inode) }));
        }
    }
    Ok(None)
}

/// The inode of the socket that listens on a port.
fn listening(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
        let (_, hex) = local.rsplit_once(':')?;
        (u16::from_str_radix(hex, 16) == Ok(port)).then(|| inode.parse().ok())?
    })
}

/// The name of the process that holds a socket; `None` where other processes' files are out of sight.
fn owner(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let is_it = |fd: PathBuf| fs::read_link(fd).is_ok_and(|to| to.as_os_str() == wanted.as_str());
    let holder = processes(Path::new("/proc")).find(|process| descriptors(process).any(is_it))?;
    Some(name(&holder)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::given_back::given_back;

    #[test]
    fn what_passes_is_no_address_of_a_node() {
        let table = "fd000001000000000000000000000010 02 40 00 80     eth0\n\
                     fd000001000000000000000000000011 02 40 00 c0     eth0\n\
                     fd000001000000000000000000000012 02 40 00 c8     eth0\n\
                     fd000001000000005054fffe12345678 02 40 00 00     eth0\n\
                     fd00000100000000abcdef0123456789 02 40 00 01     eth0\n\
                     fd000001000000000000000000000013 02 40 00 c4     eth0\n\
                     fd000001000000000000000000000014 02 40 00 a0     eth0\n\
                     fe80000000000000505400fffe123456 02 40 20 80     eth0\n";
        let all: Vec<_> = passing(table).iter().map(|one| format!("{} {}", one.interface, one.address)).collect();
        assert_eq!(all, ["eth0 fd00:1::11", "eth0 fd00:1::12", "eth0 fd00:1::abcd:ef01:2345:6789"]);
    }

    #[test]
    fn the_default_route_with_the_least_metric() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let table = format!(
            "{head}eth1\t00000000\t0101000A\t0003\t0\t0\t200\t00000000\t0\t0\t0\n\
             eth0\t00000000\t010010AC\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth2\t00000000\t00000000\t0200\t0\t0\t1\t00000000\t0\t0\t0\n\
             eth0\t000010AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        );
        assert_eq!(route_v4(&table).as_deref(), Some("eth0"));
        assert_eq!(route_v4(head), None);
    }

    #[test]
    fn the_default_route_of_ipv6_is_not_the_unreachable_one() {
        let zero = "0".repeat(32);
        let table = format!(
            "{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n\
             fe800000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
             {zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0\n"
        );
        assert_eq!(route_v6(&table).as_deref(), Some("eth0"));
        assert_eq!(route_v6(table.lines().next().unwrap()), None);
    }

    #[test]
    fn a_listener_is_found_with_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listener(port).unwrap().unwrap();
        assert_eq!(found.port, port);
        assert!(found.process.is_some());
        drop(socket);
        given_back("somebody listens", || listener(port).unwrap().is_none());
    }

    #[test]
    fn loopback_has_its_address() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(addresses().unwrap().iter().any(|a| a.interface == "lo" && a.address == loopback));
        assert!(lasting().unwrap().iter().any(|a| a.interface == "lo" && a.address == loopback));
    }

    #[test]
    fn a_label_is_no_device() {
        for (label, name) in [("eth1:0", "eth1"), ("bond0.7:web:1", "bond0.7"), ("wg-0", "wg-0"), ("", "")] {
            assert_eq!(device(label), name, "{label}");
        }
    }

    /// Needs root, and a network of its own to add an address in.
    #[test]
    fn an_address_with_a_label_is_its_devices() {
        let labelled: IpAddr = "192.0.2.7".parse().unwrap();
        let add = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
            let words = ["address", "add", "192.0.2.7/32", "dev", "lo", "label", "lo:x"];
            let added = std::process::Command::new("ip").args(words).status().is_ok_and(|ended| ended.success());
            added.then(addresses)
        };
        // Of a thread of its own: the others keep their network.
        let Some(found) = std::thread::spawn(add).join().unwrap() else { return };
        let found: Vec<_> = found.unwrap().into_iter().filter(|one| one.address == labelled).collect();
        assert_eq!(found, [Address { interface: "lo".into(), address: labelled }]);
    }
}
