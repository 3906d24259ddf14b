//! Plans from facts: each test is one situation.

use super::*;
use crate::config::{OwnNode, config_text};
use bowline_engine::{Risk, Step};
use bowline_ports::records::Restart;
use bowline_ports::{Arch, NodeObject, Unit};
use std::collections::BTreeMap;

mod binary;
mod etcd;
mod names;
mod remedies;
mod restarts;

fn spec(toml: &str) -> Cluster {
    let file = bowline_settings::SourceFile {
        path: "/etc/bowline/config.d/10.toml".into(),
        text: format!("[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n{toml}"),
        mode: 0o600,
        uid: 0,
    };
    let settings = bowline_settings::load(&[file]).unwrap().settings;
    Cluster {
        spec: settings.cluster.unwrap(),
        name: None,
        external: false,
        volumes: vec!["data".into()],
        guarded: false,
        token: None,
    }
}

fn fresh() -> Facts {
    Facts {
        arch: Arch::Amd64,
        installed: None,
        broken: None,
        ran: false,
        installed_sha256: None,
        staged: Vec::new(),
        job: None,
        missing_links: vec!["/usr/local/bin/kubectl".into()],
        unit: Unit::not_found(),
        unit_file: None,
        other_role: None,
        named: None,
        config: None,
        restart: None,
        restarted: false,
        last_lines: Vec::new(),
        listener: None,
        node: None,
        node_seen: Some("u".into()),
        name_recorded: true,
        etcd: false,
        removed: false,
        api_error: None,
    }
}

fn all() -> Conditions {
    all_with(&[])
}

fn all_with<'a>(more: &[(&'a str, &'a str)]) -> Conditions {
    let all = [
        ("name", "n1"),
        ("address", "10.0.1.10"),
        ("interface", "eth1"),
        ("default-route", "ok"),
        ("clock", "ok"),
        ("volume/data", "ready"),
        ("gate/data", "set"),
    ];
    Conditions::from_pairs(all.into_iter().chain(more.iter().copied()))
}

fn own(external: Option<&str>) -> OwnNode<'_> {
    OwnNode { name: "n1", address: "10.0.1.10", interface: "eth1", external }
}

fn config() -> String {
    config_text(&spec("").spec, &own(None), None, BTreeMap::new())
}

fn up() -> Facts {
    let mut unit = Unit::not_found();
    (unit.load, unit.sub, unit.file_state) = ("loaded".into(), "running".into(), "enabled".into());
    (unit.active, unit.started) = (ActiveState::Active, true);
    let node = NodeObject {
        name: "n1".into(),
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
    };
    Facts {
        installed: Some("v1.34.1+k3s1".into()),
        ran: true,
        missing_links: Vec::new(),
        unit,
        unit_file: Some(unit_text(Role::Server)),
        config: Some(config()),
        node: Some(node),
        ..fresh()
    }
}

fn said(plan: &Plan<Action>) -> Vec<String> {
    plan.steps.iter().map(|s| s.action.to_string()).collect()
}

#[test]
fn a_blank_machine_gets_everything_in_order() {
    let plan = plan(&spec(""), &fresh(), &all());
    assert_eq!(
        said(&plan),
        [
            "download https://github.com/k3s-io/k3s/releases/download/v1.34.1%2Bk3s1/k3s",
            "install /usr/local/bin/k3s (v1.34.1+k3s1)",
            "link /usr/local/bin/kubectl to k3s",
            "write /etc/systemd/system/k3s.service",
            "write /etc/rancher/k3s/config.yaml.d/50-bowline.yaml (advertise-address, flannel-iface, node-ip, node-name)",
            "enable k3s.service for every boot",
            "start K3s",
        ]
    );
    // The rest goes on beside the download; only the start needs both.
    assert_eq!(plan.steps.last().unwrap().after.as_deref(), Some("k3s/binary"));
    assert!(plan.steps[2..].iter().all(|s| s.item == "k3s"));
}

#[test]
fn the_download_does_not_wait_for_the_volume_and_the_start_does() {
    let now = Conditions::from_pairs([
        ("name", "n1"),
        ("address", "10.0.1.10"),
        ("interface", "e"),
        ("default-route", "ok"),
        ("clock", "ok"),
    ]);
    let plan = plan(&spec(""), &fresh(), &now);
    assert!(said(&plan)[0].starts_with("download"));
    assert!(!said(&plan).contains(&"start K3s".to_string()));
    assert_eq!(plan.waits[0].what, "volume data");
}

