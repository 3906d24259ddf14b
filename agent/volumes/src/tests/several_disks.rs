//! A btrfs of several disks is no volume.

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
