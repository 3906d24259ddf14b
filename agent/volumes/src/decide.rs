//! The plan of one volume. Nothing here may lead to a lost byte: a device is formatted only when the settings
//! allow it and it is proven blank, or is our own attempt that was cut off.

use crate::facts::{Boot, Facts, MountPoint, VolumeFacts};
use crate::find::{find, why_not};
use crate::intent::{Intent, planned_uuid};
use crate::kubernetes;
use crate::others::{self, Claim};
use crate::shield;
use crate::units::{
    check_unit_path, check_unit_text, gate_path, gate_text, mount_unit_name, mount_unit_path, mount_unit_text,
};
use crate::{Action, Found, Volumes};
use bowline_engine::{Plan, Wait};
use bowline_ports::{BlockDevice, Filesystem, Job, PortError, Unit, condition};
use bowline_settings::Volume;
use std::path::Path;
use std::time::Duration;

mod choice;
mod foreign;
mod held;
mod leaving;
mod mounted;
mod services;
mod twins;
mod unlinked;
mod unmounted;

use choice::{its_disk, not_this_one, only_alike};
pub(crate) use leaving::{forgotten, uncordon};
use mounted::mounted;
pub(crate) use services::services;
use unmounted::{Place, being_made, unmounted};

const ARRIVAL: Duration = Duration::from_secs(180);
/// For so long after a boot a disk that is like `match` does not stand in for the one that is named: that may come yet.
const STANDING_IN: Duration = Duration::from_secs(60);

/// Which device each volume means, in the order of the settings. Looked for once: each volume is compared with all others.
pub(crate) fn found<'a>(spec: &'a Volumes, facts: &'a Facts) -> Vec<(&'a Volume, Found<'a>)> {
    let one = |(volume, seen): (&'a Volume, &'a Result<VolumeFacts, PortError>)| match seen {
        Ok(seen) => (volume, find(volume, seen.number.as_deref(), seen.used(volume), &facts.devices)),
        Err(_) => (volume, Found::None),
    };
    spec.volumes.iter().zip(&facts.volumes).map(one).collect()
}

/// What is not done, why not, and what a person can do.
struct No {
    what: String,
    why: String,
    hint: String,
}

impl No {
    fn new(what: impl Into<String>, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), hint: hint.into() }
    }

    /// That a disk is not used for a volume.
    fn use_of(volume: &Volume, device: &BlockDevice, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(format!("use {} for {}", device.path.display(), volume.name), why, hint)
    }

    /// That a disk is not mounted where its volume belongs.
    fn mounting(volume: &Volume, device: &BlockDevice, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(format!("mount {} on {}", device.path.display(), volume.mount.display()), why, hint)
    }

    fn tell(self, item: &str, plan: &mut Plan<Action>) {
        plan.refuse(item, self.what, self.why, self.hint);
    }
}

