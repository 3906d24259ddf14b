//! Why the servers are asked to let a machine in, and for how long they are not.

use super::*;

#[test]
fn a_server_that_was_taken_out_of_etcd_asks_to_join_anew() {
    let out = Facts { removed: Some(7), ..let_in(facts()) };
    let asks = plan(&spec(""), &out, &now());
    assert_eq!(steps(&asks)[0], "enroll");
    assert!(asks.steps[0].why.contains("taken out of etcd"), "{asks:?}");
    // Once, however long K3s takes to be restarted and to begin to join; and again when it was taken out again.
    let again = let_in_again(out);
    for owed in [true, false] {
        assert_eq!(steps(&plan(&spec(""), &Facts { owed, ..again.clone() }, &now())), ["node"]);
    }
    assert_eq!(steps(&plan(&spec(""), &Facts { removed: Some(8), ..again.clone() }, &now()))[0], "enroll");
    // Half a minute later it is up still: its restart came to nothing.
    let up = |unix| plan(&spec(""), &Facts { up: true, unix, ..again.clone() }, &now());
    assert_eq!((steps(&up(29)), steps(&up(30))[0]), (vec!["node"], "enroll"));
}

/// What its API server says of others' credentials is nothing of its own.
#[test]
fn a_member_is_asked_again_only_for_what_its_k3s_says_of_itself() {
    let member = Facts { joined: true, ..let_in(facts()) };
    let asks = |facts: &Facts, words| {
        let all = [("name", "control-2"), ("address", "10.0.1.11"), ("node", "ready"), ("k3s-join", words)];
        steps(&plan(&spec(""), facts, &Conditions::from_pairs(all))).contains(&"enroll")
    };
    let others = "Unable to authenticate the request: invalid bearer token";
    assert!(!asks(&member, others) && asks(&let_in(facts()), others));
    let refused = "preparing server: failed to bootstrap cluster data: forbidden";
    assert!(!asks(&member, refused) && asks(&let_in(facts()), refused));
    assert!(asks(&member, "bootstrap data already found and encrypted with different token"));
}

/// Or it would be a new one after each answer, and never overdue.
#[test]
fn it_waits_on_while_the_servers_are_asked() {
    let asked = plan(&spec(""), &Facts { last: silent(0), uptime: 200, ..facts() }, &now());
    assert_eq!(steps(&asked), ["enroll"]);
    let between = plan(&spec(""), &Facts { last: silent(0), uptime: 99, ..facts() }, &now());
    let wait = |plan: &Plan<Action>| plan.waits.iter().map(|w| (w.item.clone(), w.what.clone())).collect::<Vec<_>>();
    assert_eq!(wait(&asked), wait(&between));
    assert_eq!((asked.waits[0].poll, between.waits[0].poll), (None, Some(Duration::from_secs(1))));
}

/// Its last words are there until it says others.
#[test]
fn one_that_was_just_let_in_is_not_asked_again_for_what_k3s_said_before() {
    let now = || {
        let told = [("k3s-join", "failed to retrieve configuration from server: not authorized")];
        Conditions::from_pairs([("name", "control-2"), ("address", "10.0.1.11")].into_iter().chain(told))
    };
    let at = |ago| {
        let facts = let_in(facts());
        let at = facts.unix - ago;
        Facts { enrolled: facts.enrolled.map(|enrolled| Enrolled { at, ..enrolled }), ..facts }
    };
    assert_eq!(steps(&plan(&spec(""), &at(29), &now())), ["node"]);
    for ago in [30, -1] {
        assert_eq!(steps(&plan(&spec(""), &at(ago), &now()))[0], "enroll");
    }
}

#[test]
fn what_is_to_be_brought_has_its_name() {
    let none = || NoTicket { missing: true, why: "/x is not there".into(), hint: "bring it".into() };
    let waited = |spec: &Join| plan(spec, &Facts { ticket: Err(none()), ..facts() }, &now()).waits[0].what.clone();
    let mut founder = spec("");
    founder.spec.servers.clear();
    assert_eq!(waited(&founder), "the cluster key with which it lets nodes in");
    assert_eq!(waited(&spec("")), "the cluster key with which it joins");
    assert_eq!(waited(&Join { role: Role::Agent, ..spec("") }), "the ticket with which it joins");
}
