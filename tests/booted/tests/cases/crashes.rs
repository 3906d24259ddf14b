//! The agent killed, upgraded and cut off from power after every step: the same end, and nothing done twice.

use anyhow::{Context, Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, install, stand, until, until_ready, volume_on};
use bowline_booted::{ADDRESS, FIRST_BOOT, VOLUME, bare, configure, deb, pid, ready, releases, report, settings};
use bowline_testbed::{Cast, Disk, Fault, K3S_VERSION, Machine, case, case_of};
use std::time::Duration;

mod kubernetes;

/// What is on the machine when a step for the volume `$v` has just been done, as a shell condition.
const STEPS: [(&str, &str); 7] = [
    ("recorded", "[ -e /var/lib/bowline/intents/format-$v.json ]"),
    ("ordered", "[ -e /run/bowline/jobs/mkfs-$v.order.json ]"),
    ("made", "[ -e /run/bowline/jobs/mkfs-$v.result.json ]"),
    ("forgotten", "[ -e /run/bowline/jobs/mkfs-$v.result.json ] && [ ! -e /var/lib/bowline/intents/format-$v.json ]"),
    ("unit", "[ -e /etc/systemd/system/mnt-$v.mount ]"),
    ("enabled", "[ -L /etc/systemd/system/multi-user.target.wants/mnt-$v.mount ]"),
    ("mounted", "mountpoint -q /mnt/$v"),
];

/// A shell command that ends as soon as the step is done.
fn after(step: &str, volume: &str) -> String {
    format!("v={volume}; until {step}; do :; done")
}

/// Gives the agent these settings, and a signal as soon as the step is done for the volume of this name.
fn signalled(machine: &Machine, settings: &str, signal: &str, (name, step): (&str, &str)) -> Result<()> {
    let (agent, watch) = (pid(machine, "bowline")?, after(step, name));
    ensure!(agent != "0", "no agent runs");
    machine.ok(&format!("nohup sh -c '{watch}; kill -{signal} {agent}; echo > /run/at-{name}' >/dev/null 2>&1 &"))?;
    configure(machine, settings)?;
    machine.wait_for(&format!("SIG{signal} when {name}"), SOON, || {
        Ok(machine.run(&format!("test -e /run/at-{name}"))?.success())
    })
}

/// `mkfs.ext4` that stops itself before it writes, as long as `/run/hold-mkfs` is there; a boot takes that away.
const HELD_MKFS: &str = "#!/bin/bash
[ ! -e /run/hold-mkfs ] || kill -STOP $$
exec -a mkfs.ext4 /usr/sbin/mke2fs \"$@\"
";

/// Restarted at once, so that a case takes seconds.
const RESTART: &str = "[Service]\nRestartSec=50ms\n";

#[test]
fn killed_after_each_step_it_goes_on_where_it_was() -> Result<()> {
    case_of(Cast::PLAIN, "killed-after-each-step", |bed| {
        let disks = (0..STEPS.len()).map(|n| bed.disk(&format!("9000{n}"), "64M")).collect::<Result<Vec<_>>>()?;
        let machine = disks.iter().fold(bed.machine("n1").address(ADDRESS), |m, d| m.disk(d));
        let machine = machine.file("/etc/systemd/system/bowline.service.d/quick.conf", RESTART, 0o644).start()?;
        install(&machine, "# nothing yet\n")?;
        let mut settings = String::new();
        for (number, ((name, step), disk)) in STEPS.iter().zip(&disks).enumerate() {
            settings.push_str(&volume_on(disk, name, BLANK_ONLY));
            signalled(&machine, &settings, "KILL", (name, step))?;
            until_ready(&machine, name).with_context(|| format!("killed when {name}"))?;
            as_undisturbed(&machine, disk, name)?;
            assert_eq!(made(&machine, name)?, 1, "killed when {name}: made once");
            let restarts = || machine.ok("systemctl show -p NRestarts --value bowline");
            machine.wait_for("the restart", SOON, || Ok(restarts()?.trim() != number.to_string()))?;
            assert_eq!(restarts()?.trim(), (number + 1).to_string(), "killed when {name}");
        }
        Ok(())
    })
}

#[test]
fn power_cut_after_each_step_ends_the_same() -> Result<()> {
    case_of(Cast::PLAIN, "power-cut-after-each-step", |bed| {
        let disks = (0..STEPS.len()).map(|n| bed.disk(&format!("9100{n}"), "64M")).collect::<Result<Vec<_>>>()?;
        let machine = disks.iter().fold(bed.machine("n1").address(ADDRESS), |m, d| m.disk(d)).start()?;
        install(&machine, "# nothing yet\n")?;
        let mut settings = String::new();
        for ((name, step), disk) in STEPS.iter().zip(&disks) {
            settings.push_str(&volume_on(disk, name, BLANK_ONLY));
            // Stopped there, it does not go on until the power is gone.
            signalled(&machine, &settings, "STOP", (name, step))?;
            machine.power_off()?;
            machine.start()?;
            until_ready(&machine, name).with_context(|| format!("no power when {name}"))?;
            as_undisturbed(&machine, disk, name)?;
        }
        // All of them once more at the next boot.
        machine.reboot()?;
        for (name, _) in STEPS {
            until_ready(&machine, name)?;
        }
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0);
        Ok(())
    })
}

