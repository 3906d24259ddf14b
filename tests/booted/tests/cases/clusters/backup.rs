//! An only server is lost, and its backup comes back on a new machine, as CLUSTERS.md says.

use anyhow::{Context, Result, ensure};
use bowline_booted::pair::{KEY_FILE, server, server_settings};
use bowline_booted::{KEY, install_and_wait, ready, releases};
use bowline_testbed::{case, checkout};
use std::fs;

/// The commands of CLUSTERS.md for a new machine, with the backup in this directory.
fn restore(backup: &str) -> Result<String> {
    let papers = fs::read_to_string(checkout().join("CLUSTERS.md"))?;
    let (_, after) = papers.split_once("**On a new machine**").context("CLUSTERS.md says nothing of a new machine")?;
    let commands = after.split("```").nth(1).and_then(|block| block.strip_prefix("sh\n")).context("no commands")?;
    ensure!(commands.contains("BACKUP"), "{commands}");
    Ok(format!("set -e\n{}", commands.replace("BACKUP", backup)))
}

#[test]
fn the_backup_of_an_only_server_comes_back_on_a_new_machine() -> Result<()> {
    case("backup", |bed| {
        let releases = releases(bed)?;
        let control = server(bed, &releases, "")?;
        control.ok("k3s kubectl create configmap kept --from-literal=a=b")?;
        let backup = control.ok(
            "systemctl stop k3s && tar -C /var/lib/rancher/k3s -czf /root/server.tar.gz server && systemctl start k3s && \
             base64 -w 0 /root/server.tar.gz",
        )?;

        // Bowline founds another cluster there, under the same name.
        control.recreate()?;
        control.put(KEY_FILE, format!("{KEY}\n"), 0o600)?;
        install_and_wait(&control, &server_settings(&releases, ""))?;
        ensure!(!control.run("k3s kubectl get configmap kept")?.success(), "it is a new one");

        control.put("/root/server.base64", backup.as_bytes(), 0o600)?;
        control.ok("base64 -d /root/server.base64 | tar -C /root -xz")?;
        control.ok(&restore("/root/server")?)?;
        ready(&control)?;
        ensure!(control.ok("k3s kubectl get configmap kept -o jsonpath={.data.a}")? == "b");
        control.ok("k3s kubectl wait --for=condition=Ready node --all --timeout=60s")?;
        let plan = control.run("bowline plan --exit-code")?;
        ensure!(plan.code == 0, "{plan}");
        Ok(())
    })
}
