//! A server that nobody lets in: it has a member's data, or founds its cluster. K3s compares nothing then.

use super::{ITEM, agree, comes_in};
use crate::facts::Facts;
use crate::files::ENROLLED_WITH_DATA;
use crate::{Action, Join};
use bowline_engine::Plan;
use bowline_ports::condition;
use bowline_settings::Role;

/// It goes on with what was agreed on when its data came into their cluster, which lies beside them.
pub(super) fn plan(spec: &Join, facts: &Facts, name: &str, plan: &mut Plan<Action>) {
    let before = match &facts.with_data {
        None => return founds(plan),
        Some(Ok(before)) => before,
        // A K3s that runs goes on by systemd alone until somebody has mended it.
        Some(Err(why)) => {
            return plan.refuse(
                ITEM,
                "go on with what the cluster's servers agreed on",
                format!("{ENROLLED_WITH_DATA} cannot be read: {why}"),
                "set [cluster.config] to what the other servers have, and remove that file",
            );
        }
    };
    plan.state(condition::CLUSTER_CIDR, before.agreed.cluster_cidr.clone());
    let agree = agree(spec, before, they_had, plan);
    // One that was started here goes on as it is.
    if !agree && facts.down && !facts.enabled {
        return;
    }
    // Bowline was purged and installed anew: K3s has its token and its configuration still. One that may found has founded,
    // perhaps: then the token is that of an earlier cluster, or K3s was told to begin one.
    let in_theirs = !facts.founding && facts.token_ca.as_ref() == Some(&before.ca);
    let theirs = facts.token && (spec.spec.init.is_none() || in_theirs);
    let same = before.name == name && before.role == Role::Server.as_str();
    if facts.joined && theirs && same { comes_in(before, plan) } else { founds(plan) }
}

/// They told so when these data came into their cluster.
fn they_had(option: &str, theirs: &str) -> (String, String) {
    (
        format!(
            "its cluster's servers had {option} = {theirs} when these data came into it, and all have to have the same"
        ),
        format!(
            "set `{option}` in [cluster.config] to that, or leave it out; if all servers have changed it since, remove \
             {ENROLLED_WITH_DATA}"
        ),
    )
}

fn founds(plan: &mut Plan<Action>) {
    plan.state(condition::K3S_FOUNDS, "yes");
}
