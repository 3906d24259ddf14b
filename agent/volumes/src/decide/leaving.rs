//! Volumes that go: released by a person, or not in the settings any more. Nothing on their disks is touched.

use super::{ARRIVAL, only_alike};
use crate::facts::{Facts, Former, Orphan, VolumeFacts};
use crate::find::{Found, find, holds, why_other};
use crate::shield;
use crate::units::{mount_unit_name, mount_unit_path, uuid_of, written_by_bowline};
use crate::{Action, Released, Volumes};
use bowline_engine::{Plan, Risk, Wait};
use bowline_ports::{BlockDevice, Job, Mount, PortError, TendOrder, Work, condition};
use bowline_settings::{Volume, VolumeSource};
use std::path::Path;
use std::time::Duration;

/// Who unmounts what Bowline did not mount tells nobody.
const AGAIN: Duration = Duration::from_secs(5);

/// A disk that is back within that was not taken out: its controller was reset, or somebody pulled the wrong one.
const PATIENCE: Duration = Duration::from_secs(30);

/// A volume that a person released: unmounted, and left alone as long as its disk is there.
pub(crate) fn released(
    volume: &Volume,
    seen: &VolumeFacts,
    released: &Released,
    facts: &Facts,
    item: &str,
    plan: &mut Plan<Action>,
) {
    let Some(device) = disk(volume, seen, released, facts) else {
        if let Some(unknown) = unknown(released, facts) {
            let what = format!("udev to come to {}, or `bowline volumes take {}`", unknown.path.display(), volume.name);
            let why = "it was released, and whether that is its disk is not known yet";
            return plan.waits.push(Wait::new(item, what, why).poll(AGAIN));
        }
        if let Some(disk) = without_partition(volume, facts).filter(|_| released.disk.serial.is_none()) {
            let what = format!("{} to be detached, or `bowline volumes take {}`", disk.path.display(), volume.name);
            let why = format!("it was released, and its disk has no such partition now: {}", volume.source);
            return plan.waits.push(Wait::new(item, what, why).poll(AGAIN));
        }
        let next = find(volume, seen.number.as_deref(), seen.used(volume), &facts.devices);
        // A path or serial that leads to another disk says that this one went; one that is only like it does not.
        let led = matches!(next, Found::One(next) if !only_alike(volume, seen, next));
        if !led && facts.boot.is_young(ARRIVAL) {
            let what = format!("its disk, or {} s from the boot on", ARRIVAL.as_secs());
            let why = "it was released, and its disk may be gone, or not be found yet";
            return plan.waits.push(Wait::new(item, what, why).poll(AGAIN));
        }
        if !led && let Some(now) = facts.boot.uptime {
            let Some(since) = seen.gone else {
                let why = "it was released, and its disk is gone, perhaps for a moment only";
                return plan.step(item, Action::Gone { volume: volume.name.clone() }, why);
            };
            if now < since + PATIENCE.as_secs() {
                let what = format!("its disk to stay away for {} s", PATIENCE.as_secs());
                let why = "it was released, and its disk is gone; the next one is taken in then";
                return plan.waits.push(Wait::new(item, what, why).poll(AGAIN));
            }
        }
        let why = "its disk is gone, as it was meant to; the next one is taken in";
        // By its own unit, which a release that did not come to its end has left, the volume would wait for that disk.
        let here = facts.mounts.iter().rfind(|mount| mount.target == volume.mount);
        let dead = here.is_none_or(|mount| !facts.devices.iter().any(|one| one.is_mounted_by(mount)));
        if dead && seen.unit_file.as_deref().is_some_and(written_by_bowline) {
            let number = here.map_or("", |mount| &mount.number);
            let unit = Some(mount_unit_name(&volume.mount));
            return plan.step(item, retire(&volume.name, unit, &volume.mount, number, false), why);
        }
        return plan.step(item, Action::TakeBack { volume: volume.name.clone() }, why);
    };
    if seen.gone.is_some() {
        plan.step(item, Action::Back { volume: volume.name.clone() }, "its disk is there again");
    }
    let mount = facts.mounts.iter().rfind(|mount| mount.target == volume.mount && device.is_mounted_by(mount));
    let ours = seen.unit_file.as_deref().is_some_and(written_by_bowline);
    // That of another volume, which had this place by earlier settings, and has none of its own that could say that it goes.
    let here = facts.mounts.iter().rfind(|one| one.target == volume.mount && !device.is_mounted_by(one));
    let uuid = seen.unit_file.as_deref().filter(|_| ours).and_then(uuid_of);
    let left =
        |one: &&Mount| facts.devices.iter().any(|it| it.is_mounted_by(one) && uuid.is_some_and(|uuid| holds(it, uuid)));
    if let Some(left) = here.filter(left) {
        let action = retire(&volume.name, Some(mount_unit_name(&volume.mount)), &volume.mount, &left.number, false);
        return plan.step(
            item,
            action,
            "earlier settings mounted it there for another volume, and this one is released",
        );
    }
    if mount.is_some() && matches!(seen.growing, Some(Job::Running(_))) {
        let why = "it was released, and what grows it keeps it mounted";
        return plan.waits.push(Wait::new(item, "its filesystem to have grown", why).poll(Duration::from_secs(1)));
    }
    if mount.is_some() || ours {
        if let (Some(_), Some(Job::Failed(error))) = (mount, &seen.unmounting) {
            for (service, _) in facts.services.iter().filter(|(_, unit)| volume.gate && unit.active.is_up()) {
                let why = format!("{} was released, and could not be unmounted: {}", volume.name, error.in_full());
                plan.step_with(item, Action::Stop { service: service.clone() }, why, Risk::Restart);
            }
        }
        let unit = ours.then(|| mount_unit_name(&volume.mount));
        // Unmounted here, it may still be held by a container.
        let number = mount.map_or(&device.number, |mount| &mount.number);
        let action = retire(&volume.name, unit, &volume.mount, number, false);
        return plan.step(item, action, "it was released: its disk is to go to another machine");
    }
    // Cut off before systemd has read that it is gone.
    if seen.unit_file.is_none() && seen.unit.fragment.as_ref() == Some(&mount_unit_path(&volume.mount)) {
        return plan.step(item, Action::Reload, "its mount unit was removed, and systemd has it still");
    }
    shield::recorded(volume, seen, item, plan);
    if let Some(at) = device.mounted_at.first() {
        let what = format!("{} to be unmounted from {}", device.path.display(), at.display());
        plan.waits.push(Wait::new(item, what, "it was released, and is still mounted there").poll(AGAIN));
        return;
    }
    plan.state(condition::released(&volume.name), "yes");
    let what = format!("{} to be detached, or `bowline volumes take {}`", device.path.display(), volume.name);
    plan.waits.push(Wait::new(item, what, "it was released: it is unmounted, and all of it is on its disk"));
}

