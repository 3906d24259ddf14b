//! What this machine's Node is called: the same for all who speak of it.

use crate::{Change, ErrorKind, Inspect, PortError};
use std::path::Path;

/// The name under which this machine's Node was seen last, and whose machine that was, each in a line. Until it leaves.
pub const NODE_NAME: &str = "/var/lib/bowline/node-name";
/// What tells one machine from another, also when its disk is copied.
const FIRMWARE: [&str; 2] = ["/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/product_serial"];

/// The name of this machine's Node: that of the settings (`[node] name`), else the one under which it was seen, else the
/// host's. A host that is renamed goes on as the Node that it is: another name would be another Node, without the first
/// one's volumes.
///
/// # Errors
/// It can not be read.
pub async fn node_name(host: &dyn Inspect, settings: Option<&str>) -> Result<String, PortError> {
    match settings {
        Some(name) => Ok(name.to_owned()),
        None => match seen_name(host).await? {
            Some(name) => Ok(name),
            None => Ok(host.host_name().await?.to_lowercase()),
        },
    }
}

/// The name under which the Node of this very machine was seen; `None` before, and once it has left its cluster.
///
/// # Errors
/// It can not be read.
pub async fn seen_name(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    let Some(file) = host.read(Path::new(NODE_NAME)).await? else { return Ok(None) };
    let text = file.text();
    let (name, machine) = text.split_once('\n').unwrap_or((&text, ""));
    // A machine that was made from the disk of another one has a name of its own.
    let same = machine.trim() == machine_id(host).await?.unwrap_or_default();
    Ok(Some(name.to_owned()).filter(|name| same && !name.is_empty()))
}

/// Remembers the name of a Node that was seen.
///
/// # Errors
/// It can not be written.
pub async fn see_name(host: &dyn Change, name: &str) -> Result<(), PortError> {
    let machine = machine_id(host).await?.unwrap_or_default();
    host.write(Path::new(NODE_NAME), format!("{name}\n{machine}\n").as_bytes(), 0o600).await
}

/// What tells this machine from every other one, its clones too: what the firmware calls it, in lower case; `None` where that says
/// nothing.
///
/// # Errors
/// It can not be read.
pub async fn machine_id(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    for path in FIRMWARE {
        let text = match host.read(Path::new(path)).await {
            Ok(file) => file.map(|file| file.text().trim().to_lowercase()),
            // Containers see their host's, and not all of it.
            Err(error) if error.kind == ErrorKind::Denied => None,
            Err(error) => return Err(error),
        };
        if let Some(id) = text.filter(|id| !id.is_empty()) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
