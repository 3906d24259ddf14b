//! Whether a filesystem can be mounted as it is. What has only to be replayed from a journal is left to the mount.

use super::super::super::tool::Tool;
use super::super::super::{extent, pods};
use super::super::Report;
use super::super::device::{Device, lock};
use super::replay::{Refused, is_in_use, refuses, replay};
use super::words::{findings, log_is_dirty, not_checked};
use bowline_ports::{DeviceId, ErrorKind, Filesystem, PortError, ProgressValue};
use std::fs::File;
use std::os::fd::AsRawFd;
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
    /// What it is mounted with.
    pub(super) options: &'a [String],
}

/// Looks whether the filesystem has to be repaired, where itself or a failed mount says so; repairs it where that may be done and
/// loses nothing. False: it is mounted by now, so there is nothing to say any more.
///
/// # Errors
/// It is another device (`Changed`), is smaller than its filesystem (`Invalid`), or has to be repaired (`Invalid`, with the command
/// that does it): nothing was written, but what its log or journal held.
pub(super) async fn make_sound(
    target: &Target<'_>,
    suspect: bool,
    repair: bool,
    report: Report<'_>,
) -> Result<bool, PortError> {
    let say = |text: &str| report(ProgressValue { done: 0, total: 0, text: text.to_owned() });
    let (shown, filesystem) = (target.device.display(), target.filesystem);
    let open = Device::open(target.device, false)?;
    let device = &open.file;
    lock(device, target.device).await?;
    let changed = |why: &str| Err(PortError::new(ErrorKind::Changed, format!("{shown}: {why}")));
    match open.find(&[])? {
        None => return changed("the kernel does not list it any more"),
        Some(one) if one.id != *target.id => return changed("it is another disk by now"),
        Some(one) if !one.mounted_at.is_empty() => return Ok(false),
        Some(_) => {}
    }
    fits(target, device)?;
    let noted = extent::has_errors(device, filesystem)
        .map_err(|e| PortError::io(format_args!("reading the superblock of {shown}"), &e))?;
    if !suspect && !noted {
        return Ok(true);
    }
    // Its log is as dirty as it was then, and cannot be replayed either: that is no damage.
    if filesystem == Filesystem::Xfs && is_in_use(device).await {
        return Err(in_use(target));
    }
    let mut looked = Looked { written: false, log: None };
    if filesystem == Filesystem::Ext4
        && extent::has_to_replay(device)
            .map_err(|e| PortError::io(format_args!("reading the superblock of {shown}"), &e))?
    {
        say("replaying its journal");
        looked.log = replay(device, filesystem).await.err();
        // A mount that fails may have replayed it all the same.
        looked.written = true;
    }
    // The mount says which option the kernel does not take, and a check of all of it would tell nothing of that.
    if !noted && looked.log.is_none() && refuses(device, filesystem, target.options).await {
        return Ok(true);
    }
    say("checking the filesystem, without changing it");
    let mut check = run(Tool::Check { filesystem, repair: false }, device).await?;
    if filesystem == Filesystem::Xfs && !check.status.success() && log_is_dirty(&check) {
        say("replaying its log");
        let refused = replay(device, filesystem).await.err();
        looked.written = true;
        say("checking the filesystem, without changing it");
        check = run(Tool::Check { filesystem, repair: false }, device).await?;
        // A mount that fails may have replayed it all the same.
        looked.log = refused.filter(|_| !check.status.success() && log_is_dirty(&check));
    }
    let sound = check.status.success();
    if !sound
        && let Some(why) =
            not_known(target, &looked, &check).or_else(|| not_to_be_repaired(target, repair, &mut looked, &check))
    {
        return Err(why);
    }
    // That it has met errors an ext4 forgets by a repair alone, and until then it is checked at each boot.
    if sound && !(noted && repair && filesystem == Filesystem::Ext4) {
        return Ok(true);
    }
    say("repairing what loses nothing");
    let tool = Tool::Check { filesystem, repair: true };
    let done = run(tool, &writable(device, target.device)?).await?;
    // fsck: 1 says that errors were corrected. xfs_repair refuses by itself what it could do only by giving up the log.
    if done.status.success() || (filesystem == Filesystem::Ext4 && done.status.code() == Some(1)) {
        return Ok(true);
    }
    let found = findings(filesystem, &done);
    let text = format!("{filesystem} on {shown} cannot be repaired without a decision: {found}");
    Err(PortError::new(ErrorKind::Invalid, text).hint(advice(target, true, &looked)))
}

