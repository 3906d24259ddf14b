//! What is due, and what a small disk keeps.

use super::*;
use bowline_ports::{FileKind, ReclaimRecord};
use bowline_settings::SourceFile;

const JOURNAL_AND_LOGS: &str = "
[reclaim]
order = [\"journal\", \"rotated-logs\"]
[reclaim.rotated-logs]
at = \"80%\"
[reclaim.journal]
at = \"90%\"
";
const K3S: &str = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n";
const NOW: i64 = 1_790_000_000;

fn reclaim(text: &str) -> Reclaim {
    let file = SourceFile { path: "/etc/bowline/config.d/10.toml".into(), text: text.into(), mode: 0o644, uid: 0 };
    let settings = bowline_settings::load(&[file]).unwrap().settings;
    Reclaim {
        wanted: settings.reclaim,
        reserve: settings.pressure.reserve,
        volumes: vec![("data".into(), "/var/lib/rancher".into())],
        name: None,
        k3s: settings.cluster.map(|_| "/usr/local/bin/k3s".into()),
    }
}

/// A filesystem of this size of which so many hundredths are in use.
fn used(gib: u64, share: u64) -> Space {
    let free = (gib << 30) / 100 * (100 - share);
    Space { size: gib << 30, free, available: free, inodes: 100, inodes_free: 50 }
}

fn mount(target: &str, fstype: &str) -> Mount {
    Mount {
        target: target.into(),
        source: "/dev/sda1".into(),
        number: "8:1".into(),
        fstype: fstype.into(),
        root: "/".into(),
        read_only: false,
        errors: 0,
        by_user: false,
    }
}

fn facts(places: &[Option<Space>]) -> Facts {
    let real = vec![Some("/var/somewhere".into()); places.len()];
    Facts { now: NOW, clock: true, places: places.to_vec(), real, ..Facts::default() }
}

fn steps(reclaim: &Reclaim, facts: &Facts) -> Vec<String> {
    let plan = reclaim.plan(facts, &Conditions::default());
    plan.steps.iter().map(|step| format!("{}: {} ({})", step.item, step.action, step.why)).collect()
}

fn notes(reclaim: &Reclaim, facts: &Facts) -> Vec<String> {
    let plan = reclaim.plan(facts, &Conditions::default());
    plan.notes.iter().map(|note| format!("{}: {}", note.item, note.text)).collect()
}

#[test]
fn a_filesystem_without_inodes_is_full_too() {
    let few = |free| Some(Space { inodes: 1000, inodes_free: free, ..used(100, 10) });
    let all = |free| steps(&reclaim(JOURNAL_AND_LOGS), &facts(&[few(free), few(free)]));
    assert!(all(201).is_empty());
    let logs = "rotated-logs: remove rotated logs that are older than 7 d, at most 1 GiB \
                (/ has 80% of its inodes in use, and `reclaim.rotated-logs.at` is 80%)";
    assert_eq!(all(200), [logs]);
    assert!(all(0)[0].starts_with("journal: "));
    // btrfs has no number of them.
    let none = Some(Space { inodes: 0, inodes_free: 0, ..used(100, 10) });
    assert!(steps(&reclaim(JOURNAL_AND_LOGS), &facts(&[none, none])).is_empty());
}

#[test]
fn nothing_is_freed_that_nobody_allowed() {
    let nothing = reclaim("[pressure]\nreserve = \"off\"\n");
    assert_eq!(nothing.plan(&facts(&[]), &Conditions::default()), Plan::default());
}

#[test]
fn the_first_that_is_due_is_freed_and_then_the_next() {
    let reclaim = reclaim(JOURNAL_AND_LOGS);
    assert!(steps(&reclaim, &facts(&[Some(used(100, 79)), Some(used(100, 79))])).is_empty());
    // Each has its own threshold.
    let logs = "rotated-logs: remove rotated logs that are older than 7 d, at most 1 GiB \
                (/ is 85% full, and `reclaim.rotated-logs.at` is 80%)";
    assert_eq!(steps(&reclaim, &facts(&[Some(used(100, 85)), Some(used(100, 85))])), [logs]);
    let mut full = facts(&[Some(used(100, 95)), Some(used(100, 95))]);
    let journal = "journal: vacuum the journal to 100 MiB (/ is 95% full, and `reclaim.journal.at` is 90%)";
    assert_eq!(steps(&reclaim, &full), [journal]);
    // What was freed is left alone for an hour: then it is the next one's turn.
    let done = |at, freed, trouble: &str| ReclaimRecord { at, freed, total: 9 << 20, trouble: trouble.into() };
    full.record.insert("journal".into(), done(NOW - 10, 3 << 20, ""));
    assert!(steps(&reclaim, &full)[0].starts_with("rotated-logs: "));
    assert_eq!(notes(&reclaim, &full), ["journal: 3 MiB were freed at 2026-09-21 14:13 UTC"]);
    let plan = reclaim.plan(&full, &Conditions::default());
    assert_eq!(plan.conditions["reclaimed/journal"], (9 << 20).to_string());
    // One that failed is told, and holds nothing up.
    full.record.insert("rotated-logs".into(), done(NOW - 5, 0, "no answer"));
    assert!(steps(&reclaim, &full).is_empty());
    assert!(notes(&reclaim, &full)[1].ends_with(": no answer"));
    full.record.insert("journal".into(), done(NOW - 3600, 0, ""));
    assert_eq!(steps(&reclaim, &full), [journal]);
    // A clock that was set back holds nothing up for longer.
    full.record.insert("journal".into(), done(NOW + 90_000, 0, ""));
    assert_eq!(steps(&reclaim, &full), [journal]);
}

#[test]
fn what_is_not_there_or_in_a_volume_stays() {
    let text = format!("{K3S}[reclaim]\norder = [\"images\", \"pod-logs\", \"journal\"]\n");
    let reclaim = reclaim(&text);
    let mut full = facts(&[Some(used(100, 99)), Some(used(100, 99)), None]);
    let inside = "images: /var/lib/rancher/k3s/agent/containerd is in the volume data: nothing is freed there";
    full.ended = Some(Err("no API".into()));
    assert!(steps(&reclaim, &full).is_empty());
    assert_eq!(notes(&reclaim, &full), [inside, "pod-logs: which pods have ended is not known: no API"]);
    full.ended = Some(Ok(vec![]));
    assert!(steps(&reclaim, &full).is_empty());
    full.ended = Some(Ok(vec!["default_job_1".into()]));
    assert!(steps(&reclaim, &full)[0].starts_with("pod-logs: remove the logs of 1 ended pods that are older than 1 d"));
}

#[test]
fn where_the_runtime_has_another_place_it_is_told() {
    let text = "[cluster]\ndistribution = \"none\"\n[reclaim]\norder = [\"images\", \"journal\"]\n";
    let file = SourceFile { path: "/etc/bowline/config.d/10.toml".into(), text: text.into(), mode: 0o644, uid: 0 };
    let settings = bowline_settings::load(&[file]).unwrap().settings;
    assert!(settings.cluster.is_none());
    let reclaim = Reclaim { k3s: None, ..reclaim(text) };
    let mut missing = facts(&[None, Some(used(100, 99))]);
    missing.real[0] = None;
    assert!(notes(&reclaim, &missing).is_empty(), "it only did not answer");
    missing.absent.insert("images".into());
    let told = "images: /var/lib/containerd is not there, so no image is removed: images of other runtimes are left to the kubelet";
    assert_eq!(notes(&reclaim, &missing), [told]);
    assert!(steps(&reclaim, &missing)[0].starts_with("journal: "), "it holds nothing up");
    let k3s = Reclaim { k3s: Some("/usr/local/bin/k3s".into()), volumes: vec![], ..reclaim };
    assert!(notes(&k3s, &missing).is_empty(), "K3s has not started yet");
}

fn a_reserve(size: u64) -> Meta {
    Meta { kind: FileKind::File, mode: 0o600, owner: (0, 0), size, device: "8:1".into(), immutable: None }
}

#[test]
fn a_small_disk_keeps_room_and_gives_it_up_in_time() {
    let auto = reclaim("[log]\nlevel = \"info\"\n");
    let at = |gib, share, held: Option<u64>| Facts {
        home: Some(used(gib, share)),
        reserve: held.map(a_reserve),
        mounts: vec![mount("/", "ext4")],
        ..facts(&[])
    };
    let condition = |facts: &Facts| auto.plan(facts, &Conditions::default()).conditions.get("reserve").cloned();
    let keep = "reserve: keep 256 MiB for when the disk is about to be full (/var/lib/bowline/reserve) (there is none)";
    assert_eq!(steps(&auto, &at(40, 50, None)), [keep]);
    assert!(steps(&auto, &at(5, 50, None))[0].starts_with("reserve: keep 102 MiB"), "a fiftieth of a smaller one");
    assert!(steps(&auto, &at(40, 98, None)).is_empty(), "it would make it full");
    assert_eq!(condition(&at(40, 98, None)).as_deref(), Some("missing"));
    let held = Some(256 << 20);
    assert!(steps(&auto, &at(40, 99, held)).is_empty(), "400 MiB are left");
    assert_eq!(condition(&at(40, 99, held)), Some((256 << 20).to_string()));
    let give_up = &steps(&auto, &at(40, 100, held))[0];
    assert!(give_up.starts_with("reserve: give up the reserve") && give_up.contains("about to be full"), "{give_up}");
    assert!(steps(&auto, &at(64, 50, None)).is_empty(), "large enough without");
    assert_eq!(condition(&at(64, 50, None)), None);
    let elsewhere = Facts { mounts: vec![mount("/", "ext4"), mount("/var/lib/bowline", "ext4")], ..at(40, 50, None) };
    assert!(steps(&auto, &elsewhere).is_empty(), "on a filesystem of its own nothing is kept");
    for without in ["zfs", "ext3", "btrfs"] {
        let without = Facts { mounts: vec![mount("/", without)], ..at(40, 50, None) };
        assert!(steps(&auto, &without).is_empty() && condition(&without).is_none(), "it promises no room, or keeps it");
    }
    let asked = reclaim("[pressure]\nreserve = \"256MiB\"\n");
    let btrfs = Facts { mounts: vec![mount("/", "btrfs")], ..at(40, 50, None) };
    assert_eq!(steps(&asked, &btrfs), [keep], "who knows that there are no snapshots may have one");
}

#[test]
fn the_reserve_follows_the_settings() {
    let meta = Meta {
        kind: FileKind::File,
        mode: 0o600,
        owner: (0, 0),
        size: 256 << 20,
        device: "8:1".into(),
        immutable: None,
    };
    let held = Facts { home: Some(used(200, 50)), reserve: Some(meta), ..facts(&[]) };
    let other = reclaim("[pressure]\nreserve = \"1GiB\"\n");
    assert!(steps(&other, &held)[0].starts_with("reserve: keep 1 GiB"), "on a large disk, too");
    let full = Facts { home: Some(used(200, 99)), ..held.clone() };
    assert!(steps(&other, &full).is_empty(), "not now");
    let off = reclaim("[pressure]\nreserve = \"off\"\n");
    assert!(steps(&off, &Facts { home: None, ..held })[0].ends_with("(pressure.reserve is off)"));
}

#[test]
fn a_volume_is_known_behind_links_and_bind_mounts() {
    let text = format!("{K3S}[reclaim]\norder = [\"images\", \"journal\"]\n");
    let mut reclaim = reclaim(&text);
    reclaim.volumes = vec![("data".into(), "/data".into())];
    let mut full = facts(&[Some(used(100, 99)), None]);
    let volume = Mount { number: "0:39".into(), ..mount("/data", "btrfs") };
    full.mounts = vec![mount("/", "ext4"), mount("/srv", "ext4"), volume.clone()];
    assert_eq!(steps(&reclaim, &full).len(), 1);
    full.real[0] = Some("/srv/containerd".into());
    assert!(steps(&reclaim, &full)[0].contains("(/srv is 99% full"), "the filesystem that it is on is named");
    full.real[0] = None;
    let told = "images: where /var/lib/rancher/k3s/agent/containerd leads cannot be told: nothing is freed there";
    assert_eq!((steps(&reclaim, &full).len(), &notes(&reclaim, &full)[0][..]), (0, told));
    let inside = "images: /var/lib/rancher/k3s/agent/containerd is in the volume data: nothing is freed there";
    // A link leads into it.
    full.real[0] = Some("/data/containerd".into());
    assert_eq!((steps(&reclaim, &full).len(), &notes(&reclaim, &full)[0][..]), (0, inside));
    // It is bound there.
    full.real[0] = Some("/var/lib/rancher/k3s/agent/containerd".into());
    full.mounts.push(Mount { target: "/var/lib/rancher".into(), ..volume.clone() });
    assert_eq!((steps(&reclaim, &full).len(), &notes(&reclaim, &full)[0][..]), (0, inside));
    // It is mounted within.
    full.mounts.truncate(1);
    reclaim.volumes = vec![("data".into(), "/var/lib/rancher/k3s/agent/containerd/snapshots".into())];
    assert_eq!((steps(&reclaim, &full).len(), &notes(&reclaim, &full)[0][..]), (0, inside));
}

#[test]
fn what_is_at_work_is_followed_alone() {
    let reclaim = reclaim(JOURNAL_AND_LOGS);
    let mut working = facts(&[Some(used(100, 85)), Some(used(100, 85))]);
    working.working = Some("journal".into());
    let begun = ReclaimRecord { at: NOW, freed: 0, total: 0, trouble: "it was cut off before its end".into() };
    working.record.insert("journal".into(), begun);
    let at_work = steps(&reclaim, &working);
    assert!(at_work.len() == 1 && at_work[0].starts_with("journal: "), "{at_work:?}");
    assert!(notes(&reclaim, &working).is_empty(), "it is not over");
    working.working = None;
    assert!(steps(&reclaim, &working)[0].starts_with("rotated-logs: "));
    assert!(notes(&reclaim, &working)[0].ends_with(": it was cut off before its end"));
}

#[test]
fn how_old_logs_are_is_not_guessed() {
    let reclaim = reclaim(JOURNAL_AND_LOGS);
    let early = Facts { clock: false, ..facts(&[Some(used(100, 85)), Some(used(100, 85))]) };
    assert!(steps(&reclaim, &early).is_empty());
    assert_eq!(
        notes(&reclaim, &early),
        ["rotated-logs: how old logs are is not known before the clock is synchronised"]
    );
}

/// A power cut left it: it takes room, and nobody else gives that up.
#[test]
fn a_reserve_that_was_begun_and_cut_off_is_removed() {
    let auto = reclaim("# none\n");
    for reserve in [None, Some(1 << 20)] {
        let begun = Facts {
            begun: true,
            reserve: reserve.map(a_reserve),
            home: Some(used(40, 99)),
            mounts: vec![mount("/", "ext4")],
            ..facts(&[])
        };
        let steps = steps(&auto, &begun);
        let (what, why) = ("/var/lib/bowline/.reserve.bowline-tmp", "a power cut left it, and it takes room");
        assert_eq!(steps, [format!("reserve: remove a reserve that was begun ({what}) ({why})")]);
    }
}

#[test]
fn a_record_that_can_not_be_read_counts_as_none() {
    let mut full = facts(&[Some(used(100, 85)), Some(used(100, 85))]);
    full.unread = Some("reading: Input/output error".into());
    let why = "record: what was freed before is not known, and counts as nothing: reading: Input/output error";
    assert_eq!(notes(&reclaim(JOURNAL_AND_LOGS), &full), [why]);
    assert_eq!(steps(&reclaim(JOURNAL_AND_LOGS), &full).len(), 1);
    assert!(notes(&reclaim("[pressure]\nreserve = \"off\"\n"), &full).is_empty());
}
