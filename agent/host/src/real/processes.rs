//! The processes of a machine, and the files that they have open, out of `/proc`.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// The folders of all processes.
pub(crate) fn processes(proc: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter(|one| one.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)).map(|one| one.path())
}

/// What a process has open, each a link in its folder; nothing of one that has ended.
pub(crate) fn descriptors(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|fd| fd.path())
}

/// The files on disks of the machine that processes have open, each as often as it is. What a network or another program
/// serves may not answer, and is not asked for.
pub(crate) fn open_files(proc: &Path) -> impl Iterator<Item = Metadata> {
    processes(proc).flat_map(|process| {
        let all: Vec<_> = descriptors(&process).collect();
        let local = on_disks(&fs::read_to_string(process.join("mountinfo")).unwrap_or_default());
        let is_local = move |fd: &PathBuf| {
            let info = fd.file_name().and_then(|name| fs::read_to_string(process.join("fdinfo").join(name)).ok());
            info.as_deref().and_then(mount_of).is_some_and(|mount| local.contains(mount))
        };
        all.into_iter().filter(is_local).filter_map(|fd| fs::metadata(fd).ok())
    })
}

/// The number of the mount that a file was opened in, as `/proc/PID/fdinfo` has it.
pub(crate) fn mount_of(info: &str) -> Option<&str> {
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim)
}

/// The numbers of the mounts of a table (man 5 proc, `mountinfo`) that are on disks, or views of such.
pub(crate) fn on_disks(mounts: &str) -> HashSet<String> {
    let one = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut words = filesystem.split(' ');
        let (kind, source) = (words.next()?, words.next()?);
        let local = source.starts_with("/dev/") && !kind.starts_with("fuse") || ["overlay", "zfs"].contains(&kind);
        local.then(|| mount.split(' ').next().map(str::to_owned)).flatten()
    };
    mounts.lines().filter_map(one).collect()
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
        assert_eq!(on_disks(mounts), HashSet::from(["36", "45"].map(String::from)));
        assert_eq!(mount_of("pos:\t0\nflags:\t02\nmnt_id:\t36\nino:\t7\n"), Some("36"));
    }

    #[test]
    fn a_file_of_this_process_is_found_for_as_long_as_it_is_open() {
        let file = tempfile::tempfile_in(".").unwrap();
        let own = file.metadata().unwrap();
        let found = || open_files(Path::new("/proc")).any(|one| (one.dev(), one.ino()) == (own.dev(), own.ino()));
        assert!(found());
        drop(file);
        given_back("it is open", || !found());
    }
}
