//! The plan of one volume. Nothing here may lead to a lost byte: a device is formatted only when the settings
//! allow it and it is proven blank, or is our own attempt that was cut off.

use crate::facts::{Facts, MountPoint, VolumeFacts};
use crate::find::{describe, find, why_not};
use crate::intent::{Intent, planned_uuid};
use crate::units::{MARK, gate_path, gate_text, mount_unit_name, mount_unit_path, mount_unit_text};
use crate::{Action, Found, Volumes};
use bowline_engine::{Plan, Risk, Wait};
use bowline_ports::{ActiveState, BlockDevice, Filesystem, FormatOrder, Job, Mount, Probe, SignatureKind};
use bowline_settings::{Format, Volume, VolumeSource};
use std::time::Duration;

const ARRIVAL: Duration = Duration::from_secs(180);

pub(crate) fn volume(spec: &Volumes, volume: &Volume, seen: &VolumeFacts, facts: &Facts, plan: &mut Plan<Action>) {
    let item = format!("volume/{}", volume.name);
    // The gate comes first, and whatever else is wrong: Kubernetes must not start on the bare directory.
    gates(spec, volume, seen, &item, plan);
    let device = match find(volume, seen.number.as_deref(), &facts.devices) {
        Found::One(device) => device,
        Found::None => return missing(volume, facts, &item, plan),
        Found::Several(all) => {
            let list: Vec<_> = all.iter().map(|d| describe(d)).collect();
            return plan.refuse(
                item,
                format!("use a disk for {}", volume.name),
                format!("{} fits several disks: {}", volume.source, list.join("; ")),
                "name the disk by `device` instead",
            );
        }
    };
    if let Some(reason) = why_not(device, volume) {
        return plan.refuse(
            item,
            format!("use {} for {}", device.path.display(), volume.name),
            reason,
            format!("correct `{}`, or free the disk; nothing was touched", key(volume)),
        );
    }
    if let Some(mount) = facts.mounts.iter().rfind(|m| m.target == volume.mount) {
        return mounted(volume, seen, device, mount, &item, plan);
    }
    if let Some(Job::Running(_)) = &seen.job {
        // Followed, never begun again from here: should it have ended, the proof decides anew.
        let order = order(volume, device, false);
        return plan.step_with(item, Action::Format(order), "it is being made", Risk::Erase);
    }
    match &seen.mount_point {
        MountPoint::Free | MountPoint::Mounted => {}
        MountPoint::Filled(entries) => {
            return plan.refuse(
                item,
                format!("mount {} on {}", device.path.display(), volume.mount.display()),
                format!("{} is not empty: it holds {}", volume.mount.display(), entries.join(", ")),
                "a mount would hide these files: move them away, or choose another `mount`",
            );
        }
        MountPoint::NotADirectory => {
            return plan.refuse(
                item,
                format!("mount {} on {}", device.path.display(), volume.mount.display()),
                format!("{} is not a directory", volume.mount.display()),
                "move it away, or choose another `mount`",
            );
        }
    }
    match &seen.probe {
        Some(Ok(probe)) => unmounted(volume, seen, device, probe, &item, plan),
        Some(Err(error)) => plan.refuse(
            item,
            format!("use {} for {}", device.path.display(), volume.name),
            error.message.clone(),
            error.hint.clone().unwrap_or_else(|| "look at the disk with `dmesg` and `blkid -p`".into()),
        ),
        None => plan.waits.push(
            Wait::new(&item, format!("a look at {}", device.path.display()), "the disk just changed")
                .poll(Duration::from_secs(1)),
        ),
    }
}

/// How the settings name the disk.
fn key(volume: &Volume) -> &'static str {
    match volume.source {
        VolumeSource::Device(_) => "device",
        VolumeSource::Serial(_) => "serial",
    }
}

fn filesystem(volume: &Volume) -> Filesystem {
    match volume.filesystem {
        bowline_settings::Filesystem::Ext4 => Filesystem::Ext4,
        bowline_settings::Filesystem::Xfs => Filesystem::Xfs,
        bowline_settings::Filesystem::Btrfs => Filesystem::Btrfs,
    }
}

