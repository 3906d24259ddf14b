//! Room that is freed where a filesystem fills, and what is kept for that moment.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The file that takes room until the disk of the system is about to be full.
pub const RESERVE: &str = "/var/lib/bowline/reserve";

/// The same while it is made.
pub const RESERVE_BEGUN: &str = "/var/lib/bowline/.reserve.bowline-tmp";

/// What was freed so far, by what it was: [`Reclaims`] as JSON.
pub const RECLAIMED: &str = "/var/lib/bowline/reclaimed.json";

/// The same, of this boot, where the disk that [`RECLAIMED`] is on cannot be written to.
pub const RECLAIMED_SPARE: &str = "/run/bowline/reclaimed.json";

/// Free something, in a unit of its own, which counts it in `record`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimOrder {
    /// Its name in the settings, the record and metrics.
    pub name: String,
    /// What, and how much of it.
    pub what: Reclaiming,
    /// Where it is counted ([`RECLAIMED`]).
    pub record: PathBuf,
    /// Where it is counted if that cannot be written ([`RECLAIMED_SPARE`]).
    pub spare: PathBuf,
}

impl ReclaimOrder {
    /// The name of the work.
    pub fn job(&self) -> String {
        reclaim_job(&self.name)
    }
}

/// The name of the work that frees what is called so.
pub fn reclaim_job(name: &str) -> String {
    format!("reclaim-{name}")
}

/// What is freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reclaiming {
    /// Archived files of the journal, by `journalctl`, until this many bytes are left.
    Journal {
        /// Bytes.
        keep: u64,
    },
    /// Regular files that fit, beneath `/var/log`, on the same filesystem as that.
    RotatedLogs {
        /// Absolute paths with `*`, `?` and `[…]` within a name.
        patterns: Vec<String>,
        /// Seconds that they were not written to.
        older_than: u64,
        /// Bytes, at most; the oldest go first.
        at_most: u64,
    },
    /// Logs of pods that have ended.
    PodLogs {
        /// Their directories in `/var/log/pods`.
        ended: Vec<String>,
        /// Seconds that they were not written to.
        older_than: u64,
        /// Bytes, at most; the oldest go first.
        at_most: u64,
    },
    /// Images that no container uses and nobody has pinned, by the container runtime.
    Images {
        /// K3s's binary, which has `crictl` in it; without one it is the `crictl` that is installed.
        k3s: Option<PathBuf>,
        /// Where the runtime keeps them.
        place: PathBuf,
        /// Bytes, at most; the largest go first.
        at_most: u64,
    },
}

/// The record, by name.
pub type Reclaims = BTreeMap<String, ReclaimRecord>;

/// Of two records what was written later: totals only grow, and those of a clock that was set back do not count.
pub fn latest(mut one: Reclaims, other: Reclaims) -> Reclaims {
    for (name, record) in other {
        let known = one.entry(name).or_default();
        if (record.total, record.at) > (known.total, known.at) {
            *known = record;
        }
    }
    one
}

/// What came of freeing one kind of thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimRecord {
    /// When it was tried last, in seconds since 1970.
    pub at: i64,
    /// Bytes that were freed then.
    pub freed: u64,
    /// Bytes that were freed since this machine has Bowline.
    pub total: u64,
    /// Why it failed then; empty where it did not.
    pub trouble: String,
}
