//! Devices in a made-up tree: nothing here needs a real disk.

use super::super::job::loops::ran;
use super::*;
use std::os::unix::fs::symlink;

struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        for directory in ["sys/class/block", "udev", "dev/disk/by-id"] {
            fs::create_dir_all(fake.0.path().join(directory)).unwrap();
        }
        fake
    }

    fn tree(&self) -> Tree {
        Tree { sys: self.0.path().join("sys"), udev: self.0.path().join("udev"), dev: self.dev() }
    }

    fn dev(&self) -> PathBuf {
        fs::canonicalize(self.0.path().join("dev")).unwrap()
    }

    /// Of NVMe disks.
    fn controller(&self, name: &str, serial: &str, model: &str) {
        let directory = self.0.path().join("sys/devices/nvme").join(name);
        fs::create_dir_all(&directory).unwrap();
        for (file, text) in [("serial", serial), ("model", model)] {
            fs::write(directory.join(file), format!("{text:<20}\n")).unwrap();
        }
    }

    /// `at` is the path below `sys/devices`.
    fn device(&self, at: &str, number: &str, sectors: u64, files: &[(&str, &[u8])]) {
        let directory = self.0.path().join("sys/devices").join(at);
        fs::create_dir_all(directory.join("holders")).unwrap();
        for (name, content) in [("dev", number.as_bytes()), ("size", sectors.to_string().as_bytes()), ("ro", b"0\n")] {
            fs::write(directory.join(name), content).unwrap();
        }
        for (name, content) in files {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let name = Path::new(at).file_name().unwrap();
        symlink(&directory, self.0.path().join("sys/class/block").join(name)).unwrap();
        fs::write(self.dev().join(name), "").unwrap();
    }
}

fn mount(number: &str, target: &str) -> Mount {
    Mount {
        target: target.into(),
        source: "/dev/x".into(),
        number: number.into(),
        fstype: "ext4".into(),
        root: "/".into(),
        read_only: false,
        errors: 0,
        by_user: false,
    }
}

fn by_name<'a>(devices: &'a [BlockDevice], name: &str) -> &'a BlockDevice {
    devices.iter().find(|d| d.path.ends_with(name)).unwrap()
}

