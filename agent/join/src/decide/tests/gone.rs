//! Machines whose name is another's by now.

use super::*;

#[test]
fn an_agent_whose_name_is_another_machines_gives_way() {
    let mut agent = spec("");
    agent.role = Role::Agent;
    let now = Conditions::from_pairs([("name", "kafka-0"), ("address", "10.0.1.20")]);
    let words = "the name kafka-0 is held as agent by machine ab12 from 10.0.1.20, not by this one";
    let cut_off = Facts { said: said("x", Some((Code::ClaimedElsewhere, words))), ..inside() };
    let gives_way = plan(&agent, &cut_off, &now);
    assert_eq!(steps(&gives_way), ["give way"]);
    assert_eq!(gives_way.steps[0].why, words);
    assert!(!gives_way.conditions.contains_key("enrolled"), "K3s is not started again");
}

/// Bowline was purged and installed again, or K3s was there before it: this machine is the one that is in its own way.
#[test]
fn an_agent_whose_own_k3s_keeps_its_name_alive_stops_it() {
    let agent = Join { role: Role::Agent, ..spec("") };
    let message = "10.0.1.10:7470 says: the node kafka-0 may be alive".to_string();
    let last = Last {
        code: Why::Refused(Code::NodeIsAlive),
        message,
        at: 99,
        again: 4,
        silent_since: None,
        asked: Vec::new(),
    };
    let stood = Facts { last: Some(last), joined: true, ..facts() };
    let stops = plan(&agent, &stood, &now());
    assert_eq!(steps(&stops), ["give way"]);
    assert!(stops.steps[0].why.contains("the K3s that runs here as control-2"), "{}", stops.steps[0].why);
    let down = plan(&agent, &Facts { down: true, uptime: 103, ..stood.clone() }, &now());
    assert_eq!(steps(&down), ["enroll"], "it asks until its Lease stands still");
    // It takes its time to stop: nothing is done again meanwhile, nor is the message made longer.
    let stopping = plan(&agent, &Facts { stopping: true, ..stood.clone() }, &now());
    assert!(steps(&stopping).is_empty() && stopping.waits[0].what == LET_IN, "{stopping:?}");
    let new = plan(&agent, &Facts { joined: false, uptime: 103, ..stood }, &now());
    assert_eq!(steps(&new), ["enroll"], "a machine that never was in waits for the other one");
}

#[test]
fn an_agent_that_somebody_else_installed_is_not_stopped() {
    let agent = Join { role: Role::Agent, ..spec("") };
    let stood = Facts { last: refused(Code::NodeIsAlive), joined: true, foreign: true, ..facts() };
    let stays = plan(&agent, &stood, &now());
    assert!(steps(&stays).is_empty() && stays.waits[0].what == LET_IN, "{stays:?}");
    let refusal = &stays.refusals[0];
    assert!(refusal.why.contains("the K3s that runs here as control-2 came in without"), "{refusal:?}");
    assert!(refusal.hint.contains("`systemctl stop k3s-agent.service`"), "{refusal:?}");
    // Its Node would be taken away at the first pause of its kubelet, however long it takes to come.
    let later = plan(&agent, &Facts { uptime: 10_000, ..stood.clone() }, &now());
    assert!(steps(&later).is_empty() && later.waits[0].poll.is_some() && later.refusals.len() == 1, "{later:?}");
    // Once its owner has stopped it, it is let in.
    assert_eq!(steps(&plan(&agent, &Facts { down: true, uptime: 103, ..stood.clone() }, &now())), ["enroll"]);
    // At a boot it may be about to start.
    let boots = Facts { down: true, comes_yet: true, last: None, ..stood.clone() };
    let waits = plan(&agent, &boots, &now());
    assert!(steps(&waits).is_empty() && waits.waits[0].why.contains("is about to start"), "{waits:?}");
    // Two kubelets of one Node are worse.
    let words = "the name control-2 is held as agent by machine ab12 from 10.0.1.20, not by this one";
    let mut replaced = Facts { said: said("x", Some((Code::ClaimedElsewhere, words))), ..let_in(stood) };
    replaced.enrolled.as_mut().unwrap().role = "agent".into();
    assert_eq!(steps(&plan(&agent, &replaced, &now())), ["give way"]);
}

fn refused(code: Code) -> Option<Last> {
    let message = "10.0.1.10:7470 says: the node control-2 may be alive".to_string();
    Some(Last { code: Why::Refused(code), message, at: 99, again: 4, silent_since: None, asked: Vec::new() })
}

