//! Whatever machines ask, in whatever order, with crashes between any two acts: what must never happen.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use crate::common::{GRACE, NOW, a_node, enroll, facts, ip, machine, name, request, words};
use bowline_enroll::decide::{ADDRESS_GRACE, Decision};
use bowline_enroll::facts::{Facts, Node, Password, Read, Ready, Token};
use bowline_enroll::{Act, Claim, Role, sweep};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Event {
    /// A machine asks; the acts stop after so many.
    Ask { machine: u8, own_address: bool, acts: usize },
    /// Two issuers look at the same moment, and act one after the other.
    Race { one: u8, other: u8 },
    /// The machine with a token registers its Node.
    Register,
    /// The machine behind the Node renews its Lease.
    Renew,
    /// Seconds pass.
    Pass(u64),
    /// The control plane gives the Node up.
    Unknown,
    /// The Node's finalizers are through.
    Finalized,
    /// An issuer sweeps; the acts stop after so many.
    Sweep { acts: usize },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1u8..4, any::<bool>(), 0usize..8).prop_map(|(machine, own_address, acts)| Event::Ask { machine, own_address, acts }),
        1 => (1u8..4, 1u8..4).prop_map(|(one, other)| Event::Race { one, other }),
        2 => Just(Event::Register),
        2 => Just(Event::Renew),
        3 => prop::sample::select(vec![1, 10, 15, 59, 61, 700]).prop_map(Event::Pass),
        1 => Just(Event::Unknown),
        2 => Just(Event::Finalized),
        1 => (0usize..4).prop_map(|acts| Event::Sweep { acts }),
    ]
}

#[derive(Default)]
struct World {
    now: u64,
    version: u64,
    claim: Option<Read<Claim>>,
    node: Option<(Read<Node>, u8)>,
    password: Option<Read<Password>>,
    /// Tokens, and who was given each.
    tokens: Vec<(Token, u8)>,
    moved: u64,
}

impl World {
    fn facts(&self) -> Facts {
        Facts {
            claim: self.claim.clone(),
            node: self.node.as_ref().map(|(node, _)| node.clone()),
            lease_still_for: Duration::from_secs(self.now - self.moved),
            lease_watched_for: Duration::from_secs(self.now - self.moved),
            password: self.password.clone(),
            tokens: self.tokens.iter().map(|(token, _)| token.clone()).collect(),
            persistent: Default::default(),
            now: NOW + self.now,
            synchronised: true,
            ..facts()
        }
    }

    fn read<T>(&mut self, value: T, uid: Option<String>) -> Read<T> {
        self.version += 1;
        let resource_version = self.version.to_string();
        Read { value, uid: uid.unwrap_or_else(|| format!("uid-{resource_version}")), resource_version }
    }

    /// Does one act as an API server would; false: a conflict.
    fn act(&mut self, act: &Act, by: u8) -> bool {
        match act {
            Act::CreateClaim(claim) if self.claim.is_none() => self.claim = Some(self.read(claim.clone(), None)),
            Act::UpdateClaim { claim, resource_version } => match &self.claim {
                Some(there) if there.resource_version == *resource_version => {
                    let uid = there.uid.clone();
                    self.claim = Some(self.read(claim.clone(), Some(uid)));
                }
                _ => return false,
            },
            Act::DeleteClaim { resource_version, .. } => match &self.claim {
                Some(there) if there.resource_version == *resource_version => self.claim = None,
                _ => return false,
            },
            Act::DeleteNode { uid, resource_version, .. } => match &mut self.node {
                Some((node, _)) if node.uid == *uid && node.resource_version == *resource_version => {
                    node.value.deleting = true;
                    let still = Duration::from_secs(self.now - self.moved);
                    assert!(still >= ADDRESS_GRACE, "a Node was deleted whose Lease moved {still:?} ago");
                    let claimed = self.claim.as_ref().unwrap();
                    assert_eq!(claimed.value.machine_key, machine(by).public(), "before the claim was");
                }
                Some(_) => return false,
                None => {}
            },
            Act::DeletePassword { uid, .. } => self.password = self.password.take().filter(|there| there.uid != *uid),
            Act::StorePassword { hash, .. } if self.password.is_none() => {
                self.password = Some(self.read(hash.as_str().to_owned(), None));
            }
            Act::DeleteToken { object, .. } => self.tokens.retain(|(token, _)| token.object != *object),
            Act::MintToken { token, name, expires } => {
                let claim = &self.claim.as_ref().unwrap().value;
                assert_eq!(claim.machine_key, machine(by).public(), "a token for one who does not hold the name");
                assert_eq!(claim.replaces, None);
                assert!(self.password.is_some(), "the password is stored before");
                assert!(self.node.as_ref().is_none_or(|(_, whose)| *whose == by), "beside another's Node");
                self.version += 1;
                let object = format!("{}-{}", token.object_name(), self.version);
                self.tokens.push((Token { object, uid: "t".into(), node: name.to_string(), expires: *expires }, by));
                assert_eq!(self.tokens.len(), 1, "one live token a name");
            }
            _ => return false,
        }
        true
    }

