//! A file that takes room, so that there is some when the disk of the system is about to be full.

use crate::{Action, Facts, Reclaim};
use bowline_engine::Plan;
use bowline_ports::text::bytes;
use bowline_ports::{FileKind, Mount, Space, condition};
use bowline_settings::Reserve;
use std::path::Path;

const ITEM: &str = "reserve";
/// Said instead of a number of bytes while there should be a reserve and is none.
pub(crate) const MISSING: &str = "missing";
/// A root filesystem of at least this size has room for somebody to act.
const LARGE: u64 = 64 << 30;
/// Of a small one: as much as this, and no more than a fiftieth.
const MOST: u64 = 256 << 20;
const PART: u64 = 50;
/// Filesystems that promise room to a file that has not been written to, and give it back when that goes: where others are, nobody
/// asked for a reserve. A snapshot of a btrfs keeps what is removed.
const PROMISE: [&str; 3] = ["ext4", "f2fs", "xfs"];
/// It is made where there is this many times as much room.
const PLENTY: u64 = 4;

pub(crate) fn plan(settings: &Reclaim, facts: &Facts, plan: &mut Plan<Action>) {
    let there = facts.reserve.as_ref().filter(|meta| meta.kind == FileKind::File).map(|meta| meta.size);
    let wanted = facts.home.as_ref().and_then(|home| wanted(settings.reserve, home, facts));
    match (wanted, there, facts.home.as_ref()) {
        // It takes the room of one, and nothing else gives that up. While one is made, this waits: it is the same item.
        _ if facts.begun => plan.step(ITEM, Action::RemoveBegun, "a power cut left it, and it takes room"),
        (None, Some(_), _) => plan.step(ITEM, Action::Remove, why_none(settings.reserve)),
        (Some(_), Some(held), Some(home)) if home.available < held / 2 => {
            let why = "what needs room now is K3s, SSH, and whoever acts";
            plan.step(ITEM, Action::GiveUp(home.available), why);
        }
        (Some(size), there, Some(home)) if there != Some(size) => {
            let room = home.available.saturating_add(there.unwrap_or(0));
            if room >= size.saturating_mul(PLENTY) {
                let why = if there.is_some() { "it has another size" } else { "there is none" };
                plan.step(ITEM, Action::Keep(size), why);
            } else if there.is_none() {
                // Without how much there is: that changes with every look.
                let need = bytes(size.saturating_mul(PLENTY));
                plan.note(ITEM, format!("there is none: it is made when {need} are available"));
            }
        }
        _ => {}
    }
    match (wanted, there) {
        (Some(_), Some(held)) => plan.state(condition::RESERVE, held.to_string()),
        (Some(_), None) => plan.state(condition::RESERVE, MISSING),
        (None, _) => {}
    }
}

fn why_none(reserve: Reserve) -> &'static str {
    match reserve {
        Reserve::Off => "pressure.reserve is off",
        Reserve::Auto | Reserve::Size(_) => {
            "the root filesystem is large enough to do without, cannot promise room or give it back, or does not have \
             /var/lib/bowline"
        }
    }
}

/// How large it is to be; `None`: there is to be none.
fn wanted(reserve: Reserve, home: &Space, facts: &Facts) -> Option<u64> {
    match reserve {
        Reserve::Off => None,
        Reserve::Size(size) => Some(size.bytes()),
        Reserve::Auto => {
            // On a filesystem of its own the state fills nothing that others need.
            let holds = facts.mounts.iter().filter(|mount| Path::new("/var/lib/bowline").starts_with(&mount.target));
            let at = holds.max_by_key(|mount| mount.target.components().count());
            let fits = |mount: &Mount| mount.target == Path::new("/") && PROMISE.contains(&mount.fstype.as_str());
            let bytes = (home.size / PART).min(MOST) >> 20 << 20;
            (at.is_some_and(fits) && home.size < LARGE && bytes > 0).then_some(bytes)
        }
    }
}
