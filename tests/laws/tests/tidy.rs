//! What keeps the whole readable: imports go one way, files are short and say what they are for, laws have tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::sources::{crates, dependencies, read, root, tracked};

/// Which crates of ours a crate may know.
const ONE_WAY: [(&str, &[&str]); 18] = [
    ("ports", &[]),
    ("settings", &[]),
    ("usage", &[]),
    ("pressure", &[]),
    ("engine", &["ports"]),
    ("host", &["ports", "usage"]),
    ("node", &["engine", "ports", "settings"]),
    ("volumes", &["engine", "ports", "settings"]),
    ("guard", &["engine", "ports", "settings"]),
    ("cluster", &["engine", "ports", "settings"]),
    ("enroll", &["settings"]),
    ("issuer", &["enroll", "ports", "settings"]),
    ("join", &["engine", "enroll", "ports", "settings"]),
    ("labels", &["engine", "enroll", "ports", "settings"]),
    ("metrics", &["engine", "ports"]),
    ("persistent", &["engine", "enroll", "ports", "settings"]),
    ("reclaim", &["engine", "ports", "settings"]),
    (
        "bowline",
        &[
            "cluster",
            "engine",
            "enroll",
            "guard",
            "host",
            "issuer",
            "join",
            "labels",
            "metrics",
            "node",
            "persistent",
            "ports",
            "pressure",
            "reclaim",
            "settings",
            "usage",
            "volumes",
        ],
    ),
];

/// Crates of others that touch the machine: for `host` alone, but that `usage` reads directories by itself.
const OF_HOST: [&str; 13] = [
    "zbus",
    "nix",
    "libc",
    "rustix",
    "kube",
    "k8s-openapi",
    "hyper",
    "hyper-util",
    "rustls",
    "rustls-native-certs",
    "tokio-rustls",
    "notify",
    "socket2",
];

#[test]
fn imports_go_one_way() {
    for name in crates("agent") {
        let known = ONE_WAY.iter().find(|(one, _)| *one == name);
        let (_, allowed) = known.unwrap_or_else(|| panic!("agent/{name} is in no list of {}", file!()));
        for dependency in dependencies(&format!("agent/{name}/Cargo.toml")) {
            if let Some(own) = dependency.strip_prefix("bowline-") {
                assert!(allowed.contains(&own), "agent/{name} must not know agent/{own}");
            }
            let reads = (name.as_str(), dependency.as_str()) == ("usage", "rustix");
            let of_host = OF_HOST.contains(&dependency.as_str());
            assert!(name == "host" || reads || !of_host, "agent/{name}: {dependency} is host's");
        }
    }
}

#[test]
fn files_are_short() {
    for (path, text) in tracked() {
        let code = [".rs", ".go", ".sh"].iter().any(|end| path.ends_with(end));
        let lines = text.lines().count();
        assert!(!code || lines <= 400, "{path} has {lines} lines: part it");
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (path, text) in tracked().iter().filter(|(path, _)| path.ends_with(".rs")) {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.len() > 12, "{path} begins with: {first}");
    }
}

/// No place of the machine that it was written on, nothing put off, no registry of packages named: those are the
/// package managers' business.
#[test]
fn nothing_is_left_lying_about() {
    // Put together, so that this file itself is in order.
    let word = |parts: &[&str]| parts.concat();
    let places = [word(&["/wo", "rk/"]), word(&["/ro", "ot/."])];
    let marks = [word(&["TO", "DO"]), word(&["FIX", "ME"]), word(&["XX", "X"])];
    let registries = [
        word(&["crates", ".io"]),
        word(&["proxy.go", "lang.org"]),
        word(&["sum.go", "lang.org"]),
        word(&["py", "pi.org"]),
        word(&["npm", "js."]),
        word(&["rubygems", ".org"]),
    ];
    for (path, text) in tracked() {
        if path.ends_with("Cargo.lock") || path.ends_with("go.sum") {
            continue; // the package managers' own
        }
        for (index, line) in text.lines().enumerate() {
            let at = format!("{path}:{}: {line}", index + 1);
            assert!(!places.iter().any(|place| line.contains(place.as_str())), "a place of one machine: {at}");
            assert!(!registries.iter().any(|name| line.contains(name.as_str())), "a registry by name: {at}");
            let words = || line.split(|c: char| !c.is_ascii_alphanumeric());
            assert!(!marks.iter().any(|mark| words().any(|word| word == mark)), "put off: {at}");
        }
    }
}

/// Checkouts share what is compiled: a program finds its files in the one where it runs, by what Cargo tells it then.
#[test]
fn no_program_has_the_place_of_a_checkout_compiled_in() {
    let compiled_in = ["env!(\"CARGO_", "MANIFEST_DIR"].concat();
    for (path, text) in tracked() {
        assert!(!text.contains(compiled_in.as_str()), "{path}: read CARGO_MANIFEST_DIR when it runs");
    }
}

/// Where the tests of a crate are one program, Cargo does not look for others: a file that its `main.rs` does not name would
/// be run by nobody.
#[test]
fn every_file_of_tests_is_run() {
    let files = tracked();
    let text = |path: &str| files.iter().find(|(name, _)| name == path).map(|(_, text)| text);
    let mut seen = 0;
    for (manifest, _) in
        files.iter().filter(|(path, text)| path.ends_with("Cargo.toml") && text.contains("autotests = false"))
    {
        let tests = manifest.replace("Cargo.toml", "tests/");
        let Some(main) = text(&format!("{tests}main.rs")) else { continue };
        for (path, _) in files.iter().filter(|(path, _)| path.starts_with(&tests)) {
            let name = path.strip_prefix(&tests).and_then(|name| name.strip_suffix(".rs"));
            let Some(name) = name.filter(|name| *name != "main" && !name.contains('/')) else { continue };
            assert!(main.lines().any(|line| line == format!("mod {name};")), "{tests}main.rs has no `mod {name};`");
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} files of tests were seen");
}

#[test]
fn laws_have_tests() {
    for law in [
        "pure_plan",
        "look_is_not_touch",
        "converges",
        "crash_anywhere",
        "no_data_loss",
        "explains",
        "secrets_stay_in_files",
    ] {
        let text = read(&format!("tests/laws/tests/{law}.rs"));
        assert!(text.starts_with(&format!("//! Law `{law}`")), "{law}.rs does not say which law it is");
        assert!(text.contains(&format!("fn {law}(")), "{law}.rs has no test of that name");
    }
    // The list of them, once it is written.
    if root().join("ARCHITECTURE.md").exists() {
        let text = read("ARCHITECTURE.md");
        for law in ["pure_plan", "look_is_not_touch", "converges", "crash_anywhere", "no_data_loss", "explains"] {
            assert!(text.contains(law), "ARCHITECTURE.md does not name {law}");
        }
        assert!(text.contains("secrets_stay_in_files"));
    }
}
