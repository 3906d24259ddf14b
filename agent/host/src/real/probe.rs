//! What a device holds: its signatures, and whether it is proven blank.
//!
//! `blkid` saying "nothing" proves nothing: it says so for raw data, for a damaged primary superblock and for
//! read errors. So the bytes are read: small devices whole; of larger ones both ends, every place where the
//! filesystems and tables in use keep copies of their superblock, and samples spread over all of it. A look reads little
//! of that ([`GLANCE`]); before anything is written the whole of it is read ([`PROOF`]).

mod places;
mod read;

use super::blocking::{Silent, UnderWay, blocking};
use super::extent;
use super::tool::{Tool, parse};
use bowline_ports::{ErrorKind, PortError, Probe, Signature};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
pub(crate) use places::{Depth, ENDS, GLANCE, PROOF, Remains};
use read::{Bytes, read};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const TOOLS: Duration = Duration::from_secs(20);
const READS: Duration = Duration::from_secs(60);
/// A disk that reads slower than this, in bytes a second, is failing.
const SLOWEST: u64 = 10 << 20;
/// Between two reports of how far reading is.
const REPORT: Duration = Duration::from_millis(250);

/// A probe, and what is left of superblocks where their copies would be.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    /// The probe.
    pub(crate) probe: Probe,
    /// Copies of superblocks.
    pub(crate) remains: Vec<Remains>,
}

/// Probes the device at a path, unless an earlier probe of it still waits for it.
///
/// Where systemd keeps devices from services by cgroup v1, it takes all of them away and gives the allowed ones back
/// whenever it reads its unit files again: what was denied is asked again before it counts.
pub(crate) async fn at(path: &Path, silent: &Silent) -> Result<Probe, PortError> {
    let under_way = silent.begin(&format!("probing {}", path.display()), path)?;
    let mut tries = 1;
    loop {
        match once(path, &under_way).await {
            Err(error) if tries < TRIES && is_denied(&error) => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            other => return under_way.noted(other),
        }
    }
}

const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// EPERM, from a system call or in the words of a tool.
fn is_denied(error: &PortError) -> bool {
    error.message.contains("Operation not permitted")
}

async fn once(path: &Path, under_way: &Arc<UnderWay>) -> Result<Probe, PortError> {
    let shown = path.display().to_string();
    let (owned, held) = (path.to_path_buf(), Arc::clone(under_way));
    let file = blocking(format!("opening {shown}"), READS, move || {
        let opened = open(&owned);
        drop(held);
        opened
    });
    let device = Device { file: Arc::new(file.await?), shown, under_way: Some(Arc::clone(under_way)) };
    Ok(device.probe(GLANCE, &|_, _| {}).await?.probe)
}

fn open(path: &Path) -> Result<File, PortError> {
    let what = || format!("opening {}", path.display());
    let meta = std::fs::metadata(path).map_err(|e| PortError::io(what(), &e))?;
    if !meta.file_type().is_block_device() {
        return Err(PortError::new(ErrorKind::Invalid, format!("{}: not a block device", path.display())));
    }
    File::open(path).map_err(|e| PortError::io(what(), &e))
}

