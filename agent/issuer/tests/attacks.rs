//! Who is not let in changes nothing, and learns nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Machine, Sent, Store, issuer, keys, name};
use bowline_enroll::key::{ClusterKeys, MachineKey};
use bowline_enroll::proof::{self, Headers, Purpose};
use bowline_enroll::wire::{MAX_BODY, Phase};
use bowline_enroll::{Role, STARTUP_TAINT, Secret};

/// Sends it to a cluster with a member, and sees that nothing is written; `quiet`: nor read.
async fn refused(what: &str, sent: &Sent, quiet: bool) -> bowline_issuer::Answer {
    let store = Store::new();
    let issuer = issuer(&store);
    Machine::agent("kafka-0", 1).enroll(&issuer).await.unwrap();
    let before = store.all();
    store.writes();
    store.fail(None);
    let answer = sent.to(&issuer).await;
    assert_ne!(answer.status, 200, "{what}: let in");
    assert_eq!(store.writes(), Vec::<String>::new(), "{what}: written");
    assert_eq!(store.all(), before, "{what}");
    if quiet {
        assert_eq!(store.calls(), 0, "{what}: the API was asked before the proof was good");
    }
    for secret in ["K10", "hunter2", crate::common::KEY] {
        assert!(!String::from_utf8_lossy(&answer.body).contains(secret), "{what}: tells {secret}");
    }
    answer
}

/// The same request, proven and signed by the ticket and the key that are given.
fn proven(machine: &Machine, purpose: Purpose, body: &[u8]) -> Sent {
    machine.sent(purpose, body.to_vec())
}

#[tokio::test]
async fn a_wrong_ticket_and_a_name_that_nobody_knows_get_the_same_answer() {
    let key = "e".repeat(64);
    let wrong = |of: &str| {
        let mut machine = Machine::agent(of, 3);
        let foreign = ClusterKeys::parse(Secret::new(key.clone()).expose()).unwrap();
        machine.ticket = foreign.ticket(Role::Agent, &name(of)).unwrap();
        machine.enrolling()
    };
    let known = refused("a wrong ticket", &wrong("kafka-0"), true).await;
    for unknown in ["kafka-9", "nobody", "control"] {
        let answer = refused(unknown, &wrong(unknown), true).await;
        assert_eq!((answer.status, &answer.body), (known.status, &known.body), "{unknown}");
        assert!(answer.wrong && known.wrong);
        assert_eq!(answer.proof.is_some(), known.proof.is_some());
    }
    // And an honest machine that was given a wrong ticket is told so by nobody but the cluster: proven by the right one.
    let sent = wrong("kafka-0");
    let right = keys().ticket(Role::Agent, &name("kafka-0")).unwrap();
    let bodies = (sent.body.as_slice(), known.body.as_slice());
    let given = known.proof.as_deref().unwrap();
    assert!(proof::is_answer(Purpose::Enroll, &sent.binding, known.status, bodies, &right, given));
}

#[tokio::test]
async fn what_was_proven_elsewhere_proves_nothing_here() {
    let machine = Machine::agent("kafka-0", 1);
    let good = machine.enrolling();
    let other = |change: &dyn Fn(&mut Sent)| {
        let mut sent = good.clone();
        change(&mut sent);
        sent
    };
    let mut anothers = Machine::agent("kafka-0", 1);
    anothers.ticket = keys().ticket(Role::Agent, &name("kafka-1")).unwrap();
    let mut servers = Machine::agent("kafka-0", 1);
    servers.ticket = keys().ticket(Role::Server, &name("kafka-0")).unwrap();
    let attacks = [
        ("another's ticket", anothers.enrolling()),
        ("a server's ticket", servers.enrolling()),
        ("relayed over another connection, or replayed later", other(&|sent| sent.binding = [8; 32])),
        ("the proof of an enrolment to leave", other(&|sent| sent.path = "/v1/leave")),
        ("the proof of an enrolment to change a node", other(&|sent| sent.path = "/v1/node")),
        ("the proof of leaving to enrol", Sent { path: "/v1/enroll", ..machine.leaving() }),
        ("no proof", other(&|sent| sent.headers.proof.clear())),
        ("nothing at all", other(&|sent| sent.headers = Headers { proof: String::new(), signature: String::new() })),
        ("in capitals", other(&|sent| sent.headers.proof = sent.headers.proof.to_uppercase())),
        ("a proof with a tail", other(&|sent| sent.headers.proof.push('0'))),
        ("zeros", other(&|sent| sent.headers.proof = "0".repeat(64))),
        ("the answer's proof as the question's", {
            let answer = proof::answer(Purpose::Enroll, &good.binding, 200, &good.body, b"", &machine.ticket);
            other(&|sent| sent.headers.proof = answer.clone())
        }),
    ];
    for (what, sent) in attacks {
        let answer = refused(what, &sent, true).await;
        assert_eq!((answer.status, answer.result, answer.wrong), (403, "not-let-in", true), "{what}");
    }
}

