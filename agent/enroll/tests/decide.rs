//! Decisions about machines that want to come in, case by case.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{NOW, a_claim, a_node, enroll, facts, hash, ip, join, keys, machine, name, read, request, words};
use bowline_enroll::decide::Decision;
use bowline_enroll::facts::{Facts, Member, Ready, Token};
use bowline_enroll::wire::Grant;
use bowline_enroll::{Act, Claim, Code, Role, sweep};
use std::time::Duration;

fn kafka(seed: u8, from: &str, facts: &Facts) -> Decision<Grant> {
    enroll(&request(Role::Agent, "kafka-0", &machine(seed)), &machine(seed), from, facts)
}

fn control(seed: u8, facts: &Facts) -> Decision<Grant> {
    enroll(&request(Role::Server, "control-2", &machine(seed)), &machine(seed), "10.0.1.11", facts)
}

fn refused(decision: &Decision<Grant>) -> Code {
    assert!(decision.acts().is_empty(), "{decision:?}");
    decision.refusal().unwrap().code
}

fn granted(decision: Decision<Grant>) -> (Vec<Act>, Grant) {
    let Decision::Answer { acts, answer } = decision else { panic!("{decision:?}") };
    (acts, *answer)
}

fn still(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Machine 1 holds the name, and its Node is there.
fn taken(ready: Ready, seconds: u64) -> Facts {
    Facts {
        claim: Some(read(a_claim("kafka-0", Role::Agent, &machine(1), Some("u1")), "c")),
        node: Some(read(a_node("10.0.1.20", ready), "u1")),
        password: Some(read(hash("z").as_str().to_owned(), "p")),
        lease_still_for: still(seconds),
        lease_watched_for: still(seconds),
        ..facts()
    }
}

#[test]
fn a_new_agent() {
    let (acts, grant) = granted(kafka(1, "10.0.1.20", &facts()));
    assert_eq!(words(&acts), ["claim", "password", "token"]);
    let Act::MintToken { token, name, expires } = &acts[2] else { panic!() };
    assert_eq!((name.as_str(), *expires), ("kafka-0", crate::common::NOW + 180));
    assert_eq!(grant.token.expose(), format!("K10{}::{}.{}", "c".repeat(64), token.id, token.secret.expose()));
    assert_eq!((token.id.len(), token.secret.expose().len()), (6, 16));
    assert_eq!(grant.labels.0.keys().collect::<Vec<_>>(), ["role"], "no agent is given etcd, whatever the rule says");
    assert_eq!(grant.cut[0].what, "node-role.kubernetes.io/etcd=");
    assert!(!format!("{acts:?}").contains(token.secret.expose()));
}

#[test]
fn who_is_not_let_in() {
    assert_eq!(refused(&kafka(1, "10.0.2.20", &facts())), Code::OutsideRules);
    let other = request(Role::Agent, "worker", &machine(1));
    assert_eq!(refused(&enroll(&other, &machine(1), "10.0.1.20", &facts())), Code::OutsideRules);
    let server = request(Role::Server, "kafka-0", &machine(1));
    assert_eq!(refused(&enroll(&server, &machine(1), "10.0.1.20", &facts())), Code::OutsideRules);
    let mine = request(Role::Agent, "kafka-0", &machine(1));
    assert_eq!(refused(&enroll(&mine, &machine(2), "10.0.1.20", &facts())), Code::BadRequest, "signed by another");
    let bare = bowline_enroll::wire::EnrollRequest { node_password_hash: None, ..mine };
    assert_eq!(refused(&enroll(&bare, &machine(1), "10.0.1.20", &facts())), Code::BadRequest);
    assert!(!matches!(kafka(1, "::ffff:10.0.1.20", &facts()), Decision::Refuse { .. }), "the same address");
}

#[test]
fn the_same_machine_gets_a_new_credential() {
    let mut facts = taken(Ready::True, 0);
    let token = |object: &str| Token { object: object.into(), uid: "t".into(), node: "kafka-0".into(), expires: 1 };
    facts.tokens = vec![token("bootstrap-token-aaaaaa")];
    let (acts, _) = granted(kafka(1, "10.0.1.20", &facts));
    assert_eq!(words(&acts), ["reclaim", "-token", "-password", "password", "token"]);
    facts.password = Some(read(hash("b").as_str().to_owned(), "p"));
    assert_eq!(words(&granted(kafka(1, "10.0.1.20", &facts)).0), ["reclaim", "-token", "token"]);
    let Act::UpdateClaim { claim, .. } = &granted(kafka(1, "10.0.1.20", &facts)).0[0] else { panic!() };
    assert_eq!((claim.node_uid.as_deref(), claim.since), (Some("u1"), crate::common::NOW - 500));
}

#[test]
fn gone_is_15_seconds_from_its_own_address_and_the_whole_grace_from_elsewhere() {
    let (own, elsewhere) = ("10.0.1.20", "10.0.1.99");
    for (from, ready, seconds, gone) in [
        (own, Ready::True, 0, false),
        (own, Ready::True, 14, false),
        (own, Ready::True, 15, true),
        (own, Ready::False, 15, true),
        (elsewhere, Ready::Unknown, 15, false),
        (elsewhere, Ready::Unknown, 59, false),
        (elsewhere, Ready::True, 60, false),
        (elsewhere, Ready::False, 6000, false),
        (elsewhere, Ready::Unknown, 60, true),
    ] {
        let decision = kafka(2, from, &taken(ready, seconds));
        let case = format!("{from} {ready:?} {seconds}");
        if gone {
            let Decision::Again { acts, refusal } = decision else { panic!("{case}") };
            assert_eq!(words(&acts), ["reclaim", "-node", "-password"], "{case}");
            assert_eq!(refusal.code, Code::NotReady);
        } else {
            assert_eq!(refused(&decision), Code::NodeIsAlive, "{case}");
            let Decision::Refuse { watch, note, .. } = decision else { panic!() };
            assert!(watch, "{case}");
            let Some(Act::UpdateClaim { claim, .. }) = note.as_deref() else { panic!("{case}") };
            assert_eq!(claim.machine_key, machine(1).public(), "{case}: the holder is the same");
            assert_eq!(claim.refused.len(), 1);
        }
    }
}

/// A kubelet whose Node was deleted lives on, and renews no Lease: it first has to notice.
#[test]
fn a_name_whose_node_was_deleted_is_not_given_away_before_its_machine_could_notice() {
    let without = |seconds| Facts {
        node: None,
        lease_still_for: still(seconds),
        lease_watched_for: still(seconds),
        ..taken(Ready::True, 0)
    };
    for (from, seconds, gone) in [
        ("10.0.1.20", 15, false),
        ("10.0.1.20", 179, false),
        ("10.0.1.20", 180, true),
        ("10.0.1.99", 179, false),
        ("10.0.1.99", 180, true),
    ] {
        let mut facts = without(seconds);
        facts.claim.as_mut().unwrap().value.node_uid = Some("u1".into());
        let decision = kafka(2, from, &facts);
        match gone {
            true => assert!(decision.refusal().is_none(), "{from} {seconds}: {decision:?}"),
            false => assert_eq!(refused(&decision), Code::NodeIsAlive, "{from} {seconds}"),
        }
    }
}

#[test]
fn the_new_machine_waits_until_the_old_node_is_gone() {
    let mut facts = taken(Ready::True, 15);
    let Decision::Again { acts, .. } = kafka(2, "10.0.1.20", &facts) else { panic!() };
    let Act::UpdateClaim { claim, .. } = acts[0].clone() else { panic!() };
    assert_eq!((claim.replaces.as_deref(), &claim.node_uid), (Some("u1"), &None));
    // The deletion failed, and the old machine came back.
    facts.claim = Some(read(claim, "c"));
    facts.lease_still_for = still(3);
    facts.lease_watched_for = still(3);
    assert_eq!(refused(&kafka(2, "10.0.1.20", &facts)), Code::NodeIsAlive);
    // It is being deleted: nothing to do but wait.
    facts.lease_still_for = still(20);
    facts.lease_watched_for = still(20);
    facts.node.as_mut().unwrap().value.deleting = true;
    assert_eq!(words(kafka(2, "10.0.1.20", &facts).acts()), ["reclaim"]);
    // Another machine does not come between.
    assert_eq!(refused(&kafka(3, "10.0.1.20", &facts)), Code::ClaimedElsewhere);
    facts.node = None;
    facts.password = None;
    let (acts, _) = granted(kafka(2, "10.0.1.20", &facts));
    assert_eq!(words(&acts), ["reclaim", "password", "token"]);
    let Act::UpdateClaim { claim, .. } = &acts[0] else { panic!() };
    assert_eq!(claim.replaces, None);
}

#[test]
fn claims_that_never_became_a_node() {
    let mut facts = facts();
    let claim = a_claim("kafka-0", Role::Agent, &machine(1), None);
    facts.claim = Some(read(claim.clone(), "c"));
    assert_eq!(refused(&kafka(2, "10.0.1.20", &facts)), Code::ClaimedElsewhere);
    facts.claim = Some(read(Claim { issued: crate::common::NOW - 600, ..claim }, "c"));
    assert_eq!(words(&granted(kafka(2, "10.0.1.20", &facts)).0), ["reclaim", "password", "token"]);
    // A Node that somebody deleted: the machine may run all the same.
    facts.claim = Some(read(a_claim("kafka-0", Role::Agent, &machine(1), Some("u1")), "c"));
    assert_eq!(refused(&kafka(2, "10.0.1.20", &facts)), Code::NodeIsAlive);
    facts.lease_still_for = still(180);
    facts.lease_watched_for = still(180);
    granted(kafka(2, "10.0.1.20", &facts));
    facts.lease_still_for = still(0);
    facts.lease_watched_for = still(0);
    granted(kafka(1, "10.0.1.20", &facts));
}

#[test]
fn a_node_that_nobody_claimed_is_somebody() {
    let facts = Facts { claim: None, ..taken(Ready::True, 10) };
    assert_eq!(refused(&kafka(2, "10.0.1.20", &facts)), Code::NodeIsAlive);
    let facts = Facts { lease_still_for: still(15), lease_watched_for: still(15), ..facts };
    assert_eq!(words(kafka(2, "10.0.1.20", &facts).acts()), ["claim", "-node", "-password"]);
}

#[test]
fn revoked_until_the_key_changes() {
    let mut facts = facts();
    let ids: Vec<String> = keys().iter().map(|key| key.id()).collect();
    let claim = a_claim("kafka-0", Role::Agent, &machine(1), None);
    facts.claim = Some(read(claim.revoke(crate::common::NOW, ids), "c"));
    assert_eq!(refused(&kafka(1, "10.0.1.20", &facts)), Code::Revoked);
    assert_eq!(refused(&kafka(2, "10.0.1.20", &facts)), Code::Revoked);
    facts.claim = Some(read(claim.revoke(crate::common::NOW, vec!["an older key".into()]), "c"));
    let (acts, _) = granted(kafka(2, "10.0.1.20", &facts));
    let Act::UpdateClaim { claim, .. } = &acts[0] else { panic!() };
    assert_eq!((claim.revoked.as_ref(), claim.machine_key), (None, machine(2).public()));
    assert!(claim.refuses("an older key"), "it stays on record");

    // That somebody came in by another key does not make the revoked ticket good again: not while they hold the name, and not
    // when they are gone.
    let mut held = a_claim("kafka-0", Role::Agent, &machine(2), None);
    held.barred = keys().iter().map(|key| key.id()).collect();
    facts.claim = Some(read(held.clone(), "c"));
    assert_eq!(refused(&kafka(1, "10.0.1.20", &facts)), Code::Revoked);
    let over = held.expires().unwrap();
    let acts = sweep::name(&name("kafka-0"), &Facts { now: over, ..facts.clone() }, None);
    let Some(Act::UpdateClaim { claim, .. }) = acts.last() else { panic!("{acts:?}") };
    assert_eq!(
        (claim.revoked.as_ref().map(|one| &one.keys), claim.barred.len()),
        (Some(&held.barred), held.barred.len())
    );
    facts.claim = Some(read(claim.clone(), "c"));
    assert_eq!(refused(&kafka(1, "10.0.1.20", &facts)), Code::Revoked);
}

#[test]
fn servers_join_one_at_a_time() {
    let (acts, grant) = granted(control(1, &facts()));
    assert_eq!(words(&acts), ["claim", "join", "password"]);
    assert!(grant.token.expose().ends_with("::server:hunter2") && grant.join.is_some());
    let busy = Facts { join: Some(join("control-3", 119)), ..facts() };
    assert_eq!(refused(&control(1, &busy)), Code::Busy);
    let died = Facts { join: Some(join("control-3", 120)), ..facts() };
    granted(control(1, &died));
    let mine = Facts { join: Some(join("control-2", 0)), ..facts() };
    granted(control(1, &mine));
    let mut sqlite = facts();
    sqlite.cluster.etcd = false;
    assert_eq!(refused(&control(1, &sqlite)), Code::NotReady);
}

#[test]
fn a_server_is_replaced_only_where_a_quorum_remains() {
    let member = |node: &str, healthy| Member { node: node.into(), healthy };
    for (members, enough) in [
        (vec![("control-2", false)], false),
        (vec![("a", true), ("control-2", false)], true),
        (vec![("a", true), ("b", true), ("control-2", false)], true),
        (vec![("a", true), ("b", false), ("control-2", false)], false),
        (vec![("a", true), ("b", false), ("control-2", true)], false),
        (vec![("a", true), ("b", true), ("c", false), ("control-2", false)], true),
        (vec![], false),
    ] {
        let mut facts = Facts {
            claim: Some(read(a_claim("control-2", Role::Server, &machine(1), Some("u1")), "c")),
            node: Some(read(a_node("10.0.1.11", Ready::Unknown), "u1")),
            lease_still_for: still(15),
            lease_watched_for: still(15),
            ..facts()
        };
        facts.cluster.members = members.iter().map(|(node, healthy)| member(node, *healthy)).collect();
        let decision = control(2, &facts);
        if !enough {
            assert_eq!(refused(&decision), Code::NoQuorum, "{members:?}");
            continue;
        }
        assert_eq!(words(decision.acts()), ["reclaim", "join", "-node"], "{members:?}");
        let Act::UpdateClaim { claim, .. } = decision.acts()[0].clone() else { panic!() };
        (facts.claim, facts.node) = (Some(read(claim, "c")), None);
        assert_eq!(words(control(2, &facts).acts()), ["reclaim", "join"], "the member is still there");
        facts.cluster.members.retain(|member| member.node != "control-2");
        granted(control(2, &facts));
    }
}

/// Its Node is a member of etcd, whatever its machine comes in as.
#[test]
fn a_member_is_not_removed_for_an_agent_either_without_a_quorum() {
    let member = |node: &str, healthy| Member { node: node.into(), healthy };
    let mut facts = taken(Ready::Unknown, 100);
    facts.cluster.members = vec![member("a", true), member("b", false), member("kafka-0", false)];
    assert_eq!(refused(&kafka(2, "10.0.1.20", &facts)), Code::NoQuorum);
    facts.cluster.members[1].healthy = true;
    assert_eq!(words(kafka(2, "10.0.1.20", &facts).acts()), ["reclaim", "-node", "-password"]);
}

#[test]
fn a_server_that_lost_its_data_goes_first_also_with_the_same_key() {
    let mut facts = Facts {
        claim: Some(read(a_claim("control-2", Role::Server, &machine(1), Some("u1")), "c")),
        node: Some(read(a_node("10.0.1.11", Ready::True), "u1")),
        lease_still_for: still(2),
        lease_watched_for: still(2),
        ..facts()
    };
    assert_eq!(refused(&control(1, &facts)), Code::NodeIsAlive);
    facts.lease_still_for = still(15);
    facts.lease_watched_for = still(15);
    assert_eq!(words(control(1, &facts).acts()), ["reclaim", "join", "-node"]);
    let mut whole = request(Role::Server, "control-2", &machine(1));
    whole.fresh = false;
    let decision = enroll(&whole, &machine(1), "10.0.1.11", &facts);
    assert_eq!(words(&granted(decision).0), ["reclaim", "password"], "it has its data: only the token again");
}

#[test]
fn attempts_are_noted_seldom_and_bounded() {
    let mut claim = a_claim("kafka-0", Role::Agent, &machine(1), Some("u1"));
    let attempt = |at: u64, last: u8| bowline_enroll::claim::Refused {
        at,
        from: ip(&format!("10.0.1.{last}")),
        code: Code::NodeIsAlive,
        machine: "abc".into(),
    };
    claim = claim.with_refused(attempt(100, 1)).unwrap();
    assert_eq!(claim.with_refused(attempt(159, 1)), None);
    claim = claim.with_refused(attempt(160, 1)).unwrap();
    assert_eq!(claim.refused.len(), 1);
    let written = (2..=200).filter(|last| match claim.with_refused(attempt(161, *last)) {
        Some(more) => {
            claim = more;
            true
        }
        None => false,
    });
    assert_eq!(written.count(), 7);
    claim = claim.with_refused(attempt(1000, 9)).unwrap();
    // One that a clock noted which was a day ahead hides none.
    claim = claim.with_refused(attempt(87_400, 9)).unwrap();
    assert!(claim.with_refused(attempt(1100, 9)).is_some());
    assert_eq!(claim.refused.len(), 8);
    assert_eq!(Claim::from_data(&claim.to_data()).unwrap(), claim);
    assert_eq!(Claim::object_name(&name("kafka-0")), "claim.kafka-0");
    for key in ["name", "role", "machine-key", "since", "issued", "from", "addresses", "version"] {
        let mut data = claim.to_data();
        data.insert(key.into(), "?".into());
        assert!(Claim::from_data(&data).is_err(), "{key}");
        data.remove(key);
        assert!(Claim::from_data(&data).is_err(), "{key}");
    }
}

/// What was given out before the servers' clock was set back lasts no longer for that.
#[test]
fn nothing_lasts_for_long_that_is_from_a_time_to_come() {
    let (acts, _) = granted(kafka(1, "10.0.1.20", &Facts { now: NOW + 7200, ..facts() }));
    let [Act::CreateClaim(claim), _, Act::MintToken { expires, .. }] = &acts[..] else { panic!("{acts:?}") };
    let token =
        |expires| Token { object: "bootstrap-token-a".into(), uid: "t".into(), node: "kafka-0".into(), expires };
    let later =
        |now, expires| Facts { claim: Some(read(claim.clone(), "c")), tokens: vec![token(expires)], now, ..facts() };
    for now in [NOW, NOW + 601] {
        assert_eq!(words(&sweep::name(&name("kafka-0"), &later(now, *expires), None)), ["-token", "unclaim"], "{now}");
        let free = granted(kafka(2, "10.0.1.20", &later(now, *expires)));
        assert_eq!(words(&free.0)[0], "reclaim", "the name is free");
    }
    // Two servers' clocks differ by a little.
    assert!(sweep::name(&name("kafka-0"), &later(NOW + 7170, *expires), None).is_empty());
    assert!(token(NOW + 7380).is_over(NOW, true) && !token(NOW + 180).is_over(NOW, true));
    // A server whose own clock may be behind takes nothing from anybody, nor one whose clock may be ahead.
    assert!(!token(NOW + 7380).is_over(NOW, false) && !token(NOW - 1).is_over(NOW, false));
    let ahead =
        |watched| Facts { synchronised: false, lease_still_for: still(watched), ..later(NOW + 4 * 7200, *expires) };
    assert!(sweep::name(&name("kafka-0"), &ahead(599), None).is_empty());
    let waits = kafka(2, "10.0.1.20", &ahead(100));
    let refusal = waits.refusal().unwrap();
    assert!(refusal.message.ends_with("its claim ends in 500 seconds"), "{}", refusal.message);
    // What it has watched for as long as the claim lasts ends all the same: its clock may never be synchronised.
    assert_eq!(words(&sweep::name(&name("kafka-0"), &ahead(600), None)), ["-token", "unclaim"]);
}
