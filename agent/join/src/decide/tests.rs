//! Plans from facts: each test is one situation of a server.

use super::*;
use crate::agree::agreed;
use crate::facts::Key;
use crate::files::{Left, Said};
use crate::why::Unanswered;
use bowline_enroll::Code;
use bowline_ports::{NodeObject, Ready};
use bowline_settings::{ConfigScalar, ConfigValue};
use std::collections::BTreeMap;

mod alike;
mod clock;
mod copies;
mod founds;
mod gone;
mod kept;
mod own;
mod to_ask;
mod turn;

fn settings(text: String) -> bowline_settings::Settings {
    let path = "/etc/bowline/config.d/10.toml".into();
    let file = bowline_settings::SourceFile { path, text, mode: 0o600, uid: 0 };
    bowline_settings::load(&[file]).unwrap().settings
}

/// Those of a server, and these.
fn of_server(toml: &str) -> bowline_settings::Settings {
    settings(format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
         key-file = \"/etc/bowline/cluster.key\"\nservers = [\"10.0.1.10\"]\n{toml}"
    ))
}

fn spec(toml: &str) -> Join {
    let cluster = of_server(toml).cluster.unwrap();
    Join {
        spec: cluster.join,
        role: cluster.role,
        name: None,
        version: "0.1.0".into(),
        kubernetes: None,
        labels: BTreeMap::new(),
        taints: Vec::new(),
        volumes: Vec::new(),
        config: cluster.config,
        persistent: Vec::new(),
    }
}

fn facts() -> Facts {
    Facts {
        key: Key::There,
        ticket: Ok("t1".into()),
        password: true,
        enrolled: None,
        with_data: None,
        token: false,
        token_ca: None,
        last: None,
        said: None,
        ahead: 0,
        told_by: "10.0.1.10:7470".into(),
        ask_time: 60,
        odd: Vec::new(),
        synchronised: true,
        heard: Some(95),
        joined: false,
        answered: None,
        gave_way: false,
        leaving: None,
        other_left: false,
        held: false,
        removed: None,
        owed: false,
        founding: false,
        down: false,
        up: false,
        comes_yet: false,
        enabled: false,
        was_up: false,
        foreign: false,
        copy_of: None,
        stopping: false,
        node: None,
        name: "control-2".into(),
        unix: 1_000,
        uptime: 100,
    }
}

fn now() -> Conditions {
    Conditions::from_pairs([("name", "control-2"), ("address", "10.0.1.11")])
}

fn silent(since: u64) -> Option<Last> {
    let message = "10.0.1.10:7470: connection refused".to_string();
    Some(Last { code: Why::NO_ANSWER, message, at: 99, again: 1, silent_since: Some(since), asked: spec("").asked() })
}

fn let_in(facts: Facts) -> Facts {
    let agreed = agreed(
        &BTreeMap::from([("cluster-cidr".to_string(), ConfigValue::One(ConfigScalar::Text("10.52.0.0/16".into())))]),
        false,
    );
    let enrolled = Enrolled {
        name: "control-2".into(),
        role: "server".into(),
        ticket: "t1".into(),
        expires: None,
        issuers: vec!["10.0.1.10:7470".into()],
        servers: vec!["https://10.0.1.10:6443".into()],
        kubernetes: "v1.34.1+k3s1".into(),
        ca: "c".repeat(64),
        agreed,
        at: 0,
        after: None,
    };
    Facts { enrolled: Some(enrolled), token: true, ..facts }
}

/// Since it was taken out of etcd.
fn let_in_again(facts: Facts) -> Facts {
    let after = facts.removed;
    let facts = let_in(facts);
    Facts { enrolled: facts.enrolled.map(|enrolled| Enrolled { after, ..enrolled }), ..facts }
}

fn steps(plan: &Plan<Action>) -> Vec<&'static str> {
    let word = |action: &Action| match action {
        Action::MakeKey => "key",
        Action::ReplaceKey => "own key",
        Action::NoteKey => "note key",
        Action::MakePassword => "password",
        Action::Enroll { .. } => "enroll",
        Action::Forget => "forget",
        Action::AskForNode { .. } => "node",
        Action::Stop => "stop",
        Action::StopToJoin => "stop to join",
        Action::StopCopy { .. } => "stop copy",
        Action::Hold => "hold",
        Action::ForgetLeft => "forget left",
        Action::Release => "release",
        Action::GiveWay { .. } => "give way",
        Action::Leave { .. } => "leave",
    };
    plan.steps.iter().map(|step| word(&step.action)).collect()
}

