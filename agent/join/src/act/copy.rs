//! What a machine has of the one of whose disk its own is a copy.

use super::stop;
use crate::Join;
use crate::files::{ENROLLED, PASSWORD};
use crate::machine_key;
use bowline_ports::records::Restart;
use bowline_ports::{Change, PortError};
use std::path::Path;

/// Makes a key in place of the other machine's. What the servers gave was given to that one, as was the name that its node password is
/// bound to.
pub(crate) async fn replace_key(host: &dyn Change) -> Result<(), PortError> {
    host.remove(Path::new(ENROLLED)).await?;
    host.remove(Path::new(PASSWORD)).await?;
    machine_key::make(host).await.map(drop)
}

/// Stops a K3s that runs as the other machine. `cluster` starts it when this one has been let in, by its own name; it gets a password
/// of its own as well.
pub(crate) async fn stop_copy(spec: &Join, host: &dyn Change, name: &str) -> Result<(), PortError> {
    let restart = Restart { start: true, ..Restart::of(format!("it ran as {name}, which is another machine")) };
    // Whatever of this the disk does not take, K3s stops.
    let noted = restart.put_on_record(host).await;
    let removed = host.remove(Path::new(PASSWORD)).await;
    stop(spec, host).await.and(noted).and(removed)
}
