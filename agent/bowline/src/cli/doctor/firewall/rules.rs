//! What a firewall's rules do with a packet that opens a connection. Where that hangs on something that is not known here
//! (a set of addresses of the kernel's, a rate), both ways count, so that only what is refused for certain is called so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Deeper than anybody's chains lead into one another.
const DEEPEST: usize = 40;

/// The first packet of a connection from another node to this one.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) protocol: Protocol,
    /// The port that it is for. It comes from a port that needs no privilege.
    pub(super) port: u16,
    /// The addresses that it may come from.
    pub(super) from: RangeInclusive<u128>,
    /// This node's address.
    pub(super) to: IpAddr,
    /// The interface that it comes in by.
    pub(super) interface: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As iptables and nft name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Chains, and those of them that every packet for this machine goes through, in their order.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) bases: Vec<Base>,
    pub(super) chains: BTreeMap<String, Vec<Rule>>,
}

/// A chain that the kernel itself calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    /// Its key among the chains.
    pub(super) chain: String,
    /// Its table as its tool takes it: `filter` (iptables), `inet filter` (nft).
    pub(super) table: String,
    /// Its name.
    pub(super) name: String,
    /// Whether it refuses what no rule decides on.
    pub(super) refuses: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) tests: Vec<Test>,
    pub(super) action: Action,
    /// For people.
    pub(super) text: String,
}

/// One thing that a packet has to be for a rule to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    /// A number of it is in one of these ranges.
    Within { what: Number, ranges: Vec<RangeInclusive<u128>>, not: bool },
    /// A word about it is one of these; an ending `*` stands for anything.
    Among { what: Word, words: Vec<String>, not: bool },
    /// Its mark under this mask is this.
    Mark { value: u32, mask: u32, not: bool },
    /// As said.
    Always(Fits),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Source,
    Destination,
    SourcePort,
    Port,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// `tcp`
    Protocol,
    /// `ens3`
    Interface,
    /// `new`
    State,
    /// `ipv4`
    Family,
}

/// Whether something applies to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fits {
    No,
    Maybe,
    Yes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Accept,
    Refuse,
    Return,
    Jump(String),
    Goto(String),
    /// It gets this mark: `(mark & !mask) ^ value`. Without a value it is not known which.
    Mark(Option<(u32, u32)>),
    /// Nothing that matters here.
    Pass,
    /// Nobody knows from here.
    Unclear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Is(u32),
    Unknown,
}

impl Mark {
    fn or(self, other: Option<Mark>) -> Mark {
        match other {
            Some(other) if other != self => Mark::Unknown,
            _ => self,
        }
    }
}

/// Where a packet may end up in a chain, with the mark that it has there.
#[derive(Debug, Default)]
struct Ends {
    accepted: Option<Mark>,
    /// By which rule.
    refused: Option<String>,
    /// Past the last rule, or returned.
    through: Option<Mark>,
}

impl Ends {
    fn accept(&mut self, mark: Mark) {
        self.accepted = Some(mark.or(self.accepted));
    }

    fn pass(&mut self, mark: Mark) {
        self.through = Some(mark.or(self.through));
    }

    /// What came of another chain, but for what passes through it.
    fn add(&mut self, other: &Ends) {
        if let Some(mark) = other.accepted {
            self.accept(mark);
        }
        if self.refused.is_none() {
            self.refused.clone_from(&other.refused);
        }
    }
}

impl Rules {
    /// The chains that refuse a packet whatever else is true of it, each with its rule.
    pub(super) fn refusals(&self, packet: &Packet) -> Vec<(&Base, String)> {
        let mut all = Vec::new();
        let mut mark = Mark::Is(0);
        for base in &self.bases {
            let mut ends = self.walk(&base.chain, packet, mark, 0);
            match (ends.through, base.refuses) {
                (Some(_), true) if ends.refused.is_none() => {
                    ends.refused = Some(format!("the policy of chain {} in table {}", base.name, base.table));
                }
                (Some(_), true) | (None, _) => {}
                (Some(mark), false) => ends.accept(mark),
            }
            match (ends.accepted, ends.refused) {
                (None, Some(rule)) => all.push((base, rule)),
                (Some(after), _) => mark = after,
                (None, None) => {}
            }
        }
        all
    }

