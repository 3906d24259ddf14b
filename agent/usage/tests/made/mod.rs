//! Trees to be scanned, and what `du` and `find` say of them.

#![allow(dead_code, reason = "each file of tests uses some of it")]

use bowline_usage::{Control, Request, Size, Threads, Tree, scan};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A filesystem without a disk.
const MEMORY: &str = "/dev/shm";

/// A folder that goes when it is dropped, however deep it is: the standard library's way opens every level at once.
pub(crate) struct Made(TempDir);

impl Made {
    /// Where temporary files are.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// In memory, where that is possible: for many files.
    pub(crate) fn quick() -> Self {
        Self(tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn file(&self, name: impl AsRef<Path>, bytes: usize) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; bytes]).unwrap();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(self.path()).status();
    }
}

/// Everything beneath it is on its disk, where it has one: until then blocks are counted as they are foreseen.
pub(crate) fn settle(root: &Path) {
    if !root.starts_with(MEMORY) {
        assert!(Command::new("sync").arg("--file-system").arg(root).status().unwrap().success());
    }
}

/// A scan that has to come to its end.
pub(crate) fn scanned(root: &Path, depth: usize, threads: Threads) -> Tree {
    let request = Request { depth, threads, ..Request::of(root) };
    let control = Control::new();
    let tree = scan(&request, &control).unwrap();
    assert_eq!((control.names(), control.allocated()), (tree.size().names, tree.size().allocated), "the progress");
    assert_eq!(tree.not_idle, None);
    tree
}

/// Standard output of a command that has to succeed, by lines that end in zeros.
pub(crate) fn lines(command: &mut Command) -> Vec<Vec<u8>> {
    let output = command.env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// What `du` says of a folder and those in it, by path.
pub(crate) fn du(options: &[&str], root: &Path, depth: usize) -> BTreeMap<OsString, u64> {
    let mut du = Command::new("du");
    du.args(["-0", "-x", &format!("--max-depth={depth}")]).args(options).arg(root);
    let line = |line: Vec<u8>| {
        let tab = line.iter().position(|byte| *byte == b'\t').unwrap();
        let number = std::str::from_utf8(&line[..tab]).unwrap().parse().unwrap();
        (OsString::from_vec(line[tab + 1..].to_vec()), number)
    };
    lines(&mut du).into_iter().map(line).collect()
}

/// What directories say of their own size, each with those in it. `du` of coreutils before 9.2 adds it to the apparent
/// size; ours, and that of later ones, is that of files and symbolic links alone.
pub(crate) fn of_directories(root: &Path) -> u64 {
    let empty = tempfile::tempdir_in(root).unwrap();
    let counted = du(&["-b"], empty.path(), 0)[empty.path().as_os_str()] > 0;
    drop(empty);
    if !counted {
        return 0;
    }
    let sizes = lines(Command::new("find").arg(root).args(["-xdev", "-type", "d", "-printf", "%s\\0"]));
    sizes.iter().map(|size| std::str::from_utf8(size).unwrap().parse::<u64>().unwrap()).sum()
}

/// The whole is what `du` says, to the byte, by one thread and by two; and so is each directory down to the depth, unless
/// files have names in several of them.
pub(crate) fn as_du_says(root: &Path, depth: usize, links_across: bool) -> Tree {
    settle(root);
    let own = of_directories(root);
    let allocated = du(&["-B1"], root, depth);
    let inodes = du(&["--inodes"], root, depth);
    let apparent = du(&["-b"], root, 0)[root.as_os_str()] - own;
    let names = lines(Command::new("find").arg(root).args(["-xdev", "-printf", ".\\0"])).len() as u64;
    let directories =
        lines(Command::new("find").arg(root).args(["-xdev", "-type", "d", "-printf", ".\\0"])).len() as u64;
    let whole =
        Size { allocated: allocated[root.as_os_str()], apparent, inodes: inodes[root.as_os_str()], directories, names };
    let both = [Threads::One, Threads::Two].map(|threads| {
        let tree = scanned(root, depth, threads);
        assert_eq!(tree.size(), whole, "{threads:?}");
        let paths = (0..tree.directories.len()).map(|index| tree.path(index).into_os_string());
        let sizes = || tree.directories.iter().map(|directory| directory.size);
        let ours: BTreeMap<_, _> = paths.clone().zip(sizes()).collect();
        assert_eq!(ours.len(), tree.directories.len(), "no directory twice");
        assert_eq!(ours.keys().collect::<Vec<_>>(), allocated.keys().collect::<Vec<_>>(), "{threads:?}");
        if !links_across {
            assert_eq!(paths.clone().zip(sizes().map(|size| size.allocated)).collect::<BTreeMap<_, _>>(), allocated);
            assert_eq!(paths.zip(sizes().map(|size| size.inodes)).collect::<BTreeMap<_, _>>(), inodes);
        }
        tree
    });
    let [one, two] = both;
    assert_eq!((one.problems.unreadable, one.problems.vanished), (0, 0), "{:?}", one.problems);
    assert_eq!((one.problems.not_utf8, one.problems.mounts), (two.problems.not_utf8, two.problems.mounts));
    one
}

/// Makes a chain of directories: paths that no system call takes. `fill` puts something on every level, in two parts: before
/// and after the next level was made, so that one of them is gone through on the way down and one on the way back,
/// whichever end a filesystem lists first.
pub(crate) fn chain(top: OwnedFd, levels: usize, fill: impl Fn(&OwnedFd, usize, Part)) {
    let mut at = top;
    for level in 0..levels {
        let name = format!("level-{level}-of-a-long-way-down");
        fill(&at, level, Part::Before);
        mkdirat(&at, name.as_str(), Mode::S_IRWXU).unwrap();
        fill(&at, level, Part::After);
        at = openat(&at, name.as_str(), OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    }
}

/// When something is put into a level of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Before,
    After,
}

/// A directory, to make others in it.
pub(crate) fn opened(path: &Path) -> OwnedFd {
    open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
}

/// A name that is no UTF-8.
pub(crate) fn odd(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// Always the same numbers for one seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // The generator of Knuth's MMIX; its upper bits are good enough for trees.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
