//! What is read before the plan is made.

use crate::Join;
use crate::files::{
    ANSWERED, AnsweredBy, ENROLLED, ENROLLED_WITH_DATA, Enrolled, HELD, KUBELET_CERTIFICATE, LAST_TRY, LEAVING, Last,
    Left, NODE_SAID, Odd, PASSWORD, SERVERS_CLOCK, Said, TOKEN, Told, gave_way, held, is_member, leaving,
};
use crate::machine_key;
use bowline_enroll::NodeName;
use bowline_enroll::key::{ClusterKeys, Ticket};
use bowline_ports::text::shell;
use bowline_ports::{
    ActiveState, ErrorKind, File, Inspect, K3S_CONFIG, K3S_ETCD_TOMBSTONE, K3S_NODE_SEEN, K3S_RESTART, MARK,
    NodeObject, PortError, UNITS, configured, is_copy, k3s_kubeconfig, node_name, read_json,
};
use bowline_settings::{Role, TicketSource};
use sha2::{Digest, Sha256};
use std::path::Path;

/// How the machine key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// There is none yet.
    Absent,
    /// There is a file, and it is no key.
    Broken(String),
    /// It is that of the machine of whose disk this one's is a copy.
    Anothers,
    /// It is there, and not noted that it is this machine's.
    Unnoted,
    /// It is there.
    There,
}

/// Why there is no ticket, or on a server no cluster key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoTicket {
    /// Its file is not there: somebody may still bring it.
    pub missing: bool,
    /// Why.
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The machine key.
    pub key: Key,
    /// A hash of the ticket that tells nothing about it, or why there is no ticket.
    pub ticket: Result<String, NoTicket>,
    /// K3s's node password is there.
    pub password: bool,
    /// What the servers said when they let this machine in.
    pub enrolled: Option<Enrolled>,
    /// What they said to the machine that had a server's data before; or why that cannot be read.
    pub with_data: Option<Result<Enrolled, String>>,
    /// The token file is there.
    pub token: bool,
    /// The hash of the authority that the token is for, where it has one.
    pub token_ca: Option<String>,
    /// What came of the last try.
    pub last: Option<Last>,
    /// What the servers said of labels and taints.
    pub said: Option<Said>,
    /// How many seconds this machine's clock is ahead of the servers', as far as they told.
    pub ahead: i64,
    /// Who told, `ADDRESS:PORT`.
    pub told_by: String,
    /// After how many seconds they are asked again for the time.
    pub ask_time: u64,
    /// Servers whose clock is neither that one's nor this machine's.
    pub odd: Vec<Odd>,
    /// A time service says that this machine's clock is synchronised.
    pub synchronised: bool,
    /// Seconds since boot when a server last let it in, or heard that it is at it; `None`: not since the boot.
    pub heard: Option<u64>,
    /// K3s has come in before: an agent's kubelet has a certificate, a server has etcd's data, and is a member still.
    pub joined: bool,
    /// A server of the cluster has answered since this one was let in last, or ever.
    pub answered: Option<AnsweredBy>,
    /// Bowline stopped K3s because another machine has the name.
    pub gave_way: bool,
    /// It was told to leave.
    pub leaving: Option<Left>,
    /// Another machine was, of whose disk this one's is a copy.
    pub other_left: bool,
    /// Nothing starts K3s as long as it was.
    pub held: bool,
    /// When K3s noticed that this server's member was taken out of etcd, in nanoseconds since 1970; `None`: it was not, or K3s has
    /// begun to join anew.
    pub removed: Option<i64>,
    /// It is to be restarted, by `cluster`: it may join anew.
    pub owed: bool,
    /// K3s is configured to found a cluster.
    pub founding: bool,
    /// K3s does not run.
    pub down: bool,
    /// K3s has said that it is up.
    pub up: bool,
    /// It is started at every boot, and was not yet in this one.
    pub comes_yet: bool,
    /// It is started at every boot, as Bowline has it once it starts it itself.
    pub enabled: bool,
    /// This machine's Node was seen.
    pub was_up: bool,
    /// It is somebody else's: the scripts of K3s's installer are there.
    pub foreign: bool,
    /// As which Node an agent's K3s runs on a copy of another machine's disk.
    pub copy_of: Option<String>,
    /// It is on its way down: to tell it again would tell it for ever.
    pub stopping: bool,
    /// This Node, by the kubelet's own credentials, on a server by the administrator's.
    pub node: Option<NodeObject>,
    /// What this machine's Node is called.
    pub name: String,
    /// Seconds since 1970.
    pub unix: i64,
    /// Seconds since boot.
    pub uptime: u64,
}

