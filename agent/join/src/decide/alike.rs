//! What all servers of a cluster have alike.

use crate::agree::{differences, taken_over, two_networks};
use crate::files::Enrolled;
use crate::{Action, Join};
use bowline_engine::Plan;
use bowline_ports::condition;

/// Takes over what the cluster's servers agreed on, as far as these settings say nothing. False: they say something else, and are
/// refused; `words` gives the reason and the hint for an option and what the servers have.
pub(super) fn agree(
    spec: &Join,
    enrolled: &Enrolled,
    words: impl Fn(&str, &str) -> (String, String),
    plan: &mut Plan<Action>,
) -> bool {
    let taken = taken_over(&spec.config, &enrolled.agreed);
    if !taken.is_empty() {
        plan.state(condition::K3S_OPTIONS, serde_json::to_string(&taken).unwrap_or_default());
    }
    if !of_one_kind(enrolled, plan) {
        return false;
    }
    let all = differences(&spec.config, &enrolled.agreed);
    for difference in &all {
        let (option, ours) = (&difference.option, &difference.ours);
        let (why, hint) = words(option, &difference.theirs);
        plan.refuse(format!("join/{option}"), format!("be a server with {option} = {ours}"), why, hint);
    }
    all.is_empty()
}

/// The servers have told so just now.
pub(super) fn they_have(option: &str, theirs: &str) -> (String, String) {
    (
        format!("the cluster's servers have {option} = {theirs}, and all have to have the same"),
        format!("set `{option}` in [cluster.config] to what they have, or leave it out"),
    )
}

/// Whether the cluster's networks are of one kind: K3s of any role ends for ever on a node with one address where they are of both.
pub(super) fn of_one_kind(enrolled: &Enrolled, plan: &mut Plan<Action>) -> bool {
    let Some((option, both)) = two_networks(&enrolled.agreed) else { return true };
    let why = format!(
        "its servers have {option} = {both}, and a node has one address here: K3s starts only with networks of its kind"
    );
    let hint = "join one that was begun with one network in `cluster-cidr`, and one in `service-cidr`";
    plan.refuse(format!("join/{option}"), "be in this cluster", why, hint);
    false
}
