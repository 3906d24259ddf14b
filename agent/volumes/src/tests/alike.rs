//! Plans for disks that are like others: of one serial, which is their controller's, two paths to one disk, and a record that may be
//! of this disk.

use super::*;
use crate::units::{mount_unit_path, mount_unit_text};
use bowline_ports::{Filesystem, Signature, SignatureKind};

const SHARED: &str = "SN: 000001";

/// As Azure and Google have them.
fn namespace() -> BlockDevice {
    let id = DeviceId { serial: None, size: 1 << 30 };
    BlockDevice { path: "/dev/nvme0n2".into(), id, shared_serial: Some(SHARED.into()), ..disk() }
}

/// The UUID that earlier builds planned for it.
fn earlier() -> String {
    planned_uuid(&DeviceId { serial: Some(SHARED.into()), size: 1 << 30 }, "data", "")
}

fn spec(source: &str) -> Volumes {
    let text = format!("[[volume]]\nname = \"data\"\n{source}\nmount = \"/mnt/data\"\nformat = \"blank-only\"\n");
    Volumes { volumes: volumes(&text), services: Vec::new(), starts: false }
}

fn planned(spec: &Volumes, device: BlockDevice, seen: VolumeFacts) -> Plan<Action> {
    let mut facts = facts(vec![Ok(seen)]);
    facts.devices.push(device);
    spec.plan(&facts, &Conditions::default())
}

fn writes(plan: &Plan<Action>) -> bool {
    plan.steps.iter().any(|step| matches!(step.action, Action::Format(_) | Action::Record(_)))
}

fn holding(name: &str, uuid: &str) -> Probe {
    let (kind, label) = (SignatureKind::Filesystem, None);
    let one = Signature { kind, name: name.into(), uuid: Some(uuid.into()), label };
    Probe { signatures: vec![one], data_at: Some(1024), zeros: 0, ..blank() }
}

/// The record of formatting it as XFS, and its mark.
fn begun(id: DeviceId, filesystem: Filesystem) -> VolumeFacts {
    let uuid = planned_uuid(&id, "data", "");
    let intent = Intent { volume: "data".into(), device: "/dev/sdb".into(), id, filesystem, uuid };
    VolumeFacts { begun: Some(intent.mark()), intent: Some(Ok(intent)), ..nothing_seen() }
}

/// It looks like the one that was wiped, which another machine may have.
#[test]
fn a_blank_disk_whose_serial_others_have_does_not_become_a_volume_that_was_on_another() {
    for source in ["serial = \"SN: 000001\"", "device = \"/dev/nvme0n2\""] {
        let spec = spec(source);
        let unit_file = Some(mount_unit_text(&spec.volumes[0], Filesystem::Ext4, &earlier(), false));
        let used = VolumeFacts { unit_file, probe: Some(Ok(blank())), ..nothing_seen() };
        let plan = planned(&spec, namespace(), used);
        assert!(!writes(&plan), "{source}: {plan:?}");
        assert!(plan.refusals[0].why.contains("does not have the volume's filesystem"), "{source}: {plan:?}");
        let fresh = VolumeFacts { probe: Some(Ok(blank())), ..nothing_seen() };
        assert!(writes(&planned(&spec, namespace(), fresh)), "{source}");
    }
}

