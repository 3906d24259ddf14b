//! Work at a volume's mount point: making it ready, owner and mode, unmounting.
//!
//! - `check`: whether a filesystem has to be repaired, and repairing what loses nothing.
//! - `arrange`: owner, mode and directories.
//! - `unmount`: with whoever stands in the way.

mod arrange;
mod check;
mod unmount;

use super::super::tool::Tool;
use super::super::{files, mounts};
use super::{Order, Report};
use bowline_ports::{ErrorKind, PortError, TendOrder, Work};
use std::path::Path;
use std::time::Duration;

const CHATTR: Duration = Duration::from_secs(10);

impl Order for TendOrder {
    const VERB: &'static str = "tend";
    const REPLACED: bool = false;

    fn job(&self) -> String {
        TendOrder::job(self)
    }

    fn description(&self) -> String {
        let (mount, volume) = (self.mount.display(), &self.volume);
        match &self.work {
            Work::Prepare { .. } => format!("Bowline: makes {mount} ready for the volume {volume}"),
            Work::Arrange { .. } => format!("Bowline: owner and directories of the volume {volume} at {mount}"),
            Work::Unmount { .. } => format!("Bowline: unmounts the volume {volume} from {mount}"),
        }
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn capabilities() -> Option<u64> {
        None
    }

    async fn carry_out(&self, report: Report<'_>) -> Result<(), PortError> {
        match &self.work {
            Work::Prepare { device, id, filesystem, suspect, repair } => {
                let target = check::Target { device, id, filesystem: *filesystem };
                if check::make_sound(&target, *suspect, *repair, report).await? {
                    shield(&self.mount).await?;
                }
                Ok(())
            }
            Work::Arrange { number, root, directories } => arrange::arrange(&self.mount, number, *root, directories),
            Work::Unmount { number, for_good } => {
                unmount::unmount(&self.mount, number, report).await?;
                if *for_good && self.mount.is_dir() {
                    immutable(&self.mount, false).await?;
                }
                Ok(())
            }
        }
    }
}

/// Makes a mount point that nobody writes to as long as nothing is mounted there: a pod whose volume is away gets an error,
/// and does not fill the root filesystem beneath it.
pub(super) async fn shield(mount: &Path) -> Result<(), PortError> {
    if mounts::read()?.iter().any(|one| one.target == mount) {
        return Ok(());
    }
    files::make_directories(mount)?;
    match files::list(mount)? {
        Some(entries) if entries.is_empty() => immutable(mount, true).await,
        _ => {
            let text = format!("{} is not an empty directory any more", mount.display());
            Err(PortError::new(ErrorKind::Changed, text))
        }
    }
}

/// Sets or clears the flag; a filesystem that has no such thing is fine.
async fn immutable(path: &Path, on: bool) -> Result<(), PortError> {
    let tool = Tool::Chattr { path, immutable: on };
    let output = tool.run(None, CHATTR).await?;
    let none = ["not supported", "Inappropriate ioctl"];
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || none.iter().any(|text| said.contains(text)) {
        Ok(())
    } else {
        Err(tool.failed(&output))
    }
}
