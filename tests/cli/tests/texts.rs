//! Texts that people see, word for word: help, complaints about settings, the merged settings.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::{bowline, golden, settings, several};
use std::fs;

const COMMANDS: [&str; 12] =
    ["run", "check", "config", "plan", "apply", "status", "doctor", "volumes", "ticket", "nodes", "leave", "metrics"];

#[test]
fn help() {
    let folder = settings(&[]);
    let all = bowline(folder.path(), &["--help"]);
    golden("help/bowline.txt", &all.out);
    for command in COMMANDS {
        assert!(all.out.contains(&format!("\n  {command} ")), "{command} is not in the list");
        let said = bowline(folder.path(), &[command, "--help"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        golden(&format!("help/{command}.txt"), &said.out);
    }
    assert!(!all.out.contains("internal"));
}

/// `golden/check/NAME.toml` (files of a folder, each after a line `#-- FILE MODE`) beside what `check` says of them.
#[test]
fn complaints() {
    let mut names: Vec<_> = fs::read_dir("golden/check")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "only {} cases", names.len());
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        let folder = settings(&several(&text));
        let said = bowline(folder.path(), &["check", "--settings", "config.d"]);
        let name = path.file_stem().unwrap().to_string_lossy();
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{name}");
        assert!(!said.err.contains("hunter2"), "{name} tells a secret");
        golden(&format!("check/{name}.txt"), &said.err);
        // Every command that reads settings says the same, and does nothing else.
        for (command, code) in [("config", 2), ("plan", 2), ("apply", 2), ("volumes", 2), ("metrics", 2), ("run", 78)] {
            let other = bowline(folder.path(), &[command, "--settings", "config.d"]);
            assert_eq!(other.code, code, "{name} {command}: {}", other.err);
            assert!(!other.err.contains("hunter2") && !other.out.contains("hunter2"), "{name} {command}");
            if command != "run" {
                assert_eq!((other.err, other.out.as_str()), (said.err.clone(), ""), "{name} {command}");
            }
        }
    }
}

/// What a link leads to is mended elsewhere, of which nobody tells: systemd tries again.
#[test]
fn wrong_settings_behind_a_link_do_not_keep_the_daemon_down() {
    let folder = settings(&[]);
    let (elsewhere, link) = (folder.path().join("elsewhere"), folder.path().join("config.d/10-node.toml"));
    fs::write(&elsewhere, "[node]\nnmae = \"kafka-0\"\n").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let run = || bowline(folder.path(), &["run", "--settings", "config.d"]);
    assert_eq!(run().code, 1);
    fs::rename(&elsewhere, &link).unwrap();
    assert_eq!(run().code, 78);
}

#[test]
fn files_that_can_not_be_read() {
    let folder = settings(&[]);
    let config = folder.path().join("config.d");
    fs::write(config.join("10-node.toml"), b"[node]\nname = \"k\xe4fka\"\n").unwrap();
    let said = bowline(folder.path(), &["check", "--settings", "config.d"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (2, "config.d/10-node.toml: not UTF-8 at byte 16\n  help: save the file as UTF-8 text\n"),
        "{said:?}"
    );
    fs::remove_file(config.join("10-node.toml")).unwrap();
    fs::create_dir(config.join("20-node.toml")).unwrap();
    let said = bowline(folder.path(), &["check", "--settings", "config.d"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("config.d/20-node.toml"), "{}", said.err);
    let said = bowline(folder.path(), &["check", "no-such-file.toml"]);
    assert_eq!((said.code, said.err.as_str()), (2, "no-such-file.toml does not exist\n"));
}

#[test]
fn files_that_are_in_order() {
    let folder = settings(&[]);
    let said = bowline(folder.path(), &["check", "--settings", "config.d"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "no settings yet in config.d\n", ""));
    let examples = fs::canonicalize("../../config").unwrap();
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let said = bowline(folder.path(), &["check", path.to_str().unwrap()]);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "the settings are valid\n", ""), "{path:?}");
    }
}

const BASE: &str = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\n\
                    [cluster.config]\ntoken = \"hunter2\"\ndisable = [\"traefik\"]\n\n\
                    [[volume]]\nname = \"data\"\nserial = \"1234\"\nmount = \"/mnt/data\"\n";
const SITE: &str = "[node]\nlabels = { pool = \"a\" }\n\n[[volume]]\nname = \"data\"\nmount = \"/srv/data\"\n";

#[test]
fn merged_settings_with_their_origin_and_without_secrets() {
    let folder = settings(&[("10-base.toml", BASE, 0o600), ("50-site.toml", SITE, 0o644)]);
    let said = bowline(folder.path(), &["config", "--settings", "config.d"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(!said.out.contains("hunter2"), "{}", said.out);
    golden("config/merged.txt", &said.out);
    let json = bowline(folder.path(), &["config", "--json", "--settings", "config.d"]).out;
    assert!(!json.contains("hunter2"), "{json}");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let token = value.as_array().unwrap().iter().find(|origin| origin["key"] == "cluster.config.token").unwrap();
    assert_eq!(token["value"], "(hidden)");
    golden("config/merged.json", &json);
}
