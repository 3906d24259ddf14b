//! Law `pure_plan`: `plan(settings, facts)` cannot do I/O and never fails: its signature, and no way to the machine
//! in any crate that it can call.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use crate::sources::{code, crates, dependencies, read, root};

/// Crates that only compute. `host` and `bowline` are the others.
const PURE: [&str; 15] = [
    "ports",
    "engine",
    "settings",
    "node",
    "volumes",
    "enroll",
    "join",
    "issuer",
    "guard",
    "cluster",
    "labels",
    "persistent",
    "metrics",
    "pressure",
    "reclaim",
];

/// Crates that only compute, or that give time (`tokio`) and words (`tracing`) to the engine.
const HARMLESS: [&str; 18] = [
    "base64",
    "ed25519-dalek",
    "futures",
    "hex",
    "hmac",
    "jiff",
    "prometheus",
    "scrypt",
    "serde",
    "serde-saphyr",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "toml",
    "tracing",
    "uuid",
    "zeroize",
];

/// Ways to the machine. Addresses, paths and kinds of errors are plain data.
const WAYS: [&str; 22] = [
    "std::fs",
    "std::process",
    "std::env::",
    "std::os",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::io::Write",
    "std::io::Read",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "SystemTime",
    "File::",
    "Command::new",
    "tokio::fs",
    "tokio::net",
    "tokio::process",
    "tokio::signal",
];

#[test]
fn pure_plan() {
    let trait_ = read("agent/engine/src/capability.rs");
    let signature = "    fn plan(&self, facts: &Self::Facts, now: &Conditions) -> Plan<Self::Action>;\n";
    assert!(trait_.contains(signature), "a plan is not fallible, not asynchronous, and has no host");
}

#[test]
fn what_plans_has_no_way_to_the_machine() {
    for name in PURE {
        for file in code(&format!("agent/{name}/src")) {
            for (number, line) in file.lines() {
                for way in WAYS {
                    assert!(!line.contains(way), "{}:{number}: {way} belongs into agent/host", file.path);
                }
            }
        }
    }
}

#[test]
fn what_plans_depends_on_nothing_that_touches_the_machine() {
    for name in PURE {
        for dependency in dependencies(&format!("agent/{name}/Cargo.toml")) {
            let own = dependency.strip_prefix("bowline-").is_some_and(|one| PURE.contains(&one));
            // The engine sleeps between two looks, the issuer waits for several answers; they open nothing (above).
            let clock = ["engine", "issuer"].contains(&name) && dependency == "tokio";
            let known = HARMLESS.contains(&dependency.as_str());
            assert!(own || clock || known, "agent/{name} depends on {dependency}: is that free of I/O?");
        }
    }
}

/// A new crate of a capability has to be in the list above.
#[test]
fn every_crate_computes_or_is_known_to_act() {
    for name in crates("agent") {
        // `usage` reads directories by itself: it is a library of its own.
        let acts = ["bowline", "host", "usage"].contains(&name.as_str());
        assert!(acts || PURE.contains(&name.as_str()), "agent/{name} is in no list of {}", file!());
    }
    assert!(root().join("agent/engine").is_dir());
}
