//! Clouds: what their metadata services say, over real HTTP at their real address. The service and the firmware's strings
//! are stand-ins (`tests/clouds` says where their words are from).

use anyhow::{Context, Result, ensure};
use bowline_booted::clock::synchronised;
use bowline_booted::told::{now, tells};
use bowline_booted::{ADDRESS, FIRST_BOOT, NODE, configure, deb, node, ready, releases, report, settings};
use bowline_testbed::{Bed, Cloud, Machine, MachineBuilder, Releases, case};
use serde_json::Value;
use std::time::Duration;

/// The metadata service is asked again after five seconds at first, and ever more rarely.
const ASKED_AGAIN: Duration = Duration::from_secs(90);
const NETWORKS: &str = "/hetzner/v1/metadata/private-networks";

/// A machine as clouds make them: a public address, a default route, and no private network (yet).
fn public(bed: &Bed, releases: &Releases) -> Result<MachineBuilder> {
    let gateway = bed.run(&["ip", "address", "add", "203.0.113.1/24", "dev", "br0"])?;
    ensure!(gateway.success(), "{gateway}");
    let builder = synchronised(bed.machine(NODE).further_address("203.0.113.7/24"));
    Ok(builder
        .file("/etc/systemd/network/10-host0.network.d/route.conf", "[Route]\nGateway=203.0.113.1\n", 0o644)
        .file("/etc/bowline/mirror-ca.pem", releases.ca_pem(), 0o644))
}

/// Waits until a line of the report has this piece. (The journal has a wait once, with its first reason.)
fn says(machine: &Machine, piece: &str) -> Result<()> {
    machine
        .wait_for(piece, ASKED_AGAIN, || Ok(now(machine)?.iter().any(|line| line.contains(piece))))
        .with_context(|| format!("it says instead: {:?}", now(machine)))
}

#[test]
fn a_private_network_that_comes_late_is_told_and_the_metadata_service_is_not_needed_again() -> Result<()> {
    case("hetzner", |bed| {
        let releases = releases(bed)?;
        let metadata = bed.metadata()?;
        let mut cloud = Cloud::recorded("hetzner")?;
        let networks = cloud.answers.insert(NETWORKS.into(), "[]\n".into()).context("no networks in the file")?;
        metadata.answer_as(&cloud);
        let machine = public(bed, &releases)?.start()?;
        machine.firmware(&cloud.dmi)?;
        let facts = "external-address = \"{public-ipv4}\"\nlabels = { \"topology.kubernetes.io/zone\" = \"{zone}\", \
                     \"topology.kubernetes.io/region\" = \"{region}\", id = \"{instance-id}\", ";
        configure(&machine, &settings::server(&releases).replace("labels = { ", facts))?;
        machine.install(&deb()?)?;

        // It is told what the cloud says, at each turn of the matter.
        tells(
            &machine,
            &[
                "waiting for an address in 10.0.1.0/24",
                "is in no private network (yet): attach it",
                "host0 203.0.113.7",
            ],
        )?;
        metadata.say(NETWORKS, &networks);
        let has = "the cloud says that this machine has 10.0.1.10 in network trading";
        says(&machine, &format!("{has} (mac 86:00:00:98:40:6e), and no interface with that mac is there yet"))?;
        let mac = machine.read("/sys/class/net/host0/address")?.trim().to_string();
        metadata.say(NETWORKS, &networks.replace("86:00:00:98:40:6e", &mac));
        says(&machine, &format!("{has} (mac {mac}), which its interface host0 does not have yet: DHCP"))?;

        // The address comes, and everything goes on.
        let private = format!("[Network]\nAddress={ADDRESS}/24\n");
        machine.put("/etc/systemd/network/10-host0.network.d/private.conf", private, 0o644)?;
        machine.ok(&format!("ip address add {ADDRESS}/24 dev host0"))?;
        ready(&machine)?;
        let told = place(&node(&machine)?);
        assert_eq!(told, ["fsn1-dc14", "fsn1", "42424242"]);
        let kept = machine.read("/var/lib/bowline/cloud.json")?;
        ensure!(kept.contains("\"zone\": \"fsn1-dc14\""), "{kept}");
        assert_eq!(machine.ok("stat -c %a /var/lib/bowline/cloud.json")?.trim(), "600");
        ensure!(
            !machine.read("/run/bowline/status.json")?.contains(&cloud.dmi["product_uuid"]),
            "only root may know it"
        );

        // Started again, it asks nobody.
        let asked = metadata.requests(&cloud);
        ensure!(asked > 0, "the bed's own service was never asked");
        machine.ok("systemctl restart bowline")?;
        ready(&machine)?;
        machine.run("bowline apply")?;
        assert_eq!(metadata.requests(&cloud), asked);

        // Where packets to it vanish, nothing is missed, after a reboot neither.
        bed.route_metadata(false)?;
        machine.reboot()?;
        ready(&machine)?;
        assert_eq!(place(&node(&machine)?), told);
        assert_eq!(machine.read("/var/lib/bowline/cloud.json")?, kept);
        machine.wait_for("nothing to tell", FIRST_BOOT, || Ok(now(&machine)?.is_empty()))?;
        let public = || -> Result<String> {
            Ok(report(&machine)?["conditions"]["external-address"].as_str().unwrap_or("-").to_string())
        };
        assert_eq!(public()?, "203.0.113.7");

        // It was off, and has another public address by now.
        metadata.say("/hetzner/v1/metadata/public-ipv4", "203.0.113.99");
        bed.route_metadata(true)?;
        // The daemon's sandbox shows it the boot of the host, which is none of the machine's.
        machine.ok("sed -i 's/\"boot\": \"[^\"]*\"/\"boot\": \"the one before\"/' /var/lib/bowline/cloud.json")?;
        machine.reboot()?;
        machine.wait_for("the other public address", FIRST_BOOT, || Ok(public()? == "203.0.113.99"))?;
        ready(&machine)?;
        let config = machine.read("/etc/rancher/k3s/config.yaml.d/50-bowline.yaml")?;
        ensure!(config.contains("\"node-external-ip\": \"203.0.113.99\""), "{config}");
        let asked = metadata.requests(&cloud);
        machine.ok("systemctl restart bowline")?;
        ready(&machine)?;
        assert_eq!(metadata.requests(&cloud), asked, "once a boot");
        Ok(())
    })
}

