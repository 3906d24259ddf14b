//! Owner, mode and directories of a volume: `owner = "1001:0"`, `mode = "0770"`, `directories = [{ path = "data-0" }]`.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, quote};
use crate::net::number;
use crate::reader::{Reader, Section};

const KEYS: [&str; 3] = ["path", "owner", "mode"];

/// The user and group that a directory belongs to, by number: names differ between machines and the containers that use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

impl FromStr for Owner {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        // The highest number means "unchanged" to the kernel.
        let id = |text: &str| number::<u32>(text).filter(|id| *id < u32::MAX);
        let owner = text.split_once(':').and_then(|(user, group)| Some(Self { user: id(user)?, group: id(group)? }));
        owner.ok_or_else(|| {
            Complaint::new(format!("{} is not an owner: expected the numbers of a user and a group", quote(text)))
                .suggest("owner = \"1001:1001\"; `id NAME` prints them")
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.user, self.group)
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Permission bits of a directory, as octal digits (`0770`, `2775`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    /// The bits, at most `0o7777`.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let plain = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| plain);
        bits.map(Self).ok_or_else(|| {
            Complaint::new(format!("{} is not a directory mode: expected octal digits", quote(text)))
                .suggest("mode = \"0770\"")
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A directory that a volume has to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Directory {
    /// Below the mount point, without `.` and `..`.
    pub path: PathBuf,
    /// Whose it is when it is made; None is root's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Its mode when it is made; None is 0755.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Reads `directories`.
pub(crate) fn directories<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Vec<Directory> {
    let path = section.key("directories");
    let mut found: Vec<Directory> = Vec::new();
    for item in reader.list(section, "directories", "tables").unwrap_or_default() {
        let Some(table) = item.table() else {
            let complaint = Complaint::new(format!("a directory is {}, expected a table", item.kind.noun()))
                .suggest("directories = [{ path = \"data-0\", owner = \"1001:0\", mode = \"0770\" }]");
            reader.complain(item.at, &path, complaint);
            continue;
        };
        if let Some(directory) = one(reader, &Section { path: path.clone(), at: item.at, table }) {
            let twice = found.iter().any(|other| other.path == directory.path);
            if twice {
                let text = format!("the directory {} is there twice", quote(&directory.path.to_string_lossy()));
                reader.complain(item.at, &path, Complaint::new(text));
            } else {
                found.push(directory);
            }
        }
    }
    found
}

fn one<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Option<Directory> {
    reader.known(section, &KEYS, &[]);
    if section.get("path").is_none() {
        let complaint = Complaint::new("a directory has no `path`").suggest("add path = \"data-0\"");
        reader.complain(section.at, &section.path, complaint);
    }
    let owner = reader.parsed(section, "owner");
    let mode = reader.parsed(section, "mode");
    Some(Directory { path: reader.with(section, "path", below)?, owner, mode })
}

/// A path that leads to something below where it begins.
pub(crate) fn below(text: &str) -> Result<PathBuf, Complaint> {
    let path = Path::new(text);
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    let whole = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
    if text.is_empty() || !plain || !normal || !whole {
        let text =
            format!("{} is not a directory of the volume: expected a path relative to its mount point", quote(text));
        return Err(Complaint::new(text).suggest("path = \"data-0\""));
    }
    Ok(path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_modes() {
        assert_eq!("1001:0".parse::<Owner>().unwrap().to_string(), "1001:0");
        for wrong in ["", "kafka", "1001", "1001:", ":0", "-1:0", "+1:0", "1001:0:0", "4294967295:0", "1 :0"] {
            assert!(wrong.parse::<Owner>().is_err(), "{wrong}");
        }
        assert_eq!("0770".parse::<Mode>().unwrap().bits(), 0o770);
        assert_eq!("755".parse::<Mode>().unwrap().to_string(), "0755");
        for wrong in ["", "7", "0o770", "rwx", "0778", "07770", "+770"] {
            assert!(wrong.parse::<Mode>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn directories_lie_on_the_volume() {
        for right in ["data-0", "a/b", ".hidden", "lost+found"] {
            assert_eq!(below(right).unwrap(), Path::new(right));
        }
        for wrong in ["", "/", "/a", "..", "a/../b", "./a", "a//b", "a/", "a b", "."] {
            assert!(below(wrong).is_err(), "{wrong}");
        }
    }
}
