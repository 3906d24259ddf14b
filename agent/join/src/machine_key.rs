//! The key by which the servers tell this machine from another of the same name.

use crate::files::MACHINE_KEY;
use bowline_enroll::key::MachineKey;
use bowline_ports::{Change, ErrorKind, Inspect, PortError};
use std::path::Path;

/// The one of this machine; `None` where it has none yet.
///
/// # Errors
/// Of kind `Invalid`: the file is there, and is no key.
pub async fn read(host: &dyn Inspect) -> Result<Option<MachineKey>, PortError> {
    let invalid = |why: &str| PortError::new(ErrorKind::Invalid, format!("{MACHINE_KEY}: {why}"));
    let file = host.read(Path::new(MACHINE_KEY)).await?;
    file.map(|file| MachineKey::parse(&file.text()).map_err(invalid)).transpose()
}

/// Makes it.
///
/// # Errors
/// It cannot be written.
pub async fn make(host: &dyn Change) -> Result<MachineKey, PortError> {
    let key = random(host).await?;
    host.write(Path::new(MACHINE_KEY), key.expose().as_bytes(), 0o600).await?;
    Ok(key)
}

/// One that no machine has yet.
///
/// # Errors
/// The machine has no randomness.
pub async fn random(host: &dyn Change) -> Result<MachineKey, PortError> {
    let mut seed = [0; 32];
    host.random(&mut seed).await?;
    Ok(MachineKey::from_seed(&seed))
}
