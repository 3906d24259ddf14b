//! The cluster key of a server, for the issuer and for the commands that need it; and the key of nobody.

use bowline_enroll::key::{ClusterKeys, PublicKey};
use bowline_join::machine_key;
use bowline_ports::text::shell;
use bowline_ports::{Change, ErrorKind, Inspect, PortError};
use bowline_settings::{Settings, TicketSource};
use std::path::{Path, PathBuf};

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
            .hint(format!("`chmod 600 {}`; if others may have read it, change the key", shell(path))));
    }
    let invalid = |why: String| PortError::new(ErrorKind::Invalid, format!("{shown}: {why}"));
    ClusterKeys::parse(&file.text()).map_err(invalid)
}

/// What of the cluster's secrets systemd brings when it starts Bowline: changed since, it is here as it was.
pub(crate) fn credentials(settings: &Settings) -> Vec<&Path> {
    let join = settings.cluster.iter().map(|cluster| &cluster.join);
    let files = join.flat_map(|join| {
        let ticket = match &join.ticket {
            Some(TicketSource::File(path)) => Some(path),
            _ => None,
        };
        join.key_file.iter().chain(ticket)
    });
    files.map(PathBuf::as_path).filter(|file| file.starts_with("/run/credentials")).collect()
}

/// A machine key that nobody has: its private half is forgotten here.
pub(crate) async fn nobody(host: &dyn Change) -> Result<PublicKey, PortError> {
    Ok(machine_key::random(host).await?.public())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_settings::SourceFile;

    #[test]
    fn secrets_that_systemd_brings() {
        for (line, known) in [
            (
                "ticket-file = \"/run/credentials/bowline.service/ticket\"",
                vec!["/run/credentials/bowline.service/ticket"],
            ),
            ("ticket-file = \"/etc/bowline/ticket\"", vec![]),
        ] {
            let text =
                format!("[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.10\"]\n{line}\n");
            let file = SourceFile { path: "/etc/bowline/config.d/10.toml".into(), text, mode: 0o600, uid: 0 };
            let settings = bowline_settings::load(&[file]).unwrap().settings;
            assert_eq!(credentials(&settings), known.iter().map(Path::new).collect::<Vec<_>>());
        }
        assert!(credentials(&Settings::default()).is_empty());
    }
}
