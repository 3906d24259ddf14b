//! Conditions, by which capabilities meet: each has its key in one place, and somebody states it.

use crate::sources::{code, read};

/// Keys that are written where they are asked for or stated.
const BARE: [&str; 9] = [
    "now.get(\"",
    "now.get(&format!",
    "now.is(\"",
    "now.is(&format!",
    "conditions.get(\"",
    "conditions.get(&format!",
    "conditions.contains_key(\"",
    "plan.state(\"",
    "plan.state(format!",
];

#[test]
fn every_condition_has_one_key_and_is_stated() {
    let mut all = String::new();
    for file in code("agent") {
        for (number, line) in file.lines() {
            let bare = BARE.iter().find(|bare| line.contains(**bare));
            assert!(bare.is_none(), "{}:{number}: take the key from bowline_ports::condition", file.path);
            all.push_str(line.trim());
        }
    }
    let text = read("agent/ports/src/condition.rs");
    let (mut keys, mut stated) = (Vec::new(), 0);
    for line in text.lines() {
        let constant = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(": &str = "));
        let function = line.strip_prefix("pub fn ").and_then(|rest| rest.split_once('('));
        let call = match (constant, function) {
            // How others begin.
            (Some((_, key)), _) if key.ends_with("/\";") => continue,
            (Some((name, key)), _) => {
                keys.push(key);
                format!("state(condition::{name},")
            }
            (None, Some((name, _))) => format!("state(condition::{name}("),
            (None, None) => continue,
        };
        assert!(all.contains(&call), "nobody states it: {call}");
        stated += 1;
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() == count && stated > 30, "{stated} conditions, {count} keys, {} of them different", keys.len());
}
