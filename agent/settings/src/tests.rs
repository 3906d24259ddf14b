//! The shipped examples are in order, and the reference leaves nothing out.

use crate::{Loaded, SourceFile, load};
use std::path::Path;

fn example(name: &str, text: &str) -> Loaded {
    let file = SourceFile { path: name.into(), text: text.to_owned(), mode: 0o644, uid: 0 };
    match load(&[file]) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{errors}"),
    }
}

const REFERENCE: &str = include_str!("../../../config/reference.toml");

#[test]
#[allow(clippy::disallowed_methods, reason = "a test reads the shipped files")]
fn the_examples_are_in_order() {
    let folder = Path::new("../../config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = example(path.file_name().unwrap().to_str().unwrap(), &text);
        assert_eq!(loaded.warnings, [], "{}", path.display());
        seen += 1;
        if path.ends_with("single-node.toml") {
            assert!(text.lines().count() <= 16, "about fifteen lines");
        }
        // The three machines of one cluster know each other.
        if let Some(enroll) = loaded.settings.enroll.filter(|_| path.ends_with("hetzner-control.toml")) {
            for name in ["kafka-0", "worker-0"] {
                assert!(enroll.allow.iter().any(|rule| rule.nodes.matches(name)), "{name}");
            }
        }
    }
    assert!(seen >= 7, "{seen} files");
}

#[test]
fn the_reference_has_every_key() {
    let reference = example("reference.toml", REFERENCE);
    assert_eq!(reference.warnings, []);
    let mut keys: Vec<String> = Vec::new();
    // An agent's own cannot stand beside a server's: they are in its comments.
    let elsewhere = ["sha256", "config", "labels", "allow", "ticket", "ticket-file", "services"];
    for (section, known) in [
        ("cluster", crate::cluster::KEYS.as_slice()),
        ("node", &crate::node::KEYS),
        ("enroll", &crate::enroll::KEYS),
        ("metrics", &crate::metrics::KEYS),
        ("pressure", &crate::pressure::PRESSURE_KEYS),
        ("reclaim.rotated-logs", &crate::reclaim::ROTATED_KEYS),
        ("reclaim.journal", &crate::reclaim::JOURNAL_KEYS),
        ("usage", &crate::pressure::USAGE_KEYS),
        ("directory.\"/var/lib/data\"", &crate::pressure::DIRECTORY_KEYS),
        ("log", &["level"]),
        ("cluster.sha256", &["amd64", "arm64"]),
    ] {
        let leaves = known.iter().filter(|key| !elsewhere.contains(key));
        keys.extend(leaves.map(|key| format!("{section}.{key}")));
    }
    keys.extend(["vendor", "model", "min-size"].map(|key| format!("volume.data.match.{key}")));
    keys.extend(crate::persistent::KEYS.map(|key| format!("volume.data.persistent-volume.{key}")));
    for key in crate::volume::KEYS.iter().filter(|key| !["serial", "match", "persistent-volume"].contains(key)) {
        keys.push(format!("volume.data.{key}"));
    }
    // A table in a table is there by its first key.
    for key in crate::enroll::RULE_KEYS.iter().filter(|key| **key != "grant") {
        keys.push(format!("enroll.allow.kafka.{key}"));
    }
    keys.push("enroll.allow.kafka.grant.role".to_owned());
    assert!(["ticket = ", "ticket-file = ", "services = "].iter().all(|key| REFERENCE.contains(key)));
    keys.push("volume.scratch.serial".to_owned());
    for key in keys {
        assert!(reference.origins.get(&key).is_some(), "{key} is not in it");
    }
}

#[test]
fn what_works_and_is_hardly_meant_is_warned_of() {
    let server =
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\nkey-file = \"/k\"\n";
    let rule = |name: &str, nodes: &str, role: &str, from: &str| {
        format!("[[enroll.allow]]\nname = \"{name}\"\nnodes = \"{nodes}\"\nrole = \"{role}\"\nfrom = \"{from}\"\n")
    };
    let warnings = |text: String| {
        let all = example("x.toml", &text).warnings;
        all.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>()
    };
    let joined = format!("{server}{}", rule("control-2", "control-2", "server", "10.0.1.11"));
    assert_eq!(warnings(joined.clone()), ["no server can join this one: the cluster's data is in sqlite"]);
    assert_eq!(warnings(joined.replace("key-file", "datastore = \"etcd\"\nkey-file")), [""; 0]);
    let (all, kafka) = (rule("all", "*", "agent", "10.0.1.0/24"), rule("kafka", "kafka-*", "agent", "10.0.1.0/24"));
    let never = ["this rule is never reached: the rule \"all\" before it takes the same"];
    assert_eq!(warnings(format!("{server}{all}{kafka}")), never);
    assert_eq!(warnings(format!("{server}{kafka}{all}")), [""; 0]);
}
