//! Files that were deleted and are still open: their bytes are gone from every directory, and not free.

use super::super::super::files;
use super::super::super::mounts::unescape;
use super::super::super::processes::{descriptors, mount_of, mount_table, name, on_disks, processes};
use bowline_ports::{Deleted, Holder};
use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// So many of those who hold them are named.
const NAMED: usize = 5;
const REGULAR: u32 = 0o100_000;
const KIND: u32 = 0o170_000;

/// Filesystems that are in memory.
const IN_MEMORY: [&str; 4] = ["tmpfs", "ramfs", "hugetlbfs", "devtmpfs"];

#[derive(Default)]
struct Found {
    bytes: u64,
    files: HashSet<(u64, u64)>,
    holders: BTreeMap<u32, u64>,
}

/// By filesystem, the one with the most bytes first. A process that ends meanwhile is none.
pub(super) fn deleted(proc: &Path) -> Vec<Deleted> {
    let mut all: BTreeMap<String, Found> = BTreeMap::new();
    for process in processes(proc) {
        let Some(pid) = process.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        let mut own = HashSet::new();
        let mounts = LazyCell::new(|| mount_table(&process).ok().flatten());
        for fd in descriptors(&process) {
            let Some(number) = fd.file_name().filter(|_| has_no_name(&fd)) else { continue };
            let info = fs::read_to_string(process.join("fdinfo").join(number)).unwrap_or_default();
            // Without a table nothing is asked: it may not answer.
            let (Some(mount), Some(mounts)) = (mount_of(&info), mounts.as_deref()) else { continue };
            let Some(file) = answers(mounts, mount).then(|| orphan(&fd)).flatten() else { continue };
            let number = match nix::sys::stat::major(file.device) {
                0 => by_mount(mount, mounts),
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
    }
    let mut all: Vec<_> = all.into_iter().map(|(number, found)| told(proc, number, found)).collect();
    all.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.number.cmp(&other.number)));
    all
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

struct Orphan {
    device: u64,
    inode: u64,
    bytes: u64,
}

/// The filesystem of a file whose own device is a number that the kernel made up (btrfs, overlays of containers), by the mount
/// that it was opened in.
fn by_mount(mount: &str, mounts: &str) -> Option<String> {
    match on(mounts, mount)? {
        On::Filesystem(number) => Some(number.to_owned()),
        // What a container writes is in a directory of another filesystem.
        On::Directory(upper) => {
            let device = fs::metadata(unescape(upper.as_bytes())).ok()?.dev();
            (nix::sys::stat::major(device) != 0).then(|| files::number(device))
        }
    }
}

#[derive(Debug, PartialEq)]
enum On<'a> {
    Filesystem(&'a str),
    Directory(&'a str),
}

/// What is mounted there takes disk, and of which filesystem: `42 36 0:35 / /mnt rw - btrfs /dev/sdb rw,…`, as
/// `proc_pid_mountinfo(5)` has it.
fn on<'a>(mounts: &'a str, id: &str) -> Option<On<'a>> {
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(id))?;
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

/// What a network or a program serves may not answer, and is not asked for; a mount that is in no table any more is.
fn answers(mounts: &str, id: &str) -> bool {
    mounts
        .lines()
        .find(|line| line.split(' ').next() == Some(id))
        .is_none_or(|line| on_disks(line).values().all(|local| *local))
}

/// A regular file on a disk that has no name any more.
fn orphan(fd: &Path) -> Option<Orphan> {
    let meta = fs::metadata(fd).ok()?;
    let nameless = meta.mode() & KIND == REGULAR && meta.nlink() == 0;
    nameless.then(|| Orphan { device: meta.dev(), inode: meta.ino(), bytes: meta.blocks() * 512 })
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
        assert_eq!(on(mounts, "42"), Some(On::Filesystem("0:35")));
        assert_eq!(on(mounts, "44"), Some(On::Directory("/var/lib/c/9/fs")));
        assert_eq!((on(mounts, "43"), on(mounts, "4"), on("", "1")), (None, None, None));
        let nas = "45 36 0:58 / /nas rw - nfs4 nas:/x rw\n";
        assert!(answers(mounts, "42") && answers(mounts, "44") && answers(nas, "46") && !answers(nas, "45"));
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
        let all = deleted(Path::new("/proc"));
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
            deleted(place.path()).len()
        };
        assert_eq!(told(b"42 1 8:1 / / rw - ext4 /dev/sda1 rw\n43 42 8:2 / /\xff rw - ext4 /dev/sdb rw\n"), 1);
        assert_eq!(told(b"42 1 0:35 / /nas/\xff rw - nfs4 nas:/export rw\n"), 0);
        fs::remove_file(process.join("mountinfo")).unwrap();
        fs::create_dir(process.join("mountinfo")).unwrap();
        assert_eq!(deleted(place.path()).len(), 0, "it cannot be read");
    }

    fn orphans_of(pid: u32) -> Vec<(u64, u64)> {
        let fds = descriptors(Path::new(&format!("/proc/{pid}")));
        fds.filter_map(|fd| orphan(&fd)).map(|one| (one.device, one.inode)).collect()
    }
}
