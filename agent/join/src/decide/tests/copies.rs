//! Machines whose disk is a copy of another one's.

use super::*;

fn agent() -> Join {
    Join { role: Role::Agent, ..spec("") }
}

/// By it the servers would let two machines in under one name, the living one's included.
#[test]
fn the_key_of_another_machine_is_none() {
    for spec in [agent(), spec("")] {
        let copy = plan(&spec, &Facts { key: Key::Anothers, password: false, ..facts() }, &now());
        assert_eq!(steps(&copy), ["own key"], "nothing is asked by it");
        assert!(copy.steps[0].why.contains("another machine's"), "{copy:?}");
        let given = Facts { key: Key::Anothers, ..let_in(facts()) };
        assert!(!plan(&spec, &given, &now()).conditions.contains_key("enrolled"), "K3s is not started");
        let earlier = plan(&spec, &Facts { key: Key::Unnoted, ..facts() }, &now());
        assert_eq!(steps(&earlier), ["note key", "enroll"], "an upgrade does not lose its key");
        assert_ne!(earlier.steps[0].item, earlier.steps[1].item, "what cannot be noted holds nothing else back");
        assert_eq!(steps(&plan(&spec, &facts(), &now())), ["enroll"]);
    }
}

/// All servers of a cluster may be restored from backups at once: by new keys each would be told that its name is another's.
#[test]
fn a_member_of_etcd_keeps_the_key_whichever_machine_has_its_data() {
    let member = plan(&spec(""), &Facts { key: Key::Anothers, joined: true, ..let_in(facts()) }, &now());
    assert_eq!(steps(&member)[0], "note key");
    assert!(member.conditions.contains_key("enrolled"));
    // Whether it is one is not known before its volumes are there.
    let early = Join { volumes: vec!["k3s".into()], ..spec("") };
    assert!(steps(&plan(&early, &Facts { key: Key::Anothers, ..facts() }, &now())).is_empty());
}

#[test]
fn an_image_that_is_made_without_a_ticket_has_no_key() {
    let ticket = Err(NoTicket { missing: true, why: "it is not there".into(), hint: "bring it".into() });
    let bare = plan(&agent(), &Facts { key: Key::Absent, ticket, ..facts() }, &now());
    assert!(steps(&bare).is_empty() && bare.waits[0].why == "it is not there", "{bare:?}");
}

#[test]
fn an_agent_that_runs_as_another_machine_stops_before_it_asks_anything() {
    let copy_of = Some("worker-1".to_owned());
    for last in [None, Some(Last { code: Why::Refused(Code::NotLetIn), ..silent(0).unwrap() })] {
        let runs = Facts { copy_of: copy_of.clone(), last, joined: true, up: true, key: Key::Anothers, ..facts() };
        let stops = plan(&agent(), &runs, &now());
        assert_eq!(steps(&stops), ["stop copy"]);
        assert!(stops.steps[0].why.contains("worker-1") && stops.steps[0].why.contains("as control-2"), "{stops:?}");
        let bare = NoTicket { missing: true, why: "it is not there".into(), hint: "bring it".into() };
        assert_eq!(steps(&plan(&agent(), &Facts { ticket: Err(bare), ..runs.clone() }, &now())), ["stop copy"]);
        let stopping = plan(&agent(), &Facts { stopping: true, ..runs.clone() }, &now());
        assert!(steps(&stopping).is_empty() && stopping.waits[0].what == "K3s to have stopped", "{stopping:?}");
        assert_eq!(steps(&plan(&agent(), &Facts { down: true, ..runs.clone() }, &now())), ["own key"]);
        // Under the same name the servers say which of the two it is; and that of somebody else has its own configuration.
        for stays in [Facts { name: "worker-1".into(), ..runs.clone() }, Facts { foreign: true, ..runs }] {
            assert_eq!(steps(&plan(&agent(), &stays, &now())), ["own key"]);
        }
    }
}

#[test]
fn what_another_machine_was_told_keeps_no_copy_of_it_out() {
    let mut founder = spec("");
    founder.spec.servers.clear();
    let copy = Facts { other_left: true, held: true, ..facts() };
    assert_eq!(steps(&plan(&spec(""), &copy, &now())), ["forget left", "release", "enroll"]);
    assert_eq!(steps(&plan(&founder, &copy, &now())), ["forget left", "release"]);
}
