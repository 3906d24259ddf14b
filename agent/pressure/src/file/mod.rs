//! The sample file, as bytes: made once in its full length, so that a full disk cannot keep it from being written, then
//! changed in place. Whoever holds the file does the writes that it is told, in their order, and reads it back at the start.
//!
//! ```text
//! 0         twice the head: magic, version, checksum; 2048 bytes apart
//! 4096      64 regions of 40,960 bytes, one for a filesystem:
//!   0       twice, 320 bytes each: key, clock moves, checksum
//!   640     630 slots of 64 bytes: 120 by the minute, 150 by ten minutes, 360 by the hour
//! ```
//!
//! Numbers are little-endian. A slot has its number in its level, and lies at that number modulo the level's slots; none
//! crosses a sector of 512 bytes. Each has a checksum over itself and its region's key: a torn or rotten slot is left out and
//! counted, and so are those of a filesystem that had the region before. What is not torn has no part in it: a power cut
//! loses at most the sample that was being written.
//!
//! Where the clock was set ([`crate::history`]) no slot is rewritten: the region's head says by how much those before are
//! moved, and each slot says before which move it was written. A head knows the last eight moves: at every fourth all slots are
//! written anew, so that a machine that is paused every night forgets nothing, nor one whose power is cut meanwhile.

mod bytes;
mod slot;

use crate::history::{History, LEVELS, Sample};
use slot::{COPY, Head, MOVES, REGION, SLOT, head_at, level_begins, slot_at};
use std::fmt;

/// So many filesystems have room; of more, that which was not sampled for longest gives way, and where all are sampled nothing
/// is remembered of the others: else those of each minute would drive out those of the same minute.
pub const MOST: usize = 64;
/// A filesystem gives way that was not sampled for so many seconds: it is not mounted, or does not answer.
const GONE: i64 = 600;
/// Bytes of the file, always.
pub const LENGTH: usize = BEGIN + MOST * REGION;
const BEGIN: usize = 4096;
const MAGIC: &[u8; 8] = b"bowlfill";
const VERSION: u32 = 1;
/// Where the heads are: magic, version, checksum.
const HEADS: [usize; 2] = [0, 2048];

/// Bytes to be written at this place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// From here on.
    pub offset: u64,
    /// These.
    pub bytes: Vec<u8>,
}

/// Why a file is none of samples. It can be made anew: it holds nothing but samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It has another length than [`LENGTH`]; here its own.
    Length(usize),
    /// Neither head is one.
    Head,
    /// It was written by another version of the format; here its own.
    Version(u32),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "it has {length} bytes in the place of {LENGTH}"),
            Self::Head => f.write_str("it does not begin as a file of samples does"),
            Self::Version(version) => {
                write!(f, "it is of version {version} of the format, and this program's is {VERSION}")
            }
        }
    }
}

/// What could not be read of a file that could be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Samples that were torn, or changed since they were written.
    pub slots: usize,
    /// Filesystems both of whose heads were.
    pub regions: usize,
}

/// All that is remembered, and where in the file.
#[derive(Debug, Clone, Default)]
pub struct Store {
    regions: Vec<Option<Region>>,
}

#[derive(Debug, Clone)]
struct Region {
    head: Head,
    history: History,
}

/// The bytes of a file without samples.
pub fn fresh() -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    for at in HEADS {
        let mut head = bytes::Writer::default();
        head.raw(MAGIC).u32(VERSION);
        let head = head.sealed(0);
        bytes[at..at + head.len()].copy_from_slice(&head);
    }
    bytes
}

impl Store {
    /// Reads a file.
    pub fn read(file: &[u8]) -> Result<(Self, Damage), Unreadable> {
        if file.len() != LENGTH {
            return Err(Unreadable::Length(file.len()));
        }
        let heads = HEADS.iter().filter_map(|at| {
            let mut head = bytes::Reader::sealed(&file[*at..*at + 16], 0)?;
            (head.raw(8)? == MAGIC).then(|| head.u32())?
        });
        match heads.max() {
            None => return Err(Unreadable::Head),
            Some(VERSION) => {}
            Some(other) => return Err(Unreadable::Version(other)),
        }
        let mut damage = Damage::default();
        let regions = file[BEGIN..].chunks_exact(REGION).map(|bytes| region(bytes, &mut damage)).collect();
        Ok((Self { regions }, damage))
    }

    /// A filesystem's history.
    pub fn history(&self, key: &str) -> Option<&History> {
        let key = slot::shortened(key);
        self.regions.iter().flatten().find(|region| region.head.key == key).map(|region| &region.history)
    }

