//! A machine that was only cut off, and whose name is another's by now, stops its K3s, says why, and touches nothing else
//! (enrolment contract, "The same name again").

use super::{ITEM, LET_IN};
use crate::facts::Facts;
use crate::files::{AnsweredBy, GAVE_WAY, GAVE_WAY_SPARE, Last, SERVER_DATA};
use crate::why::Why;
use crate::{Action, Join};
use bowline_engine::{Conditions, Plan, Wait};
use bowline_enroll::Code;
use bowline_ports::{K3S_NODE_SEEN, UNINSTALLING_ERASES, condition};
use bowline_settings::Role;
use std::time::Duration;

/// How often K3s is looked at for what nobody tells.
const OFTEN: Duration = Duration::from_secs(5);

/// Looks often while the API of a member does not answer: nobody tells when K3s finds out that it is none any more.
pub(super) fn watch(facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
    // `cluster` states this one when the API has told of the Node.
    let answers = now.get(condition::NODE).is_some();
    if facts.joined && !answers && !facts.down && !facts.stopping {
        let wait = Wait::new("join/member", "the API of this server to answer", "it may be no member of etcd any more");
        plan.waits.push(wait.poll(OFTEN));
    }
}

/// Stops the K3s of an agent that runs as the machine of whose disk this one's is a copy, and has a name of its own: whatever the servers
/// would answer, there would be two kubelets of one Node. True when the plan ends with that.
pub(super) fn runs_as_another(facts: &Facts, plan: &mut Plan<Action>) -> bool {
    let other = facts.copy_of.as_ref().filter(|other| **other != facts.name);
    let Some(other) = other.filter(|_| !facts.down && !facts.foreign) else { return false };
    if facts.stopping {
        let wait = Wait::new(ITEM, "K3s to have stopped", "it is on its way down");
        plan.waits.push(wait.poll(Duration::from_secs(2)));
    } else {
        let why = format!(
            "the disk of this machine is a copy of that of {other}, and two kubelets would be one Node: it is started as \
             {} when the servers have let that in",
            facts.name
        );
        plan.step(ITEM, Action::StopCopy { name: other.clone() }, why);
    }
    true
}

/// Stops K3s, when the servers do not give this machine its name: true when the plan ends with that.
pub(super) fn gives_way(facts: &Facts, role: Role, enrolled: bool, name: &str, plan: &mut Plan<Action>) -> bool {
    if let Some(why) = anothers(facts, role, enrolled) {
        plan.step(ITEM, Action::GiveWay { message: why.clone() }, why);
        return true;
    }
    if role == Role::Agent && facts.foreign && facts.joined && !enrolled && facts.down && facts.comes_yet {
        let why =
            "the K3s that somebody else installed is about to start: asked now, the servers could take its Node away";
        let service = role.service();
        let overdue = format!("see why `systemctl status {service}` is not up; they are asked when it is disabled");
        plan.waits.push(Wait::new(ITEM, LET_IN, why).deadline(Duration::from_secs(300), overdue).poll(OFTEN));
        return true;
    }
    let Some(why) = in_its_own_way(facts, role, enrolled, name) else { return false };
    if facts.foreign {
        let service = role.service();
        plan.refuse(
            ITEM,
            "stop a K3s of somebody else",
            why,
            format!(
                "move its pods away (`kubectl drain {name}` on a server), stop it (`systemctl stop {service}`), and start \
                 it when the servers have let this machine in, for which they delete its Node; or take [cluster] out of \
                 the settings"
            ),
        );
        // While they are asked, the servers take its Node away at the first pause of its kubelet.
        plan.waits.push(Wait::new(ITEM, LET_IN, "they are asked again when K3s is down").poll(OFTEN));
        return true;
    }
    plan.step(ITEM, Action::GiveWay { message: why.clone() }, why);
    true
}

/// Why K3s stops for another machine.
fn anothers(facts: &Facts, role: Role, enrolled: bool) -> Option<String> {
    // Another machine came in under its name while this one was cut off.
    let said = facts.said.as_ref().and_then(|said| said.refused.as_ref());
    if let Some((_, message)) = said.filter(|(code, _)| enrolled && *code == Code::ClaimedElsewhere) {
        return Some(message.clone());
    }
    // A K3s that was taken out runs on and does nothing; but its kubelet keeps the Node of its successor alive.
    let out = role == Role::Server && (facts.removed.is_some() || facts.gave_way);
    refused(facts).filter(|_| out).map(|last| format!("{}; this one was taken out of etcd", last.message))
}

