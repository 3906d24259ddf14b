//! The shipped examples are in order, and the reference leaves nothing out.

use crate::{Loaded, SourceFile, load};

fn example(name: &str, text: &str) -> Loaded {
    let file = SourceFile { path: name.into(), text: text.to_owned(), mode: 0o644, uid: 0 };
    match load(&[file]) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{errors}"),
    }
}

const REFERENCE: &str = include_str!("../../../config/reference.toml");
const SINGLE: &str = include_str!("../../../config/single-node.toml");
const HETZNER: &str = include_str!("../../../config/hetzner-control.toml");

#[test]
fn the_examples_are_in_order() {
    let single = example("single-node.toml", SINGLE);
    assert_eq!(single.warnings, []);
    assert!(SINGLE.lines().count() <= 16, "about fifteen lines");
    let hetzner = example("hetzner-control.toml", HETZNER);
    assert_eq!(hetzner.warnings, []);
    assert_eq!(hetzner.settings.metrics.listen.len(), 2);
}

#[test]
fn the_reference_has_every_key() {
    let reference = example("reference.toml", REFERENCE);
    assert_eq!(reference.warnings, []);
    let mut keys: Vec<String> = Vec::new();
    // An agent's own can not stand beside a server's: they are in its comments.
    let elsewhere = ["sha256", "config", "labels", "allow", "ticket", "ticket-file"];
    for (section, known) in [
        ("cluster", crate::cluster::KEYS.as_slice()),
        ("node", &crate::node::KEYS),
        ("enroll", &crate::enroll::KEYS),
        ("metrics", &crate::metrics::KEYS),
        ("log", &["level"]),
        ("cluster.sha256", &["amd64", "arm64"]),
    ] {
        let leaves = known.iter().filter(|key| !elsewhere.contains(key));
        keys.extend(leaves.map(|key| format!("{section}.{key}")));
    }
    for key in crate::volume::KEYS.iter().filter(|key| **key != "serial") {
        keys.push(format!("volume.data.{key}"));
    }
    // A table in a table is there by its first key.
    for key in crate::enroll::RULE_KEYS.iter().filter(|key| **key != "grant") {
        keys.push(format!("enroll.allow.kafka.{key}"));
    }
    keys.push("enroll.allow.kafka.grant.role".to_owned());
    assert!(["ticket = ", "ticket-file = "].iter().all(|key| REFERENCE.contains(key)));
    keys.push("volume.scratch.serial".to_owned());
    for key in keys {
        assert!(reference.origins.get(&key).is_some(), "{key} is not in it");
    }
}
