//! The name of the host, and that of the Node.

use super::*;

/// The facts are of the Node n1. A key that nobody asks for stands for none.
fn called(name: &str, let_in: &str) -> Conditions {
    Conditions::from_pairs([
        ("name", name),
        ("address", "10.0.1.10"),
        ("interface", "eth1"),
        ("default-route", "ok"),
        ("clock", "ok"),
        ("volume/data", "ready"),
        ("gate/data", "set"),
        (let_in, "c"),
    ])
}

#[test]
fn a_host_with_another_name_is_refused_and_k3s_goes_on() {
    let renamed = plan(&spec(""), &up(), &called("n2", "-"));
    assert!(renamed.steps.is_empty() && renamed.waits.is_empty(), "{renamed:?}");
    assert!(renamed.refusals[0].why.contains("the host is called n2 now, and its Node is n1"), "{renamed:?}");
    let hint = "set `name = \"n1\"` in [node] to keep it; or `name = \"n2\"` to have another Node in its place, and then \
                `kubectl delete node n1`";
    assert_eq!(renamed.refusals[0].hint, hint);
    assert_eq!(renamed.conditions["node"], "ready");
    // After a boot its gate opens late: it is started as it was.
    let mut down = Facts { node: None, ..up() };
    (down.unit.active, down.unit.started) = (ActiveState::Inactive, false);
    let starts = plan(&spec(""), &down, &called("n2", "-"));
    assert_eq!((said(&starts), starts.refusals.len()), (vec!["start K3s".to_string()], 1));
}

#[test]
fn a_k3s_of_somebody_else_may_have_been_told_another_name() {
    let unit = "[Service]\nExecStart=/usr/local/bin/k3s server --node-name other\n";
    let never = Facts { node: None, node_seen: None, config: None, unit_file: Some(unit.into()), ..up() };
    let overdue = |facts: &Facts| plan(&spec(""), facts, &all()).waits.remove(0).overdue;
    assert_eq!(plan(&spec(""), &never, &all()).waits[0].why, "no Node is called n1 yet");
    let advice = "compare with `kubectl get nodes`: if this machine's Node has another name, set `name` in [node] to that; \
                  else `journalctl -u k3s.service` has K3s's own words";
    assert_eq!(overdue(&never), advice);
    // A kubelet may not ask for the Node of another.
    assert_eq!(overdue(&Facts { api_error: Some("nodes \"n1\" is forbidden".into()), ..never.clone() }), advice);
    let ours = Facts { unit_file: up().unit_file, config: up().config, ..never };
    assert_eq!(overdue(&ours), "`journalctl -u k3s.service` has K3s's own words");
}

#[test]
fn a_new_name_is_used_where_it_is_meant_or_nothing_has_the_old_one() {
    let writes = |spec: &Cluster, facts: &Facts, now: &Conditions| {
        let plan = plan(spec, facts, now);
        plan.refusals.is_empty() && said(&plan).iter().any(|step| step.starts_with("write /etc/rancher/k3s/config"))
    };
    let named = Cluster { name: Some("n2".into()), ..spec("") };
    assert!(writes(&named, &up(), &called("n2", "-")));
    assert!(said(&plan(&named, &up(), &called("n2", "-"))).contains(&"restart K3s (changed: node-name)".to_string()));
    let mut fresh = Facts { node: None, node_seen: None, ..up() };
    (fresh.unit.active, fresh.unit.started) = (ActiveState::Inactive, false);
    assert!(writes(&spec(""), &fresh, &called("n2", "-")));
    // It left as n1, and was let in as n2.
    let joined = Cluster { token: Some("/etc/rancher/k3s/bowline-token".into()), ..spec("") };
    let mut left = Facts { node: None, ..up() };
    left.unit.active = ActiveState::Inactive;
    assert!(plan(&joined, &left, &called("n2", "-")).refusals[0].hint.contains("`bowline leave` while it is n1"));
    assert!(writes(&joined, &left, &called("n2", "enrolled")));
}
