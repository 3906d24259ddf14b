//! What becomes of persistent volumes, and what is sent for it.

use super::*;

const NODE: &str = "kafka-0";
const GIB: u64 = 1 << 30;

fn node() -> NodeName {
    NodeName::new(NODE).unwrap()
}

fn wish() -> Wish {
    Wish {
        name: "kafka-0.data".into(),
        volume: "data".into(),
        path: "/mnt/data/d".into(),
        claim: "kafka/data-kafka-0".into(),
        class: STORAGE_CLASS.into(),
        capacity: Some(100 * GIB),
    }
}

fn object(phase: Phase) -> Object {
    let node = Some(NODE.to_owned());
    Object { name: wish().name, node: node.clone(), wish: wish(), on: node, phase, deleting: false }
}

fn read(object: Object) -> Read<Object> {
    Read { value: object, uid: "u".into(), resource_version: "7".into() }
}

fn found(objects: impl IntoIterator<Item = Object>) -> Found {
    Found { volumes: objects.into_iter().map(read).collect(), classes: vec![STORAGE_CLASS.into()] }
}

fn changes(wishes: &[Wish], found: &Found) -> Vec<String> {
    reconcile(&node(), wishes, found, |_| true).changes.iter().map(ToString::to_string).collect()
}

fn why(wishes: &[Wish], found: &Found) -> String {
    let outcome = reconcile(&node(), wishes, found, |_| true);
    assert_eq!(outcome.changes, []);
    let [cut] = &outcome.cut[..] else { panic!("{:?}", outcome.cut) };
    format!("{}: {}", cut.what, cut.why)
}

#[test]
fn one_is_made_once_its_disk_is_there_and_its_class_with_it() {
    let made = ["make the StorageClass bowline-local", "make the PersistentVolume kafka-0.data for kafka/data-kafka-0"];
    assert_eq!(changes(&[wish()], &Found::default()), made);
    assert_eq!(changes(&[wish()], &found([])), made[1..]);
    assert_eq!(changes(&[Wish { capacity: None, ..wish() }], &found([])), [""; 0]);
    // A class of somebody else's is theirs to make.
    assert_eq!(changes(&[Wish { class: "fast".into(), ..wish() }], &Found::default()), made[1..]);
    for phase in [Phase::Free, Phase::Bound] {
        assert_eq!(reconcile(&node(), &[wish()], &found([object(phase)]), |_| true), Outcome::default());
    }
}

#[test]
fn a_disk_that_has_grown_is_told_and_one_that_is_away_changes_nothing() {
    let grown = Wish { capacity: Some(200 * GIB), ..wish() };
    let told = ["tell the PersistentVolume kafka-0.data its 214748364800 bytes"];
    assert_eq!(changes(&[grown], &found([object(Phase::Bound)])), told);
    assert_eq!(changes(&[Wish { capacity: None, ..wish() }], &found([object(Phase::Bound)])), [""; 0]);
}

#[test]
fn the_claim_of_yesterday_gets_its_volume_again() {
    let opened = ["let a new claim have the PersistentVolume kafka-0.data"];
    assert_eq!(changes(&[wish()], &found([object(Phase::Released)])), opened);
}

#[test]
fn one_is_made_anew_only_while_no_claim_is_bound_to_it() {
    let moved = Wish { path: "/mnt/data/e".into(), ..wish() };
    for phase in [Phase::Free, Phase::Released] {
        let outcome = reconcile(&node(), std::slice::from_ref(&moved), &found([object(phase)]), |_| true);
        assert_eq!(outcome.changes[0].to_string(), "delete the PersistentVolume kafka-0.data");
        assert!(outcome.cut[0].why.contains("made anew"));
        let leaving = Object { deleting: true, ..object(phase) };
        assert!(why(std::slice::from_ref(&moved), &found([leaving])).contains("on its way out"));
    }
    let bound = found([object(Phase::Bound)]);
    assert_eq!(
        why(&[moved], &bound),
        "the PersistentVolume kafka-0.data: the settings say /mnt/data/e for kafka/data-kafka-0 (class bowline-local), \
         and it is /mnt/data/d for kafka/data-kafka-0 (class bowline-local): it is made anew once that claim is deleted"
    );
    let elsewhere = Object { on: Some("kafka-1".into()), ..object(Phase::Bound) };
    assert!(why(&[wish()], &found([elsewhere])).contains("made anew once"));
}