#[test]
fn serials_links_partitions_and_the_root_disk_behind_device_mapper() {
    let fake = Fake::new();
    fake.device("a/sda", "8:0", 1 << 20, &[]);
    fake.device("a/sda/sda1", "8:1", 1 << 19, &[("partition", b"1"), ("holders/dm-0", b"")]);
    fake.device("virtual/dm-0", "253:0", 1 << 19, &[]);
    let page = b"\x00\x80\x00\x0812345678\n".as_slice();
    let scsi: &[(&str, &[u8])] = &[
        ("device/vpd_pg80", page),
        ("device/vendor", b"HC      \n"),
        ("device/model", b"Volume          \n"),
        ("device/serial", b"not this one"),
    ];
    fake.device("b/sdb", "8:16", 1 << 21, scsi);
    fake.device("c/nvme0n1", "259:0", 1 << 21, &[("device/serial", b"vol0123456789 \n"), ("device/model", b"Store\n")]);
    fake.device("d/vda", "254:0", 1 << 21, &[("serial", b"data"), ("device/vendor", b"0x1af4")]);
    for (name, number) in [("loop0", "7:0"), ("zram0", "252:0"), ("ram0", "1:0"), ("sr0", "11:0")] {
        fake.device(&format!("v/{name}"), number, 2048, &[]);
    }
    fake.device("v/loop1", "7:1", 2048, &[("loop/backing_file", b"/srv/disk one.img\n")]);
    fake.device("v/sdz", "8:240", 0, &[]);
    let link = fake.dev().join("disk/by-id/scsi-0HC_Volume_12345678");
    symlink(fake.dev().join("sdb"), &link).unwrap();
    let stolen = fake.dev().join("disk/by-id/stolen");
    symlink(fake.dev().join("vda"), &stolen).unwrap();
    // As udev makes them, and one that leads through another.
    for (name, target) in [("by-path", "../../sdb"), ("by-hand", "by-path")] {
        symlink(target, fake.dev().join("disk/by-id").join(name)).unwrap();
    }
    let record = "S:disk/by-id/by-path\nS:disk/by-id/by-hand\nS:disk/by-id/stolen\nI:123\nS:disk/by-id/scsi-0HC_Volume_12345678\nE:ID_BUS=scsi\nE:ID_FS_UUID=ab-1\n";
    fs::write(fake.0.path().join("udev/b8:16"), record).unwrap();

    // A closed LUKS; of a filesystem udev tells the same way.
    fs::write(fake.0.path().join("udev/b254:0"), "E:ID_FS_TYPE=crypto_LUKS\nE:ID_FS_USAGE=crypto\n").unwrap();
    fs::write(fake.0.path().join("udev/b7:1"), "E:ID_FS_USAGE=filesystem\nE:ID_FS_TYPE=zfs_member\n").unwrap();
    fs::write(fake.0.path().join("udev/b259:0"), "E:ID_FS_USAGE=filesystem\nE:ID_FS_TYPE=ext4\n").unwrap();

    let mounts = [mount("253:0", "/"), mount("8:16", "/mnt/data")];
    let devices = fake.tree().devices(&mounts, &[]).unwrap();
    let names: Vec<_> = devices.iter().map(|d| name_of(&d.path)).collect();
    assert_eq!(names, ["dm-0", "loop1", "nvme0n1", "sda", "sda1", "sdb", "vda"]);

    let sda = by_name(&devices, "sda");
    assert!(sda.root && by_name(&devices, "sda1").root && by_name(&devices, "dm-0").root);
    assert!(!by_name(&devices, "sdb").root);
    assert_eq!(sda.partitions, [fake.dev().join("sda1")]);
    assert_eq!(by_name(&devices, "sda1").partition_of, Some(fake.dev().join("sda")));
    assert_eq!(by_name(&devices, "sda1").holders, ["dm-0"]);

    let sdb = by_name(&devices, "sdb");
    assert_eq!(sdb.id, DeviceId { serial: Some("12345678".into()), size: 1 << 30 });
    assert_eq!((sdb.vendor.as_str(), sdb.model.as_str()), ("HC", "Volume"));
    let by = |name: &str| fake.dev().join("disk/by-id").join(name);
    assert_eq!((sdb.uuid.as_deref(), sda.uuid.as_deref()), (Some("ab-1"), None), "also where its link leads to a copy");
    assert_eq!(sdb.links, [by("by-hand"), by("by-path"), link]);
    assert_eq!(sdb.mounted_at, [PathBuf::from("/mnt/data")]);
    assert_eq!(by_name(&devices, "nvme0n1").id.serial.as_deref(), Some("vol0123456789"));
    assert_eq!(by_name(&devices, "vda").id.serial.as_deref(), Some("data"));
    assert_eq!(by_name(&devices, "vda").vendor, "");
    assert_eq!(by_name(&devices, "loop1").id.serial.as_deref(), Some("/srv/disk one.img"));
    let members = ["vda", "loop1", "nvme0n1", "sdb"].map(|name| by_name(&devices, name).member.as_str());
    assert_eq!(members, ["crypto_LUKS", "zfs_member", "", ""]);
    fs::remove_file(fake.0.path().join("udev/b254:0")).unwrap();
    let devices = fake.tree().devices(&mounts, &[]).unwrap();
    assert_eq!(by_name(&devices, "vda").links, [stolen], "a link made by hand counts where udev has no record");
}

#[test]
fn how_disks_are_attached() {
    let fake = Fake::new();
    let ways = [
        ("pci0/virtio2/host2/target2/block/sda", "scsi"),
        ("pci0/ata1/host0/target0/block/sdb", "sata"),
        ("pci0/usb1/1-1/host3/target3/block/sdc", "usb"),
        ("pci0/nvme/nvme0/nvme0n1", "nvme"),
        ("pci0/virtio3/block/vda", "virtio"),
        ("pci0/mmc0/block/mmcblk0", "mmc"),
        ("virtual/block/dm-0", ""),
    ];
    for (at, (path, _)) in ways.iter().enumerate() {
        fake.device(path, &format!("8:{at}"), 1 << 21, &[]);
    }
    let devices = fake.tree().devices(&[], &[]).unwrap();
    for (path, transport) in ways {
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(by_name(&devices, name).transport, transport, "{path}");
    }
}