/// Its kubelet had its certificate still, and made the Node anew before Bowline had asked: nobody else is alive under its name.
#[test]
fn an_agent_that_comes_back_when_its_name_was_given_up_stops_its_k3s_to_be_let_in() {
    let mut agent = spec("");
    agent.role = Role::Agent;
    let enrolled = let_in(facts()).enrolled.map(|enrolled| Enrolled { role: "agent".into(), ..enrolled });
    let back =
        Facts { enrolled, token: true, joined: true, said: said("", Some((Code::NotClaimed, "nobody"))), ..facts() };
    assert_eq!(steps(&plan(&agent, &back, &now()))[0], "enroll");
    let alive = Last { code: Why::Refused(Code::NodeIsAlive), message: "it may be alive".into(), ..silent(0).unwrap() };
    let stops = plan(&agent, &Facts { last: Some(alive), ..back }, &now());
    assert_eq!(steps(&stops), ["give way"]);
    assert!(stops.steps[0].why.contains("its name had been given up"), "{:?}", stops.steps[0].why);
}

#[test]
fn a_server_whose_name_is_another_machines_gives_way() {
    let words = "the name control-2 is held as server by machine ab12 from 10.0.1.13, not by this one";
    let member = Facts { joined: true, ..let_in(facts()) };
    let gives_way = plan(&spec(""), &Facts { said: said("", Some((Code::ClaimedElsewhere, words))), ..member }, &now());
    assert_eq!(steps(&gives_way), ["give way"]);
    assert_eq!(gives_way.steps[0].why, words);
    assert!(!gives_way.conditions.contains_key("enrolled"), "K3s is not started again");

    // Its K3s has noticed first, and the servers were asked whether it may join anew.
    for facts in [let_in(facts()), facts()] {
        let out = Facts { removed: Some(7), last: refused(Code::NodeIsAlive), ..facts };
        let gives_way = plan(&spec(""), &out, &now());
        assert_eq!(steps(&gives_way), ["give way"]);
        assert!(gives_way.steps[0].why.ends_with("may be alive; this one was taken out of etcd"), "{gives_way:?}");
        let stopping = plan(&spec(""), &Facts { stopping: true, ..out.clone() }, &now());
        assert!(!steps(&stopping).contains(&"give way"), "{stopping:?}");
        // Nobody has its name: it joins anew.
        let waits = plan(&spec(""), &Facts { last: refused(Code::Busy), ..out }, &now());
        assert!(!steps(&waits).contains(&"give way"), "{waits:?}");
    }
}

#[test]
fn a_server_that_gave_way_asks_and_founds_nothing_whatever_data_it_has() {
    let spec = spec("init = true\ninit-wait = \"60s\"\n");
    let gave_way = Facts { gave_way: true, down: true, last: silent(0), uptime: 10_000, ..facts() };
    let asks = plan(&spec, &gave_way, &now());
    assert_eq!(steps(&asks), ["enroll"]);
    assert!(!asks.conditions.contains_key("k3s-founds"), "{asks:?}");
    let waits = plan(&spec, &Facts { uptime: 99, ..gave_way.clone() }, &now());
    assert!(!waits.waits[0].why.contains("founds"), "{:?}", waits.waits);
    // Somebody starts its K3s.
    let runs = plan(&spec, &Facts { down: false, last: refused(Code::ClaimedElsewhere), ..gave_way }, &now());
    assert_eq!(steps(&runs), ["give way"]);
}

#[test]
fn a_founder_that_was_taken_out_of_etcd_begins_no_second_cluster() {
    let mut founder = spec("");
    founder.spec.servers.clear();
    let out = Facts { removed: Some(7), ..facts() };
    let stops = plan(&founder, &out, &now());
    assert_eq!(steps(&stops), ["give way"]);
    assert_eq!(stops.conditions["leaving"], "yes", "nobody starts K3s again");
    let stopping = plan(&founder, &Facts { stopping: true, ..out.clone() }, &now());
    assert!(steps(&stopping).is_empty() && stopping.waits[0].what == "K3s to have stopped", "{stopping:?}");
    for removed in [Some(7), None] {
        let stays = plan(&founder, &Facts { gave_way: true, down: true, removed, ..out.clone() }, &now());
        assert!(steps(&stays).is_empty() && stays.conditions["leaving"] == "yes", "{stays:?}");
        assert!(stays.refusals[0].hint.contains("set `servers`"), "{stays:?}");
        let begins = "run `rm -r /var/lib/rancher/k3s/server && rm -f /var/lib/bowline/gave-way /run/bowline/gave-way /var/lib/bowline/k3s-node && \
                      systemctl start k3s.service`";
        assert!(stays.refusals[0].hint.ends_with(begins), "{stays:?}");
        let foreign =
            plan(&founder, &Facts { foreign: true, gave_way: true, down: true, removed, ..out.clone() }, &now());
        assert!(foreign.refusals[0].hint.contains("run `k3s-uninstall.sh` and"), "{foreign:?}");
        assert!(foreign.refusals[0].hint.ends_with(bowline_ports::UNINSTALLING_ERASES), "{foreign:?}");
    }
}

