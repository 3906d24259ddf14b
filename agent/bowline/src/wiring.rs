//! The only list of the capabilities: from settings to what the engine runs.

use bowline_cluster::{Cluster, SERVICE};
use bowline_engine::{Boxed, boxed};
use bowline_labels::Labels;
use bowline_node::Node;
use bowline_settings::Settings;
use bowline_volumes::Volumes;

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Seconds since 1970 when the program was built.
pub fn built() -> i64 {
    env!("BOWLINE_BUILT").parse().unwrap_or(0)
}

/// The capabilities for these settings, in the order in which conditions flow.
pub fn capabilities(settings: &Settings, built: i64) -> Vec<Boxed> {
    let mut all = Vec::new();
    if settings.is_empty() {
        return all;
    }
    all.push(boxed(Node { spec: settings.node.clone(), built }));
    let services = settings.cluster.iter().map(|_| SERVICE.to_string()).collect();
    all.push(boxed(Volumes { volumes: settings.volumes.clone(), services }));
    if let Some(cluster) = &settings.cluster {
        let gated = settings.volumes.iter().filter(|v| v.gate).map(|v| v.name.clone()).collect();
        all.push(boxed(Cluster {
            spec: cluster.clone(),
            name: settings.node.name.clone(),
            external: settings.node.external_address.is_some(),
            volumes: gated,
        }));
        all.push(boxed(Labels { labels: settings.node.labels.clone(), name: settings.node.name.clone() }));
    }
    all
}
