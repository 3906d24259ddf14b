//! What the log of an XFS or the journal of an ext4 holds is brought to its place by mounting it, and by nothing else. It is
//! mounted where nobody sees it, and unmounted again: what is checked or repaired after that has all that was ever written to it.

use super::super::super::{blocking, files};
use bowline_ports::{Filesystem, PortError};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread::Builder;
use std::time::Duration;

/// A log has at most 2 GiB.
const REPLAYING: Duration = Duration::from_secs(3600);
/// What is mounted there is mounted for one thread only.
const PLACE: &str = "/run/bowline/replay";

/// A mount that failed.
#[derive(Debug)]
pub(super) struct Refused {
    /// With what the kernel says.
    pub(super) error: PortError,
    errno: Option<Errno>,
}

impl Refused {
    /// What the log holds cannot be read: nothing else is answered so. Of an option that does not fit, a kernel that does not know
    /// the filesystem or a UUID that is mounted already it tells nothing.
    pub(super) fn is_of_the_log(&self) -> bool {
        matches!(self.errno, Some(Errno::EUCLEAN | Errno::EBADMSG))
    }
}

/// Mounts and unmounts the filesystem on an open device.
///
/// # Errors
/// It cannot be mounted, or not be unmounted.
pub(super) async fn replay(device: &File, filesystem: Filesystem) -> Result<(), Refused> {
    attempt(device, filesystem, MsFlags::empty(), String::new()).await
}

/// Whether an XFS cannot be mounted for the only reason that one with its UUID is: a copy, or itself on a disk that was pulled out
/// while somebody used it. Nothing is written.
pub(super) async fn is_in_use(device: &File) -> bool {
    let reads = |options: &str| attempt(device, Filesystem::Xfs, MsFlags::MS_RDONLY, options.to_owned());
    let refused = reads("norecovery").await.is_err_and(|refused| refused.errno == Some(Errno::EINVAL));
    refused && reads("norecovery,nouuid").await.is_ok()
}

/// Options that `mount` and systemd keep for themselves, or give to the kernel as flags.
const FLAGS: [&str; 40] = [
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "symfollow",
    "nosymfollow",
    "auto",
    "noauto",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "",
];

/// Whether the kernel mounts the filesystem, and not with these options. It is mounted to be read, without what its log holds.
pub(super) async fn refuses(device: &File, filesystem: Filesystem, options: &[String]) -> bool {
    // An ext4 that has nothing to replay; some of its options need the journal.
    let quiet = if filesystem == Filesystem::Ext4 { "" } else { "norecovery" };
    let with = with(quiet, options);
    if with == quiet {
        return false;
    }
    let reads = |options: &str| attempt(device, filesystem, MsFlags::MS_RDONLY, options.to_owned());
    reads(&with).await.is_err_and(|refused| refused.errno == Some(Errno::EINVAL)) && reads(quiet).await.is_ok()
}

/// What the kernel is given of a mount's options as text.
fn with(quiet: &str, options: &[String]) -> String {
    let words = options.iter().flat_map(|option| option.split(','));
    let own = words
        .filter(|word| !FLAGS.contains(word) && !["x-", "X-", "comment="].iter().any(|begin| word.starts_with(begin)));
    Some(quiet).into_iter().filter(|quiet| !quiet.is_empty()).chain(own).collect::<Vec<_>>().join(",")
}

async fn attempt(device: &File, filesystem: Filesystem, flags: MsFlags, options: String) -> Result<(), Refused> {
    let failed = |error: &std::io::Error| PortError::io("mounting it to replay its log", error);
    let device = device.try_clone().map_err(|error| Refused { error: failed(&error), errno: None })?;
    let work = move || {
        let alone = Builder::new().spawn(move || alone(&device, filesystem, flags, &options));
        let alone = alone.map_err(|error| blocking::no_thread("replaying its log", &error))?.join();
        Ok(alone.unwrap_or_else(|_| Err((failed(&std::io::Error::other("cut off")), None))))
    };
    let done = blocking::blocking("replaying its log".to_owned(), REPLAYING, work).await;
    done.unwrap_or_else(|error| Err((error, None))).map_err(|(error, errno)| Refused { error, errno })
}

/// On a thread of its own: it gets mounts of its own, which end with it.
fn alone(
    device: &File,
    filesystem: Filesystem,
    flags: MsFlags,
    options: &str,
) -> Result<(), (PortError, Option<Errno>)> {
    let failed = |what: &str, errno: Errno| {
        (PortError::io(format_args!("{what} to replay its log"), &errno.into()), Some(errno))
    };
    files::make_directories(Path::new(PLACE)).map_err(|error| (error, None))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| failed("having mounts of one's own", e))?;
    let none = None::<&Path>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| failed("having mounts of one's own", e))?;
    // Whatever happens to names meanwhile, it is the device that was looked at.
    let source = format!("/proc/self/fd/{}", device.as_raw_fd());
    let flags = flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(source.as_str()), PLACE, Some(filesystem.name()), flags, Some(options))
        .map_err(|e| failed("mounting it", e))?;
    umount2(PLACE, MntFlags::empty()).map_err(|e| failed("unmounting it", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::ErrorKind;

    #[test]
    fn what_the_kernel_is_given_of_the_options() {
        let options = ["noatime", "noatim,nofail", "x-systemd.device-timeout=5s", "logbufs=1"].map(str::to_owned);
        assert_eq!(with("norecovery", &options), "norecovery,noatim,logbufs=1");
        assert_eq!(with("", &options), "noatim,logbufs=1");
        assert_eq!(with("norecovery", &options[..1]), "norecovery");
    }

    #[test]
    fn only_what_the_kernel_can_not_read_is_of_the_log() {
        let refused = |errno| Refused { error: PortError::new(ErrorKind::Other, "mounting it"), errno };
        for errno in [Errno::EUCLEAN, Errno::EBADMSG] {
            assert!(refused(Some(errno)).is_of_the_log(), "{errno}");
        }
        for errno in [Errno::EINVAL, Errno::EIO, Errno::EBUSY, Errno::ENODEV, Errno::ENOMEM, Errno::EROFS] {
            assert!(!refused(Some(errno)).is_of_the_log(), "{errno}");
        }
        assert!(!refused(None).is_of_the_log());
    }
}
