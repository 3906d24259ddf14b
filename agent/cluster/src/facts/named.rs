//! A K3s that was installed under a name of its own (`INSTALL_K3S_NAME=main`: `k3s-main.service`).

use bowline_ports::{Inspect, PortError, UNITS};
use bowline_settings::Role;
use std::path::Path;

/// Its service, whether it runs or not: its data is in the usual place.
pub(super) async fn named(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    let usual = [Role::Server, Role::Agent].map(Role::service);
    let units = host.texts(Path::new(UNITS), ("k3s-", ".service")).await?;
    let mut named = units.into_iter().filter(|(name, text)| !usual.contains(&name.as_str()) && runs_k3s(text));
    Ok(named.next().map(|(name, _)| name))
}

/// Whether a unit runs a node of K3s, and not one of its tools.
fn runs_k3s(unit: &str) -> bool {
    let lines = unit.replace("\\\n", " ");
    lines.lines().filter_map(|line| line.trim().strip_prefix("ExecStart=")).any(|command| {
        let mut words = command.trim_start_matches(['-', '@', ':', '+', '!']).split_whitespace();
        let program = words.next().and_then(|path| path.rsplit('/').next());
        program == Some("k3s")
            && words.next().is_some_and(|verb| ["server", "agent"].contains(&verb.trim_matches('\'')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_from_tools() {
        let runs = |command: &str| runs_k3s(&format!("[Unit]\n\n[Service]\nType=notify\nExecStart={command}\n"));
        // As K3s's installer writes it.
        assert!(runs("/usr/local/bin/k3s \\\n    server \\\n\t'--cluster-init' \\\n"));
        assert!(runs("/opt/bin/k3s agent"));
        assert!(!runs("/usr/local/bin/k3s-killall.sh"));
        assert!(!runs("/usr/local/bin/k3s etcd-snapshot save"));
        assert!(!runs_k3s("[Service]\n"));
    }
}
