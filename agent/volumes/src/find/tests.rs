//! Which disk is found, and why others are not it.

use super::*;
use bowline_ports::DeviceId;
use bowline_settings::SourceFile;
use std::path::PathBuf;

const GB: u64 = 1_000_000_000;

fn volume(source: &str) -> Volume {
    let text = format!("[[volume]]\nname = \"data\"\nmount = \"/mnt/data\"\n{source}\n");
    let files = [SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 }];
    bowline_settings::load(&files).unwrap().settings.volumes.remove(0)
}

fn disk(path: &str, serial: &str, size: u64) -> BlockDevice {
    BlockDevice {
        path: path.into(),
        number: format!("8:{}", size % 251),
        id: DeviceId { serial: Some(serial.into()).filter(|serial: &String| !serial.is_empty()), size },
        vendor: "HC".into(),
        model: "Volume".into(),
        transport: "scsi".into(),
        announced: true,
        ..BlockDevice::default()
    }
}

/// The system's disk with a partition, a data disk, and one that is in use for something else.
fn machine() -> Vec<BlockDevice> {
    let mut root = disk("/dev/sda", "root", 40 * GB);
    (root.root, root.partitions) = (true, vec!["/dev/sda1".into()]);
    let mut part = disk("/dev/sda1", "", 39 * GB);
    part.partition_of = Some("/dev/sda".into());
    let mut used = disk("/dev/sdc", "300", 200 * GB);
    used.mounted_at = vec!["/mnt/other".into()];
    vec![root, part, disk("/dev/sdb", "200", 100 * GB), used]
}

fn found(source: &str, devices: &[BlockDevice]) -> String {
    match find(&volume(source), None, None, devices) {
        Found::One(one) => one.path.display().to_string(),
        Found::None => "none".into(),
        Found::Several(all) => all.iter().map(|d| d.path.display().to_string()).collect::<Vec<_>>().join(" "),
    }
}

#[test]
fn a_disk_that_is_described_is_the_one_free_disk_that_fits() {
    let machine = machine();
    for (source, one) in [
        ("match = { vendor = \"HC\", model = \"Vol*\" }", "/dev/sdb"),
        ("match = { min-size = \"100GB\", max-size = \"100GB\" }", "/dev/sdb"),
        ("match = { serial = \"2*\", transport = \"scsi\" }", "/dev/sdb"),
        ("match = { min-size = \"101GB\" }", "none"),
        ("match = { transport = \"nvme\" }", "none"),
        ("match = { vendor = \"ORACLE\" }", "none"),
    ] {
        assert_eq!(found(source, &machine), one, "{source}");
    }
}

#[test]
fn a_part_of_something_else_is_no_candidate_and_is_refused_by_its_name() {
    for kind in ["crypto_LUKS", "LVM2_member", "linux_raid_member", "zfs_member"] {
        let mut machine = machine();
        machine[2].member = kind.into();
        let like = volume("match = { vendor = \"HC\" }");
        assert_eq!(find(&like, None, None, &machine), Found::None, "{kind}");
        let why = why_other(&like, None, None, &machine[2], &machine);
        assert_eq!(why, Some(format!("it is part of something else ({kind})")));
        assert_eq!(found("device = \"/dev/sdb\"", &machine), "/dev/sdb", "the probe says what is on it");
        assert_eq!(found("serial = \"200\"", &machine), "/dev/sdb");
        machine.push(disk("/dev/sdd", "400", 100 * GB));
        assert_eq!(found("match = { vendor = \"HC\" }", &machine), "/dev/sdd", "beside it");
    }
}

#[test]
fn the_command_that_frees_a_disk_is_safe_to_paste() {
    let volume = volume("device = \"/dev/sdb\"");
    for (at, command) in [
        ("/mnt/other", "umount /mnt/other"),
        ("/media/u/My Disk", "umount '/media/u/My Disk'"),
        ("/media/x;reboot", "umount '/media/x;reboot'"),
    ] {
        let mut used = disk("/dev/sdb", "200", GB);
        used.mounted_at = vec![at.into()];
        let why = why_not(&used, &volume).unwrap();
        assert_eq!((why.command.as_deref(), why.hint.contains(command)), (Some(command), true), "{why:?}");
    }
}

