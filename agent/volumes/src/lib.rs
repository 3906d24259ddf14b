//! Block volumes: the right disk, formatted only when it is proven blank, mounted by systemd before Kubernetes
//! may start.
//!
//! - `facts`: everything that is read.
//! - `find`: which device a volume means, and why others are not it.
//! - `decide`: the plan of one volume.
//! - `units`: the text of the mount unit and of the gate.
//! - `kubernetes`: what a Kubernetes that runs uses, and nothing may be mounted over.
//! - `others`: what fstab, other mount units and cloud-init say of the same disk.
//! - `release`: the record that a person released a volume.
//! - `shield`: mount points that nobody can write to, while their disk is not there.
//! - `intent`: what is on record before the first byte is written to a device, and the mark that it was.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod decide;
mod facts;
mod find;
mod intent;
mod kubernetes;
mod others;
mod release;
mod shield;
mod units;

pub use facts::{Boot, Facts, Former, MountPoint, Orphan, VolumeFacts, number};
pub use find::{Found, WhyNot, find, why_not, why_other};
pub use intent::{Intent, planned_uuid};
pub use kubernetes::Kubernetes;
pub use others::Claim;
pub use release::{Released, take_back};
pub use shield::Shielded;
pub use units::{check_unit_text, gate_path, gate_text, mount_unit_name, mount_unit_path, mount_unit_text};

use bowline_engine::{Capability, Conditions, Plan};
use bowline_ports::{
    Change, FormatOrder, GrowOrder, Inspect, PortError, Progress, TendOrder, Work, condition, write_json,
};
use bowline_settings::Volume;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// The volumes of the settings.
pub struct Volumes {
    /// In the order of the settings.
    pub volumes: Vec<Volume>,
    /// The services that must not run without the gated volumes (`k3s.service`).
    pub services: Vec<String>,
    /// Whether those that could not start for want of a volume are started from here; else another capability does it.
    pub starts: bool,
}

/// One change to a disk, its units or the record of what is about to be done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Put on record which device is about to be formatted, and how.
    Record(Intent),
    /// Make the filesystem, then drop the record.
    Format(FormatOrder),
    /// Drop the record: what it announced is complete, or was never begun.
    Forget {
        /// Which.
        volume: String,
        /// Where the record lies.
        record: PathBuf,
    },
    /// Write a unit file or drop-in.
    Write {
        /// The file.
        path: PathBuf,
        /// Its whole text.
        text: String,
    },
    /// Remove a drop-in.
    Remove {
        /// The file.
        path: PathBuf,
    },
    /// Unmount, then disable and remove the mount unit.
    Retire {
        /// The mount unit; `None` where somebody else's mounts it.
        unit: Option<String>,
        /// To unmount.
        order: TendOrder,
    },
    /// Remove a mount unit of ours, at whose place somebody else has mounted something, which stays.
    Drop {
        /// It.
        unit: String,
    },
    /// Stop a service that uses a volume which was released.
    Stop {
        /// It.
        service: String,
    },
    /// Start a service that waited for the volumes.
    Start {
        /// It.
        service: String,
    },
    /// Drop the record that a volume was released.
    TakeBack {
        /// Which.
        volume: String,
    },
    /// Put on record that the disk of a released volume is gone now.
    Gone {
        /// Which.
        volume: String,
    },
    /// Drop that record.
    Back {
        /// Which.
        volume: String,
    },
    /// Owner, mode and directories.
    Arrange(TendOrder),
    /// Unmount what is left of a disk that is gone.
    Unmount(TendOrder),
    /// Make a bare mount point unwritable, or writable again.
    Shield(TendOrder),
    /// Have systemd read its unit files again.
    Reload,
    /// Mount at every boot.
    Enable {
        /// Which.
        volume: String,
        /// The mount unit.
        unit: String,
        /// Where.
        at: PathBuf,
    },
    /// Grow the mounted filesystem to the size of its device.
    Grow(GrowOrder),
    /// Mount now.
    Mount {
        /// Which.
        volume: String,
        /// Its disk.
        device: PathBuf,
        /// The mount unit.
        unit: String,
        /// Where.
        at: PathBuf,
        /// What has to be done before; `None` for a filesystem that was just made.
        prepare: Option<TendOrder>,
    },
}

impl Action {
    /// The volume whose bare mount point it leaves unwritable, and that.
    fn shields(&self) -> Option<(&str, &Path)> {
        match self {
            Self::Format(order) => Some((&order.volume, &order.mount)),
            Self::Mount { prepare: Some(order), .. } => Some((&order.volume, &order.mount)),
            // From now on systemd may mount it before anybody can look at what is beneath.
            Self::Enable { volume, at, .. } => Some((volume, at)),
            Self::Shield(order) if order.work == (Work::Shield { on: true }) => Some((&order.volume, &order.mount)),
            // The flag stays, and the unit goes that would tell of it.
            Self::Retire { order, .. } if matches!(order.work, Work::Unmount { for_good: false, .. }) => {
                Some((&order.volume, &order.mount))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(i) => write!(f, "put on record that {} is about to be formatted", i.device.display()),
            Self::Format(o) => write!(f, "format {} as {}", o.device.display(), o.filesystem),
            Self::Grow(o) => write!(f, "grow {} at {}", o.filesystem, o.mount.display()),
            Self::Forget { volume, .. } => write!(f, "drop the record of formatting {volume}"),
            Self::Write { path, .. } => write!(f, "write {}", path.display()),
            Self::Remove { path } => write!(f, "remove {}", path.display()),
            Self::Retire { unit: Some(unit), order } => {
                write!(f, "unmount {}, and remove {unit}", order.mount.display())
            }
            Self::Retire { unit: None, order } => write!(f, "unmount {}", order.mount.display()),
            Self::Drop { unit } => write!(f, "remove {unit}, and leave what is mounted there"),
            Self::Start { service } => write!(f, "start {service}"),
            Self::Stop { service } => write!(f, "stop {service}"),
            Self::TakeBack { volume } => write!(f, "drop the record that {volume} was released"),
            Self::Gone { volume } => write!(f, "put on record that the released disk of {volume} is gone"),
            Self::Back { volume } => write!(f, "drop the record that the released disk of {volume} is gone"),
            Self::Unmount(order) => write!(f, "unmount {}", order.mount.display()),
            Self::Arrange(order) => write!(f, "set up owner, mode and directories at {}", order.mount.display()),
            Self::Shield(order) => {
                let how = if order.work == (Work::Shield { on: true }) { "unwritable" } else { "writable again" };
                write!(f, "make {} {how}", order.mount.display())
            }
            Self::Reload => f.write_str("have systemd read its unit files again"),
            Self::Enable { unit, .. } => write!(f, "enable {unit} for every boot"),
            Self::Mount { at, .. } => write!(f, "mount {}", at.display()),
        }
    }
}

impl Capability for Volumes {
    const NAME: &'static str = "volumes";
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        facts::observe(self, host).await
    }

