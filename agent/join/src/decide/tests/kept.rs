//! A machine that got the data of a server, on a volume, and nothing else of it.

use super::*;

fn with_data() -> Facts {
    let before = let_in(facts()).enrolled.map(Ok);
    Facts { with_data: before, joined: true, down: true, ..facts() }
}

fn other_network() -> Join {
    spec("[cluster.config]\ncluster-cidr = \"10.60.0.0/16\"\n")
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
/// The key is another one, too, so that it asks nobody for anything: its name would count as another machine's.
#[test]
fn where_k3s_has_its_token_still_nothing_changes_and_nobody_is_asked() {
    let before = plan(&spec(""), &Facts { joined: true, ..let_in(facts()) }, &now());
    for down in [true, false] {
        let after = plan(&spec(""), &Facts { token: true, down, ..with_data() }, &now());
        assert_eq!(after.conditions, before.conditions);
        assert!(!after.conditions.contains_key("k3s-founds"));
        assert!(steps(&after).is_empty(), "{:?}", steps(&after));
    }
}

/// The first server has joined the others, which had founded before it or were there when it was recreated.
#[test]
fn a_first_server_that_joined_goes_on_by_the_token_of_that_cluster() {
    let spec = spec("init = true\n");
    let theirs = Facts { token: true, token_ca: Some("c".repeat(64)), ..with_data() };
    let goes_on = plan(&spec, &theirs, &now());
    assert!(steps(&goes_on).is_empty() && !goes_on.conditions.contains_key("k3s-founds"), "{goes_on:?}");
    assert_eq!(goes_on.conditions["k3s-servers"], "https://10.0.1.10:6443");
    // It has founded another one since.
    let another = Facts { token_ca: Some("d".repeat(64)), ..theirs.clone() };
    for facts in [another, Facts { founding: true, ..theirs.clone() }, Facts { token_ca: None, ..theirs }] {
        assert_eq!(plan(&spec, &facts, &now()).conditions["k3s-founds"], "yes");
    }
}

#[test]
fn with_settings_that_say_something_else_it_is_not_started_and_one_that_was_goes_on() {
    let told = |facts: Facts| plan(&other_network(), &facts, &now());
    let held = told(with_data());
    assert_eq!(held.refusals.len(), 1, "{:?}", held.refusals);
    assert!(held.refusals[0].why.contains("10.52.0.0/16"), "{:?}", held.refusals);
    assert!(!held.conditions.contains_key("k3s-founds"), "K3s would compare nothing");
    for started in [Facts { down: false, ..with_data() }, Facts { enabled: true, ..with_data() }] {
        let goes_on = told(started);
        assert!(goes_on.refusals.len() == 1 && goes_on.conditions["k3s-founds"] == "yes");
    }
}

/// Its servers told nothing of an option that they do compare by now.
#[test]
fn what_an_earlier_build_did_not_tell_holds_nobody_back() {
    let mut facts = with_data();
    let Some(Ok(before)) = &mut facts.with_data else { panic!("{facts:?}") };
    before.agreed.options.remove("secrets-encryption-provider");
    let spec = spec("[cluster.config]\nsecrets-encryption-provider = \"secretbox\"\n");
    let goes_on = plan(&spec, &facts, &now());
    assert!(goes_on.refusals.is_empty() && goes_on.conditions["k3s-founds"] == "yes", "{goes_on:?}");
}

#[test]
fn what_can_not_be_read_is_not_taken_for_nothing() {
    let broken = Facts { with_data: Some(Err("EOF while parsing a value".into())), ..with_data() };
    let held = plan(&spec(""), &broken, &now());
    assert!(held.refusals[0].why.contains("EOF"), "{:?}", held.refusals);
    assert!(!held.conditions.contains_key("k3s-founds"));
}

#[test]
fn without_the_data_it_asks_and_if_it_founds_a_cluster_that_has_the_same_options() {
    let asks = plan(&spec(""), &Facts { joined: false, ..with_data() }, &now());
    assert_eq!(steps(&asks), ["enroll"]);
    assert!(!asks.conditions.contains_key("k3s-options"));
    let spec = spec("init = true\ninit-wait = \"60s\"\n");
    let founds = plan(&spec, &Facts { joined: false, last: silent(0), uptime: 99, token: true, ..with_data() }, &now());
    assert_eq!(founds.conditions["k3s-founds"], "yes");
    assert_eq!(founds.conditions["k3s-options"], "{\"cluster-cidr\":\"10.52.0.0/16\"}");
    // The token is that of its earlier cluster.
    let next = plan(&spec, &Facts { down: false, token: true, ..with_data() }, &now());
    assert_eq!(next.conditions, founds.conditions, "as at the next look");
}
