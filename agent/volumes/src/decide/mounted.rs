//! A volume at whose mount point something is mounted.

use super::twins::{Kin, advice, kin};
use super::{check, enable, filesystem, forget, made_by, new_uuid, write_unit};
use crate::Action;
use crate::facts::{Facts, VolumeFacts};
use crate::find::{describe, holds};
use crate::units::{is_networked, mount_unit_path, mount_unit_text, uuid_of, written_by_bowline};
use bowline_engine::{Plan, Wait};
use bowline_ports::{
    Access, ActiveState, BlockDevice, Filesystem, GrowOrder, Job, MARK, Mount, NewDirectory, TendOrder, Work, condition,
};
use bowline_settings::{Directory, Mode, Owner, Volume};
use std::path::Path;
use std::time::Duration;

/// Something is mounted where the volume belongs.
pub(super) fn mounted(
    volume: &Volume,
    seen: &VolumeFacts,
    device: &BlockDevice,
    mount: &Mount,
    facts: &Facts,
    item: &str,
    plan: &mut Plan<Action>,
) {
    let ours = device.is_mounted_by(mount);
    if !ours {
        // The kernel keeps the mount of a disk that is gone; nothing can be read from it any more.
        let dead = !facts.devices.iter().any(|one| one.is_mounted_by(mount));
        if dead && mount.has_device() && seen.unit_file.as_deref().is_some_and(written_by_bowline) {
            // It unmounts when what runs on it has stopped, in the way by which that is known to have gone with its disk.
            let by_systemd = seen.unit.active == ActiveState::Deactivating
                || (volume.gate && facts.services.iter().any(|(_, unit)| unit.active == ActiveState::Deactivating));
            if by_systemd {
                let why =
                    format!("{}, which is mounted there, is gone, and Kubernetes is on its way down", mount.source);
                return plan.waits.push(Wait::new(item, "systemd to unmount it", why).poll(Duration::from_secs(1)));
            }
            let work = Work::Unmount { number: mount.number.clone(), for_good: false };
            let order = TendOrder { volume: volume.name.clone(), mount: volume.mount.clone(), work };
            let why = format!("{}, which is mounted there, is gone", mount.source);
            return plan.step(item, Action::Unmount(order), why);
        }
        let what = format!("mount {} on {}", device.path.display(), volume.mount.display());
        let uuid = seen.unit_file.as_deref().filter(|text| written_by_bowline(text)).and_then(uuid_of);
        let twin = facts.devices.iter().find(|one| one.is_mounted_by(mount));
        if let (Some(uuid), Some(former)) = (uuid, twin)
            && holds(former, uuid)
            && !holds(device, uuid)
        {
            return plan.refuse(
                item,
                what,
                format!("{} is still mounted there, as earlier settings said", describe(former)),
                format!(
                    "stop what uses it, and `umount {}`: Bowline mounts {} then",
                    volume.mount.display(),
                    device.path.display()
                ),
            );
        }
        if let (Some(uuid), Some(twin)) = (uuid, twin)
            && holds(twin, uuid)
        {
            let has =
                format!("{} is mounted there: it has the UUID ({uuid}) of the volume's filesystem", describe(twin));
            let (kin, path) = (kin(device, twin, &facts.devices), device.path.display());
            let why = match kin {
                Kin::Copies => format!("{has}, and is a copy or the original"),
                Kin::Paths => format!("{has}, and the serial and size of {path}: both lead to one disk"),
                Kin::Either => format!(
                    "{has}, and the serial and size of {path}: it is a copy or the original, or both lead to one disk"
                ),
            };
            let with_a_copy = format!(
                "stop what uses it, unmount it, and detach it or give it a UUID of its own ({}); Bowline mounts the disk that is meant",
                new_uuid(filesystem(volume))
            );
            return plan.refuse(item, what, why, advice(kin, with_a_copy));
        }
        return plan.refuse(
            item,
            what,
            format!("{} is already mounted there", mount.shown_source()),
            "unmount it and remove what mounts it, or choose another `mount`",
        );
    }
    // A bound directory. For btrfs a subvolume looks the same, and is a filesystem that somebody may want there.
    if mount.root != Path::new("/") && mount.fstype != Filesystem::Btrfs.name() {
        let part = mount.root.display();
        return plan.refuse(
            item,
            format!("call {} ready", volume.name),
            format!("only {part} of {} is mounted at {}, not all of it", device.path.display(), volume.mount.display()),
            format!("`umount {}` and remove what binds it there; Bowline mounts the volume", volume.mount.display()),
        );
    }
    if mount.read_only {
        return plan.refuse(
            item,
            format!("call {} ready", volume.name),
            format!("{} at {} is mounted read-only", mount.source, volume.mount.display()),
            "look for I/O errors in `dmesg`: a filesystem turns read-only when it meets errors or its disk fails. Once the disk \
             is sound, unmount it: Bowline checks it and mounts it again. (`ro` among its options does the same.)",
        );
    }
    if let Err(error) = &seen.answer {
        return plan.refuse(
            item,
            format!("call {} ready", volume.name),
            format!("the filesystem of {} at {} does not answer: {error}", mount.source, volume.mount.display()),
            "look for I/O errors in `dmesg`: it was shut down by errors, or its disk fails. Once the disk is sound, \
             unmount it: Bowline checks it and mounts it again",
        );
    }
    if mount.errors > 0 {
        let text = format!(
            "its filesystem has met {} errors, which it wrote down: `dmesg` may say more. It is checked before it is mounted again, \
             at the next boot or when it was unmounted by hand",
            mount.errors
        );
        plan.note(item, text);
    }
    if mount.fstype != filesystem(volume).name() {
        return plan.refuse(
            item,
            format!("call {} ready", volume.name),
            format!("{} holds {}, and the settings say {}", mount.source, mount.fstype, volume.filesystem),
            format!("set `filesystem = \"{}\"`, or use another disk", mount.fstype),
        );
    }
    if let Some(Ok(_)) = &seen.intent {
        // Mounted by somebody while our record stood: it is complete, or it could not be mounted.
        plan.step(item, forget(volume), "the filesystem is mounted, so it is complete");
    }
    match &seen.unit_file {
        Some(text) if text.starts_with(MARK) => {
            let uuid = uuid_of(text).unwrap_or_default();
            // Which filesystem is mounted is a fact; only what the settings decide may be rewritten here. And that it is behind the
            // network stays known: a multipath whose paths are gone does not show it.
            let network = device.network || is_networked(text);
            let wanted = mount_unit_text(volume, filesystem(volume), uuid, network);
            if uuid.is_empty() {
                return plan.refuse(
                    item,
                    format!("keep {} up to date", mount_unit_path(&volume.mount).display()),
                    "its What= no longer names a filesystem by UUID",
                    format!("unmount {} and remove that file; Bowline writes it again", volume.mount.display()),
                );
            }
            check(volume, seen, uuid, item, plan);
            if *text != wanted {
                let why = "it differs from the settings: they changed, it was edited by hand, or an earlier Bowline wrote it; in force at the next mount";
                plan.step(item, write_unit(volume, wanted), why);
            } else if seen.unit.needs_reload {
                plan.step(item, Action::Reload, "its mount unit changed on disk");
            }
            enable(volume, seen, item, plan);
        }
        _ => {
            let text = match made_by(&seen.unit) {
                Some(by) => format!("mounted by {by}, which is left in charge"),
                None => "mounted by hand; from the next boot on Bowline mounts it".to_string(),
            };
            plan.note(item, text);
        }
    }
    if !size(volume, seen, device, item, plan) {
        return;
    }
    arrange(volume, seen, mount, item, plan);
    if let Some((left, back)) = absence(seen) {
        plan.state(condition::absence(&volume.name), format!("{left}-{back}-{}", seen.disk_came));
    }
    if plan.settled(item) {
        plan.state(condition::volume(&volume.name), "ready");
    }
    if volume.persistent.is_some() {
        plan.state(condition::volume_size(&volume.name), device.id.size.to_string());
    }
}

