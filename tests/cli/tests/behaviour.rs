//! Exit codes, pipes and terminals, and what is left without systemd.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::{bowline, on_a_terminal, program, settings};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const GOOD: &str = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                    [[volume]]\nname = \"data\"\nserial = \"no-such-disk\"\nmount = \"/srv/data\"\n";

fn good() -> tempfile::TempDir {
    settings(&[("50-node.toml", GOOD, 0o644)])
}

#[test]
fn what_is_typed_wrong() {
    let folder = settings(&[]);
    for arguments in [&["plna"][..], &[], &["plan", "--jsno"], &["apply", "--wait", "soon"], &["status", "now"]] {
        let said = bowline(folder.path(), arguments);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!said.err.is_empty(), "{arguments:?}");
    }
    // There 2 says that there is something to do.
    for arguments in [&["plan", "--exit-code", "--jsno"][..], &["plan", "--exit-cod"], &["plan", "x", "--exit-code"]] {
        let said = bowline(folder.path(), arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}");
        assert!(!said.err.is_empty(), "{arguments:?}");
    }
    assert_eq!(bowline(folder.path(), &["plan", "--exit-code", "--help"]).code, 0);
    let said = bowline(folder.path(), &["plna"]);
    assert!(said.err.contains("'plan'"), "{}", said.err);
    let said = bowline(folder.path(), &["apply", "--wait", "soon"]);
    assert!(said.err.contains("“soon” is not a time: write 90s, 10m or 1h"), "{}", said.err);
    let said = bowline(folder.path(), &["--version"]);
    assert_eq!((said.code, said.out.as_str()), (0, concat!("bowline ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn without_settings() {
    let folder = settings(&[]);
    for (arguments, code, text) in [
        (&["plan"][..], 0, "nothing to do: no settings yet"),
        (&["plan", "--exit-code"], 0, "nothing to do: no settings yet"),
        (&["apply"], 3, "nothing to do: no settings yet in config.d"),
        (&["config"], 0, "no settings yet in config.d"),
        (&["check"], 0, "no settings yet in config.d"),
    ] {
        let said = bowline(folder.path(), &[arguments, &["--settings", "config.d"]].concat());
        assert_eq!((said.code, said.out.lines().next()), (code, Some(text)), "{arguments:?} {said:?}");
    }
}

/// A mistyped folder must not pass for one that is empty.
#[test]
fn settings_that_are_not_where_they_are_said_to_be() {
    let folder = settings(&[("50-node.toml", GOOD, 0o644), ("60-empty.toml", "# later\n", 0o644)]);
    let file = "config.d/50-node.toml";
    for command in [&["check"][..], &["config"], &["apply"], &["plan"], &["volumes"]] {
        for (place, text) in [
            ("confg.d", "confg.d does not exist"),
            (file, "config.d/50-node.toml is not a folder"),
            ("config.d/50-node.toml/x", "config.d/50-node.toml/x does not exist"),
        ] {
            let said = bowline(folder.path(), &[command, &["--settings", place]].concat());
            assert_eq!((said.code, said.out.as_str()), (2, ""), "{command:?} {said:?}");
            assert!(said.err.starts_with(text) && said.err.contains("help: "), "{command:?} {said:?}");
        }
    }
    let said = bowline(folder.path(), &["check", "config.d/60-empty.toml"]);
    assert_eq!((said.code, said.out.as_str()), (0, "no settings in config.d/60-empty.toml\n"));
    assert_eq!(bowline(folder.path(), &["check", file]).code, 0);
    fs::write(folder.path().join("log.toml"), "[log]\nlevel = \"info\"\n").unwrap();
    assert_eq!(bowline(folder.path(), &["check", "log.toml"]).out, "the settings are valid\n");

    std::os::unix::fs::symlink("nowhere", folder.path().join("config.d/70.toml")).unwrap();
    let said = bowline(folder.path(), &["check", "--settings", "config.d"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.starts_with("config.d/70.toml is a link to what does not exist"), "{said:?}");
    fs::remove_file(folder.path().join("config.d/70.toml")).unwrap();

    fs::write(folder.path().join("config.d/70.toml"), "# long\n".repeat(40_000)).unwrap();
    for arguments in [&["check", "--settings", "config.d"][..], &["check", "config.d/70.toml"]] {
        let said = bowline(folder.path(), arguments);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.starts_with("config.d/70.toml: larger than 256 KiB"), "{said:?}");
    }
}

/// D-Bus gone: said on every surface, and never taken for an empty plan.
#[test]
fn check_says_what_is_taken_for_settings_and_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("config.d");
    std::fs::create_dir(&settings).unwrap();
    std::fs::write(settings.join("10-node.toml"), "[log]\nlevel = \"debug\"\n").unwrap();
    std::fs::write(settings.join("20.toml.bak"), "").unwrap();
    std::fs::write(settings.join("30-x.conf"), "# later\n").unwrap();
    let said = bowline(folder.path(), &["check", "config.d"]);
    assert_eq!((said.code, said.out.as_str()), (0, "the settings are valid\n"));
    let not_read =
        "warning: not read: config.d/20.toml.bak, config.d/30-x.conf (the name of a\n    settings file ends in .toml)";
    assert_eq!(said.err.trim_end(), not_read);
    let said = bowline(folder.path(), &["check", "config.d/30-x.conf"]);
    assert!(said.err.contains("warning: not read: config.d/30-x.conf"), "{}", said.err);
}

/// What an agent is to have is checked where it is written, which is no root's; in the folder only as the daemon takes it.
#[test]
fn files_with_secrets_are_checked_before_they_are_in_their_place() {
    let agent = format!(
        "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.10\"]\nticket = \"{}\"\n",
        "0a".repeat(32)
    );
    let folder = settings(&[("20-join.toml", &agent, 0o644)]);
    let said = bowline(folder.path(), &["check", "config.d/20-join.toml"]);
    assert_eq!((said.code, said.out.as_str()), (0, "the settings are valid\n"), "{said:?}");
    assert!(said.err.starts_with("warning: config.d/20-join.toml:5:1: `cluster.ticket` is a secret"), "{}", said.err);
    assert!(said.err.contains("\n   5 | ticket = (hidden)\n"), "wrapped once: {}", said.err);
    let wrong = agent.replace("ticket = \"0a", "ticket = \"0A");
    fs::write(folder.path().join("config.d/20-join.toml"), wrong).unwrap();
    assert_eq!(bowline(folder.path(), &["check", "config.d/20-join.toml"]).code, 2);
    fs::write(folder.path().join("config.d/20-join.toml"), agent).unwrap();
    for arguments in [&["check", "config.d"][..], &["check", "--settings", "config.d"]] {
        let said = bowline(folder.path(), arguments);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("`cluster.ticket` is a"), "{said:?}");
    }
}