/// A Node that was told to take no pods for the release of volumes (`names`) takes them again when those are ready, or have left the
/// settings; and when none is released of all others. What could not be looked at may be.
pub(crate) fn uncordon(spec: &Volumes, names: &[String], facts: &Facts, plan: &mut Plan<Action>) {
    let ready = |name: &String| plan.conditions.get(&condition::volume(name)).is_some_and(|state| state == "ready");
    let away = |name: &&String| spec.volumes.iter().any(|volume| volume.name == **name) && !ready(name);
    if let Some(name) = names.iter().find(away) {
        let text = "the Node takes no pods since it was released: it takes them again when the volume is ready, or with `kubectl uncordon` on a server";
        return plan.note(format!("volume/{name}"), text);
    }
    let released =
        |seen: &VolumeFacts| seen.released.as_ref().is_some_and(|it| it.as_ref().map_or(true, |it| it.cordoned));
    let holds = |seen: &Result<VolumeFacts, PortError>| seen.as_ref().map_or(true, released);
    if let Some((volume, _)) = spec.volumes.iter().zip(&facts.volumes).find(|(_, seen)| holds(seen)) {
        let text = format!(
            "the Node takes no pods while this volume is released, or as long as nobody can tell: it takes them again after \
             `bowline volumes take {}`, or with `kubectl uncordon` on a server",
            volume.name
        );
        return plan.note(format!("volume/{}", volume.name), text);
    }
    if !facts.orphans.iter().any(|orphan| orphan.released) {
        plan.state(condition::CORDON_OVER, "yes");
    }
}

