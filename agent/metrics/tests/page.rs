//! The page for people: all of it escaped, without scripts, and with words beside every picture.

use bowline_engine::{CapabilityReport, CapabilityState, Note, Overall, RefusalReport, Report, WaitReport};
use bowline_metrics::{Disk, Folder, Foreseen, Outlook, View};

const HOSTILE: &str = "</style><script>alert(1)</script>\"' onload=x \u{202e}";

fn report() -> Report {
    let capability = CapabilityReport {
        name: "volumes".into(),
        state: CapabilityState::Waiting,
        steps: Vec::new(),
        waits: vec![WaitReport {
            item: "volume/data".into(),
            what: HOSTILE.into(),
            why: "it is not attached".into(),
            since: 900,
            overdue: None,
        }],
        refusals: Vec::new(),
        notes: vec![Note { item: "k3s".into(), text: HOSTILE.into() }],
        error: None,
    };
    Report {
        version: "0.1.0".into(),
        at: 1000,
        overall: Overall::Converging,
        capabilities: vec![capability],
        conditions: [("name".to_string(), HOSTILE.to_string())].into(),
        ..Report::default()
    }
}

fn disk(mountpoint: &str) -> Disk {
    Disk {
        mountpoint: mountpoint.into(),
        what: "ext4 on /dev/sdb".into(),
        size: 100_000_000_000,
        used: 83_000_000_000,
        available: 17_000_000_000,
        marks: vec![(0.95, "the kubelet evicts (nodefs.available)".into())],
        outlook: Some(Outlook {
            growth: 500_000.0,
            full: Foreseen::of(34_000.0, 0.7),
            inodes: Foreseen::never(0.9),
            evicts: Some(Foreseen::of(24_000.0, 0.8)),
        }),
        history: (0..100).map(|n| (f64::from(n - 99) * 60.0, 0.5 + f64::from(n) / 300.0)).collect(),
        ..Disk::default()
    }
}

fn page(report: &Report) -> bowline_metrics::Page {
    let hung = Disk { mountpoint: "/mnt/nas".into(), error: Some(HOSTILE.into()), ..Disk::default() };
    let folder = Folder {
        path: format!("/srv/{HOSTILE}"),
        depth: 1,
        bytes: Some(5_000_000_000),
        share: Some(0.05),
        growth: Some(3e9),
        left_out: 12,
        trouble: "1 could not be read".into(),
    };
    let view = View {
        report,
        now: 1060,
        disks: vec![disk("/"), disk(HOSTILE), hung],
        folders: vec![folder],
        measured: Some(1000),
        unseen: vec!["20 MB on / are in files that were deleted".into()],
    };
    view.page()
}

#[test]
fn why_nothing_is_foretold() {
    let of = |read_only, beyond| {
        let disk = Disk { outlook: None, read_only, beyond, ..disk("/mnt/data") };
        let report = report();
        let view =
            View { report: &report, now: 1000, disks: vec![disk], folders: vec![], measured: None, unseen: vec![] };
        let body = view.page().body;
        let (_, rest) = body.split_once("No forecast").unwrap();
        rest.split_once('.').unwrap().0.to_owned()
    };
    assert_eq!(of(false, false), " yet: it was not watched for long enough");
    assert_eq!(of(false, true), ": there are too many filesystems to watch them all");
    assert_eq!(of(true, false), ": it cannot fill");
}

#[test]
fn before_the_first_look_it_says_so() {
    let looked = |at| {
        let body = page(&Report { at, ..report() }).body;
        body.split_once("</main>").unwrap().1.split(" · ").find(|part| part.contains("looked")).unwrap().to_owned()
    };
    assert_eq!(looked(1000), "looked 60 s ago");
    assert_eq!(looked(0), "not looked yet");
}

#[test]
fn nothing_hostile_gets_through() {
    let report = report();
    let page = page(&report);
    assert!(!page.body.contains("<script") && !page.body.contains("\u{202e}"), "{}", page.body);
    // One style: the page's own, which the policy names by its hash; none in attributes.
    assert_eq!(page.body.matches("<style>").count(), 1);
    assert!(!page.body.contains(" style=") && !page.body.contains("http://") && !page.body.contains("https://"));
    let policy = page.policy.unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn what_is_drawn_is_said() {
    let report = report();
    let body = page(&report).body;
    for text in [
        "<html lang=\"en\">",
        "on the way",
        "<b>83 %</b> of 93.1 GiB in use, 15.8 GiB free",
        "aria-label=\"83 percent of / in use\"",
        "the kubelet evicts (nodefs.available) at 95 %",
        "It grows by 1.7 GiB an hour: the kubelet evicts in 6 h (80 % sure), full in 9 h (70 % sure).",
        "50 percent in use 99 min ago, 83 percent now, 86 percent in 99 min by forecast\"",
        "It cannot be measured: ",
        "Measured 60 s ago.",
        "4.7 GiB",
        "for 2 min: it is not attached",
    ] {
        assert!(body.contains(text), "{text} is not in {body}");
    }
    // Each picture has words.
    assert_eq!(body.matches("<svg").count(), body.matches("aria-label=\"").count());
    assert_eq!(body.matches("<svg").count(), 5, "two bars and two lines of disks, and a directory's bar");
}

/// What a browser told of first (`tests/booted/tests/page`).
#[test]
fn what_is_not_known_is_no_number_and_what_is_due_is_now() {
    let report = report();
    let mut full = disk("/");
    full.history.push((f64::NAN, f64::INFINITY));
    full.marks.push((f64::NAN, "nowhere".into()));
    full.outlook = full.outlook.map(|outlook| Outlook { evicts: Some(Foreseen::of(0.0, 1.0)), ..outlook });
    let folder = |path: &str, share: Option<f64>| Folder {
        path: path.into(),
        depth: 0,
        bytes: None,
        share,
        growth: Some(f64::NAN),
        left_out: 0,
        trouble: String::new(),
    };
    let view = View {
        report: &report,
        now: 1060,
        disks: vec![full],
        folders: vec![folder("/srv", None), folder("/opt", Some(f64::NAN))],
        measured: Some(1000),
        unseen: Vec::new(),
    };
    let body = view.page().body;
    assert!(body.contains("the kubelet evicts now, full in 9 h"), "{body}");
    assert_eq!(body.matches("<td>unknown</td><td>unknown</td>").count(), 2, "{body}");
    let drawings = body.split("<svg").skip(1).filter_map(|drawing| drawing.split("</svg>").next());
    assert!(drawings.into_iter().all(|drawing| !drawing.contains("NaN") && !drawing.contains("inf")), "{body}");
}

/// What a person can do stands beside what is wrong.
#[test]
fn hints_of_refusals_failures_and_deadlines_are_shown() {
    let mut report = report();
    report.capabilities[0].waits[0].overdue = Some("Attach the disk.".into());
    report.capabilities[0].refusals.push(RefusalReport {
        item: "volume/logs".into(),
        what: "format /dev/sdc".into(),
        why: "it is not blank".into(),
        hint: "Wipe it.".into(),
        since: 900,
    });
    let body = page(&report).body;
    for text in [
        "<b>volume/data</b> <span class=\"bad\">overdue</span> for ",
        "<p class=\"hint\">Attach the disk.</p>",
        "<b>volume/logs</b> <span class=\"bad\">refused:</span> format /dev/sdc: it is not blank<p class=\"hint\">Wipe it.</p>",
    ] {
        assert!(body.contains(text), "{text} is not in {body}");
    }
}
