//! The plan for K3s. It is never restarted without a changed reason, and one that somebody else installed is
//! adopted as it is or refused.

use crate::facts::{Facts, api_port, other, seen};
use crate::{Action, CRASHES, Cluster, caution, remover, unit_file, unit_text};
use bowline_engine::{Conditions, Plan, Wait};
use bowline_ports::text::shell;
use bowline_ports::{ActiveState, DEPENDENCY, Ready, Unit, condition};
use bowline_settings::{Cluster as Spec, Role, Version};
use std::time::Duration;

mod adopted;
mod binary;
mod configure;
mod lost;
mod stopped;
mod words;

use adopted::{adopted, no_node, unready};
use binary::binary;
use configure::configure;
use stopped::{stopped_for_release, went_with};
use words::{last_words, not_a_member, not_taken, remedy, unreached};

const ITEM: &str = "k3s";
/// Downloading takes longest: everything but the start goes on beside it.
const BINARY_ITEM: &str = "k3s/binary";
/// What is waited for once K3s runs.
const READY: &str = "the Node to be Ready";
/// What is waited for when somebody stopped K3s.
pub const BY_HAND: &str = "K3s to be started again by hand";
const READ_AT_START: &str = "K3s reads its configuration at its start only";

pub(crate) fn plan(spec: &Cluster, facts: &Facts, now: &Conditions) -> Plan<Action> {
    let mut plan = Plan::default();
    let role = spec.spec.role;
    // One that its gate holds back has not run: an older systemd counts each look at the gate as a restart.
    if facts.unit.load == "loaded" && !facts.held_out() {
        plan.state(condition::K3S_RESTARTS, facts.unit.restarts.to_string());
        if facts.unit.restarts >= CRASHES {
            plan.state(condition::K3S_CRASHES, "yes");
        }
    }
    // Whatever holds it up: one that is down is told as such, once it has been up, unless the machine has left.
    if facts.unit.load == "loaded" && facts.ran && now.get(condition::LEFT).is_none() {
        plan.state(condition::K3S, if facts.unit.active == ActiveState::Active { "active" } else { "installed" });
    }
    if now.is(condition::LEAVING, "yes") {
        return plan;
    }
    if let Some(installed) = &facts.installed {
        plan.state(condition::K3S_INSTALLED, installed);
    }
    if let Some(unit) = &facts.other_role {
        let other = other(role);
        plan.state(condition::K3S_ELSEWHERE, other.service());
        plan.refuse(
            ITEM,
            format!("run K3s as {}", a(role)),
            format!("K3s is installed on this machine as {} ({})", a(other), other.service()),
            format!("remove it (`{}`) if this machine is to be {}{}", remover(other, unit), a(role), caution(unit)),
        );
        return plan;
    }
    if let Some(named) = &facts.named {
        let service = role.service();
        plan.state(condition::K3S_ELSEWHERE, named);
        plan.refuse(
            ITEM,
            format!("run K3s as {}", a(role)),
            format!("K3s is installed on this machine under another name ({named})"),
            format!(
                "let it be {service}, which Bowline adopts (`systemctl disable --now {0} && mv /etc/systemd/system/{0} \
                 /etc/systemd/system/{service} && systemctl enable --now {service}`), or remove it",
                shell(named)
            ),
        );
        return plan;
    }
    // An agent may leave the release to the servers. They say which one to download when they let it in; what runs here by now
    // is not held to that.
    let told = now.get(condition::K3S_VERSION).and_then(|text| text.parse().ok());
    let running = facts.unit.active == ActiveState::Active && (facts.ran || facts.foreign());
    let runs = facts.installed.as_ref().filter(|_| running).and_then(|text| text.parse().ok());
    let Some(exact) = spec.spec.version.exact().or(runs).or(told) else {
        plan.waits.push(Wait::new(ITEM, "the servers to say which release they run", "the settings have no `version`"));
        return plan;
    };
    let whole = Spec { version: Version::Exact(exact), ..spec.spec.clone() };
    let spec = &Cluster { spec: whole, ..spec.clone() };
    let version = exact.to_string();
    if facts.foreign() {
        if facts.unit.needs_reload {
            plan.step(ITEM, Action::Reload, "files of its unit changed on disk, such as the gates of volumes");
        }
        if adopted(spec, facts, &version, &mut plan) || binary::outlived(facts) {
            watch(spec, facts, now, &mut plan);
        }
        return plan;
    }
    if !binary(spec, facts, &version, &mut plan) {
        if binary::outlived(facts) {
            watch(spec, facts, now, &mut plan);
        }
        return plan;
    }
    for path in &facts.missing_links {
        plan.step(ITEM, Action::Link { path: path.clone() }, "as K3s's own installer does");
    }
    match &facts.unit_file {
        Some(text) if *text == unit_text(role) => {
            if facts.unit.needs_reload || facts.unit.load == "not-found" {
                plan.step(ITEM, Action::Reload, "systemd has not read K3s's unit yet");
            }
        }
        Some(_) => plan.step(
            ITEM,
            Action::WriteUnit { path: unit_file(role) },
            "it was edited by hand, or an earlier Bowline wrote it; K3s goes on running as it is",
        ),
        None => plan.step(
            ITEM,
            Action::WriteUnit { path: unit_file(role) },
            "systemd runs K3s, also when Bowline does not run",
        ),
    }
    // From here on the node itself has to be known.
    if !conditions(spec, facts, now, &mut plan) {
        return plan;
    }
    // Who may found is answered, perhaps, until K3s is started: then it joins. A boot must not found for it meanwhile.
    let founds = spec.token.is_some() && now.get(condition::ENROLLED).is_none();
    let before = plan.steps.len();
    configure(spec, facts, now, &mut plan);
    if founds {
        plan.steps.iter_mut().skip(before).for_each(|step| step.after = Some(BINARY_ITEM.into()));
    }
    // Not before: a boot in between would start it without its configuration, on the wrong address. Who stopped it may have
    // disabled it as well, unless Bowline did when the name was another machine's.
    let stays = facts.restart.is_none() && is_stopped_by_hand(spec, facts, now);
    if facts.unit.file_state != "enabled" && !stays && (!founds || facts.unit.active == ActiveState::Active) {
        plan.step(ITEM, Action::Enable { service: role.service() }, "the next boot must start it");
    }
    run(spec, facts, now, &mut plan);
    plan
}

