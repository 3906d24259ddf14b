//! Plans from facts, as tables.

use super::*;

fn facts() -> Facts {
    let address =
        |interface: &str, address: &str| Address { interface: interface.into(), address: address.parse().unwrap() };
    Facts {
        host_name: "K3s-Control".into(),
        addresses: vec![
            address("lo", "127.0.0.1"),
            address("eth0", "203.0.113.7"),
            address("eth1", "10.0.1.10"),
            address("cni0", "10.0.1.77"),
        ],
        default_route: Some("eth0".into()),
        clock: Clock { unix: 2_000_000_000, synchronised: true, uptime: 5 },
        cloud: None,
        cached: None,
        gpu: None,
    }
}

fn node(address: Option<&str>) -> Node {
    Node { spec: Spec { address: address.map(|a| a.parse().unwrap()), ..Spec::default() }, built: 1_900_000_000 }
}

fn plan(node: &Node, facts: &Facts) -> Plan<Action> {
    node.plan(facts, &Conditions::default())
}

#[test]
fn the_address_is_the_one_in_the_network_and_kubernetes_own_interfaces_do_not_count() {
    let plan = plan(&node(Some("10.0.1.0/24")), &facts());
    assert_eq!(plan.conditions["address"], "10.0.1.10");
    assert_eq!(plan.conditions["interface"], "eth1");
    assert_eq!(plan.conditions["name"], "k3s-control");
    assert!(plan.waits.is_empty() && plan.refusals.is_empty());
}

#[test]
fn without_a_network_the_default_route_decides() {
    assert_eq!(plan(&node(None), &facts()).conditions["address"], "203.0.113.7");
}

#[test]
fn a_machine_with_ipv6_only_is_told_how_to_name_its_network() {
    let mut facts = facts();
    facts.addresses.retain(|a| a.interface != "eth0");
    facts.addresses.push(Address { interface: "eth0".into(), address: "2001:db8::7".parse().unwrap() });
    let plan = plan(&node(None), &facts);
    assert_eq!(plan.waits[0].what, "an IPv4 address on the interface of the default route");
    assert!(plan.waits[0].why.contains("eth0 2001:db8::7"), "{}", plan.waits[0].why);
    assert!(plan.waits[0].overdue.contains("an IPv6 network too"), "{}", plan.waits[0].overdue);
    assert_eq!(super::tests::plan(&node(Some("2001:db8::/64")), &facts).conditions["address"], "2001:db8::7");
}

#[test]
fn an_address_that_is_not_there_is_waited_for_by_name_and_says_what_there_is() {
    let plan = plan(&node(Some("192.168.7.0/24")), &facts());
    assert_eq!(plan.waits[0].what, "an address in 192.168.7.0/24");
    assert!(plan.waits[0].why.contains("eth1 10.0.1.10"), "{}", plan.waits[0].why);
    assert!(plan.waits[0].deadline.is_some() && plan.waits[0].overdue.contains("`[node] address`"));
    assert!(!plan.conditions.contains_key("address"));
}

#[test]
fn several_addresses_are_refused_and_listed() {
    let plan = plan(&node(Some("0.0.0.0/0")), &facts());
    assert_eq!(plan.refusals[0].why, "several addresses are in 0.0.0.0/0: 203.0.113.7 on eth0, 10.0.1.10 on eth1");
}

#[test]
fn a_clock_before_the_program_was_built_holds_k3s_back_for_good() {
    let mut facts = facts();
    facts.clock = Clock { unix: 1_900_000_000 - 366 * 86_400, synchronised: true, uptime: 100_000 };
    let plan = plan(&node(None), &facts);
    assert!(!plan.conditions.contains_key("clock"));
    assert!(plan.waits[0].why.contains("at least 366 days behind"), "{}", plan.waits[0].why);
    assert!(plan.waits[0].overdue.contains("set the clock"), "{}", plan.waits[0].overdue);
}

#[test]
fn an_unsynchronised_clock_is_waited_for_and_then_noted() {
    let mut facts = facts();
    facts.clock.synchronised = false;
    assert_eq!(plan(&node(None), &facts).waits[0].what, "a synchronised clock");
    facts.clock.uptime = PATIENCE_WITH_CLOCK;
    let later = plan(&node(None), &facts);
    assert_eq!(later.conditions["clock"], "ok");
    assert_eq!(later.notes.len(), 1);
}

