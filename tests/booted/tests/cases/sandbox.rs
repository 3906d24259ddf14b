//! What the unit is on a booted machine: what its sandbox forbids and what it lets through, and its manners towards systemd.

use anyhow::{Context, Result};
use bowline_booted::{VOLUME, configure, deb, install_and_wait, pid, ready, releases, settings, with_k3s};
use bowline_testbed::{Bed, Cast, Machine, case, case_of};
use std::time::Duration;

/// A machine with the package and its volume, and no Kubernetes: ready in seconds.
fn settled(bed: &Bed) -> Result<Machine> {
    let disk = bed.disk(VOLUME, "512M")?;
    let machine = bed.machine("plain").address("10.0.1.10").disk(&disk).start()?;
    install_and_wait(&machine, &volume())?;
    Ok(machine)
}

fn volume() -> String {
    settings::volume_with("format = \"blank-only\"\ngate = false")
}

/// Adds a drop-in to the unit.
fn drop_in(machine: &Machine, text: &str) -> Result<()> {
    machine.put("/etc/systemd/system/bowline.service.d/case.conf", format!("[Service]\n{text}"), 0o644)?;
    machine.ok("systemctl daemon-reload").map(drop)
}

fn property(machine: &Machine, name: &str) -> Result<String> {
    Ok(machine.ok(&format!("systemctl show --property={name} --value bowline"))?.trim().to_string())
}

/// Tries one thing after the other from where Bowline is; each line says `yes` or `no`.
const PROBE: &str = r#"#!/bin/sh
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: yes"; else echo "$name: no"; fi; }
in_shell() { try "$1" sh -c "$2"; }
disk=$(readlink -f /dev/disk/by-id/scsi-0HC_Volume_12345678)
{
in_shell 'write units' 'touch /etc/systemd/system/probe && rm /etc/systemd/system/probe'
in_shell 'write the settings of K3s' 'touch /etc/rancher/probe && rm /etc/rancher/probe'
in_shell 'write programs' 'touch /usr/local/bin/probe && rm /usr/local/bin/probe'
in_shell 'write its state' 'touch /var/lib/bowline/probe && rm /var/lib/bowline/probe'
try 'read a disk' head -c 4096 "$disk"
try 'read its settings' cat /etc/bowline/config.d/10-node.toml
try 'ask systemd' systemctl is-active bowline.service dbus.service --quiet --state=active
in_shell 'write to /etc' 'echo x >> /etc/passwd'
in_shell 'write its settings' 'touch /etc/bowline/config.d/probe'
in_shell 'write to /usr' 'touch /usr/bin/probe'
in_shell 'write to /var' 'touch /var/lib/probe'
in_shell 'write to homes' 'touch /root/probe'
in_shell 'write to data' 'touch /mnt/data/probe'
in_shell 'write to a disk' "dd if=/dev/zero of=$disk bs=512 count=1 conv=notrunc"
in_shell 'change the kernel' 'echo 1 > /proc/sys/kernel/panic'
in_shell 'change devices' "echo 0 > /sys/class/block/${disk#/dev/}/queue/read_ahead_kb"
try 'mount' mount -t tmpfs none /tmp
try 'make a device node' mknod /tmp/probe b 7 0
try 'make a namespace' unshare --user true
in_shell 'make a setuid file' 'touch /tmp/s && chmod u+s /tmp/s && test -u /tmp/s'
try 'change owners' chown 1 /var/lib/bowline
try 'set the clock' date -s 2001-01-01
try 'name the machine' hostname probe
in_shell 'see other processes' 'test -e /proc/1/environ && cat /proc/1/environ'
} > /run/bowline/probe
"#;

const ALLOWED: [&str; 7] = [
    "write units",
    "write the settings of K3s",
    "write programs",
    "write its state",
    "read a disk",
    "read its settings",
    "ask systemd",
];

