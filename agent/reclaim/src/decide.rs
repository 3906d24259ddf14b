//! What is due.

use crate::{Action, Facts, Reclaim, place};
use bowline_engine::Plan;
use bowline_ports::text::bytes;
use bowline_ports::{Mount, RECLAIMED, RECLAIMED_SPARE, ReclaimOrder, ReclaimRecord, Reclaiming, Space, condition};
use bowline_settings::{Reclaimable, Reclaimed};
use std::path::Path;
use std::time::Duration;

/// What was freed, or could not be, is left alone for so long.
const LEFT_ALONE: Duration = Duration::from_secs(3600);
/// What was freed is told for so long.
const TOLD: Duration = Duration::from_secs(86_400);

pub(crate) fn plan(settings: &Reclaim, facts: &Facts, plan: &mut Plan<Action>) {
    if let Some(why) = facts.unread.as_ref().filter(|_| !settings.wanted.0.is_empty()) {
        plan.note("record", format!("what was freed before is not known, and counts as nothing: {why}"));
    }
    // A counter that is there from the start shows its first event, too.
    for one in settings.wanted.0.iter().filter(|one| !facts.record.contains_key(one.what.name())) {
        plan.state(condition::reclaimed(one.what.name()), "0");
    }
    for (name, record) in &facts.record {
        plan.state(condition::reclaimed(name), record.total.to_string());
        if facts.working.as_ref() == Some(name) {
            continue;
        }
        if (0..TOLD.as_secs().cast_signed()).contains(&(facts.now - record.at))
            && settings.wanted.0.iter().any(|one| one.what.name() == name)
        {
            plan.note(name.clone(), told(record));
        }
    }
    let mut due = true;
    for ((one, space), real) in settings.wanted.0.iter().zip(&facts.places).zip(&facts.real) {
        let name = one.what.name();
        let place = place(&one.what, settings.k3s.is_some());
        if let Some(volume) = inside(settings, facts, place, real.as_deref()) {
            plan.note(name, format!("{} is in the volume {volume}: nothing is freed there", place.display()));
            continue;
        }
        // K3s makes its own when it starts first.
        if matches!(one.what, Reclaimable::Images { .. }) && settings.k3s.is_none() && facts.absent.contains(name) {
            let at = place.display();
            plan.note(
                name,
                format!("{at} is not there, so no image is removed: images of other runtimes are left to the kubelet"),
            );
            continue;
        }
        // Only one at a time, and that to its end, also when it has made room by now.
        let working = facts.working.as_deref().map(|working| working == name);
        let Some(space) = space.as_ref().filter(|space| full(space, one) || working == Some(true)) else { continue };
        let paused = facts.record.get(name).is_some_and(|record| facts.now.abs_diff(record.at) < LEFT_ALONE.as_secs());
        if !working.unwrap_or(due && !paused) {
            continue;
        }
        let Some(real) = real else {
            plan.note(name, format!("where {} leads cannot be told: nothing is freed there", place.display()));
            continue;
        };
        let by_age = matches!(one.what, Reclaimable::RotatedLogs { .. } | Reclaimable::PodLogs { .. });
        if by_age && !facts.clock {
            plan.note(name, "how old logs are is not known before the clock is synchronised");
            continue;
        }
        let what = match order(settings, facts, &one.what) {
            Ok(Some(what)) => what,
            Ok(None) => continue,
            Err(why) => {
                plan.note(name, why);
                continue;
            }
        };
        // One at a time: the next is only due if this one was not enough.
        due = false;
        let at = holder(facts, real).map_or(Path::new("/"), |mount| &mount.target);
        let (record, spare) = (RECLAIMED.into(), RECLAIMED_SPARE.into());
        let order = ReclaimOrder { name: name.into(), what, record, spare };
        let why = format!("{} {}, and `reclaim.{name}.at` is {}", at.display(), share(space), one.at);
        plan.step(name, Action::Free(order), why);
    }
}

