//! Services of a Kubernetes that something else manages: started when they could not start, or were stopped, for want of a volume.

use super::mounted::absence;
use crate::facts::Facts;
use crate::{Action, Volumes};
use bowline_engine::{Plan, Wait};
use bowline_ports::{ActiveState, DEPENDENCY, Unit, condition};

pub(crate) fn services(spec: &Volumes, facts: &Facts, plan: &mut Plan<Action>) {
    if !spec.starts {
        return;
    }
    let ready = |name: &str| plan.conditions.get(&condition::volume(name)).is_some_and(|state| state == "ready");
    let gated = || spec.volumes.iter().filter(|volume| volume.gate);
    let missing: Vec<_> = gated().map(|volume| volume.name.as_str()).filter(|name| !ready(name)).collect();
    let missing = missing.join(", ");
    for (service, unit) in &facts.services {
        let item = format!("service/{service}");
        // Killed between the two, Bowline has written its gate and not had it read.
        if unit.needs_reload && gated().next().is_some() {
            plan.step(&item, Action::Reload, "files of its unit changed on disk, such as the gates of volumes");
        }
        if unit.active.is_up() || unit.active == ActiveState::Deactivating || gated().next().is_none() {
            continue;
        }
        let held = held_back(unit) || taken_down(unit, facts) || stopped_here(unit, facts);
        if unit.load == "not-found" || !held {
            continue;
        }
        if missing.is_empty() {
            let action = Action::Start { service: service.clone() };
            plan.step(item, action, "it is down, as without a volume, and all volumes are there");
        } else {
            let why = format!("it is not started without volume {missing}");
            plan.waits.push(Wait::new(item, format!("volume {missing}"), why));
        }
    }
}

/// It is to run, and could not be started since boot, or not again when it had ended by itself.
fn held_back(unit: &Unit) -> bool {
    unit.file_state == "enabled" && (!unit.started || unit.result == "exec-condition" || unit.result == DEPENDENCY)
}

/// It went down with the disk of a volume.
fn taken_down(unit: &Unit, facts: &Facts) -> bool {
    facts
        .volumes
        .iter()
        .flatten()
        .any(|seen| absence(seen).is_some_and(|(left, _)| unit.went_with(left, seen.disk_came)))
}

/// It was stopped so that a volume could be released, and nobody started it since.
fn stopped_here(unit: &Unit, facts: &Facts) -> bool {
    let at = facts.stopped.as_ref().and_then(|seconds| seconds.parse::<u64>().ok());
    // One that was down before was stopped by somebody else.
    at.is_some_and(|at| unit.started && (unit.began / 1_000_000..=unit.ended / 1_000_000).contains(&at))
}