#[test]
fn what_lies_on_an_iscsi_disk_is_on_the_network() {
    let fake = Fake::new();
    fake.device("platform/host3/session1/target3:0:0/3:0:0:1/block/sdb", "8:16", 1 << 21, &[("holders/dm-0", b"")]);
    fake.device("platform/host3/session1/target3:0:0/3:0:0:1/block/sdb/sdb1", "8:17", 1 << 20, &[("partition", b"1")]);
    fake.device("virtual/block/dm-0", "253:0", 1 << 21, &[("holders/dm-1", b"")]);
    fake.device("virtual/block/dm-1", "253:1", 1 << 20, &[]);
    fake.device("pci0/sessions/host2/target2/block/sda", "8:0", 1 << 21, &[("holders/dm-2", b"")]);
    fake.device("virtual/block/dm-2", "253:2", 1 << 21, &[]);
    let devices = fake.tree().devices(&[], &[]).unwrap();
    for (name, network) in
        [("sdb", true), ("sdb1", true), ("dm-0", true), ("dm-1", true), ("sda", false), ("dm-2", false)]
    {
        assert_eq!(by_name(&devices, name).network, network, "{name}");
    }
}

#[test]
fn a_mount_of_a_partition_is_a_mount_of_its_disk() {
    let fake = Fake::new();
    fake.device("a/sda", "8:0", 1 << 20, &[]);
    fake.device("a/sda/sda1", "8:1", 1 << 19, &[("partition", b"1")]);
    fake.device("a/sda/sda2", "8:2", 1 << 19, &[("partition", b"2")]);
    let devices = fake.tree().devices(&[mount("8:1", "/mnt/x"), mount("8:1", "/mnt/x")], &[]).unwrap();
    assert_eq!(by_name(&devices, "sda").mounted_at, [PathBuf::from("/mnt/x")]);
    assert!(by_name(&devices, "sda2").mounted_at.is_empty());
}

/// A user's FUSE says any text of its disk.
#[test]
fn a_source_counts_only_where_the_filesystem_has_a_number_of_its_own() {
    let fake = Fake::new();
    fake.device("a/sdb", "8:16", 1 << 20, &[]);
    let node = fake.dev().join("sdb");
    fs::remove_file(&node).unwrap();
    // Not everybody may make one.
    let Some(_) = ran("mknod", &[node.to_str().unwrap(), "b", "8", "16"]) else { return };
    let from = |fstype: &str, number: &str, target: &str| Mount {
        source: node.display().to_string(),
        fstype: fstype.into(),
        ..mount(number, target)
    };
    let fuse = [from("fuse.sshfs", "0:99", "/home/u/m"), from("fuse", "0:98", "/"), from("tmpfs", "0:97", "/mnt/t")];
    let devices = fake.tree().devices(&fuse, &[]).unwrap();
    assert_eq!(by_name(&devices, "sdb").mounted_at, Vec::<PathBuf>::new());
    assert!(!by_name(&devices, "sdb").root);
    // Two subvolumes of it.
    let btrfs = [from("btrfs", "0:45", "/mnt/data"), from("btrfs", "0:45", "/mnt/home")];
    let devices = fake.tree().devices(&[fuse.as_slice(), btrfs.as_slice()].concat(), &[]).unwrap();
    assert_eq!(by_name(&devices, "sdb").mounted_at, ["/mnt/data", "/mnt/home"].map(PathBuf::from));
}

/// As with disks of old RAID controllers.
#[test]
fn a_slash_in_a_name_keeps_nothing_apart() {
    let fake = Fake::new();
    fake.device("a/cciss!c0d0", "104:0", 1 << 20, &[]);
    fake.device("a/cciss!c0d0/cciss!c0d0p1", "104:1", 1 << 19, &[("partition", b"1")]);
    fake.device("a/cciss!c0d1", "104:16", 1 << 20, &[]);
    fs::create_dir_all(fake.0.path().join("sys/fs/btrfs/feed-beef/devices/cciss!c0d1")).unwrap();
    let devices = fake.tree().devices(&[mount("104:1", "/")], &[]).unwrap();
    let at = |name: &str| devices.iter().find(|device| device.path == fake.dev().join("cciss").join(name)).unwrap();
    assert_eq!(at("c0d0").partitions, [fake.dev().join("cciss/c0d0p1")]);
    assert!(at("c0d0").root && at("c0d0").mounted_at == [Path::new("/")]);
    assert_eq!(at("c0d1").holders, ["btrfs feed-beef"]);
}

