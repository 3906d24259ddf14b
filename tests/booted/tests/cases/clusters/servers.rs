//! Several servers: who founds, who joins, and what becomes of one that is lost.

use anyhow::{Context, Result, ensure};
use bowline_booted::servers::{CLUSTER, SERVERS, Seen, all_ready, begin, nodes, three};
use bowline_booted::{configure, deb, ready, releases, with_k3s_as};
use bowline_testbed::{Cast, Machine, case_of, say};

const WORKER: (&str, &str) = ("worker-0", "10.0.1.30");

fn uid(nodes: &[Seen], name: &str) -> String {
    nodes.iter().find(|(node, ..)| node == name).map(|(_, uid, _)| uid.clone()).unwrap_or_default()
}

const K3S_SERVER: &str = "/var/lib/rancher/k3s/server";

const CONFIG: &str = "/etc/rancher/k3s/config.yaml.d/50-bowline.yaml";

/// Bowline is purged, and installed anew while K3s runs: that goes on as it is, with the options that only the first server's
/// settings have.
fn installed_anew(server: &Machine) -> Result<()> {
    let run = "systemctl show -P InvocationID k3s";
    let before = (server.read(CONFIG)?, server.ok(run)?);
    let kept = server.ok("stat --format=%a /var/lib/rancher/k3s/server/bowline-enrolled.json")?;
    ensure!(kept == "600\n", "what was agreed on is kept beside the data: {kept}");
    server.ok("systemctl stop bowline && rm -r /var/lib/bowline/* && systemctl start bowline")?;
    ready(server)?;
    ensure!((server.read(CONFIG)?, server.ok(run)?) == before, "K3s runs on as it was: {}", server.read(CONFIG)?);
    server.ok("[ ! -e /var/lib/bowline/enrolled.json ]").context("nobody let it in")?;
    Ok(())
}

/// On a small VM seconds pass until K3s reads that it was taken out of etcd.
fn starts_slowly(server: &Machine) -> Result<()> {
    let folder = "/etc/systemd/system/k3s.service.d";
    server.ok(&format!("mkdir -p {folder}"))?;
    server.put(&format!("{folder}/90-slow.conf"), "[Service]\nExecStartPre=/bin/sleep 3\n", 0o644)?;
    server.ok("systemctl daemon-reload")?;
    Ok(())
}

/// The machine is made anew, and gets the volume with its data, and nothing else.
fn with_its_data_alone(server: &Machine) -> Result<()> {
    server.ok("systemctl stop bowline k3s && systemctl disable k3s")?;
    server.ok("rm -r /var/lib/bowline/* /etc/rancher /etc/systemd/system/k3s.service")?;
    server.reboot()?;
    ready(server).with_context(|| server.journal("k3s").unwrap_or_default())?;
    let config = server.read(CONFIG)?;
    ensure!(config.contains("\"cluster-cidr\": \"10.52.0.0/16\""), "taken over from beside the data: {config}");
    ensure!(!config.contains("token-file"), "nobody let it in: {config}");
    Ok(())
}

/// What K3s has of a cluster that it was started to found, when it was stopped before etcd had data: newer than the cluster's.
fn founded_nothing(server: &Machine) -> Result<()> {
    server.ok(&format!(
        "mkdir -p {K3S_SERVER}/tls/etcd {K3S_SERVER}/cred && cd {K3S_SERVER} && touch bowline-founding && for name in \
         tls/server-ca.crt tls/server-ca.key tls/client-ca.crt tls/client-ca.key tls/etcd/peer-ca.crt tls/etcd/peer-ca.key \
         cred/passwd; do echo of its own >$name; done"
    ))?;
    Ok(())
}

