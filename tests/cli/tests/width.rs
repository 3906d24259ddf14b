//! Every text for people fits a page of 80 columns, whatever the settings say, and nothing that is copied is broken.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::{assert_fits, bowline, on_a_terminal, settings};
use std::path::Path;

/// Longer than a line.
fn long(letter: &str) -> String {
    letter.repeat(90)
}

fn nasty() -> String {
    let names: Vec<String> = (0..20).map(|n| format!("\"option-number-{n}\"")).collect();
    format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
         key-file = \"/etc/bowline/{}.key\"\n\
         [cluster.config]\nkube-apiserver-arg = [{}]\n\
         [node]\naddress = \"192.0.2.0/24\"\nlabels = {{ \"example.com/{}\" = \"a\" }}\n\
         [[volume]]\nname = \"data\"\ndevice = \"/dev/disk/by-id/{}\"\nmount = \"/srv/{}\"\n\
         [[volume]]\nname = \"more\"\nserial = \"a serial number of many words, as some devices of some vendors do have \
         them in fact\"\nmount = \"/srv/more\"\n",
        long("k"),
        names.join(", "),
        "l".repeat(63),
        long("d"),
        long("m"),
    )
}

fn texts(folder: &Path) -> Vec<(String, String)> {
    let commands: [&[&str]; 15] = [
        &["check"],
        &["config"],
        &["plan"],
        &["plan", "--exit-code"],
        &["volumes"],
        &["doctor"],
        &["status"],
        &["nodes"],
        &["nodes", "revoke", "kafka-0"],
        &["leave"],
        &["volumes", "take", "no-such-volume"],
        &["volumes", "release", "no-such-volume"],
        &["ticket", "kafka-0"],
        &["ticket", "--cloud-init", "--role", "server", "kafka-0"],
        &["check", "no-such-folder-of-settings/with-a-name/that-is-longer/than-a-line-of-eighty-columns/has-room.toml"],
    ];
    let mut all = Vec::new();
    for command in commands {
        let said = bowline(folder, &[command, &["--settings", "config.d"]].concat());
        all.push((command.join(" "), format!("{}{}", said.out, said.err)));
    }
    all
}

#[test]
fn no_text_is_wider_than_the_page() {
    let folder = settings(&[("50-node.toml", &nasty(), 0o644)]);
    let (mut config, mut volumes) = (String::new(), String::new());
    for (name, text) in texts(folder.path()) {
        assert!(!text.is_empty(), "{name} says nothing");
        assert_fits(&name, &text);
        match name.as_str() {
            "config" => config = text,
            "volumes" => volumes = text,
            _ => {}
        }
    }
    for whole in [long("k"), long("d"), long("m"), "\"option-number-19\"".into(), "of many words, as some".into()] {
        assert!(config.contains(&whole), "{whole} is broken:\n{config}");
    }
    assert!(volumes.contains(&long("d")) && volumes.contains(&long("m")), "{volumes}");

    // Wrong settings, and none.
    let wrong = nasty().replace("[node]", "[nodes]").replace("mount =", "muont =");
    for folder in [settings(&[("50-node.toml", &wrong, 0o644)]), settings(&[])] {
        for (name, text) in texts(folder.path()) {
            assert_fits(&name, &text);
        }
    }
}

/// Colour takes no columns.
#[test]
fn a_terminal_gets_the_same_lines() {
    let folder = settings(&[("50-node.toml", &nasty(), 0o644)]);
    for command in ["plan", "volumes"] {
        let arguments = [command, "--settings", "config.d"];
        let said = on_a_terminal(folder.path(), &arguments, &[]);
        let mut plain = said.out.replace("\r\n", "\n");
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
            plain = plain.replace(code, "");
        }
        assert!(!plain.contains('\x1b'), "{plain:?}");
        assert_fits(command, &plain);
    }
}
