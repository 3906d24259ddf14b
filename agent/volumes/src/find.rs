//! Which device a volume means, and why each other device is not it.

use bowline_ports::BlockDevice;
use bowline_settings::{DiskMatch, Volume, VolumeSource};
use std::fmt;
use std::path::Path;

/// The result of looking for a volume's device.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Exactly this one.
    One(&'a BlockDevice),
    /// None: it may still come.
    None,
    /// Several fit.
    Several(Vec<&'a BlockDevice>),
}

/// Looks for the device of a volume. `number` is what stands at the volume's path, links followed
/// (`major:minor`), where something does.
pub fn find<'a>(volume: &Volume, number: Option<&str>, devices: &'a [BlockDevice]) -> Found<'a> {
    let fitting: Vec<_> = devices.iter().filter(|device| differs(volume, number, device, devices).is_none()).collect();
    match fitting.as_slice() {
        [] => Found::None,
        [one] => Found::One(one),
        // The disk in use stays the one when another like it is attached.
        several => {
            match several.iter().filter(|device| device.mounted_at.contains(&volume.mount)).collect::<Vec<_>>()[..] {
                [used] if described(volume) => Found::One(used),
                _ => Found::Several(fitting),
            }
        }
    }
}

fn described(volume: &Volume) -> bool {
    matches!(volume.source, VolumeSource::Match(_) | VolumeSource::DeviceOrMatch { .. })
}

/// Why a device is not the one that a volume means; `None` when it fits. One that is named may be in use, and is refused
/// then ([`why_not`]); one that is only described has to be free, or is another one.
pub fn why_other(
    volume: &Volume,
    number: Option<&str>,
    device: &BlockDevice,
    devices: &[BlockDevice],
) -> Option<String> {
    differs(volume, number, device, devices).map(|difference| difference.to_string())
}

/// Why a device is not the one. Made into words only where somebody reads them: of many volumes and disks nearly all pairs differ.
enum Difference<'a> {
    /// The path leads elsewhere.
    Path(&'a Path),
    /// A serial is a disk's.
    Partition,
    /// Another serial, or none.
    Serial(Option<&'a str>),
    /// It is not like what was described.
    Unlike(String),
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{} does not lead to it", path.display()),
            Self::Partition => f.write_str("it is a partition, and a serial is a disk's"),
            Self::Serial(Some(own)) => write!(f, "its serial is {own}"),
            Self::Serial(None) => f.write_str("it has no serial"),
            Self::Unlike(text) => f.write_str(text),
        }
    }
}

fn differs<'a>(
    volume: &'a Volume,
    number: Option<&str>,
    device: &'a BlockDevice,
    devices: &[BlockDevice],
) -> Option<Difference<'a>> {
    let leads = |path: &Path, device: &BlockDevice| match number {
        Some(number) => device.number == number,
        None => device.path == path || device.links.iter().any(|link| link == path),
    };
    match &volume.source {
        VolumeSource::Device(path) if leads(path, device) => None,
        VolumeSource::Device(path) => Some(Difference::Path(path)),
        VolumeSource::Serial(serial) => match device.id.serial.as_deref() {
            _ if device.partition_of.is_some() => Some(Difference::Partition),
            Some(own) if own == serial => None,
            own => Some(Difference::Serial(own)),
        },
        VolumeSource::Match(wanted) => unlike(wanted, device, volume).map(Difference::Unlike),
        VolumeSource::DeviceOrMatch { device: path, fits } => match devices.iter().find(|one| leads(path, one)) {
            Some(one) if one.path == device.path => None,
            Some(_) => Some(Difference::Path(path)),
            None => unlike(fits, device, volume).map(Difference::Unlike),
        },
    }
}