pub(crate) fn volume(
    spec: &Volumes,
    volume: &Volume,
    seen: &VolumeFacts,
    (facts, found): (&Facts, &[(&Volume, Found<'_>)]),
    plan: &mut Plan<Action>,
) {
    let item = format!("volume/{}", volume.name);
    // The gate comes first, and whatever else is wrong: Kubernetes must not start on the bare directory.
    gates(spec, volume, seen, facts, &item, plan);
    if !is_here(volume, seen, facts, &item, plan) {
        return;
    }
    let Some(device) = its_disk(spec, volume, seen, (facts, found), &item, plan) else { return };
    if let Some(no) = not_this_one(volume, seen, device, (facts, found)) {
        return no.tell(&item, plan);
    }
    if let Some(part) = facts.cloud_config.as_deref().and_then(|text| others::cloud_init(text, device)) {
        let text = format!(
            "cloud-init was told of {} as well (`{part}`): what that does, it does before Bowline looks, and without its care; \
             remove it from the user-data",
            device.path.display()
        );
        plan.note(&item, text);
    }
    if let Some(not) = why_not(device, volume) {
        return No::use_of(volume, device, not.reason, not.hint).tell(&item, plan);
    }
    if let Some(mount) = facts.mounts.iter().rfind(|m| m.target == volume.mount) {
        return mounted(volume, seen, device, mount, facts, &item, plan);
    }
    if let Some(outer) = outer(spec, volume, facts) {
        let what = format!("the volume {} at {}", outer.name, outer.mount.display());
        let why = format!("{} lies on it: mounted now, it would be hidden later", volume.mount.display());
        return plan.waits.push(Wait::new(&item, what, why));
    }
    if let Some(Job::Running(_)) = &seen.job {
        return being_made(Place { volume, seen, device, facts, other: None, item: &item }, plan);
    }
    if let Some(no) = place_is_taken(volume, seen, device, facts) {
        return no.tell(&item, plan);
    }
    match &seen.probe {
        Some(Ok(probe)) => {
            let other = in_charge(volume, device, facts);
            unmounted(Place { volume, seen, device, facts, other, item: &item }, probe, plan);
        }
        Some(Err(error)) => {
            let hint = error.hint.clone().unwrap_or_else(|| "look at the disk with `dmesg` and `blkid -p`".into());
            No::use_of(volume, device, error.message.clone(), hint).tell(&item, plan);
        }
        None => plan.waits.push(
            Wait::new(&item, format!("a look at {}", device.path.display()), "the disk just changed")
                .poll(Duration::from_secs(1)),
        ),
    }
}

/// Whether the volume belongs here, and to nothing that is under way. What it was at places of earlier settings is given up.
fn is_here(volume: &Volume, seen: &VolumeFacts, facts: &Facts, item: &str, plan: &mut Plan<Action>) -> bool {
    if let Some(former) = seen.former.iter().find(|former| former.under_way) {
        plan.waits.push(shield::being_made(item, &volume.name, &former.at));
        return false;
    }
    for former in &seen.former {
        let why = format!("the settings said {} earlier, and now {}", former.at.display(), volume.mount.display());
        leaving::give_up(&volume.name, former, facts, item, why, plan);
    }
    match &seen.released {
        Some(Ok(record)) => leaving::released(volume, seen, record, facts, item, plan),
        Some(Err(broken)) => {
            let why = format!("whether it was released cannot be read: {broken}");
            let hint = format!("`bowline volumes take {}` takes it back", volume.name);
            No::new(format!("use the volume {}", volume.name), why, hint).tell(item, plan);
        }
        None => return true,
    }
    false
}

/// Why nothing may be mounted at the volume's mount point.
fn place_is_taken(volume: &Volume, seen: &VolumeFacts, device: &BlockDevice, facts: &Facts) -> Option<No> {
    let at = volume.mount.display();
    let (why, hint) = match &seen.mount_point {
        MountPoint::Free => kubernetes::in_use(volume, seen, facts)?,
        MountPoint::Mounted => return None,
        MountPoint::Leads(real) => (
            format!("{at} leads to {}, and systemd mounts nothing behind a link", real.display()),
            format!("name that place: `mount = \"{}\"`; or have no link there", real.display()),
        ),
        MountPoint::Filled(entries) => (
            format!("{at} is not empty: it holds {}", entries.join(", ")),
            "a mount would hide these files: move them away, or choose another `mount`".to_owned(),
        ),
        MountPoint::NotADirectory => {
            (format!("{at} is not a directory"), "move it away, or choose another `mount`".to_owned())
        }
    };
    Some(No::mounting(volume, device, why, hint))
}

/// A volume that could not be looked at; the others go on.
pub(crate) fn blind(volume: &Volume, error: &PortError, plan: &mut Plan<Action>) {
    let hint = error.hint.clone().unwrap_or_else(|| "look at `dmesg`: the disk may be failing".into());
    plan.waits.push(
        Wait::new(
            format!("volume/{}", volume.name),
            format!("a look at volume {}", volume.name),
            error.message.clone(),
        )
        .deadline(Duration::ZERO, hint)
        .poll(Duration::from_secs(10)),
    );
}

/// What somebody else says of this disk, and is what the settings say.
fn in_charge<'a>(volume: &Volume, device: &BlockDevice, facts: &'a Facts) -> Option<&'a Claim> {
    facts.claims.iter().find(|claim| claim.names(device) && claim.agrees(&volume.mount, filesystem(volume).name()))
}

/// The volume beneath whose mount point this one is mounted, as long as it is not there.
fn outer<'a>(spec: &'a Volumes, volume: &Volume, facts: &Facts) -> Option<&'a Volume> {
    let mounted = |at: &Path| facts.mounts.iter().any(|m| m.target == at);
    let around = |other: &&Volume| other.mount != volume.mount && volume.mount.starts_with(&other.mount);
    spec.volumes.iter().find(|other| around(other) && !mounted(&other.mount))
}

