//! K3s: its version, its service, its files, its Node.

use super::check::{Check, Subject, explained};
use bowline_cluster::{CONFIG_FILE, Cluster, Facts, unit_file as path_of, unit_text};
use bowline_engine::{Capability, CapabilityReport, Report};
use bowline_ports::{ActiveState, Inspect, MARK, PortError, Ready};
use bowline_settings::{Cluster as Spec, Role, Settings};
use std::time::Duration;

const ITEM: &str = "k3s";
/// For so long a Node that is not Ready is no finding.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn gather(host: &dyn Inspect, settings: &Settings, spec: &Spec) -> Result<Facts, PortError> {
    let cluster = Cluster {
        spec: spec.clone(),
        name: settings.node.name.clone(),
        external: settings.node.external_address.is_some(),
        volumes: Vec::new(),
        guarded: false,
        token: None,
    };
    cluster.observe(host).await
}

/// `report` is of a look just now.
pub(super) fn diagnose(facts: &Result<Facts, PortError>, spec: &Spec, report: &Report, before: &[Check]) -> Vec<Check> {
    let facts = match facts {
        Ok(facts) => facts,
        Err(_) if explained(before, &Subject::Blindness) => {
            return vec![Check::skipped("K3s", "not looked at: systemd does not answer, see above")];
        }
        Err(error) => return vec![Check::blind("K3s", error)],
    };
    let said = report.capabilities.iter().find(|c| c.name == Cluster::NAME);
    let mut checks = Vec::new();
    checks.extend(version(facts, spec));
    checks.extend(unit_file(facts, spec.role));
    checks.extend(said.and_then(|said| configuration(facts, said)));
    let life = life(facts, said, before, spec.role);
    let down = life.is_finding();
    checks.push(life);
    checks.extend(node(facts, said, report.at, before, spec.role).filter(|_| !down));
    checks
}

fn version(facts: &Facts, spec: &Spec) -> Option<Check> {
    // Without one of its own it is as the servers say.
    let (installed, wanted) = (facts.installed.as_ref()?, spec.version.exact()?.to_string());
    if *installed == wanted {
        return Some(Check::ok("K3s's version", wanted));
    }
    let found = format!("{installed} is installed, and the settings say {wanted}");
    let remedy = format!(
        "write `version = \"{installed}\"`; how to upgrade is in /usr/share/doc/bowline/CLUSTERS.md, \"Upgrading K3s today\""
    );
    Some(Check::finding("K3s's version", found, remedy).explains(Subject::Item(Cluster::NAME, ITEM.into())))
}

fn unit_file(facts: &Facts, role: Role) -> Option<Check> {
    let (service, path) = (role.service(), path_of(role));
    let text = facts.unit_file.as_ref()?;
    if !text.starts_with(MARK) {
        return Some(Check::ok("K3s's unit", "of somebody else, left as it is"));
    }
    if *text != unit_text(role) {
        let found = format!("{} is not as Bowline writes it: it was edited by hand", path.display());
        let remedy = format!("let Bowline write it again; put your own changes into `systemctl edit {service}`");
        return Some(Check::finding("K3s's unit", found, remedy).command("bowline apply"));
    }
    if facts.unit.needs_reload {
        let found = format!("systemd has not read the changed {service} yet");
        let remedy = "have it read its unit files";
        return Some(Check::finding("K3s's unit", found, remedy).command("systemctl daemon-reload"));
    }
    Some(Check::ok("K3s's unit", "as Bowline wrote it"))
}

/// Bowline's own file among K3s's, when it is there and would be written again.
fn configuration(facts: &Facts, said: &CapabilityReport) -> Option<Check> {
    facts.config.as_ref()?;
    let step = said.steps.iter().find(|step| step.action.get("configure").is_some())?;
    let found = format!("{CONFIG_FILE} is not as the settings say ({})", step.why);
    let remedy = "let Bowline write it again; put options of K3s into `[cluster.config]`";
    Some(Check::finding("K3s's configuration", found, remedy).command("bowline apply"))
}