/// The disk that a link of `/dev/disk/by-id` names, when that is another than the one it leads to: links are made by
/// programs, and were seen at the wrong disk; the serial is what the disk itself says.
pub(crate) fn named_instead<'a>(
    volume: &Volume,
    device: &BlockDevice,
    devices: &'a [BlockDevice],
) -> Option<&'a BlockDevice> {
    let path = match &volume.source {
        VolumeSource::Device(path) | VolumeSource::DeviceOrMatch { device: path, .. } => path,
        VolumeSource::Serial(_) | VolumeSource::Match(_) => return None,
    };
    let name = path.strip_prefix("/dev/disk/by-id").ok()?.to_str()?;
    // A partition is named by its disk's serial.
    let disk = |one: &BlockDevice| one.partition_of.clone().unwrap_or_else(|| one.path.clone());
    let own = devices.iter().find(|one| one.path == disk(device))?;
    let named = |one: &&BlockDevice| {
        one.partition_of.is_none() && one.id.serial.as_deref().is_some_and(|serial| has_serial(name, serial))
    };
    devices.iter().find(named).filter(|other| other.path != own.path && !named(&own))
}

/// Whether a link's name ends with a serial, as udev writes it, or has a part behind it.
fn has_serial(name: &str, serial: &str) -> bool {
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || "#+-.:=@_/".contains(letter) { letter } else { '_' };
    let serial: String = serial.trim().chars().map(plain).collect();
    let ends = |rest: &str| !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    // Shorter ones turn up in a name by chance.
    serial.len() >= 4
        && name.match_indices(&serial).any(|(at, _)| {
            let before = name.get(..at).unwrap_or_default();
            let behind = name.get(at + serial.len()..).unwrap_or_default();
            !before.ends_with(|letter: char| letter.is_ascii_alphanumeric()) && ends(behind)
        })
}

/// How a disk differs from what was described, or what it is in use for.
fn unlike(wanted: &DiskMatch, device: &BlockDevice, volume: &Volume) -> Option<String> {
    let text = |what: &str, wanted: &Option<String>, found: &str| {
        let wanted = wanted.as_ref().filter(|wanted| !DiskMatch::fits(wanted, found))?;
        Some(match found.trim() {
            "" => format!("it has no {what} (wanted: \"{wanted}\")"),
            found => format!("its {what} is \"{found}\" (wanted: \"{wanted}\")"),
        })
    };
    let transport = || {
        let wanted = wanted.transport.filter(|wanted| wanted.as_str() != device.transport)?;
        let found = if device.transport.is_empty() { "another way" } else { &device.transport };
        Some(format!("it is attached by {found} (wanted: {})", wanted.as_str()))
    };
    let size = device.id.size;
    if device.partition_of.is_some() {
        return Some("it is a partition, and whole disks are matched".into());
    }
    text("vendor", &wanted.vendor, &device.vendor)
        .or_else(|| text("model", &wanted.model, &device.model))
        .or_else(|| text("serial", &wanted.serial, device.id.serial.as_deref().unwrap_or_default()))
        .or_else(transport)
        .or_else(|| {
            let least = wanted.min_size.filter(|least| size < least.bytes())?;
            Some(format!("it has {size} bytes (wanted: at least {least})"))
        })
        .or_else(|| {
            let most = wanted.max_size.filter(|most| size > most.bytes())?;
            Some(format!("it has {size} bytes (wanted: at most {most})"))
        })
        .or_else(|| why_not(device, volume).map(|not| not.reason))
}

/// Why a device must not be touched, and what a person can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyNot {
    /// What the device is in use for.
    pub reason: String,
    /// What helps.
    pub hint: String,
    /// The command that frees the device and loses nothing, where there is one.
    pub command: Option<String>,
}

