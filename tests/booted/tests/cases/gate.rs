//! Kubernetes and its volume: never on the bare directory, never an obstacle for the boot, and not held where it is told.

use anyhow::{Context, Result};
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, install, until, until_ready, until_refused, volume_on};
use bowline_booted::pods::{CONFIG, IMAGE, image};
use bowline_booted::told::tells;
use bowline_booted::{
    FIRST_BOOT, VOLUME, bare, configure, install_and_wait, pid, ready, releases, releases_with, report, settings,
    with_k3s,
};
use bowline_testbed::{Cast, K3S_VERSION, Machine, case, case_of};
use serde_json::json;
use std::fs;
use std::thread;
use std::time::Duration;

#[test]
fn kubernetes_waits_for_its_volume_and_for_nothing_else() -> Result<()> {
    case("gate", |bed| {
        let releases = releases(bed)?;
        let disk = bed.disk(VOLUME, "512M")?;
        let machine = with_k3s(bed, &releases, None)?;
        let settings = |more: &str| {
            format!("{}{}", settings::server(&releases), settings::volume_with(&format!("{BLANK_ONLY}\n{more}")))
        };
        let gate = "/etc/systemd/system/k3s.service.d/50-bowline-volume-data.conf";

        // A volume that Kubernetes does not need: it starts without.
        install(&machine, &settings("gate = false"))?;
        node_is_ready(&machine)?;
        until(&machine, "data", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        machine.ok(&format!("test ! -e {gate}"))?;
        // Its disk was never there, and nobody can write to its place.
        nobody_writes_to(&machine, "/mnt/data")?;

        // Needed from now on: the gate is set, and a K3s that runs goes on.
        let k3s = pid(&machine, "k3s")?;
        configure(&machine, &settings(""))?;
        machine.wait_for("the gate", SOON, || Ok(machine.run(&format!("test -e {gate}"))?.success()))?;
        machine.attach(&disk)?;
        ready(&machine)?;
        assert_eq!(pid(&machine, "k3s")?, k3s);
        machine.ok("echo precious > /mnt/data/file")?;

        // The gate edited by hand is put back.
        let ours = machine.read(gate)?;
        machine.ok(&format!("printf '[Unit]\\n' > {gate}; systemctl daemon-reload; bowline apply --wait 120s"))?;
        assert_eq!(machine.read(gate)?, ours);

        // A boot without the disk: everybody may log in, K3s does not run, and nothing gets onto the bare directory.
        machine.shut_down()?;
        machine.detach(&disk)?;
        machine.start()?;
        until(&machine, "data", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        machine.ok("systemctl is-active systemd-logind.service basic.target network.target bowline.service")?;
        machine.wait_for("logins", SOON, || Ok(machine.run("test ! -e /run/nologin")?.success()))?;
        machine.ok("test -z \"$(systemctl --failed --no-legend)\"")?;
        // systemd itself waits 90 s for the disk before it calls the boot done; a timeout is this, sooner.
        machine.ok("systemctl cancel $(systemctl list-jobs --no-legend 'dev-disk-*.device' | awk '{print $1}')")?;
        machine.wait_booted()?;
        assert!(!machine.run("systemctl is-active k3s")?.success());
        assert!(!machine.run("systemctl start --job-mode=ignore-dependencies k3s")?.success(), "an assertion holds it");
        nobody_writes_to(&machine, "/mnt/data")?;
        assert_eq!(machine.run("pgrep -x k3s")?.stdout, "");

        machine.attach(&disk)?;
        until_ready(&machine, "data")?;
        ready(&machine)?;
        assert_eq!(machine.read("/mnt/data/file")?, "precious\n");
        Ok(())
    })
}

/// Not even root.
fn nobody_writes_to(machine: &Machine, place: &str) -> Result<()> {
    machine.wait_for("the mount point to be unwritable", SOON, || {
        Ok(machine.run(&format!("test -d {place} && ! touch {place}/x"))?.success())
    })?;
    assert_eq!(machine.ok(&format!("ls -A {place}"))?, "");
    Ok(())
}

/// As long as this is there, the stub does not stop.
const SLOW_TO_STOP: &str = "/run/slow-to-stop";
/// The stub's process that knows it.
const LISTENS: &str = "/run/listens";

/// With a stub in K3s's place: what starts and stops it is systemd.
#[test]
fn kubernetes_that_went_down_with_its_volume_comes_back_with_it() -> Result<()> {
    case_of(Cast::PLAIN, "gate-disk-goes", |bed| {
        let program = bed.dir().join("k3s-stub");
        let text = format!(
            "#!/bin/sh\n\
             [ \"$1\" = server ] || exec echo 'k3s version {K3S_VERSION} (0)'\n\
             trap 'while [ -e {SLOW_TO_STOP} ]; do sleep 0.1; done; kill $!; exit 0' TERM\n\
             echo $$ > {LISTENS}\n\
             sleep 999 &\n\
             wait\n"
        );
        fs::write(&program, text)?;
        let (releases, _) = releases_with(bed, &program)?;
        let disk = bed.disk(VOLUME, "64M")?;
        let machine = bare(bed, &releases, Some(&disk))?;
        install(&machine, &format!("{}{}", settings::server(&releases), settings::volume_with(BLANK_ONLY)))?;
        let runs = |what: &str| {
            machine
                .wait_for(what, SOON, || Ok(machine.run("test \"$(systemctl show -P MainPID k3s)\" != 0")?.success()))
        };
        runs("K3s to run")?;
        // How it stands is for everybody to see.
        let status = machine.run("setpriv --reuid 65534 --regid 65534 --clear-groups bowline status")?;
        assert!(status.code != 1 && status.stdout.contains("cluster"), "{status:?}");

        machine.detach(&disk)?;
        machine.wait_for("systemd to stop K3s and to unmount", SOON, || {
            Ok(machine.run("[ \"$(systemctl is-active k3s mnt-data.mount | sort -u)\" = inactive ]")?.success())
        })?;
        until(&machine, "data", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        machine.attach(&disk)?;
        until_ready(&machine, "data")?;
        runs("K3s to run again")?;

        // A disk that is back before K3s has stopped: systemd goes on with what it began, and both come back.
        machine.ok(&format!("touch {SLOW_TO_STOP}"))?;
        let before = pid(&machine, "k3s")?;
        machine.wait_for("the stub to listen", SOON, || {
            Ok(machine.run(&format!("[ \"$(cat {LISTENS})\" = {before} ]"))?.success())
        })?;
        machine.detach(&disk)?;
        machine.wait_for("systemd to stop K3s", SOON, || {
            Ok(machine.run("[ \"$(systemctl is-active k3s)\" != activating ]")?.success())
        })?;
        machine.attach(&disk)?;
        machine.ok(&format!("rm {SLOW_TO_STOP}"))?;
        machine.wait_for("another K3s to run", SOON, || {
            let now = pid(&machine, "k3s")?;
            Ok(now != "0" && now != before)
        })?;
        until_ready(&machine, "data")?;
        machine.ok("mountpoint /mnt/data")?;

        // Who stops it first, and not in one go with the disk, means it.
        machine.ok("systemctl stop k3s")?;
        thread::sleep(Duration::from_secs(7));
        machine.detach(&disk)?;
        until(&machine, "data", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        machine.attach(&disk)?;
        until_ready(&machine, "data")?;
        tells(&machine, &["K3s to be started again by hand", "somebody stopped it (`systemctl stop`)"])?;
        assert_eq!(machine.run("systemctl is-active k3s")?.stdout.trim(), "inactive");
        Ok(())
    })
}

#[test]
fn what_a_running_kubernetes_uses_is_not_hidden_from_it() -> Result<()> {
    case("gate-in-use", |bed| {
        let releases = releases(bed)?;
        let disks = ["87000", "87001", "87002"].map(|serial| bed.disk(serial, "64M"));
        let [local, pods, free] = disks;
        let (local, pods, free) = (local?, pods?, free?);
        let machine = with_k3s(bed, &releases, None)?;
        let server = format!("{}{CONFIG}", settings::server(&releases));
        install_and_wait(&machine, &server)?;
        image(&machine)?;
        pod_with_empty(&machine, "/mnt/pods")?;
        let before = (local.sha256()?, pods.sha256()?, pid(&machine, "k3s")?);
        for disk in [&local, &pods, &free] {
            machine.attach(disk)?;
        }

        // Added while all of it runs, each place empty or not there: only the last one is free.
        let storage = "/var/lib/rancher/k3s/storage";
        let volumes = volume_on(&local, "local", BLANK_ONLY).replace("/mnt/local", storage)
            + &volume_on(&pods, "pods", BLANK_ONLY)
            + &volume_on(&free, "free", BLANK_ONLY);
        configure(&machine, &(server + &volumes))?;
        until_ready(&machine, "free")?;
        let why = format!("{storage}, in /var/lib/rancher, is in use by Kubernetes: k3s.service runs");
        let stops = until_refused(&machine, "local", &why)?;
        let why = "/mnt/pods is in use by Kubernetes: pods have the bare directory (default/holder)";
        let deletes = until_refused(&machine, "pods", why)?;
        for place in [storage, "/mnt/pods"] {
            machine.ok(&format!("test -z \"$(ls -A {place})\" && ! mountpoint -q {place}"))?;
        }
        assert_eq!((local.sha256()?, pods.sha256()?, pid(&machine, "k3s")?), before, "nothing was touched");

        // Each remedy, carried out.
        let command = |hint: &str| hint.split('`').nth(1).map(str::to_owned).context("no command in the hint");
        let deletes = format!("k3s {}", command(&deletes)?);
        machine.wait_for("the pod to be deleted", FIRST_BOOT, || Ok(machine.run(&deletes)?.success()))?;
        machine.ok("bowline apply --wait 1s || true")?;
        until_ready(&machine, "pods")?;
        machine.run_with(&command(&stops)?, b"", FIRST_BOOT)?;
        until_ready(&machine, "local")?;
        machine.ok(&format!("mountpoint -q {storage} && mountpoint -q /mnt/pods"))?;
        ready(&machine)
    })
}

/// A pod that has an empty directory of the machine.
fn pod_with_empty(machine: &Machine, directory: &str) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "holder", "namespace": "default" },
        "spec": {
            "hostNetwork": true, "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "holder", "image": IMAGE, "imagePullPolicy": "Never",
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
            "volumes": [{ "name": "data", "hostPath": { "path": directory, "type": "DirectoryOrCreate" } }],
        },
    });
    machine.put("/root/pod.json", pod.to_string(), 0o644)?;
    machine.wait_for("the pod to be taken", FIRST_BOOT, || {
        Ok(machine.run("k3s kubectl apply -f /root/pod.json")?.success())
    })?;
    machine.wait_for("the pod to run", FIRST_BOOT, || {
        Ok(machine.run("k3s kubectl get pod holder -o 'jsonpath={.status.phase}'")?.stdout == "Running")
    })
}

fn node_is_ready(machine: &Machine) -> Result<()> {
    machine.wait_for("the node to be Ready", FIRST_BOOT, || {
        let conditions = &report(machine)?["conditions"];
        Ok(conditions["node"] == "ready" && conditions["labels"] == "applied")
    })
}
