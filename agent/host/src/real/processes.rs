//! The processes of a machine, and the files that they have open, out of `/proc`.

use super::mounts::unescape;
use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The folders of all processes.
pub(crate) fn processes(proc: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter(|one| one.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)).map(|one| one.path())
}

/// What a process is called; empty of one that has ended.
pub(crate) fn name(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned()
}

/// What a process has open, each a link in its folder; nothing of one that has ended.
pub(crate) fn descriptors(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|fd| fd.path())
}

/// The files on disks of the machine that processes have open, by the number of the device and of the inode, each as often as it
/// is. What a network or another program serves may not answer, and is not asked for. An error where a mount table cannot be
/// read: then any of them may be open.
pub(crate) fn open_files(proc: &Path) -> io::Result<Vec<(u64, u64)>> {
    let first = First::of(proc);
    let mut all = Vec::new();
    for process in processes(proc) {
        all.extend(first.open(&process)?.iter().filter_map(|fd| which(fd)));
    }
    Ok(all)
}

/// The processes that have a file on such a device open, stand in it, or are run from it. What a network serves is not asked for
/// here either, and one whose mount table cannot be read is none.
pub(crate) fn openers(proc: &Path, device: impl Fn(u64) -> bool) -> Vec<PathBuf> {
    let first = First::of(proc);
    let on_it = |file: PathBuf| which(&file).is_some_and(|(number, _)| device(number));
    let uses = |process: &PathBuf| {
        let files = first.places(process).into_iter().chain(first.open(process).unwrap_or_default());
        files.into_iter().any(on_it)
    };
    processes(proc).filter(uses).collect()
}

/// The mounts of the first process: what a service was given by systemd was opened before it had mounts of its own, and whoever
/// has changed its root sees but a part of them.
struct First {
    table: String,
    on_disks: HashMap<String, bool>,
}

impl First {
    fn of(proc: &Path) -> Self {
        let table = mount_table(&proc.join("1")).ok().flatten().unwrap_or_default();
        Self { on_disks: on_disks(&table), table }
    }

    /// The files on disks that a process has open, each a link in its folder.
    fn open(&self, process: &Path) -> io::Result<Vec<PathBuf>> {
        // Before the table is read: what ends meanwhile has nothing open.
        let mut open: Vec<_> = descriptors(process).collect();
        if open.is_empty() {
            return Ok(open);
        }
        let mut own = HashMap::new();
        let mut keep = |line: &str| own.extend(on_disk(line).map(|(mount, local)| (mount.to_owned(), local)));
        if !mount_lines(process, &mut keep)? {
            return Ok(Vec::new());
        }
        open.retain(|fd| {
            let info = fd.file_name().and_then(|name| fs::read_to_string(process.join("fdinfo").join(name)).ok());
            let Some(mount) = info.as_deref().and_then(mount_of) else { return false };
            // What is in no table any more was unmounted, and is in use.
            *own.get(mount).or_else(|| self.on_disks.get(mount)).unwrap_or(&true)
        });
        Ok(open)
    }

    /// Where it stands, its root and its program, as far as they are on disks: the text of a link says where, and asks nobody.
    fn places(&self, process: &Path) -> Vec<PathBuf> {
        let Ok(Some(own)) = mount_table(process) else { return Vec::new() };
        let mut places = ["cwd", "root", "exe"].map(|link| process.join(link)).to_vec();
        places.retain(|link| {
            fs::read_link(link)
                .is_ok_and(|path| is_on_disk(&own, &path).or_else(|| is_on_disk(&self.table, &path)).unwrap_or(true))
        });
        places
    }
}

