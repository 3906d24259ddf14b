//! What is read before the plan is made.

use crate::release::{self, STAGED, pinned};
use crate::{BINARY, CONFIG_FILE, Cluster, NODE_SEEN, unit_file};
use bowline_ports::records::{Moment, Restart};
use bowline_ports::{
    ActiveState, Arch, ErrorKind, Inspect, Job, K3S_ETCD_DATA, K3S_ETCD_TOMBSTONE, Listener, MARK, NodeObject,
    PortError, Ready, Unit, is_copy, k3s_kubeconfig, name_is_recorded, node_name,
};
use bowline_settings::{ConfigScalar, ConfigValue, K3sVersion, Role};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

mod hide_secrets;
mod named;

/// How systemd calls it that a command of `ExecCondition` said no.
const HELD_OUT: &str = "exec-condition";

/// A verified download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Its version.
    pub version: String,
    /// Whether it has the sum that the settings pin by now, where they pin one.
    pub fits: bool,
    /// What it says of itself; asked only where it may be installed.
    pub says: Option<String>,
    /// Why it does not say that.
    pub broken: Option<String>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The processor.
    pub arch: Arch,
    /// What the installed binary says of itself.
    pub installed: Option<String>,
    /// Why what lies in its place does not say its version.
    pub broken: Option<String>,
    /// K3s has been started on this machine.
    pub ran: bool,
    /// SHA-256 of the installed binary; read only where the settings pin one.
    pub installed_sha256: Option<String>,
    /// Verified downloads that wait to be installed.
    pub staged: Vec<Staged>,
    /// The download under way or ended.
    pub job: Option<Job>,
    /// Which of the links are missing.
    pub missing_links: Vec<PathBuf>,
    /// The service.
    pub unit: Unit,
    /// The text of its unit file.
    pub unit_file: Option<String>,
    /// K3s is installed on this machine in the other role; the text of its unit file there.
    pub other_role: Option<String>,
    /// The service of a K3s under a name of its own; looked for only where there is none under the usual one.
    pub named: Option<String>,
    /// Bowline's configuration file.
    pub config: Option<String>,
    /// A restart that is owed.
    pub restart: Option<Restart>,
    /// K3s was started since the configuration of that was written.
    pub restarted: bool,
    /// The last lines of K3s, read only while it does not stay up; no secret is in them.
    pub last_lines: Vec<String>,
    /// Who listens on the API's port while K3s is down.
    pub listener: Option<Listener>,
    /// This Node, once the API answers.
    pub node: Option<NodeObject>,
    /// The uid of the Node that was there.
    pub node_seen: Option<String>,
    /// Its name is on record, as that of this machine.
    pub name_recorded: bool,
    /// A server's data are in embedded etcd.
    pub etcd: bool,
    /// A server's member was taken out of etcd, and K3s waits to be started again.
    pub removed: bool,
    /// Why the API does not answer.
    pub api_error: Option<String>,
}

impl Facts {
    /// Whether somebody else installed the K3s that is here.
    pub fn foreign(&self) -> bool {
        self.unit_file.as_ref().is_some_and(|text| !text.starts_with(MARK))
    }

    /// Whether a command that is its gate said no: it was taken out of etcd, or a volume is not mounted. systemd before 251 asks again
    /// and again.
    pub(crate) fn held_out(&self) -> bool {
        let again = self.unit.sub == "auto-restart";
        self.unit.result == HELD_OUT && (again || self.unit.active == ActiveState::Inactive)
    }

    /// Whether K3s does not run, and nothing but its gate starts it.
    pub(crate) fn down(&self) -> bool {
        self.held_out() || self.unit.active.is_down()
    }
}

/// The port of the API server: K3s's own, unless its options say another.
pub fn api_port(spec: &bowline_settings::Cluster) -> u16 {
    let said = match spec.config.get("https-listen-port") {
        Some(ConfigValue::One(ConfigScalar::Integer(port))) => u16::try_from(*port).ok(),
        Some(ConfigValue::One(ConfigScalar::Text(port))) => port.parse().ok(),
        _ => None,
    };
    said.unwrap_or(6443)
}