#[test]
fn a_further_server_asks_and_never_founds() {
    let plan = plan(&spec(""), &facts(), &now());
    assert_eq!(steps(&plan), ["enroll"]);
    let plan = super::plan(&spec(""), &Facts { last: silent(0), uptime: 10_000, ..facts() }, &now());
    assert!(!plan.conditions.contains_key("k3s-founds"), "nobody answers, and it still does not found");
}

#[test]
fn one_with_the_clusters_data_is_a_member_and_asks_nobody() {
    let kept = plan(&spec(""), &Facts { joined: true, ..facts() }, &now());
    assert!(kept.steps.is_empty() && kept.conditions["k3s-founds"] == "yes");
    // The data may be on a volume that is not there yet.
    let spec = Join { volumes: vec!["k3s".into()], ..spec("") };
    let early = plan(&spec, &facts(), &now());
    assert!(early.steps.is_empty() && early.waits[0].what.contains("volume k3s"), "{early:?}");
    // A cluster key that is changed does not put a member out.
    let member = Facts { joined: true, ticket: Ok("t2".into()), ..let_in(facts()) };
    let goes_on = plan(
        &spec,
        &member,
        &Conditions::from_pairs([("name", "control-2"), ("address", "10.0.1.11"), ("volume/k3s", "ready")]),
    );
    assert_eq!(goes_on.conditions["k3s-servers"], "https://10.0.1.10:6443");
}

#[test]
fn an_agent_that_leaves_stops_k3s_and_gives_the_name_back() {
    let mut spec = spec("");
    spec.role = Role::Agent;
    let leaves = |left: Left, facts: Facts| plan(&spec, &Facts { leaving: Some(left), ..facts }, &now());
    let leaving = |facts: Facts| leaves(Left::default(), facts);
    let told = leaving(let_in(facts()));
    assert_eq!(steps(&told), ["stop", "leave"]);
    assert!(!told.conditions.contains_key("enrolled") && told.conditions["leaving"] == "yes");
    let stopping = leaving(Facts { stopping: true, ..let_in(facts()) });
    assert!(steps(&stopping).is_empty() && stopping.waits[0].what == "K3s to have stopped", "{stopping:?}");
    assert_eq!(steps(&leaving(Facts { down: true, ..let_in(facts()) })), ["leave"]);
    let left = leaves(Left { given_back: Some(1), ..Left::default() }, Facts { down: true, ..facts() });
    assert!(left.steps.is_empty() && left.conditions["left"] == "yes");
    let unasked = leaving(Facts { down: true, ..facts() });
    assert_eq!(unasked.conditions["left"], "unasked", "nobody has removed a Node that it may have");
    assert_eq!(left.waits[0].what, "`bowline leave --undo`");
}

#[test]
fn a_server_that_leaves_is_taken_out_by_the_others_before_k3s_stops() {
    let others = Left { since: 900, issuers: vec!["10.0.1.12:7470".into()], ..Left::default() };
    let out = Left { given_back: Some(990), ..others.clone() };
    let leaving = |left: &Left, facts: Facts| {
        plan(&spec(""), &Facts { leaving: Some(left.clone()), held: true, ..facts }, &now())
    };
    let first = plan(&spec(""), &Facts { leaving: Some(others.clone()), ..let_in(facts()) }, &now());
    assert_eq!(steps(&first), ["hold", "leave"], "a K3s that ends by itself must not join anew");
    let told = leaving(&others, let_in(facts()));
    assert_eq!(steps(&told), ["leave"]);
    let Action::Leave { issuers, address, .. } = &told.steps[0].action else { panic!("{:?}", told.steps) };
    assert_eq!(issuers, &others.issuers, "and not its own");
    assert_eq!(address.as_deref(), Some("10.0.1.11"), "the servers' rules may be for this one alone");
    // They say why not yet; what they said before this boot says nothing.
    let message = "the Node control-2 is being removed".to_owned();
    let last = Last { code: Why::Refused(Code::NotReady), message, again: 5, ..silent(0).unwrap() };
    let not_yet = leaving(&Left { last: Some(last.clone()), ..others.clone() }, let_in(facts()));
    assert!(steps(&not_yet).is_empty() && not_yet.waits[0].poll == Some(Duration::from_secs(4)), "{not_yet:?}");
    assert_eq!(not_yet.waits[0].why, last.message);
    for at in [95, 101] {
        let last = Some(Last { at, ..last.clone() });
        assert_eq!(steps(&leaving(&Left { last, ..others.clone() }, let_in(facts()))), ["leave"], "{at}");
    }
    let unnoticed = leaving(&out, facts());
    assert!(steps(&unnoticed).is_empty() && unnoticed.waits[0].what == "K3s to notice", "{unnoticed:?}");
    assert_eq!(steps(&leaving(&out, Facts { removed: Some(7), ..facts() })), ["stop"]);
    assert_eq!(steps(&leaving(&out, Facts { unix: 1_030, ..facts() })), ["stop"], "it does not wait for ever");
    assert_eq!(leaving(&out, Facts { down: true, ..facts() }).conditions["left"], "yes");
    let back = plan(&spec(""), &Facts { held: true, ..facts() }, &now());
    assert_eq!(steps(&back), ["release", "enroll"]);
}

