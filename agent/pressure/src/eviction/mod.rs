//! From when on the kubelet evicts: the thresholds of its real configuration, read as it reads them.
//!
//! Two filesystems count: `nodefs`, that of the kubelet's own directory, and `imagefs`, that of the container runtime's root.
//! They are often one and the same, for which then both thresholds hold. Whatever is free below a threshold makes the
//! kubelet remove images first, then evict pods.
//!
//! - Files of the kind KubeletConfiguration are merged in the order of their names, those in directories within it too, a map
//!   key by key (RFC 7396, as the kubelet's `--config-dir`). K3s from 1.32 on writes its own defaults there as the first one
//!   (`00-k3s-defaults.conf`), and copies to it what `config` and `config-dir` name.
//! - An option on the kubelet's command line replaces the whole map of that name; given several times, they add up.
//!   K3s hands on `kubelet-arg` ([`k3s`]).
//! - Signals that nobody names have no threshold, except where no map is given at all: then upstream's defaults hold, in
//!   K3s its own (`nodefs.available` and `imagefs.available` 5 %, no inodes). `mergeDefaultEvictionSettings` adds upstream's
//!   to whatever is given.
//!
//! Sources: `pkg/kubelet/eviction/helpers.go` and `defaults_linux.go`, `cmd/kubelet/app/server.go` of Kubernetes;
//! `pkg/daemons/agent` and `pkg/util/args.go` of K3s.

mod amount;
pub mod k3s;

pub use amount::Amount;

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// What upstream's kubelet has where nothing is configured; `imagefs.inodesFree` in its newer versions.
const UPSTREAM: [(&str, &str); 4] = [
    ("nodefs.available", "10%"),
    ("nodefs.inodesFree", "5%"),
    ("imagefs.available", "15%"),
    ("imagefs.inodesFree", "5%"),
];
/// What K3s configures.
const K3S: [(&str, &str); 2] = [("nodefs.available", "5%"), ("imagefs.available", "5%")];
/// All signals that a kubelet takes; one that it does not know keeps it from starting.
const SIGNALS: [&str; 9] = [
    "memory.available",
    "allocatableMemory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "containerfs.available",
    "containerfs.inodesFree",
    "pid.available",
];

/// What cannot be read, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Problem {
    fn at(self, place: &str) -> Self {
        Self(format!("{place}: {self}"))
    }
}

/// A file: what it is called, and what is in it.
pub type Text<'a> = (&'a str, &'a str);

/// Who configured the kubelet, which decides about the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defaults {
    /// K3s.
    K3s,
    /// Anybody else (MicroK8s and kubeadm name all that they want).
    Upstream,
}

/// What has to be free of a filesystem, or pods are evicted. `None`: it does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Threshold {
    /// Of what an ordinary user may still write (`f_bavail`), of the filesystem's size.
    pub available: Option<Amount>,
    /// Of the free inodes, of all inodes.
    pub inodes: Option<Amount>,
}

/// The free bytes and inodes below which eviction begins. `None`: it never does for that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Free {
    /// Bytes.
    pub bytes: Option<u64>,
    /// Inodes.
    pub inodes: Option<u64>,
}

impl Threshold {
    /// Of a filesystem of so many bytes and inodes (0: it has no fixed number, and none run out).
    pub fn of(&self, bytes: u64, inodes: u64) -> Free {
        let inodes = self.inodes.filter(|_| inodes > 0).map(|amount| amount.of(inodes));
        Free { bytes: self.available.map(|amount| amount.of(bytes)), inodes }
    }
}

/// The thresholds of one filesystem.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Thresholds {
    /// Where eviction begins at once.
    pub hard: Threshold,
    /// Where it begins after a grace period.
    pub soft: Threshold,
}

impl Thresholds {
    /// Where eviction begins first, hard or soft, on a filesystem of so many bytes and inodes.
    pub fn begins(&self, bytes: u64, inodes: u64) -> Free {
        let (hard, soft) = (self.hard.of(bytes, inodes), self.soft.of(bytes, inodes));
        Free { bytes: hard.bytes.max(soft.bytes), inodes: hard.inodes.max(soft.inodes) }
    }
}

/// When the kubelet evicts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Eviction {
    /// By the filesystem of its own directory.
    pub nodefs: Thresholds,
    /// By that of the container runtime's root.
    pub imagefs: Thresholds,
}

type Signals = BTreeMap<String, String>;