    /// Whose histories there are, by their keys (long ones shortened).
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.regions.iter().flatten().map(|region| region.head.key.as_str())
    }

    /// Remembers a sample of the filesystem with this key (its UUID, or else its device and mount point), and says what is
    /// to be written for it: nothing where there is no room for one more.
    pub fn add(&mut self, key: &str, sample: Sample) -> Vec<Patch> {
        let key = slot::shortened(key);
        let mut patches = Vec::new();
        let Some(place) = self.place(&key, sample.at) else { return patches };
        let base = BEGIN + place * REGION;
        let region = self.regions[place].get_or_insert_with(|| {
            let region = Region { head: Head::new(key), history: History::default() };
            // What another filesystem left there goes.
            let mut bytes = vec![0; REGION];
            for copy in [0, 1] {
                bytes[head_at(copy)..head_at(copy) + COPY].copy_from_slice(&region.head.write());
            }
            patches.push(Patch { offset: base as u64, bytes });
            region
        });
        let changed = region.history.add(sample);
        if changed.moved != 0 {
            region.head.moved(changed.moved);
            patches.extend(heads(base, &region.head));
            if region.head.moves.is_multiple_of(MOVES as u32 / 2) {
                patches.extend(slots(base, region));
                return patches;
            }
        }
        for (level, number) in changed.kept {
            let bytes = slot::write(&region.head, number, &sample);
            patches.push(Patch { offset: (base + slot_at(level, number)) as u64, bytes });
        }
        patches
    }

    /// The same with those of one look. Filesystems that are remembered go first: after a pause each of them would seem gone to
    /// one that is not.
    pub fn add_all<'a>(&mut self, samples: impl IntoIterator<Item = (&'a str, Sample)>) -> Vec<Patch> {
        let samples = samples.into_iter();
        let (known, new): (Vec<_>, Vec<_>) = samples.partition(|(key, _)| self.history(key).is_some());
        known.into_iter().chain(new).flat_map(|(key, sample)| self.add(key, sample)).collect()
    }

    /// Remembers what another store has of a later time, and says what is to be written for it.
    pub fn follow(&mut self, later: &Store) -> Vec<Patch> {
        let mut patches = Vec::new();
        let regions = later.regions.iter().flatten();
        let (known, new): (Vec<_>, Vec<_>) = regions.partition(|region| self.history(&region.head.key).is_some());
        for region in known.into_iter().chain(new) {
            for sample in region.history.samples() {
                patches.extend(self.add(&region.head.key, sample));
            }
        }
        patches
    }

    /// All that is remembered, as what is to be written into a fresh file.
    pub fn patches(&self) -> Vec<Patch> {
        let mut patches = Vec::new();
        for (place, region) in self.regions.iter().enumerate() {
            let Some(region) = region else { continue };
            let base = BEGIN + place * REGION;
            patches.extend(heads(base, &region.head));
            patches.extend(slots(base, region));
        }
        patches
    }

    /// Where the key is, or is to be; `None` where there is no room.
    fn place(&mut self, key: &str, now: i64) -> Option<usize> {
        self.regions.resize_with(MOST, || None);
        let is = |region: &Option<Region>| region.as_ref().is_some_and(|region| region.head.key == key);
        let last = |region: &Option<Region>| region.as_ref()?.history.last().map(|sample| sample.at);
        if let Some(place) = self.regions.iter().position(is) {
            return Some(place);
        }
        let oldest = (0..MOST).min_by_key(|place| (self.regions[*place].is_some(), last(&self.regions[*place])))?;
        if last(&self.regions[oldest]).is_some_and(|at| now.saturating_sub(at) < GONE) {
            return None;
        }
        self.regions[oldest] = None;
        Some(oldest)
    }
}

fn heads(base: usize, head: &Head) -> [Patch; 2] {
    [0, 1].map(|copy| Patch { offset: (base + head_at(copy)) as u64, bytes: head.write() })
}

/// All slots of a region.
fn slots(base: usize, region: &Region) -> impl Iterator<Item = Patch> {
    region.history.levels.iter().enumerate().flat_map(move |(level, all)| {
        all.iter().map(move |kept| Patch {
            offset: (base + slot_at(level, kept.number)) as u64,
            bytes: slot::write(&region.head, kept.number, &kept.sample),
        })
    })
}

fn region(bytes: &[u8], damage: &mut Damage) -> Option<Region> {
    let copies = [0, 1].map(|copy| &bytes[head_at(copy)..head_at(copy) + COPY]);
    if copies.iter().all(|copy| copy.iter().all(|byte| *byte == 0)) {
        return None;
    }
    let Some(head) = copies.iter().filter_map(|copy| Head::read(copy)).max_by_key(|head| head.moves) else {
        damage.regions += 1;
        return None;
    };
    let mut history = History::default();
    for (level, (_, most)) in LEVELS.iter().enumerate() {
        let begin = level_begins(level);
        let slots = bytes[begin..begin + most * SLOT].chunks_exact(SLOT);
        let mut kept: Vec<_> = slots
            .filter_map(|slot| match slot::read(&head, slot) {
                slot::Read::Kept(kept) => Some(kept),
                slot::Read::Nothing => None,
                slot::Read::Damaged => {
                    damage.slots += 1;
                    None
                }
            })
            .collect();
        kept.sort_unstable_by_key(|kept| kept.number);
        // Times that do not go up with the numbers are those of no history.
        let mut before = i64::MIN;
        kept.retain(|kept| {
            let later = kept.sample.at > before;
            before = before.max(kept.sample.at);
            damage.slots += usize::from(!later);
            later
        });
        history.levels[level] = kept.into();
    }
    Some(Region { head, history })
}

#[cfg(test)]
mod tests;
