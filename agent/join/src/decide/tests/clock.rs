//! The clock of this machine, and those of the servers.

use super::*;
use crate::files::Odd;

#[test]
fn a_clock_that_is_not_the_servers_is_named_and_holds_k3s_back() {
    let off = |ahead| plan(&spec(""), &Facts { ahead, ..let_in(facts()) }, &now());
    let year = off(365 * 86_400);
    assert_eq!(year.conditions["skew"], "it is 365 d ahead of that of the servers");
    assert!(year.conditions.contains_key("enrolled"), "it is let in all the same");
    assert_eq!(year.waits[0].item, "join/clock");
    assert!(off(-400).waits[0].why.starts_with("it is 6 min behind"), "{:?}", off(-400).waits);
    // So far behind, a server would make tokens that are nearly over.
    assert!(off(121).conditions.contains_key("skew") && !off(120).conditions.contains_key("skew"));
    // Theirs may have been set right since: they are asked each minute, by an agent with all that it asks for, or it would lose that.
    let skewed = |uptime, facts| Facts { ahead: 400, heard: Some(100), uptime, said: None, ..facts };
    let server = |uptime| {
        let node = Some(a_node());
        plan(&spec(""), &skewed(uptime, Facts { joined: true, node, ..let_in(facts()) }), &now()).conditions
    };
    assert!(server(159).contains_key("skew"));
    assert!(!server(160).contains_key("skew"), "it asks nobody any more");
    let agent = Join { role: Role::Agent, ..spec("") };
    let at = |uptime| {
        let mut facts = skewed(uptime, let_in(facts()));
        facts.enrolled.as_mut().unwrap().role = "agent".into();
        plan(&agent, &facts, &now())
    };
    assert!(at(159).steps.is_empty());
    let [Action::AskForNode { asked, .. }] = &at(160).steps.iter().map(|s| s.action.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", at(160))
    };
    assert!(!asked.is_empty());
    let seldom = |uptime| {
        let mut facts = skewed(uptime, Facts { ask_time: 600, ..let_in(facts()) });
        facts.enrolled.as_mut().unwrap().role = "agent".into();
        plan(&agent, &facts, &now()).steps.len()
    };
    assert_eq!((seldom(699), seldom(700)), (0, 1));
}

/// Whether it is this machine's that is wrong is for whoever keeps it to say.
#[test]
fn a_clock_that_a_time_service_keeps_is_not_blamed_alone() {
    let off = |synchronised| {
        let facts = Facts { ahead: 600, synchronised, ..let_in(facts()) };
        plan(&spec(""), &facts, &now()).waits.remove(0).overdue
    };
    assert_eq!(off(false), "set the clock (`timedatectl set-ntp true`, or `date`)");
    assert!(off(true).contains("that of 10.0.1.10:7470 may be the wrong one"), "{}", off(true));
}

#[test]
fn a_server_whose_clock_is_neither_the_others_nor_this_machines_is_named_and_holds_nothing_back() {
    let odd = vec![Odd { server: "[fd00::8]:7470".into(), ahead: -600 }];
    let named = |facts: Facts| {
        let plan = plan(&spec(""), &Facts { odd: odd.clone(), ..let_in(facts) }, &now());
        assert!(!plan.conditions.contains_key("skew") || plan.notes.is_empty(), "{plan:?}");
        (plan.conditions.contains_key("enrolled"), plan.notes.into_iter().map(|note| note.text).next())
    };
    let said = "the clock of [fd00::8]:7470 is 10 min behind that of 10.0.1.10:7470 and of this machine: see why \
                (`timedatectl` on fd00::8), and set it right";
    assert_eq!(named(facts()), (true, Some(said.to_string())));
    // Nobody asks whether it is right by now; and a server's own issuer is no witness.
    let soon = Facts { uptime: 694, ..facts() };
    assert!(named(soon.clone()).1.is_some() && named(Facts { uptime: 695, ..soon }).1.is_none());
    assert_eq!(named(Facts { told_by: "10.0.1.11:7470".into(), ..facts() }).1, None);
    // This machine's was set since, and is another one now.
    assert_eq!(named(Facts { ahead: 600, ..facts() }).1, None);
}
