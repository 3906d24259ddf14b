//! What this machine's Node is called: the same for all who speak of it.

use crate::{Inspect, PortError, k3s_admin_kubeconfig, k3s_kubelet_kubeconfig};
use std::path::Path;

/// What Bowline tells K3s, beside what others may tell it.
pub const K3S_CONFIG: &str = "/etc/rancher/k3s/config.yaml.d/50-bowline.yaml";

/// The name of this machine's Node: that of the settings (`[node] name`), else the one that K3s has run under, else the
/// host's. A host that is renamed goes on as the Node that it is: another name would be another Node, without the first
/// one's volumes.
///
/// # Errors
/// It can not be read.
pub async fn node_name(host: &dyn Inspect, settings: Option<&str>) -> Result<String, PortError> {
    match settings {
        Some(name) => Ok(name.to_owned()),
        None => match told_name(host).await? {
            Some(name) => Ok(name),
            None => Ok(host.host_name().await?.to_lowercase()),
        },
    }
}

/// The name that Bowline has told a K3s which has run here since; `None` before its first start, and once the machine has
/// left its cluster.
///
/// # Errors
/// It can not be read.
pub async fn told_name(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    let Some(file) = host.read(Path::new(K3S_CONFIG)).await? else { return Ok(None) };
    for kubeconfig in [k3s_kubelet_kubeconfig(), k3s_admin_kubeconfig()] {
        if host.meta(&kubeconfig).await?.is_some() {
            return Ok(in_config(&file.text()));
        }
    }
    Ok(None)
}

fn in_config(text: &str) -> Option<String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let plain = |word: &str| word.trim().trim_matches(['"', '\'']).to_owned();
    let name = pairs.map(|(key, value)| (plain(key), plain(value))).find(|(key, _)| key == "node-name");
    name.map(|(_, name)| name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::in_config;

    #[test]
    fn the_name_in_a_configuration() {
        let config = "# Written by Bowline\n\"node-ip\": \"10.0.1.10\"\n\"node-name\": \"n1\"\n";
        assert_eq!(in_config(config).as_deref(), Some("n1"));
        assert_eq!(in_config("node-name: n2\n").as_deref(), Some("n2"));
        assert_eq!(in_config("node-name:\n"), None);
        assert_eq!(in_config("node-names: x\n"), None);
    }
}
