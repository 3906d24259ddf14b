//! Persistent volumes of a node's disks: made for the claims that the rules permit, kept, and never taken from a claim.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Machine, NOW, Store, issuer, issuer_with};
use bowline_enroll::key::MachineKey;
use bowline_enroll::persistent::Wish;
use bowline_enroll::wire::{NodeAnswer, Phase};
use serde_json::json;

const VOLUME: &str = "/api/v1/persistentvolumes/kafka-0.data";
const CLASS: &str = "/apis/storage.k8s.io/v1/storageclasses/bowline-local";

fn wish(claim: &str) -> Wish {
    Wish {
        name: "kafka-0.data".into(),
        volume: "data".into(),
        path: "/mnt/data/0".into(),
        claim: claim.into(),
        class: "bowline-local".into(),
        capacity: Some(10 << 30),
    }
}

/// A settled node whose settings have this volume.
async fn a_node(claim: &str) -> (Store, Machine, NodeAnswer) {
    let store = Store::new();
    let mut machine = Machine::agent("kafka-0", 1);
    machine.persistent = vec![wish(claim)];
    machine.enroll(&issuer(&store)).await.unwrap();
    store.kubelet("kafka-0", "10.0.1.20");
    store.kubelet("control", "10.0.1.10");
    let answer = machine.node(&issuer(&store), Phase::Settled).await.unwrap();
    sweep(&store).await;
    store.writes();
    (store, machine, answer)
}

async fn sweep(store: &Store) {
    issuer(store).sweep(&MachineKey::from_seed(&[200; 32]).public(), NOW).await.unwrap();
}

fn why(answer: &NodeAnswer) -> &str {
    let [cut] = &answer.cut[..] else { panic!("{:?}", answer.cut) };
    assert_eq!(cut.what, "the PersistentVolume kafka-0.data");
    &cut.why
}

#[tokio::test]
async fn one_is_made_with_its_class_and_then_nobody_writes() {
    let (store, machine, answer) = a_node("kafka/data-kafka-0").await;
    assert_eq!(answer.cut, []);
    let made = store.at(VOLUME).unwrap();
    assert_eq!(made["spec"]["local"]["path"], "/mnt/data/0");
    let on = &made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(*on, json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["kafka-0"] }));
    assert_eq!(store.at(CLASS).unwrap()["provisioner"], "kubernetes.io/no-provisioner");
    machine.node(&issuer(&store), Phase::Settled).await.unwrap();
    sweep(&store).await;
    assert_eq!(store.writes(), [""; 0]);
}

#[tokio::test]
async fn they_are_kept_without_being_asked_for_again() {
    let (store, ..) = a_node("kafka/data-kafka-0").await;
    let before = store.at(VOLUME).unwrap();
    store.remove(VOLUME);
    sweep(&store).await;
    assert_eq!(store.at(VOLUME).unwrap()["spec"], before["spec"], "it is made again");

    store.change(VOLUME, |volume| {
        volume["spec"]["claimRef"]["uid"] = "of-yesterday".into();
        volume["status"]["phase"] = "Released".into();
    });
    sweep(&store).await;
    let reference = store.at(VOLUME).unwrap()["spec"]["claimRef"].clone();
    assert_eq!((reference["name"].as_str(), reference["uid"].is_null()), (Some("data-kafka-0"), true));
}

#[tokio::test]
async fn the_rules_say_for_which_claims() {
    let (store, machine, answer) = a_node("kube-system/anything").await;
    assert_eq!(why(&answer), "the rule \"kafka\" does not permit volumes for the claim kube-system/anything");
    assert!(store.at(VOLUME).is_none());
    // A rule that was changed is followed without the node.
    let permitting = issuer_with(&store, |mut settings| {
        settings.allow[0].permit_claims = vec!["*".parse().unwrap()];
        settings
    });
    permitting.sweep(&MachineKey::from_seed(&[200; 32]).public(), NOW).await.unwrap();
    assert!(store.at(VOLUME).is_some());
    // And one that was narrowed takes nothing away.
    let answer = machine.node(&issuer(&store), Phase::Settled).await.unwrap();
    assert!(why(&answer).contains("does not permit"));
    assert!(store.at(VOLUME).is_some());
}

