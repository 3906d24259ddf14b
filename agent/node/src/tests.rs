//! Plans from facts, as tables.

use super::*;
use bowline_ports::ErrorKind;
use bowline_settings::ExternalAddress;

mod address;

pub(crate) fn facts() -> Facts {
    let address =
        |interface: &str, address: &str| Address { interface: interface.into(), address: address.parse().unwrap() };
    Facts {
        seen: None,
        naming: None,
        host_name: "K3s-Control".into(),
        addresses: vec![
            address("lo", "127.0.0.1"),
            address("eth0", "203.0.113.7"),
            address("eth1", "10.0.1.10"),
            address("cni0", "10.0.1.77"),
        ],
        default_route: Some("eth0".into()),
        default_source: "203.0.113.7".parse().ok(),
        configured: None,
        clock: Clock { unix: 2_000_000_000, synchronised: true, uptime: 5, awake: 5 },
        machine: Some("uuid-1".into()),
        boot: "boot-1".into(),
        cloud: None,
        kept: None,
        asked: None,
        interfaces: BTreeMap::new(),
        gpu: None,
    }
}

pub(crate) fn node(address: Option<&str>) -> Node {
    Node {
        spec: Spec { address: address.map(|a| a.parse().unwrap()), ..Spec::default() },
        kubernetes: true,
        built: 1_900_000_000,
    }
}

/// Of this machine.
fn kept(facts: CloudFacts) -> Kept {
    Kept { machine: Some("uuid-1".into()), boot: None, facts }
}

fn hetzner() -> CloudFacts {
    CloudFacts {
        cloud: "hetzner".into(),
        instance_id: "42".into(),
        zone: Some("fsn1-dc14".into()),
        region: Some("fsn1".into()),
        ..CloudFacts::default()
    }
}