#[test]
fn a_running_k3s_as_configured_is_left_alone() {
    let plan = plan(&spec(""), &up(), &all());
    assert!(plan.steps.is_empty() && plan.waits.is_empty() && plan.refusals.is_empty(), "{plan:?}");
    assert_eq!(plan.conditions["node"], "ready");
}

#[test]
fn another_version_than_the_one_bowline_installed_does_nothing_yet() {
    let mut facts = up();
    facts.installed = Some("v1.33.5+k3s1".into());
    let plan = plan(&spec(""), &facts, &all());
    assert!(plan.steps.is_empty() && plan.refusals.is_empty());
    assert!(plan.notes[0].text.contains("upgrading comes with a later version"), "{:?}", plan.notes);
}

#[test]
fn a_k3s_of_somebody_else_is_adopted_when_it_fits_and_refused_when_not() {
    let mut facts = up();
    facts.unit_file = Some("[Service]\nExecStart=/usr/local/bin/k3s \\\n    server \\\n".into());
    facts.config = None;
    let fits = plan(&spec(""), &facts, &all());
    assert!(fits.steps.is_empty() && fits.refusals.is_empty());
    assert!(fits.notes[0].text.contains("adopted without a restart"), "{:?}", fits.notes);
    facts.installed = Some("v1.30.0+k3s1".into());
    assert!(plan(&spec(""), &facts, &all()).refusals[0].why.contains("v1.30.0+k3s1 is installed"));
    facts.installed = Some("v1.34.1+k3s1".into());
    facts.unit_file = Some("[Service]\nExecStart=/usr/local/bin/k3s agent\n".into());
    assert!(plan(&spec(""), &facts, &all()).refusals[0].why.contains("does not run it as a server"));
}

#[test]
fn a_crash_loop_is_told_with_its_own_last_words() {
    let mut facts = up();
    (facts.unit.active, facts.unit.sub, facts.unit.restarts, facts.unit.exit_status) =
        (ActiveState::Activating, "auto-restart".into(), 4, 1);
    facts.node = None;
    facts.last_lines = vec!["starting".into(), "time=\"…\" level=fatal msg=\"invalid cluster-cidr \\\"x\\\"\"".into()];
    let plan = plan(&spec(""), &facts, &all());
    let why = "it ended with status 1 and was restarted 4 times; it said: invalid cluster-cidr \"x\"";
    assert_eq!(plan.waits[0].why, why);
    assert!(plan.waits[0].overdue.contains("journalctl -u k3s.service"), "{}", plan.waits[0].overdue);
}

#[test]
fn a_k3s_on_its_way_down_is_no_fault() {
    let mut facts = up();
    facts.unit.active = ActiveState::Deactivating;
    facts.node = None;
    let plan = plan(&spec(""), &facts, &all());
    assert!(plan.steps.is_empty());
    assert_eq!(plan.waits[0].what, "K3s to have stopped");
    assert!(plan.waits[0].deadline.is_some_and(|d| d > Duration::from_secs(90)));
}

#[test]
fn a_k3s_whose_gate_held_it_back_is_started_when_that_opens() {
    let mut facts = up();
    (facts.unit.active, facts.unit.result) = (ActiveState::Inactive, "assert".into());
    facts.node = None;
    for state in [ActiveState::Inactive, ActiveState::Failed] {
        facts.unit.active = state;
        let plan = plan(&spec(""), &facts, &all());
        assert!(plan.waits.is_empty() && said(&plan) == ["start K3s"], "{plan:?}");
        assert!(plan.steps[0].why.contains("its gate held it back"));
    }
}

#[test]
fn a_k3s_that_went_down_with_its_volume_is_started_again_when_that_is_back() {
    let mut facts = up();
    (facts.unit.active, facts.unit.began, facts.unit.ended) = (ActiveState::Inactive, 100, 250_000);
    facts.node = None;
    let absent = |absence: &str| all_with(&[("absence/data", absence)]);
    let again = plan(&spec(""), &facts, &absent("266000-900000-800000"));
    assert_eq!(said(&again), ["start K3s"]);
    assert_eq!(again.steps[0].why, "systemd stopped it when volume data went away, which is back");
    // Stopped by somebody: long before the disk went, after it was back, or in an earlier life of K3s.
    facts.unit.left = 200_000;
    for other in ["9000000-9900000-9800000", "200000-240000-230000", "50-80-70", "266000-900000-100000"] {
        assert!(said(&plan(&spec(""), &facts, &absent(other))).is_empty(), "{other}");
    }
}

