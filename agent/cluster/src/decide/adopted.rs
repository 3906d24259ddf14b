//! A K3s that is there already.

use super::binary::differs_from_pin;
use super::{ITEM, a};
use crate::facts::Facts;
use crate::{Action, BINARY, Cluster, caution, remover, unit_file};
use bowline_engine::{Conditions, Plan};
use bowline_ports::condition;

/// A K3s that somebody else installed: fits, or is refused. True when it may be watched.
pub(super) fn adopted(spec: &Cluster, facts: &Facts, version: &str, plan: &mut Plan<Action>) -> bool {
    let text = facts.unit_file.as_deref().unwrap_or_default();
    let script = remover(spec.spec.role, text);
    let uninstall = format!("or uninstall that K3s (`{script}`){}", caution(text));
    let hint = format!("change the settings to what is installed, {uninstall}");
    let (role, path) = (spec.spec.role, unit_file(spec.spec.role));
    let path = path.display();
    let same = text.lines().any(|l| {
        !l.trim_start().starts_with('#') && l.split_whitespace().any(|w| w.trim_matches(['\'', '"']) == role.as_str())
    });
    match &facts.installed {
        None => {
            let why = facts.broken.as_ref().map_or("is not there".into(), |why| format!("does not run as K3s: {why}"));
            plan.refuse(
                ITEM,
                "adopt K3s",
                format!("{path} exists, but {BINARY} {why}"),
                format!("put the K3s that belongs to it back there, {uninstall}"),
            );
        }
        Some(installed) if installed != version => plan.refuse(
            ITEM,
            "adopt K3s",
            format!("K3s {installed} is installed here by somebody else, and the settings say {version}"),
            hint,
        ),
        Some(_) if !same => {
            plan.refuse(ITEM, "adopt K3s", format!("{path} does not run it as {}", a(role)), hint);
        }
        Some(_) if differs_from_pin(spec, facts) => plan.refuse(
            ITEM,
            "adopt K3s",
            format!("{BINARY} has another SHA-256 than `sha256` in the settings"),
            "find out where that file came from before you trust it",
        ),
        Some(installed) => {
            plan.note(
                ITEM,
                format!("K3s {installed} was installed by somebody else: adopted without a restart, its unit and configuration are left as they are"),
            );
            return true;
        }
    }
    false
}

/// Bowline asks for the Node by the name that it goes by, and K3s may have been told another one.
pub(super) fn no_node(now: &Conditions) -> String {
    format!("no Node is called {} yet", now.get(condition::NAME).unwrap_or("as this machine"))
}

/// What to do about a Node that does not get Ready.
pub(super) fn unready(facts: &Facts, service: &str) -> String {
    let words = format!("`journalctl -u {service}` has K3s's own words");
    match facts.node.is_none() && facts.foreign() {
        true => format!(
            "compare with `kubectl get nodes` on a server: if this machine's Node has another name, set `name` in [node] to that; \
             else {words}"
        ),
        false => words,
    }
}