#[test]
fn who_founded_the_cluster_asks_nobody_for_anything() {
    let mut founder = spec("");
    founder.spec.servers.clear();
    let idle = plan(&founder, &Facts { key: Key::Absent, password: false, ..facts() }, &now());
    assert!(idle.steps.is_empty() && idle.waits.is_empty() && idle.conditions.is_empty(), "{idle:?}");
    let left = Left { issuers: vec!["10.0.1.11:7470".into()], ..Left::default() };
    assert_eq!(steps(&plan(&founder, &Facts { leaving: Some(left), ..facts() }, &now())), ["hold", "leave"]);
}

#[test]
fn labels_made_of_facts_are_asked_for_when_they_are_known_and_wait_alone() {
    let mut agent = spec("");
    agent.role = Role::Agent;
    let role = |name: &str| format!("node-role.kubernetes.io/{name}");
    agent.labels = BTreeMap::from([
        (role("kafka"), "true".into()),
        (role("zone"), "{zone}".into()),
        (role("gpu"), "{gpu}".into()),
        (role("at"), "{address}".into()),
    ]);
    let pairs = [("name", "kafka-0"), ("address", "fd00::7"), ("fact/address", "fd00::7"), ("fact/zone", "fsn1-dc14")];
    let known = BTreeMap::from([(role("kafka"), "true".to_string()), (role("zone"), "fsn1-dc14".to_string())]);
    let enrolls = plan(&agent, &facts(), &Conditions::from_pairs(pairs));
    let Action::Enroll { labels, .. } = &enrolls.steps[0].action else { panic!("{:?}", enrolls.steps) };
    assert_eq!(labels, &known);

    let mut inside = inside();
    inside.node = Some(a_node());
    let asks = plan(&agent, &inside, &Conditions::from_pairs(pairs));
    let Action::AskForNode { labels, settled, .. } = &asks.steps[0].action else { panic!("{:?}", asks.steps) };
    assert_eq!((labels, *settled), (&known, false));
    assert_eq!(asks.waits[0].item, "join/node-role.kubernetes.io/gpu");
    assert_eq!(asks.waits[0].what, "the fact {gpu}");
    assert_eq!(asks.refusals[0].item, "join/node-role.kubernetes.io/at");
    assert!(asks.refusals[0].why.starts_with("“fd00::7” is not a label value"), "{}", asks.refusals[0].why);
}

/// An agent that has long been in.
fn inside() -> Facts {
    let mut inside = let_in(facts());
    if let Some(enrolled) = &mut inside.enrolled {
        (enrolled.name, enrolled.role) = ("kafka-0".into(), "agent".into());
    }
    Facts { joined: true, ..inside }
}

/// Its Node, which is Ready.
fn a_node() -> NodeObject {
    NodeObject {
        name: "kafka-0".into(),
        uid: "u".into(),
        labels: BTreeMap::new(),
        managers: BTreeMap::new(),
        ready: Ready::True,
        ready_message: String::new(),
        internal_ips: Vec::new(),
        taints: Vec::new(),
        own_taints: None,
        unschedulable: false,
        cordoned: false,
        kubelet_version: "v1.34.1+k3s1".into(),
    }
}

/// What came of asking about its Node.
fn said(asked: &str, refused: Option<(Code, &str)>) -> Option<Said> {
    let refused = refused.map(|(code, message)| (code, message.to_string()));
    let (labels, taints, cut) = (BTreeMap::new(), Vec::new(), Vec::new());
    Some(Said { asked: asked.into(), beside: String::new(), labels, taints, cut, at: 90, refused, trouble: None })
}