#[test]
fn the_port_that_must_be_free_is_the_one_of_the_options() {
    let spec = spec("[cluster.config]\nhttps-listen-port = 7443\n");
    assert_eq!(api_port(&spec.spec), 7443);
    let mut facts = up();
    (facts.unit.active, facts.unit.started, facts.node) = (ActiveState::Inactive, false, None);
    facts.listener = Some(bowline_ports::Listener { port: 7443, process: Some("nginx".into()) });
    let plan = plan(&spec, &facts, &all());
    assert_eq!(plan.refusals[0].why, "port 7443 is in use by nginx");
    assert!(plan.refusals[0].hint.contains("sport = :7443"));
}

#[test]
fn a_pinned_sum_is_demanded_of_an_installed_binary_too() {
    let pin = format!("sha256 = {{ amd64 = \"{}\" }}\n", "a".repeat(64));
    let mut facts = up();
    facts.installed_sha256 = Some("b".repeat(64));
    assert!(plan(&spec(&pin), &facts, &all()).refusals[0].why.contains("another SHA-256"));
}

#[test]
fn the_external_address_goes_into_the_certificate_and_is_never_advertised() {
    let with = spec("[cluster.config]\ntls-san = [\"k.example\"]\n");
    let text = config_text(&with.spec, &own(Some("203.0.113.7")), None, BTreeMap::new());
    assert!(text.contains("\"advertise-address\": \"10.0.1.10\"\n"), "{text}");
    assert!(text.contains("\"node-external-ip\": \"203.0.113.7\"\n"), "{text}");
    assert!(text.contains("\"tls-san\": [\"k.example\",\"203.0.113.7\"]\n"), "{text}");
}

#[test]
fn a_node_that_was_deleted_is_explained_and_k3s_restarted_for_it_once() {
    let lost = Facts { node: None, ..up() };
    let told = plan(&spec(""), &lost, &all());
    assert_eq!(
        (told.waits[0].what.as_str(), told.conditions["node-lost"].as_str()),
        ("the Node to be there again", "yes")
    );
    assert!(told.steps.is_empty() && !told.conditions.contains_key("node"), "{told:?}");
    let later = all().after(ITEM, "the Node to be there again", Duration::from_secs(15));
    let restarts = |facts: &Facts, spec: &Cluster, now: &Conditions| {
        let steps = plan(spec, facts, now).steps;
        steps.into_iter().any(|step| step.action == Action::Restart(Restart::of("its Node was deleted")))
    };
    assert!(restarts(&lost, &spec(""), &later));
    // Never seen since K3s was started: it is still to register, or cannot.
    assert!(!restarts(&Facts { node_seen: None, ..lost.clone() }, &spec(""), &later));
    // The API does not say that there is none.
    assert!(!restarts(&Facts { api_error: Some("connection refused".into()), ..lost.clone() }, &spec(""), &later));
    let unnamed = plan(&spec(""), &Facts { name_recorded: false, ..up() }, &all());
    assert_eq!(unnamed.steps.len(), 1, "its name goes on record where that is missing or of another machine");
    assert_eq!(unnamed.steps[0].action, Action::SeeNode { uid: "u".into() });
    let seen = plan(&spec(""), &Facts { node_seen: None, ..up() }, &all());
    assert_eq!(seen.steps[0].action, Action::SeeNode { uid: "u".into() });
}

#[test]
fn an_agent_is_restarted_only_when_its_name_is_still_its_own() {
    let mut joined = spec("");
    joined.spec.role = Role::Agent;
    joined.token = Some("/etc/rancher/k3s/bowline-token".into());
    let lost = Facts { node: None, ..up() };
    let wait = "the Node to be there again";
    let now = || Conditions::from_pairs([("name", "n1"), ("address", "10.0.1.10"), ("enrolled", "c")]);
    let asks = plan(&joined, &lost, &now().after(ITEM, wait, Duration::from_secs(60)));
    assert!(asks.waits.iter().any(|wait| wait.why.contains("asked first")), "{asks:?}");
    assert!(!asks.steps.iter().any(|step| matches!(step.action, Action::Restart(_))));
    let held = Conditions::from_pairs([("name", "n1"), ("address", "10.0.1.10"), ("enrolled", "c"), ("claim", "held")]);
    let mends = plan(&joined, &lost, &held.after(ITEM, wait, Duration::from_secs(60)));
    assert!(mends.steps.iter().any(|step| matches!(step.action, Action::Restart(_))), "{mends:?}");
    // A further server answers for itself.
    joined.spec.role = Role::Server;
    let server = plan(&joined, &lost, &now().after(ITEM, wait, Duration::from_secs(60)));
    assert!(server.steps.iter().any(|step| matches!(step.action, Action::Restart(_))), "{server:?}");
}

