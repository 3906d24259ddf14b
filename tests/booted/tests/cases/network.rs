//! Addresses, routes, clocks and ports: what is not there yet is waited for by name, what is in the way is named, and
//! nothing else is held up by it.

use anyhow::{Result, ensure};
use bowline_booted::findings::{findings, findings_with, is_alone, nothing_found, remedy, the_finding};
use bowline_booted::told::{no_longer_tells, now, tells};
use bowline_booted::{
    ADDRESS, NODE, VOLUME, bare, clock, configure, deb, install_and_wait, pid, ready, releases, releases_with, report,
    settings, with_k3s,
};
use bowline_testbed::{Bed, K3S_VERSION, Machine, case};
use serde_json::Value;
use std::fs;
use std::time::Duration;

const CONFIG: &str = "/etc/rancher/k3s/config.yaml.d/50-bowline.yaml";
const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_address_and_a_route_that_come_late_are_waited_for_by_name() -> Result<()> {
    case("late-network", |bed| {
        let releases = releases(bed)?;
        let machine = clock::synchronised(bed.machine(NODE))
            .file("/etc/bowline/mirror-ca.pem", releases.ca_pem(), 0o644)
            .start()?;
        configure(&machine, &settings::server(&releases))?;
        machine.install(&deb()?)?;
        tells(&machine, &["waiting for an address in 10.0.1.0/24: no interface has one yet; there are: lo 127.0.0.1"])?;
        tells(&machine, &["waiting for a default route: K3s does not start without one"])?;
        tells(&machine, &["waiting for the node's address and a default route: K3s does not start before that"])?;
        tells(&machine, &["no connection to 10.0.1.1: 10.0.1.1:443: Network is unreachable"])?;
        assert_eq!(machine.run("bowline status")?.code, 1, "a download that fails is a fault");
        // One fault, though there is no route either, and nothing can be downloaded.
        let finding = the_finding(&machine, "node's address", "an address in 10.0.1.0/24 is missing")?;
        ensure!(remedy(&finding).starts_with("attach the machine to that network"), "{finding}");

        // Several addresses are not chosen from.
        machine
            .ok("ip link set host0 up; ip address add 10.0.1.10/24 dev host0; ip address add 10.0.1.11/24 dev host0")?;
        tells(
            &machine,
            &["refused: choose the node's address: several addresses are in 10.0.1.0/24: \
                 10.0.1.10 on host0, 10.0.1.11 on host0 → write the one address into `[node] address`"],
        )?;
        configure(&machine, &settings::server(&releases).replace("10.0.1.0/24", ADDRESS))?;
        no_longer_tells(&machine, "several addresses")?;

        // The mirror is near: it needs no default route, K3s does.
        machine.wait_for("K3s to be installed", SOON, || Ok(machine.run("test -x /usr/local/bin/k3s")?.success()))?;
        tells(&machine, &["waiting for a default route: K3s does not start before that"])?;
        assert_eq!(machine.run("bowline status")?.code, 3, "{:?}", now(&machine)?);
        assert_eq!(machine.run("systemctl is-active k3s")?.stdout.trim(), "inactive");
        let finding = the_finding(&machine, "default route", "a default route is missing")?;
        ensure!(remedy(&finding).starts_with("give the machine a default route"), "{finding}");
        machine.ok("ip route add default via 10.0.1.1")?;
        ready(&machine)?;
        nothing_found(&machine, SOON)?;
        assert_eq!(now(&machine)?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn a_clock_that_is_a_year_off_is_found_out() -> Result<()> {
    case("wrong-clock", |bed| {
        let program = bed.dir().join("k3s-stub");
        fs::write(
            &program,
            format!("#!/bin/sh\n[ \"$1\" = server ] && exec sleep 999\necho 'k3s version {K3S_VERSION} (0)'\n"),
        )?;
        let (releases, _) = releases_with(bed, &program)?;
        let machine = bare(bed, &releases, None)?;
        configure(&machine, &settings::server(&releases))?;

        // Behind: K3s's authorities would be made with a wrong date, and TLS says no already.
        clock::set_off(&machine, "-365d")?;
        machine.install(&deb()?)?;
        let line = tells(
            &machine,
            &[
                "waiting for a clock that is right: it is at least 36",
                " d behind: K3s's certificates would not be valid",
            ],
        )?;
        ensure!(line.contains("36"), "{line}");
        let line = tells(
            &machine,
            &["the certificate of 10.0.1.1 is not valid yet; this machine's clock says", "the clock is probably wrong"],
        )?;
        ensure!(line.contains(&year(bed, -365)?), "{line}");
        tells(&machine, &["waiting for a right clock: K3s does not start before that"])?;
        let seen = findings_with(&machine, &clock::variables(&machine, "-365d")?)?;
        ensure!(is_alone(&seen, "clock", " d behind") && remedy(&seen[0]).starts_with("set the clock"), "{seen:#?}");

        // Ahead: nothing on the machine knows it, the mirror's certificate does.
        clock::set_off(&machine, "+365d")?;
        machine.ok("systemctl restart bowline")?;
        let line = tells(
            &machine,
            &[
                "the certificate of 10.0.1.1 has expired; this machine's clock says",
                "is the clock right? Look with: timedatectl",
            ],
        )?;
        ensure!(line.contains(&year(bed, 365)?), "{line}");
        let seen = findings_with(&machine, &clock::variables(&machine, "+365d")?)?;
        ensure!(is_alone(&seen, "cluster: k3s/binary", "has expired; this machine's clock says"), "{seen:#?}");
        ensure!(remedy(&seen[0]).contains("is the clock right?"), "{seen:#?}");
        ensure!(machine.run("ls /usr/local/bin/k3s* /var/lib/rancher")?.stdout.is_empty(), "something is there");

        // Set right, it goes on by itself.
        clock::set_right(&machine)?;
        machine.wait_for("K3s to be started", SOON, || {
            Ok(machine.run("systemctl show -p ActiveState --value k3s")?.stdout.trim() == "activating")
        })?;
        no_longer_tells(&machine, "clock")?;
        nothing_found(&machine, SOON)
    })
}

#[test]
fn ports_in_use_hold_up_what_needs_them_and_nothing_else() -> Result<()> {
    case("ports-in-use", |bed| {
        let releases = releases(bed)?;
        let disk = bed.disk(VOLUME, "512M")?;
        let machine = with_k3s(bed, &releases, Some(&disk))?;
        for port in [9787, 6443] {
            squat(&machine, port)?;
        }
        machine.wait_for("the squatters", SOON, || {
            Ok(machine.ok("ss -tlnH")?.lines().filter(|l| l.contains(":9787") || l.contains(":6443")).count() == 2)
        })?;
        configure(&machine, &format!("{}{}", settings::server(&releases), settings::volume()))?;
        machine.install(&deb()?)?;
        tells(&machine, &["listening on 127.0.0.1:9787: Address already in use", "see who uses it with"])?;
        let line = tells(
            &machine,
            &["refused: start K3s: port 6443 is in use by", "stop what listens there (`ss -tlnp sport = :6443`)"],
        )?;
        ensure!(!line.contains("k3s-server"), "{line}");
        ensure!(machine.run("findmnt /mnt/data")?.success(), "the volume does not wait for ports");
        assert_eq!(
            machine.run("systemctl show -p ExecMainPID --value k3s")?.stdout.trim(),
            "0",
            "K3s was never started"
        );
        assert_eq!(machine.run("bowline status")?.code, 1);
        // Two faults, two findings.
        let seen = findings(&machine)?;
        let names: Vec<_> = seen.iter().map(|one| one["name"].as_str().unwrap_or_default()).collect();
        ensure!(names == ["port 9787 (metrics)", "port 6443 (Kubernetes)"], "{seen:#?}");

        // Everything of Kubernetes goes on without metrics.
        machine.ok(printed(&seen[1], "systemctl disable --now squatter-6443.service")?)?;
        machine.run("bowline apply")?;
        machine.wait_for("the Node to be Ready", Duration::from_secs(90), || {
            Ok(report(&machine)?["conditions"]["node"] == "ready")
        })?;
        assert_eq!(report(&machine)?["overall"], "degraded");
        let finding = the_finding(&machine, "port 9787 (metrics)", "it is in use by squatter-9787")?;
        machine.ok(printed(&finding, "systemctl disable --now squatter-9787.service")?)?;
        ready(&machine)?;
        nothing_found(&machine, SOON)?;
        ensure!(machine.ok("curl -sSf http://127.0.0.1:9787/metrics")?.contains("bowline_node_ready 1"));
        Ok(())
    })
}

/// A floating address is on the interface, and lower than the machine's own.
#[test]
fn an_address_that_comes_later_does_not_become_the_nodes() -> Result<()> {
    case("floating-address", |bed| {
        let releases = releases(bed)?;
        let machine = with_k3s(bed, &releases, None)?;
        install_and_wait(&machine, &settings::server(&releases).replace("address = \"10.0.1.0/24\"\n", ""))?;
        let stands = || {
            let address = report(&machine)?["conditions"]["address"].clone();
            Ok::<_, anyhow::Error>((pid(&machine, "k3s")?, machine.read(CONFIG)?, address))
        };
        let before: (String, String, Value) = stands()?;
        ensure!(before.2 == ADDRESS && before.1.contains("\"node-ip\": \"10.0.1.10\""), "{before:?}");
        machine.ok("ip address add 10.0.0.5/32 dev host0 && bowline apply")?;
        ready(&machine)?;
        assert_eq!(stands()?, before);
        machine.ok("systemctl restart bowline")?;
        ready(&machine)?;
        assert_eq!(stands()?, before);
        Ok(())
    })
}

#[test]
fn an_external_address_is_in_the_certificate_and_not_advertised() -> Result<()> {
    case("external-address", |bed| {
        let releases = releases(bed)?;
        let machine = with_k3s(bed, &releases, None)?;
        let settings = settings::server(&releases).replace("[node]\n", "[node]\nexternal-address = \"203.0.113.10\"\n");
        install_and_wait(&machine, &settings)?;
        let names = bed.run(&[
            "sh",
            "-c",
            "openssl s_client -connect 10.0.1.10:6443 < /dev/null 2> /dev/null | openssl x509 -noout -ext subjectAltName",
        ])?;
        for name in [ADDRESS, "203.0.113.10"] {
            ensure!(names.stdout.contains(&format!("IP Address:{name}")), "{name}: {names}");
        }
        let advertised =
            machine.ok("k3s kubectl get endpoints kubernetes -o jsonpath='{.subsets[*].addresses[*].ip}'")?;
        assert_eq!(advertised.trim(), ADDRESS);
        let addresses = machine.ok(&format!("k3s kubectl get node {NODE} -o jsonpath='{{.status.addresses}}'"))?;
        ensure!(addresses.contains("\"203.0.113.10\",\"type\":\"ExternalIP\""), "{addresses}");
        Ok(())
    })
}

/// A service that takes a port, by a program of its own name.
fn squat(machine: &Machine, port: u16) -> Result<()> {
    let name = format!("squatter-{port}");
    let unit = format!("[Service]\nExecStart=@/usr/local/bin/{name} httpd -f -p 127.0.0.1:{port} -h /srv\n");
    machine.put(&format!("/etc/systemd/system/{name}.service"), unit, 0o644)?;
    machine
        .ok(&format!("cp /bin/busybox /usr/local/bin/{name} && systemctl daemon-reload && systemctl start {name}"))?;
    Ok(())
}

/// The command of a finding, which has to be this one.
fn printed<'a>(finding: &Value, command: &'a str) -> Result<&'a str> {
    ensure!(finding["command"] == command, "{finding}");
    Ok(command)
}

/// The year in so many days.
fn year(bed: &Bed, days: i32) -> Result<String> {
    Ok(bed.run(&["date", "--utc", "--date", &format!("{days} days"), "+%Y"])?.stdout.trim().to_string())
}
