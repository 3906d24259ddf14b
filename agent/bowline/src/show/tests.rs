//! Golden texts of constructed reports, in `testdata/`; `UPDATE=1` rewrites them.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use super::*;
use bowline_engine::{
    CapabilityReport, CapabilityState, Failing, Note, Overall, RefusalReport, Report, Risk, SettingsReport, StepReport,
    WaitReport,
};
use bowline_ports::{ErrorKind, ProgressValue};

const NOW: i64 = 1_790_000_000;

fn capability(name: &str, state: CapabilityState) -> CapabilityReport {
    let (steps, waits, refusals, notes) = (vec![], vec![], vec![], vec![]);
    CapabilityReport { name: name.into(), state, steps, waits, refusals, notes, error: None }
}

pub(crate) fn step(item: &str, what: &str, why: &str) -> StepReport {
    StepReport {
        item: item.into(),
        what: what.into(),
        why: why.into(),
        risk: Risk::Safe,
        action: serde_json::Value::Null,
        running: None,
        failing: None,
    }
}

pub(crate) fn wait(item: &str, what: &str, why: &str, seconds: i64, overdue: Option<&str>) -> WaitReport {
    WaitReport {
        item: item.into(),
        what: what.into(),
        why: why.into(),
        since: NOW - seconds,
        overdue: overdue.map(str::to_owned),
    }
}

pub(crate) fn report(overall: Overall, capabilities: Vec<CapabilityReport>) -> Report {
    Report {
        schema: Report::SCHEMA,
        version: "0.1.0".into(),
        at: NOW - 12,
        looks: 4,
        overall,
        settings: SettingsReport {
            files: vec!["/etc/bowline/config.d/50-node.toml".into()],
            ..SettingsReport::default()
        },
        capabilities,
        conditions: [("address".to_string(), "10.0.1.20".to_string())].into(),
    }
}

/// A blank disk and a fresh machine.
fn first_boot() -> Report {
    let mut node = capability("node", CapabilityState::Done);
    node.notes.push(Note {
        item: "clock".into(),
        text: "nothing says that the clock is synchronised; continuing, since it is not plainly wrong".into(),
    });
    let mut volumes = capability("volumes", CapabilityState::Working);
    volumes.steps.push(step(
        "volume/data",
        "put on record that /dev/sdb is about to be formatted",
        "a power cut must not make our own work look like a stranger's",
    ));
    volumes.steps.push(StepReport {
        risk: Risk::Erase,
        ..step("volume/data", "format /dev/sdb as ext4", "it is blank and `format = \"blank-only\"`")
    });
    volumes.steps.push(step("volume/data", "mount /var/lib/data", "it is not mounted"));
    let mut cluster = capability("cluster", CapabilityState::Working);
    let url = "https://github.com/k3s-io/k3s/releases/download/v1.34.1%2Bk3s1/k3s";
    cluster.steps.push(StepReport {
        running: Some(ProgressValue { done: 25 << 20, total: 66 << 20, text: "downloading".into() }),
        ..step("k3s", &format!("download {url}"), "K3s is not installed")
    });
    cluster.waits.push(wait("k3s", "volume/data", "K3s must not start on the bare directory", 245, None));
    let mut labels = capability("labels", CapabilityState::Waiting);
    labels.waits.push(wait("labels", "the node to be registered", "labels are set by the API", 245, None));
    report(Overall::Converging, vec![node, volumes, cluster, labels])
}

/// Everything that can go wrong, at once.
fn trouble() -> Report {
    let mut node = capability("node", CapabilityState::Overdue);
    node.waits.push(wait(
        "address",
        "an address in 10.0.1.0/24",
        "no interface has one yet; there are: eth0 203.0.113.7, eth0 2001:db8::7, lo 127.0.0.1",
        7500,
        Some("attach the machine to that network, or correct `[node] address`"),
    ));
    let mut volumes = capability("volumes", CapabilityState::Refused);
    volumes.refusals.push(RefusalReport {
        item: "volume/logs".into(),
        what: "format /dev/sdc".into(),
        why: "it holds an xfs filesystem with the label “old\x1b[31m”".into(),
        hint:
            "if nothing on it is needed, `wipefs -a /dev/disk/by-id/scsi-0HC_Volume_12345678`; else correct `device` \
               of volume logs"
                .into(),
        since: NOW - 200_000,
    });
    volumes.steps.push(StepReport {
        failing: Some(Failing {
            attempts: 7,
            since: NOW - 600,
            kind: ErrorKind::Unreachable,
            error: "D-Bus does not answer".into(),
            hint: Some("`systemctl status dbus`".into()),
            next_try: NOW + 48,
        }),
        ..step("volume/data", "mount /var/lib/data", "it is not mounted")
    });
    let mut cluster = capability("cluster", CapabilityState::Failing);
    cluster.steps.push(StepReport {
        risk: Risk::Restart,
        failing: Some(Failing {
            attempts: 1,
            since: NOW - 8,
            kind: ErrorKind::Other,
            error: "k3s ended with status 1; its last lines:\nlevel=error msg=\"bad option\"\nlevel=fatal msg=\"flag \
                    provided but not defined: --disabel\""
                .into(),
            hint: None,
            next_try: NOW - 1,
        }),
        ..step("k3s", "restart k3s.service", "its configuration changed: disable")
    });
    let mut labels = capability("labels", CapabilityState::Unknown);
    labels.error = Some("the API at 127.0.0.1:6443 did not answer within 5 s".into());
    let mut all = report(Overall::Degraded, vec![node, volumes, cluster, labels]);
    all.settings.files.push("/etc/bowline/config.d/60-more.toml".into());
    all.settings.errors = vec![
        "/etc/bowline/config.d/60-more.toml:3:1: unknown key `volumee`: did you mean `volume`?".into(),
        "/etc/bowline/config.d/60-more.toml:9:9: `mount` has to be an absolute path".into(),
    ];
    all
}

fn ready() -> Report {
    let done = ["node", "volumes", "cluster", "labels"].map(|name| capability(name, CapabilityState::Done));
    report(Overall::Ready, done.into())
}

/// What a daemon saw before the one that runs, which has not looked yet.
#[test]
fn what_an_earlier_daemon_saw_is_told_as_that() {
    let text = super::status(&Report { looks: 0, ..trouble() }, NOW, false);
    assert!(text.contains("not looked yet since it was started; before that, 12 s ago;"), "{text}");
}

fn no_settings() -> Report {
    let mut report = Report { at: NOW - 12, looks: 1, ..Report::default() };
    report.settings.absent = true;
    report
}

fn golden(name: &str, text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too wide: {line}");
        assert_eq!(line.trim_end(), line, "blanks at the end");
        assert!(!line.contains('\x1b'), "{line}");
    }
    let path = format!("src/show/testdata/{name}.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "UPDATE=1 rewrites {path}");
}

#[test]
fn golden_texts() {
    for (name, report) in
        [("first-boot", first_boot()), ("trouble", trouble()), ("ready", ready()), ("no-settings", no_settings())]
    {
        golden(&format!("{name}.plan"), &plan(&report, false));
        golden(&format!("{name}.status"), &status(&report, NOW, false));
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    for report in [first_boot(), trouble(), ready(), no_settings()] {
        for (plain, coloured) in
            [(plan(&report, false), plan(&report, true)), (status(&report, NOW, false), status(&report, NOW, true))]
        {
            let mut stripped = coloured.clone();
            for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
                stripped = stripped.replace(code, "");
            }
            assert_ne!(coloured, plain);
            assert_eq!(stripped, plain);
        }
    }
}
