//! The parts of a region: its head and its slots.

use super::bytes::{Reader, Writer, crc32};
use crate::history::{Kept, LEVELS, Sample};

/// Bytes of a region, of one copy of its head, and of a slot.
pub(super) const REGION: usize = 40_960;
pub(super) const COPY: usize = 320;
pub(super) const SLOT: usize = 64;
/// So many moves of the clock are known; what was written before is left out.
pub(super) const MOVES: usize = 8;
/// A key has at most so many bytes.
const KEY: usize = 208;

/// Where a copy of the head is in its region.
pub(super) const fn head_at(copy: usize) -> usize {
    copy * COPY
}

/// Where a level begins in its region.
pub(super) fn level_begins(level: usize) -> usize {
    2 * COPY + LEVELS[..level].iter().map(|(_, slots)| slots * SLOT).sum::<usize>()
}

/// Where a sample of that number is in its region.
pub(super) fn slot_at(level: usize, number: u64) -> usize {
    level_begins(level) + (number % LEVELS[level].1 as u64) as usize * SLOT
}

/// A key that fits: a long one keeps its beginning, and gets the checksum of the whole.
pub(super) fn shortened(key: &str) -> String {
    if key.len() <= KEY {
        return key.to_string();
    }
    let most = (0..=KEY - 9).rev().find(|at| key.is_char_boundary(*at)).unwrap_or_default();
    format!("{}~{:08x}", &key[..most], crc32(0, key.as_bytes()))
}

/// Whose samples a region has, and how the clock moved meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key: String,
    /// How often the clock was moved.
    pub(super) moves: u32,
    /// By how many seconds; the last one is the newest.
    by: [i64; MOVES],
}

impl Head {
    pub(super) fn new(key: String) -> Self {
        Self { key, moves: 0, by: [0; MOVES] }
    }

    /// The clock was moved once more.
    pub(super) fn moved(&mut self, by: i64) {
        self.moves += 1;
        self.by.rotate_left(1);
        self.by[MOVES - 1] = by;
    }

    /// By how many seconds a sample is moved that was written after so many moves. `None`: nobody knows any more.
    fn since(&self, moves: u32) -> Option<i64> {
        let since = self.moves.checked_sub(moves)? as usize;
        let from = MOVES.checked_sub(since)?;
        Some(self.by[from..].iter().fold(0, |sum: i64, by| sum.saturating_add(*by)))
    }

    /// What a slot's checksum begins with, so that another filesystem's slots are none of this one.
    fn tag(&self) -> u32 {
        crc32(0, self.key.as_bytes())
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Writer::default();
        bytes.u32(self.moves);
        for by in self.by {
            bytes.i64(by);
        }
        bytes.u32(self.key.len() as u32).raw(self.key.as_bytes()).filled(COPY - 4);
        bytes.sealed(0)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Reader::sealed(bytes, 0)?;
        let moves = bytes.u32()?;
        let mut by = [0; MOVES];
        for by in &mut by {
            *by = bytes.i64()?;
        }
        let length = bytes.u32()? as usize;
        let key = std::str::from_utf8(bytes.raw(length)?).ok()?;
        Some(Self { key: key.to_string(), moves, by })
    }
}

pub(super) fn write(head: &Head, number: u64, sample: &Sample) -> Vec<u8> {
    let mut bytes = Writer::default();
    bytes.u64(number).i64(sample.at).u32(head.moves).u32(sample.boot).u64(sample.uptime);
    bytes.u64(sample.bytes).u64(sample.inodes).filled(SLOT - 4);
    bytes.sealed(head.tag())
}

/// What a slot has.
pub(super) enum Read {
    Kept(Kept),
    /// Nothing was written there, or what was there counts no more.
    Nothing,
    Damaged,
}

pub(super) fn read(head: &Head, bytes: &[u8]) -> Read {
    if bytes.iter().all(|byte| *byte == 0) {
        return Read::Nothing;
    }
    let Some(mut slot) = Reader::sealed(bytes, head.tag()) else { return Read::Damaged };
    let mut kept = || {
        let (number, at, moves) = (slot.u64()?, slot.i64()?, slot.u32()?);
        let (boot, uptime, bytes, inodes) = (slot.u32()?, slot.u64()?, slot.u64()?, slot.u64()?);
        let sample = Sample { at, boot, uptime, bytes, inodes };
        Some((moves, Kept { number, sample }))
    };
    match kept() {
        Some((moves, mut kept)) => match head.since(moves) {
            Some(by) => {
                kept.sample.at = kept.sample.at.saturating_add(by);
                Read::Kept(kept)
            }
            None => Read::Nothing,
        },
        None => Read::Damaged,
    }
}
