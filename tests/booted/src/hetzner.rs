//! The cluster of five machines that people run at Hetzner: a control node, three nodes for Kafka with a volume each, and
//! a worker. Each has its own small document, and nobody carries a token.

use crate::clock::synchronised;
use crate::kube::{is_ready, node};
use crate::{ADDRESS, FIRST_BOOT, KEY, NODE, document};
use anyhow::{Context, Result};
use bowline_testbed::{Bed, Disk, Machine, Releases};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long the cluster may take on a busy machine.
const CLUSTER: Duration = FIRST_BOOT.saturating_mul(2);

/// What the control node has besides the shipped document: the cluster key, and whom it lets in. In a file, since every
/// pod can ask the cloud for the user-data.
pub const CONTROL: &str = r#"[cluster]
key-file = "/etc/bowline/cluster.key"

[[enroll.allow]]
name = "kafka"
nodes = "k3s-trading-dev-kafka-*"
role = "agent"
from = "10.0.1.0/24"
grant = { role = "kafka", workload = "mixed", "node-role.kubernetes.io/kafka" = "true" }

[[enroll.allow]]
name = "workers"
nodes = "k3s-trading-dev-worker*"
role = "agent"
from = "10.0.1.0/24"
grant = { role = "worker", "node-role.kubernetes.io/worker" = "true" }
"#;

/// By which addresses each node is scraped, and by whom: a drop-in beside the other settings.
pub const METRICS: &str = r#"[metrics]
listen = ["127.0.0.1:9787", "{address}:9787"]
allow = ["10.0.1.0/24", "pods"]
"#;

/// The agents: name, address, and the serial of the volume.
pub const AGENTS: [(&str, &str, Option<&str>); 4] = [
    ("k3s-trading-dev-kafka-0", "10.0.1.20", Some("20000000")),
    ("k3s-trading-dev-kafka-1", "10.0.1.21", Some("21000000")),
    ("k3s-trading-dev-kafka-2", "10.0.1.22", Some("22000000")),
    ("k3s-trading-dev-worker", "10.0.1.30", None),
];

/// An agent's machine.
pub struct Agent {
    /// The machine.
    pub machine: Machine,
    /// Its name.
    pub name: &'static str,
    /// Its volume.
    pub disk: Option<Disk>,
}

/// The ticket of an agent, as Terraform makes it: `sha256("bowline-ticket-v1:agent:${name}:${key}")`.
pub fn ticket(name: &str) -> String {
    hex::encode(Sha256::digest(format!("bowline-ticket-v1:agent:{name}:{KEY}")))
}

/// All that an agent is told. `volume` is the serial of its disk.
pub fn agent_settings(releases: &Releases, name: &str, volume: Option<&str>) -> String {
    let volume = volume.map_or_else(String::new, |serial| {
        format!(
            "[[volume]]\nname = \"kafka\"\ndevice = \"{}\"\nmount = \"/var/lib/kafka\"\nformat = \"blank-only\"\n",
            Disk::link_of(serial)
        )
    });
    format!(
        "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"{ADDRESS}\"]\nticket = \"{}\"\n\
         mirror = \"{}\"\nca-file = \"/etc/bowline/mirror-ca.pem\"\n[node]\naddress = \"10.0.1.0/24\"\n{volume}",
        ticket(name),
        releases.url(),
    )
}

/// The control node: with the shipped document, the cluster key and the rules.
pub fn control(bed: &Bed, filled: &str, disk: &Disk) -> Result<Machine> {
    synchronised(bed.machine(NODE).address(ADDRESS).disk(disk))
        .file("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)
        .file("/etc/bowline/config.d/20-cluster.toml", CONTROL, 0o600)
        .cloud_init(filled)
        .start()
}

/// Boots an agent with the shipped document and its own settings in it.
pub fn agent(
    bed: &Bed,
    releases: &Releases,
    filled: &str,
    (name, address, serial): (&'static str, &str, Option<&str>),
) -> Result<Agent> {
    let disk = serial.map(|serial| bed.disk(serial, "2G")).transpose()?;
    let settings = agent_settings(releases, name, serial);
    let mut machine =
        synchronised(bed.machine(name).address(address)).cloud_init(&document::with_settings(filled, &settings));
    if let Some(disk) = &disk {
        machine = machine.disk(disk);
    }
    Ok(Agent { machine: machine.start()?, name, disk })
}

/// Waits until an agent is Ready, with its role, without the startup taint, and another Node than the old one.
pub fn in_place(control: &Machine, agent: &Agent, old: Option<&Value>) -> Result<()> {
    let role = if agent.disk.is_some() { "kafka" } else { "worker" };
    let fits = |node: &Value| {
        let labels = &node["metadata"]["labels"];
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        is_ready(node)
            && labels["role"] == role
            && labels[format!("node-role.kubernetes.io/{role}")] == "true"
            && !taints.any(|taint| taint["key"] == "bowline/initializing")
            && old.is_none_or(|old| *old != node["metadata"]["uid"])
    };
    let what = format!("{} to be in place", agent.name);
    control
        .wait_for(&what, CLUSTER, || Ok(node(control, agent.name)?.as_ref().is_some_and(fits)))
        .with_context(|| agent.machine.run("bowline status").map(|said| said.stdout).unwrap_or_default())
}
