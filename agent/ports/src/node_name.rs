//! What this machine's Node is called: the same for all who speak of it.

use crate::{Change, ErrorKind, Inspect, K3S_CONFIG, PortError, is_anothers, k3s_kubeconfig, machine_id, machine_note};
use std::path::Path;

/// The name under which this machine's Node was seen last, and in the lines after it whose machine that was ([`machine_note`]). Empty
/// once it has left.
pub const NODE_NAME: &str = "/var/lib/bowline/node-name";
/// A kubelet makes it. K3s's own data may be on a volume that is not there yet, or somewhere else.
pub const KUBELET_PODS: &str = "/var/lib/kubelet/pods";

/// The name of this machine's Node: that of the settings (`[node] name`), else the one under which it was seen, else the
/// host's. A host that is renamed goes on as the Node that it is: another name would be another Node, without the first
/// one's volumes.
///
/// # Errors
/// It cannot be read.
pub async fn node_name(host: &dyn Inspect, settings: Option<&str>) -> Result<String, PortError> {
    match settings {
        Some(name) => Ok(name.to_owned()),
        None => match seen_name(host).await? {
            Some(name) => Ok(name),
            None => Ok(host.host_name().await?.to_lowercase()),
        },
    }
}

/// The name under which the Node of this very machine was seen; where nothing is on record, as after a purge of the package,
/// the one with which K3s has run. `None` before, and once it has left its cluster.
///
/// # Errors
/// It cannot be read.
pub async fn seen_name(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    match host.read(Path::new(NODE_NAME)).await? {
        Some(file) => {
            let text = file.text();
            let (name, same) = recorded(host, &text).await?;
            Ok(Some(name.to_owned()).filter(|name| same && !name.is_empty()))
        }
        None => match ran(host).await? {
            true => configured(host, "node-name").await,
            false => Ok(None),
        },
    }
}

/// Whether it is on record how this machine's Node is called, or that it has none any more. The record of another machine, as
/// after a restore from its backup, is none.
///
/// # Errors
/// It cannot be read.
pub async fn name_is_recorded(host: &dyn Inspect) -> Result<bool, PortError> {
    let Some(file) = host.read(Path::new(NODE_NAME)).await? else { return Ok(false) };
    let text = file.text();
    let (name, same) = recorded(host, &text).await?;
    Ok(same || name.is_empty())
}

/// The name on record, and whether it is of this machine: one that was made from the disk of another has a name of its own.
async fn recorded<'a>(host: &dyn Inspect, text: &'a str) -> Result<(&'a str, bool), PortError> {
    let (name, machine) = text.split_once('\n').unwrap_or((text, ""));
    let said = machine_id(host).await?.is_some();
    // Where only the one or the other was told, it may be another machine, with a name of its own.
    Ok((name, said != machine.trim().is_empty() && !is_anothers(host, machine).await?))
}

/// Whether the Node on record is that of another machine: the disk of this one is a copy of its disk.
///
/// # Errors
/// It cannot be read.
pub async fn is_copy(host: &dyn Inspect) -> Result<bool, PortError> {
    let Some(file) = host.read(Path::new(NODE_NAME)).await? else { return Ok(false) };
    let text = file.text();
    let (name, machine) = text.split_once('\n').unwrap_or((&text, ""));
    Ok(!name.is_empty() && is_anothers(host, machine).await?)
}

/// Whether K3s has run here, in either role.
async fn ran(host: &dyn Inspect) -> Result<bool, PortError> {
    for server in [true, false] {
        if host.meta(&k3s_kubeconfig(server)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(host.meta(Path::new(KUBELET_PODS)).await?.is_some())
}

/// The value of a key in Bowline's configuration of K3s.
///
/// # Errors
/// It cannot be read.
pub async fn configured(host: &dyn Inspect, key: &str) -> Result<Option<String>, PortError> {
    let file = match host.read(Path::new(K3S_CONFIG)).await {
        // Root's alone: who cannot read it is told of another name or address at worst.
        Err(error) if error.kind == ErrorKind::Denied => None,
        file => file?,
    };
    let value = |text: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("\"{key}\":")))?;
        Some(value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
    };
    Ok(file.and_then(|file| value(&file.text())))
}

/// Remembers the name of a Node that was seen.
///
/// # Errors
/// It cannot be written.
pub async fn see_name(host: &dyn Change, name: &str) -> Result<(), PortError> {
    let machine = machine_note(host).await?.unwrap_or_default();
    host.write(Path::new(NODE_NAME), format!("{name}\n{machine}\n").as_bytes(), 0o600).await
}

/// Remembers that this machine has no name any more, whatever K3s was configured with: it is free to come in under another one.
///
/// # Errors
/// It cannot be written.
pub async fn forget_name(host: &dyn Change) -> Result<(), PortError> {
    host.write(Path::new(NODE_NAME), b"", 0o600).await
}