impl Facts {
    /// Whether this server knows of a cluster that it belongs to.
    pub(crate) fn has_cluster(&self, spec: &Join) -> bool {
        self.gave_way || self.removed.is_some() || self.answered_by(spec).is_some()
    }

    /// Who of the cluster in the settings has answered this one, which may found.
    pub(crate) fn answered_by(&self, spec: &Join) -> Option<&AnsweredBy> {
        self.answered.as_ref().filter(|answered| spec.spec.init.is_some() && answered.is_about(&spec.asked()))
    }
}

pub(crate) async fn observe(spec: &Join, host: &dyn Inspect) -> Result<Facts, PortError> {
    let clock = host.clock().await?;
    let name = node_name(host, spec.name.as_deref()).await?;
    let key = machine_key::standing(host).await?;
    let enrolled = match (spec.role, &key) {
        // It was given to the other machine. A server's own is that of the member whose data it has.
        (Role::Agent, Key::Anothers) => None,
        _ => read_json(host, ENROLLED).await?,
    };
    let leaving = leaving(host).await?;
    let ticket = read_ticket(spec, host, &name).await?.map(|ticket| fingerprint(&ticket));
    let there = |path: &'static str| async move { Ok::<_, PortError>(host.meta(Path::new(path)).await?.is_some()) };
    let removed = removed(host).await?;
    let gave_way = gave_way(host).await?.is_some();
    let joined = match spec.role {
        Role::Agent => there(KUBELET_CERTIFICATE).await?,
        Role::Server => is_member(host).await?,
    };
    let kubeconfig = k3s_kubeconfig(spec.role == Role::Server);
    let unit = host.unit(spec.role.service()).await?;
    let node = match host.meta(&kubeconfig).await? {
        // Who founded the cluster asks the servers for nothing.
        Some(_) if joined && !spec.founds() && unit.active == ActiveState::Active => {
            match host.node(&kubeconfig, &name).await {
                Ok(node) => node,
                Err(error) if error.kind == ErrorKind::Denied => None,
                Err(error) if matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Timeout) => None,
                Err(error) => return Err(error),
            }
        }
        _ => None,
    };
    let told: Option<Told> = read_json(host, SERVERS_CLOCK).await?;
    Ok(Facts {
        key,
        ticket,
        password: there(PASSWORD).await?,
        enrolled,
        with_data: match spec.role {
            Role::Server => host.read(Path::new(ENROLLED_WITH_DATA)).await?.map(|file| parsed(&file)),
            Role::Agent => None,
        },
        token: there(TOKEN).await?,
        token_ca: token_ca(host).await?,
        last: read_json(host, LAST_TRY).await?,
        said: read_json(host, NODE_SAID).await?,
        ahead: told.as_ref().map_or(0, |told| told.ahead(&clock)),
        heard: told.as_ref().map(|told| told.uptime),
        told_by: told.as_ref().map(|told| told.by.clone()).unwrap_or_default(),
        ask_time: told.as_ref().map_or(0, |told| told.again),
        odd: told.map(|told| told.odd).unwrap_or_default(),
        synchronised: clock.synchronised,
        joined,
        answered: host.read(Path::new(ANSWERED)).await?.map(|file| answered(&file)),
        gave_way,
        other_left: leaving.is_none() && there(LEAVING).await?,
        leaving,
        held: host.read(Path::new(&held(spec.role.service()))).await?.is_some_and(|file| file.text() == HELD),
        removed,
        owed: there(K3S_RESTART).await?,
        founding: spec.spec.init.is_some() && founding(host).await?,
        down: unit.active.is_down(),
        up: matches!(unit.active, ActiveState::Active | ActiveState::Reloading),
        comes_yet: unit.began == 0 && unit.file_state == "enabled",
        enabled: unit.file_state == "enabled",
        was_up: there(K3S_NODE_SEEN).await?,
        foreign: match host.read(&Path::new(UNITS).join(spec.role.service())).await? {
            Some(file) => !file.text().starts_with(MARK),
            None => false,
        },
        copy_of: match spec.role {
            Role::Agent if is_copy(host).await? => configured(host, "node-name").await?,
            _ => None,
        },
        stopping: unit.active == ActiveState::Deactivating,
        node,
        name: name.clone(),
        unix: clock.unix,
        uptime: clock.uptime,
    })
}

