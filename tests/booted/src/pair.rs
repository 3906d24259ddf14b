//! A server with a cluster key and agents with their tickets, by settings alone: the smallest cluster.

use crate::hetzner::ticket;
use crate::kube::{is_ready, node};
use crate::{ADDRESS, FIRST_BOOT, KEY, configure, deb, install_and_wait, settings, with_k3s, with_k3s_as};
use anyhow::{Context, Result};
use bowline_testbed::{Bed, Disk, Machine, Releases, wait_some};
use serde_json::Value;

/// Where the cluster key is on a server.
pub const KEY_FILE: &str = "/etc/bowline/cluster.key";

/// A server that lets nodes in by these rules.
pub fn server_settings(releases: &Releases, rules: &str) -> String {
    let role = "role = \"server\"\n";
    let settings = settings::server(releases).replace(role, &format!("{role}key-file = \"{KEY_FILE}\"\n"));
    format!("{settings}{rules}")
}

/// The same, booted and Ready.
pub fn server(bed: &Bed, releases: &Releases, rules: &str) -> Result<Machine> {
    let machine = with_k3s(bed, releases, None)?;
    machine.put(KEY_FILE, format!("{KEY}\n"), 0o600)?;
    install_and_wait(&machine, &server_settings(releases, rules))?;
    Ok(machine)
}

/// All that an agent is told. `node` is what its `[node]` has besides the address, `more` what follows.
pub fn agent_settings(releases: &Releases, ticket: &str, node: &str, more: &str) -> String {
    format!(
        "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"{ADDRESS}\"]\nticket = \"{ticket}\"\n\
         mirror = \"{}\"\nca-file = \"/etc/bowline/mirror-ca.pem\"\n[node]\naddress = \"10.0.1.0/24\"\n{node}{more}",
        releases.url(),
    )
}

/// A booted machine on its way into the cluster, with the ticket of its name.
pub fn agent(bed: &Bed, releases: &Releases, name: &str, address: &str, disk: Option<&Disk>) -> Result<Machine> {
    let machine = with_k3s_as(bed, releases, name, address, disk)?;
    let volume = disk.map_or_else(String::new, |disk| {
        let link = disk.link();
        format!("[[volume]]\nname = \"data\"\ndevice = \"{link}\"\nmount = \"/mnt/data\"\nformat = \"blank-only\"\n")
    });
    begin(&machine, &agent_settings(releases, &ticket(name), "", &volume))?;
    Ok(machine)
}

/// Settings and package, without a wait.
pub fn begin(machine: &Machine, settings: &str) -> Result<()> {
    configure(machine, settings)?;
    machine.install(&deb()?)?;
    Ok(())
}

/// A Node's uid.
pub fn uid(node: &Value) -> &str {
    node["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Whether its kubelet says that all is well, and workloads may come.
pub fn is_in_place(node: &Value) -> bool {
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    is_ready(node) && !taints.any(|taint| taint["key"] == "bowline/initializing")
}

/// Waits until a Node is in place, and fits; returns it.
pub fn in_place(server: &Machine, agent: &Machine, name: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    wait_some(&format!("{name} to be in place"), FIRST_BOOT, || {
        last = node(server, name)?.unwrap_or_default();
        Ok(Some(last.clone()).filter(|node| is_in_place(node) && fits(node)))
    })
    .with_context(|| {
        let said = agent.run("bowline status").map(|said| said.stdout).unwrap_or_default();
        format!("{said}\n{}", serde_json::json!([last["metadata"]["labels"], last["spec"]["taints"]]))
    })
}
