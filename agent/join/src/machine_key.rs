//! The key by which the servers tell this machine from another of the same name.

use crate::facts::Key;
use crate::files::{MACHINE_KEY, MACHINE_KEY_OF};
use bowline_enroll::key::MachineKey;
use bowline_ports::{Change, ErrorKind, Inspect, PortError, is_anothers, is_copy, machine_id, machine_note};
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

/// How it stands. On a copy of a machine's disk it is that machine's. Where it is not noted whose it is, as an earlier build left it,
/// it is this one's, unless its Node is another's.
pub(crate) async fn standing(host: &dyn Inspect) -> Result<Key, PortError> {
    let broken = match read(host).await {
        Ok(None) => return Ok(Key::Absent),
        Ok(Some(_)) => None,
        Err(error) if error.kind == ErrorKind::Invalid => Some(error.message),
        Err(error) => return Err(error),
    };
    let noted = host.read(Path::new(MACHINE_KEY_OF)).await?.map(|file| file.text()).unwrap_or_default();
    Ok(match broken {
        _ if is_anothers(host, &noted).await? => Key::Anothers,
        Some(why) => Key::Broken(why),
        None if noted.trim().is_empty() && is_copy(host).await? => Key::Anothers,
        None if noted.trim().is_empty() && machine_id(host).await?.is_some() => Key::Unnoted,
        None => Key::There,
    })
}

/// Notes that it is this machine's, where its firmware tells which one that is.
///
/// # Errors
/// It cannot be written.
pub(crate) async fn note(host: &dyn Change) -> Result<(), PortError> {
    match machine_note(host).await? {
        Some(machine) => host.write(Path::new(MACHINE_KEY_OF), format!("{machine}\n").as_bytes(), 0o600).await,
        None => host.remove(Path::new(MACHINE_KEY_OF)).await,
    }
}

/// Makes it.
///
/// # Errors
/// It cannot be written.
pub async fn make(host: &dyn Change) -> Result<MachineKey, PortError> {
    let key = random(host).await?;
    host.write(Path::new(MACHINE_KEY), key.expose().as_bytes(), 0o600).await?;
    // Not before: cut off in between, it stays another machine's.
    note(host).await?;
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
