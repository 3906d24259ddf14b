//! One server joins at a time.

use super::*;

#[test]
fn it_keeps_its_turn_while_it_comes_up() {
    let begins = plan(&spec(""), &let_in(facts()), &now());
    assert_eq!(steps(&begins), ["node"]);
    let said = Said { at: 90, ..Said::default() };
    let asked = |uptime| plan(&spec(""), &Facts { said: Some(said.clone()), uptime, ..let_in(facts()) }, &now());
    assert!(steps(&asked(100)).is_empty());
    assert_eq!(steps(&asked(120)), ["node"]);
    // What was in the way last stands there until somebody answers.
    let said = Said { trouble: Some("10.0.1.10:7470: the API of this server does not answer".into()), ..said };
    let waits = plan(&spec(""), &Facts { said: Some(said), ..let_in(facts()) }, &now());
    assert!(
        waits.waits[0].why.ends_with("its turn to join again: 10.0.1.10:7470: the API of this server does not answer"),
        "{waits:?}"
    );
}

#[test]
fn a_server_that_does_not_stay_up_gives_its_turn_to_others() {
    let crashes = Conditions::from_pairs([("name", "control-2"), ("address", "10.0.1.11"), ("k3s-crashes", "yes")]);
    let stays_down = plan(&spec(""), &let_in(facts()), &crashes);
    assert!(steps(&stays_down).is_empty() && stays_down.waits[0].why.contains("does not stay up"), "{stays_down:?}");
    assert!(stays_down.conditions.contains_key("enrolled"), "it goes on trying");
    let was_up = Facts { was_up: true, ..let_in(facts()) };
    assert_eq!(steps(&plan(&spec(""), &was_up, &crashes)), ["node"], "it learns whether its name is another's");
}

/// It is told to join the K3s of the server that let it in, which was destroyed since.
#[test]
fn a_server_that_does_not_come_in_asks_again_when_others_have_had_their_turn() {
    let [name, address, often] = [("name", "control-2"), ("address", "10.0.1.11"), ("k3s-crashes", "yes")];
    let crashes = Conditions::from_pairs([name, address, often, (condition::K3S_UNREACHED, "connection refused")]);
    let at = |uptime, facts: Facts| plan(&spec(""), &Facts { heard: Some(100), uptime, ..facts }, &crashes);
    let enrolled = let_in(facts());
    assert!(steps(&at(249, enrolled.clone())).is_empty());
    let asks = at(250, enrolled.clone());
    assert!(steps(&asks) == ["enroll"] && asks.steps[0].why.contains("nor reach the server"), "{asks:?}");
    assert!(asks.conditions.contains_key("enrolled"), "K3s goes on trying meanwhile");
    // A wrong flag, or a name that etcd has already, is nothing that another server cures.
    let broken = Facts { heard: Some(100), uptime: 250, ..enrolled.clone() };
    assert!(steps(&plan(&spec(""), &broken, &Conditions::from_pairs([name, address, often]))).is_empty());
    // One that is a member does not stay up for another reason.
    assert!(!steps(&at(250, Facts { joined: true, ..enrolled.clone() })).contains(&"enroll"));
    assert!(!steps(&at(250, Facts { was_up: true, ..enrolled })).contains(&"enroll"));
}

/// Its turn is 120 s long, and others wait for theirs: it was down, or its settings were refused for longer than that.
#[test]
fn a_server_whose_turn_has_passed_before_k3s_was_started_asks_again() {
    let waits = |facts: Facts| Facts { down: true, heard: Some(5), uptime: 125, ..let_in(facts) };
    let lapsed = plan(&spec(""), &waits(facts()), &now());
    assert_eq!(steps(&lapsed), ["enroll"]);
    assert!(!lapsed.conditions.contains_key("enrolled"), "K3s is not started");
    assert!(lapsed.steps[0].why.contains("its turn has passed"), "{:?}", lapsed.steps);
    let refused = Facts { last: Some(Last { code: Why::Refused(Code::Busy), ..silent(0).unwrap() }), ..waits(facts()) };
    let refused = plan(&spec(""), &refused, &now());
    assert!(!refused.conditions.contains_key("enrolled"), "it waits for the next one: {refused:?}");
    // One that was started has lost its data, or does not see them just now: let in anew, its member would be another.
    for in_it in [
        Facts { uptime: 124, ..waits(facts()) },
        Facts { down: false, ..waits(facts()) },
        Facts { enabled: true, heard: None, ..waits(facts()) },
        Facts { was_up: true, heard: None, ..waits(facts()) },
    ] {
        assert!(plan(&spec(""), &in_it, &now()).conditions.contains_key("enrolled"), "{in_it:?}");
    }
    // It would hold the others up for nothing.
    let other = plan(&spec("[cluster.config]\ncluster-cidr = \"10.99.0.0/16\"\n"), &waits(facts()), &now());
    assert!(steps(&other).is_empty() && other.refusals.len() == 1, "{other:?}");
}
