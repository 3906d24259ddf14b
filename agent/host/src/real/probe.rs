//! What a device holds: its signatures, and whether it is proven blank.
//!
//! `blkid` saying "nothing" proves nothing: it says so for raw data, for a damaged primary superblock and for
//! read errors. So the bytes are read: small devices whole; of larger ones both ends, every place where the
//! filesystems and tables in use keep copies of their superblock, and samples spread over all of it. A look reads little
//! of that ([`GLANCE`]); before anything is written the whole of it is read ([`PROOF`]).

mod places;
mod read;

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

/// Probes the device at a path.
///
/// Where systemd keeps devices from services by cgroup v1, it takes all of them away and gives the allowed ones back
/// whenever it reads its unit files again: what was denied is asked again before it counts.
pub(crate) async fn at(path: &Path) -> Result<Probe, PortError> {
    let mut tries = 1;
    loop {
        match once(path).await {
            Err(error) if tries < TRIES && is_denied(&error) => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// EPERM, from a system call or in the words of a tool.
fn is_denied(error: &PortError) -> bool {
    error.message.contains("Operation not permitted")
}

async fn once(path: &Path) -> Result<Probe, PortError> {
    let shown = path.display().to_string();
    let owned = path.to_path_buf();
    let device = super::blocking::blocking(format!("opening {shown}"), READS, move || open(&owned)).await?;
    Ok(of(&device, &shown, GLANCE, &|_, _| {}).await?.probe)
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
    let handle = || device.try_clone().map_err(|e| PortError::io(format_args!("probing {shown}"), &e));
    let reader = handle()?;
    let size = super::blocking::blocking(format!("asking {shown} for its size"), TOOLS, move || {
        let mut reader = &reader;
        reader.seek(SeekFrom::End(0)).map_err(|e| PortError::io("asking for the size", &e))
    })
    .await?;
    if size == 0 {
        return Err(PortError::new(ErrorKind::Invalid, format!("{shown}: a device without any bytes")));
    }
    let tools = found_by_tools(device, shown);
    let ((signatures, ambivalent), bytes) = match depth {
        // Whatever the tools find, all of it is read.
        PROOF => {
            let reads = bytes_of(device, shown, size, depth, progress);
            let (found, bytes) = futures::future::join(tools, reads).await;
            (found?, bytes?)
        }
        // What has a signature is not blank: samples would tell nothing more.
        _ => {
            let found = tools.await?;
            let depth = if found.0.is_empty() { depth } else { depth.without_samples() };
            (found, bytes_of(device, shown, size, depth, progress).await?)
        }
    };
    let ext4 = signatures.iter().any(|one| one.name == "ext4");
    Ok(Evidence {
        probe: Probe {
            signatures,
            ambivalent,
            data_at: bytes.data_at,
            zeros: bytes.zeros,
            last_mount: ext4.then(|| extent::last_mount(device)).flatten(),
            read_error: bytes.error.map(|(_, e)| format!("{shown}: {e}")),
        },
        remains: bytes.remains,
    })
}

/// The signatures that `blkid` and `wipefs` find, and whether they contradict each other.
async fn found_by_tools(device: &File, shown: &str) -> Result<(Vec<Signature>, bool), PortError> {
    let handle = || device.try_clone().map_err(|e| PortError::io(format_args!("probing {shown}"), &e));
    // They read through the kernel's cache, and mkfs writes past it: what is in there may be older than the disk.
    let _ = posix_fadvise(device, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let (blkid, wipefs) = (Tool::Blkid.run(Some(handle()?), TOOLS), Tool::Wipefs.run(Some(handle()?), TOOLS));
    let (blkid, wipefs) = futures::future::join(blkid, wipefs).await;
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
    let more = parse::wipefs(&String::from_utf8_lossy(&wipefs.stdout))
        .map_err(|e| PortError::new(ErrorKind::Other, format!("what wipefs says of {shown} can not be read: {e}")))?;
    for signature in more {
        parse::add(&mut signatures, signature);
    }
    // mkfs.xfs clears a byte last: until then nobody can mount it, it holds nothing, and it counts as plain bytes.
    if signatures.iter().any(|s| s.name == "xfs") && xfs_unfinished(device, shown)? {
        signatures.retain(|s| s.name != "xfs");
    }
    Ok((signatures, ambivalent))
}

/// Reads the places of a device that are proof at this depth, and tells how far it is.
async fn bytes_of(
    device: &File,
    shown: &str,
    size: u64,
    depth: Depth,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Bytes, PortError> {
    let reader = device.try_clone().map_err(|e| PortError::io(format_args!("probing {shown}"), &e))?;
    let mut phase = [0; 8];
    super::fill_random(&mut phase)?;
    let ranges = places::ranges(size, depth, u64::from_le_bytes(phase));
    let total: u64 = ranges.iter().map(|range| range.length).sum();
    let done = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&done);
    let deadline = READS + Duration::from_secs(total / SLOWEST);
    let past_cache = depth == PROOF;
    let work = move || Ok(read(&reader, &ranges, past_cache, &counter));
    let reads = super::blocking::blocking(format!("reading {shown}"), deadline, work);
    tokio::pin!(reads);
    loop {
        tokio::select! {
            bytes = &mut reads => return bytes,
            () = tokio::time::sleep(REPORT) => progress(done.load(Relaxed), total),
        }
    }
}

/// `sb_inprogress` of an XFS superblock.
fn xfs_unfinished(device: &File, shown: &str) -> Result<bool, PortError> {
    let mut superblock = [0; 512];
    let what = || format!("reading the superblock of {shown}");
    device.read_exact_at(&mut superblock, 0).map_err(|e| PortError::io(what(), &e))?;
    Ok(superblock.starts_with(b"XFSB") && superblock[126] == 1)
}

#[cfg(test)]
mod tests;
