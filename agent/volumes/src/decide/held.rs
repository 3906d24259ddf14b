//! A volume that was on one filesystem, and whose disk is another now: it is not begun anew by itself.

use super::unmounted::Place;
use super::{STANDING_IN, only_alike};
use crate::Action;
use crate::find::{describe, holds, is_named, why_not};
use crate::units::mount_unit_path;
use bowline_engine::{Plan, Wait};
use bowline_ports::Probe;
use std::time::Duration;

/// The volume was on a filesystem (`used`) that this disk may not have. That may come yet, or be in use elsewhere: nobody is to find the
/// volume empty, or other data in it, who has not named this very disk. One that was made here (`same`) somebody has wiped.
pub(super) fn held(place: Place<'_>, probe: &Probe, used: &str, same: bool, plan: &mut Plan<Action>) -> bool {
    let Place { volume, seen, device, facts, item, .. } = place;
    if probe.filesystem().and_then(|found| found.uuid.as_deref()) == Some(used) {
        return false;
    }
    let alike = only_alike(volume, seen, device);
    if alike && facts.boot.is_young(STANDING_IN) {
        let what =
            format!("the disk with the volume's filesystem {used}, or {} s from the boot on", STANDING_IN.as_secs());
        let why = format!("it is not attached, or not free; {} is another one that matches", describe(device));
        plan.waits.push(Wait::new(item, what, why).poll(Duration::from_secs(5)));
        return true;
    }
    let other = facts.devices.iter().find(|one| one.path != device.path && holds(one, used));
    let begins = probe.is_blank() && !same && !is_named(volume, device, &facts.devices);
    // What is only alike does not take the place of a disk that may come back, whatever it holds.
    if !(begins || alike && (other.is_some() || !same)) {
        return false;
    }
    let name = device.path.display();
    let there = match other.map(|other| (other, why_not(other, volume))) {
        Some((other, Some(not))) => format!("which is on {}: {}", describe(other), not.reason),
        Some((other, None)) => format!("which is on {}", describe(other)),
        None => "whose disk is not attached".to_owned(),
    };
    plan.refuse(
        item,
        format!("use {name} for {}", volume.name),
        format!("{name} does not have the volume's filesystem ({used}), {there}"),
        format!(
            "attach that disk, or free it; to take {name} instead, remove {}",
            mount_unit_path(&volume.mount).display()
        ),
    );
    true
}
