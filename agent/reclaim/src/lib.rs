//! Room: what is freed where a filesystem fills, as far as the settings allow it (`[reclaim]`), and a file that takes some of it
//! until the disk of the system is about to be full (`pressure.reserve`).
//!
//! Nothing is freed in a volume, and nothing that is not named: archived journals, rotated logs by their patterns, logs of pods
//! that have ended, images that no container uses. One kind at a time, in the order of the settings; after each the filesystem is
//! looked at again.
//!
//! - `decide`: what is due; `reserve`: the file.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod decide;
mod reserve;

use bowline_engine::{Capability, Conditions, Plan};
use bowline_ports::text::{bytes, span};
use bowline_ports::{
    Change, Inspect, Job, Meta, Mount, PortError, Progress, RECLAIMED, RECLAIMED_SPARE, RESERVE, RESERVE_BEGUN,
    ReclaimOrder, Reclaiming, Reclaims, Space, items, k3s_kubelet_kubeconfig, latest, node_name, reclaim_job as job,
};
use bowline_settings::{Reclaim as Wanted, Reclaimable, Reserve};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Seconds after boot in which a clock is to be synchronised before the age of logs counts; where nothing does it, it counts
/// afterwards.
const CLOCK_COUNTS_AFTER: Duration = Duration::from_secs(600);

/// What is freed, and what is kept for the moment when nothing else helps.
pub struct Reclaim {
    /// `[reclaim]`.
    pub wanted: Wanted,
    /// `pressure.reserve`.
    pub reserve: Reserve,
    /// Names and mount points of the volumes, in which nothing is freed.
    pub volumes: Vec<(String, PathBuf)>,
    /// The node's name, where the settings give one.
    pub name: Option<String>,
    /// K3s's binary, where Bowline runs K3s.
    pub k3s: Option<PathBuf>,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Seconds since 1970.
    pub now: i64,
    /// The clock is synchronised, or has had its time for that.
    pub clock: bool,
    /// All mounts.
    pub mounts: Vec<Mount>,
    /// Of each thing to be freed, in the order of the settings: how full the filesystem is; `None` where the thing is not there.
    pub places: Vec<Option<Space>>,
    /// Of each of them, where it really is, through all links; `None` where it is not there, or that cannot be told.
    pub real: Vec<Option<PathBuf>>,
    /// The names of those that are not there. What does not answer may be.
    pub absent: BTreeSet<String>,
    /// What was freed before.
    pub record: Reclaims,
    /// Why a part of that is not known.
    pub unread: Option<String>,
    /// What is being freed.
    pub working: Option<String>,
    /// Directories of pods that have ended, or why they are not known; only where their logs may be due.
    pub ended: Option<Result<Vec<String>, String>>,
    /// The reserve.
    pub reserve: Option<Meta>,
    /// One that was begun is there: being made, or cut off.
    pub begun: bool,
    /// How full the filesystem is that it is on, or is to be on.
    pub home: Option<Space>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Free something.
    Free(ReclaimOrder),
    /// Make the reserve, of so many bytes.
    Keep(u64),
    /// Give it up, with so many bytes left that an ordinary user may write.
    GiveUp(u64),
    /// Remove it: there is to be none.
    Remove,
    /// Remove what was begun and cut off.
    RemoveBegun,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free(order) => match &order.what {
                Reclaiming::Journal { keep } => write!(f, "vacuum the journal to {}", bytes(*keep)),
                Reclaiming::RotatedLogs { older_than, at_most, .. } => {
                    let (old, most) = (span(older_than.cast_signed()), bytes(*at_most));
                    write!(f, "remove rotated logs that are older than {old}, at most {most}")
                }
                Reclaiming::PodLogs { ended, older_than, at_most } => {
                    let (count, old, most) = (ended.len(), span(older_than.cast_signed()), bytes(*at_most));
                    write!(f, "remove the logs of {count} ended pods that are older than {old}, at most {most}")
                }
                Reclaiming::Images { at_most, .. } => {
                    write!(f, "have the runtime remove images that no container uses, at most {}", bytes(*at_most))
                }
            },
            Self::Keep(size) => write!(f, "keep {} for when the disk is about to be full ({RESERVE})", bytes(*size)),
            Self::GiveUp(left) => {
                write!(f, "give up the reserve ({RESERVE}): the disk is about to be full, {} are left", bytes(*left))
            }
            Self::Remove => write!(f, "remove the reserve ({RESERVE})"),
            Self::RemoveBegun => write!(f, "remove a reserve that was begun ({RESERVE_BEGUN})"),
        }
    }
}

