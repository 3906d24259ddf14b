//! A machine gives its name back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{GRACE, a_claim, a_node, ip, join, machine, name, proven, read, settled, words};
use bowline_enroll::Code;
use bowline_enroll::decide::{self, Decision, Order};
use bowline_enroll::facts::{Facts, Member, Ready};
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::{LeaveRequest, VERSION};
use bowline_settings::Role;

#[test]
fn leaving() {
    let leave = |by: u8, role, of: &str, facts: &Facts| {
        let request = LeaveRequest { version: VERSION, role, name: name(of), machine_key: machine(by).public() };
        let proven = proven(Purpose::Leave, role, &request.name, &request.to_body(), &machine(by));
        let order = Order { rules: &[], grace: GRACE, proven: &proven, peer: ip("10.0.1.20") };
        decide::leave(&order, &request, facts)
    };
    let facts = settled();
    assert_eq!(words(leave(1, Role::Agent, "kafka-0", &facts).acts()), ["-node"]);
    assert_eq!(leave(2, Role::Agent, "kafka-0", &facts).refusal().unwrap().code, Code::ClaimedElsewhere);
    let gone = Facts { node: None, password: Some(read("x".to_owned(), "p")), ..facts };
    assert_eq!(words(leave(1, Role::Agent, "kafka-0", &gone).acts()), ["-password", "-token", "unclaim"]);
    let done = Facts { claim: None, ..gone };
    assert!(matches!(leave(1, Role::Agent, "kafka-0", &done), Decision::Answer { acts, .. } if acts.is_empty()));
    let mut last = Facts {
        claim: Some(read(a_claim("control-2", Role::Server, &machine(1), Some("u1")), "c")),
        node: Some(read(a_node("10.0.1.11", Ready::True), "u1")),
        ..crate::common::facts()
    };
    last.cluster.members = vec![Member { node: "control-2".into(), healthy: true }];
    assert_eq!(leave(1, Role::Server, "control-2", &last).refusal().unwrap().code, Code::NoQuorum);
    // It may be a member already, which nothing but its Node would take out.
    let joins = |still, uid| Facts {
        claim: Some(read(a_claim("control-2", Role::Server, &machine(1), uid), "c")),
        join: Some(join("control-2", still)),
        ..crate::common::facts()
    };
    let waits = leave(1, Role::Server, "control-2", &joins(40, None));
    assert_eq!(waits.refusal().unwrap().code, Code::NotReady);
    assert!(waits.acts().is_empty(), "{:?}", waits.acts());
    assert_eq!(words(leave(1, Role::Server, "control-2", &joins(120, None)).acts()), ["joined", "unclaim"]);
    assert_eq!(words(leave(1, Role::Server, "control-2", &joins(40, Some("u1"))).acts()), ["joined", "unclaim"]);
    // It has a Node, with which its member goes: when that is gone, it is not taken for one that still joins.
    let mut came = Facts { node: Some(read(a_node("10.0.1.11", Ready::True), "u1")), ..joins(40, None) };
    came.cluster.members =
        ["control-1", "control-2", "control-3"].map(|node| Member { node: node.into(), healthy: true }).to_vec();
    assert_eq!(words(leave(1, Role::Server, "control-2", &came).acts()), ["joined", "-node"]);
}