    fn plan(&self, facts: &Facts, _: &Conditions) -> Plan<Action> {
        let mut plan = Plan::default();
        let found = decide::found(self, facts);
        for (volume, seen) in self.volumes.iter().zip(&facts.volumes) {
            match seen {
                Ok(seen) => decide::volume(self, volume, seen, (facts, &found), &mut plan),
                Err(error) => decide::blind(volume, error, &mut plan),
            }
        }
        if !facts.uncordon.is_empty() {
            decide::uncordon(self, &facts.uncordon, facts, &mut plan);
        }
        kubernetes::gone(facts, &mut plan);
        decide::services(self, facts, &mut plan);
        if let Some(stopped) = &facts.stopped {
            plan.state(condition::STOPPED_FOR_RELEASE, stopped.clone());
        }
        for orphan in &facts.orphans {
            decide::forgotten(orphan, facts, &mut plan);
        }
        for stray in &facts.stray_shields {
            stray.plan(&mut plan);
        }
        plan
    }

    async fn apply(&self, action: &Action, host: &dyn Change, progress: &Progress) -> Result<(), PortError> {
        // Where it is on record already nothing is written: a full disk keeps no volume from being mounted.
        if let Some((volume, at)) = action.shields() {
            let (path, text) = (Shielded::path_of(at), Shielded::text_of(volume, at));
            if host.read(&path).await?.is_none_or(|there| there.text() != text) {
                host.write(&path, text.as_bytes(), 0o600).await?;
            }
        }
        match action {
            Action::Record(intent) => {
                // One that somebody left without its record.
                host.remove(&Intent::begun_of(&intent.volume)).await?;
                write_json(host, intent.path(), intent, 0o600).await
            }
            Action::Format(order) => {
                host.format(order, progress).await?;
                for path in Intent::files_of(&order.volume) {
                    host.remove(&path).await?;
                }
                Ok(())
            }
            Action::Grow(order) => host.grow(order, progress).await,
            Action::Forget { volume, .. } => {
                for path in Intent::files_of(volume) {
                    host.remove(&path).await?;
                }
                Ok(())
            }
            Action::Write { path, text } => host.write_unit(&units::unit_of(path), path, text).await,
            Action::Remove { path } => {
                host.remove(path).await?;
                host.reload_units().await
            }
            Action::Drop { unit } => {
                for path in units::files_of_mount_unit(unit) {
                    host.remove(&path).await?;
                }
                host.reload_units().await
            }
            Action::Retire { unit, order } => {
                host.tend(order, progress).await?;
                for path in unit.iter().flat_map(|unit| units::files_of_mount_unit(unit)) {
                    host.remove(&path).await?;
                }
                host.reload_units().await?;
                // It was given back.
                match order.work {
                    Work::Unmount { for_good: true, .. } => host.remove(&Shielded::path_of(&order.mount)).await,
                    _ => Ok(()),
                }
            }
            // Waited for: one that something else holds back has failed, and is not started without end.
            Action::Start { service } => host.start(service).await,
            Action::Stop { service } => {
                // Compared with when systemd started it again.
                let now = host.clock().await?.awake;
                host.write(Path::new(release::STOPPED), now.to_string().as_bytes(), 0o600).await?;
                host.stop_no_block(service).await
            }
            Action::Gone { volume } => {
                let now = host.clock().await?.uptime;
                host.write(&release::gone_path(volume), now.to_string().as_bytes(), 0o600).await
            }
            Action::Back { volume } => host.remove(&release::gone_path(volume)).await,
            Action::TakeBack { volume } => release::take_back(host, volume).await,
            Action::Arrange(order) | Action::Unmount(order) => host.tend(order, progress).await,
            Action::Shield(order) => {
                host.tend(order, progress).await?;
                match order.work {
                    Work::Shield { on: false } => host.remove(&Shielded::path_of(&order.mount)).await,
                    _ => Ok(()),
                }
            }
            Action::Reload => host.reload_units().await,
            Action::Enable { unit, .. } => host.enable(unit).await,
            Action::Mount { volume, device, unit, prepare, .. } => {
                if let Some(order) = prepare {
                    host.tend(order, progress).await?;
                }
                let mark = units::looked_path(volume);
                let text = units::looked_text(host.clock().await?.uptime, device);
                host.write(&mark, text.as_bytes(), 0o644).await?;
                let started = host.start(unit).await;
                // What mounted it may be a unit of somebody else, which leaves the mark.
                let removed = host.remove(&mark).await;
                started.and(removed)
            }
        }
    }
}

#[cfg(test)]
mod tests;
