//! Reads `[pressure]`, `[usage]` and `[[directory]]`: how disks fill, and by what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, quote};
use crate::duration::Span;
use crate::model::is_normal;
use crate::net::number;
use crate::reader::{Reader, Section};
use crate::reclaim::Reserve;
use crate::tree::{Item, Kind};

pub(crate) const PRESSURE_KEYS: [&str; 4] = ["warn", "critical", "min-history", "reserve"];
pub(crate) const USAGE_KEYS: [&str; 2] = ["every", "cpu-share"];
pub(crate) const DIRECTORY_KEYS: [&str; 2] = ["path", "depth"];

/// Deeper, the directories of one tree are more than anybody looks at.
const MOST_DEPTH: u64 = 4;
/// A scan that follows on the last one is a load of its own.
const LEAST_EVERY: Span = Span::from_secs(60);

/// `[pressure]`: when a disk that fills is told of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pressure {
    /// A filesystem that is full, or has the kubelet evict, within this time is told of.
    pub warn: Span,
    /// And within this one gravely; shorter than `warn`.
    pub critical: Span,
    /// Nothing is foretold of a filesystem that was watched for less.
    pub min_history: Span,
    /// What is given up when the disk of the system is about to be full.
    pub reserve: Reserve,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            warn: Span::from_secs(24 * 3600),
            critical: Span::from_secs(4 * 3600),
            min_history: Span::from_secs(1800),
            reserve: Reserve::Auto,
        }
    }
}

/// `[usage]`: how often and how hard directories are measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Usage {
    /// From the end of a scan to the next, about; at least a minute.
    pub every: Span,
    /// How much of one processor a scan may take.
    pub cpu_share: Percent,
}

impl Default for Usage {
    fn default() -> Self {
        Self { every: Span::from_secs(3600), cpu_share: Percent(10) }
    }
}

/// A whole number from 1 to 100, written with `%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// The number, 1 to 100.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// A share that is known to be one.
    pub(crate) const fn of(number: u8) -> Self {
        Self(number)
    }

    /// So many hundredths; `None` where that is none of 1 to 100.
    pub fn new(number: u8) -> Option<Self> {
        (1..=100).contains(&number).then_some(Self(number))
    }
}

impl FromStr for Percent {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let value = text.strip_suffix('%').and_then(number).and_then(Self::new);
        value.ok_or_else(|| Complaint::new(format!("{} is not a share: expected \"1%\" to \"100%\"", quote(text))))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One `[[directory]]`: measured besides the distribution's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Absolute, without `.`, `..` or a `/` at its end; unique.
    pub path: PathBuf,
    /// How many levels beneath it are told apart: 0 is the directory alone; at most 4.
    pub depth: u8,
}

/// Reads `[pressure]`.
pub(crate) fn pressure<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Pressure {
    let defaults = Pressure::default();
    let Some(section) = reader.section(root, "pressure") else { return defaults };
    reader.known(&section, &PRESSURE_KEYS, &[]);
    let read = Pressure {
        warn: reader.parsed(&section, "warn").unwrap_or(defaults.warn),
        critical: reader.parsed(&section, "critical").unwrap_or(defaults.critical),
        min_history: reader.parsed(&section, "min-history").unwrap_or(defaults.min_history),
        reserve: reader.parsed(&section, "reserve").unwrap_or(defaults.reserve),
    };
    let item = section.get("critical").or_else(|| section.get("warn"));
    if let Some(item) = item.filter(|_| reader.whole && read.critical >= read.warn) {
        let message = format!(
            "`pressure.critical` ({}) must be shorter than `pressure.warn` ({}): critical comes last",
            read.critical, read.warn
        );
        reader.complain(item.at, "pressure", Complaint::new(message));
    }
    read
}

/// Reads `[usage]`.
pub(crate) fn usage<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Usage {
    let defaults = Usage::default();
    let Some(section) = reader.section(root, "usage") else { return defaults };
    reader.known(&section, &USAGE_KEYS, &[]);
    let every = reader.with(&section, "every", |text| {
        let every: Span = text.parse()?;
        if every < LEAST_EVERY {
            return Err(Complaint::new(format!("directories are measured every {LEAST_EVERY} at most")));
        }
        Ok(every)
    });
    Usage {
        every: every.unwrap_or(defaults.every),
        cpu_share: reader.parsed(&section, "cpu-share").unwrap_or(defaults.cpu_share),
    }
}

/// Reads all `[[directory]]`.
pub(crate) fn directories<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Vec<Measured> {
    let Some(items) = reader.list(root, "directory", "tables") else { return Vec::new() };
    let mut seen = BTreeMap::new();
    let mut all = Vec::new();
    for item in items {
        let Some(table) = item.table() else {
            let message = format!("a [[directory]] is {}, expected a table", item.kind.noun());
            reader.complain(item.at, "directory", Complaint::new(message));
            continue;
        };
        let section = Section { path: "directory".into(), at: item.at, table };
        reader.known(&section, &DIRECTORY_KEYS, &[]);
        // Without it files cannot be laid over each other: it is missed in every file.
        if table.get("path").is_none() {
            let complaint = Complaint::new("this [[directory]] has no path").suggest("add path = \"/var/lib/data\"");
            reader.complain(item.at, "directory", complaint);
        }
        let path = reader.with(&section, "path", |text| {
            let path = PathBuf::from(text);
            if is_normal(&path) && !text.contains('\0') {
                return Ok(path);
            }
            Err(Complaint::new(format!(
                "{} is not an absolute path without `.`, `..` and a `/` at its end",
                quote(text)
            )))
        });
        let depth = depth(reader, &section, table.get("depth"));
        let Some(path) = path else { continue };
        if let Some(first) = seen.insert(path.clone(), item.at) {
            let complaint = Complaint::new(format!("{} is measured twice", path.display()));
            reader.contradiction(item.at, first, "directory", complaint);
            continue;
        }
        all.push(Measured { path, depth });
    }
    all
}

fn depth<'a>(reader: &mut Reader<'a>, section: &Section<'a>, item: Option<&'a Item>) -> u8 {
    let Some(item) = item else { return 1 };
    if let Kind::Integer(Some(value)) = item.kind
        && let Some(depth) = u64::try_from(value).ok().filter(|depth| *depth <= MOST_DEPTH)
    {
        return u8::try_from(depth).unwrap_or(1);
    }
    let is = match item.kind {
        Kind::Integer(Some(number)) => number.to_string(),
        _ => item.kind.noun().to_owned(),
    };
    let message = format!("`directory.depth` is {is}, expected a whole number from 0 to {MOST_DEPTH}");
    reader.complain(item.at, &section.key("depth"), Complaint::new(message));
    1
}
