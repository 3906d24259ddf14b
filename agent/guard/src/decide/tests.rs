//! Plans from facts: each test is one situation.

use super::*;
use bowline_ports::{Address, Unit};

fn server(listen: &[&str]) -> Guard {
    let listen = listen.iter().map(|text| {
        let text = format!(
            "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                            key-file = \"/key\"\n[enroll]\nlisten = [\"{text}\"]\n"
        );
        let file = bowline_settings::SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 };
        bowline_settings::load(&[file]).unwrap().settings.enroll.unwrap().listen.remove(0)
    });
    Guard { listen: listen.collect(), servers: Vec::new(), pods: Some(["10.42.0.0/16".into(), "fd00:42::/56".into()]) }
}

fn agent() -> Guard {
    Guard { listen: Vec::new(), servers: vec!["10.0.1.10".parse().unwrap()], pods: None }
}

fn facts() -> Facts {
    let address =
        |interface: &str, address: &str| Address { interface: interface.into(), address: address.parse().unwrap() };
    let mut unit = Unit::not_found();
    (unit.load, unit.file_state) = ("loaded".into(), "enabled".into());
    Facts {
        order: None,
        closed: None,
        unit,
        last_lines: Vec::new(),
        addresses: vec![
            address("lo", "127.0.0.1"),
            address("eth1", "10.0.1.10"),
            address("wg0", "fd00:9::1"),
            address("cni0", "10.42.0.1"),
        ],
        default_route: Some("eth0".into()),
    }
}

const NODE: [(&str, &str); 2] = [("address", "10.0.1.10"), ("interface", "eth1")];

fn node() -> Conditions {
    Conditions::from_pairs(NODE)
}

fn told() -> Conditions {
    Conditions::from_pairs([NODE[0], NODE[1], ("cluster-cidr", "10.52.0.1/16,fd00:52::/56")])
}

fn order(spec: &Guard, now: &Conditions) -> GuardOrder {
    wanted(spec, &facts(), now).unwrap()
}

fn steps(plan: &Plan<Action>) -> Vec<String> {
    plan.steps.iter().map(|step| step.action.to_string()).collect()
}

#[test]
fn machines_come_by_the_interfaces_of_the_nodes_address_the_default_route_and_where_it_listens() {
    let closed = order(&server(&["{address}:7470"]), &node());
    assert_eq!(closed.machines, ["eth0", "eth1"]);
    assert_eq!((closed.here, closed.elsewhere), (vec![7470], vec![7470]));
    assert_eq!(closed.pods, [("10.42.0.0".parse().unwrap(), 16)]);
    let everywhere = order(&server(&["{address}:7470", "[fd00:9::1]:7471", "127.0.0.1:7472", "0.0.0.0:7473"]), &node());
    assert_eq!(everywhere.machines, ["eth0", "eth1", "wg0"]);
    assert_eq!(everywhere.here, [7470, 7471, 7472, 7473]);
}

#[test]
fn an_agent_has_nothing_of_its_own_to_close_and_knows_the_pods_by_the_servers() {
    assert_eq!(wanted(&agent(), &facts(), &node()), None, "it was not let in yet");
    let closed = order(&agent(), &told());
    assert_eq!((closed.here.len(), closed.elsewhere), (0, vec![7470]));
    let pods = [("10.52.0.0".parse().unwrap(), 16), ("fd00:52::".parse().unwrap(), 56)];
    assert_eq!(closed.pods, pods);
}

#[test]
fn a_server_that_joins_waits_for_what_it_is_told_unless_it_founds() {
    let joins = Guard { servers: agent().servers, ..server(&["{address}:7471"]) };
    assert_eq!(wanted(&joins, &facts(), &node()), None);
    assert_eq!(order(&joins, &told()).elsewhere, [7470, 7471]);
    let founds = Conditions::from_pairs([NODE[0], NODE[1], ("k3s-founds", "yes")]);
    assert_eq!(order(&joins, &founds).pods, [("10.42.0.0".parse().unwrap(), 16)]);
}