#[test]
fn a_server_that_was_taken_out_of_etcd_says_so() {
    let out = Facts { node: None, removed: true, api_error: Some("connection refused".into()), ..up() };
    let alone = plan(&spec(""), &out, &all());
    assert!(alone.refusals[0].why.contains("taken out of etcd"), "{alone:?}");
    let mut joined = spec("");
    joined.token = Some("/etc/rancher/k3s/bowline-token".into());
    assert_eq!(plan(&joined, &out, &all()).waits[0].what, "the other servers to let it join anew");
}

#[test]
fn an_agent_whose_api_no_longer_answers_has_the_servers_asked_what_became_of_its_cluster() {
    let mut joined = spec("");
    joined.spec.role = Role::Agent;
    joined.token = Some("/etc/rancher/k3s/bowline-token".into());
    let silent = Facts { node: None, api_error: Some("invalid peer certificate: UnknownIssuer".into()), ..up() };
    assert!(!plan(&joined, &silent, &all()).conditions.contains_key("api-silent"), "it may be a moment");
    let later = all().after(ITEM, READY, Duration::from_secs(15));
    assert_eq!(plan(&joined, &silent, &later).conditions["api-silent"], "yes");
    assert!(!plan(&spec(""), &silent, &later).conditions.contains_key("api-silent"), "it is its own cluster");
}

/// It founds though there are others, who may answer yet: what a boot would start comes no sooner than K3s itself.
#[test]
fn who_founds_beside_others_is_enabled_when_it_is_up() {
    let founds = Cluster {
        token: Some("/etc/rancher/k3s/bowline-token".into()),
        ..spec("servers = [\"10.0.1.11\"]\ninit = true\nkey-file = \"/k\"\n")
    };
    let now = all_with(&[("k3s-founds", "yes")]);
    let enables = |plan: &Plan<Action>| plan.steps.iter().any(|step| matches!(step.action, Action::Enable { .. }));
    let begins = plan(&founds, &fresh(), &now);
    let held = |step: &&Step<Action>| matches!(step.action, Action::Configure { .. } | Action::Start);
    let held: Vec<_> = begins.steps.iter().filter(held).map(|step| step.after.as_deref()).collect();
    assert_eq!(held, [Some(BINARY_ITEM); 2], "{begins:?}");
    assert!(!enables(&begins));
    let mut up = up();
    up.unit.file_state = "disabled".into();
    assert!(enables(&plan(&founds, &up, &now)));
    up.unit.active = ActiveState::Activating;
    assert!(!enables(&plan(&founds, &up, &now)));
}

#[test]
fn who_disables_and_stops_it_is_not_undone() {
    let mut down = Facts { node: None, ..up() };
    (down.unit.active, down.unit.result, down.unit.file_state) =
        (ActiveState::Inactive, "success".into(), "disabled".into());
    let stays = plan(&spec(""), &down, &all());
    assert!(stays.steps.is_empty() && stays.waits[0].what == BY_HAND, "{stays:?}");
    // It ran before this boot, if ever.
    down.unit.started = false;
    assert_eq!(said(&plan(&spec(""), &down, &all())), ["enable k3s.service for every boot", "start K3s"]);
}

/// `labels` takes the annotation of a cordon off that somebody has ended.
#[test]
fn a_node_that_is_cordoned_or_let_go_is_seen() {
    let seen = |cordoned, unschedulable| {
        let mut facts = up();
        facts.node.iter_mut().for_each(|node| (node.cordoned, node.unschedulable) = (cordoned, unschedulable));
        plan(&spec(""), &facts, &all()).conditions["node-seen"].clone()
    };
    assert_ne!(seen(true, true), seen(true, false));
    assert_ne!(seen(true, false), seen(false, false));
}
