//! A node whose address changes: requests and the sweep decide by the same one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{GRACE, ip, machine, name, node_request, proven, rules, settled, words};
use bowline_enroll::decide::{self, Decision, Order};
use bowline_enroll::facts::Facts;
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::{Labels, NodeRequest};
use bowline_enroll::{Act, EnrollRule, Role, keep, sweep};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NONE: [&str; 0] = [];

/// Two zones with a network each, whose nodes get its label and its taint.
fn zones() -> Vec<EnrollRule> {
    let zone = |letter: &str, from: &str| EnrollRule {
        name: format!("zone-{letter}"),
        from: vec![from.parse().unwrap()],
        grant: BTreeMap::from([("zone".into(), letter.into())]),
        taints: vec![format!("zone={letter}:NoSchedule").parse().unwrap()],
        ..rules()[0].clone()
    };
    vec![zone("a", "10.0.1.0/24"), zone("b", "10.0.2.0/24")]
}

/// A node that is in the cluster, and was let in from zone a.
fn a_node() -> Facts {
    let mut facts = settled();
    facts.tokens.clear();
    facts.claim.as_mut().unwrap().value.node_uid = Some("u1".into());
    facts
}

/// The node asks from an address, for a role of its own or none; what follows is done.
fn asks(facts: &mut Facts, from: &str, role: &str) -> Vec<&'static str> {
    let labels = [("node-role.kubernetes.io/own", role)].into_iter().filter(|(_, role)| !role.is_empty());
    let labels = Labels(labels.map(|(key, value)| (key.into(), value.into())).collect());
    let request = NodeRequest { labels, ..node_request(Role::Agent, "kafka-0", &machine(1)) };
    let proven = proven(Purpose::Node, Role::Agent, &request.name, &request.to_body(), &machine(1));
    let order = Order { rules: &zones(), grace: GRACE, proven: &proven, peer: ip(from) };
    let Decision::Answer { acts, .. } = decide::node(&order, &request, facts) else { panic!("refused") };
    for act in &acts {
        let node = &mut facts.node.as_mut().unwrap().value;
        match act {
            Act::UpdateClaim { claim, .. } => facts.claim.as_mut().unwrap().value = claim.clone(),
            Act::SetLabels { labels, .. } => {
                node.labels = labels.clone();
                node.managers = labels.keys().map(|key| (key.clone(), vec![keep::MANAGER.to_owned()])).collect();
            }
            Act::SetTaints { taints, owned, .. } => {
                (node.taints, node.owned_taints) = (taints.clone(), Some(owned.clone()));
            }
            other => panic!("{other}"),
        }
    }
    words(&acts)
}

fn swept(facts: &Facts) -> Vec<&'static str> {
    words(&sweep::granted(&name("kafka-0"), facts, &zones()))
}

#[test]
fn the_sweep_follows_a_node_to_its_new_address() {
    let mut facts = a_node();
    assert_eq!(asks(&mut facts, "10.0.1.20", ""), ["reclaim", "labels", "taints"]);
    assert_eq!(swept(&facts), NONE);
    assert_eq!(asks(&mut facts, "::ffff:10.0.2.20", ""), ["reclaim", "labels", "taints"]);
    assert_eq!(facts.claim.as_ref().unwrap().value.from, ip("10.0.2.20"));
    assert_eq!(swept(&facts), ["reclaim"], "the taint of zone a is gone");
    assert_eq!(asks(&mut facts, "10.0.2.20", ""), ["reclaim"]);
    assert_eq!(asks(&mut facts, "10.0.2.20", ""), NONE);
    assert_eq!(swept(&facts), NONE);
    // Its address of before is under no rule any more.
    facts.claim.as_mut().unwrap().value.from = ip("10.0.9.20");
    assert_eq!(asks(&mut facts, "10.0.2.20", ""), ["reclaim"]);
}

#[test]
fn who_asks_from_two_addresses_of_one_rule_in_turn_makes_nobody_write() {
    let mut facts = a_node();
    asks(&mut facts, "10.0.1.20", "");
    for from in ["10.0.1.21", "10.0.1.20", "10.0.1.21"] {
        assert_eq!(asks(&mut facts, from, ""), NONE, "from {from}");
    }
    // What is written anyway has the address of now.
    assert_eq!(asks(&mut facts, "10.0.1.21", "yes"), ["reclaim", "labels"]);
    assert_eq!(facts.claim.unwrap().value.from, ip("10.0.1.21"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wherever_it_asks_from_it_is_settled_then(
        all in prop::collection::vec((1u8..=2, 20u8..=22, prop::sample::select(vec!["", "x", "y"])), 1..8),
    ) {
        let mut facts = a_node();
        for (zone, last, role) in all {
            asks(&mut facts, &format!("10.0.{zone}.{last}"), role);
            prop_assert!(swept(&facts).iter().all(|act| *act == "reclaim"), "{:?}", swept(&facts));
            asks(&mut facts, &format!("10.0.{zone}.{last}"), role);
            prop_assert_eq!(swept(&facts), NONE);
            for last in 20..=22 {
                prop_assert_eq!(asks(&mut facts, &format!("10.0.{zone}.{last}"), role), NONE);
            }
        }
    }
}
