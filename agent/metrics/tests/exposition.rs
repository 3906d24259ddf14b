//! The exposition as golden text, and read back by a parser of the format. `UPDATE=1` rewrites the golden text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bowline_engine::{
    CapabilityReport, CapabilityState, Failing, Overall, RefusalReport, Report, Risk, SettingsReport, StepReport,
    WaitReport,
};
use bowline_metrics::{
    Counters, Enrolments, Exhaustion, FilesystemOutlook, FilesystemSample, Foreseen, Form, Outlook, Phase, Process,
    Role, Route, Sample, StepResult, healthz, index, metrics, readyz,
};
use bowline_ports::{Arch, Counted, Deleted, DirectorySize, ErrorKind, Hidden, Measured, Mount, Part, Space, Survey};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const NOW: i64 = 1_790_000_000;

fn capability(name: &str, state: CapabilityState) -> CapabilityReport {
    CapabilityReport {
        name: name.into(),
        state,
        steps: vec![],
        waits: vec![],
        refusals: vec![],
        notes: vec![],
        error: None,
    }
}

fn degraded() -> Report {
    let mut volumes = capability("volumes", CapabilityState::Refused);
    volumes.steps.push(StepReport {
        item: "volume/images".into(),
        what: "mount /dev/sdc at /var/lib/images".into(),
        why: "it is not mounted".into(),
        risk: Risk::Safe,
        action: serde_json::Value::Null,
        running: None,
        failing: Some(Failing {
            attempts: 3,
            since: NOW - 90,
            kind: ErrorKind::Timeout,
            error: "D-Bus does not answer".into(),
            hint: None,
            next_try: NOW + 20,
        }),
    });
    volumes.refusals.push(RefusalReport {
        item: "volume/logs".into(),
        what: "format /dev/sdd".into(),
        why: "it holds xfs".into(),
        hint: "take the disk that is meant".into(),
        since: NOW - 60,
    });
    let mut cluster = capability("cluster", CapabilityState::Overdue);
    for (since, overdue) in [(NOW - 30, None), (NOW - 660, Some("look at the console".to_string()))] {
        cluster.waits.push(WaitReport {
            item: "k3s".into(),
            what: format!("something since {since}"),
            why: "the gate".into(),
            since,
            overdue,
        });
    }
    Report {
        schema: Report::SCHEMA,
        version: "0.1.0".into(),
        at: NOW - 5,
        looks: 17,
        overall: Overall::Degraded,
        settings: SettingsReport { files: vec!["50-node.toml".into()], errors: vec!["bad".into()], absent: false },
        capabilities: vec![capability("node", CapabilityState::Done), volumes, cluster],
        conditions: [
            ("address", "10.0.1.20"),
            ("clock", "ok"),
            ("default-route", "ok"),
            ("gate/data", "set"),
            ("k3s", "installed"),
            ("reclaimed/journal", "123456789"),
            ("reserve", "268435456"),
            ("volume/data", "ready"),
        ]
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .into(),
    }
}

fn filesystem(target: &str, source: &str, fstype: &str, space: Option<Space>) -> FilesystemSample {
    let mount = Mount {
        target: PathBuf::from(target),
        source: source.into(),
        number: "8:1".into(),
        fstype: fstype.into(),
        root: "/".into(),
        read_only: fstype == "nfs4",
        errors: 0,
        by_user: false,
    };
    FilesystemSample { mount, space }
}

fn filesystems() -> Vec<FilesystemSample> {
    let space =
        Space { size: 21_474_836_480, free: 2_000_000, available: 1_000_000, inodes: 1_310_720, inodes_free: 77 };
    vec![
        filesystem("/", "/dev/sda1", "ext4", Some(space)),
        filesystem("/mnt/a \"b\"\\c\nd", "/dev/sdb", "btrfs", Some(Space { inodes: 0, inodes_free: 0, ..space })),
        filesystem("/mnt/nas", "nas:/export", "nfs4", None),
    ]
}

