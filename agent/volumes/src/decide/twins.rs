//! Two devices with one filesystem: a disk and its copy, or two paths to one disk.

use super::unmounted::Place;
use super::{filesystem, new_uuid};
use crate::Action;
use crate::find::{describe, holds, whole};
use crate::units::by_uuid;
use bowline_engine::Plan;
use bowline_ports::BlockDevice;

/// For two paths to one disk: by what makes filesystems of a disk and its copy two, the one filesystem would be changed.
pub(super) const ONE_DISK: &str = "use its multipath device (`multipathd`, and `device = \"/dev/mapper/…\"`), or have one path \
                                   only: of iSCSI, log one of the sessions out";

/// Whether two devices with one filesystem are two paths to one disk: a copy has not the serial and the size as well.
pub(super) fn lead_to_one(one: &BlockDevice, other: &BlockDevice, devices: &[BlockDevice]) -> bool {
    let disk = |device| whole(device, devices).map(|disk| &disk.id).filter(|id| id.serial.is_some());
    one.id.size == other.id.size && disk(one).is_some_and(|id| disk(other) == Some(id))
}

/// Another disk to which the UUID leads by which this one is mounted, or that is mounted and has it: the kernel refuses a second XFS
/// with it, and takes two btrfs for one. What it is built on, such as the paths of a multipath, is no other disk.
pub(super) fn twin<'a>(place: Place<'a>, uuid: &str) -> Option<&'a BlockDevice> {
    let link = by_uuid(uuid);
    let leads_to = |device: &BlockDevice| device.links.contains(&link);
    place.facts.devices.iter().find(|other| {
        let mounted = !other.mounted_at.is_empty() && holds(other, uuid);
        let beneath = other.holders.iter().any(|holder| place.device.path.ends_with(holder));
        !beneath && other.path != place.device.path && (mounted || leads_to(other) && !leads_to(place.device))
    })
}

/// A disk and its copy, such as a snapshot that was restored, have one UUID: which of them is mounted by it is chance.
pub(super) fn refuse_twin(place: Place<'_>, twin: &BlockDevice, uuid: &str, plan: &mut Plan<Action>) {
    let Place { volume, device, facts, item, .. } = place;
    let there = match twin.mounted_at.first() {
        Some(at) => format!("and is mounted at {}", at.display()),
        None => "which leads to it".to_owned(),
    };
    let has = format!("{} has the same filesystem UUID ({uuid}), {there}", describe(twin));
    let (why, hint) = if lead_to_one(device, twin, &facts.devices) {
        (format!("{has}, and the same serial and size: both lead to one disk"), ONE_DISK.to_owned())
    } else {
        let own = new_uuid(filesystem(volume));
        (format!("{has}: one is a copy of the other"), format!("detach the copy, or give it a UUID of its own ({own})"))
    };
    let what = format!("mount {} on {}", device.path.display(), volume.mount.display());
    plan.refuse(item, what, why, format!("{hint}; nothing was touched"));
}