/// Why a device that was found must not be touched, whatever it holds; `None` when it may be looked at.
/// To be mounted at the volume's own mount point is fine, and so are further mounts then: the kubelet binds directories
/// of a volume into its pods.
pub fn why_not(device: &BlockDevice, volume: &Volume) -> Option<WhyNot> {
    let name = device.path.display();
    let key = key(volume);
    let elsewhere = device.mounted_at.first().filter(|_| !device.mounted_at.contains(&volume.mount));
    let no = |reason: String, hint: String, command: Option<String>| Some(WhyNot { reason, hint, command });
    if device.root {
        no(format!("{name} holds the running system"), format!("correct `{key}`: name another disk"), None)
    } else if !device.partitions.is_empty() {
        let all: Vec<_> = device.partitions.iter().map(|p| p.display().to_string()).collect();
        no(
            format!("{name} is partitioned ({})", all.join(", ")),
            "`device` may name one of its partitions; else name another disk. Nothing was touched".to_string(),
            None,
        )
    } else if !device.holders.is_empty() {
        no(
            format!("{name} is part of {}", device.holders.join(", ")),
            format!("take it out of that first, or correct `{key}`; nothing was touched"),
            None,
        )
    } else if device.swap {
        let command = format!("swapoff {name}");
        no(format!("{name} is in use as swap"), format!("`{command}`, or correct `{key}`"), Some(command))
    } else if let Some(at) = elsewhere {
        let command = format!("umount {}", at.display());
        no(format!("{name} is mounted at {}", at.display()), format!("`{command}`, or correct `{key}`"), Some(command))
    } else if device.read_only {
        let command = format!("blockdev --setrw {name}");
        no(
            format!("{name} is read-only"),
            format!("attach it writable (`{command}` where only Linux holds it so), or correct `{key}`"),
            Some(command),
        )
    } else {
        None
    }
}

/// How the settings name the disk.
pub(crate) fn key(volume: &Volume) -> &'static str {
    match volume.source {
        VolumeSource::Device(_) => "device",
        VolumeSource::Serial(_) => "serial",
        VolumeSource::Match(_) => "match",
        VolumeSource::DeviceOrMatch { .. } => "device` or `match",
    }
}

/// A device in a few words: `/dev/sdb (20.0 GiB, HC Volume, serial 12345678)`.
pub(crate) fn describe(device: &BlockDevice) -> String {
    let gib = device.id.size as f64 / f64::from(1u32 << 30);
    let mut parts = vec![format!("{gib:.1} GiB")];
    let kind = format!("{} {}", device.vendor, device.model);
    if !kind.trim().is_empty() {
        parts.push(kind.trim().to_string());
    }
    match &device.id.serial {
        Some(serial) => parts.push(format!("serial {serial}")),
        None => parts.push("no serial".into()),
    }
    format!("{} ({})", device.path.display(), parts.join(", "))
}

#[cfg(test)]
mod tests {
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
            links: Vec::new(),
            partition_of: None,
            partitions: Vec::new(),
            holders: Vec::new(),
            mounted_at: Vec::new(),
            swap: false,
            root: false,
            read_only: false,
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
        match find(&volume(source), None, devices) {
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
    fn two_that_fit_are_none_and_the_one_in_use_stays() {
        let mut machine = machine();
        machine.push(disk("/dev/sdd", "400", 100 * GB));
        let like = "match = { vendor = \"HC\" }";
        assert_eq!(found(like, &machine), "/dev/sdb /dev/sdd");
        machine[4].mounted_at = vec!["/mnt/data".into(), "/var/lib/kubelet/pods/x".into()];
        assert_eq!(found(like, &machine), "/dev/sdd");
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
        let Found::One(found) = find(&asked, None, &devices) else { panic!("one link") };
        assert_eq!(found.path.to_str(), Some("/dev/sdc"));
        assert_eq!(named_instead(&asked, found, &devices).map(|one| one.path.clone()), Some("/dev/sdb".into()));
        assert_eq!(named_instead(&asked, &devices[0], &devices), None, "as it should be");
        // Other links tell nothing of serials.
        let by_wwn = volume("device = \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\"");
        assert_eq!(named_instead(&by_wwn, found, &devices), None);
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
        let why: Vec<_> = machine.iter().map(|device| why_other(&volume, None, device, &machine)).collect();
        assert_eq!(why[0].as_deref(), Some("it has 40000000000 bytes (wanted: at least 90GB)"));
        assert_eq!(why[1].as_deref(), Some("it is a partition, and whole disks are matched"));
        assert_eq!(why[2], None);
        assert_eq!(why[3].as_deref(), Some("/dev/sdc is mounted at /mnt/other"));
    }
}
