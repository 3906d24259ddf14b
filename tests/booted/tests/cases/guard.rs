//! Pods are kept from the issuer's port: from before Kubernetes starts, whatever becomes of other rules, until the package
//! goes.

use anyhow::{Result, ensure};
use bowline_booted::{ADDRESS, FIRST_BOOT, KEY, install_and_wait, pid, ready, releases, settings, with_k3s};
use bowline_testbed::{Bed, Cast, Machine, Releases, case_of};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const OTHER: &str = "10.0.1.30";
const CLOSED: &str = "/run/bowline-guard/closed.json";

/// A server that lets nodes in.
fn server(bed: &Bed, releases: &Releases) -> Result<Machine> {
    let machine = with_k3s(bed, releases, None)?;
    machine.put("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)?;
    let settings = settings::server(releases)
        .replace("role = \"server\"\n", "role = \"server\"\nkey-file = \"/etc/bowline/cluster.key\"\n");
    install_and_wait(&machine, &settings)?;
    Ok(machine)
}

/// A network namespace behind an interface of its own, as network plugins make them.
fn make_pod(machine: &Machine) -> Result<()> {
    machine.ok("ip netns add pod && ip link add pod0 type veth peer name eth0 netns pod \
         && ip address add 10.99.0.1/24 dev pod0 && ip address add fd00:99::1/64 dev pod0 nodad && ip link set pod0 up \
         && sysctl -q -w net.ipv4.ip_forward=1")?;
    let inside = "nsenter --net=/run/netns/pod ip";
    machine.ok(&format!(
        "{inside} address add 10.99.0.5/24 dev eth0 && {inside} address add fd00:99::5/64 dev eth0 nodad \
         && {inside} link set eth0 up && {inside} route add default via 10.99.0.1 \
         && {inside} route add default via fd00:99::1"
    ))?;
    // A second family, and ports of others.
    machine.ok("ip address add fd00:1::10/64 dev host0 nodad")?;
    for port in [7470, 7473] {
        listen(machine, "fd00:1::10", port)?;
    }
    listen(machine, ADDRESS, 7473)
}

fn listen(machine: &Machine, address: &str, port: u16) -> Result<()> {
    machine.ok(&format!("systemd-run --quiet --collect python3 -m http.server {port} --bind {address}"))?;
    machine.wait_for("somebody to listen", SOON, || reaches(machine, "", address, port))
}

/// Whether a TCP connection comes about. `from` is what leads into a namespace.
fn reaches(machine: &Machine, from: &str, address: &str, port: u16) -> Result<bool> {
    connects(machine, from, address, port, 30)
}

/// Whether none does: whoever is let through is through at once.
fn is_kept_out(machine: &Machine, from: &str, address: &str, port: u16) -> Result<bool> {
    connects(machine, from, address, port, 2).map(|connects| !connects)
}

fn connects(machine: &Machine, from: &str, address: &str, port: u16, seconds: u32) -> Result<bool> {
    Ok(machine.run(&format!("{from} timeout {seconds} bash -c '</dev/tcp/{address}/{port}'"))?.success())
}

const POD: &str = "nsenter --net=/run/netns/pod";

/// Every way of the pod to an issuer's port is closed, and all else is not.
fn is_closed(machine: &Machine) -> Result<()> {
    for address in [ADDRESS, "fd00:1::10", OTHER] {
        ensure!(is_kept_out(machine, POD, address, 7470)?, "a pod reaches {address}, port 7470");
        ensure!(reaches(machine, POD, address, 7473)?, "a pod does not reach {address}, port 7473");
        ensure!(reaches(machine, "", address, 7470)?, "the machine itself does not reach {address}");
    }
    Ok(())
}

fn number(machine: &Machine, unit: &str, property: &str) -> Result<u64> {
    Ok(machine.ok(&format!("systemctl show --property={property} --value {unit}"))?.trim().parse()?)
}

#[test]
fn pods_do_not_reach_the_issuer_whatever_happens() -> Result<()> {
    case_of(Cast { servers: 1, agents: 0, plain: 1, virtuals: 0, patient: false }, "guard", |bed| {
        let releases = releases(bed)?;
        let server = server(bed, &releases)?;
        let other = bed.machine("other").address(OTHER).start()?;
        for port in [7470, 7473] {
            listen(&other, OTHER, port)?;
        }
        other.ok(&format!("ip route add 10.99.0.0/24 via {ADDRESS}"))?;
        make_pod(&server)?;
        is_closed(&server)?;
        ensure!(reaches(&other, "", ADDRESS, 7470)?, "other machines come in");
        let said = server.run("bowline doctor --json")?.stdout;
        ensure!(said.contains("ports closed to pods") && !said.contains("open to pods"), "{said}");

        // Nobody else's rules, and nobody's hand, open it.
        server.ok("nft flush ruleset")?;
        is_closed(&server)?;
        ensure!(!server.run("nft delete table inet bowline")?.success(), "the table is Bowline's");
        let first = pid(&server, "bowline-guard")?;
        server.ok("systemctl kill --signal=KILL bowline-guard")?;
        server.wait_for("the guard to be back", SOON, || {
            let now = pid(&server, "bowline-guard")?;
            Ok(now != first && now != "0" && server.run(&format!("test -e {CLOSED}"))?.success())
        })?;
        is_closed(&server)?;
        server.ok("systemctl stop bowline-guard")?;
        server.wait_for("Bowline to put it back", SOON, || Ok(server.run(&format!("test -e {CLOSED}"))?.success()))?;
        is_closed(&server)?;
        ready(&server)?;

        // At a boot without Bowline it is closed before Kubernetes starts.
        server.ok("systemctl disable bowline")?;
        server.reboot()?;
        server.wait_for("Kubernetes", FIRST_BOOT, || Ok(server.run("systemctl is-active k3s")?.success()))?;
        ensure!(!server.run("systemctl is-active bowline")?.success(), "Bowline runs");
        let closed = number(&server, "bowline-guard", "ActiveEnterTimestampMonotonic")?;
        let began = number(&server, "k3s", "InactiveExitTimestampMonotonic")?;
        ensure!(0 < closed && closed < began, "closed at {closed} us, Kubernetes began at {began} us");
        server.ok("nft list table inet bowline | grep -q 'flags owner'")?;
        server.ok("systemctl enable --now bowline")?;
        ready(&server)?;

        // It goes with the package, and Kubernetes stays.
        server.ok("dpkg --remove bowline")?;
        let tables = server.ok("nft list tables")?;
        ensure!(!tables.contains("bowline"), "{tables}");
        ensure!(server.run("systemctl is-active k3s")?.success(), "Kubernetes runs on");
        Ok(())
    })
}