#[test]
fn the_public_address_comes_from_the_cloud_and_is_kept() {
    let data =
        br#"{"v1":{"cloud_name":"hetzner","instance_id":"42","region":"eu-central","availability_zone":"fsn1-dc14"},
        "ds":{"meta_data":{"public-ipv4":"203.0.113.9"}}}"#;
    let cloud = CloudFacts::from_cloud_init(data).unwrap();
    assert_eq!(cloud.zone.as_deref(), Some("fsn1-dc14"));
    let mut node = node(None);
    node.spec.external_address = Some(ExternalAddress::PublicIpv4);
    let mut facts = facts();
    // Where no cloud tells it, the machine's own is it, when there is one and no other.
    assert_eq!(plan(&node, &facts).conditions["external-address"], "203.0.113.7");
    let public = facts.addresses.iter().position(|address| address.interface == "eth0").unwrap();
    for private in ["10.0.0.3", "172.16.0.3", "192.168.1.3", "100.64.0.3"] {
        facts.addresses[public].address = private.parse().unwrap();
        assert_eq!(plan(&node, &facts).waits[0].what, "the cloud's {public-ipv4}", "{private}");
    }
    facts.cloud = Some(cloud.clone());
    let first = plan(&node, &facts);
    assert_eq!(first.conditions["external-address"], "203.0.113.9");
    assert_eq!(first.steps.len(), 1);
    facts.cached = facts.cloud.take();
    let later = plan(&node, &facts);
    assert_eq!(later.conditions["external-address"], "203.0.113.9");
    assert!(later.steps.is_empty());
}

#[test]
fn localhost_is_no_name() {
    let mut facts = facts();
    facts.host_name = "localhost".into();
    assert_eq!(plan(&node(None), &facts).refusals[0].item, "name");
}

fn labelled(labels: &[(&str, &str)]) -> Node {
    let mut node = node(None);
    node.spec.labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    node
}

#[test]
fn facts_that_labels_are_made_of_are_stated_and_others_are_not() {
    let mut facts = facts();
    facts.cached = Some(CloudFacts {
        cloud: "hetzner".into(),
        instance_id: "42".into(),
        zone: Some("fsn1-dc14".into()),
        region: Some("fsn1".into()),
        ..CloudFacts::default()
    });
    facts.gpu = Some("10de-20b5".into());
    let all = [("z", "{zone}"), ("i", "id-{instance-id}"), ("a", "{address}"), ("g", "{gpu}")];
    let plan = plan(&labelled(&all), &facts);
    let stated: Vec<_> = plan.conditions.iter().filter(|(key, _)| key.starts_with("fact/")).collect();
    let pairs: Vec<_> = stated.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(pairs, ["fact/address=203.0.113.7", "fact/gpu=10de-20b5", "fact/instance-id=42", "fact/zone=fsn1-dc14"]);
    assert!(plan.waits.is_empty() && plan.steps.is_empty());
}

#[test]
fn a_fact_that_the_machine_does_not_have_is_waited_for_by_name() {
    let node = labelled(&[("z", "{zone}"), ("g", "{gpu}")]);
    let mut facts = facts();
    let first = plan(&node, &facts);
    let whats: Vec<_> = first.waits.iter().map(|wait| wait.what.as_str()).collect();
    assert_eq!(whats, ["the fact {zone}", "the fact {gpu}"]);
    assert!(first.waits[0].why.contains(INSTANCE_DATA) && first.waits[0].poll.is_some());
    assert!(first.waits[0].overdue.contains("[node] labels") && first.waits[0].deadline.is_some());
    // A cloud that does not say it will not say it in two seconds either.
    facts.cloud = Some(CloudFacts { cloud: "nocloud".into(), ..CloudFacts::default() });
    let later = plan(&node, &facts);
    assert_eq!(later.waits[0].why, "what cloud-init says of this machine (nocloud) does not have it");
    assert!(later.waits[0].poll.is_none());
}

#[test]
fn what_cloud_init_forgets_is_remembered_and_the_memory_stays() {
    let mut facts = facts();
    let kept =
        CloudFacts { cloud: "aws".into(), instance_id: "i-1".into(), zone: Some("a".into()), ..CloudFacts::default() };
    facts.cloud = Some(CloudFacts { zone: None, ..kept.clone() });
    facts.cached = Some(kept);
    let plan = plan(&labelled(&[("z", "{zone}")]), &facts);
    assert_eq!(plan.conditions["fact/zone"], "a");
    assert!(plan.steps.is_empty());
}
