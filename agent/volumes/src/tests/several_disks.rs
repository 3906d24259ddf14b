//! A btrfs of several disks is no volume, and the paths to one disk are no several disks.

use super::*;
use bowline_ports::{Signature, SignatureKind};

#[test]
fn one_disk_of_a_btrfs_of_several_is_refused() {
    let text = "[[volume]]\nname = \"data\"\nserial = \"12345678\"\nmount = \"/mnt/data\"\nfilesystem = \"btrfs\"\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let planned = |disks: u64| {
        let mut found = blank();
        let (name, uuid, label) = ("btrfs".into(), Some("ab-1".into()), None);
        found.signatures = vec![Signature { kind: SignatureKind::Filesystem, name, uuid, label }];
        (found.data_at, found.disks) = (Some(65536), disks);
        let mut facts = facts(vec![Ok(VolumeFacts { probe: Some(Ok(found)), ..nothing_seen() })]);
        let id = DeviceId { serial: Some("12345678".into()), size: 1 << 30 };
        facts.devices.push(BlockDevice { id, ..disk() });
        spec.plan(&facts, &Conditions::default())
    };
    let one = planned(1);
    assert!(one.refusals.is_empty() && matches!(one.steps.last().unwrap().action, Action::Mount { .. }));
    let two = planned(2);
    assert!(two.steps.is_empty());
    assert_eq!(two.refusals[0].why, "/dev/sdb is one of 2 disks of a btrfs, which Bowline does not mount");
    assert!(two.refusals[0].hint.contains("`btrfs device remove`"), "{}", two.refusals[0].hint);
}

/// Until udev has come to what multipath made of them, a path may have the link.
#[test]
fn the_paths_to_a_disk_are_not_taken_for_its_copies() {
    let text = "[[volume]]\nname = \"data\"\ndevice = \"/dev/mapper/data\"\nmount = \"/mnt/data\"\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let refused = |holder: &str| {
        let mut found = blank();
        let (name, uuid, label) = ("ext4".into(), Some("ab-1".into()), None);
        found.signatures = vec![Signature { kind: SignatureKind::Filesystem, name, uuid, label }];
        found.data_at = Some(1024);
        let seen = VolumeFacts { probe: Some(Ok(found)), number: Some("252:0".into()), ..nothing_seen() };
        let mut facts = facts(vec![Ok(seen)]);
        let id = DeviceId { serial: None, size: 1 << 30 };
        let (path, number, links) = ("/dev/dm-0".into(), "252:0".into(), vec!["/dev/mapper/data".into()]);
        facts.devices.push(BlockDevice { path, number, links, id, ..disk() });
        let (holders, links) = (vec![holder.into()], vec!["/dev/disk/by-uuid/ab-1".into()]);
        facts.devices.push(BlockDevice { holders, links, ..disk() });
        spec.plan(&facts, &Conditions::default()).refusals.into_iter().map(|refusal| refusal.why).next()
    };
    assert_eq!(refused("dm-0"), None);
    assert!(refused("dm-10").unwrap().contains("has the same filesystem UUID (ab-1)"));
}

/// A partition of a multipath: what the kernel shows at a path is not held by it.
#[test]
fn the_partitions_at_the_paths_are_not_taken_for_copies_either() {
    let text = "[[volume]]\nname = \"data\"\ndevice = \"/dev/mapper/data-part1\"\nmount = \"/mnt/data\"\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let refused = |holder: &str, of: &str| {
        let mut found = blank();
        let (name, uuid, label) = ("ext4".into(), Some("ab-1".into()), None);
        found.signatures = vec![Signature { kind: SignatureKind::Filesystem, name, uuid, label }];
        found.data_at = Some(1024);
        let seen = VolumeFacts { probe: Some(Ok(found)), number: Some("252:1".into()), ..nothing_seen() };
        let mut facts = facts(vec![Ok(seen)]);
        let id = DeviceId { serial: None, size: 1 << 30 };
        let mapped = |number: u32, holders: Vec<String>| {
            let (path, number) = (format!("/dev/dm-{number}").into(), format!("252:{number}"));
            BlockDevice { path, number, holders, id: id.clone(), transport: String::new(), ..disk() }
        };
        facts.devices = vec![mapped(0, vec!["dm-1".into()]), mapped(1, Vec::new())];
        let partitions = vec!["/dev/sdb1".into()];
        facts.devices.push(BlockDevice { holders: vec![holder.into()], partitions, ..disk() });
        let (links, partition_of) = (vec!["/dev/disk/by-uuid/ab-1".into()], Some(of.into()));
        let (path, number) = ("/dev/sdb1".into(), "8:17".into());
        facts.devices.push(BlockDevice { path, number, links, partition_of, id, ..disk() });
        spec.plan(&facts, &Conditions::default()).refusals.into_iter().map(|refusal| refusal.why).next()
    };
    assert_eq!(refused("dm-0", "/dev/sdb"), None);
    for (holder, of) in [("dm-7", "/dev/sdb"), ("dm-0", "/dev/sdc")] {
        assert!(refused(holder, of).unwrap().contains("has the same filesystem UUID (ab-1)"), "{holder} {of}");
    }
}
