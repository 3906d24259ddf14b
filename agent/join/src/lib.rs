//! How this machine comes into its cluster: it asks the servers that it knows, and keeps what it is given.
//!
//! Nobody carries a token here. The machine proves its ticket, signs with its own key, and gets a credential for this
//! one name and role; the contract is `enrolment.md` of the project's design. A refusal is a wait with its reason.
//!
//! - `facts`: what is read.
//! - `decide`: the plan.
//! - `act`: the conversations.
//! - `exchange`: proofs and hashes.
//! - [`machine_key`]: the machine's own key.
//! - `why`: why it is not let in.
//! - [`agree`]: the options that all servers have alike.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod act;
pub mod agree;
mod decide;
mod exchange;
mod facts;
pub mod files;
pub mod machine_key;
mod why;

pub use exchange::Exchange;
pub use facts::{Facts, Key, NoTicket, read_ticket};
pub use why::{Unanswered, Why};

use bowline_engine::{Capability, Conditions, Plan};
use bowline_enroll::persistent::Wish;
use bowline_ports::{Change, Inspect, PortError, Progress, condition};
use bowline_settings::{ConfigValue, Join as Spec, Role, Taint, Volume};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// `servers`, the ticket, and what the node would have. Without `servers` a server founds its cluster; it is here to be
/// able to leave it.
pub struct Join {
    /// The settings.
    pub spec: Spec,
    /// As what.
    pub role: Role,
    /// The node's name, where the settings give one.
    pub name: Option<String>,
    /// The program's version, for the servers' records.
    pub version: String,
    /// The release in the settings, if there is one.
    pub kubernetes: Option<String>,
    /// Labels that the node would have and cannot set itself; values may have facts in braces in them.
    pub labels: BTreeMap<String, String>,
    /// Taints that the node would have.
    pub taints: Vec<Taint>,
    /// Names of the volumes that gate Kubernetes: the startup taint stays until they are there, and the data of a server
    /// may be on one.
    pub volumes: Vec<String>,
    /// `[cluster.config]`: on some of it all servers have to agree.
    pub config: BTreeMap<String, ConfigValue>,
    /// Volumes that Kubernetes is told of, on an agent.
    pub persistent: Vec<Volume>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Make the machine key.
    MakeKey,
    /// Make one in place of another machine's, and forget what the servers gave that one.
    ReplaceKey,
    /// Note that the machine key is this machine's.
    NoteKey,
    /// Make K3s's node password.
    MakePassword,
    /// Ask the servers to be let in.
    Enroll {
        /// Under which name.
        name: String,
        /// The node's address.
        address: String,
        /// Whom to ask, in this order.
        issuers: Vec<String>,
        /// The labels that it would have, as far as their facts are known.
        labels: BTreeMap<String, String>,
        /// When it asked last, in seconds since boot: to ask a second later is to do something else, though it is the same question.
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<u64>,
    },
    /// Forget what came of asking.
    Forget,
    /// Ask the servers for what the kubelet may not do itself.
    AskForNode {
        /// Its name.
        name: String,
        /// The node's address, which the servers' rules are for.
        address: String,
        /// Whom to ask.
        issuers: Vec<String>,
        /// The labels that are asked for.
        labels: BTreeMap<String, String>,
        /// What is asked for, as a hash.
        asked: String,
        /// What the Node has of it, as a hash.
        beside: String,
        /// Everything of its own is in place.
        settled: bool,
        /// Persistent volumes of its disks.
        persistent: Vec<Wish>,
        /// For people: what it is about.
        about: String,
    },
    /// Stop K3s, now and at every boot.
    Stop,
    /// Stop a K3s without data of a cluster, so that it can join one.
    StopToJoin,
    /// Stop a K3s that runs as another machine, of whose disk this one's is a copy.
    StopCopy {
        /// As which Node.
        name: String,
    },
    /// Keep K3s from being started, by systemd too.
    Hold,
    /// Forget that another machine was told to leave, of whose disk this one's is a copy.
    ForgetLeft,
    /// Let K3s be started again.
    Release,
    /// Stop K3s, and forget what the servers gave: they do not give this machine its name.
    GiveWay {
        /// What the servers said.
        message: String,
    },
    /// Give the name back, then forget what the servers gave.
    Leave {
        /// The name.
        name: String,
        /// The node's address, which the servers' rules are for.
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// Whom to ask.
        issuers: Vec<String>,
        /// As in [`Action::Enroll`].
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<u64>,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeKey => f.write_str("make the key of this machine"),
            Self::ReplaceKey => f.write_str("make a key of this machine's own"),
            Self::NoteKey => f.write_str("note that the machine key is this machine's"),
            Self::MakePassword => f.write_str("make K3s's node password"),
            Self::Enroll { name, issuers, .. } => write!(f, "ask {} to let {name} in", issuers.join(", ")),
            Self::Forget => f.write_str("forget what came of asking to be let in"),
            Self::AskForNode { about, .. } => write!(f, "ask the servers for {about}"),
            Self::StopToJoin => f.write_str("stop K3s, until it is let in"),
            Self::Stop => f.write_str("stop K3s, now and at every boot"),
            Self::StopCopy { name } => write!(f, "stop K3s, which runs as {name}"),
            Self::Hold => f.write_str("keep K3s from being started again"),
            Self::ForgetLeft => f.write_str("forget that another machine was told to leave"),
            Self::Release => f.write_str("let K3s be started again"),
            Self::GiveWay { message } => write!(f, "stop K3s: {message}"),
            Self::Leave { name, issuers, .. } => {
                write!(f, "ask {} to take {name} out of the cluster", issuers.join(", "))
            }
        }
    }
}

