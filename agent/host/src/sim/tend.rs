//! Work at mount points.

use super::state::{Content, Disk, Disorder, State};
use bowline_ports::{Access, ErrorKind, Filesystem, GoneDisk, PortError, TendOrder, Work};
use std::path::Path;

impl State {
    /// Has nobody write to a bare mount point.
    pub(super) fn shield(&mut self, mount: &Path) {
        if self.mounts.iter().all(|one| one.target != mount) && !self.files.keys().any(|path| path.starts_with(mount)) {
            self.shielded.insert(mount.to_path_buf());
        }
    }

    pub(super) fn tend(&mut self, order: &TendOrder) -> Result<(), PortError> {
        let shown = order.mount.display();
        let changed = |why: &str| Err(PortError::new(ErrorKind::Changed, format!("{shown}: {why}")));
        let mount = self.mounts.iter().rfind(|mount| mount.target == order.mount).cloned();
        match &order.work {
            Work::Prepare { device, id, filesystem, suspect, repair, .. } => {
                let elsewhere = self.disks.iter().find(|disk| disk.device.path == *device);
                if *suspect && elsewhere.is_some_and(|disk| self.is_mounted_elsewhere(disk)) {
                    return Err(mounted_elsewhere(self, device));
                }
                match self.disks.iter_mut().find(|disk| disk.device.path == *device) {
                    Some(disk) if disk.device.id != *id => changed("it is another disk by now"),
                    Some(disk) if !matches!(disk.content, Content::Filesystem { .. }) => {
                        changed("it has no filesystem")
                    }
                    // There is nothing to say any more.
                    Some(disk) if !disk.device.mounted_at.is_empty() => Ok(()),
                    Some(disk) => {
                        fits(disk)?;
                        make_sound(disk, *filesystem, *repair)?;
                        self.shield(&order.mount);
                        Ok(())
                    }
                    None => changed("its disk is gone"),
                }
            }
            Work::Arrange { number, root, directories } => {
                if mount.is_none_or(|mount| mount.number != *number) {
                    return changed("the volume is not mounted there any more");
                }
                for directory in directories {
                    let path = order.mount.join(&directory.path);
                    for above in path.ancestors().take_while(|above| *above != order.mount) {
                        let access = if above == path { directory.access } else { Access::default() };
                        self.arranged.entry(above.to_path_buf()).or_insert(access);
                    }
                }
                let there = self.arranged.entry(order.mount.clone()).or_default();
                there.owner = root.owner.or(there.owner);
                there.mode = root.mode.or(there.mode);
                Ok(())
            }
            // What is mounted there hides it.
            Work::Shield { .. } if mount.is_some() => Ok(()),
            Work::Shield { on: true } if self.files.keys().any(|path| path.starts_with(&order.mount)) => {
                changed("it is not an empty directory any more")
            }
            Work::Shield { on: true } => {
                self.shielded.insert(order.mount.clone());
                Ok(())
            }
            Work::Shield { on: false } => {
                self.shielded.remove(&order.mount);
                Ok(())
            }
            Work::Unmount { number, for_good } => {
                let in_use = |by: String| Err(PortError::new(ErrorKind::Busy, format!("{shown} is in use by {by}")));
                if let Some(mount) = mount {
                    if mount.number != *number {
                        return changed("something else is mounted there");
                    }
                    if self.in_use.as_deref() == Some(&order.mount) {
                        return in_use("java (4711)".into());
                    }
                    if self.beneath(&order.mount).next().is_some() {
                        return in_use("the kernel (a mount beneath it, swap, a loop device)".into());
                    }
                    self.unmounted(&order.mount, false);
                }
                if *for_good {
                    self.shielded.remove(&order.mount);
                }
                // A container may have it still: then it is not off its disk.
                let there = self.disks.iter().any(|disk| disk.device.number == *number);
                if there && self.held.iter().any(|held| held.mount.number == *number) {
                    return in_use("java (4711)".into());
                }
                match self.mounts.iter().find(|mount| there && mount.number == *number) {
                    Some(other) => in_use(format!("java (4711), at {}", other.target.display())),
                    None => Ok(()),
                }
            }
        }
    }
}

/// As the unit says it that makes a filesystem ready.
fn mounted_elsewhere(state: &State, device: &Path) -> PortError {
    let holder = |disk: GoneDisk| format!("{} ({}, which is gone)", disk.pods.join(", "), disk.source);
    let holders: Vec<_> = state.gone_disks().into_iter().filter(|disk| disk.fstype == "xfs").map(holder).collect();
    let by = match holders.is_empty() {
        true => String::new(),
        false => format!("; pods still have one of a disk that was taken out: {}", holders.join("; ")),
    };
    let text = format!("xfs on {} cannot be mounted: one with its UUID still is{by}", device.display());
    PortError::new(ErrorKind::Busy, text).hint("nothing was changed, and that is no damage")
}

/// A disk that was made smaller than its filesystem is refused before anything else.
fn fits(disk: &Disk) -> Result<(), PortError> {
    let (shown, size, extent) = (disk.device.path.display(), disk.device.id.size, disk.extent);
    if extent <= size {
        return Ok(());
    }
    let text = format!("{shown} has {size} bytes, and its filesystem takes {extent}: it was made smaller");
    Err(PortError::new(ErrorKind::Invalid, text).hint(
        "make the disk as large as it was: what lies beyond its end cannot be read, and a repair would give it up; \
         nothing was changed",
    ))
}

/// What is in disorder is repaired where that may be done and loses nothing; else the order is refused.
fn make_sound(disk: &mut Disk, filesystem: Filesystem, repair: bool) -> Result<(), PortError> {
    let Some(disorder) = disk.disorder else { return Ok(()) };
    let shown = disk.device.path.display();
    if disorder == Disorder::Noted && !repair {
        return Ok(());
    }
    if repair && disorder != Disorder::Deep && filesystem != Filesystem::Btrfs {
        disk.disorder = None;
        return Ok(());
    }
    let (text, hint) = if repair {
        let hint = format!("save the data first if you can; `e2fsck -f {shown}` asks what to do");
        (format!("{filesystem} on {shown} cannot be repaired without a decision: UNEXPECTED INCONSISTENCY"), hint)
    } else {
        let hint = format!(
            "nothing was changed. `e2fsck -p -f {shown}` repairs what loses nothing, as `repair = \"safe\"` on the volume has \
             Bowline do; `e2fsck -f {shown}` asks for the rest"
        );
        (format!("{filesystem} on {shown} has to be repaired: Entry 'victim' has deleted/unused inode"), hint)
    };
    Err(PortError::new(ErrorKind::Invalid, text).hint(hint))
}
