//! Which of several addresses is the node's.

use super::*;

#[test]
fn an_address_or_a_route_that_comes_later_does_not_change_it() {
    let mut facts = facts();
    let address = |facts: &Facts| plan(&node(None), facts).conditions.get("address").cloned();
    // A floating address, lower than its own.
    facts.addresses.insert(1, Address { interface: "eth0".into(), address: "10.0.0.5".parse().unwrap() });
    assert_eq!(address(&facts).as_deref(), Some("203.0.113.7"));
    facts.default_source = None;
    assert_eq!(address(&facts).as_deref(), Some("10.0.0.5"), "nobody says which one is its own");
    // A VPN takes the default route.
    facts.addresses.push(Address { interface: "wg0".into(), address: "10.8.0.2".parse().unwrap() });
    (facts.default_route, facts.default_source) = (Some("wg0".into()), "10.8.0.2".parse().ok());
    assert_eq!(address(&facts).as_deref(), Some("10.8.0.2"));
    facts.configured = "203.0.113.7".parse().ok();
    assert_eq!(address(&facts).as_deref(), Some("203.0.113.7"), "K3s has it");
    assert_eq!(plan(&node(None), &facts).conditions["interface"], "eth0");
    facts.addresses.retain(|a| a.interface != "eth0");
    assert_eq!(address(&facts).as_deref(), Some("10.8.0.2"), "the image of another machine");
    // Its interface may be late at a boot, and the next one's would stay for good.
    facts.seen = Some("web-3".into());
    let late = plan(&node(None), &facts);
    assert!(!late.conditions.contains_key("address") && late.waits[0].why.contains("wg0 10.8.0.2"), "{late:?}");
    let waited = Conditions::default().after("address", &late.waits[0].what, Duration::from_secs(300));
    assert_eq!(node(None).plan(&facts, &waited).conditions["address"], "10.8.0.2", "until it has long not come");
}

#[test]
fn several_addresses_are_refused_and_listed() {
    let plan = plan(&node(Some("0.0.0.0/0")), &facts());
    assert_eq!(plan.refusals[0].why, "several addresses are in 0.0.0.0/0: 203.0.113.7 on eth0, 10.0.1.10 on eth1");
}

#[test]
fn of_several_addresses_in_the_network_the_one_that_k3s_has_stays() {
    let mut facts = facts();
    // What kube-vip gives the server that leads.
    facts.addresses.push(Address { interface: "eth1".into(), address: "10.0.1.100".parse().unwrap() });
    assert_eq!(plan(&node(Some("10.0.1.0/24")), &facts).refusals.len(), 1, "K3s has not run");
    facts.configured = "10.0.1.10".parse().ok();
    let later = plan(&node(Some("10.0.1.0/24")), &facts);
    assert_eq!((later.conditions["address"].as_str(), later.refusals.len()), ("10.0.1.10", 0));
    let named = plan(&node(Some("10.0.1.100")), &facts);
    assert_eq!(named.conditions["address"], "10.0.1.100", "the settings name another one");
    facts.configured = "10.0.1.9".parse().ok();
    assert_eq!(plan(&node(Some("10.0.1.0/24")), &facts).refusals.len(), 1, "the image of another machine");
}

#[test]
fn a_floating_address_is_not_taken_while_the_one_that_k3s_has_is_away() {
    let mut facts = facts();
    let network = node(Some("10.0.1.0/24"));
    facts.configured = "10.0.1.9".parse().ok();
    assert_eq!(plan(&network, &facts).conditions["address"], "10.0.1.10", "the image of another machine");
    facts.seen = Some("web-3".into());
    let away = plan(&network, &facts);
    assert!(!away.conditions.contains_key("address") && away.waits[0].what.starts_with("10.0.1.9, "), "{away:?}");
    assert!(format!("{:?}", away.waits[0]).contains("10.0.1.10 is taken in its place"), "{away:?}");
    let waited = Conditions::default().after("address", &away.waits[0].what, Duration::from_secs(300));
    assert_eq!(network.plan(&facts, &waited).conditions["address"], "10.0.1.10", "until it has long not come");
    for other in ["10.0.1.10", "10.0.1.10/31"] {
        assert_eq!(
            plan(&node(Some(other)), &facts).conditions["address"],
            "10.0.1.10",
            "the settings name another: {other}"
        );
    }
}

#[test]
fn addresses_that_network_plugins_make_are_none_of_the_nodes() {
    let network = node(Some("10.0.0.0/8"));
    let beside = |interface: &str| {
        let mut facts = facts();
        facts.addresses.push(Address { interface: interface.into(), address: "10.42.0.1".parse().unwrap() });
        plan(&network, &facts).conditions.get("address").cloned()
    };
    for interface in ["vxlan.calico", "tunl0", "antrea-gw0", "weave", "ovn-k8s-mp0", "br-0a1b2c3d4e5f"] {
        assert_eq!(beside(interface).as_deref(), Some("10.0.1.10"), "{interface}");
    }
    for interface in ["br-ex", "br-lan", "wg0", "eth2"] {
        assert_eq!(beside(interface), None, "{interface} may be the node's own");
    }
}
