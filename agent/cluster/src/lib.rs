//! K3s: downloaded and verified, installed, configured, started without blocking, watched until the Node is Ready.
//!
//! - `facts`: what is read.
//! - `decide`: the plan.
//! - `config`: the text of the configuration file.
//! - `release`: where a version's files are.
//! - `unit`: the text of the service, as K3s's own installer writes it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod config;
mod decide;
mod facts;
mod release;
mod unit;

pub use bowline_ports::records::Restart;
pub use config::{OwnNode, config_text, differing_keys};
pub use decide::BY_HAND;
pub use facts::{Facts, Staged, api_port};
pub use release::{RELEASES, Release};
pub use unit::{caution, remover, unit_file, unit_text};

use bowline_engine::{Capability, Conditions, Plan};
use bowline_ports::records::Moment;
use bowline_ports::{Change, FetchOrder, Inspect, PortError, Progress, node_name, see_name};
use bowline_settings::Cluster as Spec;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where K3s's installer puts the binary.
pub const BINARY: &str = "/usr/local/bin/k3s";
pub use bowline_ports::K3S_CONFIG as CONFIG_FILE;
pub use bowline_ports::K3S_RESTART as RESTART_RECORD;

pub use bowline_ports::K3S_NODE_SEEN as NODE_SEEN;

/// `[cluster]` with what other parts of the settings say about it.
#[derive(Clone)]
pub struct Cluster {
    /// The settings.
    pub spec: Spec,
    /// The node's name, where the settings give one.
    pub name: Option<String>,
    /// An external address is set and has to be known before the first start.
    pub external: bool,
    /// Names of the volumes that gate Kubernetes.
    pub volumes: Vec<String>,
    /// The issuers' ports have to be closed to pods before it starts.
    pub guarded: bool,
    /// It comes into a cluster that is there, with the token in this file.
    pub token: Option<PathBuf>,
}

impl Cluster {
    fn service(&self) -> &'static str {
        self.spec.role.service()
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Download and verify the binary, beside its final place.
    Fetch(FetchOrder),
    /// Remove a download that nobody waits for any more.
    Discard {
        /// The file.
        path: PathBuf,
    },
    /// Put the verified binary in place.
    Install {
        /// The verified download.
        from: PathBuf,
        /// The version.
        version: String,
    },
    /// Link `kubectl`, `crictl` or `ctr` to the binary.
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Write the service.
    WriteUnit {
        /// The unit file.
        path: PathBuf,
    },
    /// Have systemd read its unit files again.
    Reload,
    /// Start at every boot.
    Enable {
        /// The service.
        service: &'static str,
    },
    /// Put on record that K3s has to be restarted.
    RecordRestart(Restart),
    /// Write the configuration.
    Configure {
        /// Its keys: values can be secret.
        keys: Vec<String>,
        /// The text.
        #[serde(skip)]
        text: String,
    },
    /// Start K3s.
    Start,
    /// Restart K3s, then drop the record.
    Restart(Restart),
    /// Drop the record of a restart.
    ForgetRestart,
    /// Put on record that the Node is there.
    SeeNode {
        /// Its uid.
        uid: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(order) => write!(f, "download {}", order.url),
            Self::Discard { path } => write!(f, "remove {}", path.display()),
            Self::Install { version, .. } => write!(f, "install {BINARY} ({version})"),
            Self::Link { path } => write!(f, "link {} to k3s", path.display()),
            Self::WriteUnit { path } => write!(f, "write {}", path.display()),
            Self::Reload => f.write_str("have systemd read its unit files again"),
            Self::Enable { service } => write!(f, "enable {service} for every boot"),
            Self::RecordRestart(_) => f.write_str("put on record that K3s has to be restarted"),
            Self::Configure { keys, .. } => write!(f, "write {CONFIG_FILE} ({})", keys.join(", ")),
            Self::Start => f.write_str("start K3s"),
            Self::ForgetRestart => f.write_str("drop the record of a restart"),
            Self::SeeNode { .. } => f.write_str("put on record that the Node is there"),
            Self::Restart(restart) => write!(f, "restart K3s ({})", restart.reason),
        }
    }
}

/// A K3s that systemd has started again so often does not stay up: a few times are usual while a server joins. systemd counts
/// until somebody starts it, so that one whose fault was mended meanwhile counts as such, too.
const CRASHES: u32 = 10;

impl Capability for Cluster {
    const NAME: &'static str = "cluster";
    // What changes of the service and of the Node is told, or has it looked at every 80 s; files that are edited by hand are not.
    const EVERY: Duration = Duration::from_secs(300);
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        facts::observe(self, host).await
    }

    fn plan(&self, facts: &Facts, now: &Conditions) -> Plan<Action> {
        decide::plan(self, facts, now)
    }

    async fn apply(&self, action: &Action, host: &dyn Change, progress: &Progress) -> Result<(), PortError> {
        match action {
            Action::Fetch(order) => host.fetch(order, progress).await,
            Action::Discard { path } => host.remove(path).await,
            Action::Install { from, .. } => host.rename(from, Path::new(BINARY), 0o755).await,
            Action::Link { path } => host.link(Path::new("k3s"), path).await,
            Action::WriteUnit { path } => host.write_unit(self.service(), path, &unit_text(self.spec.role)).await,
            Action::Reload => host.reload_units().await,
            Action::Enable { service } => host.enable(service).await,
            Action::RecordRestart(owed) => owed.put_on_record(host).await,
            Action::Configure { text, .. } => {
                host.write(Path::new(CONFIG_FILE), text.as_bytes(), 0o600).await?;
                // Whatever starts K3s from now on, such as a reboot, pays the restart.
                match Restart::on_record(host).await? {
                    Some(owed) => {
                        let owed = Restart { written: Some(Moment::now(host).await?), ..owed };
                        owed.put_on_record(host).await
                    }
                    None => Ok(()),
                }
            }
            Action::Start => host.start_no_block(self.service()).await,
            Action::ForgetRestart => host.remove(Path::new(RESTART_RECORD)).await,
            Action::Restart(_) => {
                host.restart_no_block(self.service()).await?;
                host.remove(Path::new(NODE_SEEN)).await?;
                host.remove(Path::new(RESTART_RECORD)).await
            }
            Action::SeeNode { uid } => {
                see_name(host, &node_name(host, self.name.as_deref()).await?).await?;
                host.write(Path::new(NODE_SEEN), format!("{uid}\n").as_bytes(), 0o600).await
            }
        }
    }
}