fn order(volume: &Volume, device: &BlockDevice, resume: bool) -> FormatOrder {
    FormatOrder {
        volume: volume.name.clone(),
        device: device.path.clone(),
        id: device.id.clone(),
        filesystem: filesystem(volume),
        uuid: planned_uuid(&device.id, &volume.name),
        resume,
    }
}

fn missing(volume: &Volume, facts: &Facts, item: &str, plan: &mut Plan<Action>) {
    let others: Vec<_> = facts.devices.iter().filter(|d| !d.root && d.partition_of.is_none()).map(describe).collect();
    let others = if others.is_empty() { "no other disk".to_string() } else { others.join("; ") };
    plan.waits.push(
        Wait::new(item, format!("the disk {}", volume.source), format!("it is not attached; attached: {others}"))
            .deadline(
                ARRIVAL,
                format!("attach the disk, or correct `{}` of volume {}; attached: {others}", key(volume), volume.name),
            )
            .poll(Duration::from_secs(5)),
    );
}

/// The gate on every service that must not run without the volume.
fn gates(spec: &Volumes, volume: &Volume, seen: &VolumeFacts, item: &str, plan: &mut Plan<Action>) {
    let wanted = gate_text(volume);
    let mut set = true;
    for service in &spec.services {
        let path = gate_path(service, &volume.name);
        let there = seen.gates.get(service).and_then(Option::as_deref);
        if volume.gate && there != Some(wanted.as_str()) {
            let why = match there {
                None => format!("{service} must not start without the volume"),
                Some(_) => "it differs from the settings: they changed, or it was edited by hand".to_string(),
            };
            plan.step(item, Action::Write { path, text: wanted.clone() }, why);
            set = false;
        } else if !volume.gate && there.is_some() {
            plan.step(item, Action::Remove { path }, "`gate = false`: Kubernetes does not need this volume");
        }
    }
    if volume.gate && set {
        plan.state(format!("gate/{}", volume.name), "set");
    }
}

/// Something is mounted where the volume belongs.
fn mounted(
    volume: &Volume,
    seen: &VolumeFacts,
    device: &BlockDevice,
    mount: &Mount,
    item: &str,
    plan: &mut Plan<Action>,
) {
    let ours = mount.number == device.number || mount.source == device.path.to_string_lossy();
    if !ours {
        return plan.refuse(
            item,
            format!("mount {} on {}", device.path.display(), volume.mount.display()),
            format!("{} is already mounted there", mount.source),
            "unmount it and remove what mounts it, or choose another `mount`",
        );
    }
    if mount.read_only {
        return plan.refuse(
            item,
            format!("call {} ready", volume.name),
            format!("{} at {} is mounted read-only", mount.source, volume.mount.display()),
            "look for I/O errors in `dmesg`; a filesystem turns read-only when its disk fails",
        );
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
            let uuid = text.lines().find_map(|l| l.strip_prefix("What=/dev/disk/by-uuid/")).unwrap_or_default();
            // Which filesystem is mounted is a fact; only what the settings decide may be rewritten here.
            let wanted = mount_unit_text(volume, filesystem(volume), uuid);
            if uuid.is_empty() {
                return plan.refuse(
                    item,
                    format!("keep {} up to date", mount_unit_path(&volume.mount).display()),
                    "its What= no longer names a filesystem by UUID",
                    format!("unmount {} and remove that file; Bowline writes it again", volume.mount.display()),
                );
            }
            if *text != wanted {
                let why =
                    "it differs from the settings: they changed, or it was edited by hand; in force at the next mount";
                plan.step(item, write_unit(volume, uuid), why);
            } else if seen.unit.needs_reload {
                plan.step(item, Action::Reload, "its mount unit changed on disk");
            }
            enable(volume, seen, item, plan);
        }
        _ => {
            let by = seen.unit.fragment.as_ref().map_or("something else".into(), |f| f.display().to_string());
            plan.note(item, format!("mounted by {by}, which is left in charge"));
        }
    }
    if plan.settled(item) {
        plan.state(item, "ready");
    }
}