#[test]
fn without_systemd() {
    let folder = good();
    let plan = bowline(folder.path(), &["plan", "--settings", "config.d"]);
    assert_eq!(plan.code, 1, "{plan:?}");
    assert!(!plan.out.contains("nothing to do:"), "{}", plan.out);
    let text: String = plan.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("cannot look: connecting to the system bus"), "{}", plan.out);
    assert!(plan.out.lines().all(|line| line.chars().count() <= 80), "{}", plan.out);
    for flags in [&["plan", "--exit-code"][..], &["plan", "--json"]] {
        assert_eq!(bowline(folder.path(), &[flags, &["--settings", "config.d"]].concat()).code, 1, "{flags:?}");
    }
    let json = bowline(folder.path(), &["plan", "--json", "--settings", "config.d"]).out;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let states = report["capabilities"].as_array().unwrap();
    assert!(states.iter().any(|c| c["name"] == "volumes" && c["state"] == "unknown"), "{json}");

    let metrics = bowline(folder.path(), &["metrics", "--settings", "config.d"]);
    assert_eq!(metrics.code, 0);
    assert!(metrics.out.contains("bowline_build_info"), "{}", metrics.out);
    let volumes = bowline(folder.path(), &["volumes", "--settings", "config.d"]);
    assert_eq!(volumes.code, 0, "{volumes:?}");
    assert!(volumes.out.contains("volume data at /srv/data"), "{}", volumes.out);
}

