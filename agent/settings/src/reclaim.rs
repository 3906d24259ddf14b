//! Reads `[reclaim]` and `pressure.reserve`: what is freed before a disk is full.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, quote};
use crate::disk::Size;
use crate::duration::Span;
use crate::pressure::Percent;
use crate::reader::{Reader, Section};

pub(crate) const KEYS: [&str; 5] = ["order", "journal", "rotated-logs", "pod-logs", "images"];
pub(crate) const JOURNAL_KEYS: [&str; 2] = ["at", "keep"];
pub(crate) const ROTATED_KEYS: [&str; 4] = ["at", "patterns", "older-than", "at-most"];
const POD_KEYS: [&str; 3] = ["at", "older-than", "at-most"];
const IMAGE_KEYS: [&str; 2] = ["at", "at-most"];

/// Where logs are. Patterns lead nowhere else.
const LOGS: &str = "/var/log";
/// In it, what is freed by whom it belongs to.
const NOT_ROTATED: [&str; 3] = ["journal", "pods", "containers"];
/// What logrotate and its likes name what they put aside.
const ROTATED: [&str; 12] = [
    "/var/log/*.gz",
    "/var/log/*.xz",
    "/var/log/*.zst",
    "/var/log/*.bz2",
    "/var/log/*.old",
    "/var/log/*.[0-9]",
    "/var/log/*/*.gz",
    "/var/log/*/*.xz",
    "/var/log/*/*.zst",
    "/var/log/*/*.bz2",
    "/var/log/*/*.old",
    "/var/log/*/*.[0-9]",
];
/// How they end, besides numbers.
const COMPRESSED: [&str; 5] = ["gz", "xz", "zst", "bz2", "old"];
/// Characters of a date, at least: `app.log-202611`.
const DATE: usize = 6;
/// What was written to within an hour may be under a logrotate's hands.
const YOUNGEST: u64 = 3600;
/// From which share in use on.
const AT: Percent = Percent::of(85);
const DAY: u64 = 86_400;

/// `[reclaim]`: what is freed where a filesystem fills, the first first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reclaim(pub Vec<Reclaimed>);

/// One kind of thing that is freed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reclaimed {
    /// From which share in use on, of the filesystem that it is on.
    pub at: Percent,
    /// What, and how much of it.
    pub what: Reclaimable,
}

/// What may be freed, and its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reclaimable {
    /// The journal's archived files.
    #[serde(rename_all = "kebab-case")]
    Journal {
        /// So many bytes of it stay.
        keep: Size,
    },
    /// Logs that were rotated.
    #[serde(rename_all = "kebab-case")]
    RotatedLogs {
        /// Which files: paths beneath `/var/log` with `*`, `?` and `[…]`.
        patterns: Vec<LogPattern>,
        /// Only what was not written to for this long.
        older_than: Span,
        /// No more than this in one go.
        at_most: Size,
    },
    /// Logs of pods that have ended.
    #[serde(rename_all = "kebab-case")]
    PodLogs {
        /// Only what was not written to for this long.
        older_than: Span,
        /// No more than this in one go.
        at_most: Size,
    },
    /// Images that no container uses, by the container runtime.
    #[serde(rename_all = "kebab-case")]
    Images {
        /// No more than this in one go.
        at_most: Size,
    },
}

impl Reclaimable {
    /// Its name in the settings and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Journal { .. } => "journal",
            Self::RotatedLogs { .. } => "rotated-logs",
            Self::PodLogs { .. } => "pod-logs",
            Self::Images { .. } => "images",
        }
    }
}

/// Which rotated logs: an absolute path beneath `/var/log` in which `*`, `?` and `[…]` stand for something within one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LogPattern(String);