/// `a server` or `an agent`.
fn a(role: Role) -> &'static str {
    match role {
        Role::Server => "a server",
        Role::Agent => "an agent",
    }
}

/// What K3s must not start without. True when all of it is there, or K3s has started before.
fn conditions(spec: &Cluster, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) -> bool {
    let mut missing = Vec::new();
    for (key, what) in [
        (condition::NAME, "the node's name"),
        (condition::ADDRESS, "the node's address"),
        (condition::DEFAULT_ROUTE, "a default route"),
        (condition::CLOCK, "a right clock"),
    ] {
        if now.get(key).is_none() {
            missing.push(what.to_string());
        }
    }
    if let Some(skew) = now.get(condition::SKEW).filter(|_| now.get(condition::CLOCK).is_some()) {
        missing.push(format!("a right clock ({skew})"));
    }
    if spec.external && now.get(condition::EXTERNAL_ADDRESS).is_none() {
        missing.push("the external address".into());
    }
    if spec.token.is_some() && now.get(condition::ENROLLED).is_none() && !now.is(condition::K3S_FOUNDS, "yes") {
        missing.push("a credential of the cluster".into());
    }
    if spec.guarded && now.get(condition::GUARD).is_none() {
        missing.push("the issuers' ports closed to pods".into());
    }
    for volume in &spec.volumes {
        if !now.is(&condition::volume(volume), "ready") {
            missing.push(format!("volume {volume}"));
        } else if !now.is(&condition::gate(volume), "set") {
            missing.push(format!("the gate of volume {volume}"));
        }
    }
    if missing.is_empty() {
        return true;
    }
    let up = matches!(facts.unit.active, ActiveState::Active | ActiveState::Reloading);
    if up {
        plan.note(ITEM, format!("K3s runs, though it would not be started now: missing {}", missing.join(", ")));
        watch(spec, facts, now, plan);
    } else {
        // The capability that states each condition says why it is not there; the names are enough here.
        plan.waits.push(Wait::new(ITEM, missing.join(" and "), "K3s does not start before that"));
    }
    false
}

