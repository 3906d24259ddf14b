//! Files that were deleted and are still open: their bytes are gone from every directory, and not free.

use super::super::super::files;
use super::super::super::mounts::unescape;
use super::super::super::processes::{descriptors, mount_lines, mount_of, name, on_disk, processes};
use bowline_ports::{Deleted, Holder};
use nix::time::{ClockId, clock_gettime};
use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// So many of those who hold them are named.
const NAMED: usize = 5;
const REGULAR: u16 = 0o100_000;
const KIND: u16 = 0o170_000;

/// Processor time for all of it: a thousand processes with a thousand files each take a few seconds, and whoever opens a file
/// half a million times gets no more.
const BUDGET: Duration = Duration::from_secs(20);
/// So many open files are looked at of one process, so that it leaves time for the others.
const EACH: usize = 100_000;

/// Filesystems that are in memory.
const IN_MEMORY: [&str; 4] = ["tmpfs", "ramfs", "hugetlbfs", "devtmpfs"];

#[derive(Default)]
struct Found {
    bytes: u64,
    files: HashSet<(u64, u64)>,
    holders: BTreeMap<u32, u64>,
}

/// By filesystem, the one with the most bytes first; and what was left out, in words. A process that ends meanwhile is none.
pub(super) fn deleted(proc: &Path) -> (Vec<Deleted>, String) {
    within(proc, BUDGET, EACH)
}

fn within(proc: &Path, budget: Duration, each: usize) -> (Vec<Deleted>, String) {
    let mut all: BTreeMap<String, Found> = BTreeMap::new();
    let (end, mut left_out) = (used() + budget, 0);
    for process in processes(proc) {
        let Some(pid) = process.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        left_out += u64::from(!look_through(&process, pid, (end, each), &mut all));
    }
    let mut all: Vec<_> = all.into_iter().map(|(number, found)| told(proc, number, found)).collect();
    all.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.number.cmp(&other.number)));
    let trouble = match left_out {
        0 => String::new(),
        1 => "1 process was not looked through to its end: it has too many files open".into(),
        _ => format!("{left_out} processes were not looked through to their end: too many files are open"),
    };
    (all, trouble)
}

/// What this thread has used of processors.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// Whether it came to its end.
fn look_through(process: &Path, pid: u32, (end, each): (Duration, usize), all: &mut BTreeMap<String, Found>) -> bool {
    let (mut whole, mut nameless) = (true, Vec::new());
    for (count, fd) in descriptors(process).enumerate() {
        if count >= each || used() > end {
            whole = false;
            break;
        }
        let Some(number) = fd.file_name().and_then(|name| name.to_str()).filter(|_| has_no_name(&fd)) else { continue };
        let info = fs::read_to_string(process.join("fdinfo").join(number)).unwrap_or_default();
        let mount = mount_of(&info).and_then(|mount| mount.parse().ok());
        nameless.extend(number.parse::<u32>().ok().zip(mount));
    }
    let mut mounts: HashMap<u64, Mounted> = nameless.iter().map(|(_, mount)| (*mount, Mounted::default())).collect();
    let mut learn = |line: &str| {
        let id = line.split(' ').next().and_then(|id| id.parse().ok());
        if let Some(mounted) = id.and_then(|id: u64| mounts.get_mut(&id)) {
            *mounted = Mounted::of(line);
        }
    };
    // Without a table nothing is asked: it may not answer.
    if nameless.is_empty() || !mount_lines(process, &mut learn).unwrap_or(false) {
        return whole;
    }
    let mut own = HashSet::new();
    for (fd, mount) in nameless {
        if used() > end {
            return false;
        }
        let Some(mounted) = mounts.get(&mount).filter(|mounted| mounted.answers) else { continue };
        let Some(file) = orphan(&process.join("fd").join(fd.to_string())) else { continue };
        let number = match nix::sys::stat::major(file.device) {
            0 => mounted.number.clone(),
            _ => Some(files::number(file.device)),
        };
        let Some(number) = number else { continue };
        let found = all.entry(number).or_default();
        if found.files.insert((file.device, file.inode)) {
            found.bytes += file.bytes;
        }
        if own.insert((file.device, file.inode)) {
            *found.holders.entry(pid).or_default() += file.bytes;
        }
    }
    whole
}