/// Who brought a mount unit that is not Bowline's; `None` when it is only the kernel's table that shows the mount.
fn made_by(unit: &Unit) -> Option<String> {
    let fragment = unit.fragment.as_ref()?;
    let generated = fragment.starts_with("/run/systemd/generator");
    Some(if generated { "a line in /etc/fstab".to_string() } else { fragment.display().to_string() })
}

pub(crate) fn filesystem(volume: &Volume) -> Filesystem {
    match volume.filesystem {
        bowline_settings::Filesystem::Ext4 => Filesystem::Ext4,
        bowline_settings::Filesystem::Xfs => Filesystem::Xfs,
        bowline_settings::Filesystem::Btrfs => Filesystem::Btrfs,
    }
}

/// The command that gives a filesystem another UUID.
fn new_uuid(filesystem: Filesystem) -> &'static str {
    match filesystem {
        Filesystem::Ext4 => "`tune2fs -U random DISK`",
        // Its log has to be empty.
        Filesystem::Xfs => "mount it once with `-o nouuid`, unmount it, then `xfs_admin -U generate DISK`",
        Filesystem::Btrfs => "`btrfstune -u DISK`",
    }
}

/// What formatting this device for the volume would be.
fn intent(volume: &Volume, seen: &VolumeFacts, device: &BlockDevice, boot: &Boot) -> Intent {
    let recorded =
        seen.intent.iter().flatten().find(|record| {
            device.id.serial.is_none() && record.id == device.id && record.filesystem == filesystem(volume)
        });
    let uuid =
        recorded.map_or_else(|| planned_uuid(&device.id, &volume.name, &boot.seed()), |record| record.uuid.clone());
    Intent {
        volume: volume.name.clone(),
        device: device.path.clone(),
        id: device.id.clone(),
        filesystem: filesystem(volume),
        uuid,
    }
}

/// The gate on every service that must not run without the volume.
fn gates(spec: &Volumes, volume: &Volume, seen: &VolumeFacts, facts: &Facts, item: &str, plan: &mut Plan<Action>) {
    let wanted = gate_text(volume);
    let mut set = true;
    for service in &spec.services {
        let path = gate_path(service, &volume.name);
        let there = seen.gates.get(service).and_then(Option::as_deref);
        if volume.gate && there != Some(wanted.as_str()) {
            let why = match there {
                None => format!("{service} must not start without the volume"),
                Some(_) => {
                    "it differs from the settings: they changed, it was edited by hand, or an earlier Bowline wrote it"
                        .to_string()
                }
            };
            plan.step(item, Action::Write { path, text: wanted.clone() }, why);
            set = false;
        } else if !volume.gate && there.is_some() {
            plan.step(item, Action::Remove { path }, "`gate = false`: Kubernetes does not need this volume");
        }
    }
    for (_, path) in facts.stray_gates.iter().filter(|(name, _)| *name == volume.name) {
        plan.step(item, Action::Remove { path: path.clone() }, "the settings do not name this service any more");
    }
    if volume.gate && set {
        plan.state(condition::gate(&volume.name), "set");
    }
}

/// Mount units for an earlier `mount`: the volume is unmounted there when nothing uses it any more.
fn enable(volume: &Volume, seen: &VolumeFacts, item: &str, plan: &mut Plan<Action>) {
    if seen.unit.file_state != "enabled" {
        let unit = mount_unit_name(&volume.mount);
        let (volume, at) = (volume.name.clone(), volume.mount.clone());
        plan.step(item, Action::Enable { volume, unit, at }, "the next boot must find it");
    }
}

/// The unit that the mount unit requires stands before that does.
fn check(volume: &Volume, seen: &VolumeFacts, uuid: &str, item: &str, plan: &mut Plan<Action>) {
    let (path, text) = (check_unit_path(&volume.mount), check_unit_text(volume, filesystem(volume), uuid));
    if seen.check_file.as_ref() != Some(&text) {
        let why = "with errors, or beside a copy, it is not mounted when Bowline does not run";
        plan.step(item, Action::Write { path, text }, why);
    }
}

/// The text of its mount unit.
fn unit_text(volume: &Volume, device: &BlockDevice, uuid: &str) -> String {
    mount_unit_text(volume, filesystem(volume), uuid, device.network)
}

fn write_unit(volume: &Volume, text: String) -> Action {
    Action::Write { path: mount_unit_path(&volume.mount), text }
}

fn forget(volume: &Volume) -> Action {
    Action::Forget { volume: volume.name.clone(), record: Intent::path_of(&volume.name) }
}