/// The root filesystem fills, of the second nothing can be foretold yet, and the third does not answer.
fn exhaustion() -> Exhaustion {
    let (full, never, evicts) = (Foreseen::of(7200.0, 0.75), Foreseen::never(0.6), Foreseen::of(3600.0, 0.8));
    let outlook = Outlook { growth: 1234.5, full, inodes: never, evicts: Some(evicts) };
    let signals = vec![("nodefs.available", 1_073_741_824, Some(evicts)), ("nodefs.inodesFree", 65_536, Some(never))];
    let size = |allocated, inodes| DirectorySize { allocated, apparent: allocated / 2, inodes };
    let images = Measured {
        path: "/var/lib/images".into(),
        real: "/var/lib/images".into(),
        size: Some(size(8_000_000, 12)),
        parts: vec![Part { path: "/var/lib/images/layers".into(), depth: 1, size: size(7_000_000, 9) }],
        left_out: 3,
        seconds: 0.5,
        trouble: String::new(),
    };
    let unreadable = Measured { path: "/srv/x".into(), trouble: "/srv/x: denied".into(), ..Measured::default() };
    let survey = Survey {
        at: NOW - 600,
        directories: vec![images, unreadable],
        hidden: vec![Hidden { mount_point: "/mnt/nas".into(), bytes: 4096 }],
        deleted: vec![Deleted { number: "8:1".into(), bytes: 77_000, files: 2, holders: vec![] }],
        deleted_trouble: String::new(),
    };
    Exhaustion {
        outlooks: vec![
            FilesystemOutlook { outlook: Some(outlook), signals },
            FilesystemOutlook::default(),
            FilesystemOutlook::default(),
        ],
        survey: Some(Arc::new(survey)),
        directory_growth: BTreeMap::from([("/var/lib/images".into(), 55.5)]),
        survey_failed: true,
        survey_every: Some(3600),
        eviction_unread: true,
        counted: Arc::new(Counted {
            io_errors: vec![("sda".into(), 3)],
            filesystem_errors: vec![("8:1".into(), 1)],
            oom_kills: Some(2),
            reboot_required: true,
        }),
    }
}

fn with_sample<T>(report: &Report, f: impl FnOnce(&Sample<'_>) -> T) -> T {
    let counters = Counters::new(&["node", "volumes", "cluster"]).unwrap();
    counters.looked(0.004);
    counters.looked(0.3);
    counters.step("volumes", StepResult::Failed);
    counters.scraped();
    counters.reloaded(false);
    let requests = [("enroll", "granted"), ("enroll", "not-let-in"), ("leave", "left")];
    let enrolments = Enrolments::new(requests, &["answered", "full"]).unwrap();
    enrolments.members(Some((5, 1)));
    enrolments.answered("enroll", "granted");
    enrolments.ended("full");
    let volumes = ["data".to_string(), "scratch".to_string()];
    f(&Sample {
        report,
        now: NOW,
        arch: Arch::Amd64,
        volumes: &volumes,
        role: Some(Role::Server),
        filesystems: &filesystems(),
        phases: &[(Phase::Settings, 0.25), (Phase::Download, 12.5)],
        k3s_restarts: Some(2),
        process: Some(Process {
            cpu_seconds: 1.25,
            resident_bytes: 6_000_000,
            threads: 2,
            started: NOW as f64 - 100.0,
        }),
        counters: Some(&counters),
        enrolments: Some(&enrolments),
        exhaustion: Some(&exhaustion()),
        mounts_unread: false,
        clock_synchronised: true,
        clock_offset: Some(-0.0021),
    })
}

#[test]
fn the_whole_exposition_in_both_forms() {
    for (form, path) in
        [(Form::Text, "tests/golden/degraded.prom"), (Form::OpenMetrics, "tests/golden/degraded.openmetrics")]
    {
        let text = with_sample(&degraded(), |sample| sample.render(form));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(path).unwrap(), "UPDATE=1 rewrites {path}");
    }
}

