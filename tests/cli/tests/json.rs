//! What reading commands print as JSON has the form that the package documents.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::{Said, bowline, settings, several};
use bowline_schema::{FORMS, read};
use serde_json::Value;
use std::fs;
use std::path::Path;

const GOOD: &str = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                    [cluster.config]\ntoken = \"hunter2\"\ndisable = [\"traefik\"]\n\
                    [[volume]]\nname = \"data\"\nserial = \"no-such-disk\"\nmount = \"/srv/data\"\n";
const MORE: &str =
    "[cluster.config]\n\"disable+\" = [\"servicelb\"]\n[[volume]]\nname = \"data\"\nmount = \"/srv/more\"\n";

/// The command's JSON, which has this form.
fn json(folder: &Path, arguments: &[&str], form: &str) -> (Value, Said) {
    let said = bowline(folder, &[arguments, &["--json", "--settings", "config.d"]].concat());
    let value = read(form, &said.out).map_err(|fault| format!("{arguments:?}: {fault}\n{}", said.err)).unwrap();
    assert!(!said.out.contains("hunter2"), "{arguments:?} tells a secret");
    (value, said)
}

#[test]
fn with_settings_and_without() {
    let full = settings(&[("10-node.toml", GOOD, 0o600), ("50-site.toml", MORE, 0o600)]);
    for folder in [&full, &settings(&[])] {
        let folder = folder.path();
        for (command, form) in
            [("plan", "report"), ("volumes", "volumes"), ("config", "config"), ("doctor", "doctor"), ("check", "check")]
        {
            json(folder, &[command], form);
        }
    }
    let (config, _) = json(full.path(), &["config"], "config");
    let settings = config.as_array().unwrap();
    assert!(settings.iter().any(|one| one["added-to"][0]["line"] == 7), "{config:#}");
    assert!(settings.iter().any(|one| one["replaced"][0]["file"] == "config.d/10-node.toml"), "{config:#}");
}

#[test]
fn what_is_wrong_with_settings() {
    for entry in fs::read_dir("golden/check").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let folder = settings(&several(&text));
        let (value, said) = json(folder.path(), &["check"], "check");
        assert_eq!((said.code, &value["valid"]), (2, &Value::Bool(false)), "{path:?}");
        let error = &value["errors"][0];
        assert!(error["line"].is_u64() && error["file"].as_str().unwrap().starts_with("config.d/"), "{value:#}");
    }
    let folder = settings(&[("10.toml", "# later\n", 0o644)]);
    fs::write(folder.path().join("config.d/20.toml.bak"), "").unwrap();
    let (value, said) = json(folder.path(), &["check"], "check");
    assert_eq!((said.code, &value["valid"], &value["absent"]), (0, &true.into(), &true.into()));
    assert_eq!(value["not-read"][0], "config.d/20.toml.bak");
    let (value, said) = json(folder.path(), &["check", "none.toml"], "check");
    assert_eq!((said.code, &value["errors"][0]["line"]), (2, &Value::Null), "{value:#}");
    assert_eq!(value["errors"][0]["message"], "none.toml does not exist");
}

#[test]
fn what_fills_a_directory() {
    let folder = settings(&[]);
    fs::create_dir_all(folder.path().join("tree/inner")).unwrap();
    fs::write(folder.path().join("tree/inner/file"), vec![1; 50_000]).unwrap();
    let tree = folder.path().join("tree");
    let (value, said) = json(folder.path(), &["usage", tree.to_str().unwrap()], "usage");
    let whole = &value["folders"][0];
    assert_eq!((said.code, &whole["inodes"], &whole["apparent"]), (0, &3.into(), &50_000.into()), "{value:#}");
    assert_eq!(whole["parts"][0]["path"].as_str(), tree.join("inner").to_str());
    let text = bowline(folder.path(), &["usage", tree.to_str().unwrap(), "--settings", "config.d"]).out;
    assert!(text.contains("inner  (2 files)") && text.contains("free"), "{text}");
    let gone = bowline(folder.path(), &["usage", "/no/such/place", "--settings", "config.d"]);
    assert!(gone.code == 1 && gone.err.contains("measuring /no/such/place"), "{gone:?}");
}

#[test]
fn every_form_is_named_by_the_help_of_its_commands() {
    let folder = settings(&[]);
    let mut named: Vec<String> = Vec::new();
    for command in ["check", "config", "plan", "status", "doctor", "volumes", "nodes", "usage"] {
        let help = bowline(folder.path(), &[command, "--help"]).out;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, form) = help.split_once("As JSON, in the form of /usr/share/bowline/schema/").unwrap();
        named.push(form.split_once(".json").unwrap().0.to_owned());
    }
    named.sort();
    named.dedup();
    assert_eq!(named, FORMS);
}