pub(crate) async fn observe(spec: &Cluster, host: &dyn Inspect) -> Result<Facts, PortError> {
    let arch = host.arch();
    let role = spec.spec.role;
    let unit = host.unit(role.service()).await?;
    let down = unit.active.is_down() || unit.sub == "auto-restart";
    // An agent that is not let in stays "activating", and says why; so does a server that etcd does not know.
    let waits = unit.active == ActiveState::Activating;
    let troubled = waits || unit.restarts > 0 || unit.sub == "auto-restart" || unit.active == ActiveState::Failed;
    // By their names: until the binary is there they lead nowhere, and would count as absent.
    let commands = host.list(Path::new("/usr/local/bin")).await?.unwrap_or_default();
    let (installed, broken) = asked(host, Path::new(BINARY)).await?;
    let mut staged = Vec::new();
    // Beside them lies the part of one that is under way.
    let is_version = |text: &&str| text.parse::<K3sVersion>().is_ok();
    for version in commands.iter().filter_map(|name| name.strip_prefix(STAGED)).filter(is_version) {
        let pin = pinned(&spec.spec, arch);
        let fits = pin.is_none() || host.sha256(&release::staged(version)).await? == pin;
        let to_install = fits && installed.is_none() && broken.is_none();
        let (says, broken) = if to_install { asked(host, &release::staged(version)).await? } else { (None, None) };
        staged.push(Staged { version: version.to_owned(), fits, says, broken });
    }
    let mut missing_links = Vec::new();
    for name in ["kubectl", "crictl", "ctr"].into_iter().filter(|name| !commands.iter().any(|there| there == name)) {
        // Folders of a thousand names are not listed at each look.
        let of_debian = host.meta(&Path::new("/usr/bin").join(name)).await?.is_some()
            || host.meta(&Path::new("/bin").join(name)).await?.is_some();
        if !of_debian {
            missing_links.push(Path::new("/usr/local/bin").join(name));
        }
    }
    let config = host.read(Path::new(CONFIG_FILE)).await?.map(|f| f.text());
    let other_role = match host.unit(other(role).service()).await?.load.as_str() {
        "loaded" => Some(host.read(&unit_file(other(role))).await?.map(|f| f.text()).unwrap_or_default()),
        _ => None,
    };
    let unit_file = host.read(&unit_file(role)).await?.map(|f| f.text());
    let named = if unit_file.is_none() { named::named(host).await? } else { None };
    let restart = Restart::on_record(host).await?;
    let restarted = match &restart {
        Some(owed) => owed.is_read(unit.began, &Moment::now(host).await?),
        None => false,
    };
    let (node, api_error) = if down { (None, None) } else { node(spec, host).await? };
    Ok(Facts {
        arch,
        installed,
        broken,
        // An agent that was never let in has none: it has nothing that could be upgraded.
        ran: unit.started || host.meta(&k3s_kubeconfig(role == Role::Server)).await?.is_some(),
        installed_sha256: match pinned(&spec.spec, arch) {
            Some(_) => host.sha256(Path::new(BINARY)).await?,
            None => None,
        },
        staged,
        job: host.job("fetch-k3s").await?,
        missing_links,
        unit_file,
        other_role,
        named,
        config,
        restart,
        restarted,
        last_lines: if troubled { last_lines(spec, host).await? } else { Vec::new() },
        listener: if down && role == Role::Server { host.listener(api_port(&spec.spec)).await? } else { None },
        unit,
        node,
        // On a copy of another machine's disk it is that of the other one's Node.
        node_seen: match is_copy(host).await? {
            false => host.read(Path::new(NODE_SEEN)).await?.map(|file| file.text().trim().to_owned()),
            true => None,
        },
        name_recorded: name_is_recorded(host).await?,
        etcd: role == Role::Server && host.meta(Path::new(K3S_ETCD_DATA)).await?.is_some(),
        removed: role == Role::Server && host.meta(Path::new(K3S_ETCD_TOMBSTONE)).await?.is_some(),
        api_error,
    })
}

/// They go into a file that everybody can read.
async fn last_lines(spec: &Cluster, host: &dyn Inspect) -> Result<Vec<String>, PortError> {
    let token = match &spec.token {
        Some(path) => host.read(path).await?.map(|file| file.text()),
        None => None,
    };
    let lines = host.journal_tail(spec.spec.role.service(), 40).await.unwrap_or_default();
    Ok(hide_secrets::hide(lines, &hide_secrets::secrets(&spec.spec, token.as_deref())))
}

/// What a binary says of itself, or why it says nothing. That one does not run hides nothing of the K3s that does.
async fn asked(host: &dyn Inspect, binary: &Path) -> Result<(Option<String>, Option<String>), PortError> {
    match host.k3s_version(binary).await {
        Ok(version) => Ok((version, None)),
        // A slow disk says nothing of what is on it.
        Err(error) if error.kind == ErrorKind::Timeout => Err(error),
        Err(error) => Ok((None, Some(error.message))),
    }
}

async fn node(spec: &Cluster, host: &dyn Inspect) -> Result<(Option<NodeObject>, Option<String>), PortError> {
    let kubeconfig = k3s_kubeconfig(spec.spec.role == Role::Server);
    if host.meta(&kubeconfig).await?.is_none() {
        return Ok((None, None));
    }
    let name = node_name(host, spec.name.as_deref()).await?;
    match host.node(&kubeconfig, &name).await {
        Ok(node) => Ok((node, None)),
        Err(PortError { kind: ErrorKind::Unreachable | ErrorKind::Timeout, message, .. }) => Ok((None, Some(message))),
        Err(error) => Ok((None, Some(error.message))),
    }
}

/// A word that changes when others have changed something of the Node, for whoever reads it seldom.
pub(crate) fn seen(node: &NodeObject) -> String {
    let NodeObject { uid, labels, managers, taints, own_taints, unschedulable, cordoned, ready, .. } = node;
    let mut hasher = DefaultHasher::new();
    (uid, labels, managers, taints, own_taints, unschedulable, cordoned, *ready == Ready::True).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

pub(crate) fn other(role: Role) -> Role {
    match role {
        Role::Server => Role::Agent,
        Role::Agent => Role::Server,
    }
}