/// That the name is somebody's who may be alive, while K3s runs here.
fn refused(facts: &Facts) -> Option<&Last> {
    let is_alive = |last: &&Last| matches!(last.code, Why::Refused(Code::NodeIsAlive | Code::ClaimedElsewhere));
    facts.last.as_ref().filter(is_alive).filter(|_| !facts.down && !facts.stopping)
}

/// Whether an agent's own K3s keeps the Node alive that is in its way: it was let in with another machine key, or by hand, or came
/// back by its certificate when its name had been given up for its silence.
fn in_its_own_way(facts: &Facts, role: Role, enrolled: bool, name: &str) -> Option<String> {
    let last = refused(facts).filter(|_| role == Role::Agent)?;
    let given_up =
        facts.said.as_ref().and_then(|said| said.refused.as_ref()).is_some_and(|(code, _)| *code == Code::NotClaimed);
    let why = if given_up { "came back when its name had been given up" } else { "came in without this machine's key" };
    let own = facts.joined && (!enrolled || given_up);
    own.then(|| format!("{}; the K3s that runs here as {name} {why}", last.message))
}

/// Stops a K3s that was started to found a cluster, or to join one that is forgotten, and has no data yet, when a server has
/// answered: true when the plan ends with that. Let in as it runs, it could found meanwhile.
pub(super) fn begins(spec: &Join, facts: &Facts, plan: &mut Plan<Action>) -> bool {
    if facts.down || facts.removed.is_some() || facts.gave_way {
        return false;
    }
    if facts.foreign && spec.spec.init.is_some() {
        let why = "they are asked when the K3s that somebody else installed is down";
        plan.waits.push(Wait::new(ITEM, LET_IN, why).poll(OFTEN));
        return true;
    }
    let Some(AnsweredBy { by, .. }) = facts.answered_by(spec).filter(|_| !facts.foreign) else { return false };
    if facts.stopping {
        let wait = Wait::new(ITEM, "K3s to have stopped", "it is on its way down");
        plan.waits.push(wait.poll(Duration::from_secs(2)));
    } else {
        let by = if by.is_empty() { "a server of the cluster" } else { by };
        plan.step(ITEM, Action::StopToJoin, format!("{by} has answered, and K3s has no data of a cluster yet"));
    }
    true
}

/// A server that has nobody to ask, and was taken out of etcd. Started again, K3s would begin a second cluster with the same
/// authorities: it is stopped, and stays so.
pub(super) fn founder(facts: &Facts, plan: &mut Plan<Action>) {
    if !(facts.removed.is_some() || facts.gave_way) {
        return;
    }
    // Whoever looks after K3s and its Node has nothing to do here.
    plan.state(condition::LEAVING, "yes");
    let why = "its Node was deleted, or is another machine's, and its member was taken out of etcd";
    if facts.stopping {
        let wait = Wait::new(ITEM, "K3s to have stopped", "it is on its way down");
        plan.waits.push(wait.poll(Duration::from_secs(2)));
    } else if !(facts.down && facts.gave_way) {
        plan.step(ITEM, Action::GiveWay { message: why.into() }, format!("{why}: it would begin a second cluster"));
    } else {
        let begin = match facts.foreign {
            true => format!("`k3s-uninstall.sh` and `rm -f {GAVE_WAY} {GAVE_WAY_SPARE}`; {UNINSTALLING_ERASES}"),
            // Somebody has to start it: it was stopped, and may be down for a reason.
            false => {
                format!(
                    "`rm -r {SERVER_DATA} && rm -f {GAVE_WAY} {GAVE_WAY_SPARE} {K3S_NODE_SEEN} && systemctl start {}`",
                    Role::Server.service()
                )
            }
        };
        plan.refuse(
            ITEM,
            "be a server of the cluster",
            why,
            format!(
                "set `servers` in [cluster] to the others: it asks them to be let in; or, to begin another cluster here \
                 without the old one's data, run {begin}"
            ),
        );
    }
}
