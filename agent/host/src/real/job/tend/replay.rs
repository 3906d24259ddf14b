//! What the log of an XFS or the journal of an ext4 holds is brought to its place by mounting it, and by nothing else. It is
//! mounted where nobody sees it, and unmounted again: what is checked or repaired after that has all that was ever written to it.

use super::super::super::{blocking, files};
use bowline_ports::{Filesystem, PortError};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// A log has at most 2 GiB.
const REPLAYING: Duration = Duration::from_secs(3600);
/// What is mounted there is mounted for one thread only.
const PLACE: &str = "/run/bowline/replay";

/// Mounts and unmounts the filesystem on an open device.
///
/// # Errors
/// It can not be mounted, or not be unmounted.
pub(super) async fn replay(device: &File, filesystem: Filesystem) -> Result<(), PortError> {
    let device = device.try_clone().map_err(|e| PortError::io("mounting it to replay its log", &e))?;
    let work = move || {
        let alone = std::thread::spawn(move || alone(&device, filesystem)).join();
        alone.unwrap_or_else(|_| Err(PortError::io("mounting it to replay its log", &std::io::Error::other("cut off"))))
    };
    blocking::blocking("replaying its log".to_owned(), REPLAYING, work).await
}

/// On a thread of its own: it gets mounts of its own, which end with it.
fn alone(device: &File, filesystem: Filesystem) -> Result<(), PortError> {
    let failed = |what: &str, errno: nix::Error| PortError::io(format_args!("{what} to replay its log"), &errno.into());
    files::make_directories(Path::new(PLACE))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| failed("having mounts of one's own", e))?;
    let none = None::<&Path>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| failed("having mounts of one's own", e))?;
    // Whatever happens to names meanwhile, it is the device that was looked at.
    let source = format!("/proc/self/fd/{}", device.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // XFS refuses beside a mounted one with its UUID, such as its original, and would look damaged.
    let data = (filesystem == Filesystem::Xfs).then_some("nouuid");
    mount(Some(source.as_str()), PLACE, Some(filesystem.name()), flags, data).map_err(|e| failed("mounting it", e))?;
    umount2(PLACE, MntFlags::empty()).map_err(|e| failed("unmounting it", e))
}