/// What earlier builds have put on record of such a disk.
#[test]
fn a_disk_that_has_no_serial_any_more_stays_the_volumes() {
    let spec = spec("device = \"/dev/nvme0n2\"");
    let id = DeviceId { serial: Some(SHARED.into()), size: 1 << 30 };
    let with = |probe: Probe| VolumeFacts { probe: Some(Ok(probe)), ..begun(id.clone(), Filesystem::Ext4) };
    let raw = || Probe { data_at: Some(4096), zeros: 0, ..blank() };
    let plan = planned(&spec, namespace(), with(raw()));
    assert!(plan.steps.is_empty() && plan.refusals[0].why.contains("was begun"), "{plan:?}");
    let plan = planned(&spec, namespace(), VolumeFacts { begun: None, ..with(raw()) });
    assert!(!writes(&plan) && plan.refusals[0].why.contains("data at byte 4096"), "{plan:?}");
    let plan = planned(&spec, namespace(), with(holding("ext4", &earlier())));
    assert!(!writes(&plan) && plan.refusals.is_empty(), "{plan:?}");
    assert!(matches!(plan.steps.last().unwrap().action, Action::Mount { .. }), "{plan:?}");

    let mounted = BlockDevice { mounted_at: vec!["/mnt/data".into()], uuid: Some(earlier()), ..namespace() };
    let unit_file = Some(mount_unit_text(&spec.volumes[0], Filesystem::Ext4, &earlier(), false));
    let unit = Unit { load: "loaded".into(), file_state: "enabled".into(), ..Unit::not_found() };
    let mut facts = facts(vec![Ok(VolumeFacts { unit_file, unit, ..begun(id, Filesystem::Ext4) })]);
    facts.mounts.push(at_data(&mounted));
    facts.devices.push(mounted);
    let plan = spec.plan(&facts, &Conditions::default());
    assert!(plan.refusals.is_empty() && plan.waits.is_empty() && !writes(&plan), "{plan:?}");
    assert!(matches!(plan.steps[0].action, Action::Forget { .. }), "{plan:?}");
}

fn at_data(device: &BlockDevice) -> Mount {
    Mount {
        target: "/mnt/data".into(),
        source: device.path.display().to_string(),
        number: device.number.clone(),
        fstype: "ext4".into(),
        root: "/".into(),
        read_only: false,
        errors: 0,
        by_user: false,
    }
}

/// iSCSI by two portals, and no multipathd: a UUID that is changed on one is changed on both.
#[test]
fn two_paths_to_one_disk_are_no_disk_and_its_copy() {
    let spec = spec("device = \"/dev/sdb\"");
    let link = "/dev/disk/by-uuid/ab-1";
    let told = |serial: &str, transport: &str, mounted: bool| {
        let mut other = BlockDevice { transport: transport.into(), ..disk() };
        (other.path, other.number) = ("/dev/sdc".into(), "8:32".into());
        (other.links, other.uuid) = (vec![link.into()], Some("ab-1".into()));
        other.id.serial = Some(serial.into());
        let unit_file = Some(mount_unit_text(&spec.volumes[0], Filesystem::Ext4, "ab-1", false));
        let probe = (!mounted).then(|| Ok(holding("ext4", "ab-1")));
        let mut facts = facts(vec![Ok(VolumeFacts { probe, unit_file, ..nothing_seen() })]);
        if mounted {
            other.mounted_at = vec!["/mnt/data".into()];
            facts.mounts.push(at_data(&other));
        }
        facts.devices = vec![BlockDevice { uuid: Some("ab-1".into()), transport: transport.into(), ..disk() }, other];
        let plan = spec.plan(&facts, &Conditions::default());
        (plan.refusals[0].why.clone(), plan.refusals[0].hint.clone())
    };
    for mounted in [false, true] {
        let (why, hint) = told("1", "scsi", mounted);
        assert!(why.ends_with("both lead to one disk") && !why.contains("copy"), "{why}");
        assert!(hint.contains("/dev/mapper/") && !hint.contains("nouuid") && !hint.contains("tune2fs"), "{hint}");
        let (why, hint) = told("2", "scsi", mounted);
        assert!(why.contains("copy") && hint.contains("tune2fs"), "{why}: {hint}");
        // No second path leads to such a disk, as far as anybody knows; and some hypervisors give all of them one serial.
        let (why, hint) = told("1", "virtio", mounted);
        assert!(why.contains("copy") && why.ends_with("or both lead to one disk"), "{why}");
        assert!(hint.contains("/dev/mapper/") && hint.contains("tune2fs"), "{hint}");
    }
}