fn said(facts: CloudFacts, networks: &[(&str, Option<&str>, Option<&str>)]) -> Option<Asked> {
    let network = |(address, name, mac): &(&str, Option<&str>, Option<&str>)| Network {
        address: address.parse().unwrap(),
        name: name.map(Into::into),
        mac: mac.map(Into::into),
    };
    let said = Said { facts, networks: networks.iter().map(network).collect() };
    Some(Asked { cloud: "hetzner", said: Ok(Some(said)) })
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
fn a_clock_before_the_program_was_built_holds_k3s_back_for_good() {
    let mut facts = facts();
    facts.clock = Clock { unix: 1_900_000_000 - 366 * 86_400, synchronised: true, uptime: 100_000, awake: 100_000 };
    let plan = plan(&node(None), &facts);
    assert!(!plan.conditions.contains_key("clock"));
    assert!(plan.waits[0].why.contains("at least 366 d behind"), "{}", plan.waits[0].why);
    assert!(plan.waits[0].overdue.contains("set the clock"), "{}", plan.waits[0].overdue);
}

#[test]
fn an_unsynchronised_clock_is_waited_for_and_then_noted() {
    let mut facts = facts();
    facts.clock.synchronised = false;
    assert_eq!(plan(&node(None), &facts).waits[0].what, "a synchronised clock");
    facts.clock.uptime = PATIENCE_WITH_CLOCK.as_secs();
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
    facts.kept = Some(kept(facts.cloud.take().unwrap()));
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
    facts.kept = Some(kept(hetzner()));
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
    assert!(first.waits[0].why.contains(INSTANCE_DATA) && first.waits[0].poll == Some(Duration::from_secs(2)));
    assert!(first.waits[0].overdue.contains("[node] labels") && first.waits[0].deadline.is_some());
    // A cloud that does not say it will not say it in two seconds either.
    facts.cloud = Some(CloudFacts { cloud: "nocloud".into(), ..CloudFacts::default() });
    let later = plan(&node, &facts);
    assert_eq!(later.waits[0].why, "what cloud-init says of this machine (nocloud) does not have it");
    assert_eq!(later.waits[0].poll, Some(Duration::from_secs(60)));
}

#[test]
fn what_cloud_init_forgets_is_remembered_and_the_memory_stays() {
    let mut facts = facts();
    let known =
        CloudFacts { cloud: "aws".into(), instance_id: "i-1".into(), zone: Some("a".into()), ..CloudFacts::default() };
    facts.cloud = Some(CloudFacts { zone: None, ..known.clone() });
    facts.kept = Some(kept(known));
    let plan = plan(&labelled(&[("z", "{zone}")]), &facts);
    assert_eq!(plan.conditions["fact/zone"], "a");
    assert!(plan.steps.is_empty());
}

#[test]
fn what_was_kept_of_another_machine_is_not_believed() {
    let zone = |facts: &Facts| facts.known().and_then(|known| known.zone);
    let mut facts = facts();
    facts.kept = Some(kept(hetzner()));
    assert_eq!(zone(&facts).as_deref(), Some("fsn1-dc14"));
    // A clone of the disk, or a disk from before the firmware was asked.
    for machine in [Some("uuid-2".to_string()), None] {
        facts.kept = Some(Kept { machine, boot: None, facts: hetzner() });
        assert_eq!(zone(&facts), None);
    }
    // The firmware is the same, and cloud-init or the metadata service says that the machine is another one.
    facts.kept = Some(kept(hetzner()));
    let other = CloudFacts { instance_id: "43".into(), zone: None, ..hetzner() };
    facts.asked = said(other.clone(), &[]);
    assert_eq!(zone(&facts), None);
    (facts.asked, facts.cloud) = (None, Some(other));
    assert_eq!(zone(&facts), None);
}

#[test]
fn cloud_init_goes_before_the_metadata_service_and_that_before_what_was_kept() {
    let mut facts = facts();
    facts.cloud = Some(CloudFacts { zone: None, region: None, ..hetzner() });
    let service = CloudFacts { region: None, public_ipv4: "203.0.113.9".parse().ok(), ..hetzner() };
    facts.asked = said(CloudFacts { cloud: "other".into(), ..service }, &[]);
    facts.kept = Some(kept(CloudFacts { zone: Some("old".into()), ..hetzner() }));
    let known = facts.known().unwrap();
    assert_eq!(known, CloudFacts { public_ipv4: "203.0.113.9".parse().ok(), ..hetzner() });
    let plan = plan(&node(None), &facts);
    assert_eq!(plan.steps[0].action, Action::Keep(kept(known)));
    let told = serde_json::to_string(&plan.steps[0].action).unwrap();
    assert!(!told.contains("uuid-1"), "a report is for everybody, the firmware's words are not: {told}");
}

#[test]
fn what_may_have_changed_is_as_the_metadata_service_tells_it_at_this_boot() {
    let with = |address: &str| CloudFacts { public_ipv4: address.parse().ok(), ..hetzner() };
    let public = |facts: &Facts| facts.known().unwrap().public_ipv4.map(|address| address.to_string());
    let mut node = node(None);
    node.spec.external_address = Some(ExternalAddress::PublicIpv4);
    let mut facts = facts();
    facts.kept = Some(kept(with("203.0.113.8")));
    // cloud-init goes on with what it was told at the first boot.
    facts.cloud = Some(with("203.0.113.8"));
    assert_eq!(public(&facts).as_deref(), Some("203.0.113.8"), "until it answers");
    facts.asked = said(with("203.0.113.9"), &[]);
    assert_eq!(public(&facts).as_deref(), Some("203.0.113.9"));
    let first = plan(&node, &facts);
    assert_eq!(first.conditions["external-address"], "203.0.113.9");
    let Action::Keep(told) = &first.steps[0].action;
    assert_eq!(told.boot.as_deref(), Some("boot-1"));
    (facts.kept, facts.asked) = (Some(told.clone()), None);
    assert_eq!(public(&facts).as_deref(), Some("203.0.113.9"), "it is not asked again");
    assert!(plan(&node, &facts).steps.is_empty());
    // Of the next boot nobody knows yet.
    facts.boot = "boot-2".into();
    assert!(public(&facts).as_deref() == Some("203.0.113.9") && plan(&node, &facts).steps.is_empty(), "{facts:?}");
    // It does not answer yet: it is asked again, and nothing waits for it.
    facts.asked = Some(Asked { cloud: "hetzner", said: Err(PortError::new(ErrorKind::Timeout, "no answer")) });
    let again = plan(&node, &facts);
    assert!(again.again == Some(Duration::from_secs(5)) && again.waits.is_empty(), "{again:?}");
    // It has none any more, and the machine has one itself.
    facts.asked = said(with(""), &[]);
    assert_eq!(public(&facts), None);
    assert_eq!(plan(&node, &facts).conditions["external-address"], "203.0.113.7");
}

#[test]
fn why_a_private_address_does_not_come_is_what_the_cloud_says() {
    let node = node(Some("10.0.7.0/24"));
    let mut facts = facts();
    let wait = |facts: &Facts| {
        let wait = plan(&node, facts).waits.remove(0);
        let why = wait.why.split("eth1 10.0.1.10, cni0 10.0.1.77").nth(1).unwrap().to_string();
        (why, wait.overdue)
    };
    assert_eq!(wait(&facts).0, "");
    facts.asked = said(hetzner(), &[]);
    assert_eq!(wait(&facts).0, "; the cloud says that this machine is in no private network (yet): attach it");
    facts.asked = said(hetzner(), &[("10.128.0.2", Some("backup"), None)]);
    let (why, overdue) = wait(&facts);
    assert_eq!(why, "; the cloud says that this machine has 10.128.0.2 in network backup, and none in 10.0.7.0/24");
    assert!(overdue.contains("attach the machine to that network"), "{overdue}");

    let mac = "86:00:00:98:40:6e";
    facts.asked = said(hetzner(), &[("10.0.7.20", Some("trading"), Some(mac))]);
    let has = "; the cloud says that this machine has 10.0.7.20 in network trading (mac 86:00:00:98:40:6e)";
    let (why, overdue) = wait(&facts);
    assert_eq!(why, format!("{has}, and no interface with that mac is there yet"));
    assert!(overdue.contains("attach it again"), "{overdue}");
    facts.interfaces.insert(mac.into(), "enp7s0".into());
    let (why, overdue) = wait(&facts);
    let configured = "DHCP has not answered yet, or it is not configured";
    assert_eq!(why, format!("{has}, which its interface enp7s0 does not have yet: {configured}"));
    assert!(overdue.starts_with("configure enp7s0"), "{overdue}");
    facts.asked = said(hetzner(), &[("10.0.7.20", None, None)]);
    assert!(wait(&facts).0.starts_with("; the cloud says that this machine has 10.0.7.20, which no interface has yet"));

    let error = PortError::new(ErrorKind::Timeout, "169.254.169.254: no answer within 2 s");
    facts.asked = Some(Asked { cloud: "hetzner", said: Err(error) });
    let why = "; whether the cloud gives it one is not known: 169.254.169.254: no answer within 2 s";
    assert_eq!(wait(&facts).0, why);
}

#[test]
fn a_fact_that_the_metadata_service_does_not_tell_says_why() {
    let mut node = labelled(&[("t", "{instance-type}")]);
    node.spec.external_address = Some(ExternalAddress::PublicIpv4);
    let mut facts = facts();
    facts.addresses.retain(|address| address.interface == "eth1");
    let refused = PortError::new(ErrorKind::Unreachable, "169.254.169.254: no connection: Connection refused");
    facts.asked = Some(Asked { cloud: "hetzner", said: Err(refused) });
    let whys = |facts: &Facts| plan(&node, facts).waits.into_iter().map(|wait| wait.why).collect::<Vec<_>>();
    let failed = "the metadata service of this cloud (hetzner) has not told it yet: 169.254.169.254: no connection: \
                  Connection refused";
    let waits = whys(&facts);
    assert!(waits.contains(&failed.to_string()), "{waits:?}");
    assert!(waits.contains(&format!("{failed}, and no interface has one")), "{waits:?}");
    assert!(plan(&node, &facts).waits.iter().all(|wait| wait.poll.is_some()));
    facts.asked = said(hetzner(), &[]);
    assert!(whys(&facts).contains(&"the metadata service of this cloud (hetzner) does not have it".to_string()));

    // Oracle's machines are not told their public address: what to do is said at once.
    let deadline = |facts: &Facts| {
        let waits = plan(&node, facts).waits;
        waits.into_iter().find(|wait| wait.item == "external-address").unwrap().deadline
    };
    assert_eq!(deadline(&facts), Some(Duration::from_secs(300)));
    facts.asked = Some(Asked { cloud: "oracle", said: Ok(None) });
    assert_eq!(deadline(&facts), Some(Duration::ZERO));
}

#[test]
fn without_kubernetes_nothing_is_waited_for_that_only_it_needs() {
    let mut node = node(Some("10.0.1.0/24"));
    node.kubernetes = false;
    let mut facts = facts();
    (facts.host_name, facts.default_route) = ("localhost".into(), None);
    facts.clock = Clock { unix: 0, synchronised: false, uptime: 1, awake: 1 };
    let plan = plan(&node, &facts);
    assert!(plan.waits.is_empty() && plan.refusals.is_empty(), "{plan:?}");
}

#[test]
fn a_renamed_host_goes_on_under_the_name_of_its_node_and_says_so() {
    let named = |seen: Option<&str>, settings: Option<&str>| {
        let mut node = node(Some("10.0.1.0/28"));
        node.spec.name = settings.map(String::from);
        let plan = node.plan(&Facts { seen: seen.map(String::from), ..facts() }, &Conditions::default());
        (plan.conditions["name"].clone(), plan.notes.iter().any(|note| note.text.contains("its Node stays n1")))
    };
    assert_eq!(named(None, None), ("k3s-control".into(), false));
    assert_eq!(named(Some("k3s-control"), None), ("k3s-control".into(), false));
    assert_eq!(named(Some("n1"), None), ("n1".into(), true));
    assert_eq!(named(Some("n1"), Some("n2")), ("n2".into(), false), "the settings mean it");
}
