//! Bowline's own file among K3s's configuration.
//!
//! Every value is written as JSON, which is YAML: no quoting rules to get wrong. One key a line, so that two texts
//! can be compared by key.

use crate::MARK;
use bowline_settings::{Cluster, ConfigScalar, ConfigValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The configuration for this node. `address` is always the private one: K3s advertises the external address
/// otherwise, and then the external address goes into the certificate by `tls-san` only.
pub fn config_text(spec: &Cluster, name: &str, address: &str, interface: &str, external: Option<&str>) -> String {
    let mut keys: BTreeMap<String, Value> =
        spec.config.iter().map(|(key, value)| (key.clone(), to_json(value))).collect();
    keys.insert("node-name".into(), json!(name));
    keys.insert("node-ip".into(), json!(address));
    keys.insert("advertise-address".into(), json!(address));
    let flannel = keys.get("flannel-backend").and_then(Value::as_str).unwrap_or("vxlan");
    if flannel != "none" {
        keys.insert("flannel-iface".into(), json!(interface));
    }
    if let Some(external) = external {
        keys.insert("node-external-ip".into(), json!(external));
        add_san(&mut keys, external);
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

fn lines(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            (key.trim().trim_matches('"').to_string(), value.trim().to_string())
        })
        .collect()
}