/// Owner and mode of the volume's own directory are kept; directories are made, and then belong to whoever uses them.
fn arrange(volume: &Volume, seen: &VolumeFacts, mount: &Mount, item: &str, plan: &mut Plan<Action>) {
    let access = |owner: Option<Owner>, mode: Option<Mode>| Access {
        owner: owner.map(|owner| (owner.user, owner.group)),
        mode: mode.map(Mode::bits),
    };
    let root = access(volume.owner, volume.mode);
    let differs = seen.root.as_ref().is_some_and(|meta| {
        // What the kubelet adds for a pod's `fsGroup` is no difference.
        let added = meta.mode & 0o7000;
        root.owner.is_some_and(|owner| owner != meta.owner) || root.mode.is_some_and(|mode| mode | added != meta.mode)
    });
    let missing = |directory: &&Directory| seen.missing.contains(&directory.path);
    let directories: Vec<_> = volume
        .directories
        .iter()
        .filter(missing)
        .map(|one| NewDirectory { path: one.path.clone(), access: access(one.owner, one.mode) })
        .collect();
    let why = match (differs, directories.as_slice()) {
        (false, []) => return,
        (true, []) => "its owner or mode differ from the settings".to_string(),
        (_, made) => {
            let paths: Vec<_> = made.iter().map(|one| one.path.display().to_string()).collect();
            format!("the settings want directories on it: {}", paths.join(", "))
        }
    };
    let work = Work::Arrange { number: mount.number.clone(), root, directories };
    let order = TendOrder { volume: volume.name.clone(), mount: volume.mount.clone(), work };
    plan.step(item, Action::Arrange(order), why);
}