impl LogPattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogPattern {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let wrong = |why: &str| Err(Complaint::new(format!("{} {why}", quote(text))));
        let path = Path::new(text);
        let Ok(inner) = path.strip_prefix(LOGS) else {
            return wrong("is not beneath /var/log, where rotated logs are");
        };
        let plain = inner.components().all(|one| matches!(one, Component::Normal(_)));
        if !plain || text.contains("//") || text.contains('\0') || text.contains("**") || text.ends_with('/') {
            return wrong(
                "is not a plain pattern of files: `.`, `..`, `//`, `**` and a `/` at its end have no meaning",
            );
        }
        let names = || inner.iter().filter_map(|name| name.to_str());
        if names().any(|name| name.starts_with('.')) {
            return wrong("has a name that begins with a `.`, which could lead back out of its directory");
        }
        if !names().all(brackets_close) {
            return wrong("has brackets that say nothing: expected something like `[0-9]`, within one name");
        }
        let first = names().next().unwrap_or_default();
        if let Some(owned) = NOT_ROTATED.iter().find(|owned| **owned == first) {
            return wrong(&format!("is in /var/log/{owned}, which is not rotated by files"));
        }
        if !names().next_back().is_some_and(says_rotated) {
            return wrong(
                "may fit logs that are in use: it has to end as rotated ones do, such as `*.gz` or `*.[0-9]`",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether every `[` has its `]` and something in between, as the matching at run time wants it.
fn brackets_close(name: &str) -> bool {
    let mut rest = name;
    while let Some(at) = rest.find(['[', ']']) {
        let inner = rest[at..].strip_prefix('[').map(|inner| inner.strip_prefix('!').unwrap_or(inner));
        match inner.and_then(|inner| inner.split_once(']')) {
            Some((class, after)) if !class.is_empty() && !class.contains('[') => rest = after,
            _ => return false,
        }
    }
    true
}

/// Whether whatever fits ends as rotated logs do, and so no log that is being written does: in the name of a compression,
/// in `.old`, in a number after a `.`, or in a date after a `-`.
fn says_rotated(name: &str) -> bool {
    let (mut plain, mut rest) = (String::new(), name);
    while let Some((before, (class, after))) =
        rest.split_once('[').and_then(|(b, rest)| Some((b, rest.split_once(']')?)))
    {
        let digit = class.chars().all(|c| c.is_ascii_digit() || c == '-');
        plain += before;
        plain.push(if digit { '0' } else { '*' });
        rest = after;
    }
    plain += rest;
    let Some(at) = plain.rfind(['.', '-']) else { return false };
    let (dot, end) = (plain[at..].starts_with('.'), &plain[at + 1..]);
    let number = end.starts_with(|c: char| c.is_ascii_digit()) && end.chars().all(|c| c.is_ascii_digit() || c == '?');
    dot && COMPRESSED.contains(&end) || number && (dot || end.len() >= DATE)
}

/// `pressure.reserve`: a file that is given up when the disk of the system is about to be full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reserve {
    /// A little of the root filesystem, where that is small.
    #[default]
    Auto,
    /// None.
    Off,
    /// So much, however large the disk is.
    Size(Size),
}

impl FromStr for Reserve {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            size => size.parse().map(Self::Size).map_err(|_| {
                Complaint::new(format!("{} is not a reserve: expected \"auto\", \"off\" or \"512MiB\"", quote(text)))
            }),
        }
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Size(size) => size.fmt(f),
        }
    }
}

impl Serialize for Reserve {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads `[reclaim]`. With a Kubernetes that something else manages it is not known which pods have ended.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>, managed: bool) -> Reclaim {
    let Some(section) = reader.section(root, "reclaim") else { return Reclaim::default() };
    reader.known(&section, &KEYS, &[]);
    reader.missing(&section, "order", "order = [\"journal\", \"rotated-logs\"]: nothing is freed that is not in it");
    let tables: Vec<_> = KEYS[1..].iter().map(|name| (*name, one(reader, &section, name))).collect();
    let known = |text: &str| match tables.iter().find(|(name, _)| *name == text) {
        Some((_, read)) => Ok(read.clone()),
        None => Err(Complaint::new(format!("{} cannot be freed: expected {}", quote(text), KEYS[1..].join(", ")))),
    };
    let listed = reader.texts(&section, "order", known).unwrap_or_default();
    let mut all: Vec<Reclaimed> = Vec::new();
    for (read, at) in listed {
        if all.iter().any(|other| other.what.name() == read.what.name()) {
            let complaint = Complaint::new(format!("{} is in the order twice", read.what.name()));
            reader.complain(at, "reclaim.order", complaint);
            continue;
        }
        let kubernetes = root.get("cluster").is_some();
        let without = match read.what {
            Reclaimable::Images { .. } | Reclaimable::PodLogs { .. } if reader.whole && !kubernetes => {
                Some("these settings are of no cluster")
            }
            Reclaimable::PodLogs { .. } if managed => Some("which pods have ended is known of K3s alone"),
            _ => None,
        };
        if let Some(why) = without {
            let complaint = Complaint::new(format!("{} cannot be freed here: {why}", read.what.name()));
            reader.complain(at, "reclaim.order", complaint.suggest("remove it from the order"));
        }
        all.push(read);
    }
    for name in &KEYS[1..] {
        let Some(item) = section.get(name).filter(|_| reader.whole && section.get("order").is_some()) else { continue };
        if all.iter().all(|one| one.what.name() != *name) {
            let complaint = Complaint::new(format!("`reclaim.{name}` is not in `reclaim.order`: nothing comes of it"));
            reader.complain(item.key, &section.key(name), complaint.suggest(format!("add \"{name}\" to the order")));
        }
    }
    Reclaim(all)
}

