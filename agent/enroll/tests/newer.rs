//! What a newer Bowline says, and writes down, is read by this one as far as it knows it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{NOW, a_claim, ip, machine, node_request};
use bowline_enroll::claim::Refused;
use bowline_enroll::persistent::Wish;
use bowline_enroll::wire::{
    Agreed, Cut, EnrollAnswer, Grant, JoinHint, Labels, LeaveAnswer, NodeAnswer, NodeRequest, Reason, RefusalBody,
    VERSION, parse_enroll_answer, parse_leave_answer, parse_node_answer,
};
use bowline_enroll::{Claim, Code, Refusal, Role, Secret};
use serde_json::{Value, json};
use std::time::Duration;

fn grant() -> Grant {
    Grant {
        version: VERSION,
        token: Secret::new(format!("K10{}::server:hunter2", "a".repeat(64))),
        token_lasts: None,
        issuers: vec!["10.0.1.10:7470".into()],
        servers: vec!["https://10.0.1.10:6443".into()],
        agreed: Agreed::default(),
        kubernetes: "v1.34.1+k3s1".into(),
        labels: Labels::default(),
        taints: Vec::new(),
        cut: vec![Cut { what: "a=b".into(), why: "no".into(), reason: Reason::Never }],
        join: Some(JoinHint { lasts: 120, renew: 30 }),
        now: NOW,
    }
}

fn node() -> NodeAnswer {
    let (labels, taints, cut) = (Labels::default(), Vec::new(), grant().cut);
    NodeAnswer { version: VERSION, labels, taints, cut, registered: true, issuers: Vec::new(), now: NOW }
}

/// The body with a further field in each of its objects that are no lists of names.
fn more(body: &[u8]) -> Vec<u8> {
    fn add(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.iter_mut().filter(|(key, _)| *key != "labels" && *key != "options").for_each(|(_, it)| add(it));
                fields.insert("of-a-newer-one".into(), json!({ "a": [1, -1, 0.5, true, null, "b"] }));
            }
            Value::Array(all) => all.iter_mut().for_each(add),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(body).unwrap();
    add(&mut value);
    value.to_string().into_bytes()
}