impl Join {
    /// The persistent volumes that a node of this name wishes for; how large their disks are, the volumes tell.
    pub(crate) fn wishes(&self, node: &str, now: &Conditions) -> Vec<Wish> {
        let size = |volume: &Volume| now.get(&condition::volume_size(&volume.name))?.parse().ok();
        self.persistent.iter().filter_map(|volume| Wish::of(node, volume, size(volume))).collect()
    }

    /// The servers that the settings name.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.spec.servers.iter().map(ToString::to_string).collect()
    }

    /// Whether it is a server that has nobody to ask: it founds its cluster, and may leave it later.
    pub(crate) fn founds(&self) -> bool {
        self.spec.servers.is_empty()
    }
}

impl Capability for Join {
    const NAME: &'static str = "join";
    // What the servers keep is theirs to keep; this is for what they were not told.
    const EVERY: Duration = Duration::from_secs(3600);
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        facts::observe(self, host).await
    }

    fn plan(&self, facts: &Facts, now: &Conditions) -> Plan<Action> {
        decide::plan(self, facts, now)
    }

    async fn apply(&self, action: &Action, host: &dyn Change, _: &Progress) -> Result<(), PortError> {
        match action {
            Action::MakeKey => machine_key::make(host).await.map(drop),
            Action::ReplaceKey => act::replace_key(host).await,
            Action::NoteKey => machine_key::note(host).await,
            Action::MakePassword => act::make_password(host).await,
            Action::Enroll { name, address, issuers, labels, .. } => {
                act::enroll(self, host, name, address, issuers, labels).await
            }
            Action::Forget => act::forget(host).await,
            Action::AskForNode { name, address, issuers, labels, asked, beside, settled, persistent, .. } => {
                let about = act::About { address, asked, beside, settled: *settled, labels, persistent };
                act::ask_for_node(self, host, name, issuers, about).await
            }
            Action::StopToJoin => act::stop_to_join(self, host).await,
            Action::Stop => act::stop(self, host).await,
            Action::StopCopy { name } => act::stop_copy(self, host, name).await,
            Action::Hold => act::hold(self, host).await,
            Action::ForgetLeft => host.remove(Path::new(files::LEAVING)).await,
            Action::Release => act::release(self, host).await,
            Action::GiveWay { message } => act::give_way(self, host, message).await,
            Action::Leave { name, address, issuers, .. } => {
                let from = address.as_ref().and_then(|address| address.parse().ok());
                act::leave(self, host, name, issuers, from).await
            }
        }
    }
}
