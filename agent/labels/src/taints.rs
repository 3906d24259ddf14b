//! The taints of a server's own Node. One list that others write too: what is Bowline's is on record in an annotation,
//! and only that is changed or removed.

use crate::Action;
use bowline_engine::{Conditions, Plan, Wait};
use bowline_enroll::keep;
use bowline_ports::{NodeObject, Ready, TaintChange, condition, taint_text};
use bowline_settings::{STARTUP_TAINT, Taint};

const ITEM: &str = "taints";

/// The taints of the settings, and what the startup taint ends with.
pub struct Taints {
    /// Those that the Node is to have.
    pub wanted: Vec<Taint>,
    /// Names of the volumes that have to be there before workloads come.
    pub volumes: Vec<String>,
}

impl Taints {
    /// Compares them with the Node's. `labelled`: it has all its labels.
    pub(crate) fn plan(&self, node: &NodeObject, labelled: bool, now: &Conditions, plan: &mut Plan<Action>) {
        let volumes = self.volumes.iter().all(|volume| now.is(&condition::volume(volume), "ready"));
        let missing = match (volumes, labelled, node.ready) {
            (false, ..) => Some("its volumes are not all there"),
            (true, false, _) => Some("its labels are not all there"),
            (true, true, Ready::False | Ready::Unknown) => Some("the Node is not Ready"),
            (true, true, Ready::True) => None,
        };
        // What makes no sense to us is nobody's business here, and stays.
        let there: Vec<Taint> = node.taints.iter().filter_map(|text| text.parse().ok()).collect();
        let held = there.iter().any(|taint| taint.key == STARTUP_TAINT);
        if let Some(missing) = missing.filter(|_| held) {
            plan.waits.push(Wait::new(ITEM, "the end of the startup taint", missing));
        }
        let kept = keep::taints(&self.wanted, &there, node.own_taints.as_deref(), missing.is_none());
        for conflict in kept.conflicts {
            let what = &conflict.what;
            plan.refuse(
                format!("taints/{what}"),
                format!("set the taint {what}"),
                conflict.why,
                format!("remove it there (`kubectl taint node {} {}`), or from the settings", node.name, removal(what)),
            );
        }
        if let Some((all, record)) = kept.set {
            let gone = there.iter().filter(|taint| !all.contains(taint));
            let new = all.iter().filter(|taint| !there.contains(taint));
            let change = TaintChange {
                uid: node.uid.clone(),
                remove: gone.clone().map(written).collect(),
                add: new.clone().map(written).collect(),
                before: node.own_taints.clone(),
                after: record,
            };
            let mut changes: Vec<String> = new.map(ToString::to_string).collect();
            changes
                .extend(gone.filter(|taint| !all.iter().any(|new| same(new, taint))).map(|t| format!("{t} removed")));
            if changes.is_empty() {
                changes.push("those that are not there any more are forgotten".into());
            }
            let ended = held && missing.is_none();
            let why = if ended { "volumes, labels and Node are as they should be" } else { "the settings say so" };
            plan.step(ITEM, Action::Taint { node: node.name.clone(), change, changes }, why);
        }
    }
}

fn same(one: &Taint, other: &Taint) -> bool {
    one.key == other.key && one.effect == other.effect
}

/// As [`NodeObject::taints`] has it.
fn written(taint: &Taint) -> String {
    taint_text(&taint.key, &taint.value, taint.effect.as_str())
}

