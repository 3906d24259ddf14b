//! Rules, what is kept on Nodes, later requests, sweeping.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{
    GRACE, NOW, a_claim, a_node, facts, ip, join, keys, machine, name, node_request, proven, read, rules, settled,
    words,
};
use bowline_enroll::decide::{self, Decision, Order};
use bowline_enroll::facts::{Facts, Member, Ready};
use bowline_enroll::key::MachineKey;
use bowline_enroll::proof::Purpose;
use bowline_enroll::rules::{Wished, admit, is_reserved};
use bowline_enroll::wire::{NodeAnswer, NodeRequest, Phase};
use bowline_enroll::{Act, Claim, Code, Role, Taint, keep, sweep};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn pairs(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn taint(text: &str) -> Taint {
    text.parse().unwrap()
}

#[test]
fn keys_that_kubelets_can_not_set() {
    for key in [
        "node-role.kubernetes.io/kafka",
        "node-restriction.kubernetes.io/x",
        "a.node-restriction.kubernetes.io/x",
        "kubernetes.io/x",
        "topology.kubernetes.io/rack",
        "x.k8s.io/y",
    ] {
        assert!(is_reserved(key), "{key}");
    }
    for key in [
        "role",
        "example.com/role",
        "topology.kubernetes.io/zone",
        "node.kubernetes.io/x",
        "a.kubelet.kubernetes.io/x",
        "notkubernetes.io/x",
        "kubernetes.io",
        "kubernetes.io/hostname",
    ] {
        assert!(!is_reserved(key), "{key}");
    }
}

#[test]
fn wishes_outside_the_rules_are_cut_and_the_rest_is_granted() {
    let wished = Wished {
        labels: pairs(&[
            ("role", "zookeeper"),
            ("pool", "x"),
            ("node-role.kubernetes.io/kafka", "true"),
            ("node-role.kubernetes.io/control-plane", "true"),
            ("node-restriction.kubernetes.io/x", "y"),
        ]),
        taints: [
            "dedicated=other:NoSchedule",
            "example.com/a:NoExecute",
            "b:NoSchedule",
            "bowline/initializing:NoSchedule",
        ]
        .map(taint)
        .to_vec(),
    };
    let got = admit(&rules(), Role::Agent, &name("kafka-0"), ip("10.0.1.20"), &wished).unwrap();
    assert_eq!(got.labels, pairs(&[("role", "kafka"), ("node-role.kubernetes.io/kafka", "true")]));
    assert_eq!(got.own, pairs(&[("pool", "x")]));
    assert_eq!(got.taints, [taint("dedicated=kafka:NoSchedule"), taint("example.com/a:NoExecute")]);
    let cut: Vec<_> = got.cut.iter().map(|cut| cut.what.as_str()).collect();
    assert_eq!(
        cut,
        [
            "b:NoSchedule",
            "bowline/initializing:NoSchedule",
            "dedicated=other:NoSchedule",
            "node-restriction.kubernetes.io/x=y",
            "node-role.kubernetes.io/control-plane=true",
            "node-role.kubernetes.io/etcd=",
            "role=zookeeper",
        ]
    );
    assert!(got.cut.iter().all(|cut| !cut.why.is_empty()));
}

#[test]
fn no_rule_no_entry() {
    let enter = |rules: &[_], role, of: &str, from: &str| {
        admit(rules, role, &name(of), ip(from), &Wished::default()).map_err(|no| no.code).is_ok()
    };
    assert!(enter(&rules(), Role::Agent, "kafka-7", "10.0.1.255"));
    assert!(enter(&rules(), Role::Server, "control-2", "10.0.1.11"));
    assert!(!enter(&[], Role::Agent, "kafka-7", "10.0.1.255"));
    assert!(!enter(&rules(), Role::Server, "control-2", "10.0.1.12"));
    assert!(!enter(&rules(), Role::Agent, "control-2", "10.0.1.11"));
    let mut wide = rules();
    wide[1].from = vec!["10.0.1.0/24".parse().unwrap()];
    assert!(!enter(&wide, Role::Server, "control-2", "10.0.1.11"), "a server by exact addresses only");
    wide[1] = bowline_enroll::EnrollRule { nodes: "control-*".parse().unwrap(), ..rules()[1].clone() };
    assert!(!enter(&wide, Role::Server, "control-2", "10.0.1.11"), "and exact names");
}

#[test]
fn labels_that_others_keep_hold_none_back() {
    let mut node = a_node("10.0.1.20", Ready::True);
    node.labels = pairs(&[("a", "1"), ("old", "1"), ("zone", "b"), ("foreign", "1")]);
    let managers = [("a", keep::MANAGER), ("old", keep::MANAGER), ("zone", "kubelet"), ("foreign", "kubectl")];
    node.managers = managers.iter().map(|(key, who)| ((*key).to_owned(), vec![(*who).to_owned()])).collect();
    let plan = keep::labels(&pairs(&[("a", "1"), ("new", "1"), ("zone", "c")]), &node);
    assert_eq!(plan.apply, Some(pairs(&[("a", "1"), ("new", "1")])), "old goes, foreign is not ours");
    assert_eq!(plan.conflicts[0].why, "zone=b is kept by kubelet");
    assert_eq!(keep::labels(&pairs(&[("a", "1"), ("old", "1")]), &node).apply, None);
}

#[test]
fn taints_of_others_stay() {
    let mut node = a_node("10.0.1.20", Ready::True);
    node.taints = ["bowline/initializing:NoSchedule", "own=1:NoSchedule", "gone=1:NoSchedule", "x=1:NoExecute"]
        .map(taint)
        .to_vec();
    node.owned_taints = Some("gone=1:NoSchedule,own=1:NoSchedule".into());
    let given = ["gone=1:NoSchedule", "own=1:NoSchedule"].map(taint);
    let wanted = ["own=2:NoSchedule", "x=2:NoExecute", "new:NoSchedule"].map(taint);
    let plan = keep::of_issuers(&wanted, &node, Some(&given), false);
    let all_of_ours = ["gone=1:NoSchedule", "new:NoSchedule", "own=1:NoSchedule", "own=2:NoSchedule"].map(taint);
    assert_eq!(plan.given, all_of_ours, "those that go, too, until they are gone");
    let (all, owned) = plan.set.unwrap();
    assert_eq!(
        all,
        ["bowline/initializing:NoSchedule", "own=2:NoSchedule", "x=1:NoExecute", "new:NoSchedule"].map(taint)
    );
    assert_eq!(owned, "new:NoSchedule,own=2:NoSchedule");
    assert_eq!(plan.conflicts[0].what, "x=2:NoExecute");
    (node.taints, node.owned_taints) = (all, Some(owned));
    let wanted = ["own=2:NoSchedule", "new:NoSchedule"].map(taint);
    let of_issuers = |node: &_| keep::of_issuers(&wanted, node, Some(&all_of_ours), true).set;
    let settled = of_issuers(&node).unwrap();
    assert!(!settled.0.iter().any(|taint| taint.key == "bowline/initializing"));
    (node.taints, node.owned_taints) = (settled.0, Some(settled.1));
    assert_eq!(of_issuers(&node), None);
    // Whatever is on record, only who settles is rid of the startup taint.
    let startup = [taint("bowline/initializing:NoSchedule")];
    (node.taints, node.owned_taints) = (startup.to_vec(), Some(startup[0].to_string()));
    assert_eq!(keep::of_issuers(&[], &node, Some(&startup), false).set, None);
}

fn node(by: &MachineKey, role: Role, of: &str, from: &str, phase: Phase, facts: &Facts) -> Decision<NodeAnswer> {
    let request = NodeRequest { phase, ..node_request(role, of, by) };
    let (rules, proven) = (rules(), proven(Purpose::Node, role, &request.name, &request.to_body(), by));
    let order = Order { rules: &rules, grace: GRACE, proven: &proven, peer: ip(from) };
    decide::node(&order, &request, facts)
}

#[test]
fn a_node_speaks_of_itself_alone() {
    let kafka = |by: u8, facts: &Facts| node(&machine(by), Role::Agent, "kafka-0", "10.0.1.20", Phase::Settled, facts);
    assert_eq!(words(kafka(1, &settled()).acts()), ["reclaim", "-token", "labels", "taints"]);
    assert_eq!(kafka(2, &settled()).refusal().unwrap().code, Code::ClaimedElsewhere, "its predecessor, or a stranger");
    assert_eq!(kafka(1, &Facts { claim: None, ..settled() }).refusal().unwrap().code, Code::NotClaimed);
    let mut pending = settled();
    pending.claim.as_mut().unwrap().value.replaces = Some("u1".into());
    assert_eq!(kafka(1, &pending).refusal().unwrap().code, Code::NotReady, "the Node is its predecessor's");
    let mut revoked = settled();
    let claim = &mut revoked.claim.as_mut().unwrap().value;
    *claim = claim.revoke(NOW, keys().iter().map(|key| key.id()).collect());
    assert_eq!(kafka(1, &revoked).refusal().unwrap().code, Code::Revoked);
    // By another key: nobody holds the name, and it may come in.
    let claim = &mut revoked.claim.as_mut().unwrap().value;
    *claim = claim.revoke(NOW, vec!["an older key".into()]);
    assert_eq!(kafka(1, &revoked).refusal().unwrap().code, Code::NotClaimed);
    let Decision::Answer { answer, acts } = kafka(1, &Facts { node: None, ..settled() }) else { panic!() };
    assert!(!answer.registered && acts.is_empty(), "its Node was deleted, or is not there yet");
    // What is settled makes no write.
    let mut quiet = settled();
    quiet.tokens.clear();
    quiet.claim.as_mut().unwrap().value.node_uid = Some("u1".into());
    let there = &mut quiet.node.as_mut().unwrap().value;
    there.labels = pairs(&[("role", "kafka")]);
    there.managers.insert("role".into(), vec![keep::MANAGER.into()]);
    there.taints = vec![taint("dedicated=kafka:NoSchedule")];
    there.owned_taints = Some("dedicated=kafka:NoSchedule".into());
    assert!(matches!(kafka(1, &quiet), Decision::Answer { acts, .. } if acts.is_empty()));
}

#[test]
fn a_server_keeps_its_turn_until_it_is_a_healthy_member() {
    let mut facts = Facts {
        claim: Some(read(a_claim("control-2", Role::Server, &machine(1), None), "c")),
        join: Some(join("control-2", 40)),
        ..facts()
    };
    facts.claim.as_mut().unwrap().value.from = ip("10.0.1.11");
    let ask = |facts: &Facts| node(&machine(1), Role::Server, "control-2", "10.0.1.11", Phase::Joining, facts);
    assert_eq!(words(ask(&facts).acts()), ["join"]);
    facts.node = Some(read(a_node("10.0.1.11", Ready::True), "u1"));
    assert_eq!(words(ask(&facts).acts()), ["reclaim", "join"]);
    facts.cluster.members.push(Member { node: "control-2".into(), healthy: true });
    assert_eq!(words(ask(&facts).acts()), ["reclaim", "joined"]);
    facts.join = Some(join("control-3", 40));
    assert_eq!(words(ask(&facts).acts()), ["reclaim"]);
}

#[test]
fn sweeping() {
    let swept = |facts: &Facts, after: Option<u64>| {
        words(&sweep::name(&name("kafka-0"), facts, after.map(Duration::from_secs)))
    };
    assert_eq!(swept(&settled(), None), ["-token", "reclaim"]);
    let mut back = settled();
    back.claim.as_mut().unwrap().value.node_uid = Some("u1".into());
    back.tokens[0].expires = NOW + 160;
    assert_eq!(swept(&back, None), [""; 0], "it came back to its Node, and its K3s is still to start");
    back.tokens[0].expires = NOW;
    assert_eq!(swept(&back, None), ["-token"]);
    let mut never = settled();
    never.node = None;
    assert_eq!(swept(&never, None), ["-token"], "expired, and the claim is not");
    never.now = NOW + 200;
    never.password = Some(read("x".to_owned(), "p"));
    assert_eq!(swept(&never, None), ["-password", "-token", "unclaim"]);
    let mut gone = settled();
    gone.tokens.clear();
    gone.claim.as_mut().unwrap().value.node_uid = Some("u1".into());
    gone.node.as_mut().unwrap().value.ready = Ready::Unknown;
    gone.lease_still_for = Duration::from_secs(3600);
    assert!(swept(&gone, None).is_empty() && swept(&gone, Some(3601)).is_empty());
    assert_eq!(swept(&gone, Some(3600)), ["reclaim", "-node"]);
    gone.node.as_mut().unwrap().value.ready = Ready::False;
    assert!(swept(&gone, Some(3600)).is_empty(), "a kubelet speaks");
    gone.node = None;
    assert_eq!(swept(&gone, Some(3600)), ["unclaim"]);
    // The Node of that name was removed for its silence, or another one was, before this.
    gone.lease_still_for = Duration::from_secs(300);
    assert!(swept(&gone, Some(3600)).is_empty());
    gone.claim.as_mut().unwrap().value.removed = Some("u0".into());
    assert!(swept(&gone, Some(3600)).is_empty());
    gone.claim.as_mut().unwrap().value.removed = Some("u1".into());
    assert_eq!(swept(&gone, Some(3600)), ["unclaim"]);
    gone.lease_still_for = Duration::from_secs(3600);
    let mut revoked = settled();
    let claim: &mut Claim = &mut revoked.claim.as_mut().unwrap().value;
    *claim = claim.revoke(NOW, vec!["then".into()]);
    assert_eq!(swept(&revoked, None), ["-token"], "whatever keys this server has by now: others may have the old one");
    let own = |facts: &Facts| sweep::own(&name("control"), &machine(1).public(), ip("10.0.1.10"), facts);
    assert!(own(&facts()).is_none(), "no Node yet");
    let founder = Facts { node: Some(read(a_node("10.0.1.10", Ready::True), "u1")), ..facts() };
    let Some(Act::CreateClaim(claim)) = own(&founder) else { panic!() };
    let again = Facts { claim: Some(read(claim, "c")), ..founder };
    assert!(own(&again).is_none());
    // Another machine's, and another Node: a server that was taken for gone does not take its name back.
    let mut others = again.clone();
    others.claim.as_mut().unwrap().value = a_claim("control", Role::Server, &machine(2), Some("u2"));
    assert!(own(&others).is_none());
    // Another key, and this very Node: the machine was recreated with its data on a volume.
    // Also where nobody has written down yet that it became a Node.
    for uid in [Some("u1"), None] {
        others.claim.as_mut().unwrap().value.node_uid = uid.map(String::from);
        let Some(Act::UpdateClaim { claim, .. }) = own(&others) else { panic!() };
        assert!(claim.is_held_by(&machine(1).public(), Role::Server));
        assert_eq!(claim.node_uid.as_deref(), Some("u1"));
    }
    // One that waits for this very Node to go has the name: this machine was taken for gone.
    others.claim.as_mut().unwrap().value =
        Claim { replaces: Some("u1".into()), ..a_claim("control", Role::Server, &machine(2), None) };
    assert!(own(&others).is_none());
}

#[test]
fn grants_follow_the_rules_without_the_node_asking() {
    let mut facts = settled();
    facts.tokens.clear();
    facts.claim.as_mut().unwrap().value.node_uid = Some("u1".into());
    // What it asked for nobody has written down yet.
    facts.claim.as_mut().unwrap().value.wished = None;
    facts.claim.as_mut().unwrap().value.given = Some(vec![taint("dedicated=kafka:NoSchedule")]);
    let granted = |facts: &Facts, rules: &[_]| sweep::granted(&name("kafka-0"), facts, rules);
    let wanted = rules();
    let [Act::SetLabels { labels, .. }, Act::SetTaints { taints, owned, .. }] = &granted(&facts, &wanted)[..] else {
        panic!()
    };
    assert_eq!(labels, &pairs(&[("role", "kafka")]), "no agent has a server's role");
    assert!(taints.contains(&taint("dedicated=kafka:NoSchedule")));
    let (labels, taints, owned) = (labels.clone(), taints.clone(), owned.clone());
    let node = &mut facts.node.as_mut().unwrap().value;
    (node.labels, node.taints, node.owned_taints) = (labels, taints, Some(owned));
    // A wish that was permitted before, and a label of its own.
    node.labels.extend(pairs(&[("node-role.kubernetes.io/x", "1"), ("pool", "a")]));
    let issuers = ["role", "node-role.kubernetes.io/x"];
    node.managers = issuers.iter().map(|key| ((*key).to_owned(), vec![keep::MANAGER.to_owned()])).collect();
    assert!(granted(&facts, &wanted).is_empty(), "nothing to write when nothing changed");

    // What was granted once goes with its grant, though the rule would permit it: the node never asked for it.
    facts.claim.as_mut().unwrap().value.wished = Some(Wished::default());
    let [Act::SetLabels { labels, .. }] = &granted(&facts, &wanted)[..] else {
        panic!("{:?}", granted(&facts, &wanted))
    };
    assert_eq!(labels, &pairs(&[("role", "kafka")]));
    facts.claim.as_mut().unwrap().value.wished = None;

    // Another value, another label, and the wish no longer permitted.
    let mut changed = rules();
    changed[0].grant = pairs(&[("role", "broker"), ("tier", "1")]);
    changed[0].permit.clear();
    changed[0].taints.clear();
    let [Act::SetLabels { labels, .. }, Act::SetTaints { taints, .. }] = &granted(&facts, &changed)[..] else {
        panic!()
    };
    assert_eq!(labels, &pairs(&[("role", "broker"), ("tier", "1")]));
    assert!(!taints.contains(&taint("dedicated=kafka:NoSchedule")));
    // A name that no rule has any more keeps what it has; so does the Node of a predecessor.
    assert!(granted(&facts, &[]).is_empty());
    facts.claim.as_mut().unwrap().value.node_uid = Some("u2".into());
    assert!(granted(&facts, &changed).is_empty());
}

#[test]
fn what_a_server_keeps_of_its_own_taints_no_rule_ends() {
    let mut facts = Facts {
        claim: Some(read(a_claim("control-2", Role::Server, &machine(1), Some("u")), "c")),
        node: Some(read(a_node("10.0.1.11", Ready::True), "u")),
        ..facts()
    };
    facts.claim.as_mut().unwrap().value.from = ip("10.0.1.11");
    // Set by the node itself, as the step of its plan does: not on the record of the issuers.
    let own = keep::taints(&[taint("dedicated=ingress:NoSchedule")], &[], None, true).set.unwrap();
    facts.node.as_mut().unwrap().value.taints = own.0.clone();
    assert!(sweep::granted(&name("control-2"), &facts, &rules()).is_empty());
    // And a rule that gives the same, or another value, does not take it over.
    for given in ["dedicated=ingress:NoSchedule", "dedicated=other:NoSchedule"] {
        let mut wanted = rules();
        wanted[1].taints = vec![taint(given)];
        assert!(sweep::granted(&name("control-2"), &facts, &wanted).is_empty(), "{given}");
    }
}

#[test]
fn taints_of_a_server_whose_claim_is_made_anew_stay_the_issuers() {
    let taints = vec![taint("dedicated=ingress:NoSchedule")];
    let mut node = a_node("10.0.1.11", Ready::True);
    (node.taints, node.owned_taints) = (taints.clone(), Some(taints[0].to_string()));
    let mut facts = Facts { node: Some(read(node, "u")), ..facts() };
    let own = sweep::own(&name("control-2"), &machine(1).public(), ip("10.0.1.11"), &facts);
    let Some(Act::CreateClaim(claim)) = own else { panic!() };
    facts.claim = Some(read(claim, "c"));
    let mut rules = rules();
    rules[1].taints = taints;
    let granted = sweep::granted(&name("control-2"), &facts, &rules);
    assert_eq!(words(&granted), ["reclaim"], "what it was given is noted, and no taint changes");
}

#[test]
fn a_server_gives_its_turn_back_when_it_is_a_member() {
    let mut facts = Facts { join: Some(join("control", 3)), ..facts() };
    assert_eq!(words(&sweep::turn(&name("control"), &facts).into_iter().collect::<Vec<_>>()), ["joined"]);
    assert!(sweep::turn(&name("control-2"), &facts).is_none());
    facts.cluster.members[0].healthy = false;
    assert!(sweep::turn(&name("control"), &facts).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_agent_is_given_a_servers_role(
        wished in prop::collection::btree_map("(node-role[.]kubernetes[.]io/)?(control-plane|master|etcd|kafka|x)", "[a-z]{0,3}", 0..6),
        granted in prop::collection::btree_map("(node-role[.]kubernetes[.]io/)?(control-plane|master|etcd|kafka|x)", "[a-z]{0,3}", 0..6),
        permit in prop::collection::vec("\\*|node-role[.]kubernetes[.]io/(\\*|e\\*|m\\*|control-plane)", 0..3),
    ) {
        let mut rules = rules();
        rules[0].grant = granted;
        rules[0].permit = permit.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let wished = Wished { labels: wished, taints: Vec::new() };
        let got = admit(&rules, Role::Agent, &name("kafka-0"), ip("10.0.1.20"), &wished).unwrap();
        let no_role = |key: &String| !bowline_enroll::rules::is_servers_role(key);
        prop_assert!(got.labels.keys().all(no_role) && got.own.keys().all(no_role));
        // Every wish is granted, the node's own business, or cut, and told.
        for (key, value) in &wished.labels {
            let cut = got.cut.iter().any(|cut| cut.what == format!("{key}={value}"));
            prop_assert!(got.labels.get(key) == Some(value) || got.own.get(key) == Some(value) || cut);
        }
    }
}