/// When K3s noticed that this server was taken out of etcd: it leaves an empty file, which it removes when it joins anew.
pub(crate) async fn removed(host: &dyn Inspect) -> Result<Option<i64>, PortError> {
    Ok(host.read(Path::new(K3S_ETCD_TOMBSTONE)).await?.map(|file| file.modified))
}

/// The hash in the token that K3s comes in with (`K10HASH::user:password`).
async fn token_ca(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    let file = match host.read(Path::new(TOKEN)).await {
        // Root's alone.
        Err(error) if error.kind == ErrorKind::Denied => return Ok(None),
        file => file?,
    };
    let text = file.map(|file| file.text()).unwrap_or_default();
    Ok(text.strip_prefix("K10").and_then(|rest| Some(rest.split_once("::")?.0.to_owned())))
}

/// Whether Bowline's configuration of K3s is that of a server that begins a cluster.
async fn founding(host: &dyn Inspect) -> Result<bool, PortError> {
    match host.read(Path::new(K3S_CONFIG)).await {
        // Root's alone.
        Err(error) if error.kind == ErrorKind::Denied => Ok(false),
        file => Ok(file?.is_some_and(|file| file.text().lines().any(|line| line.starts_with("\"cluster-init\":")))),
    }
}

/// That the file is there is what counts, where it cannot be read.
pub(crate) fn answered(file: &File) -> AnsweredBy {
    serde_json::from_slice(&file.content).unwrap_or_default()
}

fn parsed(file: &File) -> Result<Enrolled, String> {
    serde_json::from_slice(&file.content).map_err(|error| error.to_string())
}

/// The ticket of this name: from the settings, from a file, or from the cluster key of a server. The inner error is
/// why there is none, and what to do.
///
/// # Errors
/// A machine that cannot be read.
pub async fn read_ticket(spec: &Join, host: &dyn Inspect, name: &str) -> Result<Result<Ticket, NoTicket>, PortError> {
    let wrong = |why: String, hint: &str| NoTicket { missing: false, why, hint: hint.into() };
    let path = match (&spec.spec.ticket, &spec.spec.key_file) {
        (Some(TicketSource::Inline(text)), _) => {
            return Ok(
                Ticket::parse(text.expose()).map_err(|why| wrong(format!("`cluster.ticket`: {why}"), TICKET_HINT))
            );
        }
        (Some(TicketSource::File(path)), _) | (None, Some(path)) => path,
        (None, None) => {
            let hint = "set `cluster.ticket`, or on a server `cluster.key-file`";
            return Ok(Err(wrong("there is no ticket in the settings".into(), hint)));
        }
    };
    let server = spec.role == Role::Server;
    let shown = path.display();
    let Some(meta) = host.meta(path).await? else {
        let what = if server { "the cluster key" } else { "the ticket" };
        let hint = format!("bring {what} there, with mode 0600; {}", if server { KEY_HINT } else { TICKET_HINT });
        return Ok(Err(NoTicket { missing: true, why: format!("{shown} is not there"), hint }));
    };
    if meta.mode & 0o077 != 0 {
        let why = format!("{shown} has mode {:04o}: others than root can read it", meta.mode & 0o7777);
        let what = if server { "let in anybody: then change the key" } else { "come in by this name" };
        return Ok(Err(wrong(why, &format!("`chmod 600 {}`; whoever has read it can {what}", shell(path)))));
    }
    let text = host.read(path).await?.map(|file| file.text()).unwrap_or_default();
    if server {
        let keys = ClusterKeys::parse(&text).map_err(|why| wrong(format!("{shown}: {why}"), KEY_HINT));
        return Ok(keys.and_then(|keys| {
            let name = NodeName::new(name).map_err(|why| wrong(format!("{name}: {why}"), "set `node.name`"))?;
            keys.ticket(Role::Server, &name).ok_or_else(|| wrong(format!("{shown} has no key"), KEY_HINT))
        }));
    }
    Ok(Ticket::parse(&text).map_err(|why| wrong(format!("{shown}: {why}"), TICKET_HINT)))
}

const TICKET_HINT: &str = "`bowline ticket` on a server prints it";
const KEY_HINT: &str = "the same key on every server: `openssl rand -hex 32` makes one";

/// A name for a ticket, to see that it changed.
pub(crate) fn fingerprint(ticket: &Ticket) -> String {
    let digest = Sha256::digest(format!("bowline-ticket-fingerprint:{}", ticket.expose()));
    hex::encode(digest).chars().take(16).collect()
}
