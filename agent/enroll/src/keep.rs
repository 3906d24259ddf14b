//! Labels and taints that the servers keep on a Node: what is theirs is known, what is not theirs is left alone.

use crate::claim::Claim;
use crate::facts::Node;
use crate::rules::{Wished, admit};
use crate::wire::{Cut, Reason};
use bowline_settings::{EnrollRule, STARTUP_TAINT, Taint};
use std::collections::BTreeMap;

/// The field manager of labels that issuers apply. Not the `bowline` of the nodes themselves: an apply drops what its
/// manager had and does not name again.
pub const MANAGER: &str = "bowline-issuer";
/// The annotation of a Node with the taints that issuers set, with commas between them. Not that of the nodes themselves
/// (`bowline_ports::OWN_TAINTS`), for the same reason: a rule that does not know a server's own taints would end them.
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
            conflicts.push(Cut { what: format!("{key}={value}"), why, reason: Reason::Kept });
            continue;
        }
        changed |= there != Some(value) || !owned(key);
        theirs.insert(key.clone(), value.clone());
    }
    changed |= node.labels.keys().any(|key| owned(key) && !theirs.contains_key(key));
    LabelPlan { apply: changed.then_some(theirs), conflicts }
}

/// What the rules make of a Node that asks for nothing: grants follow the rules, what it asked for last stays where it is
/// still permitted. None: no rule lets it in any more, which takes nothing away from it.
pub fn follow(rules: &[EnrollRule], claim: &Claim, node: &Node) -> Option<(LabelPlan, TaintPlan)> {
    let owned = |key: &String| node.managers.get(key).is_some_and(|all| all.iter().any(|manager| manager == MANAGER));
    // What nobody has written down yet is taken from what it was given.
    let given = || Wished {
        labels: node
            .labels
            .iter()
            .filter(|(key, _)| owned(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        taints: recorded(node.owned_taints.as_deref())
            .into_iter()
            .filter(|taint| node.taints.contains(taint) && claim.given.as_ref().is_none_or(|all| all.contains(taint)))
            .collect(),
    };
    let wished = claim.wished.clone().unwrap_or_else(given);
    let admission = admit(rules, claim.role, &claim.name, claim.from, &wished).ok()?;
    Some((labels(&admission.labels, node), of_issuers(&admission.taints, node, claim.given.as_deref(), false)))
}

/// The taints on record as Bowline's. No record speaks of the startup taint: that goes when its node is settled.
pub(crate) fn recorded(record: Option<&str>) -> Vec<Taint> {
    let all = record.unwrap_or_default().split(',').filter_map(|text| text.parse().ok());
    all.filter(|taint: &Taint| taint.key != STARTUP_TAINT).collect()
}

/// Taints as a record has them.
pub(crate) fn record(taints: &[Taint]) -> String {
    let mut names: Vec<String> = taints.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names.join(",")
}

/// What is to become of a Node's taints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaintPlan {
    /// All taints of the Node afterwards, and the record of Bowline's; None: nothing changes.
    pub set: Option<(Vec<Taint>, String)>,
    /// What somebody else keeps with another value.
    pub conflicts: Vec<Cut>,
    /// All that are Bowline's before or afterwards, sorted.
    pub given: Vec<Taint>,
}

/// [`taints`], by the record of the issuers. A kubelet can write that annotation: it counts for what is `given` by the claim as well,
/// which no kubelet can write; where nobody has written that down yet, for what is wanted now.
pub fn of_issuers(wanted: &[Taint], node: &Node, given: Option<&[Taint]>, started: bool) -> TaintPlan {
    let mut ours = recorded(node.owned_taints.as_deref());
    ours.retain(|taint| given.unwrap_or(wanted).contains(taint));
    taints(wanted, &node.taints, Some(&record(&ours)), started)
}

/// Compares wanted taints with those that are `there`. Only those on `record` as Bowline's are changed or removed, and
/// the startup taint when `started`. A taint is told from others by key and effect.
pub fn taints(wanted: &[Taint], there: &[Taint], on_record: Option<&str>, started: bool) -> TaintPlan {
    let owned = recorded(on_record);
    let same = |one: &Taint, other: &Taint| one.key == other.key && one.effect == other.effect;
    let mut conflicts = Vec::new();
    let mut ours: Vec<Taint> = Vec::new();
    for taint in wanted {
        match there.iter().find(|other| same(other, taint)) {
            // On record, and since changed by somebody: theirs now.
            Some(there) if there != taint && !owned.contains(there) => {
                let why = format!("{there} is kept by somebody else");
                conflicts.push(Cut { what: taint.to_string(), why, reason: Reason::Kept });
            }
            // There already by another hand: it stays when the rule goes.
            Some(there) if there == taint && !owned.contains(there) => {}
            _ => ours.push(taint.clone()),
        }
    }
    let goes = |taint: &Taint| owned.contains(taint) || (started && taint.key == STARTUP_TAINT);
    // In the order in which they are, so that nothing changes where nothing has to.
    let mut all: Vec<Taint> = Vec::new();
    for taint in there {
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
    let names = record(&ours);
    let changed = all != there || names != on_record.unwrap_or_default();
    let given = recorded(Some(&record(&[owned, ours].concat())));
    TaintPlan { set: changed.then_some((all, names)), conflicts, given }
}
