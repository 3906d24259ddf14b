//! Work at mount points.

use super::state::{Content, State};
use bowline_ports::{Access, ErrorKind, PortError, TendOrder, Work};
use std::path::Path;

impl State {
    pub(super) fn tend(&mut self, order: &TendOrder) -> Result<(), PortError> {
        let shown = order.mount.display();
        let changed = |why: &str| Err(PortError::new(ErrorKind::Changed, format!("{shown}: {why}")));
        let mount = self.mounts.iter().rfind(|mount| mount.target == order.mount).cloned();
        match &order.work {
            Work::Prepare { device, id, .. } => match self.disks.iter().find(|disk| disk.device.path == *device) {
                Some(disk) if disk.device.id != *id => changed("it is another disk by now"),
                Some(disk) if !matches!(disk.content, Content::Filesystem { .. }) => changed("it has no filesystem"),
                Some(_) => Ok(()),
                None => changed("its disk is gone"),
            },
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
            Work::Unmount { number, .. } => match mount {
                None => Ok(()),
                Some(mount) if mount.number != *number => changed("something else is mounted there"),
                Some(_) if self.in_use.as_deref() == Some(&order.mount) => {
                    Err(PortError::new(ErrorKind::Busy, format!("{shown} is in use by java (4711)")))
                }
                Some(_) => {
                    self.unmount(&order.mount);
                    Ok(())
                }
            },
        }
    }

    /// What systemd sees when somebody unmounts.
    fn unmount(&mut self, at: &Path) {
        let line = format!("Where={}", at.display());
        let unit = self.loaded.iter().find(|(_, text)| text.lines().any(|one| one == line)).map(|(path, _)| path);
        if let Some(name) = unit.and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()) {
            self.stop(&name);
        }
        self.mounts.retain(|mount| mount.target != at);
        for disk in &mut self.disks {
            disk.device.mounted_at.retain(|there| there != at);
        }
    }
}
