//! Every volume: its disk, what is on it, where it is mounted, and the units that Bowline wrote for it.

use super::check::{Check, Subject, explained};
use bowline_engine::{Capability, Conditions, Plan};
use bowline_ports::{Inspect, PortError};
use bowline_settings::Volume;
use bowline_volumes::{Action, Facts, Found, VolumeFacts, Volumes, find, mount_unit_name, mount_unit_path, why_not};
use std::path::Path;

pub(super) async fn gather(host: &dyn Inspect, volumes: &Volumes) -> Result<Facts, PortError> {
    volumes.observe(host).await
}

/// The same plan that Bowline makes, told as checks.
pub(super) fn diagnose(volumes: &Volumes, facts: &Result<Facts, PortError>, before: &[Check]) -> Vec<Check> {
    let facts = match facts {
        Ok(facts) => facts,
        Err(_) if volumes.volumes.is_empty() => return Vec::new(),
        Err(_) if explained(before, &Subject::Blindness) => {
            return vec![Check::skipped("volumes", "not looked at: systemd does not answer, see above")];
        }
        Err(error) => return vec![Check::blind("volumes", error)],
    };
    let plan = volumes.plan(facts, &Conditions::default());
    let each = volumes.volumes.iter().zip(&facts.volumes);
    let mut checks: Vec<Check> = each
        .flat_map(|(volume, seen)| match seen {
            Ok(seen) => vec![disk(volume, seen, facts, &plan), units(volume, seen, &plan)],
            Err(error) => {
                let subject = Subject::Item(Volumes::NAME, item(volume));
                vec![Check::blind(format!("volume {}", volume.name), error).explains(subject)]
            }
        })
        .collect();
    let notes = plan.notes.iter().filter(|n| !volumes.volumes.iter().any(|v| n.item == item(v)));
    checks.extend(notes.map(|note| Check::note(note.item.replace('/', " "), &*note.text)));
    checks
}

fn item(volume: &Volume) -> String {
    format!("volume/{}", volume.name)
}

/// The disk and its filesystem.
fn disk(volume: &Volume, seen: &VolumeFacts, facts: &Facts, plan: &Plan<Action>) -> Check {
    let (name, item) = (format!("volume {}", volume.name), item(volume));
    let subject = Subject::Item(Volumes::NAME, item.clone());
    let device = match find(volume, seen.number.as_deref(), seen.used(volume), &facts.devices) {
        Found::One(device) => Some(device),
        Found::None | Found::Several(_) => None,
    };
    if let Some(refusal) = plan.refusals.iter().find(|r| r.item == item) {
        let check = Check::finding(name, &*refusal.why, &*refusal.hint).explains(subject);
        // Refused for another reason, the disk may be where it belongs, and in use.
        let not = device.and_then(|device| why_not(device, volume)).filter(|not| not.reason == refusal.why);
        return match not.and_then(|not| not.command) {
            Some(command) => check.command(command),
            None => check,
        };
    }
    if let Some(wait) = plan.waits.iter().find(|w| w.item == item && !w.overdue.is_empty()) {
        let found = format!("{} is not there: {}", wait.what, wait.why);
        return Check::finding(name, found, &*wait.overdue).explains(subject);
    }
    if let Some(wait) = plan.waits.iter().find(|w| w.item == item) {
        return Check::note(name, format!("waits for {}: {}", wait.what, wait.why)).explains(subject);
    }
    let path = device.map(|d| d.path.display().to_string()).unwrap_or_default();
    if facts.mounts.iter().any(|m| m.target == volume.mount) {
        return Check::ok(name, format!("{path} is mounted at {}", volume.mount.display()));
    }
    let steps: Vec<_> = plan.steps.iter().filter(|s| s.item == item).map(|s| s.action.to_string()).collect();
    Check::ok(name, format!("{path} is its disk; still to do: {}", steps.join(", ")))
}

/// The mount unit and the gates, as far as they are there.
fn units(volume: &Volume, seen: &VolumeFacts, plan: &Plan<Action>) -> Check {
    let name = format!("units of volume {}", volume.name);
    let unit = mount_unit_path(&volume.mount);
    let there = |path: &Path| {
        let gate = seen
            .gates
            .iter()
            .any(|(service, text)| text.is_some() && bowline_volumes::gate_path(service, &volume.name) == path);
        gate || (path == unit && seen.unit_file.is_some())
    };
    let written = plan.steps.iter().filter(|s| s.item == item(volume)).find_map(|s| match &s.action {
        Action::Write { path, .. } if there(path) => Some(path.display().to_string()),
        _ => None,
    });
    if let Some(path) = written {
        let remedy = "let Bowline write it again; put your own changes into a drop-in (`systemctl edit …`)";
        let found = format!("{path} is not as Bowline writes it: it was edited by hand, or the settings changed");
        return Check::finding(name, found, remedy).command("bowline apply");
    }
    if seen.unit.needs_reload {
        let found = format!("systemd has not read the changed {} yet", mount_unit_name(&volume.mount));
        return Check::finding(name, found, "have it read its unit files").command("systemctl daemon-reload");
    }
    match seen.unit_file.is_some() || seen.gates.values().any(Option::is_some) {
        true => Check::ok(name, "as Bowline wrote them"),
        false => Check::ok(name, "not written yet"),
    }
}
