//! The name of the host, and that of the Node.

use super::*;

#[test]
fn a_k3s_of_somebody_else_may_have_been_told_another_name() {
    let unit = "[Service]\nExecStart=/usr/local/bin/k3s server --node-name other\n";
    let never = Facts { node: None, node_seen: None, config: None, unit_file: Some(unit.into()), ..up() };
    let overdue = |facts: &Facts| plan(&spec(""), facts, &all()).waits.remove(0).overdue;
    assert_eq!(plan(&spec(""), &never, &all()).waits[0].why, "no Node is called n1 yet");
    let advice = "compare with `kubectl get nodes` on a server: if this machine's Node has another name, set `name` in [node] to that; \
                  else `journalctl -u k3s.service` has K3s's own words";
    assert_eq!(overdue(&never), advice);
    // A kubelet may not ask for the Node of another.
    assert_eq!(overdue(&Facts { api_error: Some("nodes \"n1\" is forbidden".into()), ..never.clone() }), advice);
    let ours = Facts { unit_file: up().unit_file, config: up().config, ..never };
    assert_eq!(overdue(&ours), "`journalctl -u k3s.service` has K3s's own words");
}