#[test]
fn the_doctor_without_systemd() {
    let folder = good();
    let said = bowline(folder.path(), &["doctor", "--settings", "config.d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.lines().all(|line| line.chars().count() <= 80), "{}", said.out);
    let json = bowline(folder.path(), &["doctor", "--json", "--settings", "config.d"]);
    assert_eq!(json.code, 1);
    let checks: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let checks = checks.as_array().unwrap();
    for check in checks {
        let finding = check["result"] == "finding";
        assert_eq!(finding, check["remedy"].is_string(), "{check}");
        assert_eq!(finding, check["found"].is_string(), "{check}");
        assert_ne!(finding, check["text"].is_string(), "{check}");
    }
    // Anybody else than root is told to be root, and nothing more.
    if checks[0]["name"] != "rights" {
        let systemd = checks.iter().find(|check| check["name"] == "systemd").unwrap();
        assert_eq!(systemd["command"], "systemctl start dbus.socket dbus.service");
    }
}

#[test]
fn status_without_a_daemon() {
    if Path::new("/run/bowline/lock").exists() {
        // A daemon of this machine itself.
        return;
    }
    let folder = settings(&[]);
    for arguments in [&["status"][..], &["status", "--json"], &["status", "--wait-ready", "1s"]] {
        let said = bowline(folder.path(), arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}");
        assert!(
            said.err.starts_with("bowline does not run on this machine: `systemctl start bowline`"),
            "{}",
            said.err
        );
    }
}

#[test]
fn colour_on_a_terminal_only_and_never_against_no_color() {
    let folder = good();
    let plan = ["plan", "--settings", "config.d"];
    assert!(!bowline(folder.path(), &plan).out.contains('\x1b'));
    if Command::new("script").arg("--version").output().is_err() {
        // Nothing to make a terminal with.
        return;
    }
    assert!(on_a_terminal(folder.path(), &plan, &[]).out.contains("\x1b["));
    let plain = on_a_terminal(folder.path(), &plan, &[("NO_COLOR", "1")]);
    assert!(!plain.out.contains('\x1b'), "{:?}", plain.out);
}

#[test]
fn a_closed_pipe_ends_the_output_and_not_the_world() {
    let folder = settings(&[("50.toml", &format!("{GOOD}[node]\nlabels = {{ {} }}\n", labels()), 0o644)]);
    let mut child = Command::new(program())
        .args(["config", "--json", "--settings", "config.d"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_under_the_output_is_said() {
    let folder = good();
    for command in ["check", "config", "metrics", "volumes"] {
        let output = Command::new(program())
            .args([command, "--settings", "config.d"])
            .current_dir(folder.path())
            .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
            .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("writing to standard output: No space left on device"), "{command}: {said}");
    }
}

/// More than a pipe holds.
fn labels() -> String {
    (0..2000).map(|n| format!("label-number-{n} = \"{n}\"")).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_command_has_its_man_page_and_completions() {
    let folder = settings(&[]);
    let said = bowline(folder.path(), &["internal", "papers", "papers"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for command in ["run", "check", "config", "plan", "apply", "status", "doctor", "volumes", "ticket", "metrics"] {
        let page = folder.path().join(format!("papers/man/bowline-{command}.1"));
        assert!(fs::read_to_string(&page).unwrap().contains(".SH NAME"), "{page:?}");
    }
    assert!(folder.path().join("papers/man/bowline.1").exists());
    let completions: Vec<_> = fs::read_dir(folder.path().join("papers/completions")).unwrap().collect();
    assert_eq!(completions.len(), 3);
    for file in completions {
        let file = file.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("release") && text.contains("settings") && !text.contains("internal"), "{file:?}");
        assert!(!text.contains("retire"), "{file:?}");
    }
}

#[test]
fn only_a_server_knows_who_holds_which_name() {
    let folder = settings(&[("10.toml", "[node]\nname = \"kafka-0\"\n", 0o644)]);
    for arguments in [&["nodes"][..], &["nodes", "--json"], &["nodes", "revoke", "kafka-0"]] {
        let said = bowline(folder.path(), &[&["--settings", "config.d"], arguments].concat());
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(
            said.err.contains("this machine is not a server") && said.err.contains("role = \"server\""),
            "{said:?}"
        );
    }
    let said = bowline(folder.path(), &["nodes", "revoke", "Kafka_0"]);
    assert!(said.code == 2 && said.err.contains("at most 63 lower-case letters"), "{said:?}");
}

#[test]
fn who_is_in_no_cluster_can_not_leave_one() {
    let folder = settings(&[("10.toml", "[node]\nname = \"kafka-0\"\n", 0o644)]);
    let said = bowline(folder.path(), &["--settings", "config.d", "leave"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("there is no [cluster] in the settings"), "{said:?}");
    let wrong = settings(&[("50.toml", "[enrol]\n", 0o644)]);
    for arguments in [&["leave"][..], &["leave", "--undo"]] {
        let said = bowline(wrong.path(), &[&["--settings", "config.d"], arguments].concat());
        assert!(said.code == 2 && said.err.contains("`enrol`"), "{said:?}");
    }
}

/// Nothing is changed: root, who may, is not asked here.
#[test]
fn who_may_not_change_the_machine_is_told_to_be_root() {
    if std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0 {
        return;
    }
    let folder = good();
    for arguments in [&["apply"][..], &["leave", "--undo"], &["volumes", "take", "data"]] {
        let said = bowline(folder.path(), &[&["--settings", "config.d"], arguments].concat());
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(said.err.contains("help: run it as root"), "{said:?}");
    }
}

/// What the package's removal runs: silent where there is nothing of Bowline's in a cluster.
#[test]
fn retiring_says_only_what_it_leaves_behind() {
    let said = bowline(good().path(), &["internal", "retire", "--settings", "config.d"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""), "without the setting");
    let wrong = settings(&[("50.toml", "[enrol]\n", 0o644)]);
    let said = bowline(wrong.path(), &["internal", "retire", "--settings", "config.d"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    let command = "k3s kubectl delete validatingadmissionpolicybinding,validatingadmissionpolicy bowline-only-claimed";
    assert!(said.err.contains(command) && said.err.contains("`enrol`"), "{}", said.err);
}
