//! Files that were deleted and are still open: their bytes are gone from every directory, and not free.

use super::super::super::files;
use bowline_ports::{Deleted, Holder};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// So many of those who hold them are named.
const NAMED: usize = 5;
const REGULAR: u32 = 0o100_000;
const KIND: u32 = 0o170_000;

#[derive(Default)]
struct Found {
    bytes: u64,
    files: HashSet<u64>,
    holders: BTreeMap<u32, u64>,
}

/// By filesystem, the one with the most bytes first. A process that ends meanwhile is none.
pub(super) fn deleted(proc: &Path) -> Vec<Deleted> {
    let mut all: BTreeMap<u64, Found> = BTreeMap::new();
    for (pid, process) in processes(proc) {
        let mut own = HashSet::new();
        for fd in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let Some(file) = orphan(&fd.path()) else { continue };
            let found = all.entry(file.device).or_default();
            if found.files.insert(file.inode) {
                found.bytes += file.bytes;
            }
            if own.insert((file.device, file.inode)) {
                *found.holders.entry(pid).or_default() += file.bytes;
            }
        }
    }
    let mut all: Vec<_> = all.into_iter().map(|(device, found)| told(proc, device, found)).collect();
    all.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.number.cmp(&other.number)));
    all
}

fn told(proc: &Path, device: u64, found: Found) -> Deleted {
    let mut holders: Vec<_> = found.holders.into_iter().collect();
    holders.sort_by_key(|(pid, bytes)| (std::cmp::Reverse(*bytes), *pid));
    holders.truncate(NAMED);
    let named = holders.into_iter().map(|(pid, bytes)| {
        let name = fs::read_to_string(proc.join(pid.to_string()).join("comm")).unwrap_or_default();
        Holder { pid, name: name.trim().to_owned(), bytes }
    });
    Deleted {
        number: files::number(device),
        bytes: found.bytes,
        files: found.files.len().try_into().unwrap_or(u64::MAX),
        holders: named.collect(),
    }
}

fn processes(proc: &Path) -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|one| Some((one.file_name().to_str()?.parse().ok()?, one.path())))
}

struct Orphan {
    device: u64,
    inode: u64,
    bytes: u64,
}

/// A regular file on a disk that has no name any more.
fn orphan(fd: &Path) -> Option<Orphan> {
    // The link tells it for nothing. What lives in memory alone (memfd, shared memory) takes no disk.
    let target = fs::read_link(fd).ok()?;
    if !target.as_os_str().as_encoded_bytes().ends_with(b" (deleted)") || target.starts_with("/memfd:") {
        return None;
    }
    let meta = fs::metadata(fd).ok()?;
    let on_disk = meta.mode() & KIND == REGULAR && meta.nlink() == 0 && nix::sys::stat::major(meta.dev()) != 0;
    on_disk.then(|| Orphan { device: meta.dev(), inode: meta.ino(), bytes: meta.blocks() * 512 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_deleted_file_that_is_open_is_found_with_who_holds_it() {
        // Where tests run, files in memory would not count.
        let place = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
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

    fn orphans_of(pid: u32) -> Vec<(u64, u64)> {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        fds.filter_map(|fd| orphan(&fd.path())).map(|one| (one.device, one.inode)).collect()
    }
}
