//! Labels and taints that the servers keep on a Node: what is theirs is known, what is not theirs is left alone.

use crate::facts::Node;
use crate::wire::Cut;
use bowline_settings::{STARTUP_TAINT, Taint};
use std::collections::BTreeMap;

/// The field manager of labels that issuers apply. Not the `bowline` of the nodes themselves: an apply drops what its
/// manager had and does not name again.
pub const MANAGER: &str = "bowline-issuer";
/// The annotation of a Node with the taints that Bowline set, with commas between them.
pub const TAINTS_ANNOTATION: &str = "bowline/taints";

/// What is to become of a Node's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelPlan {
    /// All labels that [`MANAGER`] is to have afterwards; None: nothing changes.
    pub apply: Option<BTreeMap<String, String>>,
    /// What somebody else keeps with another value.
    pub conflicts: Vec<Cut>,
}

/// Compares wanted labels with a Node's. One that somebody else keeps differently holds no other back.
pub fn labels(wanted: &BTreeMap<String, String>, node: &Node) -> LabelPlan {
    let owned = |key: &str| node.managers.get(key).is_some_and(|all| all.iter().any(|manager| manager == MANAGER));
    let mut theirs = BTreeMap::new();
    let mut conflicts = Vec::new();
    let mut changed = false;
    for (key, value) in wanted {
        let there = node.labels.get(key);
        let others: Vec<&str> = node.managers.get(key).into_iter().flatten().map(String::as_str).collect();
        let others: Vec<&str> = others.into_iter().filter(|manager| *manager != MANAGER).collect();
        if let Some(there) = there
            && there != value
            && !others.is_empty()
        {
            let why = format!("{key}={there} is kept by {}", others.join(", "));
            conflicts.push(Cut { what: format!("{key}={value}"), why });
            continue;
        }
        changed |= there != Some(value) || !owned(key);
        theirs.insert(key.clone(), value.clone());
    }
    changed |= node.labels.keys().any(|key| owned(key) && !theirs.contains_key(key));
    LabelPlan { apply: changed.then_some(theirs), conflicts }
}

/// What is to become of a Node's taints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaintPlan {
    /// All taints of the Node afterwards, and the record of Bowline's; None: nothing changes.
    pub set: Option<(Vec<Taint>, String)>,
    /// What somebody else keeps with another value.
    pub conflicts: Vec<Cut>,
}

/// Compares wanted taints with a Node's. Only those on record as Bowline's are changed or removed, and the startup
/// taint when `started`. A taint is told from others by key and effect.
pub fn taints(wanted: &[Taint], node: &Node, started: bool) -> TaintPlan {
    let record = node.owned_taints.as_deref().unwrap_or_default();
    let owned: Vec<Taint> = record.split(',').filter_map(|text| text.parse().ok()).collect();
    let same = |one: &Taint, other: &Taint| one.key == other.key && one.effect == other.effect;
    let mut conflicts = Vec::new();
    let mut ours: Vec<Taint> = Vec::new();
    for taint in wanted {
        let there = node.taints.iter().find(|other| same(other, taint));
        match there {
            // On record, and since changed by somebody: theirs now.
            Some(there) if there != taint && !owned.contains(there) => {
                conflicts.push(Cut { what: taint.to_string(), why: format!("{there} is kept by somebody else") });
            }
            // There already by another hand: it stays when the rule goes.
            Some(there) if there == taint && !owned.contains(there) => {}
            _ => ours.push(taint.clone()),
        }
    }
    let goes = |taint: &Taint| owned.contains(taint) || (started && taint.key == STARTUP_TAINT);
    // In the order in which they are, so that nothing changes where nothing has to.
    let mut all: Vec<Taint> = Vec::new();
    for taint in &node.taints {
        let kept = ours.iter().find(|other| same(other, taint));
        match kept {
            Some(kept) => all.push(kept.clone()),
            None if goes(taint) => {}
            None => all.push(taint.clone()),
        }
    }
    for taint in &ours {
        if !all.iter().any(|other| same(other, taint)) {
            all.push(taint.clone());
        }
    }
    let mut names: Vec<String> = ours.iter().map(ToString::to_string).collect();
    names.sort();
    let names = names.join(",");
    let changed = all != node.taints || names != record;
    TaintPlan { set: changed.then_some((all, names)), conflicts }
}
