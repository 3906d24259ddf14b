//! K3s's configuration: written when it changes, and K3s restarted for it.

use super::{ITEM, READ_AT_START};
use crate::config::{OwnNode, config_text, differing_keys, keys};
use crate::facts::{Facts, Restart};
use crate::{Action, Cluster};
use bowline_engine::{Conditions, Plan, Risk};
use bowline_ports::ActiveState;

fn running(facts: &Facts) -> bool {
    facts.unit.active.is_up() && !facts.held_out()
}

pub(super) fn configure(spec: &Cluster, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
    let (Some(name), Some(address), Some(interface)) = (now.get("name"), now.get("address"), now.get("interface"))
    else {
        return;
    };
    let external = now.get("external-address").filter(|_| spec.external);
    let servers = now.get("k3s-servers").unwrap_or_default();
    let join = spec.token.as_deref().zip(servers.split(',').next().filter(|first| !first.is_empty()));
    let told = now.get("k3s-options").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let node = OwnNode { name, address, interface, external };
    let wanted = config_text(&spec.spec, &node, join, told);
    let running = running(facts);
    let configure = Action::Configure { keys: keys(&wanted), text: wanted.clone() };
    match &facts.config {
        Some(there) if *there == wanted => {}
        Some(there) => {
            let changed = differing_keys(there, &wanted).join(", ");
            let why =
                if changed.is_empty() { "its text was edited by hand".into() } else { format!("changed: {changed}") };
            if running && !changed.is_empty() && facts.restart.is_none() {
                plan.step(ITEM, Action::RecordRestart(Restart::of(why.clone())), READ_AT_START);
            }
            plan.step(ITEM, configure, why.clone());
            if running && !changed.is_empty() && facts.restart.is_none() {
                plan.step_with(ITEM, Action::Restart(Restart::of(why)), READ_AT_START, Risk::Restart);
            }
        }
        None => plan.step(ITEM, configure, "K3s reads it at its start"),
    }
    match &facts.restart {
        Some(restart) if running => {
            plan.step_with(ITEM, Action::Restart(restart.clone()), "it is on record as owed", Risk::Restart);
        }
        // It is to join anew: it is started by this record, or by whoever stopped it.
        Some(_) if facts.removed => {}
        // Stopped by somebody, and to be started by them: owed is then nothing any more.
        Some(_) if facts.unit.active != ActiveState::Deactivating => {
            plan.step(ITEM, Action::ForgetRestart, "K3s is down: its next start reads its configuration");
        }
        _ => {}
    }
}
