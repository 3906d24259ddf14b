//! The device that a job works on: opened once, and from then on known by its number, whatever has its name by now.

use super::super::{block, files};
use bowline_ports::{BlockDevice, ErrorKind, PortError};
use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// udev lets go within a second; a partitioning tool may take longer.
const LOCK: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);

/// A device that is open.
pub(super) struct Device {
    pub(super) file: File,
    number: String,
}

impl Device {
    pub(super) fn open(path: &Path, write: bool) -> Result<Self, PortError> {
        let failed = |error: std::io::Error| PortError::io(format_args!("opening {}", path.display()), &error);
        let file = File::options().read(true).write(write).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.file_type().is_block_device() {
            let text = format!("{} is not a block device any more", path.display());
            return Err(PortError::new(ErrorKind::Changed, text));
        }
        Ok(Self { number: files::number(meta.rdev()), file })
    }

    /// As the kernel shows it now; `None` where it does not list it any more.
    pub(super) fn find(&self, swaps: &[PathBuf]) -> Result<Option<BlockDevice>, PortError> {
        Ok(block::read(swaps)?.into_iter().find(|one| one.number == self.number))
    }
}

/// Takes the lock that udev and partitioning tools respect.
pub(super) async fn lock(device: &File, path: &Path) -> Result<(), PortError> {
    let begin = Instant::now();
    loop {
        match device.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK => tokio::time::sleep(AGAIN).await,
            Err(TryLockError::WouldBlock) => {
                return Err(PortError::new(
                    ErrorKind::Busy,
                    format!("{}: another program keeps it locked ({} s)", path.display(), LOCK.as_secs()),
                )
                .hint(format!("look with: fuser -v {}", path.display())));
            }
            Err(TryLockError::Error(error)) => {
                return Err(PortError::io(format_args!("locking {}", path.display()), &error));
            }
        }
    }
}