/// The item of growing a volume's filesystem.
fn growth(volume: &str) -> String {
    format!("growth/{volume}")
}

/// A device that has become larger than its filesystem by so much is worth growing into; less is what `mkfs` leaves over.
const WORTH_IT: u64 = 32 << 20;

/// The filesystem follows its device, online. False when the device is too small for it.
///
/// Growing is an item of its own: a volume that is mounted is ready, also where its filesystem does not grow.
fn size(volume: &Volume, seen: &VolumeFacts, device: &BlockDevice, item: &str, plan: &mut Plan<Action>) -> bool {
    let extent = match &seen.extent {
        Ok(Some(extent)) => *extent,
        Ok(None) => return true,
        Err(error) => {
            plan.note(item, format!("whether it has to grow is not known: {error}"));
            return true;
        }
    };
    let size = device.id.size;
    if size < extent {
        plan.refuse(
            item,
            format!("call {} ready", volume.name),
            format!(
                "{} has {size} bytes, and its filesystem takes {extent}: it was made smaller",
                device.path.display()
            ),
            "make the disk as large as it was: what lies beyond its end cannot be read; copy the data elsewhere",
        );
        return false;
    }
    let grown = matches!(seen.growing, Some(Job::Done));
    if size - extent < WORTH_IT || grown {
        return true;
    }
    if !volume.growth {
        plan.note(item, format!("its disk has {size} bytes, its filesystem {extent}: `growth = false`"));
        return true;
    }
    let order = GrowOrder {
        volume: volume.name.clone(),
        device: device.path.clone(),
        id: device.id.clone(),
        uuid: device.uuid.clone(),
        mount: volume.mount.clone(),
        filesystem: filesystem(volume),
    };
    plan.step(growth(&volume.name), Action::Grow(order), format!("its disk has {size} bytes, its filesystem {extent}"));
    true
}

/// From when until when the volume was away, the last time since boot, in microseconds since then: systemd unmounts in two steps, a
/// person's `umount` is seen as one. Whether its disk had gone is told by when that came anew. (When it went is not to be had:
/// systemd forgets its unit meanwhile.)
pub(super) fn absence(seen: &VolumeFacts) -> Option<(u64, u64)> {
    let (left, unmounted, back) = (seen.unit.left, seen.unit.ended, seen.unit.began);
    (0 < left && left < unmounted && unmounted <= back && seen.disk_came > 0).then_some((left, back))
}