/// What its check could not look at is no damage, and no tool's to repair.
fn not_known(target: &Target<'_>, looked: &Looked, check: &Output) -> Option<PortError> {
    let (found, advice) = not_checked(target.filesystem, check)?;
    let text = format!("{} on {} could not be checked: {found}", target.filesystem, target.device.display());
    Some(PortError::new(ErrorKind::Invalid, text).hint(format!("{}{advice}", looked.unchanged())))
}

/// Why one that is not sound is left to a person; `None` where it may be repaired.
fn not_to_be_repaired(target: &Target<'_>, repair: bool, looked: &mut Looked, check: &Output) -> Option<PortError> {
    let (shown, filesystem) = (target.device.display(), target.filesystem);
    // What a journal holds that is not in its place looks like damage: it is said that it could not be brought there.
    let journal = looked.log.take_if(|_| filesystem == Filesystem::Ext4);
    let mut found = findings(filesystem, check);
    if let Some(error) = journal {
        found = format!("{found}; its journal could not be replayed ({})", error.error.message);
    }
    if let Some(refused) = looked.log.take_if(|refused| !refused.is_of_the_log()) {
        let text = format!(
            "{filesystem} on {shown} cannot be mounted, and whether it has to be repaired is not known before its log is replayed: {}",
            refused.error.message
        );
        let hint = "`dmesg` says why the kernel does not mount it (an option, its version, errors of the disk). Nothing has to be given \
                    up for that";
        return Some(PortError::new(ErrorKind::Invalid, text).hint(hint));
    }
    if let Some(refused) = &looked.log {
        let error = &refused.error.message;
        let text = format!("{filesystem} on {shown} has to be repaired, and its log cannot be replayed: {error}");
        return Some(PortError::new(ErrorKind::Invalid, text).hint(advice(target, repair, looked)));
    }
    if !repair || filesystem == Filesystem::Btrfs {
        let text = format!("{filesystem} on {shown} has to be repaired: {found}");
        return Some(PortError::new(ErrorKind::Invalid, text).hint(advice(target, false, looked)));
    }
    None
}

/// Refuses a device that was made smaller than its filesystem. It cannot be mounted, which looks like damage, and a repair would cut
/// off what lies beyond its end.
fn fits(target: &Target<'_>, device: &File) -> Result<(), PortError> {
    let (shown, size) = (target.device.display(), target.id.size);
    let extent = extent::of(device, target.filesystem)
        .map_err(|e| PortError::io(format_args!("reading the superblock of {shown}"), &e))?;
    let Some(extent) = extent.filter(|extent| size < *extent) else { return Ok(()) };
    let text = format!("{shown} has {size} bytes, and its filesystem takes {extent}: it was made smaller");
    Err(PortError::new(ErrorKind::Invalid, text).hint(
        "make the disk as large as it was: what lies beyond its end cannot be read, and a repair would give it up; \
         nothing was changed",
    ))
}

/// What came of looking.
struct Looked {
    /// Its log was, or may have been, replayed: all else is as it was.
    written: bool,
    /// Why its log could not be replayed.
    log: Option<Refused>,
}

impl Looked {
    fn unchanged(&self) -> &'static str {
        if self.written {
            "nothing was changed but for what a replay of its journal wrote"
        } else {
            "nothing was changed"
        }
    }
}

