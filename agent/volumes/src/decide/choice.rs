//! Which disk is a volume's, and what says that the one that was found is not.

use super::{ARRIVAL, No, STANDING_IN, filesystem, outer};
use crate::facts::{Facts, VolumeFacts};
use crate::find::{describe, described, doubt, key, listed};
use crate::others::Claim;
use crate::{Action, Found, Volumes, shield};
use bowline_engine::{Plan, Wait};
use bowline_ports::BlockDevice;
use bowline_settings::{Volume, VolumeSource};
use std::path::Path;
use std::time::Duration;

/// The disk that is the volume's, once there is no other that may be.
pub(super) fn its_disk<'a>(
    spec: &Volumes,
    volume: &Volume,
    seen: &VolumeFacts,
    (facts, found): (&Facts, &[(&Volume, Found<'a>)]),
    item: &str,
    plan: &mut Plan<Action>,
) -> Option<&'a BlockDevice> {
    let own = found.iter().find(|(one, _)| one.name == volume.name).map_or(&Found::None, |(_, own)| own);
    let device = match own {
        Found::One(device) => *device,
        Found::None => {
            // A place on another volume is made there, and not beneath it.
            if outer(spec, volume, facts).is_none() {
                shield::missing(volume, seen, facts, item, plan);
            }
            missing(volume, seen, facts, item, plan);
            return None;
        }
        Found::Several(_) => {
            let list = listed(volume, seen.number.as_deref(), seen.used(volume), &facts.devices);
            let why = format!("{} fits several disks: {list}", volume.source);
            let what = format!("use a disk for {}", volume.name);
            No::new(what, why, "name the disk by `device` instead").tell(item, plan);
            return None;
        }
    };
    if let Some(path) = stands_in(volume, seen, device)
        && facts.boot.is_young(STANDING_IN)
    {
        let what = format!("the disk {}, or {} s from the boot on", path.display(), STANDING_IN.as_secs());
        let why = format!("it is not attached yet; {} is like `match`, and is taken then", describe(device));
        plan.waits.push(Wait::new(item, what, why).poll(Duration::from_secs(5)));
        return None;
    }
    Some(device)
}

/// Why the disk that was found may not be the one that is meant: its name, another volume or somebody else says otherwise.
pub(super) fn not_this_one(
    volume: &Volume,
    seen: &VolumeFacts,
    device: &BlockDevice,
    (facts, found): (&Facts, &[(&Volume, Found<'_>)]),
) -> Option<No> {
    let path = device.path.display();
    let (why, hint) = if let Some(why) = doubt(volume, device, seen.used(volume), &facts.devices) {
        (
            why,
            "name the disk by `serial`, or have udev make its links anew (`udevadm trigger --settle`); nothing was touched",
        )
    } else if let Some(other) = rival(volume, device, found) {
        let (one, two) = (&volume.name, &other.name);
        (
            format!("volumes {one} ({}) and {two} ({}) lead to one disk, {path}", volume.source, other.source),
            "correct `device` or `serial` of one of the two, or remove it from the settings; nothing was touched",
        )
    } else {
        let other = contradiction(volume, device, facts)?;
        (
            format!("{other}, and the settings mount {path} at {}", volume.mount.display()),
            "remove that line or unit (and `systemctl daemon-reload`), or correct the settings; nothing was touched",
        )
    };
    Some(No::use_of(volume, device, why, hint))
}

/// The path that leads nowhere, where a disk is taken only because it is like the `match` beside that, and is not mounted yet.
fn stands_in<'a>(volume: &'a Volume, seen: &VolumeFacts, device: &BlockDevice) -> Option<&'a Path> {
    let VolumeSource::DeviceOrMatch { device: path, .. } = &volume.source else { return None };
    (only_alike(volume, seen, device) && !device.mounted_at.contains(&volume.mount)).then_some(path.as_path())
}

/// Whether a disk is a volume's only by what it is like: no path or serial leads to it.
pub(super) fn only_alike(volume: &Volume, seen: &VolumeFacts, device: &BlockDevice) -> bool {
    match &volume.source {
        VolumeSource::Device(_) | VolumeSource::Serial(_) => false,
        VolumeSource::Match(_) => true,
        VolumeSource::DeviceOrMatch { device: path, .. } => {
            seen.number.is_none() && device.path != *path && !device.links.contains(path)
        }
    }
}

/// Another volume that leads to the same disk, to a partition of it, or to the disk that it is a partition of.
fn rival<'a>(volume: &Volume, device: &BlockDevice, found: &[(&'a Volume, Found<'_>)]) -> Option<&'a Volume> {
    let part = |whole: &BlockDevice, part: &BlockDevice| part.partition_of.as_ref() == Some(&whole.path);
    let same = |one: &BlockDevice| one.path == device.path || part(one, device) || part(device, one);
    let mut others = found.iter().filter(|(other, _)| other.name != volume.name);
    others.find_map(|(other, found)| matches!(found, Found::One(one) if same(one)).then_some(*other))
}

/// What somebody else says of this disk, or of this place, and is not what the settings say.
fn contradiction<'a>(volume: &Volume, device: &BlockDevice, facts: &'a Facts) -> Option<&'a Claim> {
    let fstype = filesystem(volume).name();
    facts.claims.iter().find(|claim| {
        let (names, here) = (claim.names(device), claim.at == volume.mount);
        (names || here) && !(names && claim.agrees(&volume.mount, fstype))
    })
}

fn missing(volume: &Volume, seen: &VolumeFacts, facts: &Facts, item: &str, plan: &mut Plan<Action>) {
    let others = listed(volume, seen.number.as_deref(), seen.used(volume), &facts.devices);
    let why = if described(volume) { "no free disk matches that" } else { "it is not attached" };
    plan.waits.push(
        Wait::new(item, format!("the disk {}", volume.source), format!("{why}; attached: {others}"))
            .deadline(ARRIVAL, format!("attach the disk, or correct `{}` of volume {}", key(volume), volume.name))
            .poll(Duration::from_secs(5)),
    );
}
