//! Files and directories.

use serde::{Deserialize, Serialize};

/// A file's content with the facts that decide whether it may be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The bytes.
    pub content: Vec<u8>,
    /// Permission bits (`0o600`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// When its content was last written, in nanoseconds since 1970.
    pub modified: i64,
}

impl File {
    /// The content as text, bad UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// What kind of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A block device.
    Block,
    /// Anything else.
    Other,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The kind of thing.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// User and group, by number.
    pub owner: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// `major:minor` of the device it is (block devices) or else lies on.
    pub device: String,
    /// Of a directory, whether nobody can change it (`chattr +i`); `None` where its filesystem has no such flag.
    pub immutable: Option<bool>,
}