/// Whether somebody stopped K3s, and nothing else is known for which it was stopped.
fn is_stopped_by_hand(spec: &Cluster, facts: &Facts, now: &Conditions) -> bool {
    let unit = &facts.unit;
    // Who stopped it and then wanted it up again, too early, does not want it down.
    let held_back = unit.result == "assert" || facts.held_out();
    // systemd starts it again whatever it ends with, unless somebody stopped it: one that did not end well then has failed.
    let given_up = unit.result == "start-limit-hit" || unit.result == DEPENDENCY;
    let wanted = facts.restart.as_ref().is_some_and(|restart| restart.start);
    let known = went_with(spec, facts, now).is_some() || stopped_for_release(facts, now) || wanted;
    facts.down() && unit.started && !held_back && !given_up && !known
}

/// Starts K3s unless somebody stopped it, then watches it.
fn run(spec: &Cluster, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
    if !facts.down() {
        return watch(spec, facts, now, plan);
    }
    if let Some(listener) = &facts.listener {
        let port = api_port(&spec.spec);
        let by = listener.process.as_deref().unwrap_or("another process");
        plan.refuse(
            ITEM,
            "start K3s",
            format!("port {port} is in use by {by}"),
            format!("stop what listens there (`ss -tlnp sport = :{port}`)"),
        );
        return;
    }
    let service = spec.service();
    let taken_down = went_with(spec, facts, now);
    let released = stopped_for_release(facts, now);
    let held_back = facts.unit.result == "assert";
    let held_out = facts.held_out();
    let anew = facts.restart.as_ref().filter(|restart| facts.removed || restart.start);
    let wanted = anew.is_some_and(|restart| restart.start);
    if is_stopped_by_hand(spec, facts, now) {
        let ends = format!(
            "`systemctl start {service}` starts it, and so does the next boot, unless Bowline is disabled as well: \
             `systemctl disable --now bowline {service}`"
        );
        plan.waits.push(
            Wait::new(ITEM, BY_HAND, stopped_by_hand(&facts.unit))
                // Between the two halves of a restart it looks the same for a moment.
                .deadline(Duration::from_secs(5), ends)
                .poll(Duration::from_secs(1)),
        );
        return;
    }
    let why = match (facts.unit.active, taken_down) {
        (ActiveState::Failed, _) if !held_back => format!("it failed ({})", facts.unit.result),
        (_, Some(volume)) => format!("systemd stopped it when volume {volume} went away, which is back"),
        _ if held_back => "somebody started it before its volumes were there, and its gate held it back".to_string(),
        _ if held_out && !facts.removed => {
            "its gate held it back (a volume was not mounted, or it was out of etcd), and does no more".to_string()
        }
        _ if held_out => {
            "it was taken out of etcd, and its gate held it back until it had a server to join".to_string()
        }
        _ if wanted && facts.removed => {
            "it was stopped while its name was another machine's, and was let in again".to_string()
        }
        _ if wanted => "it was stopped until it was let in".to_string(),
        _ if released => "it was stopped so that a volume could be released, and may run again".to_string(),
        _ => "it is not running".to_string(),
    };
    // With its record, which is nothing any more then.
    plan.step(ITEM, anew.map_or(Action::Start, |restart| Action::Restart(restart.clone())), why);
    plan.after(BINARY_ITEM);
}

/// What is said of a K3s that somebody stopped.
fn stopped_by_hand(unit: &Unit) -> String {
    let said = "somebody stopped it (`systemctl stop`)";
    match unit.active {
        ActiveState::Failed => format!("{said}, and it did not end well ({})", unit.result),
        _ => said.to_owned(),
    }
}

