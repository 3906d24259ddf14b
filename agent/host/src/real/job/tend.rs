//! Work at a volume's mount point: making it ready, owner and mode, unmounting.
//!
//! - `check`: whether a filesystem has to be repaired, and repairing what loses nothing; `words`: what the tools say of it.
//! - `replay`: bringing what the log of an XFS or the journal of an ext4 holds to its place.
//! - `arrange`: owner, mode and directories.
//! - `unmount`: with whoever stands in the way.

mod arrange;
mod check;
mod replay;
mod unmount;
mod words;

use super::super::tool::Tool;
use super::super::{files, mounts};
use super::{Order, Report, Verb};
use bowline_ports::{ErrorKind, PortError, TendOrder, Work};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

const CHATTR: Duration = Duration::from_secs(10);

impl Order for TendOrder {
    const VERB: Verb = Verb::Tend;
    const REPLACED: bool = false;
    type Found = ();

    fn job(&self) -> String {
        TendOrder::job(self)
    }

    fn description(&self) -> String {
        let (mount, volume) = (self.mount.display(), &self.volume);
        match &self.work {
            Work::Prepare { .. } => format!("Bowline: makes {mount} ready for the volume {volume}"),
            Work::Arrange { .. } => format!("Bowline: owner and directories of the volume {volume} at {mount}"),
            Work::Unmount { .. } => format!("Bowline: unmounts the volume {volume} from {mount}"),
            Work::Shield { on } => format!(
                "Bowline: makes {mount} {}writable, where the volume {volume} is not mounted",
                if *on { "un" } else { "" }
            ),
        }
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn capabilities(&self) -> Option<u64> {
        None
    }

    async fn carry_out(&self, report: Report<'_>) -> Result<(), PortError> {
        match &self.work {
            Work::Prepare { device, id, filesystem, suspect, repair, options } => {
                let target = check::Target { device, id, filesystem: *filesystem, options };
                if check::make_sound(&target, *suspect, *repair, report).await? {
                    shield(&self.mount).await?;
                }
                Ok(())
            }
            Work::Arrange { number, root, directories } => arrange::arrange(&self.mount, number, *root, directories),
            Work::Unmount { number, for_good } => {
                unmount::unmount(&self.mount, number, report).await?;
                if *for_good { bare(&self.mount).await } else { Ok(()) }
            }
            Work::Shield { on: true } => shield(&self.mount).await,
            Work::Shield { on: false } => bare(&self.mount).await,
        }
    }
}

/// Makes a mount point that nobody writes to as long as nothing is mounted there: a pod whose volume is away gets an error,
/// and does not fill the root filesystem beneath it.
pub(super) async fn shield(mount: &Path) -> Result<(), PortError> {
    if is_mounted(mount)? {
        return Ok(());
    }
    files::make_directories(mount)?;
    immutable(mount, true).await
}

/// Has a mount point be an ordinary directory again, if it is there.
async fn bare(mount: &Path) -> Result<(), PortError> {
    if mount.is_dir() { immutable(mount, false).await } else { Ok(()) }
}

fn is_mounted(at: &Path) -> Result<bool, PortError> {
    Ok(mounts::read()?.iter().any(|one| one.target == at))
}

/// Sets or clears the flag of a bare mount point; a filesystem that has no such thing is fine. systemd may mount at this very
/// moment, and the volume's own directory is not meant: the directory that was looked at is held open.
async fn immutable(mount: &Path, on: bool) -> Result<(), PortError> {
    let open = File::open(mount).map_err(|e| PortError::io(format_args!("opening {}", mount.display()), &e))?;
    if is_mounted(mount)? {
        return Ok(());
    }
    let held = format!("/proc/self/fd/{}", open.as_raw_fd());
    if on && files::list(Path::new(&held))?.is_none_or(|entries| !entries.is_empty()) {
        let text = format!("{} is not an empty directory any more", mount.display());
        return Err(PortError::new(ErrorKind::Changed, text));
    }
    // On a filesystem that became read-only it cannot be set anew, and does not have to be.
    if files::meta(Path::new(&held))?.is_some_and(|meta| meta.immutable == Some(on)) {
        return Ok(());
    }
    let tool = Tool::Chattr { directory: Path::new(&held), immutable: on };
    let output = tool.run(None, CHATTR).await?;
    let none = ["not supported", "Inappropriate ioctl"];
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || none.iter().any(|text| said.contains(text)) {
        Ok(())
    } else {
        Err(tool.failed(&output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an ext4 that met an error: nothing can be set there, and what is set already does not have to be.
    #[tokio::test]
    async fn a_mount_point_that_is_unwritable_already_is_fine_on_a_disk_that_became_read_only() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (image, root) = (folder.path().join("image"), folder.path().join("root"));
        std::fs::create_dir(&root).unwrap();
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let ran = |program: &str, words: &[&str]| {
            std::process::Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
        };
        let (image, at) = (image.display().to_string(), root.display().to_string());
        assert!(ran("mkfs.ext4", &["-q", &image]));
        if !ran("mount", &["-o", "loop", &image, &at]) {
            // Without loop devices.
            return;
        }
        let place = root.join("data");
        let set = shield(&place).await;
        let again = match ran("mount", &["-o", "remount,ro", &at]) {
            true => Some((shield(&place).await, bare(&place).await)),
            false => None,
        };
        let was = files::meta(&place).unwrap().unwrap().immutable;
        assert!(ran("umount", &[&at]));
        set.unwrap();
        let (again, cleared) = again.unwrap();
        assert_eq!((again, was), (Ok(()), Some(true)));
        assert!(cleared.is_err(), "it is set still");
    }
}
