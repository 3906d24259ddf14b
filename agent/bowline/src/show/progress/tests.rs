//! What a terminal and what a file get to see.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use super::super::tests::{report, step, wait};
use super::*;
use bowline_engine::{CapabilityReport, CapabilityState, Failing, Overall, RefusalReport};
use bowline_ports::ErrorKind;

fn cluster(at: i64, steps: Vec<StepReport>) -> Report {
    let (state, name) = (CapabilityState::Working, "cluster".to_string());
    let capability =
        CapabilityReport { name, state, steps, waits: vec![], refusals: vec![], notes: vec![], error: None };
    Report { at, ..report(Overall::Converging, vec![capability]) }
}

fn download(done: u64, total: u64) -> StepReport {
    let running = Some(ProgressValue { done: done << 19, total: total << 19, text: "downloading".into() });
    StepReport { running, ..step("k3s", "download https://mirror.example/k3s", "it is not installed") }
}

fn format(text: &str) -> StepReport {
    let running = Some(ProgressValue { done: 0, total: 0, text: text.into() });
    StepReport { running, ..step("volume/data", "format /dev/sdb as ext4", "it is blank") }
}

fn counted(text: &str, done: u64, total: u64) -> StepReport {
    let running = Some(ProgressValue { done, total, text: text.into() });
    StepReport { running, ..format("") }
}

fn failed(step: StepReport) -> StepReport {
    let failing = Failing {
        attempts: 1,
        since: 0,
        kind: ErrorKind::Timeout,
        error: "no answer\nfor 30 s".into(),
        hint: None,
        next_try: 9,
    };
    StepReport { running: None, failing: Some(failing), ..step }
}

/// What is written while these reports come, and at the end.
fn written(terminal: bool, reports: &[Report]) -> String {
    let (mut progress, mut out) = (Progress::new(terminal), Vec::new());
    for report in reports {
        progress.show(report, &mut out);
    }
    progress.end(&mut out);
    String::from_utf8(out).unwrap()
}

/// The lines of a terminal after all this, and the longest that ever stood there.
fn terminal(text: &str) -> (Vec<String>, usize) {
    let (mut lines, mut column, mut widest) = (vec![Vec::<char>::new()], 0, 0);
    for c in text.chars() {
        match c {
            '\r' => column = 0,
            '\n' => {
                lines.push(Vec::new());
                column = 0;
            }
            c => {
                let line = lines.last_mut().unwrap();
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
                widest = widest.max(column);
            }
        }
    }
    (lines.iter().map(|l| l.iter().collect::<String>().trim_end().to_string()).collect(), widest)
}

#[test]
fn a_step_that_showed_that_it_must_not_go_on_is_not_called_done() {
    let mut refused = cluster(104, vec![]);
    refused.capabilities[0].refusals.push(RefusalReport {
        item: "volume/data".into(),
        what: "format /dev/sdb".into(),
        why: "it holds data at byte 4096".into(),
        hint: String::new(),
        since: 104,
    });
    let said = written(false, &[cluster(100, vec![format("proving")]), refused]);
    let end = "ended: volume/data: format /dev/sdb as ext4: it holds data at byte 4096\n";
    assert!(said.ends_with(end), "{said}");
}

#[test]
fn a_file_gets_a_line_at_the_start_and_one_at_the_end() {
    let reports = [
        cluster(100, vec![download(0, 0)]),
        cluster(101, vec![download(10, 126), format("making ext4")]),
        cluster(102, vec![download(50, 126), format("making ext4")]),
        cluster(175, vec![failed(format(""))]),
        cluster(176, vec![]),
    ];
    let wanted = "begun: k3s: download https://mirror.example/k3s
begun: volume/data: format /dev/sdb as ext4
done: k3s: download https://mirror.example/k3s (1 min)
failed: volume/data: format /dev/sdb as ext4: no answer; for 30 s
";
    assert_eq!(written(false, &reports), wanted);
}

#[test]
fn a_terminal_gets_a_bar_that_goes_away() {
    let bar = |done, total| {
        terminal(&{
            let (mut progress, mut out) = (Progress::new(true), Vec::new());
            progress.show(&cluster(100, vec![download(3, 126)]), &mut out);
            progress.show(&cluster(100, vec![download(done, total)]), &mut out);
            String::from_utf8(out).unwrap()
        })
    };
    let title = "k3s: download https://mirror.example/k3s";
    assert_eq!(
        bar(48, 126).0,
        ["k3s: download https://mirro...  [=======>            ]   38 %  24 MiB of 63 MiB"],
        "{title}"
    );
    assert_eq!(bar(126, 126).0, ["k3s: download https://mirro...  [====================]  100 %  63 MiB of 63 MiB"]);
    assert_eq!(bar(5, 0).0, [format!("{title}  2.5 MiB")]);
    let reports = [
        cluster(100, vec![download(3, 126), format("writing inode tables")]),
        cluster(110, vec![format("writing inode tables")]),
        cluster(115, vec![]),
    ];
    let text = written(true, &reports);
    assert!(text.contains("  +1"), "{text:?}");
    assert!(text.contains("\rvolume/data: format /dev/sdb as ext4  writing inode tables"), "{text:?}");
    let (lines, widest) = terminal(&text);
    assert_eq!(
        lines,
        [format!("done: {title} (10 s)").as_str(), "done: volume/data: format /dev/sdb as ext4 (15 s)", ""]
    );
    assert!(widest < 80, "{widest}");
}

#[test]
fn formatting_has_a_bar_where_it_can_say_how_far_it_is() {
    let shown = |step: StepReport| {
        let (mut progress, mut out) = (Progress::new(true), Vec::new());
        progress.show(&cluster(100, vec![step]), &mut out);
        terminal(&String::from_utf8(out).unwrap()).0
    };
    // Bytes that are read, then groups of blocks that are written, as mkfs.ext4 counts them.
    for (step, line) in [
        (
            counted("proving it is blank", 68 << 20, 272 << 20),
            "volume/data: format /dev...  [=====>              ]   25 %  proving it is blank",
        ),
        (
            counted("writing inode tables", 12, 160),
            "volume/data: format /de...  [=>                  ]    7 %  writing inode tables",
        ),
        (
            counted("writing superblocks and filesystem accounting information", 0, 0),
            "volume/data: format /dev/sdb as ext4  writing superblocks a...",
        ),
    ] {
        assert_eq!(shown(step), [line]);
    }
}

#[test]
fn what_is_waited_for_is_said_once() {
    let mut waiting = cluster(100, vec![]);
    waiting.capabilities[0].waits.push(wait("address", "an address in 10.0.1.0/24", "there is none", 5, None));
    let text = written(false, &[waiting.clone(), waiting.clone()]);
    assert_eq!(text, "waiting for an address in 10.0.1.0/24\n");
    let (lines, _) = terminal(&written(true, &[waiting]));
    assert_eq!(lines, [""], "nothing of it stays on a terminal");
}

#[test]
fn what_goes_on_is_said_at_the_end() {
    let (lines, _) = terminal(&written(true, &[cluster(100, vec![format("making ext4")])]));
    assert_eq!(lines, ["still under way: volume/data: format /dev/sdb as ext4", ""]);
}

#[test]
fn percent_is_never_more_than_all() {
    let value = |done, total| ProgressValue { done, total, text: String::new() };
    assert_eq!(percent(&value(u64::MAX, 1)), 100);
    assert_eq!(percent(&value(u64::MAX / 2, u64::MAX)), 49);
    assert_eq!(percent(&value(5, 0)), 0);
}
