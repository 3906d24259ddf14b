//! What is remembered of one filesystem: the last two hours by the minute, a day by ten minutes, two weeks by the hour.
//!
//! Times are the wall clock's, since days count and the history outlives reboots; that clock may be set. In one boot the
//! time since boot tells by how much, and the whole history is moved with it. From one boot to another a clock that went
//! back is taken to have been set, and whole days in which the machine was off, or seems to have been, are cut out: the hour
//! of the day stays what it was, and no growth is spread over time that nobody can know of.

use crate::forecast::Point;
use std::collections::VecDeque;

/// One reading of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The wall clock, in seconds since 1970.
    pub at: i64,
    /// Which boot it was: the first 32 bits of the kernel's `boot_id`.
    pub boot: u32,
    /// Seconds since then, suspended ones too (`CLOCK_BOOTTIME`).
    pub uptime: u64,
    /// Bytes in use (`f_blocks - f_bfree`, by `f_frsize`).
    pub bytes: u64,
    /// Inodes in use (`f_files - f_ffree`).
    pub inodes: u64,
}

/// How far apart samples are kept, in seconds, and how many of them.
pub const LEVELS: [(i64, usize); 3] = [(60, 120), (600, 150), (3600, 360)];
/// Clocks that are kept right move by less than this, in seconds.
const SET: i64 = 30;
const DAY: i64 = 86_400;

/// The samples of one filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub(crate) levels: [VecDeque<Kept>; 3],
}

/// A sample and its number in its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) sample: Sample,
}

/// What a new sample changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Changed {
    /// By how many seconds all earlier samples were moved.
    pub(crate) moved: i64,
    /// The levels that keep it, and its number there.
    pub(crate) kept: Vec<(usize, u64)>,
}

impl History {
    /// The newest sample.
    pub fn last(&self) -> Option<&Sample> {
        self.levels.iter().filter_map(|level| level.back()).map(|kept| &kept.sample).max_by_key(|sample| sample.at)
    }

    /// Remembers one. One that is not later than the last is none.
    pub(crate) fn add(&mut self, sample: Sample) -> Changed {
        let mut changed = Changed::default();
        if let Some(last) = self.last().copied() {
            changed.moved = moved(&last, &sample);
            if last.at.saturating_add(changed.moved) >= sample.at {
                return Changed::default();
            }
            self.shift(changed.moved);
        }
        for (index, ((period, most), level)) in LEVELS.iter().zip(&mut self.levels).enumerate() {
            let newest = level.back().copied();
            if newest.is_some_and(|kept| kept.sample.at.div_euclid(*period) == sample.at.div_euclid(*period)) {
                continue;
            }
            let number = newest.map_or(0, |kept| kept.number + 1);
            level.push_back(Kept { number, sample });
            if level.len() > *most {
                level.pop_front();
            }
            changed.kept.push((index, number));
        }
        changed
    }

    /// All of them, the oldest first, each once.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let mut all: Vec<_> = self.levels.iter().flatten().map(|kept| kept.sample).collect();
        all.sort_unstable_by_key(|sample| sample.at);
        all.dedup_by_key(|sample| sample.at);
        all
    }

    /// Moves all by so many seconds.
    fn shift(&mut self, seconds: i64) {
        for kept in self.levels.iter_mut().flatten() {
            kept.sample.at = kept.sample.at.saturating_add(seconds);
        }
    }

    /// Bytes in use over time, the newest at 0.
    pub fn bytes(&self) -> Vec<Point> {
        self.points(|sample| sample.bytes)
    }

    /// Inodes in use over time, the newest at 0.
    pub fn inodes(&self) -> Vec<Point> {
        self.points(|sample| sample.inodes)
    }

    /// Of each time the finest level that has it.
    fn points(&self, value: impl Fn(&Sample) -> u64) -> Vec<Point> {
        let Some(last) = self.last().copied() else { return Vec::new() };
        let point =
            |sample: &Sample| Point { at: sample.at.saturating_sub(last.at) as f64, used: value(sample) as f64 };
        let (mut before, mut newest_first) = (i64::MAX, Vec::new());
        for level in &self.levels {
            for kept in level.iter().rev().filter(|kept| kept.sample.at < before) {
                newest_first.push(point(&kept.sample));
            }
            before = before.min(level.front().map_or(before, |kept| kept.sample.at));
        }
        newest_first.reverse();
        newest_first
    }
}

