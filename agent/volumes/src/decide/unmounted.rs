//! A volume whose disk is there and not mounted: formatted, mounted or refused.

use super::foreign::foreign;
use super::held::held;
use super::twins::{refuse_twin, twin};
use super::unlinked::unlinked;
use super::{No, check, enable, filesystem, forget, intent as intent_of, made_by, unit_text, write_unit};
use crate::Action;
use crate::facts::{Facts, VolumeFacts};
use crate::intent::Intent;
use crate::others::Claim;
use crate::units::{mount_unit_name, mount_unit_path};
use bowline_engine::{Plan, Risk, Wait};
use bowline_ports::{ActiveState, BlockDevice, MARK, Probe, Signature, TendOrder, Work};
use bowline_settings::{Format, Repair, Volume};
use std::time::Duration;

const PROVEN: &str = "it looks blank, and `format = \"blank-only\"`; it is proven first";
/// The proof that a disk is blank, and `mkfs`, take minutes.
const MAKING: Duration = Duration::from_secs(1800);
const COMPLETE: &str = "the filesystem that it announced is complete";

/// A volume with its disk.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) volume: &'a Volume,
    pub(super) seen: &'a VolumeFacts,
    pub(super) device: &'a BlockDevice,
    pub(super) facts: &'a Facts,
    /// Somebody else says the same as the settings, and mounts it.
    pub(super) other: Option<&'a Claim>,
    pub(super) item: &'a str,
}

/// A unit makes a filesystem for the volume. When it has ended meanwhile, following it would be making one anew: what was begun under
/// other settings is waited for.
pub(super) fn being_made(place: Place<'_>, plan: &mut Plan<Action>) {
    let Place { volume, seen, device, facts, item, .. } = place;
    let ours = intent_of(volume, seen, device, &facts.boot);
    // Without a serial another disk of its size looks the same; while a unit holds a disk, its name stays.
    let same = |it: &Intent| it.same(&ours) && (ours.id.serial.is_some() || it.device == ours.device);
    if volume.format == Format::BlankOnly && seen.intent.iter().flatten().any(same) {
        let order = ours.order(&volume.mount, false);
        return plan.step_with(item, Action::Format(order), "it is being made", Risk::Erase);
    }
    let unit = format!("bowline-mkfs-{}.service", volume.name);
    let what = format!("the work on a filesystem for {} to end", volume.name);
    let wait = Wait::new(item, what, "it was begun under other settings, and is not cut off");
    let hint = format!("look with `systemctl status {unit}`; `systemctl stop {unit}` ends it");
    plan.waits.push(wait.poll(Duration::from_secs(5)).deadline(MAKING, hint));
}

/// What is on record of making a filesystem on the disk.
struct Record<'a> {
    /// What it would be now.
    ours: Intent,
    /// The same is announced.
    announced: bool,
    /// And was begun.
    begun: Option<&'a Intent>,
}

pub(super) fn unmounted(place: Place<'_>, probe: &Probe, plan: &mut Plan<Action>) {
    let Place { volume, seen, other, item, .. } = place;
    if let Some(other) = other {
        plan.note(item, format!("mounted by {}, which is left in charge", other.by));
    } else if let Some((why, hint)) = claimed(volume, seen) {
        return plan.refuse(item, format!("write {}", mount_unit_path(&volume.mount).display()), why, hint);
    }
    let record = match on_record(place, probe, plan) {
        Ok(record) => record,
        Err(no) => return no.tell(item, plan),
    };
    if let Some(no) = unfit(place, probe) {
        return no.tell(item, plan);
    }
    if record.begun.is_none()
        && let Some(used) = seen.used(volume)
        && held(place, probe, used, record.ours.uuid == used, plan)
    {
        return;
    }
    if unlinked(place, probe, plan) {
        return;
    }
    by_what_it_holds(place, probe, record, plan);
}

