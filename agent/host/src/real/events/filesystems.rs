//! Filesystems on disks that turn read-only, meet errors or give up: the kernel tells nobody of it, so that they are looked at.
//!
//! There are seventeen thousand looks a day. So the mount table is only read when it has changed, and one thread asks all filesystems, each of which has a thread of its own as soon as one hangs.

use super::super::blocking::blocking;
use super::super::mounts;
use super::super::space::{self, Probes};
use bowline_ports::Mount;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Notify;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// For all filesystems together, while none is known to hang.
const DEADLINE: Duration = Duration::from_secs(2);
/// Filesystems that do not turn read-only by themselves without counting an error, or answering with one.
const TELLING: [&str; 2] = ["ext4", "xfs"];

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
    let mut watched = Watched::default();
    let mut before = BTreeMap::new();
    loop {
        let now = watched.look().await;
        // What comes and goes is told by others.
        if now.iter().any(|(target, standing)| before.get(target).is_some_and(|earlier| earlier != standing)) {
            signal.notify_one();
        }
        before = now;
        tokio::time::sleep(EVERY).await;
    }
}

/// What is watched.
#[derive(Debug, Default)]
struct Watched {
    /// The open mount table, which says whether it has changed.
    table: Option<File>,
    /// Each filesystem on a disk once.
    disks: Vec<Disk>,
    /// One did not answer at the last look, or with an error.
    hanging: bool,
    probes: Probes,
}

#[derive(Debug)]
struct Disk {
    mount: Mount,
    /// The file that counts its errors.
    errors: Option<PathBuf>,
}

impl Watched {
    async fn look(&mut self) -> BTreeMap<PathBuf, Standing> {
        if self.is_outdated() {
            self.read();
        }
        let targets: Vec<PathBuf> = self.disks.iter().map(|disk| disk.mount.target.clone()).collect();
        let answers = self.ask(&targets).await;
        self.hanging = answers.contains(&false);
        let one = |((disk, target), answers): ((&Disk, PathBuf), bool)| {
            let errors = disk.errors.as_deref().and_then(count).unwrap_or_default();
            (target, Standing { read_only: disk.mount.read_only, errors, answers })
        };
        self.disks.iter().zip(targets).zip(answers).map(one).collect()
    }

    /// Whether the mount table has to be read. It says itself when it has changed (man 5 proc, `mountinfo`), but not
    /// that a filesystem has turned read-only by itself.
    fn is_outdated(&self) -> bool {
        let Some(table) = &self.table else { return true };
        let mut asked = [PollFd::new(table.as_fd(), PollFlags::POLLPRI)];
        let changed = poll(&mut asked, PollTimeout::ZERO).map_or(true, |ready| ready > 0);
        changed || self.disks.iter().any(|disk| !TELLING.contains(&disk.mount.fstype.as_str()))
    }

    fn read(&mut self) {
        // Opened before it is read: what changes in between has it read once more.
        if self.table.is_none() {
            self.table = File::open(mounts::TABLE).or_else(|_| File::open(mounts::OWN_TABLE)).ok();
        }
        self.disks.clear();
        // In memory: another thread for it would take longer than the reading.
        let Ok(mounts) = mounts::read() else {
            // At the next look again, whether it has changed or not.
            self.table = None;
            return;
        };
        for mount in mounts.into_iter().filter(|mount| mount.source.starts_with("/dev/")) {
            // Bound elsewhere it is the same filesystem.
            if self.disks.iter().all(|disk| disk.mount.number != mount.number) {
                let errors = errors(Path::new("/sys"), &mount);
                self.disks.push(Disk { mount, errors });
            }
        }
    }

    /// Whether each answers.
    async fn ask(&self, targets: &[PathBuf]) -> Vec<bool> {
        if !self.hanging {
            let all = targets.to_vec();
            let asked = blocking("asking filesystems".into(), DEADLINE, move || {
                Ok(all.iter().map(|target| space::ask(target).is_ok()).collect::<Vec<_>>())
            });
            if let Ok(answers) = asked.await {
                return answers;
            }
        }
        let mut answers = Vec::with_capacity(targets.len());
        for target in targets {
            answers.push(self.probes.space(target).await.is_ok());
        }
        answers
    }
}

/// The file that counts the errors of an ext4.
fn errors(sys: &Path, mount: &Mount) -> Option<PathBuf> {
    let device = fs::read_link(sys.join("dev/block").join(&mount.number)).ok()?;
    let path = sys.join("fs/ext4").join(device.file_name()?).join("errors_count");
    path.exists().then_some(path)
}

fn count(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn filesystems_of_this_machine_answer() {
        let mut watched = Watched::default();
        let now = watched.look().await;
        assert!(now.values().all(|standing| standing.answers), "{now:?}");
        assert_eq!(watched.look().await, now);
        // One by one they say the same.
        watched.hanging = true;
        assert_eq!(watched.look().await, now);
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
        assert_eq!(errors(sys.path(), &mount("8:17")).as_deref().and_then(count), Some(3));
        assert_eq!(errors(sys.path(), &mount("8:18")), None);
    }
}
