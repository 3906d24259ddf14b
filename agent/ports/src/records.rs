//! The records by which capabilities that never import each other leave each other something: where each is, and what is in it.

use crate::{Change, ErrorKind, Inspect, PortError, boot_id};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The record that K3s has to be restarted ([`Restart`]). `cluster` restarts it, and drops the record.
pub const K3S_RESTART: &str = "/var/lib/bowline/intents/k3s-restart.json";

/// The uid of this machine's Node, when it was seen; until K3s is restarted by Bowline.
pub const K3S_NODE_SEEN: &str = "/var/lib/bowline/k3s-node";

/// That this machine's Node was cordoned for the release of volumes, and that is over: `labels` lets it take pods again. A file for
/// each volume, so that whoever adds or removes one writes over nobody's.
pub const UNCORDON: &str = "/var/lib/bowline/uncordon";

/// Of which volumes it says so.
///
/// # Errors
/// It cannot be read.
pub async fn uncordon(host: &dyn Inspect) -> Result<Vec<String>, PortError> {
    let mut names = host.list(Path::new(UNCORDON)).await?.unwrap_or_default();
    // One that begins with a dot is being written.
    names.retain(|name| !name.starts_with('.'));
    Ok(names)
}

/// What the cluster's servers said when they let this machine in.
pub const ENROLLED: &str = "/var/lib/bowline/enrolled.json";

/// Its copy beside a server's data, which may be on a volume that outlives the machine. K3s's own unit makes it, outside of the
/// sandbox in which Bowline runs.
pub const ENROLLED_WITH_DATA: &str = "/var/lib/rancher/k3s/server/bowline-enrolled.json";

/// A record of Bowline's own. One that makes no sense is as none.
///
/// # Errors
/// It cannot be read.
pub async fn read_json<T: DeserializeOwned>(
    host: &dyn Inspect,
    path: impl AsRef<Path> + Send,
) -> Result<Option<T>, PortError> {
    Ok(host.read(path.as_ref()).await?.and_then(|file| serde_json::from_slice(&file.content).ok()))
}

/// Writes a record, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub async fn write_json(
    host: &dyn Change,
    path: impl AsRef<Path> + Send,
    value: &(impl Serialize + Sync),
    mode: u32,
) -> Result<(), PortError> {
    let path = path.as_ref();
    host.write(path, &json(path, value)?, mode).await
}

/// The text of a record. An empty one would be taken for none.
///
/// # Errors
/// The value has no text.
pub fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, PortError> {
    let unwritten = |error| format!("{} was not written, since it cannot be put as JSON: {error}", path.display());
    serde_json::to_vec_pretty(value).map_err(|error| PortError::new(ErrorKind::Other, unwritten(error)))
}

/// Why K3s has to be restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Why, for people: changed settings, another CA, a cluster that it joins anew.
    pub reason: String,
    /// Bowline stopped it, and wants it up again: it is started where it is down, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
    /// When the configuration was written that it is for: a K3s that was started since has read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Moment>,
}

impl Restart {
    /// One for this reason, of a K3s that runs.
    pub fn of(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), start: false, written: None }
    }

    /// The one on record. One that makes no sense is owed all the same.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn on_record(host: &dyn Inspect) -> Result<Option<Self>, PortError> {
        let file = host.read(Path::new(K3S_RESTART)).await?;
        let unknown = || Self::of("its configuration was changed");
        Ok(file.map(|file| serde_json::from_slice(&file.content).unwrap_or_else(|_| unknown())))
    }

    /// Puts it on record, in the place of one that is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn put_on_record(&self, host: &dyn Change) -> Result<(), PortError> {
        write_json(host, K3S_RESTART, self, 0o600).await
    }

    /// Whether a service that was started then (microseconds since boot) was started after it was written; within the same
    /// second it does not count.
    pub fn is_read(&self, began: u64, now: &Moment) -> bool {
        let after = |written: &Moment| written.boot != now.boot || began / 1_000_000 > written.uptime;
        self.written.as_ref().is_some_and(after)
    }
}

/// A moment that no clock that is set can move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What the kernel calls this boot.
    pub boot: String,
    /// Seconds since, as systemd counts them: without those of a suspended machine.
    pub uptime: u64,
}

impl Moment {
    /// This one.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub async fn now(host: &dyn Inspect) -> Result<Self, PortError> {
        Ok(Self { boot: boot_id(host).await?, uptime: host.clock().await?.awake })
    }
}

#[cfg(test)]
mod tests {
    use super::{Path, Restart, json};
    use std::collections::BTreeMap;

    /// One that was written by the release before is there when this one comes.
    #[test]
    fn the_form_of_a_restart_on_record_stays() {
        let text = r#"{"reason":"it was taken out of etcd, and joins anew","start":true}"#;
        let restart = Restart { start: true, ..Restart::of("it was taken out of etcd, and joins anew") };
        assert_eq!(serde_json::to_string(&restart).unwrap(), text);
        assert_eq!(serde_json::from_str::<Restart>(text).unwrap(), restart);
    }

    #[test]
    fn what_has_no_text_is_an_error_and_no_empty_record() {
        let error = json(Path::new("/r"), &BTreeMap::from([(vec![1], 2)])).unwrap_err();
        assert!(error.message.starts_with("/r was not written"), "{error:?}");
    }
}
