//! K3s's configuration: written when it changes, and K3s restarted for it. Another name is another Node, and never chance.

use super::{ITEM, READ_AT_START};
use crate::config::{OwnNode, config_text, differing_keys, keys, node_name};
use crate::facts::{Facts, Restart};
use crate::{Action, Cluster};
use bowline_engine::{Conditions, Plan, Risk};
use bowline_ports::ActiveState;
use bowline_settings::Datastore;

/// Refuses the new name of a host whose Node has another one already. Whoever writes the name into the settings, or has
/// the servers let the machine in by it, means it. True when it is refused: K3s goes on as it is.
pub(super) fn renamed(spec: &Cluster, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) -> bool {
    let was = facts.config.as_deref().and_then(node_name);
    let (Some(was), Some(name), None) = (was, now.get("name"), &spec.name) else { return false };
    let stands = running(facts) || facts.node_seen.is_some();
    if was == name || !stands || now.get("enrolled").is_some() {
        return false;
    }
    // Whoever deletes the old Node of a member of etcd takes the member out.
    let member = spec.token.is_some() || spec.spec.join.datastore == Datastore::Etcd;
    let rename = match member {
        true => {
            format!("to rename it, `bowline leave` while it is {was}, then the new name, then `bowline leave --undo`")
        }
        false => {
            format!("or `name = \"{name}\"` to have another Node in its place, and then `kubectl delete node {was}`")
        }
    };
    plan.refuse(
        ITEM,
        "run K3s under another name",
        format!(
            "the host is called {name} now, and its Node is {was}: K3s would register a second Node, without the first \
             one's local volumes"
        ),
        format!("set `name = \"{was}\"` in [node] to keep it; {rename}"),
    );
    true
}

fn running(facts: &Facts) -> bool {
    matches!(facts.unit.active, ActiveState::Active | ActiveState::Activating | ActiveState::Reloading)
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
                plan.step(ITEM, Action::RecordRestart(Restart { reason: why.clone() }), READ_AT_START);
            }
            plan.step(ITEM, configure, why.clone());
            if running && !changed.is_empty() && facts.restart.is_none() {
                plan.step_with(ITEM, Action::Restart(Restart { reason: why }), READ_AT_START, Risk::Restart);
            }
        }
        None => plan.step(ITEM, configure, "K3s reads it at its start"),
    }
    match &facts.restart {
        Some(restart) if running => {
            plan.step_with(ITEM, Action::Restart(restart.clone()), "it is on record as owed", Risk::Restart);
        }
        // Stopped by somebody, and to be started by them: owed is then nothing any more.
        Some(_) if facts.unit.active != ActiveState::Deactivating => {
            plan.step(ITEM, Action::ForgetRestart, "K3s is down: its next start reads its configuration");
        }
        _ => {}
    }
}