#[test]
fn three_servers_at_once_become_one_cluster_that_outlives_each_of_them() -> Result<()> {
    case_of(Cast::cluster(3, 1).patient(), "servers", |bed| {
        let releases = releases(bed)?;
        let all = three(bed, &releases)?;
        let names = SERVERS.map(|(name, _)| name);
        let whole = all_ready(&all[0], &names)?;
        say("three servers are one cluster");
        for machine in &all {
            let config = machine.read(CONFIG)?;
            ensure!(config.contains("\"cluster-cidr\": \"10.52.0.0/16\""), "taken over: {config}");
            machine.wait_for("every server to know all three", CLUSTER, || Ok(nodes(machine)?.len() == 3))?;
        }
        installed_anew(&all[2])?;
        with_its_data_alone(&all[2])?;
        say("the third goes on with its data and nothing else");

        // The founder leaves and comes back: K3s's configuration had no server to join, and it founds no second cluster.
        starts_slowly(&all[0])?;
        let said = all[0].run_with("bowline leave --timeout 1200s", b"", CLUSTER)?;
        ensure!(said.success() && said.stdout.contains("taken it out of etcd"), "{said}");
        all[0].ok("bowline leave --undo")?;
        let founder = uid(&whole, names[0]);
        all[1].wait_for("the founder to be back as a new member", CLUSTER, || {
            let nodes = nodes(&all[1])?;
            Ok(nodes.iter().any(|(node, id, ready)| node == names[0] && *ready && *id != founder))
        })?;
        let whole = all_ready(&all[0], &names)?;
        ensure!(all[0].read(CONFIG)?.contains("\"server\""), "it joined");
        let restarts =
            all[0].ok("journalctl -u bowline -o cat | grep '^done: restart K3s (it was taken out of etcd'")?;
        ensure!(restarts.lines().count() == 1, "once: {restarts}");
        say("the founder left, and came back into the same cluster");

        // The first is off: an agent comes in by the second.
        all[0].power_off()?;
        let agent = with_k3s_as(bed, &releases, WORKER.0, WORKER.1, None)?;
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

        // And comes back as another machine, with nothing: it asks first, and founds no second cluster. Its K3s has begun to, once.
        all[0].recreate()?;
        founded_nothing(&all[0])?;
        begin(&all[0], &releases, 0)?;
        let name = names[0];
        all[1]
            .wait_for("the first server to be back", CLUSTER, || {
                let nodes = nodes(&all[1])?;
                Ok(nodes.iter().any(|(node, id, ready)| node == name && *ready && *id != uid(&whole, name)))
            })
            .with_context(|| all[0].run("bowline status").map(|said| said.stdout).unwrap_or_default())?;
        ensure!(all[0].ok(&format!("cat {K3S_SERVER}/bowline-set-aside/*/tls/server-ca.key"))? == "of its own\n");
        all[0].wait_for("it to be the same cluster", CLUSTER, || Ok(nodes(&all[0])?.len() == 4))?;
        all[0].wait_for("all names to be held", CLUSTER, || {
            let held = all[0].ok("bowline nodes")?;
            ensure!(names.iter().all(|name| held.contains(name)) && held.contains(WORKER.0), "{held}");
            Ok(true)
        })?;

        // One leaves in good order: it is out of etcd before it stops, and comes back as a new member.
        let leaver = names[2];
        let before = uid(&nodes(&all[1])?, leaver);
        let said = all[2].run_with("bowline leave --timeout 1200s", b"", CLUSTER)?;
        ensure!(said.success() && said.stdout.contains("taken it out of etcd"), "{said}");
        // An etcd that is asked for its status once it is no member any more panics, and K3s with it: stopped as well.
        let state = all[2].run("systemctl is-active k3s")?.stdout;
        ensure!(["inactive", "failed"].contains(&state.trim()), "K3s has stopped: {state}");
        // Another member may lead etcd from now on, and the API be away for a moment.
        all[1].wait_for("its Node to be gone", CLUSTER, || {
            let left = nodes(&all[1])?;
            ensure!(left.len() == 3 && !left.iter().any(|(node, ..)| node == leaver), "{left:?}");
            Ok(true)
        })?;
        // That it had to wait for its turn when it came is told still; that it holds a name is not.
        all[1].wait_for("its name to be free", CLUSTER, || {
            let held: serde_json::Value = serde_json::from_str(&all[1].ok("bowline nodes --json")?)?;
            let holds = held["nodes"].as_array().into_iter().flatten().any(|one| one["name"] == leaver);
            ensure!(!holds && held["nodes"].is_array(), "{held}");
            Ok(true)
        })?;
        all_ready(&all[1], &[names[0], names[1], WORKER.0])?;
        all[2].ok("bowline leave --undo")?;
        let whole = all_ready(&all[1], &names)
            .with_context(|| all[2].run("bowline status").map(|said| said.stdout).unwrap_or_default())?;
        ensure!(uid(&whole, leaver) != before, "it is a new member");
        say("a server left, and came back");
        Ok(())
    })
}
