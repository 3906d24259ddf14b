//! Disks for which udev makes no links by UUID: systemd finds the filesystem of a mount unit by such a link.

use super::filesystem;
use super::unmounted::Place;
use crate::Action;
use bowline_engine::{Plan, Wait};
use bowline_ports::Probe;
use std::path::Path;
use std::time::Duration;

/// How the kernel's names begin of what udev makes links for by what is on it: as systemd's `60-persistent-storage.rules` has them,
/// and the rules of LVM and RAID. Others, such as drbd's and Ceph's, it only knows.
const LINKED: [&str; 19] = [
    "loop", "mmcblk", "msblk", "mspblk", "nvme", "sd", "vd", "xvd", "bcache", "cciss", "dasd", "ubd", "ubi", "scm",
    "pmem", "nbd", "zd", "dm-", "md",
];

/// Refuses a disk that could be used, and whose filesystem systemd would never find. Newer rules and a person's own make links for
/// others as well: then there are some before anything is on it, from when udev has come to it.
pub(super) fn unlinked(place: Place<'_>, probe: &Probe, plan: &mut Plan<Action>) -> bool {
    let Place { volume, device, other, item, .. } = place;
    let name = device.path.strip_prefix("/dev").unwrap_or(&device.path).to_string_lossy();
    let linked = LINKED.iter().any(|begin| name.starts_with(begin))
        || device.links.iter().any(|link| link.starts_with(Path::new("/dev/disk")));
    let usable = probe.is_blank() || probe.filesystem().is_some_and(|one| one.name == filesystem(volume).name());
    // What somebody else mounts, they find their own way.
    if linked || !usable || other.is_some() {
        return false;
    }
    if !device.announced {
        let what = format!("udev to come to {}", device.path.display());
        let why = "whether it makes links for such disks, by which systemd finds a volume's filesystem, is seen then";
        plan.waits.push(Wait::new(item, what, why).poll(Duration::from_secs(1)));
        return true;
    }
    plan.refuse(
        item,
        format!("use {} for {}", device.path.display(), volume.name),
        format!("udev makes no links in /dev/disk/by-uuid for disks like {name}, by which systemd finds a volume's filesystem"),
        format!(
            "have a udev rule make them, or a line in /etc/fstab mount {} by that name at {}; else use another disk; nothing was \
             touched",
            device.path.display(),
            volume.mount.display()
        ),
    );
    true
}