/// Whether a device tells the serial of the released disk, or as little as that. Of an NVMe disk earlier builds took down none while
/// others told it as well: by now it may be its own.
fn tells_its_serial(device: &BlockDevice, released: &Released) -> bool {
    match &released.disk.serial {
        Some(serial) => device.told_serial() == Some(serial),
        None => device.id.serial.is_none() || device.may_share_serial() && device.id.size == released.disk.size,
    }
}

/// Whether that serial is a disk's own, and was when it was released: else others tell it as well.
fn is_its_own(device: &BlockDevice, released: &Released) -> bool {
    released.disk.serial.is_some() && !released.shared && device.shared_serial.is_none()
}

/// Whether a device that has the serial of the released disk is that: it has the filesystem as well, as far as that is known of both.
/// It may have been made anew on the only disk of that serial, if that has the size that it had, and is in use for nothing else.
fn has_its_filesystem(device: &BlockDevice, volume: &Volume, released: &Released, facts: &Facts) -> bool {
    let serial = &device.id.serial;
    let alone = || facts.devices.iter().all(|one| one.number == device.number || one.id.serial != *serial);
    let free = device.mounted_at.is_empty() || device.mounted_at.contains(&volume.mount);
    match (&released.uuid, &device.uuid) {
        (Some(uuid), Some(_)) => holds(device, uuid) || device.id == released.disk && free && alone(),
        _ => true,
    }
}

/// The released disk, by its own serial: it may have been made larger since. Without one (partitions have none) it is the one with the
/// volume's filesystem, or one of its size where the settings have it, which has no filesystem any more: its owner may have erased it.
/// Where that is not on record either, several may be alike: it is the one that is mounted as the volume, or else the one that the
/// settings name.
fn disk<'a>(volume: &Volume, seen: &VolumeFacts, released: &Released, facts: &'a Facts) -> Option<&'a BlockDevice> {
    let mounted = |device: &&BlockDevice| {
        facts.mounts.iter().any(|mount| mount.target == volume.mount && device.is_mounted_by(mount))
    };
    let same_size = |device: &BlockDevice| device.id.size == released.disk.size;
    let same = |device: &&BlockDevice| {
        tells_its_serial(device, released)
            && match &released.uuid {
                _ if is_its_own(device, released) => has_its_filesystem(device, volume, released, facts),
                Some(uuid) => holds(device, uuid),
                None => same_size(device),
            }
    };
    // Whatever it tells of itself, the running system's is nobody's to release.
    let alike = || facts.devices.iter().filter(|device| !device.root && same(device));
    let known = |device: &BlockDevice| released.uuid.is_some() || is_its_own(device, released);
    let named = match find(volume, seen.number.as_deref(), seen.used(volume), &facts.devices) {
        Found::One(device) => alike().find(|one| one.number == device.number),
        Found::None | Found::Several(_) => None,
    };
    let erased = |device: &&BlockDevice| {
        let fits = || why_other(volume, seen.number.as_deref(), seen.used(volume), device, &facts.devices).is_none();
        // What is still mounted of a disk that is gone tells that it went.
        let went = || facts.mounts.iter().any(|mount| mount.target == volume.mount && !device.is_mounted_by(mount));
        let like = known(device) && tells_its_serial(device, released) && same_size(device);
        like && device.uuid.is_none() && device.announced && fits() && !went()
    };
    let holds_it = |device: &&BlockDevice| released.uuid.as_ref().is_some_and(|uuid| holds(device, uuid));
    let known_one = || alike().find(holds_it).or_else(|| alike().find(|device| known(device)));
    alike().find(mounted).or(named).or_else(known_one).or_else(|| facts.devices.iter().find(erased))
}

