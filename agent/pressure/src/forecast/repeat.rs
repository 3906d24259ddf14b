//! A disk that has its ups and downs: what came before, where it looked like now, comes again (Lorenz's analogues, 1969).
//!
//! The moments of the past before which things went most as they did lately are those in the same phase: of a day, of a
//! rotation, of a collection, whatever its period is and though it wavers. What followed each of them until now is played
//! on from now, over and over, and how much there is more at its end than at its beginning is the growth. Peaks are in it:
//! the disk is full when the first one does not fit.

use super::Point;
use super::robust::median;

/// So many points, evenly spaced, are what the past is compared on.
const GRID: usize = 288;
/// So many moments of the past are asked.
const ASKED: usize = 7;

/// The long run grows at most by so many times what the peaks of its second half stand above those of its first.
const PEAKS: f64 = 1.5;

/// Peaks that rose by less than this part of all ups and downs did not rise: where they are cut off is chance.
const RISEN: f64 = 0.02;

/// What followed a moment of the past until now: growth since it, evenly spaced; the last one is now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    step: f64,
    growth: Vec<f64>,
    /// By how much there is more at its end than at its beginning, as far as the peaks grew as well.
    each: f64,
}

impl Path {
    /// Growth in the long run, by the second.
    pub(super) fn rate(&self) -> f64 {
        self.each / (self.step * (self.growth.len() - 1) as f64)
    }

    /// Seconds until this much more is used. `None`: never.
    pub(super) fn until(&self, room: f64) -> Option<f64> {
        let most = self.growth.iter().copied().fold(0.0, f64::max);
        let (each, length) = (self.each, self.growth.len() - 1);
        let mut rounds = 0.0;
        if room > most {
            if each <= 0.0 {
                return None;
            }
            rounds = ((room - most) / each).ceil();
        }
        let room = room - rounds * each;
        let over = self.growth.iter().position(|growth| *growth >= room)?;
        let part = match over.checked_sub(1) {
            Some(before) => (room - self.growth[before]) / (self.growth[over] - self.growth[before]) - 1.0,
            None => 0.0,
        };
        Some(self.step * (rounds * length as f64 + over as f64 + part))
    }
}

/// The paths from the moments that were most like now.
pub(super) fn paths(points: &[Point]) -> Vec<Path> {
    let last = points[points.len() - 1];
    let step = (last.at - points[0].at) / (GRID - 1) as f64;
    let grid = evenly(points, step);
    let now = grid.len() - 1;
    let (shape, nearest) = (GRID / 8, GRID / 5);
    let (half, most) = (GRID / 2, |part: &[f64]| part.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    let range = most(&grid) - grid.iter().copied().fold(f64::INFINITY, f64::min);
    let risen = most(&grid[half..]) - most(&grid[..half]);
    let peaks = if risen > RISEN * range { risen / half as f64 } else { 0.0 };
    // How much less like now than its neighbours' a moment may be is a matter of the shapes: a mean distance.
    let unlike = |then: usize| {
        let off = |back: usize| (grid[now] - grid[now - back] - grid[then] + grid[then - back]).abs();
        (1..=shape).map(off).sum::<f64>()
    };
    let mut moments: Vec<(f64, usize)> = (shape..=now - nearest).map(|then| (unlike(then), then)).collect();
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut chosen: Vec<usize> = Vec::new();
    for (_, then) in moments {
        if chosen.len() < ASKED && chosen.iter().all(|other| other.abs_diff(then) > 1) {
            chosen.push(then);
        }
    }
    let path = |then: usize| {
        let growth: Vec<f64> = grid[then..].iter().map(|used| used - grid[then]).collect();
        let each = growth[now - then].min(PEAKS * peaks * (now - then) as f64);
        Path { step, growth, each }
    };
    chosen.into_iter().map(path).collect()
}

/// The median rate of the paths.
pub(super) fn rate(paths: &[Path]) -> f64 {
    median(paths.iter().map(Path::rate).collect())
}

/// Values between the points, at even distances that end at the last one.
fn evenly(points: &[Point], step: f64) -> Vec<f64> {
    let end = points[points.len() - 1].at;
    let mut right = 1;
    (0..GRID)
        .map(|index| {
            let at = end - (GRID - 1 - index) as f64 * step;
            while right + 1 < points.len() && points[right].at < at {
                right += 1;
            }
            let (a, b) = (points[right - 1], points[right]);
            let part = ((at - a.at) / (b.at - a.at)).clamp(0.0, 1.0);
            a.used + part * (b.used - a.used)
        })
        .collect()
}