/// Reads the record, and drops it where it tells nothing of the disk any more.
fn on_record<'a>(place: Place<'a>, probe: &Probe, plan: &mut Plan<Action>) -> Result<Record<'a>, No> {
    let Place { volume, seen, device, facts, item, .. } = place;
    let intent = match &seen.intent {
        Some(Ok(intent)) => Some(intent),
        Some(Err(broken)) => {
            let why = format!("the record of an earlier formatting cannot be read: {broken}");
            let hint = "look at the disk; remove the record if what is on the disk is as you expect";
            return Err(No::use_of(volume, device, why, hint));
        }
        None => None,
    };
    let ours = intent_of(volume, seen, device, &facts.boot);
    let same = |it: &&Intent| it.same(&ours);
    let announced = intent.filter(same);
    // The device was proven blank, and something of ours may have been written to it since.
    let written = intent.filter(|it| seen.begun.as_deref() == Some(it.mark().as_str()));
    let begun = written.filter(same);
    if intent.is_some() && written.is_none() && (announced.is_none() || !probe.is_blank()) {
        let uuid = probe.filesystem().and_then(|found| found.uuid.as_deref());
        let made = announced.is_some_and(|it| uuid == Some(it.uuid.as_str()));
        let why = if made { COMPLETE } else { "nothing of what it announced is half made" };
        plan.step(item, forget(volume), why);
    }
    let holds_it = |it: &Intent| probe.filesystem().is_some_and(|found| found.uuid.as_ref() == Some(&it.uuid));
    if let (Some(other), None) = (written, begun) {
        let why = if holds_it(other) {
            // Made to its end, and the disk was enlarged, say, before that was noted.
            COMPLETE
        } else if probe.is_blank() && may_be_it(other, device) {
            // It did not come to writing anything: the mark is set before the tool is known to start.
            "nothing is on the disk: what was begun there has written nothing"
        } else {
            return Err(begun_otherwise(place, other));
        };
        plan.step(item, forget(volume), why);
    }
    let announced = announced.is_some();
    Ok(Record { ours, announced, begun })
}

/// Why the disk is no volume's, whatever is on record of it.
fn unfit(place: Place<'_>, probe: &Probe) -> Option<No> {
    let Place { volume, device, .. } = place;
    let name = device.path.display();
    if let Some(error) = &probe.read_error {
        let why = format!("{name} cannot be read: {error}");
        return Some(No::use_of(volume, device, why, "look at `dmesg`: the disk may be failing"));
    }
    // Of several disks it would be chance by which one it is found and mounted, and a release would leave the others out.
    if probe.disks > 1 {
        return Some(No::use_of(
            volume,
            device,
            format!("{name} is one of {} disks of a btrfs, which Bowline does not mount", probe.disks),
            "a volume is a filesystem on one disk: use another disk, take the others out of this btrfs (`btrfs device remove`), or \
             mount it without Bowline; nothing was touched",
        ));
    }
    None
}

