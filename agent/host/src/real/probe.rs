//! What a device holds: its signatures, and whether it is proven blank.
//!
//! `blkid` saying "nothing" proves nothing: it says so for raw data, for a damaged primary superblock and for
//! read errors. So the bytes are read: small devices whole; of larger ones both ends, every place where the
//! filesystems and tables in use keep copies of their superblock, and samples spread over all of it. A look reads little
//! of that ([`GLANCE`]); before anything is written the whole of it is read ([`PROOF`]).

mod places;

use super::extent;
use super::tool::{Tool, parse};
use bowline_ports::{ErrorKind, PortError, Probe};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use places::Range;
pub(crate) use places::{Depth, GLANCE, PROOF, Remains};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

const TOOLS: Duration = Duration::from_secs(20);
const READS: Duration = Duration::from_secs(60);
/// A disk that reads slower than this, in bytes a second, is failing.
const SLOWEST: u64 = 10 << 20;
/// So many read at once.
const READERS: usize = 8;
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
    let blkid = Tool::Blkid.run(Some(handle()?), TOOLS).await?;
    let (mut signatures, ambivalent) = match blkid.status.code() {
        Some(0) => (parse::blkid(&String::from_utf8_lossy(&blkid.stdout)), false),
        // Nothing found; the same status with words is a device that it could not open.
        Some(2) if blkid.stderr.trim_ascii().is_empty() => (Vec::new(), false),
        Some(8) => (Vec::new(), true),
        _ => return Err(Tool::Blkid.failed(&blkid)),
    };
    let wipefs = Tool::Wipefs.run(Some(handle()?), TOOLS).await?;
    if !wipefs.status.success() {
        return Err(Tool::Wipefs.failed(&wipefs));
    }
    let more = parse::wipefs(&String::from_utf8_lossy(&wipefs.stdout))
        .map_err(|e| PortError::new(ErrorKind::Other, format!("what wipefs says of {shown} can not be read: {e}")))?;
    for signature in more {
        parse::add(&mut signatures, signature);
    }
    // mkfs.xfs clears a byte last: until then nobody can mount it, it holds nothing, and it counts as plain bytes.
    if signatures.iter().any(|s| s.name == "xfs") && xfs_unfinished(device) {
        signatures.retain(|s| s.name != "xfs");
    }
    let reader = handle()?;
    let mut phase = [0; 8];
    super::fill_random(&mut phase)?;
    let ranges = places::ranges(size, depth, u64::from_le_bytes(phase));
    let total: u64 = ranges.iter().map(|range| range.length).sum();
    let done = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&done);
    let deadline = READS + Duration::from_secs(total / SLOWEST);
    let reads =
        super::blocking::blocking(format!("reading {shown}"), deadline, move || Ok(read(&reader, &ranges, &counter)));
    tokio::pin!(reads);
    let bytes = loop {
        tokio::select! {
            bytes = &mut reads => break bytes?,
            () = tokio::time::sleep(REPORT) => progress(done.load(Relaxed), total),
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

/// `sb_inprogress` of an XFS superblock.
fn xfs_unfinished(device: &File) -> bool {
    let mut superblock = [0; 512];
    device.read_exact_at(&mut superblock, 0).is_ok() && superblock.starts_with(b"XFSB") && superblock[126] == 1
}

#[derive(Debug, Default)]
struct Bytes {
    data_at: Option<u64>,
    zeros: u64,
    /// Where, and how.
    error: Option<(u64, String)>,
    remains: Vec<Remains>,
}

/// Reads the ranges that are proof, several at once: a disk behind a network answers each after a millisecond, but many in that
/// time. Beyond the first byte of data only the places of superblock copies are read: they tell whose data it is.
fn read(device: &File, ranges: &[Range], done: &AtomicU64) -> Bytes {
    // Advice only: without it the samples would drag in their neighbourhood.
    let _ = posix_fadvise(device, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
    let common = Common { device, ranges, done, next: AtomicUsize::new(0), data_at: AtomicU64::new(u64::MAX) };
    let mut all: Vec<Bytes> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..READERS).map(|_| scope.spawn(|| common.read())).collect();
        let own = common.read();
        // One that could not come to its end has read nothing: that is no proof.
        let broken = || Bytes { error: Some((0, "a reader was cut off".into())), ..Bytes::default() };
        std::iter::once(own).chain(others.into_iter().map(|other| other.join().unwrap_or_else(|_| broken()))).collect()
    });
    let _ = posix_fadvise(device, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let mut found = Bytes::default();
    for bytes in &mut all {
        found.zeros += bytes.zeros;
        found.data_at = [found.data_at, bytes.data_at].into_iter().flatten().min();
        found.error = [found.error.take(), bytes.error.take()].into_iter().flatten().min();
        found.remains.append(&mut bytes.remains);
    }
    found.remains.sort_by_key(|one| one.offset);
    // How far the others had come when one of them found data is nothing that two probes would have in common.
    if found.data_at.is_some() {
        found.zeros = 0;
    }
    found
}

/// What the readers have in common: each takes the next range, so that they go through the device together.
struct Common<'a> {
    device: &'a File,
    ranges: &'a [Range],
    done: &'a AtomicU64,
    next: AtomicUsize,
    /// The lowest byte of data that any of them has found.
    data_at: AtomicU64,
}

impl Common<'_> {
    fn read(&self) -> Bytes {
        let mut found = Bytes::default();
        let mut buffer = vec![0; places::LONGEST];
        while let Some(range) = self.ranges.get(self.next.fetch_add(1, Relaxed)) {
            self.done.fetch_add(range.length, Relaxed);
            if self.data_at.load(Relaxed) < range.offset && range.copy_of.is_none() {
                continue;
            }
            if let Err(error) = look(self.device, range, &mut buffer, &mut found) {
                let text = format!("reading {} bytes at {}: {error}", range.length, range.offset);
                found.error = found.error.take().or(Some((range.offset, text)));
                // Nothing is proven any more; what lies before it is being read already.
                self.next.store(self.ranges.len(), Relaxed);
            }
            self.data_at.fetch_min(found.data_at.unwrap_or(u64::MAX), Relaxed);
        }
        found
    }
}

fn look(device: &File, range: &Range, buffer: &mut [u8], found: &mut Bytes) -> std::io::Result<()> {
    let mut offset = range.offset;
    let end = range.offset + range.length;
    while offset < end {
        let most = buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        let chunk = &mut buffer[..most];
        device.read_exact_at(chunk, offset)?;
        match first_byte(chunk) {
            None => found.zeros += chunk.len() as u64,
            Some(at) => {
                let at = offset + at as u64;
                found.data_at = Some(found.data_at.map_or(at, |first| first.min(at)));
                found.remains.extend(range.copy_of.and_then(|kind| kind.recognise(chunk, offset)));
                if range.copy_of.is_none() {
                    return Ok(());
                }
            }
        }
        offset += most as u64;
    }
    Ok(())
}

/// The index of the first byte that is not zero.
fn first_byte(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = 0;
    for chunk in bytes.chunks(ZEROS.len()) {
        // A comparison of slices is a `memcmp`: fast in every build.
        if chunk != &ZEROS[..chunk.len()] {
            return chunk.iter().position(|b| *b != 0).map(|index| at + index);
        }
        at += chunk.len();
    }
    None
}

#[cfg(test)]
mod tests;
