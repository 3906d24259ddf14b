//! Whether a filesystem can be mounted as it is. What has only to be replayed from a journal is left to the mount.

use super::super::super::tool::{Tool, last_words};
use super::super::super::{block, extent, files};
use super::super::Report;
use super::super::format::lock;
use bowline_ports::{DeviceId, ErrorKind, Filesystem, PortError, ProgressValue};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

/// A filesystem of terabytes with many files takes that long.
const CHECKING: Duration = Duration::from_secs(24 * 3600);

/// The device, and what is said to be on it.
pub(super) struct Target<'a> {
    pub(super) device: &'a Path,
    pub(super) id: &'a DeviceId,
    pub(super) filesystem: Filesystem,
}

/// Looks whether the filesystem has to be repaired, where itself or a failed mount says so; repairs it where that may be done and
/// loses nothing. False: it is mounted by now, so there is nothing to say any more.
///
/// # Errors
/// It is another device (`Changed`), or has to be repaired (`Invalid`, with the command that does it): nothing was written.
pub(super) async fn make_sound(
    target: &Target<'_>,
    suspect: bool,
    repair: bool,
    report: Report<'_>,
) -> Result<bool, PortError> {
    let say = |text: &str| report(ProgressValue { done: 0, total: 0, text: text.to_owned() });
    let shown = target.device.display();
    let open = File::options().read(true).write(repair).open(target.device);
    let device = open.map_err(|e| PortError::io(format_args!("opening {shown}"), &e))?;
    let meta = device.metadata().map_err(|e| PortError::io(format_args!("opening {shown}"), &e))?;
    lock(&device, target.device).await?;
    let number = files::number(meta.rdev());
    let found = block::read(&[])?.into_iter().find(|one| one.number == number);
    let changed = |why: &str| Err(PortError::new(ErrorKind::Changed, format!("{shown}: {why}")));
    match found {
        None => return changed("the kernel does not list it any more"),
        Some(one) if one.id != *target.id => return changed("it is another disk by now"),
        Some(one) if !one.mounted_at.is_empty() => return Ok(false),
        Some(_) => {}
    }
    if !suspect
        && !extent::has_errors(&device, target.filesystem)
            .map_err(|e| PortError::io(format_args!("reading the superblock of {shown}"), &e))?
    {
        return Ok(true);
    }
    say("checking the filesystem, without changing it");
    let check = run(Tool::Check { filesystem: target.filesystem, repair: false }, &device).await?;
    if check.status.success() {
        return Ok(true);
    }
    let found = last_words(&check);
    if !repair || target.filesystem == Filesystem::Btrfs {
        let text = format!("{} on {shown} has to be repaired: {found}", target.filesystem);
        return Err(PortError::new(ErrorKind::Invalid, text).hint(advice(target, repair)));
    }
    say("repairing what loses nothing");
    let tool = Tool::Check { filesystem: target.filesystem, repair: true };
    let done = run(tool, &device).await?;
    // fsck: 1 says that errors were corrected. xfs_repair refuses by itself what it could do only by giving up the log.
    if done.status.success() || (target.filesystem == Filesystem::Ext4 && done.status.code() == Some(1)) {
        return Ok(true);
    }
    let text =
        format!("{} on {shown} can not be repaired without a decision: {}", target.filesystem, last_words(&done));
    Err(PortError::new(ErrorKind::Invalid, text).hint(advice(target, true)))
}

/// On the very device that was looked at.
async fn run(tool: Tool<'_>, device: &File) -> Result<Output, PortError> {
    let handle = device.try_clone().map_err(|e| PortError::io(format_args!("starting {}", tool.name()), &e))?;
    // Newer tools take the lock themselves.
    device.unlock().map_err(|e| PortError::io(format_args!("handing the lock to {}", tool.name()), &e))?;
    tool.run(Some(handle), CHECKING).await
}

fn advice(target: &Target<'_>, tried: bool) -> String {
    let device = target.device.display();
    match (target.filesystem, tried) {
        (Filesystem::Btrfs, _) => format!(
            "nothing was changed. Look at `btrfs check --readonly {device}`, and save the data (`btrfs restore`) before any repair"
        ),
        (Filesystem::Ext4, false) => format!(
            "nothing was changed. `e2fsck -p {device}` repairs what loses nothing, as `repair = \"safe\"` on the volume has \
             Bowline do; `e2fsck -f {device}` asks for the rest"
        ),
        (Filesystem::Ext4, true) => format!("save the data first if you can; `e2fsck -f {device}` asks what to do"),
        (Filesystem::Xfs, false) => format!(
            "nothing was changed. `xfs_repair {device}` repairs it where its log could be replayed, as `repair = \"safe\"` on the \
             volume has Bowline do"
        ),
        (Filesystem::Xfs, true) => format!(
            "save the data first if you can; `xfs_repair -L {device}` gives up what its log holds, which Bowline never does"
        ),
    }
}
