//! Unmounting, for everybody: a filesystem that a container still has mounted is not off its disk.

use super::super::super::processes::{self, name, processes};
use super::super::super::{files, mounts};
use super::super::Report;
use bowline_ports::{ErrorKind, Mount, PortError, ProgressValue};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Whoever lets go of it at this moment (udev, a container that ends) gets so long.
const LETTING_GO: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);
/// And where nobody is found who uses it, it is tried again for so long: on a loaded machine a child that is about to become
/// another program, or one that ends, has been seen to need more than a second.
const UNSEEN: Duration = Duration::from_secs(5);
/// So many of those who use it are named.
const NAMED: usize = 5;

/// Writes out what is in memory and unmounts; a mount that is gone already is fine.
///
/// # Errors
/// Somebody uses it (`Busy`, and it is mounted as it was, or else still held by a container), or something else is mounted there
/// (`Changed`).
pub(super) async fn unmount(mount: &Path, number: &str, report: Report<'_>) -> Result<(), PortError> {
    let say = |text: &str| report(ProgressValue { done: 0, total: 0, text: text.to_owned() });
    let shown = mount.display();
    let here =
        || -> Result<Option<Mount>, PortError> { Ok(mounts::read()?.into_iter().rfind(|one| one.target == mount)) };
    let mut what =
        Mounted { at: mount, number, device: device_of(number, Path::new("/sys/dev/block")), files: number.to_owned() };
    if let Some(one) = here()? {
        if one.number != number {
            let text = format!("{shown} was not unmounted: {} is mounted there by now", one.source);
            return Err(PortError::new(ErrorKind::Changed, text));
        }
        say("writing out what is in memory");
        // btrfs has a number that no device has, and files with another one.
        what.device = what.device.or_else(|| one.has_device().then(|| PathBuf::from(&one.source)));
        if let Ok(top) = File::open(mount) {
            what.files = top.metadata().map_or(what.files, |meta| files::number(meta.dev()));
            // Of a disk that is gone nothing can be written out any more.
            if let Err(errno) = nix::unistd::syncfs(&top)
                && what.device.as_ref().is_some_and(|device| device.exists())
            {
                return Err(PortError::io(format_args!("writing out {shown}"), &errno.into()));
            }
        }
        say("unmounting");
        let begin = Instant::now();
        let ended = loop {
            match umount2(mount, MntFlags::UMOUNT_NOFOLLOW) {
                // Who has it open is not seen where it is for a moment, as by a child before it becomes another program.
                Err(Errno::EBUSY)
                    if begin.elapsed() < UNSEEN && openers(Path::new("/proc"), &what.files).is_empty() =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                ended => break ended,
            }
        };
        match ended {
            Ok(()) | Err(Errno::EINVAL) if here()?.is_none() => {}
            Err(Errno::EBUSY) => return Err(in_use(&what)),
            Err(errno) => return Err(PortError::io(format_args!("unmounting {shown}"), &errno.into())),
            Ok(()) => {
                let text = format!("{shown}: something else is mounted there as well");
                return Err(PortError::new(ErrorKind::Busy, text).hint(format!("look with: findmnt {shown}")));
            }
        }
    }
    let Some(device) = &what.device else { return Ok(()) };
    let begin = Instant::now();
    // What is mounted anywhere cannot be opened exclusively.
    while matches!(exclusively(device), Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32)) {
        if begin.elapsed() > LETTING_GO {
            return Err(in_use(&what));
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

/// What is to be unmounted.
struct Mounted<'a> {
    at: &'a Path,
    /// As the mount table has it.
    number: &'a str,
    /// Where it lies, as long as the disk is there; of several disks the one that was mounted.
    device: Option<PathBuf>,
    /// The number that its files have.
    files: String,
}

fn exclusively(device: &Path) -> std::io::Result<File> {
    File::options().read(true).custom_flags(OFlag::O_EXCL.bits()).open(device)
}

/// The device node of a number; `None` when the disk is gone, or it is a number of a btrfs.
fn device_of(number: &str, numbers: &Path) -> Option<PathBuf> {
    let name = fs::read_link(numbers.join(number)).ok()?;
    Some(Path::new("/dev").join(name.file_name()?.to_string_lossy().replace('!', "/")))
}

fn in_use(what: &Mounted<'_>) -> PortError {
    let mut all = openers(Path::new("/proc"), &what.files);
    if all.is_empty() {
        all = holders(Path::new("/proc"), what);
    }
    let mut list: Vec<_> = all.iter().take(NAMED).cloned().collect();
    if all.len() > NAMED {
        list.push(format!("{} more", all.len() - NAMED));
    }
    let by = match list.is_empty() {
        true => "the kernel (a mount beneath it, swap, a loop device)".into(),
        false => list.join(", "),
    };
    PortError::new(ErrorKind::Busy, format!("{} is in use by {by}", what.at.display()))
        .hint("nothing was forced: end what uses it; Bowline tries again by itself")
}

/// `java (4711)`
fn named(process: &Path) -> String {
    format!("{} ({})", name(process), process.file_name().unwrap_or_default().to_string_lossy())
}

/// Those that have a file of this filesystem open, or stand in it.
fn openers(proc: &Path, number: &str) -> BTreeSet<String> {
    let all = processes::openers(proc, |device| files::number(device) == number);
    all.iter().map(|process| named(process)).collect()
}

/// Those that have it mounted at a place of their own, one for each such namespace. What systemd's services see at the place
/// itself goes with the host's mount.
fn holders(proc: &Path, what: &Mounted<'_>) -> BTreeSet<String> {
    let mut spaces = BTreeSet::new();
    let mut holds = |process: &PathBuf| {
        let table = mounts::parse(&fs::read(process.join("mountinfo")).unwrap_or_default(), true);
        let is_it = |one: &Mount| {
            one.number == what.number
                || what.device.as_deref().is_some_and(|device| one.disk_by_source() == Some(device))
        };
        table.iter().any(|one| is_it(one) && one.target != what.at)
            && fs::read_link(process.join("ns/mnt")).is_ok_and(|space| spaces.insert(space))
    };
    processes(proc).filter(|process| holds(process)).map(|process| named(&process)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::job::loops::{Loop, Place, ran};

    /// As on a disk that has less room than it says: what was written would be lost without a word.
    #[tokio::test]
    async fn what_can_not_be_written_out_stays_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let [thin, at] = ["thin", "at"].map(|name| folder.path().join(name));
        let Some(_thin) = Place::new(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], &thin) else { return };
        let Some(disk) = Loop::over(&thin.join("disk"), 64 << 20) else { return };
        ran("mkfs.ext4", &["-q", disk.shown()]).unwrap();
        let _mounted = Place::new(&[disk.shown()], &at).unwrap();
        assert!(fs::write(thin.join("rest"), vec![7; 16 << 20]).is_err(), "it is full from now on");
        fs::write(at.join("data"), vec![7; 8 << 20]).unwrap();
        let number = files::number(fs::metadata(&at).unwrap().dev());
        let error = unmount(&at, &number, &|_| {}).await.unwrap_err();
        assert!(error.message.starts_with("writing out "), "{error}");
        assert!(mounts::read().unwrap().iter().any(|one| one.target == at));
    }

    #[test]
    fn who_stands_in_a_filesystem_is_named() {
        // Where tests run: it is on a disk.
        let place = tempfile::tempdir_in(".").unwrap();
        let file = File::create(place.path().join("held")).unwrap();
        let number = files::number(file.metadata().unwrap().dev());
        let own = format!("({})", std::process::id());
        assert!(openers(Path::new("/proc"), &number).iter().any(|user| user.ends_with(&own)));
        assert_eq!(openers(Path::new("/proc"), "250:4095"), BTreeSet::new());
        // All of this machine's filesystems are mounted by somebody somewhere.
        let what = Mounted { at: Path::new("/elsewhere"), number: &number, device: None, files: String::new() };
        assert!(!holders(Path::new("/proc"), &what).is_empty());
    }

    #[test]
    fn who_has_it_mounted_elsewhere_is_told_from_who_sees_it_at_its_place() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, mount) in [
            ("7", "8:16 / /mnt/my\\040data rw - ext4 /dev/sdb"),
            ("8", "8:16 / /elsewhere rw - ext4 /dev/sdb"),
            // btrfs is known by its source, and what a user calls a disk is none.
            ("9", "0:45 / /elsewhere rw - btrfs /dev/sdc"),
            ("10", "0:99 / /elsewhere rw - fuse /dev/sdc"),
        ] {
            let process = proc.path().join(pid);
            fs::create_dir_all(process.join("ns")).unwrap();
            fs::write(process.join("comm"), "pod\n").unwrap();
            fs::write(process.join("mountinfo"), format!("36 1 {mount} rw\n")).unwrap();
            std::os::unix::fs::symlink(format!("mnt:[{pid}]"), process.join("ns/mnt")).unwrap();
        }
        let at = Path::new("/mnt/my data");
        let mut what = Mounted { at, number: "8:16", device: None, files: String::new() };
        assert_eq!(holders(proc.path(), &what), BTreeSet::from(["pod (8)".to_owned()]));
        (what.number, what.device) = ("0:44", Some("/dev/sdc".into()));
        assert_eq!(holders(proc.path(), &what), BTreeSet::from(["pod (9)".to_owned()]));
    }

    #[test]
    fn devices_by_their_number() {
        let numbers = tempfile::tempdir().unwrap();
        for (number, device) in [("8:17", "block/sdb/sdb1"), ("104:0", "block/cciss!c0d0")] {
            std::os::unix::fs::symlink(Path::new("../../devices").join(device), numbers.path().join(number)).unwrap();
        }
        for (number, device) in [("8:17", Some("/dev/sdb1")), ("104:0", Some("/dev/cciss/c0d0")), ("250:4095", None)] {
            assert_eq!(device_of(number, numbers.path()).as_deref(), device.map(Path::new));
        }
    }
}
