//! Law `look_is_not_touch`: `observe` gets `&dyn Inspect`, only `apply` gets `&dyn Change`. The types keep it; here
//! is read that nobody goes round them, and seen that a look leaves no trace.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use crate::sources::{Code, code, crates, read};
use bowline_host::sim::SimHost;
use bowline_laws::{agent, cases, good_case, simulate};
use proptest::prelude::*;

/// Every place that names the writing port, with the function it is in.
fn holders(file: &Code) -> Vec<(usize, String)> {
    let mut function = String::new();
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        if let Some((_, rest)) = line.split_once("fn ") {
            function = rest.split(['(', '<']).next().unwrap_or_default().to_string();
        }
        if line.contains("dyn Change") {
            found.push((number, function.clone()));
        }
    }
    found
}

#[test]
fn look_is_not_touch() {
    let ports = read("agent/ports/src/lib.rs");
    let (inspect, change) = ports.split_once("pub trait Change: Inspect").unwrap();
    assert!(!inspect.contains("&mut self") && !change.contains("&mut self"));
    let capability = read("agent/engine/src/capability.rs");
    assert!(capability.contains("fn observe(&self, host: &dyn Inspect) ->"));
    assert!(!capability.contains("fn observe(&self, host: &dyn Change)"));
}

#[test]
fn only_apply_gets_to_write() {
    let mut seen = 0;
    for name in crates("agent").iter().filter(|name| !["bowline", "host"].contains(&name.as_str())) {
        let files = code(&format!("agent/{name}/src"));
        let is_capability = files.iter().any(|file| file.lines().any(|(_, line)| line.contains("impl Capability for")));
        let allowed: &[&str] = match name.as_str() {
            // It hands it on to `apply`, from the functions that a run goes through.
            "engine" => &["apply", "start", "turn", "converge"],
            // `apply` writes its records by them: the Node's name, and that K3s has to be restarted.
            "ports" => &["see_name", "forget_name", "put_on_record", "write_json"],
            // What a command does as `apply` does it: a volume is taken back; and the issuer of a server that founds: its key, and
            // the note of whose that is.
            "volumes" => &["apply", "take_back"],
            "join" => &["apply", "make", "note", "random"],
            _ if is_capability => &["apply"],
            _ => &[],
        };
        // Conversations are long enough to have files of their own, which only `apply` calls.
        let conversation = |path: &str| path.ends_with("join/src/act.rs") || path.contains("join/src/act/");
        for file in files.iter().filter(|file| !conversation(&file.path)) {
            for (number, function) in holders(file) {
                seen += 1;
                assert!(allowed.contains(&function.as_str()), "{}:{number}: `{function}` may write", file.path);
            }
        }
    }
    assert!(seen >= 10, "only {seen} places were found: is this still how they are written?");
}

#[test]
fn only_apply_converses() {
    let mut seen = 0;
    for file in code("agent/join/src") {
        let mut function = String::new();
        for (number, line) in file.lines() {
            if let Some((_, rest)) = line.split_once("fn ") {
                function = rest.split(['(', '<']).next().unwrap_or_default().to_string();
            }
            // What only names constants of it is no call.
            if line.contains("act::") && line.contains(".await") {
                seen += 1;
                assert_eq!(function, "apply", "{}:{number}: {line}", file.path);
            }
        }
    }
    assert!(seen >= 5, "only {seen} calls were found: is this still how they are written?");
}

/// Of all commands, `apply`, `leave`, `volumes release`, what carries those out, and the daemon alone hold the writing port.
#[test]
fn reading_commands_hold_no_change() {
    for file in code("agent/bowline/src/cli").iter().chain(&code("agent/bowline/src/show")) {
        let own = ["cli/apply.rs", "cli/leave.rs", "cli/release.rs", "cli/converge.rs"];
        let writes = own.iter().any(|own| file.path.ends_with(own));
        for (number, line) in file.lines().filter(|_| !writes) {
            let named = line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "Change");
            assert!(!named, "{}:{number}: {line}", file.path);
            // A range's beginning takes no argument; what starts something does.
            let line = line.replace(".start()", "");
            for way in [".converge(", ".start(", ".turn("] {
                assert!(!line.contains(way), "{}:{number}: {line}", file.path);
            }
        }
    }
}

#[test]
fn a_look_at_a_good_machine_leaves_no_trace() {
    let case = good_case();
    let host = SimHost::new(&case.world);
    let before = host.files();
    simulate(async {
        let mut engine = agent(&case);
        engine.look(&host).await;
        assert!(!engine.report().is_empty(), "there is much to do");
    });
    assert_eq!((host.changes(), host.files()), (0, before));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_look_leaves_no_trace(case in cases()) {
        let host = SimHost::new(&case.world);
        let before = host.files();
        simulate(async { agent(&case).look(&host).await; });
        prop_assert_eq!((host.changes(), host.files()), (0, before));
    }
}