#[test]
fn it_is_written_down_then_closed_and_then_there_is_nothing_left_to_do() {
    let (spec, mut facts) = (server(&["{address}:7470"]), facts());
    let first = plan(&spec, &facts, &node());
    let wanted = ["write /var/lib/bowline/guard.json (TCP 7470 for all but eth0, eth1)", "close TCP 7470 to pods"];
    assert_eq!(steps(&first), wanted);
    assert!(first.conditions.is_empty());
    let text = order(&spec, &node()).text();
    // Killed in between.
    facts.order = Some(text.clone());
    assert_eq!(steps(&plan(&spec, &facts, &node())), wanted[1..]);
    facts.closed = Some(text);
    let last = plan(&spec, &facts, &node());
    assert!(last.steps.is_empty() && last.waits.is_empty() && last.notes.is_empty(), "{last:?}");
    assert_eq!(last.conditions["guard"], "closed");
    // Another interface by now; and somebody disabled it.
    facts.default_route = Some("eth7".into());
    facts.unit.file_state = "disabled".into();
    let changed = plan(&spec, &facts, &node());
    assert_eq!(changed.steps.len(), 3);
    assert!(matches!(changed.steps[1].action, Action::Enable));
    assert_eq!(changed.steps[2].why, "something else is closed now");
}

#[test]
fn one_that_does_not_come_up_is_waited_for_with_its_words() {
    let (spec, mut facts) = (server(&["{address}:7470"]), facts());
    facts.order = Some(order(&spec, &node()).text());
    facts.last_lines = vec!["closing ports to pods by nftables: EPERM".into()];
    facts.unit.active = ActiveState::Activating;
    let plan = plan(&spec, &facts, &node());
    assert!(plan.steps.is_empty() && !plan.conditions.contains_key("guard"));
    assert!(plan.waits[0].why.ends_with("it said: closing ports to pods by nftables: EPERM"), "{:?}", plan.waits);
}

#[test]
fn a_kernel_that_can_not_is_told_and_does_not_keep_kubernetes_down() {
    let (spec, mut facts) = (server(&["{address}:7470"]), facts());
    facts.order = Some(order(&spec, &node()).text());
    (facts.unit.active, facts.unit.exit_status) = (ActiveState::Failed, 69);
    let told = plan(&spec, &facts, &node());
    assert!(told.steps.is_empty());
    assert_eq!(told.conditions["guard"], "open");
    assert!(told.notes[0].text.starts_with("TCP 7470 is open to pods"), "{:?}", told.notes);
    // Killed by something else, it is started again.
    facts.unit.exit_status = 9;
    assert_eq!(steps(&plan(&spec, &facts, &node())), ["close TCP 7470 to pods"]);
}

#[test]
fn a_unit_that_is_masked_or_missing_is_refused_with_what_to_do() {
    let (spec, mut facts) = (server(&["{address}:7470"]), facts());
    for (load, hint) in
        [("masked", "systemctl unmask"), ("not-found", "--reinstall"), ("bad-setting", "systemctl status")]
    {
        facts.unit.load = load.into();
        let plan = plan(&spec, &facts, &node());
        assert!(plan.steps.is_empty() && plan.refusals[0].hint.contains(hint), "{plan:?}");
    }
}

#[test]
fn on_ipv6_the_pods_have_another_network() {
    let now = Conditions::from_pairs([("address", "fd00:9::1"), ("interface", "wg0")]);
    let pods = |now: &Conditions| order(&server(&["{address}:7470"]), now).pods;
    assert_eq!(pods(&now), [("fd00:42::".parse().unwrap(), 56)]);
    assert_eq!(pods(&node()), [("10.42.0.0".parse().unwrap(), 16)]);
}

#[test]
fn a_network_plugin_that_may_pass_by_the_rules_is_told() {
    let (spec, mut facts) = (server(&["{address}:7470"]), facts());
    facts.addresses.push(Address { interface: "cilium_host".into(), address: "10.42.0.7".parse().unwrap() });
    assert!(plan(&spec, &facts, &node()).notes.is_empty(), "nothing is closed yet");
    let text = order(&spec, &node()).text();
    (facts.order, facts.closed) = (Some(text.clone()), Some(text));
    let told = plan(&spec, &facts, &node());
    assert_eq!(told.conditions["guard"], "closed");
    assert!(told.notes[0].text.starts_with("Cilium may carry what pods send past the rules"), "{:?}", told.notes);
}
