//! What is freed, on files of the test.

use super::images::{Containers, Images, choose};
use super::{count, logs};
use bowline_ports::Reclaims;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
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
    let (freed, result) = logs::rotated(root, &patterns, 7 * 86_400, 16 << 10);
    result.unwrap();
    assert_eq!(freed, 16 << 10);
    assert_eq!(left(root), ["app/new.1", "syslog", "syslog.1", "syslog.2.gz"], "the oldest two");
    let (freed, result) = logs::rotated(root, &patterns, 7 * 86_400, 1 << 30);
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
    let (freed, result) = logs::rotated(&root, &patterns, 0, 1 << 30);
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
    let (freed, result) = logs::of_pods(root, &ended, 86_400, 1 << 30);
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
            {"id": "sha256:e", "repoDigests": ["e@sha256:5"], "size": "500"}
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
    let chosen: Vec<String> = choose(images, containers, 450).into_iter().map(|image| image.id).collect();
    assert_eq!(chosen, ["sha256:b", "sha256:a"], "the largest first; 300 + 200 is too much, 300 + 100 is not");
    let none: Containers = serde_json::from_str("{}").unwrap();
    assert!(choose(serde_json::from_str("{}").unwrap(), none, 450).is_empty());
}

#[test]
fn what_was_freed_is_counted_on() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("reclaimed.json");
    count(&record, "journal", 100, String::new()).unwrap();
    count(&record, "images", 7, "no runtime".into()).unwrap();
    count(&record, "journal", 50, String::new()).unwrap();
    let all: Reclaims = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert_eq!((all["journal"].freed, all["journal"].total), (50, 150));
    assert_eq!((all["images"].total, all["images"].trouble.as_str()), (7, "no runtime"));
    std::fs::write(&record, "{ cut").unwrap();
    count(&record, "journal", 1, String::new()).unwrap();
    let all: Reclaims = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert_eq!(all["journal"].total, 1);
}