#[test]
fn what_left_the_settings_goes_unless_a_claim_is_bound_to_it() {
    assert_eq!(changes(&[], &found([object(Phase::Released)])), ["delete the PersistentVolume kafka-0.data"]);
    assert!(why(&[], &found([object(Phase::Bound)])).ends_with("goes once kafka/data-kafka-0 is deleted"));
    // Whoever knows a part of the wishes only takes nothing away.
    assert_eq!(reconcile(&node(), &[], &found([object(Phase::Free)]), |_| false), Outcome::default());
}

#[test]
fn those_of_others_are_left_alone() {
    let theirs = Object { node: Some("kafka-1".into()), ..object(Phase::Free) };
    assert!(why(&[wish()], &found([theirs.clone()])).ends_with("the node kafka-1's: give this one another `name`"));
    assert_eq!(reconcile(&node(), &[], &found([theirs]), |_| true), Outcome::default());
    let by_hand = Object { node: None, ..object(Phase::Free) };
    assert!(why(&[wish()], &found([by_hand])).contains("not made by Bowline"));
}

#[test]
fn of_two_for_one_claim_the_first_stays_the_only_one() {
    let (name, of) = ("kafka-1.data".to_owned(), Some("kafka-1".to_owned()));
    let theirs = Object { name: name.clone(), node: of.clone(), on: of, ..object(Phase::Bound) };
    let theirs = Object { wish: Wish { name, ..wish() }, ..theirs };
    let taken = "kafka/data-kafka-0 has the node kafka-1's already: if that is over, `kubectl delete pv kafka-1.data` on a server";
    assert!(why(&[wish()], &found([theirs.clone()])).ends_with(taken));
    assert!(why(&[wish()], &found([object(Phase::Released), theirs.clone()])).ends_with(taken));
    assert_eq!(reconcile(&node(), &[wish()], &found([object(Phase::Bound), theirs]), |_| true), Outcome::default());
}

#[test]
fn a_rule_says_for_which_claims() {
    let rule = |claims: &str| {
        let toml = format!(
            "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\nkey-file = \"/k\"\n\
             [[enroll.allow]]\nname = \"kafka\"\nnodes = \"kafka-*\"\nrole = \"agent\"\nfrom = \"10.0.1.0/24\"\n{claims}"
        );
        let file = bowline_settings::SourceFile { path: "/c/1.toml".into(), text: toml, mode: 0o600, uid: 0 };
        bowline_settings::load(&[file]).unwrap().settings.enroll.unwrap().allow.remove(0)
    };
    assert_eq!(permitted(&rule("permit-claims = [\"kafka/*\"]"), &node(), &[wish()]), (vec![wish()], vec![]));
    let (none, cut) = permitted(&rule("permit-claims = [\"other/*\"]"), &node(), &[wish()]);
    assert_eq!(none, []);
    assert_eq!(cut[0].why, "the rule \"kafka\" does not permit volumes for the claim kafka/data-kafka-0");
    assert_eq!(permitted(&rule(""), &node(), &[wish()]).0, []);
    let (none, cut) =
        permitted(&rule("permit-claims = [\"*/*\"]"), &node(), &[Wish { name: "kafka-1.data".into(), ..wish() }]);
    assert_eq!(none, []);
    assert_eq!(cut[0].why, "that of an agent's volume data is called kafka-0.data");
}

#[test]
fn what_is_sent_is_read_back_as_it_was_wished() {
    let (path, Sent::Create(mut made)) = sent(&Change::Create { node: NODE.into(), wish: wish() }) else { panic!() };
    assert_eq!(path, PATH);
    assert_eq!(made["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(made["spec"]["claimRef"]["namespace"], "kafka");
    assert_eq!(read_volume(&made).value, object(Phase::Free));
    // As somebody may have written that many bytes.
    made["spec"]["capacity"]["storage"] = "100Gi".into();
    assert_eq!(read_volume(&made).value, object(Phase::Free));
    made["spec"]["claimRef"]["uid"] = "x".into();
    assert_eq!(read_volume(&made).value.phase, Phase::Bound);
    made["status"]["phase"] = "Released".into();
    assert_eq!(read_volume(&made).value.phase, Phase::Released);
    made["metadata"]["labels"][MANAGED_BY.0] = "helm".into();
    assert_eq!(read_volume(&made).value.node, None);
}

#[test]
fn wishes_that_make_no_sense_are_none() {
    assert_eq!(wish().check(), Ok(()));
    for wrong in [
        Wish { name: "A".into(), ..wish() },
        Wish { volume: String::new(), ..wish() },
        Wish { path: "mnt".into(), ..wish() },
        Wish { path: "/".into(), ..wish() },
        Wish { path: "/mnt/../etc".into(), ..wish() },
        Wish { claim: "data".into(), ..wish() },
        Wish { class: "a b".into(), ..wish() },
        Wish { capacity: Some(0), ..wish() },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
}
