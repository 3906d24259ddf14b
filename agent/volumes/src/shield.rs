//! Mount points that nobody can write to, also as long as their disk has never been there.

use crate::facts::{Facts, MountPoint, VolumeFacts};
use crate::{Action, Volumes, kubernetes, mount_unit_name};
use bowline_engine::Plan;
use bowline_ports::{Inspect, Mount, PortError, TendOrder, Work};
use bowline_settings::Volume;
use std::path::{Path, PathBuf};

/// Where they are on record: there is no mount unit yet that would tell of them when the settings have forgotten the volume.
const SHIELDED: &str = "/var/lib/bowline/shielded";

/// A mount point that was made unwritable before anything was mounted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shielded {
    /// The volume's name.
    pub volume: String,
    /// Where.
    pub at: PathBuf,
}

impl Shielded {
    /// Where the record of a mount point lies: a volume that was moved in the settings has two for a while.
    pub(crate) fn path_of(at: &Path) -> PathBuf {
        Path::new(SHIELDED).join(mount_unit_name(at))
    }

    /// What it says.
    pub(crate) fn text_of(order: &TendOrder) -> String {
        format!("{} {}\n", order.volume, order.mount.display())
    }

    /// Those at which the settings have no volume any more, and nothing is mounted: a flag that is hidden can not be taken away.
    pub(crate) async fn strays(spec: &Volumes, mounts: &[Mount], host: &dyn Inspect) -> Result<Vec<Self>, PortError> {
        let mut all = Vec::new();
        for (_, text) in host.texts(Path::new(SHIELDED), ("", ".mount")).await? {
            let Some((volume, at)) = text.trim_end_matches('\n').split_once(' ') else { continue };
            let at = PathBuf::from(at);
            if spec.volumes.iter().all(|one| one.mount != at) && mounts.iter().all(|mount| mount.target != at) {
                all.push(Self { volume: volume.to_owned(), at });
            }
        }
        Ok(all)
    }

    /// Gives it back: an item of its own, since the volume may be on its way to a place beneath.
    pub(crate) fn plan(&self, plan: &mut Plan<Action>) {
        let action = Action::Shield(order(&self.volume, &self.at, false));
        plan.step(format!("former/{}", self.volume), action, "the settings have no volume there any more");
    }
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
}

fn order(volume: &str, mount: &Path, on: bool) -> TendOrder {
    TendOrder { volume: volume.into(), mount: mount.to_path_buf(), work: Work::Shield { on } }
}