/// By how many seconds what came before has to be moved for this sample.
fn moved(last: &Sample, now: &Sample) -> i64 {
    let seconds = |uptime: u64| i64::try_from(uptime).unwrap_or(i64::MAX);
    if last.boot == now.boot && last.uptime <= now.uptime {
        let real = seconds(now.uptime - last.uptime);
        let by = now.at.saturating_sub(last.at).saturating_sub(real);
        return if by.saturating_abs() > SET { by } else { 0 };
    }
    let gap = now.at.saturating_sub(last.at);
    let off = gap.saturating_sub(seconds(now.uptime));
    match gap {
        // As if it had been booted at once.
        ..=0 => off,
        _ if off >= DAY => off / DAY * DAY,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_760_000_000;

    fn sample(at: i64, boot: u32, uptime: u64, bytes: u64) -> Sample {
        Sample { at, boot, uptime, bytes, inodes: bytes / 10 }
    }

    fn filled(minutes: i64) -> History {
        let mut history = History::default();
        for minute in 0..minutes {
            history.add(sample(START + minute * 60, 1, 100 + minute as u64 * 60, minute as u64));
        }
        history
    }

    #[test]
    fn it_is_bounded_and_gets_coarser() {
        let history = filled(30 * 1440);
        let points = history.bytes();
        assert!(points.len() <= 630 && points.len() > 500, "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(points.iter().all(|p| (p.used - (30 * 1440 - 1) as f64 - p.at / 60.0).abs() < 1e-6));
        assert!((14.9..15.1).contains(&(-points[0].at / 86_400.0)));
        let gaps: Vec<f64> = points.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        assert_eq!((gaps[0], gaps[400], gaps[gaps.len() - 1]), (3600.0, 600.0, 60.0));
        assert_eq!(history.inodes().last().unwrap().used, 4319.0);
    }

    #[test]
    fn two_samples_in_a_minute_are_one() {
        let mut history = filled(1);
        assert_eq!(history.add(sample(START + 5, 1, 105, 9)).kept, []);
        assert_eq!(history.bytes().len(), 1);
    }

    /// In one boot: back or forth, by a year, everything moves along and nothing else changes.
    #[test]
    fn a_clock_that_is_set_takes_the_history_along() {
        for by in [-31_536_000, -3600, 45, 3600, 31_536_000] {
            let mut history = filled(200);
            let before = history.bytes();
            let changed = history.add(sample(START + 200 * 60 + by, 1, 100 + 200 * 60, 200));
            assert_eq!(changed.moved, by);
            let after = history.bytes();
            assert_eq!(after.last().unwrap().used, 200.0);
            let old: Vec<Point> = after.iter().take(after.len() - 1).map(|p| Point { at: p.at + 60.0, ..*p }).collect();
            // The oldest minute gave way to the new one.
            assert_eq!(old[old.len() - 100..], before[before.len() - 100..], "{by}");
        }
    }

    #[test]
    fn a_clock_that_is_kept_right_moves_nothing() {
        let mut history = filled(200);
        assert_eq!(history.add(sample(START + 200 * 60 + 20, 1, 100 + 200 * 60, 200)).moved, 0);
    }

    #[test]
    fn a_reboot_goes_on() {
        let mut history = filled(200);
        let changed = history.add(sample(START + 210 * 60, 2, 30, 200));
        assert_eq!(changed.moved, 0);
        assert_eq!(history.bytes().iter().rev().nth(1).unwrap().at, -660.0);
    }

    #[test]
    fn a_clock_that_went_back_over_a_reboot() {
        let mut history = filled(200);
        let changed = history.add(sample(START - 31_536_000, 2, 40, 200));
        assert_eq!(changed.moved, -31_536_000 - 199 * 60 - 40);
        assert_eq!(history.bytes().iter().rev().nth(1).unwrap().at, -40.0);
    }

    /// Off for a year, or a clock that was set by one: the same hour of the day, and no year in between.
    #[test]
    fn whole_days_off_are_cut_out() {
        let mut history = filled(200);
        let gap = 365 * DAY + 7200;
        let changed = history.add(sample(START + 199 * 60 + gap, 2, 60, 200));
        assert_eq!(changed.moved, 365 * DAY);
        assert_eq!(history.bytes().iter().rev().nth(1).unwrap().at, -7200.0);
    }

    #[test]
    fn what_is_not_later_is_not_taken() {
        let mut history = filled(2);
        let before = history.clone();
        assert_eq!(history.add(sample(START + 60, 1, 160, 7)), Changed::default());
        assert_eq!(history, before);
        // Nor do the widest numbers break anything.
        history.add(sample(i64::MAX, 9, u64::MAX, 1));
        history.add(sample(i64::MIN, 10, 0, 1));
        history.bytes();
    }
}