/// They have one disk's serial, and may have one size.
#[test]
fn of_two_partitions_of_one_disk_one_is_a_copy() {
    let spec = spec("device = \"/dev/sdb1\"");
    let part = |number: u32, uuid: bool| BlockDevice {
        path: format!("/dev/sdb{number}").into(),
        number: format!("8:{}", 16 + number),
        partition_of: Some("/dev/sdb".into()),
        id: DeviceId { serial: None, size: 1 << 20 },
        links: uuid.then(|| "/dev/disk/by-uuid/ab-1".into()).into_iter().collect(),
        ..disk()
    };
    let partitions = vec!["/dev/sdb1".into(), "/dev/sdb2".into()];
    let mut facts = facts(vec![Ok(VolumeFacts { probe: Some(Ok(holding("ext4", "ab-1"))), ..nothing_seen() })]);
    facts.devices = vec![BlockDevice { partitions, ..disk() }, part(1, false), part(2, true)];
    let plan = spec.plan(&facts, &Conditions::default());
    assert!(plan.refusals[0].why.ends_with("one is a copy of the other"), "{plan:?}");
}

/// While all paths of a multipath are gone, nothing says that it is behind the network.
#[test]
fn what_is_mounted_after_the_network_stays_so_while_it_is_mounted() {
    let spec = spec("device = \"/dev/sdb\"");
    let unit = Unit { load: "loaded".into(), file_state: "enabled".into(), ..Unit::not_found() };
    let rewritten = |was: bool, network: bool| {
        let unit_file = Some(mount_unit_text(&spec.volumes[0], Filesystem::Ext4, "ab-1", was));
        let device = BlockDevice { mounted_at: vec!["/mnt/data".into()], network, uuid: Some("ab-1".into()), ..disk() };
        let mut facts = facts(vec![Ok(VolumeFacts { unit_file, unit: unit.clone(), ..nothing_seen() })]);
        facts.mounts.push(at_data(&device));
        facts.devices.push(device);
        let plan = spec.plan(&facts, &Conditions::default());
        let path = mount_unit_path(Path::new("/mnt/data"));
        plan.steps.iter().any(|step| matches!(&step.action, Action::Write { path: at, .. } if *at == path))
    };
    assert!(!rewritten(true, false) && !rewritten(true, true) && !rewritten(false, false));
    assert!(rewritten(false, true), "its paths have come");
}

/// The tool was not there, say, and the settings want another filesystem since.
#[test]
fn what_was_begun_and_has_written_nothing_binds_nobody() {
    let spec = spec("device = \"/dev/sdb\"");
    let of = |serial: Option<&str>| DeviceId { serial: serial.map(Into::into), size: 1 << 30 };
    let plan = |recorded: Option<&str>, own: Option<&str>, probe: Probe| {
        let seen = VolumeFacts { probe: Some(Ok(probe)), ..begun(of(recorded), Filesystem::Xfs) };
        planned(&spec, BlockDevice { id: of(own), ..disk() }, seen)
    };
    for serial in [Some("1"), None] {
        let steps: Vec<_> = plan(serial, serial, blank()).steps.into_iter().map(|step| step.action).collect();
        let first: Vec<_> = steps.iter().take(3).collect();
        assert!(matches!(first[..], [Action::Forget { .. }, Action::Record(_), Action::Format(_)]), "{first:?}");
        let Action::Format(order) = first[2] else { panic!("{first:?}") };
        assert!(!order.resume && order.filesystem == Filesystem::Ext4, "all is proven again");
        // Something is there: it may be half of that filesystem, or anybody's.
        let plan = plan(serial, serial, Probe { data_at: Some(4096), zeros: 0, ..blank() });
        assert!(plan.steps.is_empty() && plan.refusals[0].why.contains("was begun and not finished"), "{plan:?}");
    }
    // A namespace that was not alone at its controller, and is now.
    let nvme = BlockDevice { transport: "nvme".into(), ..disk() };
    let with = |probe: Probe| VolumeFacts { probe: Some(Ok(probe)), ..begun(of(None), Filesystem::Ext4) };
    assert!(matches!(planned(&spec, nvme.clone(), with(blank())).steps[0].action, Action::Forget { .. }));
    let raw = planned(&spec, nvme, with(Probe { data_at: Some(4096), zeros: 0, ..blank() }));
    assert!(raw.steps.is_empty() && raw.refusals[0].why.contains("on this disk or one that looks like"), "{raw:?}");
    for (recorded, own) in [(Some("2"), Some("1")), (Some("2"), None), (None, Some("1"))] {
        let plan = plan(recorded, own, blank());
        assert!(plan.steps.is_empty() && plan.refusals[0].why.contains("on another disk"), "{plan:?}");
    }
}