#[test]
fn an_answer_may_say_more_than_is_known_here() {
    let more_of_it = more(&grant().to_body());
    assert_eq!(String::from_utf8_lossy(&more_of_it).matches("of-a-newer-one").count(), 4, "agreed, cut, join");
    assert_eq!(parse_enroll_answer(200, &more_of_it), Ok(EnrollAnswer::Granted(Box::new(grant()))));
    assert_eq!(parse_node_answer(200, &more(&node().to_body())), Ok(Ok(node())));
    let left = LeaveAnswer { version: VERSION };
    assert_eq!(parse_leave_answer(200, &more(&left.to_body())), Ok(Ok(left)));
    let refusal = Refusal::new(Code::Busy, "another joins").retry(Duration::from_secs(5));
    let (status, body) = RefusalBody::of(&refusal, NOW);
    let Ok(EnrollAnswer::Refused(read)) = parse_enroll_answer(status, &more(&body)) else { panic!() };
    assert_eq!(read.refusal(), refusal);
    // What it says twice counts as nothing, and another version is another body.
    for (from, to) in [("\"a\":[1", "\"a\":2,\"a\":[1"), ("\"version\":1", "\"version\":2")] {
        let body = String::from_utf8(more_of_it.clone()).unwrap().replacen(from, to, 1);
        assert!(body.contains(to) && parse_enroll_answer(200, body.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn a_reason_that_is_not_known_here_is_told_all_the_same() {
    let body = json!({ "version": 1, "code": "in-quarantine", "message": "wait", "retry-after": 15, "now": NOW });
    let read = |body: &Value| parse_node_answer(503, body.to_string().as_bytes());
    let refusal = read(&body).unwrap().unwrap_err();
    assert_eq!((refusal.code.to_string().as_str(), refusal.message.as_str()), ("in-quarantine", "wait"));
    assert!(!Code::ALL.contains(&refusal.code) && !refusal.is_elsewhere());
    assert_eq!(refusal.code.as_str(), "other", "no series of its own");
    assert_eq!(serde_json::to_value(refusal.code).unwrap(), "in-quarantine");
    assert_eq!(format!("{:?}", refusal.code), "Other(in-quarantine)");
    for word in ["", "In-Quarantine", "two words", "\u{1b}[31m", "q\0", &"q".repeat(33)] {
        let mut body = body.clone();
        body["code"] = json!(word);
        assert!(read(&body).is_err(), "{word:?}");
    }
    let mut answer: Value = serde_json::from_slice(&node().to_body()).unwrap();
    answer["cut"][0]["reason"] = json!("in-quarantine");
    let answer = parse_node_answer(200, answer.to_string().as_bytes()).unwrap().unwrap();
    assert_eq!(answer.cut[0].reason, Reason::NotPermitted, "or what `why` says");
}

fn wish() -> Wish {
    Wish {
        name: "kafka-0.data".into(),
        volume: "data".into(),
        path: "/mnt/data/d".into(),
        claim: "kafka/data-kafka-0".into(),
        class: "bowline-local".into(),
        capacity: Some(1 << 30),
    }
}

#[test]
fn who_asks_may_not_send_more() {
    let request = NodeRequest { persistent_volumes: vec![wish()], ..node_request(Role::Agent, "kafka-0", &machine(1)) };
    let body = String::from_utf8(request.to_body()).unwrap();
    assert_eq!(NodeRequest::parse(body.as_bytes()), Ok(request));
    for place in ["\"version\":1", "\"volume\":\"data\"", "\"bowline\":\"0.1.0\""] {
        let more = body.replacen(place, &format!("{place},\"of-a-newer-one\":1"), 1);
        let error = NodeRequest::parse(more.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("of-a-newer-one"), "{place}: {error}");
    }
}

#[test]
fn a_claim_holds_whatever_a_newer_server_noted_in_it() {
    let known = Refused { at: NOW, from: ip("10.0.1.9"), code: Code::NodeIsAlive, machine: "0".repeat(12) };
    let sound = Claim {
        refused: vec![known.clone()],
        persistent: vec![wish()],
        ..a_claim("kafka-0", Role::Agent, &machine(1), Some("u1"))
    };
    let mut data = sound.to_data();
    data.insert("of-a-newer-one".into(), "yes".into());
    let mut wishes: Value = serde_json::from_str(&data["persistent-volumes"]).unwrap();
    wishes[0]["filesystem"] = json!("xfs");
    data.insert("persistent-volumes".into(), wishes.to_string());
    assert_eq!(Claim::from_data(&data).as_ref(), Ok(&sound));
    let mut with = |refused: Value| {
        data.insert("refused".into(), refused.to_string());
        Claim::from_data(&data).unwrap()
    };
    let entry = serde_json::to_value(&known).unwrap();
    let mut further = entry.clone();
    further["why"] = json!("because");
    let mut without = entry.clone();
    without.as_object_mut().unwrap().remove("from");
    assert_eq!(with(json!([without, 7, further, entry])).refused, [known.clone(), known]);
    for unread in [json!({ "last": entry }), json!(1)] {
        assert_eq!(with(unread), Claim { refused: Vec::new(), ..sound.clone() });
    }
    // A reason that only a newer one gives stays on record when this one writes the claim.
    let mut newer = entry;
    newer["code"] = json!("in-quarantine");
    let claim = with(json!([newer]));
    assert_eq!(claim.refused[0].code.to_string(), "in-quarantine");
    let written: Value = serde_json::from_str(&claim.to_data()["refused"]).unwrap();
    assert_eq!(written[0], newer);
    assert_eq!(Claim::from_data(&claim.to_data()), Ok(claim));
}

#[test]
fn a_persistent_volume_that_no_request_may_bring_is_in_no_claim() {
    let claim = Claim { persistent: vec![wish()], ..a_claim("kafka-0", Role::Agent, &machine(1), Some("u1")) };
    for path in ["/", "/mnt/../etc", "mnt"] {
        let mut data = claim.to_data();
        let mut wishes: Value = serde_json::from_str(&data["persistent-volumes"]).unwrap();
        let mut other = wishes[0].clone();
        other["path"] = json!(path);
        wishes.as_array_mut().unwrap().push(other);
        data.insert("persistent-volumes".into(), wishes.to_string());
        assert_eq!(Claim::from_data(&data).as_ref(), Ok(&claim), "{path}");
    }
}

#[test]
fn what_says_who_holds_the_name_is_a_sound_claim() {
    let data = a_claim("kafka-0", Role::Agent, &machine(1), None).to_data();
    assert!(Claim::says_whose(&data));
    for (key, whose) in [("name", false), ("role", false), ("machine-key", false), ("since", true), ("version", true)] {
        let mut data = data.clone();
        data.insert(key.into(), "?".into());
        assert!(Claim::from_data(&data).is_err(), "{key}");
        assert_eq!(Claim::says_whose(&data), whose, "{key}");
    }
}
