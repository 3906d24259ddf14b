//! Which device a volume means, and why each other device is not it.

use crate::units::by_uuid;
use bowline_ports::BlockDevice;
use bowline_ports::text::{bytes, shell};
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
/// (`major:minor`), where something does; `used` is the UUID of the filesystem that the volume was mounted from.
pub fn find<'a>(volume: &Volume, number: Option<&str>, used: Option<&str>, devices: &'a [BlockDevice]) -> Found<'a> {
    let fitting: Vec<_> =
        devices.iter().filter(|device| differs(volume, number, used, device, devices).is_none()).collect();
    match fitting.as_slice() {
        [] => Found::None,
        [one] => Found::One(one),
        // The disk in use stays the one when another like it is attached, and is it again after a boot.
        several => {
            let only = |is: &dyn Fn(&BlockDevice) -> bool| {
                let mut such = several.iter().copied().filter(|one| described(volume) && is(one));
                such.next().filter(|_| such.next().is_none())
            };
            let mounted = only(&|device| device.mounted_at.contains(&volume.mount));
            let one = mounted.or_else(|| only(&|device| used.is_some_and(|uuid| holds(device, uuid))));
            one.map_or(Found::Several(fitting), Found::One)
        }
    }
}

/// Whether any disk that is like a description may be the one.
pub(crate) fn described(volume: &Volume) -> bool {
    matches!(volume.source, VolumeSource::Match(_) | VolumeSource::DeviceOrMatch { .. })
}

/// Whether a filesystem with this UUID is on it.
pub(crate) fn holds(device: &BlockDevice, uuid: &str) -> bool {
    device.uuid.as_deref() == Some(uuid) || device.links.contains(&by_uuid(uuid))
}

/// Whether the settings name this very disk, and not its place or what it is like. By a serial that several have they do not.
pub(crate) fn is_named(volume: &Volume, device: &BlockDevice, devices: &[BlockDevice]) -> bool {
    let Some(serial) = whole(device, devices).and_then(|disk| disk.id.serial.as_deref()) else { return false };
    matches!(volume.source, VolumeSource::Serial(_)) || link_name(volume).is_some_and(|name| has_serial(name, serial))
}

/// Why a device is not the one that a volume means; `None` when it fits. One that is named may be in use, and is refused
/// then ([`why_not`]); one that is only described has to be free, or is another one.
pub fn why_other(
    volume: &Volume,
    number: Option<&str>,
    used: Option<&str>,
    device: &BlockDevice,
    devices: &[BlockDevice],
) -> Option<String> {
    differs(volume, number, used, device, devices).map(|difference| difference.to_string())
}

/// So many devices that differ in the same way are described; of more the paths have to do.
const DESCRIBED: usize = 8;

/// All devices, each with the reason why it is not the one that a volume means. Those that fit come first; those that differ in the
/// same way stand together.
pub(crate) fn listed(volume: &Volume, number: Option<&str>, used: Option<&str>, devices: &[BlockDevice]) -> String {
    let mut groups: Vec<(Option<String>, Vec<&BlockDevice>)> = Vec::new();
    for device in devices {
        let why = why_other(volume, number, used, device, devices);
        match groups.iter_mut().find(|(one, _)| *one == why) {
            Some((_, alike)) => alike.push(device),
            None => groups.push((why, vec![device])),
        }
    }
    groups.sort_by_key(|(why, _)| why.is_some());
    let texts = groups.iter().map(|(why, alike)| {
        let name = |device: &&BlockDevice| match (why, device.partition_of.is_some() || alike.len() > DESCRIBED) {
            (Some(_), true) => device.path.display().to_string(),
            (None, _) | (_, false) => describe(device),
        };
        let names = alike.iter().map(name).collect::<Vec<_>>().join(", ");
        match (why, alike.len()) {
            (None, 1) => format!("{names} fits"),
            (None, _) => format!("{names} fit"),
            (Some(why), 1) => format!("{names}: {why}"),
            (Some(why), _) => format!("{names}, each: {why}"),
        }
    });
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() { "no disk".to_string() } else { texts.join("; ") }
}

/// Why a device is not the one. Made into words only where somebody reads them: of many volumes and disks nearly all pairs differ.
enum Difference {
    /// The path leads elsewhere.
    Path,
    /// A serial is a disk's.
    Partition,
    /// Its serial is another.
    OtherSerial,
    /// It has none.
    NoSerial,
    /// It is not like what was described.
    Unlike(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("`device` does not lead to it"),
            Self::Partition => f.write_str("it is a partition, and a serial is a disk's"),
            Self::OtherSerial => f.write_str("it has another serial"),
            Self::NoSerial => f.write_str("it has no serial"),
            Self::Unlike(text) => f.write_str(text),
        }
    }
}

