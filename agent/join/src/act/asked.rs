//! What is remembered of asking, until it is in.

use super::write;
use crate::Join;
use crate::facts::answered;
use crate::files::{ANSWERED, AnsweredBy, LAST};
use bowline_ports::{Change, PortError};
use std::path::Path;

/// Puts on record who answered, once for these settings.
pub(super) async fn was_answered(spec: &Join, host: &dyn Change, by: &str) -> Result<(), PortError> {
    let now = AnsweredBy { by: by.into(), servers: spec.asked() };
    let before = host.read(Path::new(ANSWERED)).await?.map(|file| answered(&file));
    match before {
        Some(before) if before.servers == now.servers => Ok(()),
        _ => write(host, ANSWERED, &now, 0o600).await,
    }
}

/// Forgets what came of asking.
pub(crate) async fn forget(host: &dyn Change) -> Result<(), PortError> {
    host.remove(Path::new(LAST)).await?;
    host.remove(Path::new(ANSWERED)).await
}