/// A filesystem with its UUID is mounted somewhere.
fn in_use(target: &Target<'_>) -> PortError {
    let (shown, filesystem) = (target.device.display(), target.filesystem.name());
    let gone = pods::on_gone_disks().unwrap_or_default();
    let holders: Vec<_> = gone
        .iter()
        .filter(|disk| disk.fstype == filesystem)
        .map(|disk| format!("{} ({}, which is gone)", disk.pods.join(", "), disk.source))
        .collect();
    let by = match holders.is_empty() {
        true => String::new(),
        false => format!("; pods still have one of a disk that was taken out: {}", holders.join("; ")),
    };
    let text = format!("{filesystem} on {shown} cannot be mounted: one with its UUID still is{by}");
    PortError::new(ErrorKind::Busy, text).hint(
        "nothing was changed, and that is no damage: the kernel mounts no UUID twice. End whatever has it, such as pods that \
         had this disk before it was taken out (a reboot does), or detach the copy of it that is mounted; Bowline tries again by itself",
    )
}

/// The very device that was looked at, whatever has its name by now. A writable one would be in the way of a mount on some kernels.
fn writable(device: &File, path: &Path) -> Result<File, PortError> {
    let same = format!("/proc/self/fd/{}", device.as_raw_fd());
    let open = File::options().read(true).write(true).open(same);
    open.map_err(|e| PortError::io(format_args!("opening {} to repair it", path.display()), &e))
}

/// On the very device that was looked at.
async fn run(tool: Tool<'_>, device: &File) -> Result<Output, PortError> {
    let handle = device.try_clone().map_err(|e| PortError::io(format_args!("starting {}", tool.name()), &e))?;
    // Newer tools take the lock themselves.
    device.unlock().map_err(|e| PortError::io(format_args!("handing the lock to {}", tool.name()), &e))?;
    tool.run(Some(handle), CHECKING).await
}

fn advice(target: &Target<'_>, tried: bool, looked: &Looked) -> String {
    let (device, unchanged) = (target.device.display(), looked.unchanged());
    match (target.filesystem, tried) {
        (Filesystem::Btrfs, _) => format!(
            "{unchanged}. Look at `btrfs check --readonly {device}`, and save the data (`btrfs restore`) before any repair"
        ),
        (Filesystem::Ext4, false) => format!(
            "{unchanged}. `e2fsck -p -f {device}` repairs what loses nothing, as `repair = \"safe\"` on the volume has \
             Bowline do; `e2fsck -f {device}` asks for the rest"
        ),
        (Filesystem::Ext4, true) => format!("save the data first if you can; `e2fsck -f {device}` asks what to do"),
        (Filesystem::Xfs, _) if looked.log.is_some() => format!(
            "save the data first if you can (`mount -o ro,norecovery`); `xfs_repair -L {device}` gives up what its log holds, which \
             Bowline never does"
        ),
        (Filesystem::Xfs, false) => format!(
            "{unchanged}. `xfs_repair {device}` repairs it, as `repair = \"safe\"` on the volume has Bowline do; what belongs \
             nowhere any more it puts into lost+found"
        ),
        (Filesystem::Xfs, true) => format!("save the data first if you can; `xfs_repair -v {device}` says more of it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_smaller_than_its_filesystem_is_refused_without_a_repair() {
        const MADE: u64 = 400 << 20;
        for (filesystem, command) in [
            (Filesystem::Ext4, ["mkfs.ext4", "-q", "-F"].as_slice()),
            (Filesystem::Xfs, &["mkfs.xfs", "-q", "-f"]),
            (Filesystem::Btrfs, &["mkfs.btrfs", "-q", "-f"]),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(MADE).unwrap();
            let done = std::process::Command::new(command[0]).args(&command[1..]).arg(file.path()).output().unwrap();
            assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
            let fits = |size: u64| {
                file.as_file().set_len(size).unwrap();
                let id = DeviceId { serial: None, size };
                fits(&Target { device: file.path(), id: &id, filesystem, options: &[] }, file.as_file())
            };
            for size in [MADE + (1 << 20), MADE] {
                fits(size).unwrap();
            }
            let error = fits(MADE - 4096).unwrap_err();
            let end = "has 419426304 bytes, and its filesystem takes 419430400: it was made smaller";
            assert!(error.kind == ErrorKind::Invalid && error.message.ends_with(end), "{filesystem}: {error}");
            let hint = error.hint.unwrap();
            assert!(hint.starts_with("make the disk as large as it was") && !hint.contains('`'), "{hint}");
        }
    }
}
