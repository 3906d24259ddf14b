//! What is freed, on files of the test.

use super::images::{Containers, Images, choose};
use super::{Tally, count, images, logs, measured};
use crate::real::given_back::given_back;
use bowline_ports::{ErrorKind, PortError, ReclaimOrder, Reclaiming, Reclaims, latest};
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file of so many KiB, written to so many days ago.
fn log(root: &Path, path: &str, kib: usize, days: u64) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, vec![1; kib << 10]).unwrap();
    let time = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
}

fn left(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => directories.push(entry.path()),
                _ => all.push(entry.path().strip_prefix(root).unwrap().display().to_string()),
            }
        }
    }
    all.sort();
    all
}

#[test]
fn rotated_logs_go_by_age_and_no_more_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    log(root, "syslog", 8, 30);
    log(root, "syslog.1", 8, 9);
    log(root, "syslog.2.gz", 8, 10);
    log(root, "syslog.3.gz", 8, 20);
    log(root, "app/app.log.1", 8, 12);
    log(root, "app/new.1", 8, 1);
    let patterns = ["*.gz", "*.[0-9]", "*/*.[0-9]"].map(|pattern| format!("{}/{pattern}", root.display()));
    let (freed, result) = logs::rotated(root, &patterns, 7 * 86_400, 16 << 10, &mut |_| ());
    result.unwrap();
    assert_eq!(freed, 16 << 10);
    assert_eq!(left(root), ["app/new.1", "syslog", "syslog.1", "syslog.2.gz"], "the oldest two");
    let (freed, result) = logs::rotated(root, &patterns, 7 * 86_400, 1 << 30, &mut |_| ());
    result.unwrap();
    assert_eq!(freed, 16 << 10);
    assert_eq!(left(root), ["app/new.1", "syslog"]);
}

#[test]
fn links_lead_to_nothing_that_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("log"), folder.path().join("data"));
    log(&outside, "backup.gz", 8, 30);
    log(&root, "x.gz", 8, 30);
    symlink(&outside, root.join("app")).unwrap();
    symlink(outside.join("backup.gz"), root.join("link.gz")).unwrap();
    let patterns = ["*.gz", "*/*.gz"].map(|pattern| format!("{}/{pattern}", root.display()));
    let (freed, result) = logs::rotated(&root, &patterns, 0, 1 << 30, &mut |_| ());
    result.unwrap();
    assert_eq!(freed, 8 << 10);
    assert_eq!(left(&outside), ["backup.gz"]);
    assert_eq!(left(&root), ["app", "link.gz"]);
}

#[test]
fn logs_of_pods_that_have_ended_go_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    log(root, "default_job_1/main/0.log", 8, 3);
    log(root, "default_job_1/main/1.log", 8, 0);
    log(root, "default_web_2/main/0.log", 8, 3);
    log(folder.path(), "above/main/0.log", 8, 3);
    let ended = ["default_job_1", "..", "../above", "default_web_2/../default_web_2", ""].map(String::from);
    let (freed, result) = logs::of_pods(root, &ended, 86_400, 1 << 30, &mut |_| ());
    result.unwrap();
    assert_eq!(freed, 8 << 10);
    assert_eq!(left(root), ["above/main/0.log", "default_job_1/main/1.log", "default_web_2/main/0.log"]);
}

#[test]
fn images_go_that_no_container_knows_by_any_name() {
    let images: Images = serde_json::from_str(
        r#"{"images": [
            {"id": "sha256:a", "repoTags": ["a:1"], "repoDigests": ["a@sha256:1"], "size": "100", "pinned": false},
            {"id": "sha256:b", "repoTags": ["b:1"], "size": "300"},
            {"id": "sha256:c", "size": "200"},
            {"id": "sha256:kept", "size": "110", "pinned": true},
            {"id": "sha256:f", "repoTags": ["registry.k8s.io/pause:3.10"], "size": "120"},
            {"id": "sha256:g", "repoDigests": ["docker.io/rancher/mirrored-pause@sha256:9"], "size": "130"},
            {"id": "sha256:d", "repoTags": ["d:1"], "size": "400"},
            {"id": "sha256:e", "repoDigests": ["e@sha256:5"], "size": "500"},
            {"id": "sha256:h", "repoTags": ["h:1"], "size": "451"}
        ]}"#,
    )
    .unwrap();
    let containers: Containers = serde_json::from_str(
        r#"{"containers": [
            {"image": {"image": "sha256:d", "userSpecifiedImage": ""}, "imageRef": "sha256:d", "state": "CONTAINER_EXITED"},
            {"image": {"image": "e@sha256:5"}}
        ]}"#,
    )
    .unwrap();
    let (chosen, too_large) = choose(images, containers, 450);
    let chosen: Vec<String> = chosen.into_iter().map(|image| image.id).collect();
    assert_eq!((chosen, too_large), (["sha256:b", "sha256:c", "sha256:a"].map(String::from).to_vec(), 1));
    let none: Containers = serde_json::from_str("{}").unwrap();
    assert!(choose(serde_json::from_str("{}").unwrap(), none, 450).0.is_empty());
}