type Labels = BTreeMap<String, String>;

/// A strict reader of the text format: families with help and type, contiguous, no series twice.
fn parse(text: &str) -> BTreeMap<String, Vec<(Labels, f64)>> {
    let mut series: BTreeMap<String, Vec<(Labels, f64)>> = BTreeMap::new();
    let (mut family, mut seen, mut kind) = (String::new(), BTreeSet::new(), "");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(seen.insert(name.to_string()), "{name} comes twice");
            assert!(name.starts_with("bowline_") && help.ends_with('.'), "{line}");
            family = name.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, its_kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert_eq!(its_kind == "counter", name.ends_with("_total"), "{line}");
            kind = its_kind;
        } else {
            let (name, labels, value) = parse_series(line);
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s).filter(|_| kind == "histogram"));
            assert_eq!(base.unwrap_or(&name), family, "{line} stands in another family");
            let all = series.entry(name).or_default();
            assert!(!all.iter().any(|(l, _)| *l == labels), "{line} comes twice");
            all.push((labels, value));
        }
    }
    series
}

fn parse_series(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    while let Some(label) = rest.strip_prefix(['{', ',']) {
        let (key, value) = label.split_once("=\"").unwrap();
        let (mut text, mut chars, mut escaped) = (String::new(), value.char_indices(), false);
        rest = loop {
            let (at, c) = chars.next().expect("an unfinished label value");
            match (escaped, c) {
                (true, 'n') => text.push('\n'),
                (true, '\\' | '"') => text.push(c),
                (true, _) => panic!("a bad escape in {line}"),
                (false, '\\') => {}
                (false, '"') => break &value[at + 1..],
                (false, _) => text.push(c),
            }
            escaped = !escaped && c == '\\';
        };
        assert!(labels.insert(key.to_string(), text).is_none());
    }
    let value = rest.strip_prefix('}').unwrap_or(rest).strip_prefix(' ').unwrap();
    (name.to_string(), labels, value.parse().unwrap())
}

fn value(series: &BTreeMap<String, Vec<(Labels, f64)>>, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
    let matches = |l: &Labels| wanted.iter().all(|(k, v)| l.get(*k).is_some_and(|has| has == v));
    series.get(name)?.iter().find(|(l, _)| matches(l)).map(|(_, v)| *v)
}