fn quiet_for(text: &str) -> Result<Span, Complaint> {
    let span: Span = text.parse()?;
    if span.duration().as_secs() < YOUNGEST {
        let text = format!("{} is too short: what was written to within an hour may still be written to", quote(text));
        return Err(Complaint::new(text).suggest("1h"));
    }
    Ok(span)
}

/// One table, or what holds without it.
fn one<'a>(reader: &mut Reader<'a>, parent: &Section<'a>, name: &str) -> Reclaimed {
    let section = reader.section(parent, name);
    let section = section.as_ref();
    let keys: &[&str] = match name {
        "journal" => &JOURNAL_KEYS,
        "rotated-logs" => &ROTATED_KEYS,
        "pod-logs" => &POD_KEYS,
        _ => &IMAGE_KEYS,
    };
    if let Some(section) = section {
        reader.known(section, keys, &[]);
    }
    let at = section.and_then(|section| reader.parsed(section, "at")).unwrap_or(AT);
    let mut size = |key, default| section.and_then(|s| reader.parsed(s, key)).unwrap_or(Size::of(default));
    let (keep, at_most) = (size("keep", 100 << 20), size("at-most", if name == "images" { 5 << 30 } else { 1 << 30 }));
    let older = |reader: &mut Reader<'a>, days: u64| {
        let written = section.and_then(|section| reader.with(section, "older-than", quiet_for));
        written.unwrap_or(Span::from_secs(days * DAY))
    };
    let what = match name {
        "journal" => Reclaimable::Journal { keep },
        "rotated-logs" => {
            let written = section.and_then(|section| reader.texts(section, "patterns", str::parse::<LogPattern>));
            let patterns = match written {
                Some(all) => all.into_iter().map(|(pattern, _)| pattern).collect(),
                None => ROTATED.iter().map(|text| LogPattern((*text).to_owned())).collect(),
            };
            Reclaimable::RotatedLogs { patterns, older_than: older(reader, 7), at_most }
        }
        "pod-logs" => Reclaimable::PodLogs { older_than: older(reader, 1), at_most },
        _ => Reclaimable::Images { at_most },
    };
    Reclaimed { at, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_lead_to_rotated_logs_alone() {
        for text in ROTATED.iter().chain(&[
            "/var/log/app/audit-*.log.[0-9]",
            "/var/log/nginx/access.log-20??????",
            "/var/log/a[!b].[1-9][0-9]",
            "/var/log/a.log-[0-9][0-9][0-9][0-9]*.gz",
        ]) {
            assert!(text.parse::<LogPattern>().is_ok(), "{text}");
        }
        let wrong = [
            "var/log/*.gz",
            "/srv/*.gz",
            "/var/log",
            "/var/log/",
            "/var/log/*",
            "/var/log/**/*.gz",
            "/var/log/../*.gz",
            "/var/log//x.gz",
            "/var/log/x/",
            "/var/log/*.log",
            "/var/log/syslog",
            "/var/log/*.*",
            "/var/log/x.[0-9",
            "/var/log/a]b[.gz",
            "/var/log/a[!].gz",
            "/var/log/a[b/c].gz",
            "/var/log/app/.*/*.gz",
            "/var/log/my-app",
            "/var/log/app-1",
            "/var/log/*-*",
            "/var/log/*.log*",
            "/var/log/*.lo[g]",
            "/var/log/*.lo?",
            "/var/log/*.?*",
            "/var/log/*.???",
            "/var/log/*.[0-9]*",
            "/var/log/x.db",
            "/var/log/*/*/system.journa[l]",
            "/var/log/pods/*/*/*.gz",
            "/var/log/journal/*.gz",
            "/var/log/containers/*.gz",
            "/var/logs/*.gz",
        ];
        for text in wrong {
            assert!(text.parse::<LogPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_may_still_be_written_to_is_too_young() {
        assert_eq!(quiet_for("1h").unwrap(), Span::from_secs(3600));
        for text in ["0s", "59m", "soon"] {
            assert!(quiet_for(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reserves() {
        for text in ["auto", "off", "512MiB", "1GB"] {
            assert_eq!(text.parse::<Reserve>().unwrap().to_string(), text);
        }
        for text in ["", "on", "10%", "0MB", "lots"] {
            assert!(text.parse::<Reserve>().is_err(), "{text}");
        }
    }
}
