//! The persistent volumes of a server's own disks, made and kept with its own credentials. An agent asks the servers for
//! its own (`join`); what is decided is the same ([`bowline_enroll::persistent`]).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

use bowline_engine::{Capability, Conditions, Plan, Wait};
use bowline_enroll::NodeName;
use bowline_enroll::persistent::{self, Found, Sent, Wish, read_volume};
use bowline_ports::{Change, ErrorKind, Inspect, PortError, Progress, Write, condition, each, node_name};
use bowline_settings::Volume;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// That some were made: until they are gone, they are looked after without any in the settings.
pub const RECORD: &str = "/var/lib/bowline/persistent-volumes";

/// The volumes of the settings that Kubernetes is told of.
pub struct Persistent {
    /// All of them.
    pub volumes: Vec<Volume>,
    /// The node's name, where the settings give one.
    pub name: Option<String>,
    /// The administrator's credentials.
    pub kubeconfig: PathBuf,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The node's name; None: it is none that Kubernetes takes.
    pub name: Option<NodeName>,
    /// What is there; `None` while there is no API to ask, or nothing to ask it about.
    pub found: Option<Found>,
    /// Whether some were made.
    pub made: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Write down that there are some.
    Record,
    /// Forget it: they are gone.
    Forget,
    /// Change one.
    Change(persistent::Change),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => f.write_str("write down that there are persistent volumes"),
            Self::Forget => f.write_str("forget the persistent volumes that there were"),
            Self::Change(change) => change.fmt(f),
        }
    }
}

impl Capability for Persistent {
    const NAME: &'static str = "persistent-volumes";
    // Who has none looks whether there were some.
    const EVERY: Duration = Duration::from_secs(300);
    const OPTIONAL: bool = true;
    type Facts = Facts;
    type Action = Action;

    /// A claim that was deleted, and comes back under its name, waits for so long at most.
    fn every(&self) -> Duration {
        if self.volumes.is_empty() { Self::EVERY } else { Duration::from_secs(120) }
    }

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        let made = host.meta(Path::new(RECORD)).await?.is_some();
        let name = node_name(host, self.name.as_deref()).await?;
        let name = NodeName::new(&name).ok();
        let Some(node) = name.as_ref().filter(|_| made || !self.volumes.is_empty()) else {
            return Ok(Facts { name, found: None, made });
        };
        if host.meta(&self.kubeconfig).await?.is_none() {
            return Ok(Facts { name, found: None, made });
        }
        let found = match self.found(host, node).await {
            Ok(found) => Some(found),
            Err(PortError { kind: ErrorKind::Unreachable | ErrorKind::Timeout, .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Facts { name, found, made })
    }

    fn plan(&self, facts: &Facts, now: &Conditions) -> Plan<Action> {
        let mut plan = Plan::default();
        let (true, Some(node)) = (facts.made || !self.volumes.is_empty(), &facts.name) else { return plan };
        plan.state(Self::NAME, "kept");
        if now.is(condition::LEAVING, "yes") {
            return plan;
        }
        // Stated for a K3s that is ours or adopted only.
        let Some(found) = facts.found.as_ref().filter(|_| now.get(condition::NODE).is_some()) else {
            let wait = Wait::new(Self::NAME, "the Node", "its disks are told to Kubernetes");
            plan.waits.push(wait.poll(Duration::from_secs(2)));
            return plan;
        };
        let size = |volume: &Volume| now.get(&condition::volume_size(&volume.name)).and_then(|size| size.parse().ok());
        let wishes: Vec<Wish> =
            self.volumes.iter().filter_map(|volume| Wish::of(node.as_str(), volume, size(volume))).collect();
        let outcome = persistent::reconcile(node, &wishes, found, |_| true);
        for cut in &outcome.cut {
            plan.refuse(
                format!("{}/{}", Self::NAME, cut.what),
                format!("keep {} as the settings say", cut.what),
                cut.why.clone(),
                "its data is not touched; `kubectl describe pv` tells who uses it",
            );
        }
        if !facts.made && !outcome.changes.is_empty() {
            plan.step(Self::NAME, Action::Record, "they are to be found again without the settings");
        }
        if facts.made && wishes.is_empty() && outcome.changes.is_empty() && outcome.cut.is_empty() {
            plan.step(Self::NAME, Action::Forget, "neither the settings nor the cluster have any");
        }
        for change in outcome.changes {
            plan.step(Self::NAME, Action::Change(change), "the settings say so");
        }
        plan
    }

    async fn apply(&self, action: &Action, host: &dyn Change, _: &Progress) -> Result<(), PortError> {
        let change = match action {
            Action::Record => return host.write(Path::new(RECORD), b"", 0o600).await,
            Action::Forget => return host.remove(Path::new(RECORD)).await,
            Action::Change(change) => change,
        };
        let (path, sent) = persistent::sent(change);
        let write = match &sent {
            Sent::Create(object) => Write::Create(object),
            Sent::Merge(patch) => Write::Merge(patch),
            Sent::Delete(uid, version) => Write::Delete(uid, Some(version)),
        };
        host.write_object(&self.kubeconfig, &path, write).await
    }
}

impl Persistent {
    async fn found(&self, host: &dyn Inspect, node: &NodeName) -> Result<Found, PortError> {
        let get = |path: String| async move { host.object(&self.kubeconfig, &path).await };
        let mut found = Found::default();
        each(&get, &persistent::managed(), |object| found.volumes.push(read_volume(object))).await?;
        let wishes: Vec<Wish> =
            self.volumes.iter().filter_map(|volume| Wish::of(node.as_str(), volume, None)).collect();
        persistent::gather(found, &wishes, get).await
    }
}