/// Probes an open device; `shown` is its name in messages. `progress` is told how many bytes of how many were read.
pub(crate) async fn of(
    device: &File,
    shown: &str,
    depth: Depth,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Evidence, PortError> {
    let file = device.try_clone().map_err(|e| PortError::io(format_args!("probing {shown}"), &e))?;
    Device { file: Arc::new(file), shown: shown.to_owned(), under_way: None }.probe(depth, progress).await
}

/// An open device.
struct Device {
    file: Arc<File>,
    shown: String,
    /// Held by all that may wait for the device, be it longer than anybody waits for that.
    under_way: Option<Arc<UnderWay>>,
}

impl Device {
    async fn probe(&self, depth: Depth, progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<Evidence, PortError> {
        let shown = &self.shown;
        let size = self.ask(format!("asking {shown} for its size"), TOOLS, |mut file| {
            // The tools read through the kernel's cache, and mkfs writes past it: what is in there may be older than the disk.
            let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
            file.seek(SeekFrom::End(0)).map_err(|e| PortError::io("asking for the size", &e))
        });
        let size = size.await?;
        if size == 0 {
            return Err(PortError::new(ErrorKind::Invalid, format!("{shown}: a device without any bytes")));
        }
        let tools = self.found_by_tools();
        let ((signatures, ambivalent), bytes) = match depth {
            // Whatever the tools find, all of it is read.
            PROOF => {
                let (found, bytes) = futures::future::join(tools, self.bytes(size, depth, progress)).await;
                (found?, bytes?)
            }
            // What has a signature is not blank: samples would tell nothing more.
            _ => {
                let found = tools.await?;
                let depth = if found.0.is_empty() { depth } else { depth.without_samples() };
                (found, self.bytes(size, depth, progress).await?)
            }
        };
        let last_mount = match signatures.iter().any(|one| one.name == "ext4") {
            true => self.ask(self.superblock(), TOOLS, |file| Ok(extent::last_mount(file))).await?,
            false => None,
        };
        let disks = match signatures.iter().any(|one| one.name == "btrfs") {
            true => self.ask(self.superblock(), TOOLS, |file| Ok(extent::disks(file))).await?,
            false => 1,
        };
        Ok(Evidence {
            probe: Probe {
                signatures,
                ambivalent,
                data_at: bytes.data_at,
                zeros: bytes.zeros,
                last_mount,
                disks,
                read_error: bytes.error.map(|(_, e)| format!("{shown}: {e}")),
            },
            remains: bytes.remains,
        })
    }

    /// The signatures that `blkid` and `wipefs` find, and whether they contradict each other.
    async fn found_by_tools(&self) -> Result<(Vec<Signature>, bool), PortError> {
        let shown = &self.shown;
        let (blkid, wipefs) = futures::future::join(self.run(Tool::Blkid), self.run(Tool::Wipefs)).await;
        let (blkid, wipefs) = (blkid?, wipefs?);
        let (mut signatures, ambivalent) = match blkid.status.code() {
            Some(0) => (parse::blkid(&String::from_utf8_lossy(&blkid.stdout)), false),
            // Nothing found; the same status with words is a device that it could not open.
            Some(2) if blkid.stderr.trim_ascii().is_empty() => (Vec::new(), false),
            Some(8) => (Vec::new(), true),
            _ => return Err(Tool::Blkid.failed(&blkid)),
        };
        if !wipefs.status.success() {
            return Err(Tool::Wipefs.failed(&wipefs));
        }
        let more = parse::wipefs(&String::from_utf8_lossy(&wipefs.stdout)).map_err(|e| {
            PortError::new(ErrorKind::Other, format!("what wipefs says of {shown} cannot be read: {e}"))
        })?;
        for signature in more {
            parse::add(&mut signatures, signature);
        }
        // mkfs.xfs clears a byte last: until then nobody can mount it, it holds nothing, and it counts as plain bytes.
        if signatures.iter().any(|s| s.name == "xfs") {
            let what = self.superblock();
            let unfinished =
                self.ask(what.clone(), TOOLS, move |file| xfs_unfinished(file).map_err(|e| PortError::io(what, &e)));
            if unfinished.await? {
                signatures.retain(|s| s.name != "xfs");
            }
        }
        Ok((signatures, ambivalent))
    }

    /// Reads the places that are proof at this depth, and tells how far it is.
    async fn bytes(
        &self,
        size: u64,
        depth: Depth,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Bytes, PortError> {
        let mut phase = [0; 8];
        super::fill_random(&mut phase)?;
        let ranges = places::ranges(size, depth, u64::from_le_bytes(phase));
        let total: u64 = ranges.iter().map(|range| range.length).sum();
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        let deadline = READS + Duration::from_secs(total / SLOWEST);
        let past_cache = depth == PROOF;
        let work = move |file: &File| Ok(read(file, &ranges, past_cache, &counter));
        let reads = self.ask(format!("reading {}", self.shown), deadline, work);
        tokio::pin!(reads);
        loop {
            tokio::select! {
                bytes = &mut reads => return bytes,
                () = tokio::time::sleep(REPORT) => progress(done.load(Relaxed), total),
            }
        }
    }

    /// Asks the device on another thread.
    async fn ask<T: Send + 'static>(
        &self,
        what: String,
        deadline: Duration,
        work: impl FnOnce(&File) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let (file, held) = (Arc::clone(&self.file), self.under_way.clone());
        blocking(what, deadline, move || {
            let answer = work(&file);
            drop((file, held));
            answer
        })
        .await
    }

    /// Has a program look at the device.
    async fn run(&self, tool: Tool<'_>) -> Result<Output, PortError> {
        let file = self.file.try_clone().map_err(|e| PortError::io(format_args!("probing {}", self.shown), &e))?;
        tool.run_holding(Some(file), TOOLS, self.under_way.clone()).await
    }

    fn superblock(&self) -> String {
        format!("reading the superblock of {}", self.shown)
    }
}

/// `sb_inprogress` of an XFS superblock.
fn xfs_unfinished(device: &File) -> std::io::Result<bool> {
    let mut superblock = [0; 512];
    device.read_exact_at(&mut superblock, 0)?;
    Ok(superblock.starts_with(b"XFSB") && superblock[126] == 1)
}

#[cfg(test)]
mod tests;
