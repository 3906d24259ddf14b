//! The cases, against any host.

mod disks;
mod files;
mod machine;
mod metadata;
mod tend;
mod units;

pub(crate) use disks::*;
pub(crate) use files::*;
pub(crate) use machine::*;
pub(crate) use metadata::*;
pub(crate) use tend::*;
pub(crate) use units::*;

use bowline_ports::{BlockDevice, Change, Filesystem, FormatOrder, Job, Progress};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a case needs of a host beyond the ports: what other people did to the machine.
pub(crate) trait Fixture {
    /// The host.
    fn host(&self) -> &dyn Change;
    /// An empty directory of the case's own.
    fn directory(&self) -> &Path;
    /// Attaches a blank disk with a serial of its own.
    fn make_disk(&self, size: u64) -> PathBuf;
    /// Somebody writes plain bytes to the middle of a disk.
    fn scribble(&self, device: &Path);
    /// Somebody makes a filesystem.
    fn make_filesystem(&self, device: &Path, filesystem: Filesystem, uuid: &str);
    /// Somebody makes one that takes so many bytes of the disk.
    fn make_filesystem_of(&self, device: &Path, filesystem: Filesystem, uuid: &str, size: u64);
    /// Somebody makes an ext4 that takes twice as much as the disk has, as on one that was made smaller.
    fn make_too_large(&self, device: &Path);
    /// Its files get into disorder, which an ext4 has written down; `fsck -p` puts it right.
    fn damage(&self, device: &Path);
    /// What is done with a disk in units does not end as long as this is kept, or takes long enough to be seen.
    fn hold(&self, device: &Path) -> Option<File>;
    /// Somebody mounts a disk.
    fn mount(&self, device: &Path, at: &Path);
    /// Somebody mounts a directory of what is mounted at another place as well.
    fn bind(&self, from: &Path, at: &Path);
    /// Something that can be fetched: its URL and its content.
    fn release(&self) -> (String, Vec<u8>);
    /// Whether systemd runs there; without it calls that need it have to fail as unreachable.
    fn systemd(&self) -> bool;
    /// Whether a mounted ext4 may grow: a root without CAP_SYS_RESOURCE, as in some containers, is refused.
    fn grows(&self) -> bool;
    /// From now on there is a metadata service, and it answers this, by path and query.
    fn metadata(&self, answers: &[(&str, &str)]);
}

/// A test for each case, with a fixture made anew for each; and how many there are.
macro_rules! contract {
    ($fixture:expr, $from:tt; $($case:ident),+ $(,)?) => {
        #[allow(dead_code, reason = "one host counts them")]
        pub(crate) const CASES: usize = [$(stringify!($case)),+].len();
        $(
            #[tokio::test]
            async fn $case() {
                crate::suite::contract!(@call $from $case $fixture).await;
            }
        )+
    };
    (@call [$($from:tt)+] $case:ident $fixture:expr) => { $($from)+::$case(&$fixture) };
}
pub(crate) use contract;

const SIZE: u64 = 400 << 20;
pub(crate) const STRANGER: &str = "11111111-2222-4333-8444-555555555555";

async fn device(host: &dyn Change, path: &Path) -> BlockDevice {
    let devices = host.block_devices().await.unwrap();
    devices.into_iter().find(|d| d.path == path).unwrap_or_else(|| panic!("{} is not listed", path.display()))
}

/// A UUID that no other case has: `mkfs.btrfs` looks at all devices for it.
fn fresh_uuid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("6b7a1c1e-3c6f-5b57-9d6b-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The order for a device as it is.
pub(crate) async fn order(fixture: &impl Fixture, path: &Path, filesystem: Filesystem) -> FormatOrder {
    let volume = format!("contract-{}", path.file_name().unwrap().to_string_lossy());
    FormatOrder {
        begun: fixture.directory().join(format!("{volume}.begun")),
        volume,
        device: path.to_path_buf(),
        id: device(fixture.host(), path).await.id,
        filesystem,
        mount: fixture.directory().join("mnt"),
        uuid: fresh_uuid(),
        resume: false,
    }
}

/// It was begun, and cut off.
pub(crate) async fn cut_off(host: &dyn Change, order: FormatOrder) -> FormatOrder {
    host.write(&order.begun, order.mark().as_bytes(), 0o600).await.unwrap();
    FormatOrder { resume: true, ..order }
}

async fn job(host: &dyn Change, order: &FormatOrder) -> Option<Job> {
    host.job(&format!("mkfs-{}", order.volume)).await.unwrap()
}

async fn format(host: &dyn Change, order: &FormatOrder) -> Result<(), bowline_ports::PortError> {
    host.format(order, &Progress::default()).await
}
