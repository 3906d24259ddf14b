//! K3s's configuration: written when it changes, and K3s restarted for it.

use super::{ITEM, READ_AT_START};
use crate::config::{OwnNode, config_text, differing_keys, keys, text_of};
use crate::facts::Facts;
use crate::{Action, Cluster};
use bowline_engine::{Conditions, Plan, Risk};
use bowline_ports::records::Restart;
use bowline_ports::{ActiveState, condition};
use bowline_settings::{Cluster as Spec, ConfigScalar, ConfigValue, Datastore};

fn running(facts: &Facts) -> bool {
    facts.unit.active.is_up() && !facts.held_out()
}

/// Whether the data are those of a member of etcd at another address than this machine has by now: true, and refused. K3s changes the
/// address of no member that is there, and would wait for ever until etcd knows it. One that was let in after it had given way is
/// none any more: K3s finds that out when it comes up, which it does at no address that the machine has not.
fn moves(spec: &Spec, facts: &Facts, address: &str, plan: &mut Plan<Action>) -> bool {
    // Told otherwise, K3s uses the data that are there all the same.
    let none = matches!(spec.config.get("disable-etcd"), Some(ConfigValue::One(ConfigScalar::Bool(true))));
    let let_in = facts.restart.as_ref().is_some_and(|restart| restart.start);
    let member = facts.etcd && !facts.removed && !none && !let_in;
    let before = facts.config.as_ref().and_then(|text| text_of(text, "node-ip"));
    let Some(before) = before.filter(|before| member && before != address) else { return false };
    plan.refuse(
        ITEM,
        format!("give K3s the address {address}"),
        format!(
            "its configuration has {before}, and with its data in etcd K3s does not come up with another address; it stays as it is"
        ),
        format!(
            "let the machine have {before} again, and set `address` in [node] to that; how a server gets another one, \
             /usr/share/doc/bowline/CLUSTERS.md tells (“A server with another address”): among others it leaves and comes back, an only \
             one takes `k3s server --cluster-reset`"
        ),
    );
    true
}

/// The settings, with where the data are by now: in etcd they stay. K3s goes by the data, and is not restarted for `cluster-init`.
fn stored(spec: &Spec, facts: &Facts, joins: bool, plan: &mut Plan<Action>) -> Spec {
    let mut spec = spec.clone();
    let decided =
        ["cluster-init", "datastore-endpoint", "disable-etcd"].iter().any(|key| spec.config.contains_key(*key));
    if facts.etcd && !joins && !decided && spec.join.datastore == Datastore::Sqlite {
        let has_it = |there: &String| keys(there).iter().any(|key| key == "cluster-init");
        if facts.config.as_ref().is_none_or(has_it) {
            spec.join.datastore = Datastore::Etcd;
        }
        plan.note(
            ITEM,
            "the settings do not have `datastore = \"etcd\"`, and this server's data are in etcd: there they stay",
        );
    }
    spec
}

pub(super) fn configure(spec: &Cluster, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
    let (Some(name), Some(address), Some(interface)) =
        (now.get(condition::NAME), now.get(condition::ADDRESS), now.get(condition::INTERFACE))
    else {
        return;
    };
    let external = now.get(condition::EXTERNAL_ADDRESS).filter(|_| spec.external);
    let servers = now.get(condition::K3S_SERVERS).unwrap_or_default();
    let join = spec.token.as_deref().zip(servers.split(',').next().filter(|first| !first.is_empty()));
    let told = now.get(condition::K3S_OPTIONS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let node = OwnNode { name, address, interface, external };
    if moves(&spec.spec, facts, address, plan) {
        return;
    }
    let stored = stored(&spec.spec, facts, join.is_some(), plan);
    let wanted = config_text(&stored, &node, join, told);
    let running = running(facts);
    // One on its way down may be in the middle of a restart, and have read what was there before.
    let may_run = !facts.down();
    let configure = Action::Configure { keys: keys(&wanted), text: wanted.clone() };
    // A reason to restart a K3s that runs, if the change is one.
    let (why, read) = match &facts.config {
        Some(there) if *there == wanted => (None, true),
        Some(there) => match differing_keys(there, &wanted).join(", ") {
            same if same.is_empty() => (Some("its text was edited by hand".to_owned()), true),
            changed => (Some(format!("changed: {changed}")), false),
        },
        // Whoever removed it may have started K3s without it.
        None if may_run => (Some("its configuration was gone".to_owned()), false),
        None => (Some("K3s reads it at its start".to_owned()), true),
    };
    // What is owed for an earlier configuration, which was written already, says nothing of this one. One that is to be started, or
    // joins anew, reads this one then.
    let stays = |owed: &&Restart| owed.written.is_none() || owed.start || facts.removed;
    let changed = why.is_some() && !read;
    let owed = facts.restart.as_ref().filter(|owed| why.is_none() || stays(owed));
    let anew = why.clone().filter(|_| may_run && !read && owed.is_none()).map(Restart::of);
    if let Some(anew) = &anew {
        plan.step(ITEM, Action::RecordRestart(anew.clone()), READ_AT_START);
    }
    if let Some(why) = why {
        plan.step(ITEM, configure, why);
    }
    if let Some(anew) = anew.filter(|_| running) {
        return plan.step_with(ITEM, Action::Restart(anew), READ_AT_START, Risk::Restart);
    }
    match &facts.restart {
        Some(_) if running && facts.restarted && !changed => {
            plan.step(ITEM, Action::ForgetRestart, "K3s was started since, and has read its configuration");
        }
        Some(restart) if running => {
            plan.step_with(ITEM, Action::Restart(restart.clone()), "it is on record as owed", Risk::Restart);
        }
        // It is to join anew: it is started by this record, or by whoever stopped it.
        Some(restart) if facts.removed || restart.start => {}
        // Stopped by somebody, and to be started by them: owed is then nothing any more.
        Some(_) if facts.unit.active != ActiveState::Deactivating => {
            plan.step(ITEM, Action::ForgetRestart, "K3s is down: its next start reads its configuration");
        }
        _ => {}
    }
}