#[test]
fn the_sandbox_lets_its_work_through_and_nothing_else() -> Result<()> {
    case_of(Cast::PLAIN, "sandbox", |bed| {
        let machine = settled(bed)?;
        let pid = pid(&machine, "bowline")?;
        let status = machine.read(&format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|line| line.trim_start_matches(':').trim().to_string()).context(name.to_string())
        };
        // CAP_DAC_READ_SEARCH, and so neither CAP_SYS_ADMIN nor anything else.
        for set in ["CapBnd", "CapEff", "CapPrm"] {
            assert_eq!(field(set)?, "0000000000000004", "{set}");
        }
        assert_eq!((field("CapInh")?.as_str(), field("CapAmb")?.as_str()), ("0000000000000000", "0000000000000000"));
        assert_eq!((field("NoNewPrivs")?.as_str(), field("Seccomp")?.as_str()), ("1", "2"));
        assert_eq!(property(&machine, "ProtectSystem")?, "strict");

        machine.put("/usr/local/lib/probe", PROBE, 0o755)?;
        drop_in(&machine, "ExecStartPre=/usr/local/lib/probe\n")?;
        machine.ok("systemctl restart bowline")?;
        let probe = machine.read("/run/bowline/probe")?;
        let allowed: Vec<_> = probe.lines().filter_map(|line| line.strip_suffix(": yes")).collect();
        assert_eq!(allowed, ALLOWED, "{probe}");
        assert_eq!(
            probe.lines().count(),
            PROBE.lines().filter(|l| l.starts_with("try '") || l.starts_with("in_shell '")).count()
        );
        Ok(())
    })
}

/// The sandbox has the directory that was there at the start.
#[test]
fn a_directory_that_is_made_anew_can_be_written_again() -> Result<()> {
    case("directory-made-anew", |bed| {
        let releases = releases(bed)?;
        let machine = with_k3s(bed, &releases, None)?;
        install_and_wait(&machine, &settings::server(&releases))?;
        assert_eq!(property(&machine, "NRestarts")?, "0");
        machine.ok("systemctl stop k3s && rm -rf /etc/rancher && systemctl start k3s")?;
        machine.wait_for("the configuration to be there again", Duration::from_secs(90), || {
            Ok(machine.run("test -e /etc/rancher/k3s/config.yaml.d/50-bowline.yaml")?.success())
        })?;
        ready(&machine)?;
        assert_eq!(property(&machine, "NRestarts")?, "1");
        let journal = machine.journal("bowline")?;
        assert!(journal.contains("/etc/rancher was made anew, or is writable now"), "{journal}");
        assert!(journal.contains("restart K3s (its configuration was gone)"), "{journal}");
        Ok(())
    })
}