/// The disk whose partition the settings name, where it has none of that name: the kernel takes all away for a moment when it reads
/// the table again.
fn without_partition<'a>(volume: &Volume, facts: &'a Facts) -> Option<&'a BlockDevice> {
    let (VolumeSource::Device(path) | VolumeSource::DeviceOrMatch { device: path, .. }) = &volume.source else {
        return None;
    };
    let is = |device: &BlockDevice, path: &Path| device.path == path || device.links.iter().any(|link| link == path);
    let numbered = path.to_str()?;
    let named = numbered.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let disks = [named.strip_suffix("-part"), named.strip_suffix('p'), Some(named)];
    let mut disks = disks.into_iter().flatten().filter(|_| named != numbered);
    let there = facts.devices.iter().any(|device| is(device, path));
    // LVM's names may end with numbers as well.
    let attached = || facts.devices.iter().filter(|device| !there && !device.transport.is_empty());
    disks.find_map(|disk| attached().find(|device| is(device, Path::new(disk))))
}

/// A disk that may be the released one: without a serial of its own it has to be known what is on it, and where its links are.
fn unknown<'a>(released: &Released, facts: &'a Facts) -> Option<&'a BlockDevice> {
    let may_be = |device: &&BlockDevice| tells_its_serial(device, released) && !is_its_own(device, released);
    facts.devices.iter().filter(|device| !device.announced).find(may_be)
}

/// What Bowline made for a volume that is not in the settings any more: unmounted first, so that the gate stands as long as
/// anything can be mounted there.
pub(crate) fn forgotten(orphan: &Orphan, facts: &Facts, plan: &mut Plan<Action>) {
    let item = format!("volume/{}", orphan.volume);
    let why = "it is no longer in the settings; its data stays on its disk";
    if let Some(unit) = orphan.units.iter().find(|unit| unit.under_way) {
        return plan.waits.push(shield::being_made(&item, &orphan.volume, &unit.at));
    }
    for unit in &orphan.units {
        give_up(&orphan.volume, unit, facts, &item, why, plan);
    }
    for path in &orphan.gates {
        plan.step(&item, Action::Remove { path: path.clone() }, why);
    }
    if orphan.released {
        plan.step(
            &item,
            Action::TakeBack { volume: orphan.volume.clone() },
            "it was released, and is no longer in the settings",
        );
    }
}

/// Unmounts what a unit of ours mounted, and removes the unit. What somebody else mounted in its place stays: without the unit
/// the next boot finds it as they left it.
pub(crate) fn give_up(
    volume: &str,
    former: &Former,
    facts: &Facts,
    item: &str,
    why: impl Into<String>,
    plan: &mut Plan<Action>,
) {
    if let Some(mount) = former.mount.as_ref().filter(|mount| is_somebody_elses(former, mount, facts)) {
        let text =
            format!("{}, and {} is mounted at {}, by somebody else", why.into(), mount.source, former.at.display());
        return plan.step(item, Action::Drop { unit: former.unit.clone() }, text);
    }
    let number = former.mount.as_ref().map(|mount| mount.number.as_str()).unwrap_or_default();
    plan.step(item, retire(volume, Some(former.unit.clone()), &former.at, number, true), why);
}

/// Whether what is mounted at the place of a unit is certainly not what it mounts. A disk that is gone may be the unit's.
fn is_somebody_elses(former: &Former, mount: &Mount, facts: &Facts) -> bool {
    let Some(uuid) = &former.uuid else { return false };
    let mut mounted = facts.devices.iter().filter(|device| device.is_mounted_by(mount)).peekable();
    match mounted.peek() {
        None => !mount.has_device(),
        Some(_) => mounted.all(|device| device.uuid.is_some() && !holds(device, uuid)),
    }
}

/// Unmounts what has this number, and removes the unit if it is ours.
pub(crate) fn retire(volume: &str, unit: Option<String>, at: &Path, number: &str, for_good: bool) -> Action {
    let work = Work::Unmount { number: number.into(), for_good };
    Action::Retire { unit, order: TendOrder { volume: volume.into(), mount: at.to_path_buf(), work } }
}
