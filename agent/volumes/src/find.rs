//! Which device a volume means, and why each other device is not it.

use bowline_ports::BlockDevice;
use bowline_settings::{Volume, VolumeSource};

/// The result of looking for a volume's device.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Exactly this one.
    One(&'a BlockDevice),
    /// None: it may still come.
    None,
    /// Several carry the same serial.
    Several(Vec<&'a BlockDevice>),
}

/// Looks for the device of a volume. `number` is what stands at the volume's path, links followed
/// (`major:minor`), where something does.
pub fn find<'a>(volume: &Volume, number: Option<&str>, devices: &'a [BlockDevice]) -> Found<'a> {
    let fitting: Vec<_> = devices
        .iter()
        .filter(|d| match &volume.source {
            VolumeSource::Device(path) => match number {
                Some(number) => d.number == number,
                None => d.path == *path || d.links.contains(path),
            },
            VolumeSource::Serial(serial) => d.partition_of.is_none() && d.id.serial.as_deref() == Some(serial.as_str()),
        })
        .collect();
    match fitting.as_slice() {
        [] => Found::None,
        [one] => Found::One(one),
        _ => Found::Several(fitting),
    }
}

/// Why a device that was found must not be touched, whatever it holds; `None` when it may be looked at.
/// `mount` is the volume's own mount point: to be mounted there already is fine.
pub fn why_not(device: &BlockDevice, volume: &Volume) -> Option<String> {
    let name = device.path.display();
    if device.root {
        return Some(format!("{name} holds the running system"));
    }
    if !device.partitions.is_empty() {
        let all: Vec<_> = device.partitions.iter().map(|p| p.display().to_string()).collect();
        return Some(format!("{name} is partitioned ({})", all.join(", ")));
    }
    if !device.holders.is_empty() {
        return Some(format!("{name} is part of {}", device.holders.join(", ")));
    }
    if device.swap {
        return Some(format!("{name} is in use as swap"));
    }
    let elsewhere: Vec<_> = device.mounted_at.iter().filter(|at| **at != volume.mount).collect();
    if let [first, ..] = elsewhere.as_slice() {
        return Some(format!("{name} is mounted at {}", first.display()));
    }
    if device.read_only {
        return Some(format!("{name} is read-only"));
    }
    None
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
