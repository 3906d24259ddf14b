//! The life of the package on a machine that runs Kubernetes: nothing that apt does to Bowline reaches Kubernetes.

use anyhow::Result;
use bowline_booted::{
    FIRST_BOOT, VOLUME, configure, deb, install_and_wait, pid, ready, releases, report, settings, with_k3s,
};
use bowline_testbed::{Bed, Cast, Machine, Os, Repository, case, case_of};
use std::time::Duration;

const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0";

/// Makes the bed's repository a source of the machine's apt.
fn subscribe(machine: &Machine, repository: &Repository) -> Result<()> {
    machine.put("/etc/apt/keyrings/bowline.asc", repository.key(), 0o644)?;
    let source = repository.source_line("signed-by=/etc/apt/keyrings/bowline.asc");
    machine.put("/etc/apt/sources.list.d/bowline.list", source + "\n", 0o644)
}

/// What must not end: K3s, the containerd it started, and when systemd started the unit.
#[derive(Debug, PartialEq)]
struct Kubernetes {
    main: String,
    containerd: String,
    started: String,
}

fn kubernetes(machine: &Machine) -> Result<Kubernetes> {
    Ok(Kubernetes {
        main: pid(machine, "k3s")?,
        containerd: machine.ok("pgrep --oldest --exact containerd")?.trim().to_string(),
        started: machine.ok("systemctl show --property=InvocationID --value k3s")?.trim().to_string(),
    })
}

fn version(machine: &Machine) -> Result<String> {
    Ok(machine.run("dpkg-query --show --showformat='${db:Status-Status} ${Version}' bowline")?.stdout)
}

/// What Bowline leaves to systemd: the volume's mount unit, and the gate before K3s.
const LEFT: &str =
    "grep -rlE '^# .*[Bb]owline' /etc/systemd/system --include=*.mount --include=*.conf --include=*.service";

#[test]
fn nothing_that_apt_does_to_bowline_reaches_kubernetes() -> Result<()> {
    case("package-life", |bed| {
        let releases = releases(bed)?;
        let disk = bed.disk(VOLUME, "512M")?;
        let repository = bed.apt_repository(&[&deb()?])?;
        let machine = with_k3s(bed, &releases, Some(&disk))?;
        subscribe(&machine, &repository)?;

        // The package may come first: it waits for settings, and takes them when they are there.
        machine.ok(&format!("apt-get -q update && {APT} install bowline"))?;
        assert_eq!(machine.ok("systemctl is-active bowline")?.trim(), "active");
        assert_eq!(machine.ok("systemctl is-enabled bowline bowline-settings.path")?, "enabled\nenabled\n");
        let files = machine.ok("dpkg -L bowline")?;
        for paper in ["CHANGELOG.md", "CLUSTERS.md", "README.md", "SECURITY.md"] {
            assert!(files.contains(&format!("/usr/share/doc/bowline/{paper}\n")), "{paper} is missing in:\n{files}");
        }
        let status = machine.run("bowline status")?;
        assert!(status.stdout.contains("no settings yet") && status.code == 3, "{status}");
        let reserve = "[pressure]\nreserve = \"8MiB\"\n";
        configure(&machine, &format!("{}{}{reserve}", settings::server(&releases), settings::volume()))?;
        ready(&machine)?;
        machine.ok("test -e /var/lib/bowline/reserve")?;
        machine.ok("echo precious > /mnt/data/file")?;
        let before = kubernetes(&machine)?;
        let left = machine.ok(LEFT)?;
        assert!(left.contains(".mount") && left.lines().count() >= 2, "{left}");

        // An upgrade restarts Bowline, once.
        let (first, agent) = (version(&machine)?, pid(&machine, "bowline")?);
        repository.add(&bed.renumbered(&deb()?, "0.1.1~1")?)?;
        machine.ok(&format!("apt-get -q update && {APT} upgrade"))?;
        assert_eq!((first.as_str(), version(&machine)?.as_str()), ("installed 0.1.0", "installed 0.1.1~1"));
        assert_ne!(pid(&machine, "bowline")?, agent);
        assert_eq!(machine.journal("bowline")?.matches("Started bowline.service").count(), 2);
        ready(&machine)?;
        assert_eq!(kubernetes(&machine)?, before, "after the upgrade");
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0, "{}", machine.run("bowline plan")?);

        // needrestart sees that K3s's containerd runs with an old C library, and leaves K3s alone; Bowline's own work as well,
        // in whose place something else sleeps.
        machine.enable_needrestart()?;
        machine.ok(
            "systemd-run --unit=bowline-prepare-data sleep 999 && \
             until grep -q libc.so /proc/$(systemctl show --value --property=MainPID bowline-prepare-data)/maps; do sleep 0.1; done",
        )?;
        machine
            .ok("lib=$(readlink -f /lib/x86_64-linux-gnu/libc.so.6 /lib/aarch64-linux-gnu/libc.so.6 | head -n 1); \
                    cp -p $lib $lib.new && mv $lib.new $lib")?;
        let outdated = machine.ok("needrestart -b -r l -l")?;
        assert!(outdated.contains("NEEDRESTART-SVC: k3s.service"), "the case shows nothing:\n{outdated}");
        assert!(outdated.contains("NEEDRESTART-SVC: bowline.service"), "{outdated}");
        assert!(outdated.contains("NEEDRESTART-SVC: bowline-prepare-data.service"), "{outdated}");
        let (agent, work) = (pid(&machine, "bowline")?, pid(&machine, "bowline-prepare-data")?);
        let said = machine.ok(&format!("NEEDRESTART_MODE=a {APT} install --reinstall bowline"))?;
        let (restarted, deferred) = said.split_once("Service restarts being deferred").unwrap_or((&said, ""));
        assert!(restarted.contains("systemctl restart") && !restarted.contains("k3s"), "{said}");
        assert!(deferred.contains("systemctl restart k3s.service"), "{said}");
        assert_eq!(kubernetes(&machine)?, before, "after needrestart: {said}");
        assert_ne!(pid(&machine, "bowline")?, agent);
        assert_eq!(pid(&machine, "bowline-prepare-data")?, work, "{said}");
        machine.ok("systemctl stop bowline-prepare-data")?;
        ready(&machine)?;

        // Removed: Kubernetes goes on, and everything is there for a later installation.
        machine.ok(&format!("{APT} remove bowline"))?;
        assert!(!machine.run("systemctl is-active bowline")?.success());
        assert_eq!(kubernetes(&machine)?, before, "after the removal");
        assert_eq!(machine.ok(LEFT)?, left);
        machine.ok("test -d /var/lib/bowline && mountpoint -q /mnt/data && test ! -e /usr/bin/bowline")?;
        // What was kept free for it is the machine's again.
        machine.ok("test ! -e /var/lib/bowline/reserve")?;
        machine.ok(&format!("{APT} install bowline"))?;
        ready(&machine)?;
        assert_eq!(kubernetes(&machine)?, before, "after the second installation");

        // Purged: it says what stays, and the next boot finds all of that.
        let said = machine.ok(&format!("{APT} purge bowline"))?;
        for kept in ["data volumes", "Kubernetes", "mount units", "settings", "chattr -i PLACE", "stops its K3s"] {
            assert!(said.contains(kept), "{kept} is missing in:\n{said}");
        }
        machine.ok(
            "test ! -e /var/lib/bowline && test ! -e /run/bowline && test ! -e /etc/needrestart/conf.d/bowline.conf",
        )?;
        machine.ok("test -e /etc/bowline/config.d/10-node.toml")?;
        assert_eq!(kubernetes(&machine)?, before, "after the purge");
        assert_eq!(machine.ok(LEFT)?, left);
        machine.reboot()?;
        machine.wait_for("Kubernetes without Bowline", FIRST_BOOT, || {
            Ok(machine.run("k3s kubectl wait --for=condition=Ready node --all --timeout=1s")?.success())
        })?;
        assert_eq!(machine.read("/mnt/data/file")?, "precious\n");

        // And it comes back to what it left.
        let before = kubernetes(&machine)?;
        machine.ok(&format!("{APT} install bowline"))?;
        ready(&machine)?;
        assert_eq!(kubernetes(&machine)?, before, "after the last installation");
        assert_eq!(machine.read("/mnt/data/file")?, "precious\n");
        Ok(())
    })
}

