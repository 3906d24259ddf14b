//! The options that all servers of a cluster have alike.

use super::*;

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

/// All servers get the new value one after the other, and what it was told when it joined is of before.
#[test]
fn a_member_whose_settings_change_goes_on_with_them() {
    let changed = spec("[cluster.config]\ndisable = [\"traefik\"]\n");
    let member = plan(&changed, &Facts { joined: true, ..let_in(facts()) }, &now());
    assert!(member.refusals.is_empty() && member.conditions.contains_key("enrolled"), "{member:?}");
    let [note] = &member.notes[..] else { panic!("{:?}", member.notes) };
    assert_eq!(note.item, "join/disable");
    assert!(note.text.starts_with("disable = traefik here, and the servers had disable = not set"), "{note:?}");
    let joins = plan(&changed, &let_in(facts()), &now());
    assert!(joins.refusals.iter().any(|refusal| refusal.item == "join/disable"), "{joins:?}");
}

/// K3s would end for ever, whatever the settings say of it.
#[test]
fn a_cluster_with_networks_of_both_kinds_is_refused() {
    let other = spec("[cluster.config]\ncluster-cidr = \"10.99.0.0/16\"\n");
    let mut facts = let_in(facts());
    facts.enrolled.as_mut().unwrap().agreed.cluster_cidr = "10.52.0.0/16,fd00:42::/56".into();
    let mut agent = spec("");
    agent.role = Role::Agent;
    for spec in [&spec(""), &other, &agent] {
        facts.enrolled.as_mut().unwrap().role = spec.role.as_str().into();
        let refused = plan(spec, &facts, &now());
        assert!(!refused.conditions.contains_key("enrolled"), "K3s is not started");
        let [refusal] = &refused.refusals[..] else { panic!("{:?}", refused.refusals) };
        assert!(refusal.why.contains("10.52.0.0/16,fd00:42::/56, and a node has one address here"), "{refusal:?}");
    }
}