fn differs(
    volume: &Volume,
    number: Option<&str>,
    used: Option<&str>,
    device: &BlockDevice,
    devices: &[BlockDevice],
) -> Option<Difference> {
    let leads = |path: &Path, device: &BlockDevice| match number {
        Some(number) => device.number == number,
        None => device.path == path || device.links.iter().any(|link| link == path),
    };
    match &volume.source {
        VolumeSource::Device(path) if leads(path, device) => None,
        VolumeSource::Device(_) => Some(Difference::Path),
        VolumeSource::Serial(serial) => match device.told_serial() {
            _ if device.partition_of.is_some() => Some(Difference::Partition),
            Some(own) if own == serial => None,
            Some(_) => Some(Difference::OtherSerial),
            None => Some(Difference::NoSerial),
        },
        VolumeSource::Match(wanted) => unlike(wanted, device, volume, used).map(Difference::Unlike),
        VolumeSource::DeviceOrMatch { device: path, fits } => match devices.iter().find(|one| leads(path, one)) {
            Some(one) if one.path == device.path => None,
            Some(_) => Some(Difference::Path),
            None => unlike(fits, device, volume, used).map(Difference::Unlike),
        },
    }
}

/// What makes a path doubtful: it leads to a disk that is not the one it names, or not like the one that was described.
pub(crate) fn doubt(
    volume: &Volume,
    device: &BlockDevice,
    used: Option<&str>,
    devices: &[BlockDevice],
) -> Option<String> {
    let described = || format!("{} leads to {}", volume.source, describe(device));
    if let Some(other) = named_instead(volume, device, devices) {
        return Some(format!("{}, and its name has the serial of another disk: {}", described(), describe(other)));
    }
    // What is in use there already goes by its filesystem, not by what its link is called.
    if device.mounted_at.contains(&volume.mount) {
        return None;
    }
    if let Some(serial) = named_elsewhere(volume, device, devices) {
        return Some(format!("{}, and its name has another serial: {serial}", described()));
    }
    match &volume.source {
        VolumeSource::DeviceOrMatch { fits, .. } if device.partition_of.is_none() => Some(format!(
            "{}, and that disk is not what `match` says: {}",
            described(),
            another(fits, device, !is_its_own(device, volume, used))?
        )),
        _ => None,
    }
}

/// The name of a volume's link below `/dev/disk/by-id`.
fn link_name(volume: &Volume) -> Option<&str> {
    match &volume.source {
        VolumeSource::Device(path) | VolumeSource::DeviceOrMatch { device: path, .. } => {
            path.strip_prefix("/dev/disk/by-id").ok()?.to_str()
        }
        VolumeSource::Serial(_) | VolumeSource::Match(_) => None,
    }
}

/// The whole disk that a device is, or is a partition of.
pub(crate) fn whole<'a>(device: &'a BlockDevice, devices: &'a [BlockDevice]) -> Option<&'a BlockDevice> {
    match &device.partition_of {
        Some(disk) => devices.iter().find(|one| one.path == *disk),
        None => Some(device),
    }
}

/// The disk that a link of `/dev/disk/by-id` names, when that is another than the one it leads to: links are made by
/// programs, and were seen at the wrong disk; the serial is what the disk itself says.
fn named_instead<'a>(volume: &Volume, device: &'a BlockDevice, devices: &'a [BlockDevice]) -> Option<&'a BlockDevice> {
    let name = link_name(volume)?;
    // A partition is named by its disk's serial.
    let own = whole(device, devices)?;
    let named = |one: &BlockDevice| {
        one.partition_of.is_none() && one.told_serial().is_some_and(|serial| has_serial(name, serial))
    };
    // Asked first: then none of many others has to be compared.
    if named(own) { None } else { devices.iter().find(|one| named(one)) }
}

/// How the names of links begin that are known to end with what a disk itself says is its serial, by how it is attached; NVMe's
/// have its model next. Others, as DigitalOcean's (`scsi-0DO_Volume_NAME`), may be made of something else.
const BY_SERIAL: [(&str, &str); 4] =
    [("virtio", "virtio-"), ("scsi", "scsi-0HC_Volume_"), ("scsi", "scsi-0QEMU_QEMU_HARDDISK_"), ("nvme", "nvme-")];
/// So many letters of a serial QEMU gives to whoever makes links.
const SHORTENED: usize = 20;

