//! The main story: a blank VM gets a cloud-init document, and nobody logs in.

use anyhow::Result;
use bowline_booted::clock::synchronised;
use bowline_booted::{
    ADDRESS, FIRST_BOOT, NODE, VOLUME, bare, deb, document, install_and_wait, node, pid, ready, releases, settings,
};
use bowline_testbed::case;

#[test]
fn a_blank_machine_becomes_a_ready_labelled_node_with_its_volume() -> Result<()> {
    case("first-boot", |bed| {
        let releases = releases(bed)?;
        let disk = bed.disk(VOLUME, "512M")?;
        let machine = bare(bed, &releases, Some(&disk))?;
        install_and_wait(&machine, &format!("{}{}", settings::server(&releases), settings::volume()))?;

        let node = node(&machine)?;
        assert_eq!(node["metadata"]["labels"]["role"], "control-plane");
        assert_eq!(node["metadata"]["labels"]["node-role.kubernetes.io/ingress"], "true");
        assert_eq!(
            machine.ok("findmnt -no FSTYPE,LABEL /mnt/data")?.split_whitespace().collect::<Vec<_>>(),
            ["ext4", "data"]
        );
        let metrics = machine.ok("curl -sSf http://127.0.0.1:9787/metrics")?;
        for series in [
            "bowline_node_ready 1",
            "bowline_filesystem_size_bytes{mountpoint=\"/mnt/data\"",
            "bowline_capability_state{capability=\"cluster\",state=\"done\"} 1",
        ] {
            assert!(metrics.contains(series), "{series} is missing in:\n{metrics}");
        }
        let config = machine.read("/etc/rancher/k3s/config.yaml.d/50-bowline.yaml")?;
        assert!(config.contains(&format!("\"advertise-address\": \"{ADDRESS}\"")), "{config}");

        // A second run does nothing; a reboot needs nothing; a killed agent finds all as it was.
        machine.ok("echo precious > /mnt/data/file")?;
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0, "{}", machine.run("bowline plan")?);
        let k3s = pid(&machine, "k3s")?;
        machine.kill("bowline")?;
        ready(&machine)?;
        assert_eq!(pid(&machine, "k3s")?, k3s, "K3s is not touched when the agent dies");
        machine.reboot()?;
        ready(&machine)?;
        assert_eq!(machine.read("/mnt/data/file")?, "precious\n");
        // The Node may be Ready from before still, when the kubelet begins anew.
        machine.wait_for("nothing to do", FIRST_BOOT, || Ok(machine.run("bowline plan --exit-code")?.code == 0))?;
        Ok(())
    })
}

#[test]
fn the_shipped_cloud_init_document_is_all_it_takes() -> Result<()> {
    case("cloud-init-document", |bed| {
        let releases = releases(bed)?;
        let repository = bed.apt_repository(&[&deb()?])?;
        let disk = bed.disk(VOLUME, "512M")?;
        let machine = synchronised(bed.machine(NODE).address(ADDRESS).disk(&disk))
            .cloud_init(&document::fill_in(&repository, &releases))
            .start()?;
        machine.wait_for("bowline to be installed", FIRST_BOOT, || {
            Ok(machine.run("systemctl is-active bowline")?.success())
        })?;
        ready(&machine)?;
        assert_eq!(machine.ok("stat -c %a /etc/bowline/config.d/10-node.toml")?.trim(), "600");
        assert_eq!(node(&machine)?["metadata"]["labels"]["role"], "control-plane");
        Ok(())
    })
}