/// Zone, region and machine, as the Node's labels have them.
fn place(node: &Value) -> [String; 3] {
    ["topology.kubernetes.io/zone", "topology.kubernetes.io/region", "id"]
        .map(|key| node["metadata"]["labels"][key].as_str().unwrap_or("-").to_string())
}

/// One cloud after the other on one machine, looked at by `bowline plan`.
#[test]
fn every_other_cloud_is_recognised_asked_and_understood() -> Result<()> {
    case("other-clouds", |bed| {
        let releases = releases(bed)?;
        let metadata = bed.metadata()?;
        let machine = public(bed, &releases)?.start()?;
        // Without settings the daemon does nothing; the plan has some of its own.
        machine.install(&deb()?)?;
        let facts = "external-address = \"{public-ipv4}\"\n\
                     labels = { zone = \"{zone}\", region = \"{region}\", id = \"{instance-id}\", ";
        machine.put("/etc/other/10.toml", settings::server(&releases).replace("labels = { ", facts), 0o600)?;
        let plan = || -> Result<Value> {
            Ok(serde_json::from_str(&machine.ok("bowline plan --json --settings /etc/other")?)?)
        };
        let ocid = "ocid1.instance.oc1.phx.anyhqljtniwq6syc3nex55sep5w34qbwmw6example";
        let uuid = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
        for (name, zone, region, id, public) in [
            // It does not tell its machines their public addresses: the interface has it.
            ("oracle", "PHX-AD-1", "phx", ocid, "203.0.113.7"),
            ("aws", "eu-central-1a", "eu-central-1", "i-0abcdef1234567890", "203.0.113.8"),
            ("gce", "europe-west1-b", "europe-west1", "4520031799277581759", "203.0.113.9"),
            ("azure", "westus2-1", "westus2", uuid, "203.0.113.10"),
            ("digitalocean", "nyc3", "nyc3", "22532410", "203.0.113.11"),
        ] {
            let cloud = Cloud::recorded(name)?;
            metadata.answer_as(&cloud);
            machine.firmware(&cloud.dmi)?;
            // Who serves this is on the same host, and has two seconds for it.
            let mut report = Value::Null;
            let expected = [zone, region, id, public];
            machine
                .wait_for(name, FIRST_BOOT, || {
                    report = plan()?;
                    let told = ["fact/zone", "fact/region", "fact/instance-id", "external-address"]
                        .map(|key| report["conditions"][key].as_str().unwrap_or("-").to_string());
                    ensure!(told == expected, "{told:?}");
                    Ok(true)
                })
                .with_context(|| format!("{name}: {report}"))?;
            let text = report.to_string();
            ensure!(text.contains("the cloud says that this machine has 10.0.1.10"), "{name}: {text}");
            ensure!(metadata.requests(&cloud) > 0, "{name}");
        }

        // On a machine that is in none of them nobody is asked, whatever answers there.
        let aws = Cloud::recorded("aws")?;
        let asked = metadata.requests(&aws);
        machine.firmware(&[("sys_vendor".to_string(), "QEMU".to_string())].into())?;
        let report = plan()?;
        assert_eq!(report["conditions"]["fact/zone"], Value::Null, "{report}");
        assert_eq!(metadata.requests(&aws), asked);
        Ok(())
    })
}