    fn walk(&self, chain: &str, packet: &Packet, mut mark: Mark, depth: usize) -> Ends {
        let mut ends = Ends::default();
        let Some(rules) = self.chains.get(chain).filter(|_| depth < DEEPEST) else {
            // Not to be known what it does: it may let through.
            ends.accept(Mark::Unknown);
            ends.pass(Mark::Unknown);
            return ends;
        };
        for rule in rules {
            let fits = rule.fits(packet, mark);
            if fits == Fits::No {
                continue;
            }
            let surely = fits == Fits::Yes;
            match &rule.action {
                Action::Accept => ends.accept(mark),
                Action::Refuse => {
                    ends.refused.get_or_insert_with(|| rule.text.clone());
                }
                Action::Return => ends.pass(mark),
                Action::Jump(to) => {
                    let inner = self.walk(to, packet, mark, depth + 1);
                    ends.add(&inner);
                    match (inner.through, surely) {
                        (Some(after), true) => mark = after,
                        (after, false) => mark = mark.or(after),
                        (None, true) => return ends,
                    }
                    continue;
                }
                Action::Goto(to) => {
                    let inner = self.walk(to, packet, mark, depth + 1);
                    ends.add(&inner);
                    if let Some(after) = inner.through {
                        ends.pass(after);
                    }
                }
                Action::Mark(set) => {
                    let after = match (mark, set) {
                        (Mark::Is(old), Some((value, mask))) => Mark::Is((old & !mask) ^ value),
                        _ => Mark::Unknown,
                    };
                    mark = if surely { after } else { mark.or(Some(after)) };
                    continue;
                }
                Action::Pass => continue,
                Action::Unclear => {
                    ends.accept(Mark::Unknown);
                    mark = Mark::Unknown;
                    continue;
                }
            }
            if surely {
                return ends;
            }
        }
        ends.pass(mark);
        ends
    }
}

impl Rule {
    fn fits(&self, packet: &Packet, mark: Mark) -> Fits {
        self.tests.iter().map(|test| test.fits(packet, mark)).min().unwrap_or(Fits::Yes)
    }
}

impl Test {
    fn fits(&self, packet: &Packet, mark: Mark) -> Fits {
        let (fits, not) = match self {
            Self::Within { what, ranges, not } => (within(&packet.number(*what), ranges), *not),
            Self::Among { what, words, not } => {
                let word = packet.word(*what);
                let found = words.iter().any(|one| match one.strip_suffix('*') {
                    Some(beginning) => word.starts_with(beginning),
                    None => word == *one,
                });
                (if found { Fits::Yes } else { Fits::No }, *not)
            }
            Self::Mark { value, mask, not } => match mark {
                Mark::Is(mark) if mark & mask == *value => (Fits::Yes, *not),
                Mark::Is(_) => (Fits::No, *not),
                Mark::Unknown => (Fits::Maybe, *not),
            },
            Self::Always(fits) => (*fits, false),
        };
        match (fits, not) {
            (Fits::Yes, true) => Fits::No,
            (Fits::No, true) => Fits::Yes,
            (fits, _) => fits,
        }
    }
}

impl Packet {
    fn number(&self, what: Number) -> RangeInclusive<u128> {
        let one = |number: u128| number..=number;
        match what {
            Number::Source => self.from.clone(),
            Number::Destination => one(number(self.to)),
            Number::SourcePort => 1024..=65535,
            Number::Port => one(self.port.into()),
        }
    }

    fn word(&self, what: Word) -> &str {
        match what {
            Word::Protocol => self.protocol.name(),
            Word::Interface => &self.interface,
            Word::State => "new",
            Word::Family if self.to.is_ipv4() => "ipv4",
            Word::Family => "ipv6",
        }
    }
}

/// An address as a number.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The addresses of a network.
pub(super) fn network(address: IpAddr, prefix: u8) -> RangeInclusive<u128> {
    let width: u32 = if address.is_ipv4() { 32 } else { 128 };
    let free = width.saturating_sub(prefix.into());
    let rest = 1u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    let first = number(address) & !rest;
    first..=first | rest
}

fn within(numbers: &RangeInclusive<u128>, ranges: &[RangeInclusive<u128>]) -> Fits {
    if ranges.iter().any(|range| range.contains(numbers.start()) && range.contains(numbers.end())) {
        return Fits::Yes;
    }
    let apart = |range: &RangeInclusive<u128>| range.end() < numbers.start() || numbers.end() < range.start();
    if ranges.iter().all(apart) { Fits::No } else { Fits::Maybe }
}