#[test]
fn two_that_fit_are_none_and_the_one_in_use_stays() {
    let mut machine = machine();
    machine.push(disk("/dev/sdd", "400", 100 * GB));
    let like = "match = { vendor = \"HC\" }";
    assert_eq!(found(like, &machine), "/dev/sdb /dev/sdd");
    machine[4].mounted_at = vec!["/mnt/data".into(), "/var/lib/kubelet/pods/x".into()];
    assert_eq!(found(like, &machine), "/dev/sdd");
    // Not mounted, it goes by its filesystem.
    (machine[4].mounted_at, machine[4].uuid) = (Vec::new(), Some("ab-1".into()));
    let again = |source: &str, used| match find(&volume(source), None, Some(used), &machine) {
        Found::One(one) => one.path.display().to_string(),
        other => format!("{other:?}").chars().take(7).collect(),
    };
    assert_eq!((again(like, "ab-1").as_str(), again(like, "ab-2").as_str()), ("/dev/sdd", "Several"));
}

#[test]
fn a_disk_that_outgrew_its_description_stays_the_volumes() {
    let mut machine = machine();
    machine.push(disk("/dev/sdd", "400", 100 * GB));
    let like = volume("match = { vendor = \"HC\", max-size = \"100GB\" }");
    machine[2].id.size = 150 * GB;
    machine[2].uuid = Some("ab-1".into());
    let found = |used, machine: &[BlockDevice]| match find(&like, None, used, machine) {
        Found::One(one) => one.path.display().to_string(),
        other => format!("{other:?}").chars().take(7).collect(),
    };
    assert_eq!(found(None, &machine), "/dev/sdd", "nothing says that it is the volume's");
    assert_eq!(found(Some("ab-1"), &machine), "/dev/sdb", "by its filesystem");
    machine[2].mounted_at = vec!["/mnt/data".into()];
    assert_eq!(found(None, &machine), "/dev/sdb", "by where it is mounted");
    machine.pop();
    assert_eq!(found(None, &machine), "/dev/sdb", "also alone");
}

#[test]
fn a_serial_names_a_disk_and_a_place_does_not() {
    let is = |source: &str| is_named(&volume(source), &disk("/dev/sdb", "12345678", GB), &[]);
    assert!(is("serial = \"12345678\"") && is("device = \"/dev/disk/by-id/scsi-0HC_Volume_12345678\""));
    for place in ["/dev/sdb", "/dev/oracleoci/oraclevdb", "/dev/disk/by-path/pci-0000:00:0a.0"] {
        assert!(!is(&format!("device = \"{place}\"")), "{place}");
    }
    assert!(!is("match = { vendor = \"HC\" }"));
}

/// As Azure's disks: the same serial, also on other machines. It is what the settings may say, and tells one disk from no other.
#[test]
fn a_serial_that_several_have_finds_a_disk_and_names_none() {
    let namespace = |path: &str| BlockDevice {
        shared_serial: Some("SN: 000001".into()),
        transport: "nvme".into(),
        model: "MSFT NVMe Accelerator v1.0".into(),
        ..disk(path, "", GB)
    };
    let (one, mut other) = (namespace("/dev/nvme0n1"), namespace("/dev/nvme0n2"));
    let link = "/dev/disk/by-id/nvme-MSFT_NVMe_Accelerator_v1.0_SN:_000001_2";
    other.links.push(link.into());
    let both = [one.clone(), other.clone()];
    let (by_serial, by_link) = ("serial = \"SN: 000001\"", format!("device = \"{link}\""));
    assert_eq!(found(by_serial, &both), "/dev/nvme0n1 /dev/nvme0n2");
    assert_eq!(found(by_serial, &both[1..]), "/dev/nvme0n2");
    assert_eq!(found("match = { serial = \"SN*\" }", &both[1..]), "/dev/nvme0n2");
    assert_eq!(found(&by_link, &both), "/dev/nvme0n2");
    assert_eq!(doubt(&volume(&by_link), &both[1], None, &both), None);
    for source in [by_serial, &by_link] {
        assert!(!is_named(&volume(source), &other, &both), "{source}");
    }
    assert!(describe(&one).ends_with("serial SN: 000001, which others may have as well)"), "{}", describe(&one));
}

