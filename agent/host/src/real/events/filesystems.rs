//! Filesystems on disks that turn read-only, meet errors or give up: the kernel tells nobody of it, so that they are looked at.
//!
//! There are nine thousand looks a day, and to wake the event loop costs more than one of them. So a thread of its own
//! looks at all, and tells what stands otherwise. An alarm wakes the loop when one hangs: then each has a thread of its own,
//! until all answer again.

use super::super::blocking::Silent;
use super::super::ext4::Errors;
use super::super::mounts;
use super::super::space;
use bowline_ports::{ErrorKind, Mount};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Notify, watch};

/// Between two looks. What a look costs is waking up for it.
const EVERY: Duration = Duration::from_secs(10);
/// From the beginning of one to that of the next, at most: else one hangs.
const DEADLINE: Duration = Duration::from_secs(12);
/// Filesystems that do not turn read-only by themselves without counting an error, or answering with one; and what machines
/// boot from, which nothing writes to.
const TELLING: [&str; 3] = ["ext4", "xfs", "vfat"];

/// How a filesystem stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    read_only: bool,
    /// Errors that ext4 has met since it was made.
    errors: u64,
    answers: bool,
}

/// By mount point.
type Standings = BTreeMap<PathBuf, Standing>;

/// Notifies of every filesystem that stands otherwise than at the last look; never ends.
pub(super) async fn watch(signal: &Notify) {
    let mut last = Last { standings: Standings::default(), signal };
    let mut trouble = String::new();
    loop {
        let text = together(&mut last).await.err().map(|error| error.to_string()).unwrap_or_default();
        if text != trouble && !text.is_empty() {
            tracing::warn!("looking at filesystems by a thread of its own: {text}; each has one until then");
        }
        trouble = text;
        one_by_one(&mut last).await;
    }
}

/// How all stood at the last look, and who is told.
struct Last<'a> {
    standings: Standings,
    signal: &'a Notify,
}

impl Last<'_> {
    /// What comes and goes is told by others.
    fn tell(&mut self, now: Standings) {
        if now.iter().any(|(target, standing)| self.standings.get(target).is_some_and(|earlier| earlier != standing)) {
            self.signal.notify_one();
        }
        self.standings = now;
    }
}

/// A thread looks, until one hangs.
async fn together(last: &mut Last<'_>) -> io::Result<()> {
    let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let hangs = awaited(&alarm)?;
    let (sender, mut looks) = watch::channel(last.standings.clone());
    std::thread::Builder::new()
        .name("standing".into())
        .stack_size(128 * 1024)
        .spawn(move || look_for_ever(&sender, &alarm))?;
    loop {
        tokio::select! {
            changed = looks.changed() => match changed {
                Ok(()) => last.tell(looks.borrow_and_update().clone()),
                Err(_) => return Err(io::Error::other("who looks has ended")),
            },
            _ = hangs.readable() => return Ok(()),
        }
    }
}

/// Looks until nobody wishes to know any more.
fn look_for_ever(told: &watch::Sender<Standings>, alarm: &OwnedFd) {
    let mut watched = Watched::default();
    while !told.is_closed() {
        let _ = set(alarm, DEADLINE);
        let now = watched.look();
        told.send_if_modified(|last| {
            let changed = *last != now;
            *last = now;
            changed
        });
        std::thread::sleep(EVERY);
    }
}

/// An alarm that rings is readable, as a pipe is; as one it needs no unsafe code.
fn awaited(alarm: &OwnedFd) -> io::Result<Receiver> {
    Receiver::from_owned_fd_unchecked(alarm.try_clone()?)
}

/// Rings so long after now, and not when it was to ring before.
fn set(alarm: &OwnedFd, after: Duration) -> io::Result<()> {
    let it_value = Timespec::try_from(after).map_err(io::Error::other)?;
    let when = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
    Ok(timerfd_settime(alarm, TimerfdTimerFlags::empty(), &when).map(drop)?)
}

/// Each by a thread of its own, until all answer.
async fn one_by_one(last: &mut Last<'_>) {
    let (mut watched, silent) = (Watched::default(), Silent::default());
    loop {
        let (now, hanging) = watched.look_one_by_one(&silent).await;
        last.tell(now);
        tokio::time::sleep(EVERY).await;
        if !hanging {
            return;
        }
    }
}

/// What is watched.
#[derive(Debug, Default)]
struct Watched {
    changes: mounts::Changes,
    /// Each filesystem on a disk once.
    disks: Vec<Disk>,
}

#[derive(Debug)]
struct Disk {
    mount: Mount,
    /// Where it counts them.
    errors: Option<Errors>,
}

