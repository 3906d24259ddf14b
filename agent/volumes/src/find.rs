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
