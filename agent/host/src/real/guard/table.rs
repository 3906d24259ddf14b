//! The table `inet bowline` as messages to the kernel (contract: `linux/netfilter/nf_tables.h`). What they make,
//! `nft list table inet bowline` shows:
//!
//! ```text
//! chain input {                                   # what is for this machine
//!     type filter hook input priority filter
//!     iifname "lo" accept
//!     iifname "eth1" accept                       # each interface of machines
//!     tcp dport 7470 tcp flags syn / syn,ack counter drop
//! }
//! chain forward {                                 # what is for others
//!     type filter hook forward priority filter
//!     iifname "eth1" accept
//!     ip daddr 10.42.0.0/16 accept                # each network of pods
//!     tcp dport 7470 tcp flags syn / syn,ack counter drop
//! }
//! ```
//!
//! An `accept` ends its own chain only. Nothing but the opening of connections is dropped: 7470 may be the other end's own
//! port in a connection that it has opened itself. In both places a Service has been resolved to what is behind it.

use bowline_ports::GuardOrder;
use std::io;
use std::net::IpAddr;

const TABLE: &[u8] = b"bowline\0";
const INET: u8 = 1;

/// The subsystem of nftables in netfilter's netlink.
const NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = NFTABLES << 8;
const DELETE_TABLE: u16 = NFTABLES << 8 | 2;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const ERROR: u16 = 2;

const HOOK_INPUT: u32 = 1;
const HOOK_FORWARD: u32 = 2;
const PRIORITY_FILTER: u32 = 0;
/// `NFT_TABLE_F_OWNER`.
const OWNER: u32 = 2;

const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// What is known of a packet besides its bytes (`nft_meta_keys`).
const INPUT_INTERFACE: u32 = 6;
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;

/// Where in a packet (`nft_payload_bases`).
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Takes the table away.
pub(super) fn remove() -> Vec<u8> {
    batch(&[(DELETE_TABLE, 0, attribute(1, TABLE))])
}

/// Makes the table.
pub(super) fn make(order: &GuardOrder) -> Vec<u8> {
    let mut all = vec![(NEW_TABLE, CREATE, [attribute(1, TABLE), attribute(2, &OWNER.to_be_bytes())].concat())];
    if !order.here.is_empty() {
        let machines = std::iter::once("lo").chain(order.machines.iter().map(String::as_str)).map(from);
        chain(&mut all, b"input\0", HOOK_INPUT, machines.collect(), &order.here);
    }
    let machines = order.machines.iter().map(|name| from(name));
    let pods = order.pods.iter().map(|(address, bits)| within(*address, *bits));
    chain(&mut all, b"forward\0", HOOK_FORWARD, machines.chain(pods).collect(), &order.elsewhere);
    batch(&all)
}

/// What the kernel says first: a failure comes before any success.
pub(super) fn result(answer: &[u8]) -> io::Result<()> {
    let number = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match (kind, number(16)) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer makes no sense")),
    }
}

type Message = (u16, u16, Vec<u8>);

/// A chain: what it lets through, and the ports that it closes to all else.
fn chain(all: &mut Vec<Message>, name: &[u8], hook: u32, through: Vec<Vec<u8>>, ports: &[u16]) {
    let hook = [attribute(1, &hook.to_be_bytes()), attribute(2, &PRIORITY_FILTER.to_be_bytes())].concat();
    let body = [attribute(1, TABLE), attribute(3, name), nested(4, &hook), attribute(7, b"filter\0")];
    all.push((NEW_CHAIN, CREATE, body.concat()));
    let mut rule = |expressions: Vec<u8>| {
        let body = [attribute(1, TABLE), attribute(2, name), nested(4, &expressions)];
        all.push((NEW_RULE, CREATE | APPEND, body.concat()));
    };
    for fits in through {
        rule([fits, verdict(ACCEPT)].concat());
    }
    for port in ports {
        rule([opens(*port), expression("counter", &[]), verdict(DROP)].concat());
    }
}

/// Comes in by this interface.
fn from(interface: &str) -> Vec<u8> {
    let mut name = [0; 16];
    name.iter_mut().zip(interface.bytes()).for_each(|(to, byte)| *to = byte);
    [meta(INPUT_INTERFACE), equals(&name)].concat()
}

