//! Several servers: who founds, who joins, and what becomes of one that is lost.

use anyhow::{Context, Result, ensure};
use bowline_booted::{FIRST_BOOT, KEY, bare_as, configure, deb, releases, settings};
use bowline_testbed::{Bed, Machine, Releases, case_of, say};
use serde_json::Value;
use std::time::Duration;

/// Three servers on two cores, each with etcd and an API server.
const CLUSTER: Duration = FIRST_BOOT.saturating_mul(2);
const SERVERS: [(&str, &str); 3] = [("control-1", "10.0.1.10"), ("control-2", "10.0.1.11"), ("control-3", "10.0.1.12")];
const WORKER: (&str, &str) = ("worker-0", "10.0.1.30");

/// A server that knows the others, and lets them and the workers in. The first founds when nobody answers.
fn server_settings(releases: &Releases, at: usize) -> String {
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

fn begin(machine: &Machine, releases: &Releases, at: usize) -> Result<()> {
    machine.put("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)?;
    configure(machine, &server_settings(releases, at))?;
    machine.install(&deb()?)?;
    Ok(())
}

/// The Nodes as a server has them: name, uid, and whether they are Ready.
fn nodes(server: &Machine) -> Result<Vec<(String, String, bool)>> {
    let said = server.run("k3s kubectl get nodes -o json")?;
    ensure!(said.success(), "{said}");
    let list: Value = serde_json::from_str(&said.stdout)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ready = |node: &Value| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.map(|node| (text(&node["metadata"]["name"]), text(&node["metadata"]["uid"]), ready(node))).collect())
}

fn all_ready(server: &Machine, names: &[&str]) -> Result<Vec<(String, String, bool)>> {
    let mut last = Vec::new();
    server
        .wait_for("all Nodes to be Ready", CLUSTER, || {
            last = nodes(server)?;
            Ok(names.iter().all(|name| last.iter().any(|(node, _, ready)| node == name && *ready)))
        })
        .with_context(|| format!("{last:?}"))?;
    Ok(last)
}

fn uid(nodes: &[(String, String, bool)], name: &str) -> String {
    nodes.iter().find(|(node, ..)| node == name).map(|(_, uid, _)| uid.clone()).unwrap_or_default()
}

fn three(bed: &Bed, releases: &Releases) -> Result<[Machine; 3]> {
    let start = |at: usize| bare_as(bed, releases, SERVERS[at].0, SERVERS[at].1, None);
    let all = [start(0)?, start(1)?, start(2)?];
    for (at, machine) in all.iter().enumerate() {
        begin(machine, releases, at)?;
    }
    Ok(all)
}

#[test]
fn three_servers_at_once_become_one_cluster_that_outlives_each_of_them() -> Result<()> {
    case_of(4, "servers", |bed| {
        let releases = releases(bed)?;
        let all = three(bed, &releases)?;
        let names = SERVERS.map(|(name, _)| name);
        let whole = all_ready(&all[0], &names)?;
        say("three servers are one cluster");
        for machine in &all {
            let config = machine.read("/etc/rancher/k3s/config.yaml.d/50-bowline.yaml")?;
            ensure!(config.contains("\"cluster-cidr\": \"10.52.0.0/16\""), "taken over: {config}");
            ensure!(nodes(machine)?.len() == 3, "every server knows all three");
        }

        // The first is off: an agent comes in by the second.
        all[0].power_off()?;
        let agent = bare_as(bed, &releases, WORKER.0, WORKER.1, None)?;
        let ticket = all[1].ok(&format!("bowline ticket {}", WORKER.0))?;
        configure(
            &agent,
            &format!(
                "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"{}\", \"{}\"]\nticket = \"{}\"\n\
                 mirror = \"{}\"\nca-file = \"/etc/bowline/mirror-ca.pem\"\n[node]\naddress = \"10.0.1.0/24\"\n",
                SERVERS[0].1,
                SERVERS[1].1,
                ticket.trim(),
                releases.url()
            ),
        )?;
        agent.install(&deb()?)?;
        all_ready(&all[1], &[WORKER.0])?;
        say("an agent came in by the second server");

        // And comes back as another machine, with nothing: it asks first, and founds no second cluster.
        all[0].recreate()?;
        begin(&all[0], &releases, 0)?;
        let name = names[0];
        all[1]
            .wait_for("the first server to be back", CLUSTER, || {
                let nodes = nodes(&all[1])?;
                Ok(nodes.iter().any(|(node, id, ready)| node == name && *ready && *id != uid(&whole, name)))
            })
            .with_context(|| all[0].run("bowline status").map(|said| said.stdout).unwrap_or_default())?;
        ensure!(nodes(&all[0])?.len() == 4, "it is the same cluster: {:?}", nodes(&all[0])?);
        let held = all[0].ok("bowline nodes")?;
        ensure!(names.iter().all(|name| held.contains(name)) && held.contains(WORKER.0), "{held}");
        say(&held);

        // One leaves in good order: it is out of etcd before it stops, and comes back as a new member.
        let leaver = names[2];
        let before = uid(&nodes(&all[1])?, leaver);
        let said = all[2].run_with("bowline leave --timeout 120s", b"", CLUSTER)?;
        ensure!(said.success() && said.stdout.contains("taken it out of etcd"), "{said}");
        ensure!(all[2].run("systemctl is-active k3s")?.stdout.trim() == "inactive", "K3s has stopped");
        let left = nodes(&all[1])?;
        ensure!(left.len() == 3 && !left.iter().any(|(node, ..)| node == leaver), "{left:?}");
        ensure!(!all[1].ok("bowline nodes")?.contains(leaver), "its name is free");
        all_ready(&all[1], &[names[0], names[1], WORKER.0])?;
        all[2].ok("bowline leave --undo")?;
        let whole = all_ready(&all[1], &names)
            .with_context(|| all[2].run("bowline status").map(|said| said.stdout).unwrap_or_default())?;
        ensure!(uid(&whole, leaver) != before, "it is a new member");
        say("a server left, and came back");
        Ok(())
    })
}