/// What stands for the serial in a link's name as udev makes it of this kind of disk, when it is not this disk's: the one that it
/// names may be detached by now, and udev not have come to the next one yet.
fn named_elsewhere<'a>(volume: &'a Volume, device: &BlockDevice, devices: &[BlockDevice]) -> Option<&'a str> {
    let name = link_name(volume)?;
    let own = whole(device, devices)?;
    let serial = in_links(own.told_serial()?);
    let mut kinds = BY_SERIAL.iter().filter(|(transport, _)| own.transport == *transport);
    let mut rest = kinds.find_map(|(_, begin)| name.strip_prefix(begin))?;
    if own.transport == "nvme" {
        rest = rest.strip_prefix(&in_links(&own.model))?.strip_prefix('_')?;
    }
    let is_own = rest.strip_prefix(&serial).is_some_and(|behind| !behind.starts_with(char::is_alphanumeric));
    // Of a longer one QEMU shows the beginning.
    let shortened = || rest.get(..SHORTENED).is_some_and(|begin| serial.starts_with(begin));
    // Proxmox and libvirt name disks by where they are plugged in, whatever their serial.
    (!is_own && !shortened() && !has_serial(name, &serial) && !rest.starts_with("drive-")).then_some(rest)
}

/// So many letters a serial has at least that is looked for in names.
const SHORTEST: usize = 4;

/// Whether a link's name ends with a serial, as udev writes it, or has a part behind it.
fn has_serial(name: &str, serial: &str) -> bool {
    // Shorter ones turn up in a name by chance, and longer ones never: of many disks each is asked of each name.
    if !(SHORTEST..=name.len()).contains(&serial.trim().chars().count()) {
        return false;
    }
    let serial = in_links(serial);
    let ends = |rest: &str| !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    name.match_indices(&serial).any(|(at, _)| {
        let before = name.get(..at).unwrap_or_default();
        let behind = name.get(at + serial.len()..).unwrap_or_default();
        !before.ends_with(|letter: char| letter.is_ascii_alphanumeric()) && ends(behind)
    })
}

/// A model or a serial as udev writes it into links.
fn in_links(text: &str) -> String {
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || "#+-.:=@_/".contains(letter) { letter } else { '_' };
    text.trim().chars().map(plain).collect()
}

/// Whether it is the disk that the volume is, or was, mounted from: it may have been made larger since.
fn is_its_own(device: &BlockDevice, volume: &Volume, used: Option<&str>) -> bool {
    device.mounted_at.contains(&volume.mount) || used.is_some_and(|uuid| holds(device, uuid))
}

/// How a disk differs from what was described, or what it is in use for.
fn unlike(wanted: &DiskMatch, device: &BlockDevice, volume: &Volume, used: Option<&str>) -> Option<String> {
    if device.partition_of.is_some() {
        return Some("it is a partition, and whole disks are matched".into());
    }
    // Only then it is known whether others' names lead to it.
    if !device.announced {
        return Some("it has just come, and udev has not made its links yet".into());
    }
    let member = || (!device.member.is_empty()).then(|| format!("it is part of something else ({})", device.member));
    let measured = !is_its_own(device, volume, used);
    another(wanted, device, measured).or_else(|| why_not(device, volume).map(|not| not.reason)).or_else(member)
}

/// How a disk differs from what was described; in size as well where that is `measured`.
fn another(wanted: &DiskMatch, device: &BlockDevice, measured: bool) -> Option<String> {
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
    text("vendor", &wanted.vendor, &device.vendor)
        .or_else(|| text("model", &wanted.model, &device.model))
        .or_else(|| text("serial", &wanted.serial, device.told_serial().unwrap_or_default()))
        .or_else(transport)
        .or_else(|| {
            let least = wanted.min_size.filter(|least| measured && size < least.bytes())?;
            Some(format!("it has {size} bytes (wanted: at least {least})"))
        })
        .or_else(|| {
            let most = wanted.max_size.filter(|most| measured && size > most.bytes())?;
            Some(format!("it has {size} bytes (wanted: at most {most})"))
        })
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
        let command = format!("umount {}", shell(at));
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

/// A device in a few words: `/dev/sdb (20 GiB, HC Volume, serial 12345678)`.
pub(crate) fn describe(device: &BlockDevice) -> String {
    let mut parts = vec![bytes(device.id.size)];
    let kind = format!("{} {}", device.vendor, device.model);
    if !kind.trim().is_empty() {
        parts.push(kind.trim().to_string());
    }
    match (&device.id.serial, &device.shared_serial) {
        (Some(serial), _) => parts.push(format!("serial {serial}")),
        (None, Some(serial)) => parts.push(format!("serial {serial}, which others may have as well")),
        (None, None) => parts.push("no serial".into()),
    }
    format!("{} ({})", device.path.display(), parts.join(", "))
}

#[cfg(test)]
mod tests;