/// As `df` has it: of what an ordinary user could write.
fn used(space: &Space) -> f64 {
    let used = space.size.saturating_sub(space.free) as f64;
    let all = used + space.available as f64;
    if all > 0.0 { used / all } else { 0.0 }
}

/// As `df -i` has it.
fn used_inodes(space: &Space) -> f64 {
    let used = space.inodes.saturating_sub(space.inodes_free) as f64;
    if space.inodes > 0 { used / space.inodes as f64 } else { 0.0 }
}

/// What there is less of, bytes or inodes, in words.
fn share(space: &Space) -> String {
    let (bytes, inodes) = (used(space), used_inodes(space));
    let percent = (bytes.max(inodes) * 100.0).floor();
    if inodes > bytes { format!("has {percent:.0}% of its inodes in use") } else { format!("is {percent:.0}% full") }
}

/// Whether so much is in use that it is to be freed.
pub(crate) fn full(space: &Space, one: &Reclaimed) -> bool {
    used(space).max(used_inodes(space)) * 100.0 >= f64::from(one.at.number())
}

/// The volume that a place is in, by its path, by a link or a bind mount, or that is mounted within it. Filesystems are compared as
/// the mount table numbers them: files of btrfs have numbers of their own.
fn inside<'a>(settings: &'a Reclaim, facts: &Facts, place: &Path, real: Option<&Path>) -> Option<&'a str> {
    let real = real.unwrap_or(place);
    let held_by = holder(facts, real).map(|mount| mount.number.as_str());
    let is_in = |volume: &Path| {
        let mut mounted = facts.mounts.iter().filter(|mount| mount.target == volume);
        let by_path = [place, real].iter().any(|at| at.starts_with(volume) || volume.starts_with(at));
        by_path || mounted.any(|mount| Some(mount.number.as_str()) == held_by)
    };
    settings.volumes.iter().find(|(_, mount)| is_in(mount)).map(|(name, _)| name.as_str())
}

/// The mount that a place is on, by its path.
fn holder<'a>(facts: &'a Facts, place: &Path) -> Option<&'a Mount> {
    let holds = facts.mounts.iter().filter(|mount| place.starts_with(&mount.target));
    // Of two at one place the later one is on top.
    holds.max_by_key(|mount| mount.target.components().count())
}

/// `None`: there is nothing of it; an error: why it cannot be said.
fn order(settings: &Reclaim, facts: &Facts, what: &Reclaimable) -> Result<Option<Reclaiming>, String> {
    Ok(match what {
        Reclaimable::Journal { keep } => Some(Reclaiming::Journal { keep: keep.bytes() }),
        Reclaimable::RotatedLogs { patterns, older_than, at_most } => Some(Reclaiming::RotatedLogs {
            patterns: patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            older_than: older_than.duration().as_secs(),
            at_most: at_most.bytes(),
        }),
        Reclaimable::PodLogs { older_than, at_most } => match &facts.ended {
            Some(Ok(ended)) if ended.is_empty() => None,
            Some(Ok(ended)) => Some(Reclaiming::PodLogs {
                ended: ended.clone(),
                older_than: older_than.duration().as_secs(),
                at_most: at_most.bytes(),
            }),
            Some(Err(why)) => return Err(format!("which pods have ended is not known: {why}")),
            None => None,
        },
        Reclaimable::Images { at_most } => {
            let (k3s, place) = (settings.k3s.clone(), place(what, settings.k3s.is_some()).into());
            Some(Reclaiming::Images { k3s, place, at_most: at_most.bytes() })
        }
    })
}

fn told(record: &ReclaimRecord) -> String {
    let time = jiff::Timestamp::from_second(record.at).map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let time = time.unwrap_or_else(|_| record.at.to_string());
    match record.trouble.as_str() {
        "" if record.freed == 0 => format!("there was nothing to free at {time}"),
        "" => format!("{} were freed at {time}", bytes(record.freed)),
        trouble if record.freed == 0 => format!("nothing was freed at {time}: {trouble}"),
        trouble => format!("{} were freed at {time}, and then: {trouble}", bytes(record.freed)),
    }
}