fn order(name: &str, folder: &Path) -> ReclaimOrder {
    let (record, spare) = (folder.join("disk/reclaimed.json"), folder.join("memory/reclaimed.json"));
    std::fs::create_dir_all(record.parent().unwrap()).unwrap();
    std::fs::create_dir_all(spare.parent().unwrap()).unwrap();
    ReclaimOrder { name: name.into(), what: Reclaiming::Journal { keep: 0 }, record, spare }
}

#[test]
fn what_was_freed_is_counted_on() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, images) = (order("journal", folder.path()), order("images", folder.path()));
    let read = || serde_json::from_slice::<Reclaims>(&std::fs::read(&journal.record).unwrap()).unwrap();
    count(&journal, 100, 100, String::new()).unwrap();
    count(&images, 7, 7, "no runtime".into()).unwrap();
    count(&journal, 50, 50, String::new()).unwrap();
    assert_eq!((read()["journal"].freed, read()["journal"].total), (50, 150));
    assert_eq!((read()["images"].total, read()["images"].trouble.as_str()), (7, "no runtime"));
    std::fs::write(&journal.record, "{ cut").unwrap();
    count(&journal, 1, 1, String::new()).unwrap();
    assert_eq!(read()["journal"].total, 1);
}

/// `journalctl` tells only at its end: cut off before it, all that it had freed was nothing.
#[tokio::test(start_paused = true)]
async fn what_another_program_frees_is_counted_before_its_end() {
    let start = tokio::time::Instant::now();
    // A megabyte each two seconds.
    let size = || 100 - start.elapsed().as_secs() / 2;
    let fails = async {
        tokio::time::sleep(Duration::from_millis(4500)).await;
        Err(PortError::new(ErrorKind::Other, "journalctl failed"))
    };
    let mut told = Vec::new();
    let (freed, result) = measured(fails, size, &mut |freed| told.push(freed)).await;
    assert_eq!((told, freed), (vec![0, 1, 1, 2], 2));
    assert_eq!(result.unwrap_err().message, "journalctl failed");
}

#[test]
fn what_is_free_is_counted_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let order = order("images", folder.path());
    let read = || {
        let all: Reclaims = serde_json::from_slice(&std::fs::read(&order.record).unwrap()).unwrap();
        let one = all["images"].clone();
        (one.freed, one.total, one.trouble)
    };
    count(&order, 1000, 1000, String::new()).unwrap();
    let cut_off = || "it was cut off before its end".to_string();
    let mut tally = Tally::begin(&order).unwrap();
    assert_eq!(read(), (0, 1000, cut_off()));
    tally.reach(30);
    assert_eq!(read(), (30, 1030, cut_off()));
    tally.reach(50);
    assert_eq!(read(), (50, 1050, cut_off()), "as it is when the unit is killed now");
    tally.end(50, String::new()).unwrap();
    assert_eq!(read(), (50, 1050, String::new()));
}

#[test]
fn of_many_files_it_is_told_meanwhile_what_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for number in 0..600 {
        log(root, &format!("{number}.gz"), 4, 30);
    }
    let mut told = Vec::new();
    let patterns = [format!("{}/*.gz", root.display())];
    let (freed, result) = logs::rotated(root, &patterns, 86_400, 1 << 30, &mut |freed| told.push(freed));
    result.unwrap();
    assert_eq!((freed, told), (600 << 12, vec![256 << 12, 512 << 12]));
}

/// A runtime that has three images, in files of its directory, and says that they are smaller. To remove one it does what is in
/// the file `rmi`, and to list containers what is in `ps`.
const RUNTIME: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
case "$3" in
    images) echo '{"images": [{"id": "a", "size": "300"}, {"id": "b", "size": "200"}, {"id": "c", "size": "100"}]}' ;;
    ps) . ./ps ;;
    rmi) . ./rmi ;;
esac
"#;
const NONE_RUNS: &str = "echo '{}'";

struct Runtime {
    folder: tempfile::TempDir,
    /// At which look an image goes that is named in the file `later`.
    after: u32,
    looks: std::cell::Cell<u32>,
}

impl Runtime {
    fn new(ps: &str, rmi: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("layers")).unwrap();
        for (name, text) in [("ps", ps), ("rmi", rmi), ("k3s", RUNTIME)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for (image, bytes) in [("a", 700), ("b", 500), ("c", 400)] {
            std::fs::write(folder.path().join("layers").join(image), vec![1; bytes]).unwrap();
        }
        let runtime = folder.path().join("k3s");
        std::fs::set_permissions(&runtime, PermissionsExt::from_mode(0o755)).unwrap();
        given_back("it is open for writing", || std::process::Command::new(&runtime).output().is_ok());
        Self { folder, after: 0, looks: 0.into() }
    }