/// Makes its filesystem, mounts the one that is there, or refuses what is there instead.
fn by_what_it_holds(place: Place<'_>, probe: &Probe, record: Record<'_>, plan: &mut Plan<Action>) {
    let Place { volume, device, item, .. } = place;
    let Record { ours, announced, begun } = record;
    let planned = ours.uuid.clone();
    match (begun, probe.filesystem()) {
        // All three mkfs write the superblock that blkid finds last: with it, the filesystem is complete, and may
        // even have been used on another machine since. It is never made again.
        (Some(_), Some(found)) if found.uuid.as_deref() == Some(planned.as_str()) => {
            plan.step(item, forget(volume), COMPLETE);
            bring_up(place, true, &planned, plan);
        }
        (Some(_), None) if probe.is_blank() && volume.format == Format::BlankOnly => {
            format(place, false, PROVEN, plan);
        }
        // Without a serial, another disk of the same size would look the same.
        (Some(_), None)
            if volume.format == Format::BlankOnly
                && probe.signatures.is_empty()
                && !probe.ambivalent
                && device.id.serial.is_some() =>
        {
            format(place, true, "making it was begun and not finished", plan);
        }
        (Some(begun), Some(found)) if found.name == filesystem(volume).name() => plan.refuse(
            item,
            format!("use {} for {}", device.path.display(), volume.name),
            format!(
                "formatting {} was begun, and now it holds a filesystem that is not ours (UUID {})",
                device.path.display(),
                found.uuid.as_deref().unwrap_or("none")
            ),
            format!("to use it as it is, remove {}", begun.path().display()),
        ),
        (None, Some(found)) if found.name == filesystem(volume).name() => as_it_is(place, probe, found, plan),
        _ if probe.is_blank() && volume.format == Format::BlankOnly => {
            if !announced {
                plan.step(item, Action::Record(ours), "a power cut must not make our own work look like a stranger's");
            }
            format(place, false, PROVEN, plan);
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

/// Mounts a filesystem that was there before.
fn as_it_is(place: Place<'_>, probe: &Probe, found: &Signature, plan: &mut Plan<Action>) {
    let Place { device, item, .. } = place;
    match &found.uuid {
        Some(uuid) => {
            let label = found.label.as_deref().unwrap_or("none");
            plan.note(
                item,
                format!(
                    "{} has {} (label {label}, UUID {uuid}{}): used as it is",
                    device.path.display(),
                    found.name,
                    last_mount(probe)
                ),
            );
            bring_up(place, true, uuid, plan);
        }
        None => plan.refuse(
            item,
            format!("mount {}", device.path.display()),
            "its filesystem has no UUID",
            format!("give it one (`tune2fs -U random {}`)", device.path.display()),
        ),
    }
}

/// Whether a disk may be the one that a record is of. Without a serial of its own it is like others of its size; and that of an NVMe
/// disk may have become its own, or no more be that, since.
fn may_be_it(record: &Intent, device: &BlockDevice) -> bool {
    let same_size = record.id.size == device.id.size;
    match (&record.id.serial, &device.id.serial) {
        (Some(its), Some(own)) => its == own,
        (Some(its), None) => same_size && device.shared_serial.as_ref() == Some(its),
        (None, own) => same_size && (own.is_none() || device.may_share_serial()),
    }
}

/// Making a filesystem was begun (`other`), of another kind or on another disk, and something may have been written.
fn begun_otherwise(place: Place<'_>, other: &Intent) -> No {
    let Place { volume, device, .. } = place;
    let (name, record) = (device.path.display(), other.path());
    if !may_be_it(other, device) {
        let serial = other.id.serial.as_deref().unwrap_or("none");
        let why = format!("formatting was begun on another disk: {} (serial {serial})", other.device.display());
        let hint = format!("attach that disk, or give it up by removing {}", record.display());
        return No::use_of(volume, device, why, hint);
    }
    let which = if other.id.serial.is_some() && device.id.serial.is_some() {
        "this disk"
    } else {
        "this disk or one that looks like it"
    };
    No::use_of(
        volume,
        device,
        format!(
            "making {} on {which} was begun and not finished, when it had {} bytes; it has {}, and the settings say {}",
            other.filesystem, other.id.size, device.id.size, volume.filesystem
        ),
        format!(
            "look at the disk (`blkid -p {name}`). If nothing on it is wanted, erase it (`wipefs -a {name}`, then \
             `blkdiscard -z {name}`) and remove {}; if somebody has put data on it since, remove that record alone",
            record.display(),
        ),
    )
}

fn format(place: Place<'_>, resume: bool, why: &str, plan: &mut Plan<Action>) {
    let Place { volume, seen, device, facts, item, .. } = place;
    let order = intent_of(volume, seen, device, &facts.boot).order(&volume.mount, resume);
    let uuid = order.uuid.clone();
    if let Some(twin) = twin(place, &uuid) {
        return refuse_twin(place, twin, &uuid, plan);
    }
    plan.step_with(item, Action::Format(order), why, Risk::Erase);
    bring_up(place, false, &uuid, plan);
}

/// Somebody else says what is mounted there: nothing may be begun, formatting least of all.
fn claimed(volume: &Volume, seen: &VolumeFacts) -> Option<(String, &'static str)> {
    let path = mount_unit_path(&volume.mount);
    match &seen.unit_file {
        Some(text) if text.starts_with(MARK) => None,
        Some(_) => {
            let why = format!("{} was made by somebody else, and does not mount this disk now", path.display());
            Some((why, "remove it, or remove the volume from the settings"))
        }
        // Ours, removed by hand, is still loaded until systemd reads its files again.
        None if seen.unit.load == "loaded" && seen.unit.fragment.as_ref() != Some(&path) => {
            let by = made_by(&seen.unit)?;
            let why = format!("{} belongs to {by}, and is not mounted now", volume.mount.display());
            Some((why, "remove that line or unit, or remove the volume from the settings"))
        }
        None => None,
    }
}

/// Unit, reload, enable, mount. A filesystem that was there before (`old`) may have to be repaired first; for one that was just made
/// all is ready.
fn bring_up(place: Place<'_>, old: bool, uuid: &str, plan: &mut Plan<Action>) {
    let Place { volume, seen, device, item, .. } = place;
    if let Some(twin) = twin(place, uuid) {
        return refuse_twin(place, twin, uuid, plan);
    }
    if place.other.is_some() {
        if seen.unit.needs_reload || seen.unit.load == "not-found" {
            plan.step(item, Action::Reload, "systemd has not read what mounts it yet");
        }
    } else {
        write_and_enable(place, uuid, plan);
    }
    let unit = mount_unit_name(&volume.mount);
    let why = match seen.unit.active {
        ActiveState::Failed => format!("it is not mounted; the last try failed ({})", seen.unit.result),
        _ => "it is not mounted".to_string(),
    };
    let prepare = old.then(|| TendOrder {
        volume: volume.name.clone(),
        mount: volume.mount.clone(),
        work: Work::Prepare {
            device: device.path.clone(),
            id: device.id.clone(),
            filesystem: filesystem(volume),
            suspect: seen.unit.active == ActiveState::Failed,
            options: volume.options.clone(),
            repair: volume.repair == Repair::Safe,
        },
    });
    plan.step(
        item,
        Action::Mount {
            volume: volume.name.clone(),
            device: device.path.clone(),
            unit,
            at: volume.mount.clone(),
            prepare,
        },
        why,
    );
}

fn write_and_enable(place: Place<'_>, uuid: &str, plan: &mut Plan<Action>) {
    let Place { volume, seen, device, item, .. } = place;
    let wanted = unit_text(volume, device, uuid);
    check(volume, seen, uuid, item, plan);
    match &seen.unit_file {
        Some(text) if *text == wanted => {
            if seen.unit.needs_reload || seen.unit.load == "not-found" {
                plan.step(item, Action::Reload, "systemd has not read the mount unit yet");
            }
        }
        other => {
            let why = match other {
                Some(_) => {
                    "it differs from the settings: they changed, it was edited by hand, or an earlier Bowline wrote it"
                }
                None => "systemd mounts the volume, also when Bowline does not run",
            };
            plan.step(item, write_unit(volume, wanted), why);
        }
    }
    enable(volume, seen, item, plan);
}

/// When and where it was mounted last, as far as it keeps that.
fn last_mount(probe: &Probe) -> String {
    let Some(last) = &probe.last_mount else { return String::new() };
    let at = if last.at.as_os_str().is_empty() { String::new() } else { format!(" at {}", last.at.display()) };
    let day = jiff::Timestamp::from_second(last.unix).map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string());
    format!(", last mounted{at} on {}", day.unwrap_or_default())
}
