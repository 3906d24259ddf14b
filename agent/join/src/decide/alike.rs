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
    take_over(spec, enrolled, plan);
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

fn take_over(spec: &Join, enrolled: &Enrolled, plan: &mut Plan<Action>) {
    let taken = taken_over(&spec.config, &enrolled.agreed);
    if !taken.is_empty() {
        plan.state(condition::K3S_OPTIONS, serde_json::to_string(&taken).unwrap_or_default());
    }
}

/// What [`agree`] is for a member. What the servers had when it joined is all that it knows: they may have changed since, one after
/// the other, so another value is no fault.
pub(super) fn goes_on(spec: &Join, enrolled: &Enrolled, plan: &mut Plan<Action>) {
    take_over(spec, enrolled, plan);
    of_one_kind(enrolled, plan);
    for difference in differences(&spec.config, &enrolled.agreed) {
        let (option, ours) = (&difference.option, &difference.ours);
        let theirs = Some(difference.theirs.as_str()).filter(|theirs| !theirs.is_empty()).unwrap_or("not set");
        let had = format!("the servers had {option} = {theirs} when it joined");
        plan.note(format!("join/{option}"), format!("{option} = {ours} here, and {had}: set the same on every server"));
    }
}

/// The servers told so when they let it in.
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