fn told(proc: &Path, number: String, found: Found) -> Deleted {
    let mut holders: Vec<_> = found.holders.into_iter().collect();
    holders.sort_by_key(|(pid, bytes)| (std::cmp::Reverse(*bytes), *pid));
    holders.truncate(NAMED);
    let named = holders.into_iter().map(|(pid, bytes)| Holder { pid, name: name(&proc.join(pid.to_string())), bytes });
    Deleted {
        number,
        bytes: found.bytes,
        files: found.files.len().try_into().unwrap_or(u64::MAX),
        holders: named.collect(),
    }
}

/// A mount that a file was opened in.
struct Mounted {
    /// What a network or a program serves may not answer, and is not asked for.
    answers: bool,
    /// The filesystem of a file whose own device is a number that the kernel made up (btrfs, overlays of containers).
    number: Option<String>,
}

/// One that is in no table any more.
impl Default for Mounted {
    fn default() -> Self {
        Self { answers: true, number: None }
    }
}

impl Mounted {
    fn of(line: &str) -> Self {
        let answers = on_disk(line).is_none_or(|(_, local)| local);
        let number = match on(line).filter(|_| answers) {
            Some(On::Filesystem(number)) => Some(number.to_owned()),
            // What a container writes is in a directory of another filesystem.
            Some(On::Directory(upper)) => fs::metadata(unescape(upper.as_bytes()))
                .ok()
                .filter(|upper| nix::sys::stat::major(upper.dev()) != 0)
                .map(|upper| files::number(upper.dev())),
            None => None,
        };
        Self { answers, number }
    }
}

#[derive(Debug, PartialEq)]
enum On<'a> {
    Filesystem(&'a str),
    Directory(&'a str),
}

/// What is mounted there takes disk, and of which filesystem: `42 36 0:35 / /mnt rw - btrfs /dev/sdb rw,…`, as
/// `proc_pid_mountinfo(5)` has it.
fn on(line: &str) -> Option<On<'_>> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let number = mount.split(' ').nth(2)?;
    let mut filesystem = filesystem.split(' ');
    match (filesystem.next()?, filesystem.nth(1)?) {
        (memory, _) if IN_MEMORY.contains(&memory) => None,
        ("overlay", options) => options.split(',').find_map(|one| one.strip_prefix("upperdir=")).map(On::Directory),
        _ => Some(On::Filesystem(number)),
    }
}

/// The link tells it for nothing. What lives in memory alone (memfd, shared memory) takes no disk.
fn has_no_name(fd: &Path) -> bool {
    fs::read_link(fd).is_ok_and(|target| {
        target.as_os_str().as_encoded_bytes().ends_with(b" (deleted)") && !target.starts_with("/memfd:")
    })
}

/// A regular file on a disk that has no name any more. By now it may be another one, on what may not answer: nobody else is
/// asked.
fn orphan(fd: &Path) -> Option<Orphan> {
    let wanted = StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::INO | StatxFlags::BLOCKS;
    let seen = statx(CWD, fd, AtFlags::STATX_DONT_SYNC, wanted).ok()?;
    let nameless = seen.stx_mode & KIND == REGULAR && seen.stx_nlink == 0;
    let device = makedev(seen.stx_dev_major, seen.stx_dev_minor);
    nameless.then(|| Orphan { device, inode: seen.stx_ino, bytes: seen.stx_blocks * 512 })
}

struct Orphan {
    device: u64,
    inode: u64,
    bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_has_a_made_up_device_is_known_by_its_mount() {
        let mounts = "36 1 8:1 / / rw - ext4 /dev/sda1 rw\n42 36 0:35 / /mnt rw shared:1 - btrfs /dev/sdb rw,subvolid=5\n\
                      43 36 0:40 / /run rw - tmpfs tmpfs rw\n\
                      44 36 0:57 / / rw - overlay overlay rw,lowerdir=/a:/b,upperdir=/var/lib/c/9/fs,workdir=/var/lib/c/9/work\n";
        let at = |id: &str| mounts.lines().find(|line| line.split(' ').next() == Some(id)).unwrap();
        assert_eq!(on(at("42")), Some(On::Filesystem("0:35")));
        assert_eq!(on(at("44")), Some(On::Directory("/var/lib/c/9/fs")));
        assert_eq!((on(at("43")), on("")), (None, None));
        let answers = |line: &str| Mounted::of(line).answers;
        assert!(answers(at("42")) && answers(at("44")) && Mounted::default().answers);
        assert!(!answers("45 36 0:58 / /nas rw - nfs4 nas:/x rw"));
        assert_eq!(Mounted::of(at("42")).number.as_deref(), Some("0:35"));
    }

