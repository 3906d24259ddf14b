//! A disk with something on it that is neither the volume's nor to be used.

use super::filesystem;
use crate::Action;
use bowline_engine::Plan;
use bowline_ports::{BlockDevice, Filesystem, Probe, Signature, SignatureKind};
use bowline_settings::Volume;
use std::collections::BTreeSet;

/// Something is on the device that Bowline did not put there and was not told to use.
pub(super) fn foreign(volume: &Volume, device: &BlockDevice, probe: &Probe, item: &str, plan: &mut Plan<Action>) {
    let name = device.path.display();
    let list: Vec<_> = probe
        .signatures
        .iter()
        .map(|s| match s.kind {
            SignatureKind::Filesystem => format!("a filesystem ({})", s.name),
            SignatureKind::PartitionTable => format!("a partition table ({})", s.name),
            SignatureKind::Member => format!("part of something else ({})", s.name),
        })
        .collect();
    let found = if !list.is_empty() {
        format!("{name} holds {}", list.join(" and "))
    } else if probe.ambivalent {
        format!("{name} holds signatures that contradict each other")
    } else if let Some(at) = probe.data_at {
        format!("{name} has no known signature, but data at byte {at}")
    } else {
        format!("{name} could not be proven blank")
    };
    let what = format!("format or mount {name} for {}", volume.name);
    let mut hint = match left_over(device, probe) {
        Some((one, rest)) => format!(
            "nothing was touched. If {name} is that {one}, and the {} is left from before, remove that alone: `wipefs -a -t {} \
             --backup {name}`; if the data is not wanted, erase all of it",
            rest.join(" and "),
            rest.join(",")
        ),
        None => "nothing was touched. If the data is not wanted, erase it yourself".to_owned(),
    };
    hint.push_str(&format!(" (`wipefs -a {name}`, then `blkdiscard -z {name}`); else use another disk"));
    if let Some(one) = probe.filesystem().filter(|one| one.name != filesystem(volume).name() && is_usable(one)) {
        hint.push_str(&format!(", or set `filesystem = \"{}\"` to use it as it is", one.name));
    }
    plan.refuse(item, what, found, hint);
}

fn is_usable(one: &Signature) -> bool {
    [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs].iter().any(|kind| kind.name() == one.name)
}

/// The one filesystem that Bowline could use, and what is on the disk beside it: tables and members that an earlier use has left, as
/// the copy of a GPT at the end. (On a partition `wipefs` takes away no table unless it is forced to, mounted or not.)
fn left_over<'a>(device: &BlockDevice, probe: &'a Probe) -> Option<(&'a str, Vec<&'a str>)> {
    let (filesystems, rest): (Vec<_>, Vec<_>) =
        probe.signatures.iter().partition(|one| one.kind == SignatureKind::Filesystem);
    let [one] = filesystems.as_slice() else { return None };
    // By their types `wipefs` tells them from the filesystem.
    let rest: BTreeSet<&str> = rest.iter().map(|other| other.name.as_str()).collect();
    let is_so = is_usable(one) && !rest.is_empty() && device.partition_of.is_none();
    is_so.then(|| (one.name.as_str(), rest.into_iter().collect()))
}
