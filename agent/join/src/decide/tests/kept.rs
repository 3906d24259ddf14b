//! A machine that got the data of a server, on a volume, and nothing else of it.

use super::*;

fn with_data() -> Facts {
    let before = let_in(facts()).enrolled;
    Facts { with_data: before, joined: true, ..facts() }
}

#[test]
fn a_member_that_was_let_in_by_nobody_goes_on_with_what_the_servers_agreed_on() {
    let plan = plan(&spec(""), &with_data(), &now());
    assert_eq!(plan.conditions["k3s-founds"], "yes");
    assert_eq!(plan.conditions["k3s-options"], "{\"cluster-cidr\":\"10.52.0.0/16\"}");
    assert_eq!(plan.conditions["cluster-cidr"], "10.52.0.0/16", "the guard closes ports to these pods");
    assert!(steps(&plan).is_empty() && plan.refusals.is_empty());
}

/// Bowline was purged and installed anew: K3s has its configuration, and the token in it, and is not restarted for another one.
#[test]
fn where_k3s_has_its_token_still_nothing_changes() {
    let before = plan(&spec(""), &Facts { joined: true, ..let_in(facts()) }, &now());
    let after = plan(&spec(""), &Facts { token: true, ..with_data() }, &now());
    assert_eq!(after.conditions, before.conditions);
    assert!(!after.conditions.contains_key("k3s-founds"));
}

#[test]
fn with_settings_that_say_something_else_it_is_not_started() {
    let plan = plan(&spec("[cluster.config]\ncluster-cidr = \"10.60.0.0/16\"\n"), &with_data(), &now());
    assert_eq!(plan.refusals.len(), 1, "{:?}", plan.refusals);
    assert!(plan.refusals[0].why.contains("10.52.0.0/16"), "{:?}", plan.refusals);
    assert!(!plan.conditions.contains_key("k3s-founds"), "K3s would compare nothing");
}

#[test]
fn without_the_data_nothing_comes_of_it() {
    let plan = plan(&spec(""), &Facts { joined: false, ..with_data() }, &now());
    assert_eq!(steps(&plan), ["enroll"]);
    assert!(!plan.conditions.contains_key("k3s-options"));
}