#[test]
fn a_path_goes_before_what_fits() {
    let mut machine = machine();
    let link = "/dev/disk/by-id/scsi-0HC_Volume_300";
    let both = format!("device = \"{link}\"\nmatch = {{ vendor = \"HC\" }}");
    assert_eq!(found(&both, &machine), "/dev/sdb", "the image has no such link");
    machine[3].links = vec![link.into()];
    assert_eq!(found(&both, &machine), "/dev/sdc", "in use as it is: that is refused, and no other disk taken");
}

#[test]
fn a_link_that_leads_to_another_disk_than_it_names_is_found_out() {
    let link = |serial: &str| PathBuf::from(format!("/dev/disk/by-id/scsi-0HC_Volume_{serial}"));
    let (mut one, mut other) = (disk("/dev/sdb", "12345678", GB), disk("/dev/sdc", "87654321", 2 * GB));
    (one.links, other.links) = (vec![link("87654321")], vec![link("12345678")]);
    let devices = [one, other];
    let asked = volume("device = \"/dev/disk/by-id/scsi-0HC_Volume_12345678\"");
    let Found::One(found) = find(&asked, None, None, &devices) else { panic!("one link") };
    assert_eq!(found.path.to_str(), Some("/dev/sdc"));
    assert_eq!(named_instead(&asked, found, &devices).map(|one| one.path.clone()), Some("/dev/sdb".into()));
    assert_eq!(named_instead(&asked, &devices[0], &devices), None, "as it should be");
    // Other links tell nothing of serials.
    let by_wwn = volume("device = \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\"");
    assert_eq!(named_instead(&by_wwn, found, &devices), None);
}

#[test]
fn a_link_left_behind_at_the_next_disk_is_found_out_without_the_one_it_names() {
    let doubtful = |link: &str, model: &str, serial: &str| {
        let mut next = disk("/dev/sdb", serial, GB);
        (next.model, next.links) = (model.into(), vec![format!("/dev/disk/by-id/{link}").into()]);
        next.transport = link.split('-').next().unwrap().into();
        let asked = volume(&format!("device = \"/dev/disk/by-id/{link}\""));
        doubt(&asked, &next, None, std::slice::from_ref(&next)).is_some()
    };
    for (link, model, serial) in [
        ("scsi-0HC_Volume_12345678", "Volume", "87654321"),
        ("scsi-0QEMU_QEMU_HARDDISK_data", "QEMU HARDDISK", "logs"),
        ("nvme-Amazon_Elastic_Block_Store_vol0a_1", "Amazon Elastic Block Store", "vol0b"),
        ("virtio-data", "", "logs"),
        ("virtio-1", "", "12"),
    ] {
        assert!(doubtful(link, model, serial), "{link} at {serial}");
    }
    for (link, model, serial) in [
        ("scsi-0HC_Volume_12345678", "Volume", "12345678"),
        ("nvme-Amazon_Elastic_Block_Store_vol0a_1", "Amazon Elastic Block Store", "vol0a"),
        ("virtio-1", "", "1"),
        ("scsi-0QEMU_QEMU_HARDDISK_0a1b2c3d-4e5f-6789-8", "QEMU HARDDISK", "0a1b2c3d-4e5f-6789-8aaa-bbbbccccdddd"),
        // Nothing to compare, or another kind of name.
        ("scsi-0DO_Volume_data", "Volume", "12345678"),
        ("virtio-data", "", ""),
        ("scsi-0QEMU_QEMU_HARDDISK_drive-scsi1", "QEMU HARDDISK", "data"),
        ("scsi-36001405d4b4b1d4e", "Volume", "12345678"),
        ("google-data", "PersistentDisk", "12345678"),
        ("nvme-eui.0025388b710116a1", "Samsung SSD", "S4EVNX0N"),
    ] {
        assert!(!doubtful(link, model, serial), "{link} at {serial}");
    }
    // What is mounted there already is not put in doubt by how its link is called.
    let mut used = disk("/dev/sdb", "87654321", GB);
    used.mounted_at = vec!["/mnt/data".into()];
    let asked = volume("device = \"/dev/disk/by-id/scsi-0HC_Volume_12345678\"");
    assert_eq!(doubt(&asked, &used, None, std::slice::from_ref(&used)), None);
}