/// Goes to an address in this network.
fn within(address: IpAddr, bits: u8) -> Vec<u8> {
    // IPv4 and IPv6 by the kernel's numbers of them; where the destination is in their headers.
    let (family, offset, bytes) = match address {
        IpAddr::V4(v4) => (2, 16, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10, 24, v6.octets().to_vec()),
    };
    let mask: Vec<u8> = (0..bytes.len())
        .map(|at| {
            let left = usize::from(bits).saturating_sub(8 * at).min(8);
            u8::try_from(0xff00_u32 >> left & 0xff).unwrap_or(0)
        })
        .collect();
    let network: Vec<u8> = bytes.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
    [meta(FAMILY), equals(&[family]), payload(NETWORK_HEADER, offset, bytes.len()), masked(&mask), equals(&network)]
        .concat()
}

/// Opens a TCP connection to this port.
fn opens(port: u16) -> Vec<u8> {
    [
        meta(PROTOCOL),
        equals(&[6]),
        payload(TRANSPORT_HEADER, 2, 2),
        equals(&port.to_be_bytes()),
        payload(TRANSPORT_HEADER, 13, 1),
        masked(&[SYN | ACK]),
        equals(&[SYN]),
    ]
    .concat()
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[attribute(1, &REGISTER.to_be_bytes()), attribute(2, &key.to_be_bytes())])
}

fn payload(base: u32, offset: u32, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or_default();
    let numbers = [REGISTER, base, offset, length];
    let all: Vec<_> = (1..).zip(numbers).map(|(kind, number)| attribute(kind, &number.to_be_bytes())).collect();
    expression("payload", &all)
}

fn masked(mask: &[u8]) -> Vec<u8> {
    let length = u32::try_from(mask.len()).unwrap_or_default();
    let numbers = [REGISTER, REGISTER, length];
    let mut all: Vec<_> = (1..).zip(numbers).map(|(kind, number)| attribute(kind, &number.to_be_bytes())).collect();
    all.push(nested(4, &attribute(1, mask)));
    all.push(nested(5, &attribute(1, &vec![0; mask.len()])));
    expression("bitwise", &all)
}

fn equals(value: &[u8]) -> Vec<u8> {
    const EQUAL: u32 = 0;
    let numbers = [attribute(1, &REGISTER.to_be_bytes()), attribute(2, &EQUAL.to_be_bytes())].concat();
    expression("cmp", &[numbers, nested(3, &attribute(1, value))])
}

fn verdict(verdict: u32) -> Vec<u8> {
    let verdict = nested(2, &nested(2, &attribute(1, &verdict.to_be_bytes())));
    expression("immediate", &[attribute(1, &VERDICT_REGISTER.to_be_bytes()), verdict])
}

fn expression(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let name = [name.as_bytes(), &[0]].concat();
    nested(1, &[attribute(1, &name), nested(2, &attributes.concat())].concat())
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    const NESTED: u16 = 0x8000;
    attribute(kind | NESTED, value)
}

/// A length, a kind and a value, filled up to a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut all = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
    all.resize(all.len().next_multiple_of(4), 0);
    all
}

/// The messages as one transaction. Failures are always told, success is for the last one.
fn batch(messages: &[Message]) -> Vec<u8> {
    let mut all = message(BATCH_BEGIN, REQUEST, 0, NFTABLES, &[]);
    for (at, (kind, flags, body)) in messages.iter().enumerate() {
        let tell = if at + 1 == messages.len() { ACKNOWLEDGE } else { 0 };
        all.extend(message(*kind, REQUEST | tell | flags, INET, 0, body));
    }
    all.extend(message(BATCH_END, REQUEST, 0, NFTABLES, &[]));
    all
}

fn message(kind: u16, flags: u16, family: u8, resource: u16, body: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 20;
    let length = u32::try_from(HEADERS + body.len()).unwrap_or(u32::MAX);
    // Sequence numbers and the sender's port are for whoever has several requests under way.
    let mut all = [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    all.extend([family, 0]);
    all.extend(resource.to_be_bytes());
    all.extend(body);
    all
}