/// Reads when a kubelet evicts.
///
/// `files` are its configuration files in the order in which they are merged (the main one, then `*.conf` of its drop-in
/// directory by name); `arguments` its options, with or without hyphens, those of others among them.
///
/// # Errors
/// When something in them keeps a kubelet from starting as well, or is no configuration: which file, and what.
pub fn read(defaults: Defaults, files: &[Text], arguments: &[String]) -> Result<Eviction, Problem> {
    let mut merged = Map::new();
    for (name, text) in files {
        let file = yaml(text).map_err(|problem| problem.at(name))?;
        patch(&mut merged, file);
    }
    let written = |map: &str| match merged.get(map) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(signals)) => signals.iter().map(signal).collect::<Result<Signals, _>>().map(Some),
        Some(other) => Err(Problem(format!("{map} is no map of signals: {other}"))),
    };
    let signals = |map: &str, option: &str| -> Result<Option<Signals>, Problem> {
        let begin =
            if defaults == Defaults::K3s && files.is_empty() && map == "evictionHard" { owned(&K3S) } else { vec![] };
        Ok(from_arguments(option, begin, arguments)?.or(written(map)?))
    };
    let built_in: &[_] = if defaults == Defaults::K3s { &K3S } else { &UPSTREAM };
    let mut hard = signals("evictionHard", "eviction-hard")?.unwrap_or_else(|| owned(built_in).into_iter().collect());
    if merged.get("mergeDefaultEvictionSettings") == Some(&Value::Bool(true)) {
        for (signal, amount) in owned(&UPSTREAM) {
            hard.entry(signal).or_insert(amount);
        }
    }
    let soft = signals("evictionSoft", "eviction-soft")?.unwrap_or_default();
    let (nodefs, imagefs) = (|map: &Signals| threshold(map, "nodefs"), |map: &Signals| threshold(map, "imagefs"));
    known(&hard)?;
    known(&soft)?;
    Ok(Eviction {
        nodefs: Thresholds { hard: nodefs(&hard)?, soft: nodefs(&soft)? },
        imagefs: Thresholds { hard: imagefs(&hard)?, soft: imagefs(&soft)? },
    })
}

/// What an option on a command line is, with or without hyphens; of several the last counts.
pub fn option(arguments: &[String], name: &str) -> Option<String> {
    let values = arguments.iter().filter_map(|argument| argument.trim_start_matches('-').split_once('='));
    values.filter(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value.to_string()).next_back()
}

/// The options in a file of variables that a kubelet's unit reads (`KUBELET_KUBEADM_ARGS="--a=b --c=d"`), as kubeadm, Kubespray
/// and Debian's package have them; lines that are continued, too.
pub fn options_in(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(str::split_whitespace).map(|word| word.trim_matches(['"', '\'', '\\']));
    let options = words.filter_map(|word| word.find("--").map(|at| &word[at..]));
    options.map(|option| option.trim_matches(['"', '\'']).to_string()).collect()
}

fn owned(signals: &[(&str, &str)]) -> Vec<(String, String)> {
    signals.iter().map(|(signal, amount)| (signal.to_string(), amount.to_string())).collect()
}

fn signal((signal, amount): (&String, &Value)) -> Result<(String, String), Problem> {
    match amount {
        Value::String(amount) => Ok((signal.clone(), amount.clone())),
        other => Err(Problem(format!("{signal} is no text: {other} (a quantity stands in quotes)"))),
    }
}

/// RFC 7396: maps are merged, anything else is replaced, null removes.
fn patch(target: &mut Map<String, Value>, by: Map<String, Value>) {
    for (key, value) in by {
        match (target.get_mut(&key), value) {
            (_, Value::Null) => _ = target.remove(&key),
            (Some(Value::Object(old)), Value::Object(new)) => patch(old, new),
            (_, Value::Object(new)) => {
                let mut clean = Map::new();
                patch(&mut clean, new);
                target.insert(key, Value::Object(clean));
            }
            (_, value) => _ = target.insert(key, value),
        }
    }
}

/// The map of an option; the option with `+` or `-` behind it adds to what the distribution itself puts there.
fn from_arguments(
    option: &str,
    begin: Vec<(String, String)>,
    arguments: &[String],
) -> Result<Option<Signals>, Problem> {
    let mut found: Option<Signals> = None;
    for argument in arguments {
        let (name, value) = argument.trim_start_matches('-').split_once('=').unwrap_or((argument, ""));
        let adds = name.ends_with(['+', '-']);
        if name.trim_end_matches(['+', '-']) != option {
            continue;
        }
        let begin = if adds { begin.clone() } else { vec![] };
        let signals = found.get_or_insert_with(|| begin.into_iter().collect());
        for part in value.trim_matches('"').split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || Problem(format!("{option}: {part:?} is not of the form signal<amount"));
            let (signal, amount) = part.split_once('<').ok_or_else(wrong)?;
            signals.insert(signal.trim().to_string(), amount.trim().to_string());
        }
    }
    Ok(found)
}

fn known(signals: &Signals) -> Result<(), Problem> {
    match signals.keys().find(|signal| !SIGNALS.contains(&signal.as_str())) {
        Some(signal) => Err(Problem(format!("the kubelet has no eviction signal {signal}"))),
        None => Ok(()),
    }
}

fn threshold(signals: &Signals, filesystem: &str) -> Result<Threshold, Problem> {
    let amount = |what: &str| {
        let signal = format!("{filesystem}.{what}");
        let Some(amount) = signals.get(&signal) else { return Ok(None) };
        Amount::read(amount).map_err(|problem| problem.at(&signal))
    };
    Ok(Threshold { available: amount("available")?, inodes: amount("inodesFree")? })
}

/// A file with one map in it; an empty one is an empty map.
fn yaml(text: &str) -> Result<Map<String, Value>, Problem> {
    let empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if empty {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(Problem("it is no map".into())),
        Err(error) => Err(Problem(format!("it is no YAML: {error}"))),
    }
}

#[cfg(test)]
mod tests;
