//! Who was refused a name that nobody holds: there is no claim that could remember it (`claim::Refused`). One ConfigMap a
//! server, of bounded size, with what that server refused lately.
//!
//! Whoever proves a ticket is told by its name, of which there are no more than tickets. Whoever proves none may say any
//! name: of those the addresses are counted, and no more of them kept than [`MOST_UNPROVEN`].

use crate::code::Code;
use crate::{NodeName, Role};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The label's value that tells these from claims ([`crate::claim::COMPONENT`]).
pub const COMPONENT: &str = "refused";
/// How many names of refused machines are kept.
pub const MOST_PROVEN: usize = 32;
/// How many addresses of those without a ticket are kept.
pub const MOST_UNPROVEN: usize = 16;
/// For how long: a week.
pub const KEPT: Duration = Duration::from_secs(7 * 86_400);
/// How often the same refusal is worth a write.
const WRITTEN_EVERY: Duration = Duration::from_secs(600);

/// What lies further ahead was noted by a clock that was wrong.
const AHEAD: Duration = Duration::from_secs(300);

/// A machine with a good ticket that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proven {
    /// Its name.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// The last time, seconds since 1970.
    pub at: u64,
    /// From where.
    pub from: IpAddr,
    /// Why.
    pub code: Code,
    /// By which machine, shortened ([`crate::key::PublicKey::short`]); empty where its request could not be read.
    pub machine: String,
}

/// An address that asked without a ticket that fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unproven {
    /// From where.
    pub from: IpAddr,
    /// The last time, seconds since 1970.
    pub at: u64,
    /// How often.
    pub times: u64,
    /// As whom it asked last: nothing proves it.
    pub name: NodeName,
    /// In which role.
    pub role: Role,
    /// The last time that was worth a write.
    #[serde(skip)]
    noted: u64,
}

/// What one server refused, or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// By names, in no order.
    pub proven: Vec<Proven>,
    /// By addresses, in no order.
    pub unproven: Vec<Unproven>,
    /// How often others asked without a ticket, whose addresses are not kept any more.
    pub others: u64,
}

impl Refusals {
    /// The name of a server's ConfigMap. No claim is called so.
    pub fn object_name(server: &NodeName) -> String {
        format!("refused.{server}")
    }

    /// Notes a refused machine; whether that is worth a write.
    pub fn refused(&mut self, new: Proven) -> bool {
        let same = |old: &Proven| old.name == new.name && old.role == new.role;
        let as_before = |old: &Proven| (old.from, old.code, &old.machine) == (new.from, new.code, &new.machine);
        // By a clock that was ahead it was noted in a time to come.
        let recent = |old: &Proven| new.at.abs_diff(old.at) < WRITTEN_EVERY.as_secs();
        if self.proven.iter().any(|old| same(old) && as_before(old) && recent(old)) {
            return false;
        }
        self.proven.retain(|old| !same(old));
        self.proven.push(new);
        self.bound();
        true
    }

    /// Notes who asked without a ticket that fits; whether that is worth a write.
    pub fn without_ticket(&mut self, from: IpAddr, (role, name): (Role, &NodeName), at: u64) -> bool {
        let name = name.clone();
        if let Some(known) = self.unproven.iter_mut().find(|known| known.from == from) {
            let due = at.abs_diff(known.noted) >= WRITTEN_EVERY.as_secs();
            let noted = if due { at } else { known.noted };
            *known = Unproven { at, times: known.times.saturating_add(1), name, role, noted, ..*known };
            return due;
        }
        self.unproven.push(Unproven { from, at, times: 1, name, role, noted: at });
        self.bound();
        true
    }

    /// Adds what somebody else noted, or this server before it was started again. Of the same machine the later is kept.
    pub fn add(&mut self, other: Self) {
        for old in other.proven {
            match self.proven.iter_mut().find(|new| new.name == old.name && new.role == old.role) {
                Some(new) if new.at >= old.at => {}
                Some(new) => *new = old,
                None => self.proven.push(old),
            }
        }
        for old in other.unproven {
            match self.unproven.iter_mut().find(|new| new.from == old.from) {
                Some(new) => {
                    let times = new.times.saturating_add(old.times);
                    let latest = if new.at >= old.at { new.clone() } else { old };
                    *new = Unproven { times, ..latest };
                }
                None => self.unproven.push(old),
            }
        }
        self.others = self.others.saturating_add(other.others);
    }