impl Disk {
    fn look(&self) -> (PathBuf, Standing) {
        // Of one that counts its errors the count says what reading its directory would.
        let ask = if self.errors.is_some() { space::ask_for_room } else { space::ask };
        self.stands(ask(&self.mount.target).is_ok())
    }

    fn stands(&self, answers: bool) -> (PathBuf, Standing) {
        let errors = self.errors.as_ref().and_then(Errors::count).unwrap_or_default();
        (self.mount.target.clone(), Standing { read_only: self.mount.read_only, errors, answers })
    }
}

impl Watched {
    fn look(&mut self) -> Standings {
        if self.is_outdated() {
            self.read();
        }
        self.disks.iter().map(Disk::look).collect()
    }

    /// The same, and whether one has not answered.
    async fn look_one_by_one(&mut self, silent: &Silent) -> (Standings, bool) {
        if self.is_outdated() {
            self.read();
        }
        let (mut now, mut hanging) = (Standings::default(), false);
        for disk in &self.disks {
            let answer = space::space_at(silent, &disk.mount.target).await;
            hanging |= answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Timeout);
            now.extend([disk.stands(answer.is_ok())]);
        }
        (now, hanging)
    }

    /// Whether the mount table has to be read. It does not say that a filesystem has turned read-only by itself.
    fn is_outdated(&mut self) -> bool {
        let changed = self.changes.any();
        let untold = |disk: &Disk| !disk.mount.read_only && !TELLING.contains(&disk.mount.fstype.as_str());
        changed || self.disks.iter().any(untold)
    }

    fn read(&mut self) {
        self.disks.clear();
        match mounts::read() {
            Ok(mounts) => self.of(mounts),
            // At the next look again, whether it has changed or not.
            Err(_) => self.changes.forget(),
        }
    }

    fn of(&mut self, mounts: Vec<Mount>) {
        for mount in mounts.into_iter().filter(Mount::has_device) {
            // Bound elsewhere it is the same filesystem.
            if self.disks.iter().all(|disk| disk.mount.number != mount.number) {
                let errors = Errors::of(Path::new("/"), &mount.number);
                self.disks.push(Disk { mount, errors });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn filesystems_of_this_machine_answer() {
        let mut watched = Watched::default();
        let now = watched.look();
        assert!(now.values().all(|standing| standing.answers), "{now:?}");
        let disks = mounts::read().unwrap().iter().filter(|mount| mount.has_device()).count();
        assert_eq!(now.is_empty(), disks == 0, "{now:?}");
        assert_eq!(watched.look(), now);
        assert_eq!(watched.look_one_by_one(&Silent::default()).await, (now, false), "one by one they say the same");
    }

    #[test]
    fn a_users_filesystem_is_not_watched_whatever_it_calls_its_disk() {
        let table = b"1 0 8:16 / /mnt/data rw - xfs /dev/sdb rw\n2 1 0:45 / /mnt/b rw - btrfs /dev/sdc rw\n\
                      3 1 0:99 / /home/u/m rw - fuse.sshfs /dev/sdb rw,user_id=1000\n4 1 0:98 / /m rw - fuse /dev/sdd rw\n";
        let mut watched = Watched::default();
        watched.of(mounts::parse(table, true));
        let targets: Vec<_> = watched.disks.iter().map(|disk| disk.mount.target.as_path()).collect();
        assert_eq!(targets, [Path::new("/mnt/data"), Path::new("/mnt/b")]);
    }

    #[tokio::test]
    async fn what_stands_otherwise_is_told_and_what_comes_and_goes_is_not() {
        let all = |each: &[(&str, u64)]| {
            let standing = |errors| Standing { read_only: false, errors, answers: true };
            each.iter().map(|(at, errors)| (PathBuf::from(at), standing(*errors))).collect::<Standings>()
        };
        let signal = Notify::new();
        let mut last = Last { standings: Standings::default(), signal: &signal };
        for (now, wanted) in [
            (vec![("/", 0)], false),
            (vec![("/", 0), ("/mnt/a", 1)], false),
            (vec![("/", 0), ("/mnt/a", 2)], true),
            (vec![("/", 0)], false),
        ] {
            last.tell(all(&now));
            let told = tokio::time::timeout(Duration::ZERO, signal.notified()).await.is_ok();
            assert_eq!(told, wanted, "{now:?}");
        }
    }

    #[tokio::test]
    async fn the_alarm_rings_for_who_hangs_and_for_nobody_else() {
        let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).unwrap();
        let hangs = awaited(&alarm).unwrap();
        set(&alarm, Duration::from_millis(100)).unwrap();
        set(&alarm, Duration::from_secs(100)).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(300), hangs.readable()).await.is_err());
        set(&alarm, Duration::from_millis(100)).unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(10), hangs.readable()).await.is_ok());
    }
}