#[test]
fn it_reads_back() {
    let series = parse(&with_sample(&degraded(), |sample| sample.render(Form::Text)));
    let one = |name: &str, labels: &[(&str, &str)]| value(&series, &format!("bowline_{name}"), labels);
    assert_eq!(one("state", &[("state", "degraded")]), Some(1.0));
    assert_eq!(one("state", &[("state", "ready")]), Some(0.0));
    assert_eq!(one("capability_state", &[("capability", "volumes"), ("state", "refused")]), Some(1.0));
    assert_eq!(one("wait_age_seconds", &[("capability", "cluster")]), Some(660.0));
    assert_eq!(one("waits_overdue", &[("capability", "cluster")]), Some(1.0));
    assert_eq!(one("settings_valid", &[]), Some(0.0));
    assert_eq!(one("k3s_installed", &[]), Some(1.0));
    assert_eq!(one("k3s_active", &[]), Some(0.0));
    assert_eq!(one("node_role", &[("role", "server")]), Some(1.0));
    assert_eq!(one("node_role", &[("role", "agent")]), Some(0.0));
    let state = |volume, state| one("volume_state", &[("volume", volume), ("state", state)]);
    assert_eq!(state("data", "done"), Some(1.0));
    assert_eq!(state("images", "failing"), Some(1.0));
    assert_eq!(state("logs", "refused"), Some(1.0));
    assert_eq!(state("scratch", "unknown"), Some(1.0), "of the settings, but nothing is known of it");
    let odd = "/mnt/a \"b\"\\c\nd";
    assert_eq!(one("filesystem_available_bytes", &[("mountpoint", odd), ("fstype", "btrfs")]), Some(1e6));
    assert_eq!(one("filesystem_inodes", &[("mountpoint", odd)]), None);
    assert_eq!(one("filesystem_inodes_free", &[("mountpoint", "/")]), Some(77.0));
    assert_eq!(one("filesystem_error", &[("mountpoint", "/mnt/nas")]), Some(1.0), "an error is a series, not a gap");
    assert_eq!(one("filesystem_error", &[("mountpoint", "/")]), Some(0.0));
    assert_eq!(one("filesystem_size_bytes", &[("mountpoint", "/mnt/nas")]), None);
    assert_eq!(one("filesystem_readonly", &[("mountpoint", "/mnt/nas")]), Some(1.0));
    assert_eq!(one("steps_total", &[("capability", "volumes"), ("result", "failed")]), Some(1.0));
    assert_eq!(one("settings_reloads_total", &[("result", "applied")]), Some(0.0));
    assert_eq!(one("enroll_requests_total", &[("path", "enroll"), ("result", "granted")]), Some(1.0));
    assert_eq!(one("enroll_requests_total", &[("path", "leave"), ("result", "left")]), Some(0.0));
    assert_eq!(one("enroll_connections_total", &[("end", "full")]), Some(1.0));
    assert_eq!(one("look_seconds_bucket", &[("le", "0.005")]), Some(1.0));
    assert_eq!(one("look_seconds_count", &[]), Some(2.0));
    assert_eq!(one("boot_phase_seconds", &[("phase", "download")]), Some(12.5));
}

#[test]
fn no_text_of_a_report_is_shown() {
    let text = with_sample(&degraded(), |sample| sample.render(Form::Text));
    for words in ["D-Bus does not", "holds xfs", "look at the console", "10.0.1.20", "bad", "50-node"] {
        assert!(!text.contains(words), "{words}");
    }
}

#[test]
fn a_command_has_no_counters_and_no_process() {
    let report = Report { version: "0.1.0".into(), ..Report::default() };
    let sample = Sample {
        report: &report,
        now: NOW,
        arch: Arch::Arm64,
        volumes: &[],
        role: None,
        filesystems: &[],
        mounts_unread: false,
        phases: &[],
        k3s_restarts: None,
        process: None,
        counters: None,
        enrolments: None,
        exhaustion: None,
        clock_synchronised: true,
        clock_offset: None,
    };
    let series = parse(&sample.render(Form::Text));
    assert_eq!(value(&series, "bowline_build_info", &[("arch", "arm64"), ("version", "0.1.0")]), Some(1.0));
    for role in ["server", "agent"] {
        assert_eq!(value(&series, "bowline_node_role", &[("role", role)]), Some(0.0), "no gap without [cluster]");
    }
    assert!(!series.keys().any(|name| ["process", "scrapes", "enroll"].iter().any(|it| name.contains(it))));
}

#[test]
fn pages() {
    let bad = degraded();
    let good = Report { overall: Overall::Ready, version: "0.1.0".into(), ..Report::default() };
    assert_eq!(readyz(&bad).status, 503);
    assert_eq!((readyz(&good).status, readyz(&good).body.as_str()), (200, "ready: the node is as its settings say\n"));
    let minute = Duration::from_secs(60);
    assert_eq!(healthz(minute, 2 * minute).status, 200);
    let late = healthz(3 * minute, 2 * minute);
    assert_eq!((late.status, late.body.as_str()), (503, "the loop has not turned for 180 s, allowed are 120 s\n"));
    assert!(index(&bad).body.contains("settings invalid"));
    with_sample(&good, |sample| assert_eq!(metrics(sample, "").content_type, bowline_metrics::CONTENT_TYPE));
    assert_eq!(Route::of("/metrics"), Some(Route::Metrics));
    assert_eq!(Route::of("/metrics/"), None);
}