    /// Forgets what is too much, the oldest first, what is too old, and what this server noted by a clock that was ahead: it would
    /// count as the latest for as long.
    pub fn forget(&mut self, now: u64) {
        let kept = |at: u64| !is_old(at, now) && at <= now.saturating_add(AHEAD.as_secs());
        self.proven.retain(|one| kept(one.at));
        self.unproven.retain(|one| kept(one.at));
        if self.unproven.is_empty() {
            self.others = 0;
        }
        self.bound();
    }

    /// Whether nothing of it is worth keeping any more. What another server noted may be ahead of a clock that is behind.
    pub fn is_over(&self, now: u64) -> bool {
        self.proven.iter().map(|one| one.at).chain(self.unproven.iter().map(|one| one.at)).all(|at| is_old(at, now))
    }

    fn bound(&mut self) {
        while self.proven.len() > MOST_PROVEN
            && let Some(oldest) = oldest(&self.proven, |one| one.at)
        {
            self.proven.remove(oldest);
        }
        while self.unproven.len() > MOST_UNPROVEN
            && let Some(oldest) = oldest(&self.unproven, |one| one.at)
        {
            self.others = self.others.saturating_add(self.unproven.remove(oldest).times);
        }
    }

    /// The `data` of the ConfigMap.
    pub fn to_data(&self) -> BTreeMap<String, String> {
        let text = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
        BTreeMap::from([
            ("version".to_owned(), "1".to_owned()),
            ("refused".to_owned(), text(serde_json::to_string(&self.proven))),
            ("unproven".to_owned(), text(serde_json::to_string(&self.unproven))),
            ("unproven-others".to_owned(), self.others.to_string()),
        ])
    }

    /// Reads the `data` of a ConfigMap. None: it is not of this version, or somebody wrote it by hand.
    pub fn from_data(data: &BTreeMap<String, String>) -> Option<Self> {
        fn list<T: DeserializeOwned>(data: &BTreeMap<String, String>, key: &str) -> Option<T> {
            serde_json::from_str(data.get(key)?).ok()
        }
        (data.get("version")? == "1").then_some(())?;
        Some(Self {
            proven: list(data, "refused")?,
            unproven: list(data, "unproven")?,
            others: list(data, "unproven-others")?,
        })
    }
}

fn is_old(at: u64, now: u64) -> bool {
    now >= at.saturating_add(KEPT.as_secs())
}

