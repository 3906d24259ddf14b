//! Two devices with one filesystem: a disk and its copy, or two paths to one disk.

use super::unmounted::Place;
use super::{filesystem, new_uuid};
use crate::Action;
use crate::find::{describe, holds, whole};
use crate::units::by_uuid;
use bowline_engine::Plan;
use bowline_ports::BlockDevice;

/// For two paths to one disk: by what makes filesystems of a disk and its copy two, the one filesystem would be changed.
const ONE_DISK: &str = "use its multipath device (`multipathd`, and `device = \"/dev/mapper/…\"`), or have one path \
                                   only: of iSCSI, log one of the sessions out";

/// What two devices with one filesystem are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    /// One is a copy of the other.
    Copies,
    /// They are two paths to one disk.
    Paths,
    /// Nobody can tell.
    Either,
}

/// How the disks are attached of which one may be reached by two paths.
const BY_PATHS: [&str; 2] = ["scsi", "nvme"];

/// Of two disks one is no copy that has the serial and the size as well, unless the hypervisor gives several of them one serial.
pub(super) fn kin(one: &BlockDevice, other: &BlockDevice, devices: &[BlockDevice]) -> Kin {
    let (Some(disk), Some(its)) = (whole(one, devices), whole(other, devices)) else { return Kin::Copies };
    if disk.path == its.path || disk.id.serial.is_none() || disk.id != its.id || one.id.size != other.id.size {
        return Kin::Copies;
    }
    let may_have_paths = |disk: &BlockDevice| disk.network || BY_PATHS.contains(&disk.transport.as_str());
    if may_have_paths(disk) && may_have_paths(its) { Kin::Paths } else { Kin::Either }
}

/// What helps, where this does with a copy.
pub(super) fn advice(kin: Kin, with_a_copy: String) -> String {
    match kin {
        Kin::Copies => with_a_copy,
        Kin::Paths => ONE_DISK.to_owned(),
        Kin::Either => format!("if they are two disks, {with_a_copy}; if they are one, {ONE_DISK}"),
    }
}

/// Another disk to which the UUID leads by which this one is mounted, or that is mounted and has it: the kernel refuses a second XFS
/// with it, and takes two btrfs for one. What it is built on, such as the paths of a multipath, is no other disk.
pub(super) fn twin<'a>(place: Place<'a>, uuid: &str) -> Option<&'a BlockDevice> {
    let link = by_uuid(uuid);
    let leads_to = |device: &BlockDevice| device.links.contains(&link);
    place.facts.devices.iter().find(|other| {
        let mounted = !other.mounted_at.is_empty() && holds(other, uuid);
        other.path != place.device.path
            && (mounted || leads_to(other) && !leads_to(place.device))
            && !is_built_on(place.device, other, &place.facts.devices)
    })
}

/// Whether a device is built on another, or on the disk that the other is a partition of: of a multipath the kernel shows the partitions
/// at each path as well.
fn is_built_on(device: &BlockDevice, other: &BlockDevice, devices: &[BlockDevice]) -> bool {
    let disk = whole(other, devices).unwrap_or(other);
    let holds = |below: &BlockDevice, one: &BlockDevice| below.holders.iter().any(|holder| one.path.ends_with(holder));
    let mut above: Vec<_> = devices.iter().filter(|one| holds(disk, one) || holds(other, one)).collect();
    let mut at = 0;
    while let Some(below) = above.get(at).copied() {
        let is_next = |one: &&BlockDevice| holds(below, one) || one.partition_of.as_ref() == Some(&below.path);
        let known = |one: &&BlockDevice| above.iter().any(|it| it.path == one.path);
        let next: Vec<_> = devices.iter().filter(|one| is_next(one) && !known(one)).collect();
        above.extend(next);
        at += 1;
    }
    above.iter().any(|one| one.path == device.path)
}

/// A disk and its copy, such as a snapshot that was restored, have one UUID: which of them is mounted by it is chance.
pub(super) fn refuse_twin(place: Place<'_>, twin: &BlockDevice, uuid: &str, plan: &mut Plan<Action>) {
    let Place { volume, device, facts, item, .. } = place;
    let there = match twin.mounted_at.first() {
        Some(at) => format!("and is mounted at {}", at.display()),
        None => "which leads to it".to_owned(),
    };
    let has = format!("{} has the same filesystem UUID ({uuid}), {there}", describe(twin));
    let kin = kin(device, twin, &facts.devices);
    let why = match kin {
        Kin::Copies => format!("{has}: one is a copy of the other"),
        Kin::Paths => format!("{has}, and the same serial and size: both lead to one disk"),
        Kin::Either => {
            format!("{has}, and the same serial and size: one is a copy of the other, or both lead to one disk")
        }
    };
    let own = new_uuid(filesystem(volume));
    let hint = advice(kin, format!("detach the copy, or give it a UUID of its own ({own})"));
    let what = format!("mount {} on {}", device.path.display(), volume.mount.display());
    plan.refuse(item, what, why, format!("{hint}; nothing was touched"));
}
