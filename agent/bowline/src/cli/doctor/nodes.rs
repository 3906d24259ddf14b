//! Whether a server reaches what it needs of the cluster's other nodes: their kubelets, and the etcd of other servers. The
//! API knows them, and whether they are alive; who is not is no matter of ports.

use super::check::Check;
use super::servers::{FAR, PORTS};
use bowline_engine::Report;
use bowline_host::real::reach::Reach;
use bowline_ports::{Inspect, NODES, condition, items, k3s_admin_kubeconfig};
use bowline_settings::{Cluster, Datastore, ETCD_LABEL, KUBELET_PORT, Role};
use serde_json::Value;
use std::time::Duration;

const ETCD: [u16; 2] = [2379, 2380];
/// So many nodes that cannot be reached say enough: each takes seconds.
const ENOUGH: usize = 5;

/// What was tried.
#[derive(Debug, Default)]
pub(super) struct Facts {
    nodes: Vec<Node>,
    /// How many were not tried any more.
    untried: usize,
}

#[derive(Debug)]
struct Node {
    name: String,
    address: String,
    ports: Vec<(u16, Reach)>,
}

/// `None` where nobody can say who the others are: on an agent, and while the API does not answer, which K3s's own check is
/// about. `now` is of a look just now.
pub(super) async fn gather(
    host: &dyn Inspect,
    cluster: &Cluster,
    now: &Report,
    reach: &impl AsyncFn(&str, u16, Duration) -> Reach,
) -> Option<Facts> {
    let server = cluster.role == Role::Server && now.conditions.get(condition::K3S).is_some_and(|k3s| k3s == "active");
    let own = now.conditions.get(condition::ADDRESS).filter(|_| server)?;
    let list = host.object(&k3s_admin_kubeconfig(), NODES).await.ok()?;
    let nodes = items(NODES, list.as_ref()).ok()?;
    let mut facts = Facts::default();
    for (name, address, etcd) in others(nodes, own) {
        if facts.nodes.iter().filter(|node| !node.is_reached()).count() >= ENOUGH {
            facts.untried += 1;
            continue;
        }
        let mut ports = vec![(KUBELET_PORT, reach(&address, KUBELET_PORT, FAR).await)];
        for port in ETCD.into_iter().filter(|_| etcd && cluster.join.datastore == Datastore::Etcd) {
            ports.push((port, reach(&address, port, FAR).await));
        }
        facts.nodes.push(Node { name, address, ports });
    }
    Some(facts)
}

/// Name and address of every other node that is alive, and whether it has etcd.
fn others(nodes: &[Value], own: &str) -> Vec<(String, String, bool)> {
    let alive = nodes.iter().filter(|node| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
    });
    let all = alive.filter_map(|node| {
        let mut addresses = node["status"]["addresses"].as_array().into_iter().flatten();
        let address = addresses.find(|one| one["type"] == "InternalIP")?["address"].as_str()?;
        let name = node["metadata"]["name"].as_str()?;
        Some((name.to_string(), address.to_string(), node["metadata"]["labels"].get(ETCD_LABEL).is_some()))
    });
    all.filter(|(_, address, _)| address != own).collect()
}

impl Node {
    fn is_reached(&self) -> bool {
        self.ports.iter().all(|(_, reach)| *reach == Reach::Open)
    }
}

pub(super) fn diagnose(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    for node in &facts.nodes {
        let name = format!("node {}", node.name);
        let text = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        if node.is_reached() {
            let all: Vec<_> = node.ports.iter().map(|(port, _)| *port).collect();
            checks.push(Check::ok(name, format!("TCP {} can be reached", text(&all))));
            continue;
        }
        // Ports that stand alike are one finding.
        let mut kinds: Vec<(&Reach, Vec<u16>)> = Vec::new();
        for (port, reach) in node.ports.iter().filter(|(_, reach)| *reach != Reach::Open) {
            match kinds.iter_mut().find(|(kind, _)| *kind == reach) {
                Some((_, ports)) => ports.push(*port),
                None => kinds.push((reach, vec![*port])),
            }
        }
        checks.extend(kinds.into_iter().map(|(reach, ports)| closed(&name, node, &text(&ports), reach)));
    }
    if facts.untried > 0 {
        checks.push(Check::note("nodes", format!("{} more were not tried", facts.untried)));
    }
    checks
}

fn closed(name: &str, node: &Node, ports: &str, reach: &Reach) -> Check {
    let address = &node.address;
    match reach {
        Reach::Rejected => Check::finding(
            name,
            format!("TCP {ports}: rejected by a firewall, though the node is Ready"),
            format!(
                "let that node's own firewall take it: `bowline doctor` there names the rule, and the command: {PORTS}"
            ),
        ),
        Reach::Silent | Reach::Open => Check::finding(
            name,
            format!("TCP {ports}: no answer within {} s, though the node is Ready", FAR.as_secs()),
            format!(
                "what drops it in silence is mostly the cloud's firewall (security group, security list), else the node's \
                 own (`bowline doctor` there): {PORTS}"
            ),
        ),
        Reach::Closed => Check::finding(
            name,
            format!("TCP {ports}: refused, though the node is Ready"),
            format!(
                "if `ss -tln` there shows that nobody listens, K3s's options keep it away; else a firewall refuses it \
                 (`bowline doctor` there): {PORTS}"
            ),
        ),
        Reach::NoRoute => Check::finding(
            name,
            format!("TCP {ports}: this machine has no route to {address}"),
            format!("attach this machine to that node's network (`ip route get {address}`)"),
        ),
        Reach::Untried(error) => Check::blind(name, error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;
    use serde_json::json;

    fn node(name: &str, address: &str, ready: &str, labels: &Value) -> Value {
        json!({
            "metadata": { "name": name, "labels": labels },
            "status": {
                "addresses": [{ "type": "Hostname", "address": name }, { "type": "InternalIP", "address": address }],
                "conditions": [{ "type": "Ready", "status": ready }],
            },
        })
    }

    #[test]
    fn the_others_that_are_alive() {
        let nodes = [
            node("a", "10.0.1.10", "True", &json!({})),
            node("b", "10.0.1.11", "True", &json!({ ETCD_LABEL: "true" })),
            node("c", "10.0.1.12", "Unknown", &json!({})),
            node("d", "10.0.1.13", "True", &json!({})),
        ];
        let wanted = [("b".into(), "10.0.1.11".into(), true), ("d".into(), "10.0.1.13".into(), false)];
        assert_eq!(others(&nodes, "10.0.1.10"), wanted);
    }

    #[test]
    fn ports_that_stand_alike_are_one_finding() {
        let found = |reaches: [Reach; 3]| {
            let ports = [10250, 2379, 2380].into_iter().zip(reaches).collect();
            let facts =
                Facts { nodes: vec![Node { name: "b".into(), address: "10.0.1.11".into(), ports }], untried: 0 };
            let all = diagnose(&facts).into_iter().filter_map(|check| match check.verdict {
                Verdict::Finding { found, .. } => Some(found),
                _ => None,
            });
            all.collect::<Vec<_>>()
        };
        assert_eq!(found([Reach::Open, Reach::Open, Reach::Open]), Vec::<String>::new());
        assert_eq!(
            found([Reach::Rejected, Reach::Rejected, Reach::Rejected]),
            ["TCP 10250, 2379, 2380: rejected by a firewall, though the node is Ready"]
        );
        assert_eq!(
            found([Reach::Open, Reach::Silent, Reach::Closed]),
            ["TCP 2379: no answer within 3 s, though the node is Ready", "TCP 2380: refused, though the node is Ready"]
        );
    }
}