/// The device and the inode of a file that is open, as far as they are known here: of what was unmounted while a dead server
/// served it, nobody else is asked.
fn which(fd: &Path) -> Option<(u64, u64)> {
    let seen = statx(CWD, fd, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some((makedev(seen.stx_dev_major, seen.stx_dev_minor), seen.stx_ino))
}

/// The mount table of a process as a text, in which names that are not UTF-8 are only roughly; `None`: it has ended.
pub(crate) fn mount_table(process: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    let there = mount_lines(process, |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    Ok(there.then_some(text))
}

/// The lines of that table, one after the other: whoever has mounts of his own may have a hundred thousand with long names, and
/// all of them at once take more memory than there is. `false`: it has ended.
pub(crate) fn mount_lines(process: &Path, mut each: impl FnMut(&str)) -> io::Result<bool> {
    const ENDED: [Errno; 3] = [Errno::ENOENT, Errno::ESRCH, Errno::EINVAL];
    let mut read = || -> io::Result<()> {
        for line in BufReader::new(fs::File::open(process.join("mountinfo"))?).split(b'\n') {
            each(&String::from_utf8_lossy(&line?));
        }
        Ok(())
    };
    match read() {
        Ok(()) => Ok(true),
        Err(error) if ENDED.iter().any(|ended| error.raw_os_error() == Some(*ended as i32)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The number of the mount that a file was opened in, as `/proc/PID/fdinfo` has it.
pub(crate) fn mount_of(info: &str) -> Option<&str> {
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim)
}

/// The numbers of the mounts of a table (man 5 proc, `mountinfo`), and whether each is on a disk, or a view of such.
fn on_disks(mounts: &str) -> HashMap<String, bool> {
    mounts.lines().filter_map(on_disk).map(|(mount, local)| (mount.to_owned(), local)).collect()
}

/// The same of one line.
pub(crate) fn on_disk(line: &str) -> Option<(&str, bool)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    Some((mount.split(' ').next()?, is_local(filesystem)?))
}

/// Whether a path is on a disk, by the mount of a table that it is below; `None`: it is below none.
fn is_on_disk(mounts: &str, path: &Path) -> Option<bool> {
    // As roughly as the table has it.
    let path = path.to_string_lossy();
    let around = mounts.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let target = PathBuf::from(unescape(mount.split(' ').nth(4)?.as_bytes()));
        Path::new(&*path).starts_with(&target).then_some((target.components().count(), filesystem))
    });
    // Of several at one place the last one is on top.
    is_local(around.max_by_key(|(depth, _)| *depth)?.1)
}

fn is_local(filesystem: &str) -> Option<bool> {
    let mut words = filesystem.split(' ');
    let (kind, source) = (words.next()?, words.next()?);
    Some(bowline_ports::is_on_disk(kind, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::given_back::given_back;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_a_network_serves_is_not_asked_for() {
        let mounts = "36 1 8:1 / / rw - ext4 /dev/sda1 rw\n42 36 0:35 / /nas rw shared:1 - nfs4 nas:/export rw\n\
                      43 36 0:40 / /b rw - fuse.sshfs a@b: rw\n44 36 0:41 / /c rw - fuseblk /dev/sdc rw\n\
                      45 36 0:57 / / rw - overlay overlay rw,lowerdir=/a\n";
        let expected = [("36", true), ("42", false), ("43", false), ("44", false), ("45", true)];
        assert_eq!(on_disks(mounts), expected.map(|(mount, local)| (mount.to_owned(), local)).into());
        assert_eq!(mount_of("pos:\t0\nflags:\t02\nmnt_id:\t36\nino:\t7\n"), Some("36"));
    }

    #[test]
    fn who_stands_on_what_a_network_serves_is_not_asked() {
        let place = tempfile::tempdir_in(".").unwrap();
        let (proc, at) = (place.path().join("proc"), place.path().canonicalize().unwrap());
        process(&proc, 7, 36, Path::new("/nowhere"), b"");
        std::os::unix::fs::symlink(&at, proc.join("7/cwd")).unwrap();
        let uses = |own: String, first: String| {
            fs::create_dir_all(proc.join("1")).unwrap();
            fs::write(proc.join("7/mountinfo"), own).unwrap();
            fs::write(proc.join("1/mountinfo"), first).unwrap();
            openers(&proc, |_| true) == [proc.join("7")]
        };
        let root = "36 1 8:1 / / rw - ext4 /dev/sda1 rw\n".to_owned();
        let served = format!("{root}42 36 0:35 / {} rw - nfs4 nas:/export rw\n", at.display());
        assert!(uses(root.clone(), String::new()));
        assert!(!uses(served.clone(), String::new()));
        assert!(uses(format!("{served}43 42 8:2 / {} rw - xfs /dev/sdb rw\n", at.display()), String::new()));
        // With another root it sees no mount around it.
        assert!(!uses(String::new(), served) && uses(String::new(), root));
        fs::remove_file(proc.join("7/mountinfo")).unwrap();
        assert!(openers(&proc, |_| true).is_empty());
    }

    #[test]
    fn a_file_of_this_process_is_found_for_as_long_as_it_is_open() {
        let file = tempfile::tempfile_in(".").unwrap();
        let own = file.metadata().unwrap();
        let found = || open_files(Path::new("/proc")).unwrap().contains(&(own.dev(), own.ino()));
        assert!(found());
        drop(file);
        given_back("it is open", || !found());
    }

    /// A folder like `/proc`, with a process of this number that has a file open in this mount.
    fn process(proc: &Path, number: u32, mount: u32, file: &Path, table: &[u8]) {
        let folder = proc.join(number.to_string());
        fs::create_dir_all(folder.join("fd")).unwrap();
        fs::create_dir_all(folder.join("fdinfo")).unwrap();
        fs::write(folder.join("fdinfo/3"), format!("pos:\t0\nmnt_id:\t{mount}\n")).unwrap();
        std::os::unix::fs::symlink(file, folder.join("fd/3")).unwrap();
        fs::write(folder.join("mountinfo"), table).unwrap();
    }

    #[test]
    fn names_that_are_not_utf8_hide_no_open_file() {
        let place = tempfile::tempdir().unwrap();
        let (proc, file) = (place.path().join("proc"), place.path().join("log.1"));
        fs::write(&file, "x").unwrap();
        let table = b"36 1 8:1 / / rw - ext4 /dev/sda1 rw\n37 36 8:2 / /mnt/\xff rw - ext4 /dev/sdb rw\n\
                      42 36 0:35 / /nas\xff rw - nfs4 nas:/export rw\n";
        process(&proc, 8, 36, &file, table);
        assert_eq!(open_files(&proc).unwrap().len(), 1);
        process(&proc, 9, 42, &file, table);
        assert_eq!(open_files(&proc).unwrap().len(), 1, "what a network serves is not asked for");
        // Opened before the process had mounts of its own, as systemd does for a service; or in one that is unmounted.
        process(&proc, 1, 36, &file, table);
        process(&proc, 10, 42, &file, b"90 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        process(&proc, 11, 77, &file, b"90 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        assert_eq!(open_files(&proc).unwrap().len(), 3);
        // One that ended meanwhile, and one that cannot be read.
        fs::remove_file(proc.join("8/mountinfo")).unwrap();
        assert_eq!(open_files(&proc).unwrap().len(), 2);
        fs::create_dir(proc.join("8/mountinfo")).unwrap();
        assert!(open_files(&proc).is_err());
    }
}
