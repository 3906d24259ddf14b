//! The only list of the capabilities: from settings to what the engine runs.

use bowline_cluster::{BINARY, Cluster};
use bowline_engine::{Boxed, Capability, boxed};
use bowline_enroll::rules::is_reserved;
use bowline_guard::Guard;
use bowline_join::Join;
use bowline_join::agree::agreed;
use bowline_join::files::TOKEN;
use bowline_labels::{Labels, Taints};
use bowline_node::Node;
use bowline_persistent::Persistent;
use bowline_ports::k3s_kubeconfig;
use bowline_reclaim::Reclaim;
use bowline_settings::{Role, Settings};
use bowline_volumes::Volumes;

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Seconds since 1970 when the program was built.
pub fn built() -> i64 {
    env!("BOWLINE_BUILT").parse().unwrap_or(0)
}

/// The names of all of them, in the order in which conditions flow.
pub const NAMES: [&str; 8] =
    [Node::NAME, Volumes::NAME, Join::NAME, Guard::NAME, Cluster::NAME, Persistent::NAME, Labels::NAME, Reclaim::NAME];

/// The capabilities for these settings, in the order in which conditions flow.
pub fn capabilities(settings: &Settings, built: i64) -> Vec<Boxed> {
    let mut all = Vec::new();
    if settings.is_empty() {
        return all;
    }
    let mut node = settings.node.clone();
    if settings.cluster.is_none() {
        // Nobody sets them, so that nothing is to be known for them.
        node.labels.clear();
    }
    all.push(boxed(Node { spec: node, kubernetes: settings.cluster.is_some(), built }));
    let services = services(settings);
    let starts = settings.managed.is_some();
    all.push(boxed(Volumes { volumes: settings.volumes.clone(), services, starts }));
    if let Some(cluster) = &settings.cluster {
        let gated: Vec<String> = settings.volumes.iter().filter(|v| v.gate).map(|v| v.name.clone()).collect();
        let agent = cluster.role == Role::Agent;
        let persistent: Vec<_> =
            settings.volumes.iter().filter(|volume| volume.persistent.is_some()).cloned().collect();
        // What a kubelet may not set on its own Node is asked of the servers.
        let (reserved, own) = settings.node.labels.clone().into_iter().partition(|(key, _)| agent && is_reserved(key));
        let joins = !cluster.join.servers.is_empty();
        // A server that founded its cluster may leave it to the others.
        if joins || cluster.join.key_file.is_some() {
            all.push(boxed(Join {
                spec: cluster.join.clone(),
                role: cluster.role,
                name: settings.node.name.clone(),
                version: VERSION.into(),
                kubernetes: cluster.version.exact().map(|version| version.to_string()),
                labels: reserved,
                taints: if agent { settings.node.taints.clone() } else { Vec::new() },
                volumes: gated.clone(),
                config: cluster.config.clone(),
                persistent: if agent { persistent.clone() } else { Vec::new() },
            }));
        }
        let guarded = guarded(settings);
        if guarded {
            let listen = settings.enroll.as_ref().map(|enroll| enroll.listen.clone()).unwrap_or_default();
            let pods = (!agent).then(|| [false, true].map(|ipv6| agreed(&cluster.config, ipv6).cluster_cidr));
            all.push(boxed(Guard { listen, servers: cluster.join.servers.clone(), pods }));
        }
        all.push(boxed(Cluster {
            spec: cluster.clone(),
            name: settings.node.name.clone(),
            external: settings.node.external_address.is_some(),
            volumes: gated.clone(),
            guarded,
            token: joins.then(|| TOKEN.into()),
        }));
        let kubeconfig = k3s_kubeconfig(!agent);
        let taints = (!agent).then(|| Taints { wanted: settings.node.taints.clone(), volumes: gated });
        if !agent {
            all.push(boxed(Persistent {
                volumes: persistent,
                name: settings.node.name.clone(),
                kubeconfig: kubeconfig.clone(),
            }));
        }
        all.push(boxed(Labels { labels: own, taints, name: settings.node.name.clone(), kubeconfig }));
    }
    all.push(boxed(Reclaim {
        wanted: settings.reclaim.clone(),
        reserve: settings.pressure.reserve,
        volumes: settings.volumes.iter().map(|volume| (volume.name.clone(), volume.mount.clone())).collect(),
        name: settings.node.name.clone(),
        k3s: settings.cluster.as_ref().map(|_| BINARY.into()),
    }));
    all
}

/// Whether this node is of a cluster that lets nodes in: then no pod may reach an issuer.
pub fn guarded(settings: &Settings) -> bool {
    let joins = settings.cluster.as_ref().is_some_and(|cluster| !cluster.join.servers.is_empty());
    joins || settings.enroll.is_some()
}

/// The services of Kubernetes that these settings are about.
pub fn services(settings: &Settings) -> Vec<String> {
    let managed = settings.managed.iter().flat_map(|managed| managed.services.clone());
    k3s(settings).into_iter().map(String::from).chain(managed).collect()
}

/// K3s's service, where Bowline runs it.
pub fn k3s(settings: &Settings) -> Option<&'static str> {
    settings.cluster.as_ref().map(|cluster| cluster.role.service())
}

/// As what the node is of its cluster, for the metrics.
pub fn role(settings: &Settings) -> Option<bowline_metrics::Role> {
    settings.cluster.as_ref().map(|cluster| match cluster.role {
        Role::Server => bowline_metrics::Role::Server,
        Role::Agent => bowline_metrics::Role::Agent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_settings::SourceFile;

    #[test]
    fn the_names_are_those_of_all_capabilities() {
        let text = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                    key-file = \"/etc/bowline/cluster.key\"\n";
        let file = SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
        let all = capabilities(&bowline_settings::load(&[file]).unwrap().settings, 0);
        assert_eq!(all.iter().map(|one| one.name()).collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn the_form_of_a_report_tells_all_names() {
        let document = bowline_schema::document("report").unwrap();
        let told = document["$defs"]["capability"]["properties"]["name"]["description"].as_str().unwrap();
        for name in NAMES.iter().chain(&["enroll", "metrics", "pressure"]) {
            assert!(told.contains(&format!("`{name}`")), "{name} is not in: {told}");
        }
    }
}
