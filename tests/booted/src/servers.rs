//! Three servers that know each other by their addresses, and become one cluster.

use crate::{FIRST_BOOT, KEY, configure, deb, kube, settings, with_k3s_as};
use anyhow::{Context, Result, anyhow};
use bowline_testbed::{Bed, Machine, Releases};
use serde_json::Value;
use std::thread;
use std::time::Duration;

/// Three servers on two cores, each with etcd and an API server.
pub const CLUSTER: Duration = FIRST_BOOT.saturating_mul(2);
/// Their names and addresses.
pub const SERVERS: [(&str, &str); 3] =
    [("control-1", "10.0.1.10"), ("control-2", "10.0.1.11"), ("control-3", "10.0.1.12")];

/// A Node: name, uid, and whether it is Ready.
pub type Seen = (String, String, bool);

/// What one of them is told: the others, whom it lets in, and the workers. The first founds when nobody answers.
pub fn server_settings(releases: &Releases, at: usize) -> String {
    let others: Vec<_> = SERVERS.iter().filter(|(name, _)| *name != SERVERS[at].0).collect();
    let addresses: Vec<_> = others.iter().map(|(_, address)| format!("\"{address}\"")).collect();
    let init = if at == 0 { "init = true\ninit-wait = \"10s\"\n" } else { "" };
    let mut text = settings::server(releases).replace(
        "role = \"server\"\n",
        &format!(
            "role = \"server\"\nkey-file = \"/etc/bowline/cluster.key\"\nservers = [{}]\n{init}",
            addresses.join(", ")
        ),
    );
    for (name, address) in others {
        text.push_str(&format!(
            "[[enroll.allow]]\nname = \"{name}\"\nnodes = \"{name}\"\nrole = \"server\"\nfrom = \"{address}\"\n"
        ));
    }
    text.push_str(
        "[[enroll.allow]]\nname = \"workers\"\nnodes = \"worker-*\"\nrole = \"agent\"\nfrom = \"10.0.1.0/24\"\n",
    );
    // Only the first has it: the others take it over.
    if at == 0 {
        text.push_str("[cluster.config]\ncluster-cidr = \"10.52.0.0/16\"\n");
    }
    text
}

/// Gives a machine the cluster key, its settings and the package.
pub fn begin(machine: &Machine, releases: &Releases, at: usize) -> Result<()> {
    machine.put("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)?;
    configure(machine, &server_settings(releases, at))?;
    machine.install(&deb()?)?;
    Ok(())
}

/// The Nodes as a server has them.
pub fn nodes(server: &Machine) -> Result<Vec<Seen>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = kube::nodes(server)?;
    Ok(all.iter().map(|n| (text(&n["metadata"]["name"]), text(&n["metadata"]["uid"]), kube::is_ready(n))).collect())
}

/// Waits until Nodes of these names are Ready, and gives all.
pub fn all_ready(server: &Machine, names: &[&str]) -> Result<Vec<Seen>> {
    let mut last = Vec::new();
    server
        .wait_for("all Nodes to be Ready", CLUSTER, || {
            last = nodes(server)?;
            Ok(names.iter().all(|name| last.iter().any(|(node, _, ready)| node == name && *ready)))
        })
        .with_context(|| format!("{last:?}"))?;
    Ok(last)
}

/// Boots all three with the package, and then gives each its settings, all of them in the same moment.
pub fn three(bed: &Bed, releases: &Releases) -> Result<[Machine; 3]> {
    let start = |at: usize| with_k3s_as(bed, releases, SERVERS[at].0, SERVERS[at].1, None);
    let all = [start(0)?, start(1)?, start(2)?];
    for machine in &all {
        machine.put("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)?;
        machine.install(&deb()?)?;
    }
    thread::scope(|scope| {
        let told = all.iter().enumerate().map(|(at, machine)| {
            let settings = server_settings(releases, at);
            scope.spawn(move || configure(machine, &settings))
        });
        let told: Vec<_> = told.collect();
        told.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a thread was cut off"))?)
    })?;
    Ok(all)
}
