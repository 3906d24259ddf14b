//! What is remembered of asking, until it is in.

use super::stop;
use crate::Join;
use crate::facts::answered;
use crate::files::{ANSWERED, AnsweredBy, ENROLLED, LAST_TRY, gave_way, is_member};
use bowline_ports::records::Restart;
use bowline_ports::{ActiveState, Change, K3S_ETCD_TOMBSTONE, PortError, write_json};
use bowline_settings::Role;
use std::path::Path;

/// Puts on record who answered, once for these settings.
pub(super) async fn was_answered(spec: &Join, host: &dyn Change, by: &str) -> Result<(), PortError> {
    let now = AnsweredBy { by: by.into(), servers: spec.asked() };
    let before = host.read(Path::new(ANSWERED)).await?.map(|file| answered(&file));
    match before {
        Some(before) if before.servers == now.servers => Ok(()),
        _ => write_json(host, ANSWERED, &now, 0o600).await,
    }
}

/// Whether a server that may found has, by the time that somebody answers, or may at any moment: its K3s was started, and is stopped
/// first. Let in now, it would be a server of one cluster with the data of another.
pub(super) async fn has_founded(spec: &Join, host: &dyn Change) -> Result<bool, PortError> {
    let there = |path: &'static str| async move { Ok::<_, PortError>(host.meta(Path::new(path)).await?.is_some()) };
    if spec.role == Role::Agent || spec.spec.init.is_none() || there(ENROLLED).await? {
        return Ok(false);
    }
    let was_in = there(K3S_ETCD_TOMBSTONE).await? || gave_way(host).await?.is_some();
    Ok(!was_in && (is_member(host).await? || !host.unit(spec.role.service()).await?.active.is_down()))
}

/// Forgets what came of asking.
pub(crate) async fn forget(host: &dyn Change) -> Result<(), PortError> {
    host.remove(Path::new(LAST_TRY)).await?;
    host.remove(Path::new(ANSWERED)).await
}

/// Stops a K3s without data of a cluster, so that it can join one: `cluster` starts it when it has been let in.
pub(crate) async fn stop_to_join(spec: &Join, host: &dyn Change) -> Result<(), PortError> {
    let active = host.unit(spec.role.service()).await?.active;
    if is_member(host).await? || matches!(active, ActiveState::Active | ActiveState::Reloading) {
        return Ok(());
    }
    let restart = Restart { start: true, ..Restart::of("another server has answered, whose cluster it joins") };
    restart.put_on_record(host).await?;
    stop(spec, host).await
}