/// States how K3s stands, and waits for what is still to come.
fn watch(spec: &Cluster, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
    let service = spec.service();
    if lost::plan(spec, facts, now, plan) {
        return;
    }
    if let Some(node) = &facts.node {
        plan.state(condition::NODE, if node.ready == Ready::True { "ready" } else { "registered" });
        plan.state(condition::NODE_SEEN, seen(node));
    }
    let soon = Duration::from_millis(500);
    let ready = facts.node.as_ref().is_some_and(|n| n.ready == Ready::True);
    if facts.unit.active == ActiveState::Active && ready {
        return;
    }
    // What a server that was just started says is of before, or of others who ask it.
    let starts =
        facts.unit.active == ActiveState::Activating && facts.unit.restarts == 0 && facts.unit.sub != "auto-restart";
    let tells = facts.unit.active != ActiveState::Active && !(starts && spec.spec.role == Role::Server);
    if spec.token.is_some() && tells {
        if let Some(words) = not_taken(&facts.last_lines) {
            plan.state(condition::K3S_JOIN, words);
        }
        let servers = now.get(condition::K3S_SERVERS).unwrap_or_default();
        if let Some(words) = unreached(&facts.last_lines, servers.split(',').next().unwrap_or_default()) {
            plan.state(condition::K3S_UNREACHED, words);
        }
    }
    if facts.unit.sub == "auto-restart" || (facts.unit.restarts > 0 && facts.unit.active == ActiveState::Activating) {
        let said = last_words(&facts.last_lines);
        plan.waits.push(
            Wait::new(
                ITEM,
                "K3s to stay up",
                format!(
                    "it ended with status {} and was restarted {} times; it said: {said}",
                    facts.unit.exit_status, facts.unit.restarts
                ),
            )
            .deadline(Duration::ZERO, remedy(&facts.last_lines, service))
            .poll(Duration::from_secs(2)),
        );
        return;
    }
    if facts.unit.active == ActiveState::Deactivating {
        plan.waits.push(
            Wait::new(ITEM, "K3s to have stopped", "it is on its way down")
                .deadline(
                    Duration::from_secs(120),
                    format!("it does not stop; `systemctl status {service}` shows what is left of it"),
                )
                .poll(Duration::from_secs(1)),
        );
        return;
    }
    if !facts.unit.active.is_up() {
        let hint = match spec.token.as_deref().filter(|_| facts.removed && facts.foreign()) {
            Some(token) => lost::by_its_owner(spec, token, now, "enable --now"),
            // Up too early, an agent keeps the Node alive that has to go first.
            None if spec.token.is_some() && spec.spec.role == Role::Agent && now.get(condition::ENROLLED).is_none() => {
                format!(
                    "the servers let this machine in first, for which `join` waits; then `systemctl start {service}`"
                )
            }
            None => format!("`systemctl start {service}` starts it"),
        };
        plan.waits.push(
            Wait::new(ITEM, "K3s to be started", format!("{service} is {}", facts.unit.sub))
                .deadline(Duration::ZERO, hint)
                .poll(Duration::from_secs(5)),
        );
        return;
    }
    let unknown = not_a_member(&facts.last_lines).filter(|_| facts.unit.active == ActiveState::Activating);
    if let Some(words) = unknown {
        let wait = Wait::new(ITEM, READY, format!("K3s does not come up; it says: {words}"));
        let wait = wait.deadline(Duration::from_secs(60), remedy(&facts.last_lines, service));
        plan.waits.push(wait.poll(Duration::from_secs(2)));
        return;
    }
    let why = match (&facts.node, &facts.api_error) {
        (Some(node), _) if !node.ready_message.is_empty() => node.ready_message.clone(),
        (Some(_), _) => "its kubelet has not reported yet".into(),
        (None, Some(error)) => error.clone(),
        (None, None) if facts.unit.active == ActiveState::Active && facts.foreign() => no_node(now),
        (None, None) if facts.unit.active == ActiveState::Active => "the Node is not registered yet".into(),
        (None, None) if spec.token.is_some() && !facts.last_lines.is_empty() => {
            format!("K3s is joining; it says: {}", last_words(&facts.last_lines))
        }
        (None, None) => "K3s is starting".into(),
    };
    // Once it was seen up for good, a look every few seconds is enough.
    let poll = if now.waited(ITEM, READY) > Duration::from_secs(300) { soon * 10 } else { soon };
    plan.waits.push(
        Wait::new(ITEM, READY, why.clone()).deadline(Duration::from_secs(600), unready(facts, service)).poll(poll),
    );
}

#[cfg(test)]
mod tests;