    fn decide(&self, who: u8, own: bool) -> Vec<Act> {
        let request = request(Role::Agent, "kafka-0", &machine(who));
        let from = if own { "10.0.1.20" } else { "10.0.1.99" };
        let facts = self.facts();
        let decision = enroll(&request, &machine(who), from, &facts);
        let acts = decision.acts().to_vec();
        let words = words(&acts);
        if let Some(first) = words.first() {
            assert!(matches!(*first, "claim" | "reclaim"), "{words:?}");
        }
        let place = |word: &str| words.iter().rposition(|other| *other == word);
        let order = ["-token", "-node", "-password", "password", "token"].map(place);
        let there: Vec<usize> = order.into_iter().flatten().collect();
        assert!(there.is_sorted(), "{words:?}");
        if place("-node").is_some() {
            assert_eq!(place("token"), None, "not before the Node is gone: {words:?}");
            if !own {
                assert!(facts.lease_still_for >= GRACE);
                assert_eq!(facts.node.unwrap().value.ready, Ready::Unknown);
            }
        }
        if let Decision::Answer { answer, .. } = &decision {
            assert!(answer.labels.0.keys().all(|key| !bowline_enroll::rules::is_servers_role(key)));
        }
        acts
    }

    fn run(&mut self, acts: &[Act], most: usize, by: u8) {
        for act in acts.iter().take(most) {
            if !self.act(act, by) {
                return;
            }
        }
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Ask { machine, own_address, acts } => {
                let decided = self.decide(*machine, *own_address);
                self.run(&decided, if *acts == 7 { 99 } else { *acts }, *machine);
            }
            Event::Race { one, other } => {
                let (first, second) = (self.decide(*one, true), self.decide(*other, true));
                self.run(&first, 99, *one);
                let before = self.tokens.len();
                let second: Vec<Act> = second.into_iter().collect();
                self.run(&second, 99, *other);
                if !first.is_empty() && !second.is_empty() {
                    assert_eq!(self.tokens.len(), before, "of two issuers at once, one wins");
                }
            }
            Event::Register => {
                let live = self.tokens.iter().find(|(token, _)| token.expires > NOW + self.now).cloned();
                if let (None, Some((_, whose))) = (&self.node, live) {
                    let mut node = a_node("10.0.1.20", Ready::True);
                    node.internal_ips = vec![ip("10.0.1.20")];
                    self.node = Some((self.read(node, None), whose));
                    self.moved = self.now;
                }
            }
            Event::Renew => self.moved = if self.node.is_some() { self.now } else { self.moved },
            Event::Pass(seconds) => self.now += seconds,
            Event::Unknown => {
                if let Some((mut node, whose)) = self.node.take() {
                    node.value.ready = Ready::Unknown;
                    let uid = Some(node.uid.clone());
                    self.node = Some((self.read(node.value, uid), whose));
                }
            }
            Event::Finalized => {
                if self.node.as_ref().is_some_and(|(node, _)| node.value.deleting) {
                    (self.node, self.moved) = (None, self.now);
                }
            }
            Event::Sweep { acts } => {
                let all = sweep::name(&name("kafka-0"), &self.facts(), None);
                assert!(!words(&all).contains(&"-node"), "not unless the settings say so");
                self.run(&all, *acts, 0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_the_living_is_taken(events in prop::collection::vec(event(), 0..40)) {
        let mut world = World::default();
        for event in &events {
            world.step(event);
        }
        // And whoever is left asking comes in, once all others are silent.
        for _ in 0..3 {
            world.step(&Event::Pass(700));
            world.step(&Event::Ask { machine: 1, own_address: true, acts: 7 });
            world.step(&Event::Finalized);
        }
        world.step(&Event::Pass(700));
        world.step(&Event::Ask { machine: 1, own_address: true, acts: 7 });
        prop_assert!(world.tokens.iter().any(|(_, whose)| *whose == 1));
    }
}
