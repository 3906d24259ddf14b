//! The cluster key of a server, for the issuer and for the commands that need it; and the key of nobody.

use bowline_enroll::key::{ClusterKeys, MachineKey, PublicKey};
use bowline_ports::{Change, ErrorKind, Inspect, PortError};
use std::path::Path;

/// Reads a key file. One that others can read is refused: who reads it lets in anybody.
pub(crate) async fn read(host: &dyn Inspect, path: &Path) -> Result<ClusterKeys, PortError> {
    let shown = path.display();
    let missing = || {
        PortError::new(ErrorKind::NotFound, format!("there is no key file {shown}"))
            .hint("the servers have it; `openssl rand -hex 32` makes a new one")
    };
    let file = host.read(path).await?.ok_or_else(missing)?;
    if file.mode & 0o077 != 0 {
        let text = format!("{shown} has mode {:04o}: others can read it, and let in anybody", file.mode);
        return Err(PortError::new(ErrorKind::Invalid, text)
            .hint(format!("`chmod 600 {shown}`; if others may have read it, change the key")));
    }
    let invalid = |why: String| PortError::new(ErrorKind::Invalid, format!("{shown}: {why}"));
    ClusterKeys::parse(&file.text()).map_err(invalid)
}

/// A machine key that nobody has: its private half is forgotten here.
pub(crate) async fn nobody(host: &dyn Change) -> Result<PublicKey, PortError> {
    let mut seed = [0; 32];
    host.random(&mut seed).await?;
    Ok(MachineKey::from_seed(&seed).public())
}