fn oldest<T>(all: &[T], at: impl Fn(&T) -> u64) -> Option<usize> {
    all.iter().enumerate().min_by_key(|(_, one)| at(one)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end so")]

    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn ip(last: usize) -> IpAddr {
        format!("10.0.{}.{}", last / 250, last % 250).parse().unwrap()
    }

    fn refused(of: &str, at: u64) -> Proven {
        let (code, machine) = (Code::OutsideRules, "ab12".to_owned());
        Proven { name: name(of), role: Role::Agent, at, from: ip(1), code, machine }
    }

    #[test]
    fn the_same_refusal_is_worth_a_write_every_ten_minutes() {
        let mut all = Refusals::default();
        assert!(all.refused(refused("a", 1000)));
        assert!(!all.refused(refused("a", 1599)));
        assert!(all.refused(refused("a", 1600)));
        assert!(all.refused(Proven { from: ip(2), ..refused("a", 1601) }), "from elsewhere");
        assert!(all.refused(Proven { role: Role::Server, ..refused("a", 1602) }), "as something else");
        assert_eq!(all.proven.len(), 2);
        let server = name("b");
        let mut asks = |at| all.without_ticket(ip(3), (Role::Agent, &server), at);
        assert_eq!([1000, 1001, 1599, 1600, 1601].map(&mut asks), [true, false, false, true, false]);
        assert_eq!((all.unproven[0].times, all.unproven[0].at), (5, 1601));
    }

    #[test]
    fn whoever_asks_from_everywhere_makes_it_no_longer() {
        let mut all = Refusals::default();
        for number in 0..1000 {
            let of = format!("{}-{number}", "n".repeat(58));
            all.refused(refused(&of, 5000 + number as u64));
            all.without_ticket(ip(number), (Role::Agent, &name(&of)), 5000 + number as u64);
        }
        assert_eq!((all.proven.len(), all.unproven.len()), (MOST_PROVEN, MOST_UNPROVEN));
        assert_eq!(all.others, 1000 - 16);
        assert!(all.unproven.iter().all(|one| one.at >= 5984), "the last ones are kept");
        let size: usize = all.to_data().values().map(String::len).sum();
        assert!(size < 12_000, "{size} bytes");
        assert_eq!(Refusals::from_data(&all.to_data()).unwrap().proven, all.proven);
    }

    #[test]
    fn after_a_week_it_is_over() {
        let mut all = Refusals::default();
        all.refused(refused("a", 1000));
        all.without_ticket(ip(1), (Role::Agent, &name("b")), 2000);
        all.others = 7;
        assert!(!all.is_over(1999 + KEPT.as_secs()));
        all.forget(1000 + KEPT.as_secs());
        assert_eq!((all.proven.len(), all.unproven.len(), all.others), (0, 1, 7));
        assert!(all.is_over(2000 + KEPT.as_secs()));
        assert!(Refusals::default().is_over(0));
    }

    #[test]
    fn a_clock_that_was_ahead_hides_nothing() {
        const DAY: u64 = 86_400;
        let mut all = Refusals::default();
        all.refused(refused("a", DAY + 1000));
        all.without_ticket(ip(1), (Role::Agent, &name("b")), DAY + 1000);
        // Set back.
        assert!(all.refused(refused("a", 1000)) && !all.refused(refused("a", 1001)));
        assert!(all.without_ticket(ip(1), (Role::Agent, &name("b")), 1000));
        assert!(!all.without_ticket(ip(1), (Role::Agent, &name("b")), 1001));
        assert_eq!((all.proven[0].at, all.unproven[0].at), (1000, 1001));
        all.refused(refused("c", DAY));
        all.refused(refused("d", 1300));
        assert!(!all.is_over(1000), "another server's clock may be behind");
        all.forget(1000);
        assert_eq!(all.proven.iter().map(|one| one.at).collect::<Vec<_>>(), [1000, 1300]);
    }

    #[test]
    fn what_several_servers_refused_is_added_up() {
        let (mut one, mut other) = (Refusals::default(), Refusals::default());
        one.refused(refused("a", 1000));
        other.refused(Proven { code: Code::BadRequest, ..refused("a", 2000) });
        other.refused(refused("b", 10));
        for at in [10, 20] {
            one.without_ticket(ip(1), (Role::Agent, &name("x")), at);
            other.without_ticket(ip(1), (Role::Server, &name("y")), at + 5);
        }
        other.without_ticket(ip(2), (Role::Agent, &name("z")), 1);
        one.add(other);
        assert_eq!(
            one.proven.iter().map(|p| (p.at, p.code)).collect::<Vec<_>>(),
            [(2000, Code::BadRequest), (10, Code::OutsideRules)]
        );
        let known = one.unproven.iter().find(|known| known.from == ip(1)).unwrap();
        assert_eq!((known.times, known.at, known.name.as_str()), (4, 25, "y"));
        assert_eq!(one.unproven.len(), 2);
    }

    #[test]
    fn what_others_wrote_is_nothing() {
        let mut data = Refusals::default().to_data();
        assert_eq!(Refusals::from_data(&data), Some(Refusals::default()));
        data.insert("refused".into(), "[{\"name\":\"A B\"}]".into());
        assert_eq!(Refusals::from_data(&data), None);
        assert_eq!(Refusals::from_data(&BTreeMap::new()), None);
    }
}