/// Every release that is supported: the package installs, the sandbox holds and lets the work be done.
fn installs_and_formats(bed: &Bed, os: Os) -> Result<()> {
    let disk = bed.disk(VOLUME, "512M")?;
    let machine = bed.machine("plain").os(os).address("10.0.1.10").disk(&disk).start()?;
    install_and_wait(&machine, &settings::volume_with("format = \"blank-only\"\ngate = false"))?;
    assert_eq!(machine.ok("findmnt -no FSTYPE /mnt/data")?.trim(), "ext4");
    assert_eq!(report(&machine)?["overall"], "ready");

    let said = machine.ok("systemd-analyze security --no-pager bowline.service")?;
    let level = said.lines().last().and_then(|line| line.split_whitespace().find_map(|word| word.parse::<f64>().ok()));
    assert!(level.is_some_and(|level| level <= 3.0), "{said}");

    // What systemd of this release does not know, it says, and nobody would read it.
    let journal = machine.ok("journalctl --no-pager -b _PID=1")?;
    let complaints: Vec<_> = journal
        .lines()
        .filter(|line| line.contains("bowline") && line.contains(".service:") && line.contains("nknown"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");

    machine.reboot()?;
    machine
        .wait_for("the volume", Duration::from_secs(30), || Ok(machine.run("mountpoint -q /mnt/data")?.success()))?;
    ready(&machine)?;
    assert_eq!(machine.run("bowline plan --exit-code")?.code, 0);
    // Also where its folder is a filesystem of its own.
    machine.ok("mount --bind /var/lib/bowline /var/lib/bowline && dpkg --remove bowline && umount /mnt/data")?;
    machine.ok("lsattr -d /mnt/data | cut -d' ' -f1 | grep i && dpkg --purge bowline")?;
    assert!(
        !machine.run("touch /mnt/data/beneath")?.success(),
        "the place of a volume that has its mount unit is writable"
    );
    machine.ok("systemctl start mnt-data.mount")?;
    assert_eq!(machine.ok("ls -A /var/lib/bowline")?, "");
    Ok(())
}

#[test]
fn debian_12_installs_the_package_and_its_volume() -> Result<()> {
    case_of(Cast::PLAIN, "package-debian-12", |bed| installs_and_formats(bed, Os::Bookworm))
}

#[test]
fn debian_13_installs_the_package_and_its_volume() -> Result<()> {
    case_of(Cast::PLAIN, "package-debian-13", |bed| installs_and_formats(bed, Os::Trixie))
}