/// Whether it runs, and why not.
fn life(facts: &Facts, said: Option<&CapabilityReport>, before: &[Check], role: Role) -> Check {
    let service = role.service();
    let subject = Subject::Item(Cluster::NAME, ITEM.into());
    let refusal = said.and_then(|said| said.refusals.iter().find(|r| r.item == ITEM));
    let wait = said.and_then(|said| said.waits.iter().find(|w| w.item == ITEM));
    let troubled = facts.unit.restarts > 0 || facts.unit.sub == "auto-restart";
    if let Some(refusal) = refusal {
        if explained(before, &subject) {
            return Check::skipped("K3s", format!("{}: {}, see above", refusal.what, refusal.why));
        }
        return Check::finding("K3s", &*refusal.why, &*refusal.hint).explains(subject);
    }
    if facts.unit.active == ActiveState::Active {
        return Check::ok("K3s", "it runs");
    }
    if troubled && let Some((why, remedy)) = wait.and_then(|w| Some((&w.why, w.overdue.as_ref()?))) {
        return Check::finding("K3s", format!("it does not stay up: {why}"), remedy).explains(subject);
    }
    // One that went down with its volume waits for that, or is about to be started.
    let by_hand = wait.is_none_or(|w| w.what == bowline_cluster::BY_HAND)
        && !said.is_some_and(|said| said.steps.iter().any(|s| s.item == ITEM));
    if facts.unit.active.is_down() && facts.unit.started && by_hand {
        return Check::finding("K3s", "somebody stopped it, and Bowline does not override that", "start it again")
            .command(format!("systemctl start {service}"))
            .explains(subject);
    }
    match (facts.unit.active, wait) {
        (ActiveState::Activating, _) => Check::note("K3s", "it is starting"),
        (_, Some(wait)) => Check::note("K3s", format!("not started yet, waiting for {}", wait.what)),
        (_, None) => Check::note("K3s", "not started yet"),
    }
}

/// The Node, once K3s has come up.
fn node(facts: &Facts, said: Option<&CapabilityReport>, now: i64, before: &[Check], role: Role) -> Option<Check> {
    let service = role.service();
    if facts.unit.active != ActiveState::Active {
        return None;
    }
    let why = match (&facts.node, &facts.api_error) {
        (Some(node), _) if node.ready == Ready::True => {
            return Some(Check::ok("Node", format!("{} is Ready ({})", node.name, node.kubelet_version)));
        }
        (Some(node), _) if node.ready_message.is_empty() => format!("{} is not Ready", node.name),
        (Some(node), _) => format!("{} is not Ready: {}", node.name, node.ready_message),
        (None, Some(error)) => error.clone(),
        (None, None) => "it is not registered".into(),
    };
    if facts.node.is_none() && explained(before, &Subject::Item(Cluster::NAME, "node".into())) {
        return Some(Check::skipped("Node", format!("{why}: see above")));
    }
    let since = said.and_then(|said| said.waits.iter().find(|w| w.item == ITEM)).map_or(now, |w| w.since);
    if now - since < PATIENCE.as_secs().cast_signed() && since != now {
        return Some(Check::note("Node", format!("{why}; K3s was started a short while ago")));
    }
    let remedy = match facts.node.is_none() && facts.foreign() {
        // It may have been told another name.
        true => {
            "compare with `kubectl get nodes` on a server; set `name` in [node] if this machine's Node has another name"
                .into()
        }
        false => {
            format!("K3s says why in `journalctl -u {service}`, Kubernetes in `kubectl describe node` on a server")
        }
    };
    Some(Check::finding("Node", why, remedy).explains(Subject::Item(Cluster::NAME, ITEM.into())))
}

#[cfg(test)]
mod tests {
    use super::{Facts, Role, gather, node};
    use bowline_host::sim::{SimHost, World};
    use bowline_ports::ActiveState;
    use bowline_settings::SourceFile;

    #[tokio::test]
    async fn a_k3s_of_somebody_else_may_have_been_told_another_name() {
        let text = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n";
        let file = SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
        let settings = bowline_settings::load(&[file]).unwrap().settings;
        let mut world = World::default();
        let unit = "[Service]\nExecStart=/usr/local/bin/k3s server --node-name other\n";
        world.files.insert("/etc/systemd/system/k3s.service".into(), unit.into());
        let spec = settings.cluster.as_ref().unwrap();
        let mut facts = gather(&SimHost::new(&world), &settings, spec).await.unwrap();
        facts.unit.active = ActiveState::Active;
        let told = |facts: &Facts| format!("{:?}", node(facts, None, 0, &[], Role::Server));
        assert!(told(&facts).contains("compare with `kubectl get nodes` on a server"), "{}", told(&facts));
        facts.unit_file = None;
        assert!(told(&facts).contains("K3s says why"), "{}", told(&facts));
    }
}
