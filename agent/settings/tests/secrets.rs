//! Secrets stay in the files: no output of the crate shows one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

use crate::common::{file, one};
use bowline_settings::{ConfigScalar, ConfigValue, SourceFile, TicketSource, load};

const CLUSTER: &str =
    "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n[cluster.config]\n";

fn outputs(files: &[SourceFile]) -> String {
    match load(files) {
        Ok(loaded) => {
            let origins: Vec<_> = loaded.origins.iter().map(|origin| origin.value.clone()).collect();
            format!("{files:?} {loaded:?} {} {origins:?}", serde_json::to_string(&loaded).unwrap())
        }
        Err(errors) => format!("{files:?} {errors} {errors:?} {}", serde_json::to_string(&errors).unwrap()),
    }
}

#[test]
fn whatever_is_wrong_with_it() {
    // Each is a way in which a person can get a secret wrong, or right.
    let lines = [
        "token = \"hunter2\"",
        "agent-token = \"hunter2\"",
        "\"token+\" = [\"hunter2\", \"hunter2b\"]",
        "token = hunter2",
        "token = \"hunter2",
        "token = \"\"\"\nhunter2\nhunter2 \\q\n\"\"\"",
        "token = \"\"\"hunter2\n= \"hunter2",
        "token = { value = \"hunter2\" }",
        "token = [[\"hunter2\"]]",
        "token = \"hunter2\"\ntoken = \"hunter2\"",
        "tokn = \"hunter2\"",
        "Token = \"hunter2\"",
        "datastore_endpoint = \"hunter2\"",
        "datastore-endpoint = \"mysql://k3s:hunter2@tcp(db)/k3s\"",
        "kube-apiserver-arg = [\"x-secret=hunter2\", 2.5]",
        "etcd-s3-secret-key = 2.5 # hunter2",
        "node-ip = \"postgres://u:hunter2@h/d\"",
        "vpn-auth = \"name=tailscale,joinKey=hunter2\"",
        "token = \"hunter2\" hunter2",
        "[cluster]\nticket = \"hunter2\"",
        "[cluster]\nticket = [\"hunter2\"]",
        "[cluster]\ntickte = \"hunter2\"",
        "[cluster]\ntoken = \"hunter2\"",
        "[node]\nname = \"K10abc::server:hunter2\"",
        "[node]\nlabels = { token = \"hunter2 hunter2\" }",
        "[[secret]]\nvalue = 1\npassword = \"hunter2\"",
        "cluster-dns = \"x\"\nconfig = { token = \"hunter2\", b = c }",
    ];
    for line in lines {
        for mode in [0o600, 0o644] {
            let mut only = file("10-a.toml", &format!("{CLUSTER}{line}\n"));
            only.mode = mode;
            let shown = outputs(&[only]);
            assert!(!shown.contains("hunter2"), "{line}\n{shown}");
        }
        let second = file("20-b.toml", &format!("[cluster.config]\n{line}\n"));
        let shown = outputs(&[file("10-a.toml", &format!("{CLUSTER}token = \"hunter2\"\n")), second]);
        assert!(!shown.contains("hunter2"), "{line}\n{shown}");
    }
}

#[test]
fn k3s_still_gets_it() {
    let loaded =
        one(&format!("{CLUSTER}token = \"hunter2\"\nkubelet-arg = [\"v=1\", \"my-token=hunter2\"]\n")).unwrap();
    let config = loaded.settings.cluster.unwrap().config;
    let ConfigValue::One(ConfigScalar::Secret(token)) = &config["token"] else { panic!("no secret") };
    assert_eq!(token.expose(), "hunter2");
    let ConfigValue::Many(arguments) = &config["kubelet-arg"] else { panic!("no list") };
    assert_eq!(arguments[0], ConfigScalar::Text("v=1".into()));
    assert!(matches!(arguments[1], ConfigScalar::Secret(_)));
    assert!(loaded.origins.get("cluster.config.token").unwrap().secret);
}

#[test]
fn the_file_has_to_be_roots_alone() {
    for (mode, uid, good) in [
        (0o600, 0, true),
        (0o400, 0, true),
        (0o640, 0, false),
        (0o604, 0, false),
        (0o620, 0, false),
        (0o600, 1000, false),
    ] {
        for (line, secret) in [("token = \"hunter2\"", true), ("token-file = \"/etc/x\"", false)] {
            let mut only = file("10-a.toml", &format!("{CLUSTER}{line}\n"));
            (only.mode, only.uid) = (mode, uid);
            let result = load(&[only]);
            assert_eq!(result.is_ok(), good || !secret, "{mode:o} {uid} {line}");
            if let Err(errors) = result {
                let remedy = errors.iter().next().unwrap().suggestion.clone().unwrap();
                assert!(remedy.ends_with("chmod 600 /etc/bowline/config.d/10-a.toml"), "{remedy}");
            }
        }
    }
}

#[test]
fn tickets_and_keys() {
    let digits = "7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5ecae2791af89491befb06a84";
    let agent = "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.10\"]\n";
    let good = one(&format!("{agent}ticket = \"{digits}\"\n")).unwrap();
    let ticket = good.origins.get("cluster.ticket").unwrap();
    assert!(ticket.secret && ticket.value == "(hidden)");
    let Some(TicketSource::Inline(ticket)) = good.settings.cluster.unwrap().join.ticket else { panic!("no ticket") };
    assert_eq!(ticket.expose(), digits);
    for line in ["ticket", "ticket-file", "key-file", "key", "cluster-key", "ticket-fiel", "servers", "token"] {
        for value in [format!("\"{digits}\""), format!("[\"{digits}\"]"), digits.to_owned()] {
            for mode in [0o600, 0o644] {
                let mut only = file("10-a.toml", &format!("{agent}{line} = {value}\n"));
                only.mode = mode;
                let shown = outputs(&[only]);
                assert!(!shown.contains(digits) || line == "servers", "{line} = {value}\n{shown}");
            }
        }
    }
}

#[test]
fn a_secret_that_a_later_file_replaces_counts_too() {
    let mut open = file("10-a.toml", &format!("{CLUSTER}token = \"hunter2\"\n"));
    open.mode = 0o644;
    assert!(load(&[open, file("20-b.toml", "[cluster.config]\ntoken = \"other\"\n")]).is_err());
}
