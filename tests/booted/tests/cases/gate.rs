//! Kubernetes and its volume: never on the bare directory, never an obstacle for the boot, and not held where it is told.

use anyhow::Result;
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, install, until, until_ready};
use bowline_booted::told::tells;
use bowline_booted::{FIRST_BOOT, VOLUME, configure, pid, ready, releases, releases_with, report, settings, with_k3s};
use bowline_testbed::{Cast, K3S_VERSION, Machine, case, case_of};
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
        machine.ok(&format!("test ! -e {gate} && test ! -e /mnt/data"))?;

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
        machine.ok(&format!("printf '[Unit]\\n' > {gate}; systemctl daemon-reload; bowline apply --wait 10s"))?;
        assert_eq!(machine.read(gate)?, ours);

        // A boot without the disk: everybody may log in, K3s does not run, and nothing gets onto the bare directory.
        machine.shut_down()?;
        machine.detach(&disk)?;
        machine.start()?;
        until(&machine, "data", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        machine.ok("systemctl is-active systemd-logind.service basic.target network.target bowline.service")?;
        machine.ok("test ! -e /run/nologin && test -z \"$(systemctl --failed --no-legend)\"")?;
        // systemd itself waits 90 s for the disk before it calls the boot done; a timeout is this, sooner.
        machine.ok("systemctl cancel $(systemctl list-jobs --no-legend 'dev-disk-*.device' | awk '{print $1}')")?;
        machine.wait_booted()?;
        assert!(!machine.run("systemctl is-active k3s")?.success());
        assert!(!machine.run("systemctl start --job-mode=ignore-dependencies k3s")?.success(), "an assertion holds it");
        assert_eq!(machine.ok("ls -A /mnt/data")?, "");
        assert_eq!(machine.run("pgrep -x k3s")?.stdout, "");

        machine.attach(&disk)?;
        until_ready(&machine, "data")?;
        ready(&machine)?;
        assert_eq!(machine.read("/mnt/data/file")?, "precious\n");
        Ok(())
    })
}

/// With a stub in K3s's place: what starts and stops it is systemd.
#[test]
fn kubernetes_that_went_down_with_its_volume_comes_back_with_it() -> Result<()> {
    case_of(Cast::PLAIN, "gate-disk-goes", |bed| {
        let program = bed.dir().join("k3s-stub");
        let text = format!("#!/bin/sh\n[ \"$1\" = server ] && exec sleep 999\necho 'k3s version {K3S_VERSION} (0)'\n");
        fs::write(&program, text)?;
        let (releases, _) = releases_with(bed, &program)?;
        let disk = bed.disk(VOLUME, "64M")?;
        let machine = with_k3s(bed, &releases, Some(&disk))?;
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

        // Who stops it first, and not in one go with the disk, means it.
        machine.ok("systemctl stop k3s")?;
        thread::sleep(Duration::from_secs(1));
        machine.detach(&disk)?;
        until(&machine, "data", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        machine.attach(&disk)?;
        until_ready(&machine, "data")?;
        tells(&machine, &["K3s to be started again by hand", "somebody stopped it (`systemctl stop`)"])?;
        assert_eq!(machine.run("systemctl is-active k3s")?.stdout.trim(), "inactive");
        Ok(())
    })
}

fn node_is_ready(machine: &Machine) -> Result<()> {
    machine.wait_for("the node to be Ready", FIRST_BOOT, || {
        let conditions = &report(machine)?["conditions"];
        Ok(conditions["node"] == "ready" && conditions["labels"] == "applied")
    })
}