#[test]
fn a_member_whose_api_is_silent_looks_often_whether_it_was_taken_out() {
    let mut founder = spec("");
    founder.spec.servers.clear();
    let member = Facts { joined: true, ..facts() };
    for spec in [spec(""), founder] {
        let silent = plan(&spec, &member, &now());
        assert_eq!(silent.waits[0].poll, Some(Duration::from_secs(5)));
        let down = plan(&spec, &Facts { down: true, ..member.clone() }, &now());
        assert!(down.waits.is_empty(), "{down:?}");
        let [name, address, node] = [("name", "control-2"), ("address", "10.0.1.11"), ("node", "ready")];
        let well = plan(&spec, &member, &Conditions::from_pairs([name, address, node]));
        assert!(well.waits.is_empty(), "{well:?}");
    }
}

/// Its daemon was killed between the servers' answer and the start of K3s.
#[test]
fn one_that_was_let_in_again_and_not_started_asks_once_more() {
    let agent = Join { role: Role::Agent, ..spec("") };
    let mut stands = Facts { gave_way: true, down: true, ..let_in(facts()) };
    stands.enrolled.as_mut().unwrap().role = "agent".into();
    assert_eq!(steps(&plan(&agent, &stands, &now())), ["enroll"]);
    let started = Facts { gave_way: false, ..stands };
    assert!(steps(&plan(&agent, &started, &now())).is_empty());
}

/// The silence of the day when it founded is no news of the day when it was taken out.
#[test]
fn a_founder_that_was_taken_out_asks_whatever_silence_there_was_before() {
    let spec = spec("init = true\ninit-wait = \"60s\"\n");
    let stale = Facts { last: silent(0), uptime: 10_000, ..facts() };
    let out = Facts { removed: Some(7), ..stale.clone() };
    let asks = plan(&spec, &out, &now());
    assert_eq!(steps(&asks), ["enroll"]);
    assert!(!asks.conditions.contains_key("k3s-founds"), "{asks:?}");
    let waits = plan(&spec, &Facts { uptime: 99, ..out.clone() }, &now());
    assert!(!waits.waits[0].why.contains("founds"), "{:?}", waits.waits);
    // It is forgotten as soon as it is in.
    assert_eq!(steps(&plan(&spec, &Facts { joined: true, ..stale }, &now())), ["forget"]);
    // It is let in, and not asked again.
    assert!(!steps(&plan(&spec, &let_in_again(out), &now())).contains(&"enroll"));
}

/// Its owner restarts it, and nothing is on record meanwhile: each time that it asked, it took the turn to join from others.
#[test]
fn a_k3s_of_somebody_else_that_was_taken_out_is_let_in_once() {
    let out = Facts { removed: Some(7), foreign: true, ..facts() };
    assert_eq!(steps(&plan(&spec(""), &out, &now())), ["enroll"]);
    let asked = said("", None).map(|said| Said { at: 10, ..said });
    let there = Facts { said: asked, ..let_in_again(out) };
    let waits = plan(&spec(""), &there, &now());
    assert!(steps(&waits).is_empty() && waits.conditions.contains_key("enrolled"), "{waits:?}");
    let unknown = Facts { said: said("", Some((Code::NotClaimed, "nobody"))), ..there };
    assert!(steps(&plan(&spec(""), &unknown, &now())).contains(&"enroll"), "its claim ended meanwhile");
}

/// It is refused, and not stopped: asking again and again would have the servers take its Node away.
#[test]
fn a_machine_whose_k3s_is_of_another_name_or_role_is_not_asked_for() {
    let other = Conditions::from_pairs([
        ("name", "control-2"),
        ("address", "10.0.1.11"),
        (condition::K3S_ELSEWHERE, "k3s-main.service"),
    ]);
    for role in [Role::Agent, Role::Server] {
        let waits = plan(&Join { role, ..spec("") }, &facts(), &other);
        assert!(steps(&waits).is_empty() && waits.waits[0].why.contains("as k3s-main.service"), "{waits:?}");
    }
}
