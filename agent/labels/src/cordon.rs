//! A Node that was told to take no pods while a volume was released takes them again.

use crate::Action;
use bowline_engine::{Conditions, Plan};
use bowline_ports::{CORDONED, NodeObject, condition};
use serde_json::{Value, json};

/// Once `volumes` says that no volume is released any more for which it was cordoned, and that the one that was is back.
pub(crate) fn plan(node: &NodeObject, over: bool, now: &Conditions, plan: &mut Plan<Action>) {
    if node.cordoned && !node.unschedulable {
        let action = Action::ForgetCordon { node: node.name.clone() };
        plan.step("cordon", action, "somebody has let it take pods again: who cordons it next is not Bowline");
    } else if over && now.is(condition::CORDON_OVER, "yes") {
        let action = Action::Uncordon { node: node.name.clone() };
        plan.step("cordon", action, "it was told to take none while a volume was released, and that is over");
    }
}

/// What ends it; `None` where it was a person who told the Node to take none, or ended it.
pub(crate) fn end(node: &Value) -> Option<Value> {
    (node["metadata"]["annotations"][CORDONED] == "true").then(|| {
        json!({ "metadata": { "annotations": { CORDONED: Value::Null } }, "spec": { "unschedulable": Value::Null } })
    })
}

/// What forgets it, of a Node that takes pods and was not changed since; `None` where nothing is to be forgotten.
pub(crate) fn forget(node: &Value) -> Option<Value> {
    let there = !node["metadata"]["annotations"][CORDONED].is_null() && node["spec"]["unschedulable"] != true;
    let version = &node["metadata"]["resourceVersion"];
    there.then(|| json!({ "metadata": { "resourceVersion": version, "annotations": { CORDONED: Value::Null } } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;
    use bowline_engine::Capability;
    use std::path::PathBuf;

    #[test]
    fn a_cordon_that_somebody_has_ended_is_forgotten_and_the_next_one_is_theirs() {
        let labels = Labels { labels: [].into(), taints: None, name: None, kubeconfig: PathBuf::new() };
        let plan = |cordoned, unschedulable, uncordon, over| {
            let mut facts = crate::tests::node(&[]);
            facts.uncordon = uncordon;
            facts.node.iter_mut().for_each(|node| (node.cordoned, node.unschedulable) = (cordoned, unschedulable));
            let now = [("node", "ready"), (condition::CORDON_OVER, over)];
            let plan = labels.plan(&facts, &Conditions::from_pairs(now));
            plan.steps.into_iter().map(|step| step.action).collect::<Vec<_>>()
        };
        let node = || "n1".to_owned();
        assert_eq!(plan(true, true, false, ""), []);
        assert_eq!(plan(true, true, true, ""), [], "nobody says that it is over");
        assert_eq!(plan(true, true, true, "yes"), [Action::Uncordon { node: node() }]);
        assert_eq!(plan(true, false, false, ""), [Action::ForgetCordon { node: node() }]);
        assert_eq!(plan(true, false, true, "yes"), [Action::ForgetCordon { node: node() }]);
        assert_eq!(plan(false, false, false, ""), []);
        let object = |unschedulable: bool| {
            json!({
                "metadata": { "resourceVersion": "7", "annotations": { CORDONED: "true" } },
                "spec": { "unschedulable": unschedulable },
            })
        };
        let forgets = json!({ "metadata": { "resourceVersion": "7", "annotations": { CORDONED: null } } });
        assert_eq!(forget(&object(false)), Some(forgets));
        assert_eq!(forget(&object(true)), None, "it was cordoned since");
    }
}
