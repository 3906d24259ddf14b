//! Plans from facts: each test is one situation of a server.

use super::*;
use crate::agree::agreed;
use bowline_settings::{ConfigScalar, ConfigValue};
use std::collections::BTreeMap;

fn spec(toml: &str) -> Join {
    let text = format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
         key-file = \"/etc/bowline/cluster.key\"\nservers = [\"10.0.1.10\"]\n{toml}"
    );
    let path = "/etc/bowline/config.d/10.toml".into();
    let file = bowline_settings::SourceFile { path, text, mode: 0o600, uid: 0 };
    let cluster = bowline_settings::load(&[file]).unwrap().settings.cluster.unwrap();
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
    }
}

fn facts() -> Facts {
    Facts {
        key: Key::There,
        ticket: Ok("t1".into()),
        password: true,
        enrolled: None,
        token: false,
        last: None,
        said: None,
        joined: false,
        leaving: false,
        down: false,
        node: None,
        host_name: "control-2".into(),
        unix: 1_000,
        uptime: 100,
    }
}

fn now() -> Conditions {
    Conditions::from_pairs([("name", "control-2"), ("address", "10.0.1.11")])
}

fn silent(since: u64) -> Option<Last> {
    let message = "10.0.1.10:7470: connection refused".to_string();
    Some(Last { code: NO_ANSWER.into(), message, at: 99, again: 1, silent_since: Some(since) })
}

fn let_in(facts: Facts) -> Facts {
    let agreed = agreed(&BTreeMap::from([(
        "cluster-cidr".to_string(),
        ConfigValue::One(ConfigScalar::Text("10.52.0.0/16".into())),
    )]));
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
    };
    Facts { enrolled: Some(enrolled), token: true, ..facts }
}

fn steps(plan: &Plan<Action>) -> Vec<&'static str> {
    let word = |action: &Action| match action {
        Action::MakeKey => "key",
        Action::MakePassword => "password",
        Action::Enroll { .. } => "enroll",
        Action::AskForNode { .. } => "node",
        Action::Stop => "stop",
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
fn with_init_it_founds_only_when_nobody_answered_for_so_long() {
    let spec = spec("init = true\ninit-wait = \"60s\"\n");
    let told = |last, uptime| plan(&spec, &Facts { last, uptime, ..facts() }, &now());
    assert_eq!(steps(&told(None, 100)), ["enroll"], "it asks first");
    let waits = told(silent(60), 99);
    assert!(waits.waits[0].why.contains("it founds a cluster if nobody answers for 21 s more"), "{:?}", waits.waits);
    assert_eq!(steps(&told(silent(60), 119)), ["enroll"]);
    assert_eq!(told(silent(60), 120).conditions["k3s-founds"], "yes");
    // Somebody has answered, if only to say no: there is a cluster.
    let busy = Last { code: "busy".into(), silent_since: None, ..silent(0).unwrap() };
    assert!(!told(Some(busy.clone()), 10_000).conditions.contains_key("k3s-founds"));
    let silent_since_then = Last { code: NO_ANSWER.into(), ..busy };
    assert!(!told(Some(silent_since_then), 10_000).conditions.contains_key("k3s-founds"));
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
fn what_servers_agree_on_is_taken_over_or_refused_by_name() {
    let joins = plan(&spec(""), &let_in(facts()), &now());
    assert_eq!(joins.conditions["k3s-options"], "{\"cluster-cidr\":\"10.52.0.0/16\"}");
    assert_eq!(joins.conditions["enrolled"], "c".repeat(64));
    let other = spec("[cluster.config]\ncluster-cidr = \"10.99.0.0/16\"\n");
    let refused = plan(&other, &let_in(facts()), &now());
    assert!(!refused.conditions.contains_key("enrolled"), "K3s is not started");
    let refusal = &refused.refusals[0];
    assert!(refusal.what.contains("cluster-cidr = 10.99.0.0/16"), "{refusal:?}");
    assert!(refusal.why.contains("10.52.0.0/16"), "{refusal:?}");
}

#[test]
fn it_keeps_its_turn_while_it_comes_up() {
    let begins = plan(&spec(""), &let_in(facts()), &now());
    assert_eq!(steps(&begins), ["node"]);
    let said = crate::files::Said {
        asked: String::new(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        cut: Vec::new(),
        at: 90,
        refused: None,
    };
    let asked = |uptime| plan(&spec(""), &Facts { said: Some(said.clone()), uptime, ..let_in(facts()) }, &now());
    assert!(steps(&asked(100)).is_empty());
    assert_eq!(steps(&asked(120)), ["node"]);
}

#[test]
fn who_leaves_stops_k3s_and_gives_the_name_back() {
    let leaving = |facts: Facts| plan(&spec(""), &Facts { leaving: true, ..facts }, &now());
    let told = leaving(let_in(facts()));
    assert_eq!(steps(&told), ["stop", "leave"]);
    assert!(!told.conditions.contains_key("enrolled") && told.conditions["leaving"] == "yes");
    assert_eq!(steps(&leaving(Facts { down: true, ..let_in(facts()) })), ["leave"]);
    let left = leaving(Facts { down: true, ..facts() });
    assert!(left.steps.is_empty() && left.conditions["left"] == "yes");
    assert_eq!(left.waits[0].what, "`bowline leave --undo`");
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

    let mut inside = let_in(facts());
    if let Some(enrolled) = &mut inside.enrolled {
        (enrolled.name, enrolled.role) = ("kafka-0".into(), "agent".into());
    }
    inside.joined = true;
    inside.node = Some(bowline_ports::NodeObject {
        name: "kafka-0".into(),
        uid: "u".into(),
        labels: BTreeMap::new(),
        managers: BTreeMap::new(),
        ready: Ready::True,
        ready_message: String::new(),
        internal_ips: Vec::new(),
        taints: Vec::new(),
        own_taints: None,
        kubelet_version: "v1.34.1+k3s1".into(),
    });
    let asks = plan(&agent, &inside, &Conditions::from_pairs(pairs));
    let Action::AskForNode { labels, settled, .. } = &asks.steps[0].action else { panic!("{:?}", asks.steps) };
    assert_eq!((labels, *settled), (&known, false));
    assert_eq!(asks.waits[0].item, "join/node-role.kubernetes.io/gpu");
    assert_eq!(asks.waits[0].what, "the fact {gpu}");
    assert_eq!(asks.refusals[0].item, "join/node-role.kubernetes.io/at");
    assert!(asks.refusals[0].why.starts_with("“fd00::7” is no value"), "{}", asks.refusals[0].why);
}
