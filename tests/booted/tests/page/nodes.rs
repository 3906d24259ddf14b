//! Nodes to look at: settled, in all kinds of trouble, without settings, and with texts that would like to be more.

use bowline_metrics::{Disk, Folder, Foreseen, Outlook, Page, View};
use serde_json::{Value, json};

/// Seconds since 1970.
const NOW: i64 = 1_790_000_000;
const HOUR: f64 = 3600.0;
const GIGABYTE: u64 = 1_000_000_000;

/// What somebody may call a directory, a disk or a machine.
pub(crate) const HOSTILE: [&str; 6] = [
    "</title></style><script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "\" onload=\"document.title='run'\" '><svg onload=alert(1)>",
    "&lt;script&gt; &amp; {{7*7}} ${7*7} <!-- ]]>",
    "\u{202e}txt.exe\u{2066} שלום مرحبا",
    "/var/lib/kubelet/pods/0f1e2d3c-0f1e-2d3c-4b5a-69788796a5b4/volumes/kubernetes.io~empty-dir/\
     aVeryLongNameWithoutAnyPlaceToBreakIt_aVeryLongNameWithoutAnyPlaceToBreakIt_aVeryLongNameWithoutAnyPlaceToBreakIt_\
     aVeryLongNameWithoutAnyPlaceToBreakIt",
];

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Page)> {
    vec![("settled", settled()), ("degraded", degraded()), ("empty", empty()), ("hostile", hostile())]
}

/// A server that is as its settings say.
pub(crate) fn settled() -> Page {
    let names = ["node", "volumes", "join", "guard", "cluster", "persistent-volumes", "labels", "reclaim"];
    let capabilities: Vec<_> = names.iter().map(|name| capability(name, "done", json!({}))).collect();
    let root = disk("/", "ext4 on /dev/sda1", 31, 0.4);
    let data = disk("/var/lib/kafka", "xfs on /dev/sdb", 12, 0.0);
    page(
        &report("ready", "k3s-control", json!(capabilities)),
        vec![root, data],
        vec![
            folder("/var/lib/rancher/k3s", 0, 14 * GIGABYTE, 0.17),
            folder("/var/lib/rancher/k3s/agent/containerd", 1, 11 * GIGABYTE, 0.14),
            folder("/var/log", 0, GIGABYTE, 0.01),
        ],
        Vec::new(),
    )
}

/// A server of which hardly anything is as it should be.
fn degraded() -> Page {
    let mut full = disk("/", "ext4 on /dev/sda1", 97, 0.9);
    full.marks.push((0.96, "full for all but root".into()));
    full.outlook = Some(Outlook {
        growth: 700_000.0,
        full: Foreseen::of(2.5 * HOUR, 0.93),
        inodes: Foreseen::of(60.0 * HOUR, 0.5),
        evicts: Some(Foreseen::of(0.0, 1.0)),
    });
    let mut warm = disk("/var/lib/kafka", "xfs on /dev/sdb", 83, 0.3);
    warm.outlook =
        Some(Outlook { growth: -40_000.0, full: Foreseen::never(0.4), inodes: Foreseen::never(0.4), evicts: None });
    let mut fresh = disk("/mnt/archive", "btrfs on /dev/sdc", 0, 0.0);
    (fresh.read_only, fresh.outlook, fresh.history) = (true, None, Vec::new());
    let hung = Disk {
        mountpoint: "/mnt/nas".into(),
        what: "nfs4 on nas.example:/export/backup".into(),
        error: Some("statvfs /mnt/nas: no answer within 2 s".into()),
        ..Disk::default()
    };
    let mut folders = vec![folder("/var/lib/rancher/k3s", 0, 43 * GIGABYTE, 0.54)];
    for number in 0..58_u64 {
        let pod = format!(
            "/var/lib/rancher/k3s/storage/pvc-{number:04x}c0de-77aa-4a4b-9b8b-0242ac{number:06x}_shop_data-{number}"
        );
        let depth = u8::try_from(1 + number % 4).unwrap_or(4);
        folders.push(folder(&pod, depth, (59 - number) * GIGABYTE / 60, (59 - number) as f64 / 4800.0));
    }
    let mut unread = folder("/srv/private", 0, 0, 0.0);
    (unread.bytes, unread.share, unread.trouble) = (None, None, "permission denied (3 directories)".into());
    folders.push(unread);
    page(
        &report("degraded", "k3s-control", trouble()),
        vec![full, warm, fresh, hung],
        folders,
        vec![
            "1.1 GiB lie beneath what is mounted at /var/lib/kafka, where nobody sees them.".into(),
            "324.2 MiB on / are in files that were deleted and are still open, most of them by java (4711), nginx (80)."
                .into(),
        ],
    )
}

/// A machine that was told nothing yet, right after its boot.
fn empty() -> Page {
    let mut report = report("converging", "k3s-control", json!([]));
    report["conditions"] = json!({});
    report["settings"]["absent"] = json!(true);
    let view = |report: &bowline_engine::Report| {
        View { report, now: NOW, disks: Vec::new(), folders: Vec::new(), measured: None, unseen: Vec::new() }.page()
    };
    view(&read(&report))
}