    /// On a disk of 10,000 bytes.
    fn room(&self) -> u64 {
        if let Ok(image) = std::fs::read_to_string(self.folder.path().join("later")) {
            self.looks.set(self.looks.get() + 1);
            if self.looks.get() == self.after {
                std::fs::remove_file(self.folder.path().join("layers").join(image.trim())).unwrap();
            }
        }
        let files = std::fs::read_dir(self.folder.path().join("layers")).unwrap();
        // One may go at this very moment.
        10_000 - files.flatten().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum::<u64>()
    }

    /// What was freed, what was told meanwhile, and of the end; and what is left.
    async fn freed(&self, at_most: u64) -> (u64, Vec<u64>, Result<String, String>, String) {
        let mut told = Vec::new();
        let runtime = self.folder.path().join("k3s");
        let (freed, result) =
            images::unused(Some(&runtime), || Ok(self.room()), at_most, &mut |freed| told.push(freed)).await;
        (freed, told, result.map_err(|error| error.message), left(&self.folder.path().join("layers")).concat())
    }
}

#[tokio::test]
async fn of_images_it_is_told_after_each_what_is_free() {
    let runtime = Runtime::new(NONE_RUNS, "[ \"$4\" != b ] && rm \"layers/$4\"");
    let (freed, told, result, left) = runtime.freed(1 << 30).await;
    assert_eq!((freed, told, result.is_err(), left.as_str()), (1100, vec![700, 1100], true, "b"));
}

/// What the runtime says is what it was to download.
#[tokio::test]
async fn of_images_it_is_measured_what_is_free() {
    const REMOVES: &str = "rm \"layers/$4\"";
    let gone = |freed, told: &[u64], left: &str| (freed, told.to_vec(), Ok(String::new()), left.to_owned());
    let runtime = Runtime::new(NONE_RUNS, REMOVES);
    assert_eq!(runtime.freed(700).await, gone(700, &[700], "bc"), "it ends with the first");
    assert_eq!(Runtime::new(NONE_RUNS, REMOVES).freed(850).await, gone(1100, &[700, 1100], "b"), "not 700 + 200");
    let (freed, told, result, left) = Runtime::new(NONE_RUNS, REMOVES).freed(250).await;
    assert_eq!((freed, told, left.as_str()), (500, vec![500], "ac"));
    assert_eq!(result.unwrap_err(), "1 of them are larger than at-most, and stay");
    // What others share stays.
    let (freed, told, result, left) = Runtime::new(NONE_RUNS, ":").freed(1 << 30).await;
    assert_eq!((freed, told, left.as_str()), (0, vec![0; 3], "abc"));
    assert_eq!(result.unwrap(), "3 of them were removed, which made no room: others share their layers, or filled it");
}

/// Whoever fills the disk meanwhile does not cost all images.
#[tokio::test]
async fn no_more_goes_than_may_where_it_becomes_no_room() {
    let runtime = Runtime::new(NONE_RUNS, "mv \"layers/$4\" \"layers/filled-$4\"");
    let (freed, told, _, left) = runtime.freed(450).await;
    assert_eq!((freed, told, left.as_str()), (0, vec![0, 0], "bfilled-afilled-c"), "not 300 + 200");
}

/// Its garbage collector has its own time: within that in which no more room is waited for, or later.
#[tokio::test]
async fn what_a_runtime_gives_back_late_is_measured() {
    let later = "[ \"$4\" = a ] && echo \"$4\" > later";
    let soon = Runtime { after: 2, ..Runtime::new(NONE_RUNS, later) };
    assert_eq!(soon.freed(700).await.1, [700], "before the next one");
    let late = Runtime { after: 10, ..Runtime::new(NONE_RUNS, later) };
    let (freed, told, ..) = late.freed(1 << 30).await;
    assert_eq!((freed, told), (700, vec![0]), "at the end of all");
}

#[tokio::test]
async fn an_image_that_a_container_was_made_of_meanwhile_stays() {
    let later = "[ -e seen ] && echo '{\"containers\": [{\"imageRef\": \"c\"}]}' || echo '{}'; touch seen";
    let runtime = Runtime::new(later, "rm \"layers/$4\"");
    let (freed, told, result, left) = runtime.freed(1 << 30).await;
    assert_eq!((freed, told, result, left.as_str()), (1200, vec![700, 1200], Ok(String::new()), "c"));
}

