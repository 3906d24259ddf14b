//! Mount points that nobody can write to, also as long as their disk has never been there.

use crate::facts::{Facts, MountPoint, VolumeFacts};
use crate::{Action, Volumes, kubernetes, mount_unit_name};
use bowline_engine::{Plan, Wait};
use bowline_ports::{Inspect, Job, Mount, PortError, TendOrder, Work};
use bowline_settings::Volume;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The work on a volume that the settings have forgotten nobody follows.
const AGAIN: Duration = Duration::from_secs(5);

/// Where they are on record: there may be no mount unit of Bowline's that tells of them when the settings have forgotten the volume.
const SHIELDED: &str = "/var/lib/bowline/shielded";

/// A mount point that was made unwritable, or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shielded {
    /// The volume's name.
    pub volume: String,
    /// Where.
    pub at: PathBuf,
    /// The volume's filesystem is being made, or made ready, which ends with making it unwritable.
    pub under_way: bool,
}

impl Shielded {
    /// Where the record of a mount point lies: a volume that was moved in the settings has two for a while.
    pub(crate) fn path_of(at: &Path) -> PathBuf {
        Path::new(SHIELDED).join(mount_unit_name(at))
    }

    /// What it says.
    pub(crate) fn text_of(volume: &str, at: &Path) -> String {
        format!("{volume} {}\n", at.display())
    }

    /// Whether a volume's place is on record.
    pub(crate) async fn is_recorded(volume: &Volume, host: &dyn Inspect) -> Result<bool, PortError> {
        let there = host.read(&Self::path_of(&volume.mount)).await?;
        Ok(there.is_some_and(|file| file.text() == Self::text_of(&volume.name, &volume.mount)))
    }

    /// Those at which the settings have no volume any more, and nothing is mounted: a flag that is hidden cannot be taken away. Where
    /// a mount unit of ours stands yet, the place is given back with that.
    pub(crate) async fn strays(
        spec: &Volumes,
        own: &[(String, String)],
        mounts: &[Mount],
        host: &dyn Inspect,
    ) -> Result<Vec<Self>, PortError> {
        let mut all = Vec::new();
        for (unit, text) in host.texts(Path::new(SHIELDED), ("", ".mount")).await? {
            let Some((volume, at)) = text.trim_end_matches('\n').split_once(' ') else { continue };
            let at = PathBuf::from(at);
            let wanted = spec.volumes.iter().any(|one| one.mount == at) || own.iter().any(|(name, _)| *name == unit);
            if wanted || mounts.iter().any(|mount| mount.target == at) {
                continue;
            }
            let under_way = is_being_made(volume, host).await?;
            all.push(Self { volume: volume.to_owned(), at, under_way });
        }
        Ok(all)
    }

    /// Gives it back: an item of its own, since the volume may be on its way to a place beneath.
    pub(crate) fn plan(&self, plan: &mut Plan<Action>) {
        let item = format!("former/{}", self.volume);
        if self.under_way {
            return plan.waits.push(being_made(&item, &self.volume, &self.at));
        }
        let action = Action::Shield(order(&self.volume, &self.at, false));
        plan.step(item, action, "the settings have no volume there any more");
    }
}

/// Whether a volume's filesystem is being made, or made ready.
pub(crate) async fn is_being_made(volume: &str, host: &dyn Inspect) -> Result<bool, PortError> {
    for work in ["mkfs", "prepare"] {
        if matches!(host.job(&format!("{work}-{volume}")).await?, Some(Job::Running(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The wait for it: it ends with making unwritable where it was to be mounted.
pub(crate) fn being_made(item: &str, volume: &str, at: &Path) -> Wait {
    let what = format!("the work on the disk of {volume} to end");
    let why = format!("{} is given back after that: the settings have no volume there any more", at.display());
    Wait::new(item, what, why).poll(AGAIN)
}

/// Keeps everybody from the bare mount point of a volume whose disk is not there, unless somebody uses it, somebody else is to
/// mount there, or it is Kubernetes's own and that does without the volume.
pub(crate) fn missing(volume: &Volume, seen: &VolumeFacts, facts: &Facts, item: &str, plan: &mut Plan<Action>) {
    let claimed = facts.claims.iter().any(|claim| claim.at == volume.mount);
    let free = seen.mount_point == MountPoint::Free && kubernetes::in_use(volume, seen, facts).is_none();
    let needed = !volume.gate && facts.kubernetes.keeps_its_own(&volume.mount);
    if free && !seen.shielded && !claimed && !needed {
        let action = Action::Shield(order(&volume.name, &volume.mount, true));
        plan.step(item, action, "nothing is to lie beneath the volume when its disk comes");
    }
    if !claimed {
        recorded(volume, seen, item, plan);
    }
}

/// Puts a place on record that an earlier build made unwritable: it is given back when the settings have no volume there.
pub(crate) fn recorded(volume: &Volume, seen: &VolumeFacts, item: &str, plan: &mut Plan<Action>) {
    if seen.unrecorded {
        let action = Action::Shield(order(&volume.name, &volume.mount, true));
        plan.step(item, action, "it is unwritable already, and that is not on record");
    }
}

fn order(volume: &str, mount: &Path, on: bool) -> TendOrder {
    TendOrder { volume: volume.into(), mount: mount.to_path_buf(), work: Work::Shield { on } }
}
