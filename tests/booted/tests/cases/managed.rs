//! `distribution = "none"`: a Kubernetes that something else manages, with a stub in its place. What starts and stops it is systemd.

use anyhow::Result;
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, install, until, until_ready, volume_on};
use bowline_booted::{ADDRESS, report};
use bowline_testbed::{Cast, Machine, Os, case_of};

const STUB: &str = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

#[test]
fn services_of_somebody_elses_kubernetes_wait_for_their_volumes() -> Result<()> {
    case_of(Cast::PLAIN, "managed", |bed| {
        let disk = bed.disk("85000", "64M")?;
        let machine = bed.machine("n1").address(ADDRESS).start()?;
        machine.put("/etc/systemd/system/kubelet.service", STUB, 0o644)?;
        machine.ok("systemctl daemon-reload; systemctl enable kubelet")?;
        let cluster = "[cluster]\ndistribution = \"none\"\nservices = [\"kubelet.service\"]\n";
        install(&machine, &format!("{cluster}{}", volume_on(&disk, "images", BLANK_ONLY)))?;
        until(&machine, "images", "waited for", |s| matches!(s, Stand::Waiting(..)))?;

        // Held back, at a boot as well, and started when the volume is there.
        machine.wait_for("the gate", SOON, || {
            Ok(machine.run("test -e /etc/systemd/system/kubelet.service.d/50-bowline-volume-images.conf")?.success())
        })?;
        machine.reboot()?;
        until(&machine, "images", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        assert!(!machine.run("systemctl is-active kubelet")?.success());
        machine.attach(&disk)?;
        until_ready(&machine, "images")?;
        runs(&machine)?;

        // It goes with its disk, and comes back with it; stopped by a person it stays stopped.
        machine.detach(&disk)?;
        machine.wait_for("systemd to stop it", SOON, || Ok(!machine.run("systemctl is-active kubelet")?.success()))?;
        until(&machine, "images", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        machine.attach(&disk)?;
        until_ready(&machine, "images")?;
        runs(&machine)?;
        machine.ok("systemctl stop kubelet; bowline apply --wait 2s")?;
        assert!(!machine.run("systemctl is-active kubelet")?.success());
        assert!(report(&machine)?["conditions"]["k3s"].is_null(), "nothing of K3s is looked at");
        Ok(())
    })
}

/// From 254 on systemd looks at conditions and assertions no more when it starts a service again.
#[test]
fn a_service_that_ends_by_itself_does_not_come_back_without_its_volume() -> Result<()> {
    case_of(Cast::PLAIN, "managed-restart", |bed| {
        let disk = bed.disk("85010", "64M")?;
        let machine = bed.machine("n1").os(Os::Trixie).address(ADDRESS).disk(&disk).start()?;
        machine.put("/etc/systemd/system/kubelet.service", format!("{STUB}[Service]\nRestart=always\n"), 0o644)?;
        // Mounted by hand: there is no unit that would mount it again.
        let mount = format!("mkfs.ext4 -q {0} && mkdir -p /mnt/images && mount {0} /mnt/images", disk.link());
        machine.ok(&format!("{mount} && systemctl daemon-reload && systemctl enable --now kubelet"))?;
        let cluster = "[cluster]\ndistribution = \"none\"\nservices = [\"kubelet.service\"]\n";
        install(&machine, &format!("{cluster}{}", volume_on(&disk, "images", "")))?;
        until_ready(&machine, "images")?;

        machine.ok("bowline apply --wait 60s && systemctl stop bowline && umount /mnt/images")?;
        machine.ok("systemctl is-active kubelet && systemctl kill --signal=KILL kubelet")?;
        machine.wait_for("systemd to have tried", SOON, || {
            Ok(machine.ok("systemctl show -P Result kubelet")?.trim() == "exec-condition")
        })?;
        assert!(!machine.run("systemctl is-active kubelet")?.success());
        machine.ok("systemctl start bowline")?;
        until_ready(&machine, "images")?;
        runs(&machine)?;

        // Nor does it come back where its volume has a unit that fails, and systemd gives it up: Bowline does not.
        machine.ok("bowline apply --wait 60s && systemctl stop bowline && umount /mnt/images")?;
        machine.ok(&format!("tune2fs -E force_fsck {0} && systemctl kill --signal=KILL kubelet", disk.link()))?;
        machine.wait_for("systemd to have given it up", SOON, || {
            Ok(machine.ok("systemctl show -P SubState kubelet")?.trim() == "auto-restart-queued")
        })?;
        machine.ok(&format!("e2fsck -fp {}; systemctl start bowline", disk.link()))?;
        until_ready(&machine, "images")?;
        runs(&machine)
    })
}

fn runs(machine: &Machine) -> Result<()> {
    machine.wait_for("the service to run", SOON, || Ok(machine.run("systemctl is-active kubelet")?.success()))
}
