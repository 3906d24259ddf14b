//! Plans for disks that cannot be used as they are.

use super::*;
use bowline_ports::{Signature, SignatureKind};

fn planned(device: &BlockDevice, probe: Probe) -> Plan<Action> {
    let path = device.path.display();
    let text =
        format!("[[volume]]\nname = \"data\"\ndevice = \"{path}\"\nmount = \"/mnt/data\"\nformat = \"blank-only\"\n");
    let mut facts = facts(vec![Ok(VolumeFacts { probe: Some(Ok(probe)), ..nothing_seen() })]);
    facts.devices.push(device.clone());
    Volumes { volumes: volumes(&text), services: Vec::new(), starts: false }.plan(&facts, &Conditions::default())
}

fn holding(all: &[(SignatureKind, &str)]) -> Probe {
    let one = |(kind, name): &(SignatureKind, &str)| Signature {
        kind: *kind,
        name: (*name).into(),
        uuid: Some("ab-1".into()),
        label: None,
    };
    Probe { signatures: all.iter().map(one).collect(), data_at: Some(1024), zeros: 0, ..blank() }
}

/// udev's rules have a list of the kernel's names, and make links of nothing else.
#[test]
fn a_disk_to_which_no_link_by_uuid_will_lead_is_refused_before_it_is_written_to() {
    let ext4 = || holding(&[(SignatureKind::Filesystem, "ext4")]);
    let refused = |device: &BlockDevice, probe: Probe| {
        let plan = planned(device, probe);
        let refusal = plan.refusals.first().map(|refusal| refusal.why.clone()).unwrap_or_default();
        let refused = refusal.contains("/dev/disk/by-uuid");
        assert!(refused == plan.steps.is_empty(), "{plan:?}");
        refused
    };
    for path in ["/dev/drbd0", "/dev/rbd0", "/dev/rbd0p1"] {
        let device = BlockDevice { path: path.into(), ..disk() };
        assert!(refused(&device, blank()) && refused(&device, ext4()), "{path}");
        // Newer rules, or a person's, make links for it as well.
        let links = vec!["/dev/disk/by-diskseq/9".into()];
        let linked = BlockDevice { links, ..device.clone() };
        assert!(!refused(&linked, blank()) && !refused(&linked, ext4()), "{path}");
        // udev has not come to it yet.
        let plan = planned(&BlockDevice { announced: false, ..device }, blank());
        assert!(plan.steps.is_empty() && plan.refusals.is_empty(), "{plan:?}");
        assert_eq!(
            plan.waits.iter().map(|wait| wait.what.clone()).collect::<Vec<_>>(),
            [format!("udev to come to {path}")]
        );
    }
    // Right after the filesystem was made, its link is still to come.
    for path in
        ["/dev/sdb", "/dev/nvme1n1", "/dev/vdb", "/dev/xvdb", "/dev/dm-0", "/dev/md127", "/dev/loop3", "/dev/sdb1"]
    {
        let device = BlockDevice { path: path.into(), ..disk() };
        assert!(!refused(&device, blank()) && !refused(&device, ext4()), "{path}");
    }
}

/// Whoever follows the advice keeps the filesystem.
#[test]
fn what_is_left_of_an_earlier_use_can_be_removed_by_itself() {
    use SignatureKind::{Filesystem, Member, PartitionTable};
    let hint =
        |device: &BlockDevice, all: &[(SignatureKind, &str)]| planned(device, holding(all)).refusals[0].hint.clone();
    let old_gpt = [(Filesystem, "ext4"), (PartitionTable, "gpt")];
    assert_eq!(
        hint(&disk(), &old_gpt),
        "nothing was touched. If /dev/sdb is that ext4, and the gpt is left from before, remove that alone: `wipefs -a -t gpt \
         --backup /dev/sdb`; if the data is not wanted, erase all of it (`wipefs -a /dev/sdb`, then `blkdiscard -z /dev/sdb`); \
         else use another disk"
    );
    let both = hint(
        &disk(),
        &[(Filesystem, "xfs"), (PartitionTable, "gpt"), (PartitionTable, "PMBR"), (Member, "LVM2_member")],
    );
    assert!(both.contains("that xfs, and the LVM2_member and PMBR and gpt is left"), "{both}");
    assert!(both.contains("`wipefs -a -t LVM2_member,PMBR,gpt --backup /dev/sdb`"), "{both}");
    let part = BlockDevice { path: "/dev/sdb1".into(), partition_of: Some("/dev/sdb".into()), ..disk() };
    for (device, all) in [
        (disk(), &[(PartitionTable, "gpt")][..]),
        (disk(), &[(Filesystem, "vfat"), (PartitionTable, "dos")]),
        (disk(), &[(Filesystem, "xfs"), (Filesystem, "ext4"), (PartitionTable, "gpt")]),
        // There `wipefs` takes away no table.
        (part, &old_gpt),
    ] {
        let hint = hint(&device, all);
        assert!(!hint.contains("--backup") && hint.contains("erase it yourself"), "{all:?}: {hint}");
    }
}
