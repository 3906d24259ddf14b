//! Reading the places of a device that prove it blank.

use super::places::{self, Range, Remains};
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// So many read at once.
const READERS: usize = 8;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    /// The first byte that is not zero.
    pub(super) data_at: Option<u64>,
    /// So many bytes were; 0 where data was found.
    pub(super) zeros: u64,
    /// Where, and how.
    pub(super) error: Option<(u64, String)>,
    /// Copies of superblocks.
    pub(super) remains: Vec<Remains>,
}

/// Reads the ranges that are proof, several at once: a disk behind a network answers each after a millisecond, but many in that
/// time. Beyond the first byte of data only the places of superblock copies are read: they tell whose data it is.
///
/// `past_cache`: from the disk itself, not what the kernel has kept of it; which is faster, too, where much is read.
pub(super) fn read(device: &File, ranges: &[Range], past_cache: bool, done: &AtomicU64) -> Bytes {
    // Advice only: without it the samples would drag in their neighbourhood.
    let _ = posix_fadvise(device, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
    // The kernel takes whole pages only past its cache: what begins or ends elsewhere is read by it, before.
    let (direct, cached): (Vec<Range>, Vec<Range>) = ranges.iter().partition(|range| past_cache && range.in_pages());
    let mut all = together(Source { device, past_cache: None }, &cached, u64::MAX, done);
    let broken = all.iter().any(|bytes| bytes.error.is_some());
    let data_at = all.iter().filter_map(|bytes| bytes.data_at).min().unwrap_or(u64::MAX);
    if !direct.is_empty() && !broken {
        match past_cache_of(device) {
            Ok(opened) => {
                all.extend(together(Source { device, past_cache: opened.as_ref() }, &direct, data_at, done));
            }
            Err(error) => {
                let text = format!("opening it past the cache: {error}");
                all.push(Bytes { error: Some((0, text)), ..Bytes::default() });
            }
        }
    }
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

/// What each of several readers found. Those of earlier ranges found data there already.
fn together(source: Source<'_>, ranges: &[Range], data_at: u64, done: &AtomicU64) -> Vec<Bytes> {
    if ranges.is_empty() {
        return Vec::new();
    }
    let common = Common { source, ranges, done, next: AtomicUsize::new(0), data_at: AtomicU64::new(data_at) };
    std::thread::scope(|scope| {
        // As many as can be made: each goes on until all is read.
        let reader = |_| std::thread::Builder::new().spawn_scoped(scope, || common.read()).ok();
        let others: Vec<_> = (1..READERS.min(ranges.len())).map_while(reader).collect();
        let own = common.read();
        // One that could not come to its end has read nothing: that is no proof.
        let broken = || Bytes { error: Some((0, "a reader was cut off".into())), ..Bytes::default() };
        std::iter::once(own).chain(others.into_iter().map(|other| other.join().unwrap_or_else(|_| broken()))).collect()
    })
}

/// The open device once more, to be read past the kernel's cache; nothing where it has no such way.
///
/// An opening of its own: whether the cache is passed belongs to what was opened, and others (`blkid`, with what it was
/// handed) read that at the same time, and not in whole pages.
fn past_cache_of(device: &File) -> std::io::Result<Option<File>> {
    let path = format!("/proc/self/fd/{}", device.as_raw_fd());
    match File::options().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(None),
        other => other.map(Some),
    }
}

/// A device, and the same one to be read past the cache.
#[derive(Clone, Copy)]
struct Source<'a> {
    device: &'a File,
    past_cache: Option<&'a File>,
}

impl Source<'_> {
    /// Reads all of the chunk. A device that does not like to be read past the cache is read through it.
    fn fill(&self, chunk: &mut [u8], offset: u64) -> std::io::Result<()> {
        match self.past_cache.unwrap_or(self.device).read_exact_at(chunk, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => self.device.read_exact_at(chunk, offset),
            other => other,
        }
    }
}

/// What the readers have in common: each takes the next range, so that they go through the device together.
struct Common<'a> {
    source: Source<'a>,
    ranges: &'a [Range],
    done: &'a AtomicU64,
    next: AtomicUsize,
    /// The lowest byte of data that any of them has found.
    data_at: AtomicU64,
}

impl Common<'_> {
    fn read(&self) -> Bytes {
        let mut found = Bytes::default();
        // Past the cache the kernel writes to whole pages, too.
        let mut memory = vec![0; places::LONGEST + places::PAGE];
        let skip = memory.as_ptr().align_offset(places::PAGE).min(places::PAGE);
        let buffer = &mut memory[skip..skip + places::LONGEST];
        while let Some(range) = self.ranges.get(self.next.fetch_add(1, Relaxed)) {
            self.done.fetch_add(range.length, Relaxed);
            if self.data_at.load(Relaxed) < range.offset && range.copy_of.is_none() {
                continue;
            }
            if let Err(error) = look(self.source, range, buffer, &mut found) {
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

fn look(source: Source<'_>, range: &Range, buffer: &mut [u8], found: &mut Bytes) -> std::io::Result<()> {
    let mut offset = range.offset;
    let end = range.offset + range.length;
    while offset < end {
        let most = buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        let chunk = &mut buffer[..most];
        source.fill(chunk, offset)?;
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