    #[test]
    fn a_deleted_file_that_is_open_is_found_with_who_holds_it() {
        // Where tests run, files in memory would not count.
        let place = tempfile::tempdir_in(".").unwrap();
        let path = place.path().join("log");
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(&vec![7; 3 << 20]).unwrap();
        file.sync_all().unwrap();
        let number = files::number(file.metadata().unwrap().dev());
        let inode = file.metadata().unwrap().ino();
        let own = || orphans_of(std::process::id()).iter().any(|(_, one)| *one == inode);
        assert!(!own(), "it still has its name");
        fs::remove_file(&path).unwrap();
        assert!(own());
        let (all, _) = deleted(Path::new("/proc"));
        let one = all.iter().find(|one| one.number == number).unwrap();
        assert!(one.bytes >= 3 << 20 && one.files >= 1, "{one:?}");
        assert!(one.holders.iter().any(|holder| holder.pid == std::process::id()), "{one:?}");
        drop(file);
        assert!(!own());
    }

    #[test]
    fn a_mount_point_that_is_not_utf8_has_nobody_asked_who_may_not_answer() {
        let place = tempfile::tempdir_in(".").unwrap();
        let process = place.path().join("7");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::create_dir_all(process.join("fdinfo")).unwrap();
        let open = tempfile::tempfile_in(place.path()).unwrap();
        open.set_len(4096).unwrap();
        // Two links: this one's text is that of a file without a name, and it leads to one.
        let named = place.path().canonicalize().unwrap().join("log (deleted)");
        let fd = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&open));
        std::os::unix::fs::symlink(fd, &named).unwrap();
        std::os::unix::fs::symlink(&named, process.join("fd/3")).unwrap();
        fs::write(process.join("fdinfo/3"), "mnt_id:\t42\n").unwrap();
        let told = |table: &[u8]| {
            fs::write(process.join("mountinfo"), table).unwrap();
            deleted(place.path()).0.len()
        };
        assert_eq!(told(b"42 1 8:1 / / rw - ext4 /dev/sda1 rw\n43 42 8:2 / /\xff rw - ext4 /dev/sdb rw\n"), 1);
        assert_eq!(told(b"42 1 0:35 / /nas/\xff rw - nfs4 nas:/export rw\n"), 0);
        fs::remove_file(process.join("mountinfo")).unwrap();
        fs::create_dir(process.join("mountinfo")).unwrap();
        assert_eq!(deleted(place.path()).0.len(), 0, "it cannot be read");
    }

    #[test]
    fn who_has_too_much_open_is_not_looked_through_and_that_is_said() {
        let place = tempfile::tempdir_in(".").unwrap();
        let of = |pid: u32, count: u32| {
            let process = place.path().join(pid.to_string());
            fs::create_dir_all(process.join("fd")).unwrap();
            fs::create_dir_all(process.join("fdinfo")).unwrap();
            fs::write(process.join("mountinfo"), "42 1 8:1 / / rw - ext4 /dev/sda1 rw\n").unwrap();
            for number in 0..count {
                let open = tempfile::tempfile_in(place.path()).unwrap();
                let fd = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&open));
                let named = place.path().canonicalize().unwrap().join(format!("{pid}-{number} (deleted)"));
                std::os::unix::fs::symlink(fd, &named).unwrap();
                std::os::unix::fs::symlink(&named, process.join(format!("fd/{number}"))).unwrap();
                fs::write(process.join(format!("fdinfo/{number}")), "mnt_id:\t42\n").unwrap();
                // It stays open.
                std::mem::forget(open);
            }
        };
        of(7, 30);
        of(8, 3);
        let found = |budget, each| {
            let (all, trouble) = within(place.path(), budget, each);
            (all.iter().map(|one| one.files).sum::<u64>(), trouble)
        };
        assert_eq!(found(BUDGET, EACH), (33, String::new()));
        let (files, trouble) = found(BUDGET, 10);
        assert_eq!((files, trouble.starts_with("1 process was not")), (13, true), "{trouble}");
        let (files, trouble) = found(Duration::ZERO, EACH);
        assert_eq!((files, trouble.starts_with("2 processes were not")), (0, true), "{trouble}");
    }

    fn orphans_of(pid: u32) -> Vec<(u64, u64)> {
        let fds = descriptors(Path::new(&format!("/proc/{pid}")));
        fds.filter_map(|fd| orphan(&fd)).map(|one| (one.device, one.inode)).collect()
    }
}