#[test]
fn a_mkfs_under_way_is_followed_by_whoever_comes_next() -> Result<()> {
    case_of(Cast::PLAIN, "mkfs-under-way", |bed| {
        let (killed, cut) = (bed.disk("92000", "256M")?, bed.disk("92001", "256M")?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&killed).disk(&cut);
        let machine = machine.file("/etc/systemd/system/bowline.service.d/quick.conf", RESTART, 0o644).start()?;
        machine.put("/usr/local/sbin/held-mkfs", HELD_MKFS, 0o755)?;
        machine.ok("ln -sf /usr/local/sbin/held-mkfs /usr/sbin/mkfs.ext4")?;
        install(&machine, "# nothing yet\n")?;
        let held = "until pgrep -x --runstates T mkfs.ext4; do sleep 0.05; done";
        let working = |s: &Stand| matches!(s, Stand::Working(what) if what.starts_with("format "));

        // Killed and upgraded while it runs: the unit goes on, and the agent follows it.
        machine.ok("touch /run/hold-mkfs")?;
        configure(&machine, &volume_on(&killed, "killed", BLANK_ONLY))?;
        machine.run_with(held, b"", SOON)?;
        let mkfs = pid(&machine, "bowline-mkfs-killed")?;
        let agent = pid(&machine, "bowline")?;
        machine.kill("bowline")?;
        until(&machine, "killed", "still being made", working)?;
        machine.install(&deb()?)?;
        until(&machine, "killed", "still being made", working)?;
        machine.wait_for("another agent", SOON, || Ok(!["0", &agent].contains(&pid(&machine, "bowline")?.as_str())))?;
        assert_eq!(pid(&machine, "bowline-mkfs-killed")?, mkfs, "nothing was interrupted");
        machine.ok("pkill -CONT -x mkfs.ext4")?;
        until_ready(&machine, "killed")?;
        as_undisturbed(&machine, &killed, "killed")?;
        assert_eq!(made(&machine, "killed")?, 1);

        // Power cut in its midst: what is half-made is known as ours, and made again.
        let both = format!("{}{}", volume_on(&killed, "killed", BLANK_ONLY), volume_on(&cut, "cut", BLANK_ONLY));
        configure(&machine, &both)?;
        machine.run_with(held, b"", SOON)?;
        machine.power_off()?;
        // As a cut leaves it: bytes, and no superblock yet.
        cut.fill(1 << 20, 4096, 0xaa)?;
        machine.start()?;
        until_ready(&machine, "cut")?;
        as_undisturbed(&machine, &cut, "cut")?;
        let done = machine.journal("bowline")?;
        assert!(!done.contains("refused:"), "{done}");
        Ok(())
    })
}

#[test]
fn killed_all_the_time_it_still_makes_a_node_and_downloads_once() -> Result<()> {
    case("killed-all-the-time", |bed| {
        let releases = releases(bed)?;
        releases.fault(K3S_VERSION, "k3s", Fault::Slow(40 << 20));
        let disk = bed.disk(VOLUME, "512M")?;
        let machine = bare(bed, &releases, Some(&disk))?;
        machine.put("/etc/systemd/system/bowline.service.d/quick.conf", RESTART, 0o644)?;
        install(&machine, &format!("{}{}", settings::server(&releases), settings::volume()))?;
        let mut kills = 0;
        machine.wait_for("the node to be ready", FIRST_BOOT, || {
            // Different moments of each run: 0.3 s, 0.6 s, … 2.1 s after the start.
            std::thread::sleep(Duration::from_millis(300 * (kills % 7 + 1)));
            if report(&machine).is_ok_and(|r| r["overall"] == "ready") {
                return Ok(true);
            }
            kills += 1;
            machine.kill("bowline").map(|()| false)
        })?;
        ready(&machine)?;
        assert!(kills >= 5, "killed {kills} times");
        assert_eq!(stand(&report(&machine)?, "data"), Stand::Ready);
        assert_eq!(releases.count(K3S_VERSION, "k3s").requests, 1, "downloaded once, with {kills} kills");
        assert_eq!(made(&machine, "data")?, 1);
        assert_eq!(machine.ok("systemctl show -p NRestarts --value k3s")?.trim(), "0");
        let started = machine.ok("journalctl --sync; journalctl -q -o cat -u k3s | grep -c '^Starting k3s.service'")?;
        assert_eq!(started.trim(), "1", "K3s was started once");

        machine.power_off()?;
        machine.start()?;
        ready(&machine)?;
        assert_eq!(releases.count(K3S_VERSION, "k3s").requests, 1);
        Ok(())
    })
}

/// Everything as a run that nobody disturbed leaves it.
fn as_undisturbed(machine: &Machine, disk: &Disk, name: &str) -> Result<()> {
    let uuid = machine.ok(&format!("findmnt -no UUID /mnt/{name}"))?;
    let unit = machine.read(&format!("/etc/systemd/system/mnt-{name}.mount"))?;
    assert!(unit.contains(&format!("What=/dev/disk/by-uuid/{}\n", uuid.trim())), "{name}: {uuid} {unit}");
    machine.ok(&format!("systemctl is-enabled mnt-{name}.mount && test -z \"$(ls -A /var/lib/bowline/intents)\""))?;
    machine.ok(&format!("test $(findmnt -no SOURCE /mnt/{name}) = $(readlink -f {})", disk.link()))?;
    Ok(())
}

/// How often a `mkfs` unit was started.
fn made(machine: &Machine, name: &str) -> Result<usize> {
    let text = machine
        .run(&format!("journalctl --sync; journalctl -q -o cat -u bowline-mkfs-{name} | grep -c '^Started'"))?
        .stdout;
    Ok(text.trim().parse()?)
}