#[tokio::test]
async fn every_bit_of_a_body_and_of_a_proof_counts() {
    let good = Machine::agent("kafka-0", 1).enrolling();
    let store = Store::new();
    let issuer = issuer(&store);
    for at in 0..good.body.len() * 8 {
        let mut sent = good.clone();
        sent.body[at / 8] ^= 1 << (at % 8);
        assert_ne!(sent.to(&issuer).await.status, 200, "bit {at} of the body");
    }
    for at in 0..good.headers.proof.len() {
        let mut sent = good.clone();
        let digit = if sent.headers.proof.as_bytes()[at] == b'0' { "1" } else { "0" };
        sent.headers.proof.replace_range(at..=at, digit);
        assert!(sent.to(&issuer).await.wrong, "digit {at} of the proof");
    }
    assert_eq!(store.calls(), 0);
}

#[tokio::test]
async fn a_good_ticket_without_the_machine_s_own_signature_is_not_enough() {
    let machine = Machine::agent("kafka-0", 1);
    let good = machine.enrolling();
    // Whoever has the ticket, and has seen the public key in a claim.
    let thief = MachineKey::from_seed(&[66; 32]);
    let by_thief = proof::request(Purpose::Enroll, &good.binding, &good.body, &machine.ticket, &thief);
    let elsewhere = proof::request(Purpose::Enroll, &[8; 32], &good.body, &machine.ticket, &machine.key);
    let leaving = proof::request(Purpose::Leave, &good.binding, &good.body, &machine.ticket, &machine.key);
    for (what, signature) in [
        ("another key", by_thief.signature),
        ("another connection", elsewhere.signature),
        ("another purpose", leaving.signature),
        ("none", String::new()),
        ("capitals", good.headers.signature.to_uppercase()),
        ("zeros", "0".repeat(128)),
    ] {
        let headers = Headers { proof: good.headers.proof.clone(), signature };
        let answer = refused(what, &Sent { headers, ..good.clone() }, false).await;
        assert_eq!((answer.status, answer.result), (400, "bad-request"), "{what}");
    }
    let leave = machine.leaving();
    let headers = proof::request(Purpose::Leave, &leave.binding, &leave.body, &machine.ticket, &thief);
    refused("leaving by another key", &Sent { headers, ..leave }, false).await;
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_also_with_a_good_proof() {
    let machine = Machine::agent("kafka-0", 1);
    let text = String::from_utf8(machine.enrolling().body).unwrap();
    let with = |more: &str| text.replacen('{', &format!("{{{more},"), 1).into_bytes();
    let inner = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        text.replacen(from, to, 1).into_bytes()
    };
    let large = with(&format!("\"pad\":\"{}\"", "x".repeat(MAX_BODY)));
    let own = format!("\"machine-key\":\"{}\"", machine.key.public());
    let bodies = [
        ("the name twice", with("\"name\":\"kafka-1\"")),
        ("the name twice, the same", with("\"name\":\"kafka-0\"")),
        ("the role twice", with("\"role\":\"server\"")),
        ("the role twice, by an escape", with("\"r\\u006fle\":\"server\"")),
        ("the key twice", with(&own)),
        ("a label twice", inner("\"labels\":{}", "\"labels\":{\"a\":\"1\",\"a\":\"2\"}")),
        ("an unknown field", with("\"admin\":true")),
        ("a version of tomorrow", inner("\"version\":1", "\"version\":2")),
        ("a name that ends a ticket's field", inner("\"kafka-0\"", "\"kafka-0:x\"")),
        ("a name with a path in it", inner("\"kafka-0\"", "\"../kafka-0\"")),
        ("no address", inner("[\"10.0.1.20\"]", "[]")),
        ("a hash that costs", inner(":15:8:1:", ":31:8:1:")),
        ("something behind it", format!("{text}{{}}").into_bytes()),
        ("a list of the fields", b"[1,\"agent\",\"kafka-0\"]".to_vec()),
        ("no JSON", b"let me in".to_vec()),
        ("half of it", text.as_bytes()[..text.len() / 2].to_vec()),
        ("nothing", Vec::new()),
        ("no text", vec![0xff; 64]),
        ("deep", [b"{\"role\":".as_slice(), &[b'['; 8000]].concat()),
        ("too large", large),
    ];
    for (what, body) in bodies {
        let answer = refused(what, &proven(&machine, Purpose::Enroll, &body), true).await;
        assert_eq!((answer.status, answer.result), (400, "bad-request"), "{what}");
        let node = refused(what, &proven(&machine, Purpose::Node, &body), true).await;
        assert_eq!(node.status, 400, "{what}");
    }
}

