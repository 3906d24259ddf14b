//! `bowline ticket`: the test vectors, key files that are refused, and nothing of a key on standard error.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::{Said, bowline, golden, settings};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const KEY: &str = "7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5ecae2791af89491befb06a84";
const OLDER: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
const AGENT: &str = "bafdb87168aa0ef8680e58f2ba7126918b636d540226b2d365caeef8c9fbcd7e";
const SERVER: &str = "9a976010ef92b4467a3294ff8ad101e9fc049b614e4bbc3684c9e50b4892e65d";
const NAME: &str = "k3s-trading-dev-kafka-0";

fn key(folder: &Path, text: &str, mode: u32) {
    let path = folder.join("cluster.key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn ticket(folder: &Path, arguments: &[&str]) -> Said {
    let said = bowline(folder, &[&["ticket", "--settings", "config.d"][..], arguments].concat());
    for key in [KEY, OLDER] {
        assert!(!said.err.contains(&key[..8]) && !said.out.contains(&key[..8]), "{said:?}");
    }
    said
}

#[test]
fn the_test_vectors() {
    let folder = settings(&[]);
    for text in [KEY.to_owned(), format!("{KEY}\n"), format!("{KEY}\n{OLDER}\n")] {
        key(folder.path(), &text, 0o600);
        let said = ticket(folder.path(), &["--key-file", "cluster.key", NAME]);
        assert_eq!((said.code, said.out, said.err.as_str()), (0, format!("{AGENT}\n"), ""));
    }
    let said = ticket(folder.path(), &["--role", "server", "--key-file", "cluster.key", "k3s-trading-dev-control"]);
    assert_eq!((said.code, said.out), (0, format!("{SERVER}\n")));
    golden("ticket/server.txt", &said.err);
}

#[test]
fn the_key_file_of_the_settings_and_their_address() {
    let folder = settings(&[]);
    // Settings may not name a file in /tmp.
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    key(elsewhere.path(), KEY, 0o600);
    let path = elsewhere.path().join("cluster.key").display().to_string();
    let text = format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\nkey-file = \"{path}\"\n\
         [node]\naddress = \"10.0.1.10\"\n"
    );
    fs::write(folder.path().join("config.d/10.toml"), text).unwrap();
    let said = ticket(folder.path(), &[NAME]);
    assert_eq!((said.code, said.out, said.err.as_str()), (0, format!("{AGENT}\n"), ""));

    let said = ticket(folder.path(), &["--cloud-init", NAME]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let lines = |text: &str| said.out.contains(text);
    assert!(said.out.starts_with("#cloud-config\n") && lines("permissions: \"0600\""), "{}", said.out);
    assert!(lines("servers = [\"10.0.1.10\"]") && lines(&format!("ticket = \"{AGENT}\"")), "{}", said.out);
}

#[test]
fn a_document_without_settings_asks_for_the_address() {
    let folder = settings(&[]);
    key(folder.path(), KEY, 0o600);
    let said = ticket(folder.path(), &["--cloud-init", "--key-file", "cluster.key", NAME]);
    assert_eq!(said.code, 0);
    assert!(said.out.contains("servers = [\"ADDRESS-OF-A-SERVER\"]"), "{}", said.out);
    golden("ticket/placeholder.txt", &said.err);
}

#[test]
fn what_is_wrong() {
    let folder = settings(&[]);
    let refused = |name: &str, code: i32, arguments: &[&str]| {
        let said = ticket(folder.path(), arguments);
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{name}: {}", said.err);
        golden(&format!("ticket/{name}.txt"), &said.err);
    };
    let here = ["--key-file", "cluster.key", NAME];
    refused("no-key-file-known", 1, &[NAME]);
    refused("no-key-file-there", 1, &here);
    key(folder.path(), KEY, 0o640);
    refused("others-can-read", 1, &here);
    key(folder.path(), &KEY[..63], 0o600);
    refused("no-key", 1, &here);
    key(folder.path(), KEY, 0o600);
    let said = ticket(folder.path(), &["--key-file", "cluster.key", "Kafka_0"]);
    assert!(said.code == 2 && said.out.is_empty() && said.err.contains("at most 63 lower-case letters"), "{said:?}");
    refused("document-of-a-server", 2, &["--cloud-init", "--role", "server", "--key-file", "cluster.key", NAME]);
    // Settings that are wrong stand in the way only where they are asked.
    fs::write(folder.path().join("config.d/10.toml"), "[cluster]\nrole = \"captain\"\n").unwrap();
    assert_eq!(ticket(folder.path(), &here).code, 0);
    assert_eq!(ticket(folder.path(), &[NAME]).code, 2);
}