#[test]
fn an_agent_whose_node_was_deleted_asks_whether_its_name_is_still_its_own() {
    let mut agent = spec("");
    agent.role = Role::Agent;
    let now = Conditions::from_pairs([("name", "kafka-0"), ("address", "10.0.1.20"), ("node-lost", "yes")]);
    let asks = plan(&agent, &inside(), &now);
    let Action::AskForNode { asked, .. } = &asks.steps[0].action else { panic!("{:?}", asks.steps) };
    let held = plan(&agent, &Facts { said: said(asked, None), ..inside() }, &now);
    assert!(held.steps.is_empty() && held.conditions["claim"] == "held", "{held:?}");
    // What was said about the Node before it was deleted says nothing.
    let stale = plan(&agent, &Facts { said: said("0123456789abcdef", None), ..inside() }, &now);
    assert!(steps(&stale) == ["node"] && !stale.conditions.contains_key("claim"), "{stale:?}");
    let long_ago = said(asked, None).map(|said| Said { at: 0, ..said });
    assert_eq!(steps(&plan(&agent, &Facts { said: long_ago, ..inside() }, &now)), ["node"], "it may have changed");
    let forgotten = said(asked, Some((Code::NotClaimed, "nobody holds the name kafka-0: enrol again")));
    let again = plan(&agent, &Facts { said: forgotten, ..inside() }, &now);
    assert_eq!(steps(&again), ["enroll"]);
    let revoked =
        plan(&agent, &Facts { said: said(asked, Some((Code::Revoked, "kafka-0 was revoked"))), ..inside() }, &now);
    assert!(revoked.steps.is_empty() && !revoked.conditions.contains_key("claim"), "{revoked:?}");
    assert!(revoked.refusals[0].why.contains("was revoked"), "{revoked:?}");
}

#[test]
fn other_servers_are_learnt_of_now_and_then() {
    let agent = Join { role: Role::Agent, ..spec("") };
    let now = Conditions::from_pairs([("name", "kafka-0"), ("address", "10.0.1.20"), ("labels", "applied")]);
    let node = a_node();
    let inside = || Facts { node: Some(node.clone()), ..inside() };
    let first = plan(&agent, &inside(), &now);
    let [Action::AskForNode { asked, .. }] = &first.steps.iter().map(|step| &step.action).collect::<Vec<_>>()[..]
    else {
        panic!("{first:?}")
    };
    let told = |at| Facts { said: said(asked, None).map(|said| Said { at, ..said }), uptime: 50_000, ..inside() };
    assert_eq!(steps(&plan(&agent, &told(50_000 - 6 * 3600 + 1), &now)), [""; 0]);
    assert_eq!(steps(&plan(&agent, &told(50_000 - 6 * 3600), &now)), ["node"]);
}

#[test]
fn what_somebody_else_kept_is_asked_for_again_when_it_is_free() {
    let mut agent = spec("");
    agent.role = Role::Agent;
    let key = "node-restriction.kubernetes.io/colour";
    agent.labels = BTreeMap::from([(key.to_string(), "green".to_string())]);
    let now = Conditions::from_pairs([("name", "kafka-0"), ("address", "10.0.1.20")]);
    let node = |managers: &[&str]| NodeObject {
        labels: managers.iter().map(|_| (key.to_string(), "red".to_string())).collect(),
        managers: BTreeMap::from([(key.to_string(), managers.iter().map(|name| (*name).into()).collect())]),
        ..a_node()
    };
    let look = |node, said| plan(&agent, &Facts { node: Some(node), said, ..inside() }, &now);
    let first = look(node(&["rival"]), None);
    let Action::AskForNode { asked, beside, .. } = &first.steps[0].action else { panic!("{:?}", first.steps) };
    let why = "node-restriction.kubernetes.io/colour=red is kept by rival".to_string();
    let cut = vec![bowline_enroll::wire::Cut { what: format!("{key}=green"), why, ..Default::default() }];
    let told = said(asked, None).map(|said| Said { cut, beside: beside.clone(), ..said });
    let kept = look(node(&["rival"]), told.clone());
    assert!(kept.steps.is_empty() && kept.refusals[0].why.contains("kept by rival"), "{kept:?}");
    assert_eq!(steps(&look(node(&[]), told)), ["node"]);
}
