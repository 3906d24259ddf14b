//! What fills the disks: how large directories are, what lies beneath mount points, and what was deleted and is still open.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Measure directories, and look where the daemon's sandbox can not: reads only, in a unit of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyOrder {
    /// What to measure.
    pub directories: Vec<SurveyedDirectory>,
    /// Mount points to look beneath.
    pub beneath: Vec<Beneath>,
    /// How much of one processor it may take, in hundredths.
    pub share: u8,
}

impl SurveyOrder {
    /// The name of the work.
    pub const JOB: &'static str = "survey";
}

/// A directory that is measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SurveyedDirectory {
    /// Its absolute path.
    pub path: PathBuf,
    /// How many levels beneath it are told apart; 0 is the directory alone.
    pub depth: u8,
    /// Somebody asked for it by name: it is told, too, when it is not there.
    #[serde(default)]
    pub named: bool,
}

/// A mount point, and the mount that it hides a directory of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Beneath {
    /// Where something is mounted.
    pub mount_point: PathBuf,
    /// Where the filesystem is mounted whose directory that is.
    pub parent: PathBuf,
}

/// What a survey found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// When it ended, in seconds since 1970.
    pub at: i64,
    /// Each directory that was asked for, in that order; without those that are not there and that nobody named.
    pub directories: Vec<Measured>,
    /// Each mount point that could be looked beneath.
    pub hidden: Vec<Hidden>,
    /// Files that were deleted and are still open, by filesystem.
    pub deleted: Vec<Deleted>,
}

/// How large a directory is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its path.
    pub path: PathBuf,
    /// With everything in it on the same filesystem. `None` where it could not be read.
    pub size: Option<DirectorySize>,
    /// Those in it, down to the depth that was asked for.
    pub parts: Vec<Part>,
    /// Seconds that it took.
    pub seconds: f64,
    /// What could not be read, in words; empty where all could.
    pub trouble: String,
}

/// A directory within a measured one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its absolute path.
    pub path: PathBuf,
    /// How many levels beneath the measured one, from 1 on.
    pub depth: u8,
    /// With everything in it.
    pub size: DirectorySize,
}

/// Bytes and inodes of a directory with everything in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectorySize {
    /// Bytes that it takes on the filesystem.
    pub allocated: u64,
    /// Bytes that its files seem to have.
    pub apparent: u64,
    /// Files of every kind, and directories.
    pub inodes: u64,
}

/// What lies beneath a mount point, where nobody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// The mount point.
    pub mount_point: PathBuf,
    /// Bytes that are taken beneath it, without the directory itself.
    pub bytes: u64,
}

/// Files of a filesystem that were deleted and that somebody still has open: their bytes are not free.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The filesystem's device as `major:minor`.
    pub number: String,
    /// Bytes in all, each file once.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
    /// Who has the most open, at most five.
    pub holders: Vec<Holder>,
}

/// A process that has deleted files open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its short name.
    pub name: String,
    /// Bytes in its deleted files.
    pub bytes: u64,
}
