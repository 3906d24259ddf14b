//! What fills the disks: how large directories are, what lies beneath mount points, and what was deleted and is still open.

use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Measure directories, and look where the daemon's sandbox cannot: reads only, in a unit of its own.
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
    #[serde(with = "exact")]
    pub mount_point: PathBuf,
    /// Where the filesystem is mounted whose directory that is.
    #[serde(with = "exact")]
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
    /// What was not looked at for these, in words; empty where all was.
    #[serde(default)]
    pub deleted_trouble: String,
}

/// How large a directory is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its path.
    #[serde(with = "exact")]
    pub path: PathBuf,
    /// Where it really is, without the links that lead there; empty where it could not be read.
    #[serde(with = "exact", default)]
    pub real: PathBuf,
    /// With everything in it on the same filesystem. `None` where it could not be read.
    pub size: Option<DirectorySize>,
    /// Those in it, down to the depth that was asked for.
    pub parts: Vec<Part>,
    /// How many more there are, which are counted in those that they are in, and not told apart.
    #[serde(default)]
    pub left_out: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// What could not be read, in words; empty where all could.
    pub trouble: String,
}

impl Measured {
    /// Where it is, as far as that is known: the mount table has no links.
    pub fn place(&self) -> &Path {
        if self.real.as_os_str().is_empty() { &self.path } else { &self.real }
    }
}

/// A directory within a measured one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its absolute path, as [`path_text`] has it.
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
    #[serde(with = "exact")]
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

/// A path as a text: a byte that is not UTF-8 stands as `\xff`. Two paths have one text only if one of them is called just that.
pub fn path_text(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // A String takes everything.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Paths in files of Bowline's own: a name may be any bytes, and a text cannot be. One that is UTF-8 is a text, another what serde makes of its bytes.
mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kept {
        Text(String),
        Bytes(OsString),
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => text.serialize(to),
            None => path.as_os_str().serialize(to),
        }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(match Kept::deserialize(from)? {
            Kept::Text(text) => text.into(),
            Kept::Bytes(bytes) => bytes.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn a_path_of_any_bytes_is_kept_and_has_a_text_of_its_own() {
        let of = |bytes: &[u8]| {
            let text = serde_json::json!({ "Unix": bytes });
            PathBuf::from(serde_json::from_value::<OsString>(text).unwrap())
        };
        for (bytes, text) in [(&b"/a/caf\xe9/b"[..], r"/a/caf\xe9/b"), (b"/caf\xff", r"/caf\xff"), (b"/\xc3\xa9", "/é")]
        {
            let hidden = Hidden { mount_point: of(bytes), bytes: 7 };
            let kept = serde_json::to_string(&hidden).unwrap();
            assert_eq!(serde_json::from_str::<Hidden>(&kept).unwrap(), hidden, "{kept}");
            assert_eq!(path_text(&hidden.mount_point), text);
        }
        let earlier: Hidden = serde_json::from_str(r#"{"mount_point":"/mnt/x","bytes":1}"#).unwrap();
        assert_eq!(earlier.mount_point, Path::new("/mnt/x"));
    }

    #[test]
    fn what_an_earlier_program_found_can_be_read() {
        let earlier = r#"{"at":7,"directories":[],"hidden":[],"deleted":[]}"#;
        assert_eq!(serde_json::from_str::<Survey>(earlier).unwrap(), Survey { at: 7, ..Survey::default() });
    }
}