#[tokio::test]
async fn what_left_the_settings_goes_once_no_claim_has_it() {
    let (store, mut machine, _) = a_node("kafka/data-kafka-0").await;
    machine.persistent.clear();
    store.change(VOLUME, |volume| volume["status"]["phase"] = "Bound".into());
    let answer = machine.node(&issuer(&store), Phase::Settled).await.unwrap();
    assert!(why(&answer).contains("goes once kafka/data-kafka-0 is deleted"));
    sweep(&store).await;
    assert!(store.at(VOLUME).is_some());
    store.change(VOLUME, |volume| volume["status"]["phase"] = "Released".into());
    sweep(&store).await;
    assert!(store.at(VOLUME).is_none());
    assert_eq!(machine.node(&issuer(&store), Phase::Settled).await.unwrap().cut, []);
    sweep(&store).await;
    store.writes();
    sweep(&store).await;
    assert_eq!(store.writes(), [""; 0], "it is forgotten");
}

#[tokio::test]
async fn what_somebody_else_made_is_left_alone() {
    let (store, machine, _) = a_node("kafka/data-kafka-0").await;
    store.change(VOLUME, |volume| volume["metadata"]["labels"]["bowline/node"] = "kafka-1".into());
    store.kubelet("kafka-1", "10.0.1.21");
    let before = store.at(VOLUME);
    let answer = machine.node(&issuer(&store), Phase::Settled).await.unwrap();
    assert!(why(&answer).contains("the node kafka-1's"));
    sweep(&store).await;
    assert_eq!(store.at(VOLUME), before);
}

#[tokio::test]
async fn of_a_machine_that_left_those_without_a_claim_go_and_a_bound_one_waits_for_it() {
    for (phase, stays) in [("Available", false), ("Released", false), ("Bound", true)] {
        let (store, machine, _) = a_node("kafka/data-kafka-0").await;
        store.change(VOLUME, |volume| volume["status"]["phase"] = phase.into());
        let issuer = issuer(&store);
        while machine.leaving().to(&issuer).await.status != 200 {}
        assert!(store.at(VOLUME).is_some(), "nobody waits for it");
        sweep(&store).await;
        assert_eq!(store.at(VOLUME).is_some(), stays, "{phase}");
        store.writes();
        sweep(&store).await;
        assert_eq!(store.writes(), [""; 0], "{phase}");
        // It is back: what it has is the old one, or made anew.
        let uid = store.at(VOLUME).map(|volume| volume["metadata"]["uid"].clone());
        machine.enroll(&issuer).await.unwrap();
        store.kubelet("kafka-0", "10.0.1.20");
        assert_eq!(machine.node(&issuer, Phase::Settled).await.unwrap().cut, [], "{phase}");
        let now = store.at(VOLUME).unwrap();
        assert!(uid.is_none_or(|uid| uid == now["metadata"]["uid"]));
        assert_eq!(now["spec"]["claimRef"]["name"], "data-kafka-0");
    }
}

#[tokio::test]
async fn one_that_outlived_its_machine_goes_when_its_claim_does() {
    let (store, machine, _) = a_node("kafka/data-kafka-0").await;
    store.change(VOLUME, |volume| volume["status"]["phase"] = "Bound".into());
    while machine.leaving().to(&issuer(&store)).await.status != 200 {}
    sweep(&store).await;
    assert!(store.at(VOLUME).is_some());
    store.change(VOLUME, |volume| volume["status"]["phase"] = "Released".into());
    sweep(&store).await;
    assert!(store.at(VOLUME).is_none());
}

#[tokio::test]
async fn of_a_revoked_name_those_without_a_claim_go_though_its_machine_runs() {
    let (store, machine, _) = a_node("kafka/data-kafka-0").await;
    store.change(VOLUME, |volume| volume["status"]["phase"] = "Bound".into());
    let keys: Vec<String> = crate::common::keys().iter().map(|key| key.id()).collect();
    bowline_issuer::nodes::revoke(&store, &machine.name, NOW, &keys, None).await.unwrap();
    sweep(&store).await;
    assert!(store.at(VOLUME).is_some(), "its data may be on its way to another machine");
    store.change(VOLUME, |volume| volume["status"]["phase"] = "Available".into());
    sweep(&store).await;
    assert!(store.at(VOLUME).is_none());
}

#[tokio::test]
async fn a_node_that_is_only_not_there_keeps_its_own() {
    let (store, ..) = a_node("kafka/data-kafka-0").await;
    store.remove("/api/v1/nodes/kafka-0");
    sweep(&store).await;
    assert!(store.at(VOLUME).is_some(), "its machine may come back at any time, and has the claim");
    // One that came in by hand has none.
    store.remove("/api/v1/namespaces/bowline/configmaps/claim.kafka-0");
    store.kubelet("kafka-0", "10.0.1.20");
    sweep(&store).await;
    assert!(store.at(VOLUME).is_some());
}