#[test]
fn how_much_room_there_is_where_images_are() {
    let folder = tempfile::tempdir().unwrap();
    let size = crate::real::space::ask(folder.path()).unwrap().size;
    assert!((1..=size).contains(&images::room(folder.path()).unwrap()));
    let nowhere = images::room(&folder.path().join("none")).unwrap_err();
    assert_eq!(nowhere.kind, ErrorKind::NotFound);
}

/// A disk that is full, or was mounted read-only: nothing can be written, and the counting goes on all the same.
#[test]
fn what_was_freed_is_counted_where_the_disk_can_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let order = order("journal", folder.path());
    count(&order, 100, 100, String::new()).unwrap();
    let kept = folder.path().join("kept");
    std::fs::rename(order.record.parent().unwrap(), &kept).unwrap();
    std::fs::write(order.record.parent().unwrap(), "no directory").unwrap();
    count(&order, 50, 50, String::new()).unwrap();
    std::fs::remove_file(order.record.parent().unwrap()).unwrap();
    std::fs::rename(&kept, order.record.parent().unwrap()).unwrap();
    count(&order, 10, 10, String::new()).unwrap();
    let read = |path: &Path| serde_json::from_slice::<Reclaims>(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(read(&order.spare)["journal"].freed, 50, "in memory");
    assert_eq!(latest(read(&order.record), read(&order.spare))["journal"].freed, 10);
}

#[test]
fn what_is_too_large_stays_alone_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    log(root, "big.gz", 64, 90);
    log(root, "small.gz", 8, 30);
    let (freed, result) = logs::rotated(root, &[format!("{}/*.gz", root.display())], 86_400, 32 << 10, &mut |_| ());
    assert_eq!((freed, left(root)), (8 << 10, vec!["big.gz".to_string()]));
    assert_eq!(result.unwrap_err().to_string(), "1 of them are larger than at-most, and stay");
}

#[test]
fn what_somebody_has_open_stays_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    log(root, "app.log.1", 8, 30);
    log(root, "app.log.2", 8, 40);
    let open = File::options().append(true).open(root.join("app.log.1")).unwrap();
    let patterns = [format!("{}/*.[0-9]", root.display())];
    let (freed, result) = logs::rotated(root, &patterns, 86_400, 1 << 30, &mut |_| ());
    assert_eq!((freed, left(root)), (8 << 10, vec!["app.log.1".to_string()]));
    assert_eq!(result.unwrap(), "1 of them are still open, and stay");
    drop(open);
    let mut last = None;
    given_back("it is open", || last.insert(logs::rotated(root, &patterns, 86_400, 1 << 30, &mut |_| ())).0 > 0);
    let (freed, result) = last.unwrap();
    assert_eq!((freed, result.unwrap().as_str(), left(root)), (8 << 10, "", vec![]));
}

#[test]
fn who_has_many_open_takes_no_turn_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    log(root, "oldest.1", 8, 40);
    log(root, "app.log.1", 8, 30);
    let _open = File::options().append(true).open(root.join("oldest.1")).unwrap();
    let found = ["oldest.1", "app.log.1"].map(|name| (PathBuf::new(), name.into())).to_vec();
    let (freed, result) = logs::remove(root, found, 86_400, (1 << 30, 1), &mut |_| ());
    assert_eq!((freed, left(root)), (8 << 10, vec!["oldest.1".to_string()]));
    assert_eq!(result.unwrap(), "1 of them are still open, and stay");
}

#[test]
fn what_is_no_rotated_log_stays_whatever_fits_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for path in ["pods/web/main/0.log.1", "journal/0f/system.1", "containers/web.1", "app/audit.1", "app/own.gz"] {
        log(root, path, 8, 30);
    }
    std::fs::hard_link(root.join("app/audit.1"), root.join("app/linked.1")).unwrap();
    let patterns = ["*/*.1", "*/*/*.1", "*/*/*/*.1", "app/.*/*/*.gz", "a]b[.gz"];
    let patterns = patterns.map(|pattern| format!("{}/{pattern}", root.display()));
    let (freed, result) = logs::rotated(root, &patterns, 86_400, 1 << 30, &mut |_| ());
    assert!(result.unwrap_err().to_string().contains("is no pattern"), "the others are followed");
    let all = [
        "app/audit.1",
        "app/linked.1",
        "app/own.gz",
        "containers/web.1",
        "journal/0f/system.1",
        "pods/web/main/0.log.1",
    ];
    assert_eq!((freed, left(root)), (0, all.map(String::from).to_vec()));
    // A link in the place of all logs is not followed.
    let link = folder.path().with_extension("link");
    symlink(root, &link).unwrap();
    let (freed, result) = logs::rotated(&link, &[format!("{}/app/*.gz", link.display())], 86_400, 1 << 30, &mut |_| ());
    std::fs::remove_file(&link).unwrap();
    assert_eq!((freed, result.is_err()), (0, true));
}