#[test]
fn the_second_device_of_a_btrfs_in_use_is_held() {
    let fake = Fake::new();
    fake.device("a/sda", "8:0", 1 << 20, &[]);
    fake.device("a/sdb", "8:16", 1 << 20, &[]);
    for name in ["sda", "sdb"] {
        fs::create_dir_all(fake.0.path().join("sys/fs/btrfs/feed-beef/devices").join(name)).unwrap();
    }
    let devices = fake.tree().devices(&[mount("8:0", "/mnt/x")], &[]).unwrap();
    assert!(by_name(&devices, "sda").holders.is_empty());
    assert_eq!(by_name(&devices, "sdb").holders, ["btrfs feed-beef"]);
}

#[test]
fn a_serial_page_is_read_by_its_length() {
    assert_eq!(vpd_serial(b"\x00\x80\x00\x04abcdef").as_deref(), Some("abcd"));
    assert_eq!(vpd_serial(b"\x00\x80\x00\x20  ab\0").as_deref(), Some("ab"));
    assert_eq!(vpd_serial(b"\x00\x80\x00\x00"), None);
    assert_eq!(vpd_serial(b"\x00\x83\x00\x02ab"), None);
    assert_eq!(vpd_serial(b""), None);
}

/// Each namespace of a controller tells that one's serial, and on some clouds it is the same on every machine.
#[test]
fn a_serial_that_a_controller_tells_for_several_disks_is_no_disks_own() {
    let told = |serial: &str, model: &str, namespaces: &[&str]| {
        let fake = Fake::new();
        fake.controller("nvme0", serial, model);
        for (at, nsid) in namespaces.iter().enumerate() {
            let directory = format!("nvme/nvme0/nvme0n{}", at + 1);
            fake.device(&directory, &format!("259:{}", 2 * at), 1 << 21, &[("nsid", nsid.as_bytes())]);
            symlink("..", fake.0.path().join("sys/devices").join(&directory).join("device")).unwrap();
            let part = format!("{directory}/nvme0n{}p1", at + 1);
            fake.device(&part, &format!("259:{}", 2 * at + 1), 1 << 20, &[("partition", b"1")]);
        }
        // Another one beside it, as EC2 has them.
        fake.controller("nvme1", "vol0a", "Amazon Elastic Block Store");
        fake.device("nvme/nvme1/nvme1n1", "259:90", 1 << 21, &[("nsid", b"1\n")]);
        symlink("..", fake.0.path().join("sys/devices/nvme/nvme1/nvme1n1/device")).unwrap();
        let devices = fake.tree().devices(&[], &[]).unwrap();
        let other = by_name(&devices, "nvme1n1");
        assert_eq!((other.id.serial.as_deref(), other.shared_serial.as_deref()), (Some("vol0a"), None));
        let whole = devices.iter().filter(|one| one.partition_of.is_none() && one.path != other.path);
        whole.map(|one| (one.id.serial.clone(), one.shared_serial.clone())).collect::<Vec<_>>()
    };
    let own = |serial: &str| (Some(serial.to_owned()), None);
    let shared = |serial: &str| (None, Some(serial.to_owned()));
    assert_eq!(told("S4EVNX0N", "Samsung SSD", &["1\n"]), [own("S4EVNX0N")], "the disk of its controller");
    assert_eq!(told("S4EVNX0N", "Samsung SSD", &["1\n", "2\n"]), [shared("S4EVNX0N"), shared("S4EVNX0N")]);
    assert_eq!(told("S4EVNX0N", "Samsung SSD", &["3\n"]), [shared("S4EVNX0N")], "the others may be taken out");
    for (serial, model) in [
        ("SN: 000001", "MSFT NVMe Accelerator v1.0"),
        ("nvme_card-pd", "nvme_card-pd"),
        ("VMware NVME_0000", "VMware Virtual NVMe Disk"),
        ("VB1234-56789", "ORCL-VBOX-NVME-VER12"),
    ] {
        assert_eq!(told(serial, model, &["1\n"]), [shared(serial)], "{model} alone");
        assert_eq!(told(serial, model, &["1\n", "2\n"]), [shared(serial), shared(serial)], "{model}");
    }
}
