//! Bowline's own file among K3s's configuration.
//!
//! Every value is written as JSON, which is YAML: no quoting rules to get wrong. One key a line, so that two texts
//! can be compared by key.

use bowline_ports::MARK;
use bowline_settings::{Cluster, ConfigScalar, ConfigValue, Datastore, Role, STARTUP_TAINT};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What this node is called and where it is.
pub struct OwnNode<'a> {
    /// The node's name.
    pub name: &'a str,
    /// Its private address, which is always the one that is advertised: K3s advertises the external one otherwise.
    pub address: &'a str,
    /// The interface that has it.
    pub interface: &'a str,
    /// An address of it outside, which goes into the certificate by `tls-san`.
    pub external: Option<&'a str>,
}

/// The configuration for this node. `join` is the token file, and K3s's server whom to join; `told` are options that
/// other servers have and the settings do not mention.
pub fn config_text(
    spec: &Cluster,
    node: &OwnNode<'_>,
    join: Option<(&Path, &str)>,
    told: BTreeMap<String, Value>,
) -> String {
    let OwnNode { name, address, interface, external } = *node;
    let mut keys = told;
    keys.extend(spec.config.iter().map(|(key, value)| (key.clone(), to_json(value))));
    keys.insert("node-name".into(), json!(name));
    keys.insert("node-ip".into(), json!(address));
    let server = spec.role == Role::Server;
    if server {
        keys.insert("advertise-address".into(), json!(address));
    }
    if let Some((token, first)) = join {
        keys.insert("server".into(), json!(first));
        keys.insert("token-file".into(), json!(token));
    } else if server && spec.join.datastore == Datastore::Etcd {
        keys.insert("cluster-init".into(), json!(true));
    }
    if spec.join.startup_taint {
        // At registration only: workloads wait until volumes, roles and labels are in place.
        keys.insert("node-taint+".into(), json!([format!("{STARTUP_TAINT}=:NoSchedule")]));
    }
    let flannel = keys.get("flannel-backend").and_then(Value::as_str).unwrap_or("vxlan");
    if flannel != "none" {
        keys.insert("flannel-iface".into(), json!(interface));
    }
    if let Some(external) = external {
        keys.insert("node-external-ip".into(), json!(external));
        if server {
            add_san(&mut keys, external);
        }
    }
    let mut text = format!("{MARK} from [cluster] and [node]; change the settings, not this file.\n");
    for (key, value) in keys {
        text.push_str(&format!("{}: {value}\n", json!(key)));
    }
    text
}

/// Adds a certificate name to the list that the person gave, or to what other files have.
fn add_san(keys: &mut BTreeMap<String, Value>, name: &str) {
    let key = if keys.contains_key("tls-san") { "tls-san" } else { "tls-san+" };
    let list = match keys.remove(key) {
        None => vec![json!(name)],
        Some(Value::Array(mut list)) => {
            if !list.contains(&json!(name)) {
                list.push(json!(name));
            }
            list
        }
        Some(one) => vec![one, json!(name)],
    };
    keys.insert(key.into(), Value::Array(list));
}

fn to_json(value: &ConfigValue) -> Value {
    match value {
        ConfigValue::One(one) => scalar(one),
        ConfigValue::Many(many) => Value::Array(many.iter().map(scalar).collect()),
    }
}

fn scalar(value: &ConfigScalar) -> Value {
    match value {
        ConfigScalar::Bool(value) => json!(value),
        ConfigScalar::Integer(value) => json!(value),
        ConfigScalar::Text(value) => json!(value),
        ConfigScalar::Secret(value) => json!(value.expose()),
    }
}

/// The keys of a configuration text, in order.
pub(crate) fn keys(text: &str) -> Vec<String> {
    lines(text).into_keys().collect()
}

/// The keys whose lines differ between two configuration texts.
pub fn differing_keys(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (lines(old), lines(new));
    let mut keys: Vec<_> = old.keys().chain(new.keys()).filter(|k| old.get(*k) != new.get(*k)).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The value of a key that is one text.
pub(crate) fn text_of(text: &str, key: &str) -> Option<String> {
    serde_json::from_str(lines(text).get(key)?).ok()
}

fn lines(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            (key.trim().trim_matches('"').to_string(), value.trim().to_string())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K3s refuses `--cluster-reset` while a server to join is set.
    #[test]
    fn the_command_of_a_restore_takes_out_the_server_to_join_and_nothing_else() {
        let (file, command) = ("/etc/rancher/k3s/config.yaml.d/50-bowline.yaml", "sed -i '/^\"server\":/d'");
        assert!(include_str!("../../../CLUSTERS.md").contains(&format!("{command} {file}\n")));
        assert_eq!(file, crate::CONFIG_FILE);
        let text = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\nservers = [\"10.0.1.10\"]\n\
                    key-file = \"/etc/bowline/cluster.key\"\n";
        let path = "/etc/bowline/config.d/10.toml".into();
        let file = bowline_settings::SourceFile { path, text: text.into(), mode: 0o600, uid: 0 };
        let spec = bowline_settings::load(&[file]).unwrap().settings.cluster.unwrap();
        let node = OwnNode { name: "control-2", address: "10.0.1.11", interface: "eth1", external: None };
        let join = Some((Path::new("/etc/rancher/k3s/bowline-token"), "https://10.0.1.10:6443"));
        let whole = config_text(&spec, &node, join, BTreeMap::new());
        let left: String = whole.split_inclusive('\n').filter(|line| !line.starts_with("\"server\":")).collect();
        assert_eq!(differing_keys(&whole, &left), ["server"]);
    }
}
