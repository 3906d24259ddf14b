//! Filesystems on disks that turn read-only, meet errors or give up: the kernel tells nobody of it, so that they are looked at.

use super::super::mounts;
use super::super::space::Probes;
use bowline_ports::Mount;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Notify;

/// Between two looks, each of which takes a fraction of a millisecond.
const EVERY: Duration = Duration::from_secs(5);

/// How a filesystem stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    read_only: bool,
    /// Errors that ext4 has met since it was made.
    errors: u64,
    answers: bool,
}

/// Notifies of every filesystem that stands otherwise than at the last look; never ends.
pub(super) async fn watch(signal: &Notify) {
    let probes = Probes::default();
    let mut before = BTreeMap::new();
    loop {
        let now = look(&probes).await;
        // What comes and goes is told by others.
        if now.iter().any(|(target, standing)| before.get(target).is_some_and(|earlier| earlier != standing)) {
            signal.notify_one();
        }
        before = now;
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(probes: &Probes) -> BTreeMap<PathBuf, Standing> {
    // In memory: another thread for it would take longer than the reading.
    let table = mounts::read();
    let mut seen = Vec::new();
    let mut standings = BTreeMap::new();
    for mount in table.unwrap_or_default().into_iter().filter(|mount| mount.source.starts_with("/dev/")) {
        // Bound elsewhere it is the same filesystem.
        if !seen.contains(&mount.number) {
            seen.push(mount.number.clone());
            let answers = probes.space(&mount.target).await.is_ok();
            let errors = errors(Path::new("/sys"), &mount).unwrap_or_default();
            standings.insert(mount.target, Standing { read_only: mount.read_only, errors, answers });
        }
    }
    standings
}

fn errors(sys: &Path, mount: &Mount) -> Option<u64> {
    let device = fs::read_link(sys.join("dev/block").join(&mount.number)).ok()?;
    let count = sys.join("fs/ext4").join(device.file_name()?).join("errors_count");
    fs::read_to_string(count).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn filesystems_of_this_machine_answer() {
        let probes = Probes::default();
        let now = look(&probes).await;
        assert!(now.values().all(|standing| standing.answers), "{now:?}");
        assert_eq!(look(&probes).await, now);
    }

    #[test]
    fn ext4_counts_its_errors() {
        let sys = tempfile::tempdir().unwrap();
        fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        fs::create_dir_all(sys.path().join("fs/ext4/sdb1")).unwrap();
        std::os::unix::fs::symlink("../../devices/sdb/sdb1", sys.path().join("dev/block/8:17")).unwrap();
        fs::write(sys.path().join("fs/ext4/sdb1/errors_count"), "3\n").unwrap();
        let mount = |number: &str| Mount {
            target: "/mnt/data".into(),
            source: "/dev/sdb1".into(),
            number: number.into(),
            fstype: "ext4".into(),
            root: "/".into(),
            read_only: false,
        };
        assert_eq!((errors(sys.path(), &mount("8:17")), errors(sys.path(), &mount("8:18"))), (Some(3), None));
    }
}