#[test]
fn systemd_knows_that_it_is_ready_lives_and_reloads() -> Result<()> {
    case_of(Cast::PLAIN, "manners", |bed| {
        let machine = settled(bed)?;
        assert_eq!(property(&machine, "Type")?, "notify");
        let text = property(&machine, "StatusText")?;
        assert!(text.contains("ready"), "{text}");

        // Fields of the journal, for `journalctl FIELD=` and alerting.
        let done = machine.ok(
            "journalctl --sync && journalctl -u bowline -o json MESSAGE_ID=0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e01 CAPABILITY=volumes ITEM=volume/data",
        )?;
        let entry: serde_json::Value = serde_json::from_str(done.lines().next().context("no step in the journal")?)?;
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "bowline");
        assert_eq!(entry["_SYSTEMD_UNIT"], "bowline.service");
        assert_eq!(entry["PRIORITY"], "5", "{entry}");
        assert!(entry["MESSAGE"].as_str().is_some_and(|message| message.starts_with("done: ")), "{entry}");
        machine
            .ok("journalctl -u bowline -q -n 1 -o cat MESSAGE_ID=0c8ad3ae5f4b4b6d9f0e2a8d1b7c5e06 | grep -q 'ready'")?;

        // Prometheus takes every line of the exposition.
        machine
            .ok("curl -sSf http://127.0.0.1:9787/metrics > /run/metrics && promtool check metrics < /run/metrics")?;
        assert_eq!(machine.ok("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9787/healthz")?, "200");
        assert_eq!(machine.ok("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9787/readyz")?, "200");

        let first = pid(&machine, "bowline")?;
        machine.ok("systemctl reload bowline")?;
        machine.wait_for("the reload in the journal", Duration::from_secs(5), || {
            Ok(machine.journal("bowline")?.contains("settings read again: nothing changed"))
        })?;
        // "reloading" until the daemon has said that it is ready again.
        machine.wait_for("the end of the reload", Duration::from_secs(5), || {
            Ok(property(&machine, "ActiveState")? == "active")
        })?;
        assert_eq!(pid(&machine, "bowline")?, first, "a reload replaces no process");

        // A Bowline that hangs is replaced.
        drop_in(&machine, "WatchdogSec=20\nRestartSec=100ms\n")?;
        machine.ok("systemctl restart bowline")?;
        let hung = pid(&machine, "bowline")?;
        let fed = || property(&machine, "WatchdogTimestampMonotonic");
        for _ in 0..2 {
            let before = fed()?;
            machine.wait_for("it to feed the watchdog", Duration::from_secs(20), || Ok(fed()? != before))?;
        }
        assert_eq!(pid(&machine, "bowline")?, hung, "nobody replaced it");
        machine.ok(&format!("kill -STOP {hung}"))?;
        machine.wait_for("the watchdog", Duration::from_secs(60), || {
            let now = pid(&machine, "bowline")?;
            Ok(now != hung && now != "0")
        })?;
        assert!(machine.journal("bowline")?.contains("Watchdog timeout (limit 20s)"));
        ready(&machine)
    })
}

#[test]
fn wrong_settings_keep_it_down_until_they_change() -> Result<()> {
    case_of(Cast::PLAIN, "wrong-settings", |bed| {
        let machine = settled(bed)?;
        // While it runs, the settings that were good stay in force, and everybody is told.
        let first = pid(&machine, "bowline")?;
        configure(&machine, &volume().replace("mount =", "muont ="))?;
        machine.wait_for("the complaint", Duration::from_secs(10), || {
            Ok(machine.journal("bowline")?.contains("the changed settings are not used"))
        })?;
        assert!(machine.journal("bowline")?.contains("did you mean"), "{}", machine.journal("bowline")?);
        assert_eq!(pid(&machine, "bowline")?, first);
        machine.wait_for("the status to say it", Duration::from_secs(10), || {
            Ok(machine.run("bowline status")?.stdout.contains("muont"))
        })?;

        // A start is refused, once and not in a circle, with status 78.
        drop_in(&machine, "RestartSec=100ms\n")?;
        machine.run("systemctl restart bowline")?;
        machine.wait_for("the end", Duration::from_secs(10), || Ok(property(&machine, "ActiveState")? == "failed"))?;
        assert_eq!(property(&machine, "ExecMainStatus")?, "78");
        assert!(property(&machine, "StatusText")?.contains("muont"), "{}", property(&machine, "StatusText")?);
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(
            (property(&machine, "ActiveState")?.as_str(), property(&machine, "NRestarts")?.as_str()),
            ("failed", "0")
        );

        // Mended settings are reason enough to start again, and nobody has to ask.
        configure(&machine, &volume())?;
        machine.wait_for(
            "the start",
            Duration::from_secs(20),
            || Ok(property(&machine, "ActiveState")? == "active"),
        )?;
        ready(&machine)?;

        // Unless an administrator stopped it.
        machine.ok("systemctl stop bowline")?;
        configure(&machine, &(volume() + "options = [\"noatime\"]\n"))?;
        machine.wait_for("the path unit to have run", Duration::from_secs(10), || {
            Ok(machine.run("systemctl is-active bowline-settings.path")?.success())
        })?;
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(property(&machine, "ActiveState")?, "inactive");
        machine.install(&deb()?)?;
        assert_eq!(property(&machine, "ActiveState")?, "active");
        ready(&machine)
    })
}
