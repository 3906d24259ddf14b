//! The control node is destroyed: with its data on a kept volume the cluster goes on, without them there is another one.

use anyhow::{Result, ensure};
use bowline_booted::pair::{KEY_FILE, agent, in_place, server_settings, uid};
use bowline_booted::told::tells;
use bowline_booted::{KEY, NODE, configure, deb, ready, releases, with_k3s};
use bowline_testbed::{Cast, Disk, Machine, Releases, case_of, say};
use std::time::Duration;

const NAME: &str = "worker-0";
const RULES: &str = "[[enroll.allow]]\nname = \"workers\"\nnodes = \"worker-*\"\nrole = \"agent\"\n\
     from = \"10.0.1.0/24\"\ngrant = { \"node-role.kubernetes.io/worker\" = \"true\" }\n";

/// Where the key is kept: beside K3s's data.
const KEPT_KEY: &str = "/var/lib/rancher/cluster.key";

/// The control node, with all of K3s on a volume, and the cluster key too.
fn begin(machine: &Machine, releases: &Releases, disk: &Disk) -> Result<()> {
    let volume = format!(
        "[[volume]]\nname = \"k3s\"\ndevice = \"{}\"\nmount = \"/var/lib/rancher\"\nformat = \"blank-only\"\n",
        disk.link()
    );
    let settings = server_settings(releases, RULES).replace(KEY_FILE, KEPT_KEY);
    configure(machine, &format!("{settings}{volume}"))?;
    machine.install(&deb()?)?;
    Ok(())
}

/// The key is put onto a volume that is new, once.
fn bring_the_key(machine: &Machine) -> Result<()> {
    tells(machine, &["the cluster key with which it lets nodes in", "/var/lib/rancher/cluster.key is not there"])?;
    machine.wait_for("the volume to be there", Duration::from_secs(60), || {
        Ok(machine.run("mountpoint -q /var/lib/rancher")?.success())
    })?;
    machine.put(KEPT_KEY, format!("{KEY}\n"), 0o600)
}

fn is_worker(node: &serde_json::Value) -> bool {
    node["metadata"]["labels"]["node-role.kubernetes.io/worker"] == "true"
}

#[test]
fn a_control_node_comes_back_with_its_data_and_another_cluster_takes_the_agents_over() -> Result<()> {
    case_of(Cast::cluster(1, 1).patient(), "anew", |bed| {
        let releases = releases(bed)?;
        let disk = bed.disk("31000000", "512M")?;
        let control = with_k3s(bed, &releases, Some(&disk))?;
        begin(&control, &releases, &disk)?;
        bring_the_key(&control)?;
        ready(&control)?;
        let data = bed.disk("30000000", "512M")?;
        let worker = agent(bed, &releases, NAME, "10.0.1.30", Some(&data))?;
        let before = in_place(&control, &worker, NAME, is_worker)?;
        worker.ok("echo precious > /mnt/data/file")?;
        control.ok("k3s kubectl create configmap kept --from-literal=a=b")?;

        // Destroyed and created again, with the volume: the same cluster.
        control.recreate()?;
        begin(&control, &releases, &disk)?;
        ready(&control)?;
        let after = in_place(&control, &worker, NAME, is_worker)?;
        ensure!(uid(&after) == uid(&before), "the agent is the Node that it was");
        ensure!(control.ok("k3s kubectl get configmap kept -o jsonpath={.data.a}")? == "b");
        // It holds its own name again, and lets nodes in.
        control.wait_for("its claim to be its own", Duration::from_secs(30), || {
            let held = control.ok("bowline nodes")?;
            Ok(held.lines().any(|line| line.starts_with(NODE) && line.contains("registered")))
        })?;
        say("the cluster went on");

        // Destroyed with its volume: there is no such cluster any more. The agent is answered with a proof, and by another
        // CA; it enrols anew, and keeps its volume.
        let blank = bed.disk("32000000", "512M")?;
        control.power_off()?;
        control.detach(&disk)?;
        control.attach(&blank)?;
        control.recreate()?;
        begin(&control, &releases, &blank)?;
        bring_the_key(&control)?;
        ready(&control)?;
        ensure!(!control.run("k3s kubectl get configmap kept")?.success(), "it is the same cluster");
        let anew = in_place(&control, &worker, NAME, is_worker)?;
        ensure!(uid(&anew) != uid(&before), "a Node of the other cluster");
        ensure!(worker.read("/mnt/data/file")? == "precious\n", "its volume is as it was");
        let journal = worker.journal("bowline")?;
        ensure!(journal.contains("restart K3s (its cluster was made anew, with another CA)"), "it says so:\n{journal}");
        Ok(())
    })
}
