//! What a scan found: plain data.

use crate::problems::Problems;
use crate::walk::Found;
use std::ffi::OsString;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

/// How large something is, with all that is in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes that it takes on the filesystem (`st_blocks` times 512), as `du` says; those of directories are in it.
    pub allocated: u64,
    /// Bytes that its regular files and symbolic links seem to have (`st_size`), as `du --apparent-size` of coreutils 9.2
    /// and later says. (Earlier ones add what directories say of themselves, which are bytes of nobody's.)
    pub apparent: u64,
    /// Inodes, as `du --inodes` says: files of every kind and directories, itself among them.
    pub inodes: u64,
    /// Directories among those.
    pub directories: u64,
    /// Names: what would be listed. More than inodes where files have several names.
    pub names: u64,
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.allocated += other.allocated;
        self.apparent += other.apparent;
        self.inodes += other.inodes;
        self.directories += other.directories;
        self.names += other.names;
    }
}

/// One directory of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Its name in the one that it is in; of the first one the path that was asked for. Any bytes but `/`.
    pub name: OsString,
    /// Where the one that it is in stands in [`Tree::directories`]; always before it.
    pub parent: Option<usize>,
    /// How many levels beneath the first one.
    pub depth: usize,
    /// With everything in it.
    pub size: Size,
}

/// What there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The directory that was asked for, and those in it down to the depth that was asked for; never empty.
    pub directories: Vec<Directory>,
    /// Where that one really is: without the links that lead there.
    pub real: PathBuf,
    /// Directories that were within the depth and beyond the number that was asked for: they are counted in the ones that
    /// they are in.
    pub left_out: u64,
    /// What could not be counted.
    pub problems: Problems,
    /// Why the threads did not run as idle ones, where they should have.
    pub not_idle: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// What it took of processors, all threads together.
    pub cpu: Duration,
}

impl Tree {
    /// The size of the whole.
    pub fn size(&self) -> Size {
        self.directories.first().map(|whole| whole.size).unwrap_or_default()
    }

    /// The path of a directory of the answer, beginning with the path that was asked for.
    pub fn path(&self, index: usize) -> PathBuf {
        let mut names = Vec::new();
        let mut at = self.directories.get(index);
        while let Some(directory) = at {
            names.push(&directory.name);
            at = directory.parent.and_then(|parent| self.directories.get(parent));
        }
        names.into_iter().rev().collect()
    }
}

/// A directory that is told, before it has a size.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: OsString,
    pub(crate) parent: usize,
    pub(crate) depth: usize,
}

/// Puts together what the threads found. Parents come before their children.
pub(crate) fn assemble(first: Directory, nodes: (Vec<Node>, u64), found: Vec<Found>, took: Duration) -> Tree {
    let (nodes, left_out) = nodes;
    let mut directories = vec![first];
    directories.extend(nodes.into_iter().map(|Node { name, parent, depth }| Directory {
        name,
        parent: Some(parent),
        depth,
        size: Size::default(),
    }));
    let (mut problems, mut not_idle, mut cpu) = (Problems::default(), None, Duration::ZERO);
    for one in found {
        for (directory, size) in directories.iter_mut().zip(one.sizes) {
            directory.size += size;
        }
        problems.add(one.problems);
        not_idle = not_idle.or(one.not_idle);
        cpu += one.cpu;
    }
    for index in (1..directories.len()).rev() {
        let size = directories[index].size;
        if let Some(parent) = directories[index].parent {
            directories[parent].size += size;
        }
    }
    Tree { directories, real: PathBuf::new(), left_out, problems, not_idle, took, cpu }
}