#[test]
fn a_path_with_a_description_leads_to_what_is_like_it() {
    let small = disk("/dev/sdb", "200", 50 * GB);
    let both = volume("device = \"/dev/oracleoci/oraclevdb\"\nmatch = { min-size = \"150GB\" }");
    let why = doubt(&both, &small, None, std::slice::from_ref(&small)).unwrap();
    assert!(
        why.ends_with("that disk is not what `match` says: it has 50000000000 bytes (wanted: at least 150GB)"),
        "{why}"
    );
    assert_eq!(doubt(&both, &disk("/dev/sdb", "200", 150 * GB), None, &[]), None);
    // One that is the volume's by its filesystem may have been made larger, or the settings have changed.
    let mut own = small;
    own.uuid = Some("ab-1".into());
    assert_eq!(doubt(&both, &own, Some("ab-1"), std::slice::from_ref(&own)), None);
    assert!(doubt(&both, &own, Some("ab-2"), std::slice::from_ref(&own)).is_some());
}

#[test]
fn serials_in_names_of_links() {
    for (name, serial) in [
        ("scsi-0HC_Volume_12345678", "12345678"),
        ("scsi-0HC_Volume_12345678-part1", "12345678"),
        ("nvme-Amazon_Elastic_Block_Store_vol0a1b2c3d_1", "vol0a1b2c3d"),
        ("ata-QEMU_HARDDISK_QM0_01", "QM0 01"),
    ] {
        assert!(has_serial(name, serial), "{name}");
    }
    for (name, serial) in [("scsi-0HC_Volume_12345678", "2345678"), ("virtio-data1", "data"), ("x-123", "123")] {
        assert!(!has_serial(name, serial), "{name}");
    }
}

#[test]
fn each_other_disk_has_its_reason() {
    let machine = machine();
    let volume = volume("match = { model = \"Volume\", min-size = \"90GB\" }");
    let why: Vec<_> = machine.iter().map(|device| why_other(&volume, None, None, device, &machine)).collect();
    assert_eq!(why[0].as_deref(), Some("it has 40000000000 bytes (wanted: at least 90GB)"));
    assert_eq!(why[1].as_deref(), Some("it is a partition, and whole disks are matched"));
    assert_eq!(why[2], None);
    assert_eq!(why[3].as_deref(), Some("/dev/sdc is mounted at /mnt/other"));
}

#[test]
fn the_list_has_every_device_and_a_reason_once() {
    let mut machine = machine();
    let list = |source: &str, machine: &[BlockDevice]| listed(&volume(source), None, None, machine);
    assert_eq!(
        list("device = \"/dev/disk/by-id/x\"", &machine),
        "/dev/sda (37.3 GiB, HC Volume, serial root), /dev/sda1, /dev/sdb (93.1 GiB, HC Volume, serial 200), \
         /dev/sdc (186.3 GiB, HC Volume, serial 300), each: `device` does not lead to it"
    );
    let others = "/dev/sda (37.3 GiB, HC Volume, serial root), /dev/sdc (186.3 GiB, HC Volume, serial 300), each: it has \
                  another serial; /dev/sda1: it is a partition, and a serial is a disk's";
    machine.push(disk("/dev/sdd", "200", GB));
    assert_eq!(
        list("serial = \"200\"", &machine),
        format!(
            "/dev/sdb (93.1 GiB, HC Volume, serial 200), /dev/sdd (953.7 MiB, HC Volume, serial 200) fit; {others}"
        )
    );
    machine.pop();
    assert_eq!(
        list("match = { min-size = \"150GB\" }", &machine),
        "/dev/sda (37.3 GiB, HC Volume, serial root): it has 40000000000 bytes (wanted: at least 150GB); /dev/sda1: it is a \
         partition, and whole disks are matched; /dev/sdb (93.1 GiB, HC Volume, serial 200): it has 100000000000 bytes \
         (wanted: at least 150GB); /dev/sdc (186.3 GiB, HC Volume, serial 300): /dev/sdc is mounted at /mnt/other"
    );
    assert_eq!(list("serial = \"1\"", &[]), "no disk");
    // Many stay a line that can be read.
    let many: Vec<_> = ('b'..='z').map(|letter| disk(&format!("/dev/sd{letter}"), "7", GB)).collect();
    let text = list("serial = \"1\"", &many);
    assert!(
        text.starts_with("/dev/sdb, /dev/sdc, /dev/sdd, ") && text.ends_with(", /dev/sdz, each: it has another serial")
    );
}