fn unmounted(
    volume: &Volume,
    seen: &VolumeFacts,
    device: &BlockDevice,
    probe: &Probe,
    item: &str,
    plan: &mut Plan<Action>,
) {
    let planned = planned_uuid(&device.id, &volume.name);
    let intent = match &seen.intent {
        Some(Ok(intent)) => Some(intent),
        Some(Err(broken)) => {
            return plan.refuse(
                item,
                format!("use {} for {}", device.path.display(), volume.name),
                format!("the record of an earlier formatting can not be read: {broken}"),
                "look at the disk; remove the record if what is on the disk is as you expect",
            );
        }
        None => None,
    };
    let begun = intent.filter(|i| i.id == device.id && i.uuid == planned && i.filesystem == filesystem(volume));
    if let (Some(other), None) = (intent, begun) {
        return plan.refuse(
            item,
            format!("use {} for {}", device.path.display(), volume.name),
            format!(
                "formatting was begun on another disk: {} (serial {})",
                other.device.display(),
                other.id.serial.as_deref().unwrap_or("none")
            ),
            format!("attach that disk, or give it up by removing {}", other.path().display()),
        );
    }
    if let Some(error) = &probe.read_error {
        return plan.refuse(
            item,
            format!("use {} for {}", device.path.display(), volume.name),
            format!("{} can not be read: {error}", device.path.display()),
            "look at `dmesg`: the disk may be failing",
        );
    }
    match (begun, probe.filesystem()) {
        // All three mkfs write the superblock that blkid finds last: with it, the filesystem is complete, and may
        // even have been used on another machine since. It is never made again.
        (Some(_), Some(found)) if found.uuid.as_deref() == Some(planned.as_str()) => {
            plan.step(item, forget(volume), "the filesystem that it announced is complete");
            bring_up(volume, seen, &planned, item, plan);
        }
        // Without a serial, another disk of the same size would look the same.
        (Some(_), None)
            if volume.format == Format::BlankOnly
                && probe.signatures.is_empty()
                && !probe.ambivalent
                && device.id.serial.is_some() =>
        {
            format(volume, seen, device, true, "making it was begun and not finished", item, plan);
        }
        (None, Some(found)) if found.name == filesystem(volume).name() => match &found.uuid {
            Some(uuid) => {
                let label = found.label.as_deref().unwrap_or("none");
                plan.note(
                    item,
                    format!("{} has {} (label {label}, UUID {uuid}): used as it is", device.path.display(), found.name),
                );
                bring_up(volume, seen, uuid, item, plan);
            }
            None => plan.refuse(
                item,
                format!("mount {}", device.path.display()),
                "its filesystem has no UUID",
                format!("give it one (`tune2fs -U random {}`)", device.path.display()),
            ),
        },
        _ if probe.is_blank() && volume.format == Format::BlankOnly => {
            let intent = Intent {
                volume: volume.name.clone(),
                device: device.path.clone(),
                id: device.id.clone(),
                filesystem: filesystem(volume),
                uuid: planned.clone(),
            };
            plan.step(item, Action::Record(intent), "a power cut must not make our own work look like a stranger's");
            format(volume, seen, device, false, "it is proven blank, and `format = \"blank-only\"`", item, plan);
        }
        _ if probe.is_blank() => plan.refuse(
            item,
            format!("format {}", device.path.display()),
            format!("{} is blank, and `format` is \"never\"", device.path.display()),
            "set `format = \"blank-only\"` on the volume, or format the disk yourself",
        ),
        _ => foreign(volume, device, probe, item, plan),
    }
}

