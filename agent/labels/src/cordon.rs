//! A Node that was told to take no pods while a volume was released takes them again.

use crate::Action;
use bowline_engine::{Conditions, Plan};
use bowline_ports::{CORDONED, NodeObject, condition};
use serde_json::{Value, json};

/// Once `volumes` says that no volume is released any more for which it was cordoned, and that the one that was is back.
pub(crate) fn plan(node: &NodeObject, over: bool, now: &Conditions, plan: &mut Plan<Action>) {
    if over && now.is(condition::CORDON_OVER, "yes") {
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