/// Every text is one of those that would like to be more, all at once.
fn hostile() -> Page {
    let all = HOSTILE.join(" ");
    let capabilities = json!([capability(
        &all,
        "refused",
        json!({
            "steps": [step(&all, &all, Some(&all))],
            "waits": [{ "item": all, "what": all, "why": all, "since": NOW - 300, "overdue": all }],
            "refusals": [{ "item": all, "what": all, "why": all, "hint": all, "since": NOW - 300 }],
            "notes": [{ "item": all, "text": all }],
            "error": all,
        })
    ),]);
    let mut report = report("degraded", &all, capabilities);
    report["version"] = json!(all);
    report["settings"]["errors"] = json!([all]);
    let mut shown = disk(&all, &all, 83, 0.2);
    shown.marks = vec![(0.9, all.clone()), (7.0, all.clone()), (f64::NAN, all.clone())];
    shown.history.push((f64::NAN, f64::INFINITY));
    let hung = Disk { mountpoint: all.clone(), what: all.clone(), error: Some(all.clone()), ..Disk::default() };
    let mut within = folder(&all, 200, u64::MAX, 1e17);
    within.trouble = all.clone();
    within.left_out = u64::MAX;
    page(
        &report,
        vec![shown, hung],
        vec![within.clone(), Folder { share: Some(f64::NAN), ..within.clone() }, Folder { share: None, ..within }],
        vec![all],
    )
}

fn page(report: &Value, disks: Vec<Disk>, folders: Vec<Folder>, unseen: Vec<String>) -> Page {
    let report = read(report);
    View { report: &report, now: NOW, disks, folders, measured: Some(NOW - 5000), unseen }.page()
}

/// As `status.json` has it.
fn report(overall: &str, name: &str, capabilities: Value) -> Value {
    json!({
        "schema": 1, "version": "0.1.0", "at": NOW - 40, "looks": 12, "overall": overall,
        "settings": { "files": ["/etc/bowline/10-node.toml"], "errors": [], "absent": false },
        "capabilities": capabilities,
        "conditions": { "name": name, "address": "10.0.1.10" },
    })
}

#[allow(clippy::expect_used)] // A node that cannot be read is a fault of this file.
fn read(report: &Value) -> bowline_engine::Report {
    serde_json::from_value(report.clone()).expect("a report")
}

/// The parts that are not said are empty.
fn capability(name: &str, state: &str, parts: Value) -> Value {
    let mut all =
        json!({ "name": name, "state": state, "steps": [], "waits": [], "refusals": [], "notes": [], "error": null });
    for (key, value) in parts.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    all
}

fn step(item: &str, what: &str, error: Option<&str>) -> Value {
    let failing = error.map(|error| {
        json!({
            "attempts": 7, "since": NOW - 900, "kind": "unreachable", "error": error, "hint": null, "next_try": NOW + 60,
        })
    });
    json!({
        "item": item, "what": what, "why": "the settings say so", "risk": "safe", "action": null, "running": null,
        "failing": failing,
    })
}

fn trouble() -> Value {
    let download = "download https://mirror.example.internal/k3s/releases/download/v1.34.1%2Bk3s1/k3s-airgap-images";
    let mut running = step("volume/data", "format /dev/sdb as ext4", None);
    running["running"] = json!({ "done": 300, "total": 1000, "text": "journal" });
    json!([
        capability(
            "node",
            "done",
            json!({ "notes": [
            { "item": "/", "text": "/ is expected to have the kubelet evict now, which is within pressure.critical" },
        ] })
        ),
        capability(
            "volumes",
            "refused",
            json!({
                "steps": [running],
                "refusals": [{
                    "item": "volume/logs", "what": "format /dev/sdc", "since": NOW - 8000,
                    "why": "/dev/sdc is not blank: it has a partition table (gpt) with 2 partitions",
                    "hint": "Wipe it if nothing on it is needed: wipefs -a /dev/disk/by-id/scsi-0HC_Volume_12345679",
                }],
            })
        ),
        capability(
            "join",
            "overdue",
            json!({ "waits": [{
            "item": "join", "what": "an answer of https://10.0.1.11:7470", "why": "this machine asks to be let in",
            "since": NOW - 7200, "overdue": "Is 10.0.1.11 a server of this cluster, and is its port 7470 open?",
        }] })
        ),
        capability(
            "guard",
            "waiting",
            json!({ "waits": [{
            "item": "guard", "what": "bowline-guard.service", "why": "pods must not reach the issuers",
            "since": NOW - 3, "overdue": null,
        }] })
        ),
        capability(
            "cluster",
            "failing",
            json!({ "steps": [
            step("k3s/binary", download, Some("the server answered 503 Service Unavailable")),
            step("k3s", "start K3s", None),
        ] })
        ),
        capability(
            "labels",
            "unknown",
            json!({ "error": "the Kubernetes API at https://127.0.0.1:6443 cannot be reached" })
        ),
    ])
}

/// A filesystem of 80 GB, watched for a day in which it came to be so full from `less` below it.
fn disk(mountpoint: &str, what: &str, percent: u64, less: f64) -> Disk {
    let size = 80 * GIGABYTE;
    let used = size / 100 * percent;
    let share = percent as f64 / 100.0;
    // It rises, with the saw-tooth of a garbage collection.
    let history = (0..=144).map(|n| {
        let rest = 1.0 - f64::from(n) / 144.0;
        (-600.0 * f64::from(144 - n), (share - less * rest + f64::from(n % 24) / 400.0 * rest).max(0.0))
    });
    Disk {
        mountpoint: mountpoint.into(),
        what: what.into(),
        size,
        used,
        available: size - used,
        marks: vec![(0.9, "the kubelet evicts (nodefs.available)".into())],
        outlook: Some(Outlook {
            growth: 0.0,
            full: Foreseen::never(0.9),
            inodes: Foreseen::never(0.9),
            evicts: Some(Foreseen::never(0.9)),
        }),
        history: history.collect(),
        ..Disk::default()
    }
}

fn folder(path: &str, depth: u8, bytes: u64, share: f64) -> Folder {
    Folder {
        path: path.into(),
        depth,
        bytes: Some(bytes),
        share: Some(share),
        growth: Some(2e9),
        left_out: 0,
        trouble: String::new(),
    }
}
