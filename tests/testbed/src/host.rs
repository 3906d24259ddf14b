//! What a host must have for booted tests, and the remedy for each thing that it lacks.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::statvfs::statvfs;

use crate::cgroup::Layout;
use crate::sources;

/// One thing that the host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// What a person does about it.
    pub remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

/// The programs of the host that the testbed starts, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("ip", "iproute2"),
    ("losetup", "mount"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("flock", "util-linux"),
    ("chroot", "coreutils"),
    ("openssl", "openssl"),
    ("reprepro", "reprepro"),
    ("gpg", "gnupg"),
    ("mkfs.ext4", "e2fsprogs"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// What tests that run at once take of it, in GB, beside what the kubelets of their machines want to be left.
const ROOM: u64 = 6;

/// Everything that is missing here.
pub(crate) fn check() -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut lacks = |what: String, remedy: &str| missing.push(Missing { what, remedy: remedy.to_owned() });
    if !nix::unistd::geteuid().is_root() {
        lacks("root's rights".into(), "run the booted tests as root (sudo make test)");
    }
    for (program, package) in PROGRAMS {
        if !in_path(program) {
            lacks(format!("the program {program}"), &format!("apt-get install {package}"));
        }
    }
    if let Err(error) = Layout::detect() {
        lacks(format!("control groups ({error})"), "boot with systemd.unified_cgroup_hierarchy=1");
    }
    let file_systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !file_systems.contains("overlay") && !module_there("overlay") {
        lacks("the overlay file system".into(), "modprobe overlay");
    }
    if !Path::new("/dev/loop-control").exists() {
        lacks("loop devices".into(), "modprobe loop");
    }
    let beds = beds_folder();
    if let Some(kind @ ("overlay" | "tmpfs")) = file_system_of(&beds).as_deref() {
        lacks(
            format!("a real file system at {} (it is {kind})", beds.display()),
            "set BOWLINE_BEDS to a folder on ext4, xfs or btrfs with 20 GB free",
        );
    }
    if let Some((size, left)) = room_of(&beds).filter(|(size, left)| *left < size / 20 + ROOM) {
        lacks(
            format!(
                "room at {} ({left} of {size} GB are free: kubelets take no pods where 5 % are left)",
                beds.display()
            ),
            &format!(
                "free {} GB, or set BOWLINE_BEDS to a folder on ext4, xfs or btrfs with 20 GB free",
                size / 20 + ROOM - left
            ),
        );
    }
    if let Err(error) = sources::find() {
        lacks(format!("{error:#}"), "set BOWLINE_SOURCES to an apt sources file with Debian's main suites");
    }
    missing
}

/// Where beds keep their folders: a real file system, since containers inside cannot stack overlays.
pub(crate) fn beds_folder() -> PathBuf {
    env::var_os("BOWLINE_BEDS").map_or_else(|| PathBuf::from("/var/tmp/bowline-beds"), PathBuf::from)
}

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Whether the kernel has this module and loads it when asked for.
fn module_there(name: &str) -> bool {
    std::process::Command::new("modprobe").args(["--quiet", name]).status().is_ok_and(|status| status.success())
}

/// The type of the file system that holds `path`, or the nearest folder above it that exists.
fn file_system_of(path: &Path) -> Option<String> {
    let there = path.ancestors().find(|path| path.exists())?.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut best: (usize, Option<String>) = (0, None);
    for line in mounts.lines() {
        let (left, right) = line.split_once(" - ")?;
        let at = left.split(' ').nth(4)?;
        if there.starts_with(at) && at.len() >= best.0 {
            best = (at.len(), right.split(' ').next().map(str::to_owned));
        }
    }
    best.1
}

/// The size of the file system that holds `path`, or the nearest folder above it that exists, and what is free of it, in GB.
fn room_of(path: &Path) -> Option<(u64, u64)> {
    let there = path.ancestors().find(|path| path.exists())?;
    let stat = statvfs(there).ok()?;
    let gigabytes = |blocks: u64| blocks * stat.fragment_size() / 1_000_000_000;
    Some((gigabytes(stat.blocks()), gigabytes(stat.blocks_available())))
}

/// Lets this process have so many files open at once, for a test that needs thousands of connections.
pub fn open_files(count: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(hard >= count, "this host allows {hard} open files, and {count} are needed: raise `ulimit -Hn`");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.max(count), hard)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_what_it_will_be_in() {
        let (size, left) = room_of(Path::new("/nowhere/yet")).unwrap();
        assert_eq!(Some(size), room_of(Path::new("/")).map(|(size, _)| size));
        assert!(left <= size && size > 0);
    }
}