#[tokio::test]
async fn a_path_is_what_it_is() {
    let good = Machine::agent("kafka-0", 1).enrolling();
    for path in
        ["/", "/v1/enroll/", "/v1/ENROLL", "/v1//enroll", "/v1/enroll?x", "v1/enroll", "/v2/enroll", "/v1/%65nroll"]
    {
        let answer = refused(path, &Sent { path, ..good.clone() }, true).await;
        assert_eq!((answer.status, answer.proof), (404, None), "{path}");
    }
}

#[tokio::test]
async fn a_machine_key_that_proves_nothing_is_none() {
    let machine = Machine::agent("kafka-0", 1);
    let text = String::from_utf8(machine.enrolling().body).unwrap();
    // Points of small order: a signature of theirs can be made for every message.
    for weak in ["01".to_owned() + &"0".repeat(62), "0".repeat(64), "ec".to_owned() + &"f".repeat(60) + "7f"] {
        let body = text.replace(&machine.key.public().to_string(), &weak).into_bytes();
        let sent = proven(&machine, Purpose::Enroll, &body);
        let answer = refused(&weak, &sent, true).await;
        assert_eq!(answer.status, 400, "{weak}");
    }
}

/// Whoever is root on a node can write its annotations, and so the record of the taints that are the issuers'. What the claim
/// does not name as well is not theirs, and the startup taint never is.
#[tokio::test]
async fn a_node_that_writes_its_own_record_is_rid_of_no_taint() {
    let node = "/api/v1/nodes/kafka-0";
    let keys = |store: &Store| -> Vec<String> {
        let node = store.at(node).unwrap();
        let taints = node["spec"]["taints"].as_array().unwrap();
        taints.iter().map(|taint| taint["key"].as_str().unwrap().to_owned()).collect()
    };
    let server = Machine::of(Role::Server, "control", 200).key.public();
    for asks in [false, true] {
        let store = Store::new();
        let (issuer, machine) = (issuer(&store), Machine::agent("kafka-0", 1));
        machine.enroll(&issuer).await.unwrap();
        store.kubelet("kafka-0", "10.0.1.20");
        machine.node(&issuer, Phase::Initializing).await.unwrap();
        assert_eq!(keys(&store), [STARTUP_TAINT, "dedicated"]);
        // It is made anew, by whoever has its certificate.
        store.remove(node);
        store.kubelet("kafka-0", "10.0.1.20");
        store.change(node, |node| {
            let taint = serde_json::json!({ "key": "quarantine", "value": "yes", "effect": "NoSchedule" });
            node["spec"]["taints"].as_array_mut().unwrap().push(taint);
            let record = format!("{STARTUP_TAINT}:NoSchedule,{STARTUP_TAINT}=:NoSchedule,quarantine=yes:NoSchedule");
            node["metadata"]["annotations"]["bowline/taints"] = record.into();
        });
        for _ in 0..3 {
            if asks {
                machine.node(&issuer, Phase::Initializing).await.unwrap();
            }
            issuer.sweep(&server, crate::common::NOW).await.unwrap();
        }
        assert_eq!(keys(&store), [STARTUP_TAINT, "quarantine", "dedicated"], "asks: {asks}");
        store.writes();
        issuer.sweep(&server, crate::common::NOW).await.unwrap();
        assert!(store.writes().is_empty(), "asks: {asks}");
    }
}