/// Where a thing is.
fn place(what: &Reclaimable, k3s: bool) -> &'static Path {
    Path::new(match what {
        Reclaimable::Journal { .. } => "/var/log/journal",
        Reclaimable::RotatedLogs { .. } => "/var/log",
        Reclaimable::PodLogs { .. } => "/var/log/pods",
        Reclaimable::Images { .. } if k3s => "/var/lib/rancher/k3s/agent/containerd",
        Reclaimable::Images { .. } => "/var/lib/containerd",
    })
}

impl Capability for Reclaim {
    const NAME: &'static str = "reclaim";
    // The daemon looks each minute at how filesystems fill, and wakes this when one has notably less room, or more.
    const EVERY: Duration = Duration::from_secs(300);
    const OPTIONAL: bool = true;
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        let clock = host.clock().await?;
        let had_its_time = clock.synchronised || clock.uptime >= CLOCK_COUNTS_AFTER.as_secs();
        let mut facts = Facts { now: clock.unix, clock: had_its_time, ..Facts::default() };
        if self.reserve != Reserve::Off || !self.wanted.0.is_empty() {
            facts.mounts = host.mounts().await?;
        }
        facts.reserve = host.meta(Path::new(RESERVE)).await?;
        facts.begun = host.meta(Path::new(RESERVE_BEGUN)).await?.is_some();
        if self.reserve != Reserve::Off {
            facts.home = Some(host.space(Path::new("/var/lib/bowline")).await?);
        }
        for one in &self.wanted.0 {
            let place = place(&one.what, self.k3s.is_some());
            // What is not there takes no room, and what does not answer is told by its filesystem's own series.
            let seen = host.meta(place).await;
            if matches!(seen, Ok(None)) {
                facts.absent.insert(one.what.name().into());
            }
            let there = matches!(seen, Ok(Some(_)));
            let space = if there { host.space(place).await.ok() } else { None };
            let real = if there { host.real_path(place).await.ok().flatten() } else { None };
            facts.real.push(real);
            if matches!(host.job(&job(one.what.name())).await?, Some(Job::Running(_))) {
                facts.working = Some(one.what.name().into());
            }
            if matches!(one.what, Reclaimable::PodLogs { .. }) && space.is_some_and(|space| decide::full(&space, one)) {
                facts.ended = Some(self.ended(host).await.map_err(|error| error.to_string()));
            }
            facts.places.push(space);
        }
        for place in [RECLAIMED, RECLAIMED_SPARE] {
            match host.read(Path::new(place)).await {
                // A record that was cut off is no reason to free nothing: it begins anew. Nor is one that cannot be read.
                Ok(Some(file)) => {
                    facts.record = latest(facts.record, serde_json::from_slice(&file.content).unwrap_or_default());
                }
                Ok(None) => {}
                Err(error) => facts.unread = Some(error.message),
            }
        }
        Ok(facts)
    }

    fn plan(&self, facts: &Facts, _: &Conditions) -> Plan<Action> {
        let mut plan = Plan::default();
        reserve::plan(self, facts, &mut plan);
        decide::plan(self, facts, &mut plan);
        plan
    }

    async fn apply(&self, action: &Action, host: &dyn Change, progress: &Progress) -> Result<(), PortError> {
        match action {
            Action::Free(order) => host.reclaim(order, progress).await,
            Action::Keep(bytes) => host.reserve(Path::new(RESERVE), *bytes).await,
            Action::GiveUp(_) | Action::Remove => host.remove(Path::new(RESERVE)).await,
            Action::RemoveBegun => host.remove(Path::new(RESERVE_BEGUN)).await,
        }
    }
}

impl Reclaim {
    /// The directories of the logs of this node's pods that have ended.
    async fn ended(&self, host: &dyn Inspect) -> Result<Vec<String>, PortError> {
        let node = node_name(host, self.name.as_deref()).await?;
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
        let list = host.object(&k3s_kubelet_kubeconfig(), &path).await?;
        let pods = items(&path, list.as_ref())?;
        let name = |pod: &serde_json::Value| {
            let (meta, phase) = (&pod["metadata"], pod["status"]["phase"].as_str()?);
            let parts = [meta["namespace"].as_str()?, meta["name"].as_str()?, meta["uid"].as_str()?];
            ["Succeeded", "Failed"].contains(&phase).then(|| parts.join("_"))
        };
        let mut all: Vec<String> = pods.iter().filter_map(name).collect();
        all.sort();
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