/// What `kubectl taint` takes a taint away by.
fn removal(taint: &str) -> String {
    let (rest, effect) = taint.rsplit_once(':').unwrap_or((taint, ""));
    format!("{}:{effect}-", rest.split('=').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;
    use crate::tests::node;
    use bowline_engine::Capability;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    const STARTUP: &str = "bowline/initializing=:NoSchedule";

    fn labels(taints: &[&str], volumes: &[&str]) -> Labels {
        Labels {
            labels: BTreeMap::new(),
            taints: Some(Taints {
                wanted: taints.iter().map(|text| text.parse().unwrap()).collect(),
                volumes: volumes.iter().map(ToString::to_string).collect(),
            }),
            name: None,
            kubeconfig: PathBuf::new(),
        }
    }

    fn plan(spec: &Labels, there: &[&str], own: Option<&str>, ready: Ready) -> Plan<Action> {
        plan_with(spec, there, own, ready, [("node", "ready")])
    }

    fn plan_with<const N: usize>(
        spec: &Labels,
        there: &[&str],
        own: Option<&str>,
        ready: Ready,
        now: [(&str, &str); N],
    ) -> Plan<Action> {
        let mut facts = node(&[]);
        let object = facts.node.as_mut().unwrap();
        object.taints = there.iter().map(ToString::to_string).collect();
        object.own_taints = own.map(String::from);
        object.ready = ready;
        spec.plan(&facts, &Conditions::from_pairs(now))
    }

    fn change(plan: &Plan<Action>) -> &TaintChange {
        let Action::Taint { change, .. } = &plan.steps[0].action else { panic!("{plan:?}") };
        change
    }

    #[test]
    fn taints_of_the_settings_are_set_changed_and_removed_and_no_others() {
        let spec = labels(&["a=2:NoSchedule", "new:NoExecute"], &[]);
        let there = ["theirs=x:NoSchedule", "a=1:NoSchedule", "old=:NoSchedule"];
        let plan = plan(&spec, &there, Some("a=1:NoSchedule,old:NoSchedule"), Ready::True);
        assert_eq!(
            plan.steps[0].action.to_string(),
            "taint Node n1: a=2:NoSchedule, new:NoExecute, old:NoSchedule removed"
        );
        let change = change(&plan);
        assert_eq!(change.uid, "u");
        assert_eq!(change.remove, ["a=1:NoSchedule", "old=:NoSchedule"]);
        assert_eq!(change.add, ["a=2:NoSchedule", "new=:NoExecute"]);
        assert_eq!(change.after, "a=2:NoSchedule,new:NoExecute");
        assert!(plan.refusals.is_empty());
    }

    #[test]
    fn what_somebody_else_has_with_another_value_is_left_alone_and_said_and_holds_nothing_back() {
        let spec = labels(&["a=2:NoSchedule", "b:NoSchedule"], &[]);
        let plan = plan(&spec, &["a=1:NoSchedule"], None, Ready::True);
        assert_eq!(plan.refusals[0].item, "taints/a=2:NoSchedule");
        assert_eq!(plan.refusals[0].why, "a=1:NoSchedule is kept by somebody else");
        assert!(plan.refusals[0].hint.contains("`kubectl taint node n1 a:NoSchedule-`"));
        assert_eq!(
            (change(&plan).remove.len(), change(&plan).add.as_slice()),
            (0, ["b=:NoSchedule".into()].as_slice())
        );
        assert_eq!(change(&plan).after, "b:NoSchedule");
    }

    #[test]
    fn an_equal_taint_of_somebody_else_stays_theirs_also_when_it_leaves_the_settings() {
        assert!(plan(&labels(&["a=1:NoSchedule"], &[]), &["a=1:NoSchedule"], None, Ready::True).steps.is_empty());
        assert!(plan(&labels(&[], &[]), &["a=1:NoSchedule"], None, Ready::True).steps.is_empty());
    }

    #[test]
    fn nothing_is_done_when_all_is_as_it_should_be() {
        let spec = labels(&["a=1:NoSchedule"], &[]);
        let plan = plan(&spec, &["x=:NoExecute", "a=1:NoSchedule"], Some("a=1:NoSchedule"), Ready::True);
        assert!(plan.steps.is_empty() && plan.waits.is_empty() && plan.refusals.is_empty());
    }

    #[test]
    fn one_that_somebody_took_away_comes_back_or_is_forgotten() {
        let own = Some("a=1:NoSchedule");
        let back = plan(&labels(&["a=1:NoSchedule"], &[]), &[], own, Ready::True);
        assert_eq!(back.steps[0].action.to_string(), "taint Node n1: a=1:NoSchedule");
        let forgotten = plan(&labels(&[], &[]), &[], own, Ready::True);
        assert_eq!(
            forgotten.steps[0].action.to_string(),
            "taint Node n1: those that are not there any more are forgotten"
        );
    }

    #[test]
    fn the_startup_taint_ends_with_volumes_labels_and_a_ready_node() {
        let mut spec = labels(&[], &["data"]);
        let waits = |plan: &Plan<Action>| plan.waits.iter().map(|wait| wait.why.clone()).collect::<Vec<_>>();
        let volume = [("node", "ready"), ("volume/data", "ready")];
        let no_volume = plan(&spec, &[STARTUP], None, Ready::True);
        assert_eq!(waits(&no_volume), ["its volumes are not all there"]);
        assert!(no_volume.steps.is_empty());
        let not_ready = plan_with(&spec, &[STARTUP], None, Ready::False, volume);
        assert_eq!(waits(&not_ready), ["the Node is not Ready"]);
        let settled = plan_with(&spec, &[STARTUP, "x=:NoExecute"], None, Ready::True, volume);
        assert_eq!(settled.steps[0].action.to_string(), "taint Node n1: bowline/initializing:NoSchedule removed");
        assert_eq!(change(&settled).remove, [STARTUP]);
        assert!(settled.waits.is_empty());
        spec.labels = BTreeMap::from([("role".into(), "kafka".into())]);
        let unlabelled = plan_with(&spec, &[STARTUP], None, Ready::True, volume);
        assert_eq!(waits(&unlabelled), ["its labels are not all there"]);
        assert!(matches!(unlabelled.steps[..], [bowline_engine::Step { action: Action::Label { .. }, .. }]));
    }

    #[test]
    fn taints_of_the_settings_do_not_wait_for_the_end_of_the_startup_taint() {
        let plan = plan(&labels(&["a:NoSchedule"], &["data"]), &[STARTUP], None, Ready::False);
        assert_eq!(plan.steps[0].action.to_string(), "taint Node n1: a:NoSchedule");
        assert_eq!(plan.waits.len(), 1);
    }

    #[test]
    fn on_agents_the_servers_see_to_taints() {
        let spec = Labels { taints: None, ..labels(&[], &[]) };
        let plan = plan(&spec, &[STARTUP, "a=1:NoSchedule"], Some("a=1:NoSchedule"), Ready::True);
        assert!(plan.steps.is_empty() && plan.waits.is_empty());
    }
}