/// Something is on the device that Bowline did not put there and was not told to use.
fn foreign(volume: &Volume, device: &BlockDevice, probe: &Probe, item: &str, plan: &mut Plan<Action>) {
    let name = device.path.display();
    let list: Vec<_> = probe
        .signatures
        .iter()
        .map(|s| match s.kind {
            SignatureKind::Filesystem => format!("a filesystem ({})", s.name),
            SignatureKind::PartitionTable => format!("a partition table ({})", s.name),
            SignatureKind::Member => format!("part of something else ({})", s.name),
        })
        .collect();
    let found = if !list.is_empty() {
        format!("{name} holds {}", list.join(" and "))
    } else if probe.ambivalent {
        format!("{name} holds signatures that contradict each other")
    } else if let Some(at) = probe.data_at {
        format!("{name} has no signature that is known, but data at byte {at}")
    } else {
        format!("{name} could not be proven blank")
    };
    let what = format!("format or mount {name} for {}", volume.name);
    let hint = format!(
        "nothing was touched. If the data is not wanted, erase it yourself (`wipefs -a {name}`, then \
         `blkdiscard -z {name}`); else use another disk or set `filesystem` to what it holds"
    );
    plan.refuse(item, what, found, hint);
}

fn format(
    volume: &Volume,
    seen: &VolumeFacts,
    device: &BlockDevice,
    resume: bool,
    why: &str,
    item: &str,
    plan: &mut Plan<Action>,
) {
    let order = order(volume, device, resume);
    let uuid = order.uuid.clone();
    plan.step_with(item, Action::Format(order), why, Risk::Erase);
    bring_up(volume, seen, &uuid, item, plan);
}

/// Unit, reload, enable, mount.
fn bring_up(volume: &Volume, seen: &VolumeFacts, uuid: &str, item: &str, plan: &mut Plan<Action>) {
    let wanted = mount_unit_text(volume, filesystem(volume), uuid);
    let path = mount_unit_path(&volume.mount);
    match &seen.unit_file {
        Some(text) if *text == wanted => {
            if seen.unit.needs_reload || seen.unit.load == "not-found" {
                plan.step(item, Action::Reload, "systemd has not read the mount unit yet");
            }
        }
        Some(text) if !text.starts_with(MARK) => {
            return plan.refuse(
                item,
                format!("write {}", path.display()),
                format!("{} was made by somebody else, and does not mount this disk now", path.display()),
                "remove it, or remove the volume from the settings",
            );
        }
        other => {
            if other.is_none() && seen.unit.load == "loaded" && seen.unit.fragment.is_some() {
                let by = seen.unit.fragment.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
                return plan.refuse(
                    item,
                    format!("write {}", path.display()),
                    format!("{} is already claimed by {by} (fstab?)", volume.mount.display()),
                    "remove that line or unit, or remove the volume from the settings",
                );
            }
            let why = match other {
                Some(_) => "it differs from the settings: they changed, or it was edited by hand",
                None => "systemd mounts the volume, also when Bowline does not run",
            };
            plan.step(item, write_unit(volume, uuid), why);
        }
    }
    enable(volume, seen, item, plan);
    let unit = mount_unit_name(&volume.mount);
    let why = match seen.unit.active {
        ActiveState::Failed => format!("it is not mounted; the last try failed ({})", seen.unit.result),
        _ => "it is not mounted".to_string(),
    };
    plan.step(item, Action::Mount { unit, at: volume.mount.clone() }, why);
}

fn enable(volume: &Volume, seen: &VolumeFacts, item: &str, plan: &mut Plan<Action>) {
    if seen.unit.file_state != "enabled" {
        let unit = mount_unit_name(&volume.mount);
        plan.step(item, Action::Enable { unit }, "the next boot must find it");
    }
}

fn write_unit(volume: &Volume, uuid: &str) -> Action {
    Action::Write { path: mount_unit_path(&volume.mount), text: mount_unit_text(volume, filesystem(volume), uuid) }
}

fn forget(volume: &Volume) -> Action {
    Action::Forget { volume: volume.name.clone(), record: Intent::path_of(&volume.name) }
}
