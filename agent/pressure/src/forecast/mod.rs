//! When a filesystem is full: what its history says about its future.
//!
//! 1. **What happened once** is taken out (`once`): stretches in which far more came than usual, unless they recur. "Usual"
//!    and "far" are the median rate and the median distance from it, which half of all samples could not shift (Hampel's
//!    identifier). So a big download is no growth, and bursts are.
//! 2. **How it goes on now** is the longest stretch up to now that is one line (`segment`): adaptive windows, as in
//!    change-point detection by CUSUM (Page 1954) and ADWIN (Bifet and Gavaldà 2007), with the wander of a sum of random
//!    steps as the measure of what is still one line (Kolmogorov's bridge). Two weeks of steady growth are one stretch of two
//!    weeks, and a rate that changed an hour ago is seen at once.
//! 3. **If it went on so before**, as long and as steeply, it is a part of how this disk lives: of its day, of a rotation, of a
//!    collection. Then the past is asked what comes next (`repeat`): the moments most like now (analogues: Lorenz 1969;
//!    nearest neighbours in forecasting: Yakowitz 1987) are found by the shape of what led to them, so that no period has to
//!    be known; what followed them is played on from now, and the answer is the median of their answers. In the long run it
//!    grows as from one moment to the one like it, and not faster than the peaks do. What goes on now goes first where it
//!    would fill the disk sooner and has lasted for so long before.
//! 4. **If it never did**, or always does, the line is followed: the median of all slopes between two of its points (Theil
//!    1950, Sen 1968), from the level of the last half hour. Something new that is younger than twenty minutes is taken for
//!    something that happens once, so that the images of a first boot are no alarm.
//!
//! **Confidence** goes from 0 to 1: how far the answers agree (the lower quartile by the upper one; for a line the slopes of its
//! halves), times the root of how long it was seen by how far is foreseen. Where nothing will be full it only tells how long
//! was looked: a half after a day.
//!
//! What it is worth is judged by `tests/forecast`; BENCHMARKS.md has the table.

mod once;
mod repeat;
mod robust;
mod segment;

use repeat::Path;
use robust::{median, slope};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
/// Seconds of history without which nothing is said. The program takes those of its settings, whose default this is.
pub const MIN_HISTORY: f64 = 30.0 * MINUTE;
/// What is further away than this many seconds is never: no disk goes on like this for a year.
pub const NEVER: f64 = 365.0 * DAY;
/// Fewer points say nothing.
const FEWEST: usize = 12;
/// Growth within this many deviations of the readings' noise is none.
const NOISE: f64 = 3.0;
/// How much one may trust that what goes on now is not cut short by what usually cuts it short.
const GOES_ON: f64 = 0.5;

/// How much was used, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds; later is more.
    pub at: f64,
    /// Bytes or inodes in use.
    pub used: f64,
}

/// When a limit is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Seconds from the last point on; 0 where it is reached, infinite where it never is (or after [`NEVER`]).
    pub seconds: f64,
    /// From 0 to 1.
    pub confidence: f64,
}

/// How a filesystem fills, as far as its history tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    rate: f64,
    /// Seconds of history that it rests on.
    window: f64,
    /// How it goes on now.
    line: Line,
    /// Empty where the line is all there is.
    paths: Vec<Path>,
}

/// A line from the last point on.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    rate: f64,
    /// How far the last point is above the line.
    above: f64,
    /// How far the slopes of its halves agree, from 0 to 1.
    agreement: f64,
    /// For how many seconds more something as steep went on before.
    lasts: f64,
}

impl Outlook {
    /// From points in the order of their times, no two at once; the last one is now. `None`: they are too few, or do not reach
    /// back for `min_history` seconds.
    pub fn of(points: &[Point], min_history: f64) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let ordered = points.windows(2).all(|pair| pair[0].at < pair[1].at);
        if points.len() < FEWEST || last.at - first.at < min_history || !ordered {
            return None;
        }
        let noise = segment::noise(points);
        let calm = once::without(points);
        let mut calm = &calm[..];
        let mut from = segment::begins(calm, noise);
        if from > 0 && !precedented(calm, from, noise) && last.at - calm[from].at < once::SUSTAINED {
            // Too new to be told from what happens once: what came before counts.
            calm = &calm[..=from];
            if calm.len() < FEWEST {
                return None;
            }
            from = segment::begins(calm, noise);
        }
        let line = Line::of(&calm[from..], noise);
        if from > 0 && precedented(calm, from, noise) {
            return Some(Self::repeating(calm, from, line));
        }
        Some(Self { rate: line.rate, window: span(&calm[from..]), line, paths: vec![] })
    }

    fn repeating(points: &[Point], from: usize, mut line: Line) -> Self {
        line.lasts = lasted(&points[..=from], line.rate) - span(&points[from..]);
        let paths = repeat::paths(points);
        Self { rate: repeat::rate(&paths), window: span(points), line, paths }
    }

    /// Growth in the long run, in bytes or inodes by the second; negative where it shrinks.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// When `room` bytes or inodes more are used than at the last point.
    pub fn until(&self, room: f64) -> Forecast {
        if room <= 0.0 {
            return Forecast { seconds: 0.0, confidence: 1.0 };
        }
        let now = self.line.until(room);
        let (seconds, agreement) =
            if self.paths.is_empty() { (now, self.line.agreement) } else { self.played(room, now) };
        if seconds > NEVER {
            return Forecast { seconds: f64::INFINITY, confidence: self.window / (self.window + DAY) };
        }
        let reach = if seconds > self.window { (self.window / seconds).sqrt() } else { 1.0 };
        Forecast { seconds, confidence: agreement * reach }
    }

    /// By what followed moments like now, or by what goes on now.
    fn played(&self, room: f64, now: f64) -> (f64, f64) {
        let mut all: Vec<f64> = self.paths.iter().map(|path| path.until(room).unwrap_or(f64::INFINITY)).collect();
        all.sort_by(f64::total_cmp);
        let (quarter, middle) = (all.len() / 4, all[all.len() / 2]);
        if now < middle && now <= self.line.lasts {
            return (now, GOES_ON);
        }
        let (low, high) = (all[quarter], all[all.len() - 1 - quarter]);
        (middle, if high.is_finite() && high > 0.0 { low / high } else { 0.0 })
    }
}

impl Line {
    fn of(points: &[Point], noise: f64) -> Self {
        let mut rate = slope(points);
        if rate.abs() * span(points) < NOISE * noise {
            rate = 0.0;
        }
        let (earlier, later) = points.split_at(points.len() / 2);
        let (a, b) = (slope(earlier), slope(later));
        let agreement = if a > 0.0 && b > 0.0 { a.min(b) / a.max(b) } else { 0.0 };
        let last = points[points.len() - 1];
        let near = points.iter().rev().take_while(|point| last.at - point.at <= 30.0 * MINUTE);
        let level = median(near.map(|point| point.used + rate * (last.at - point.at)).collect());
        Self { rate, above: last.used - level, agreement, lasts: f64::INFINITY }
    }

    fn until(&self, room: f64) -> f64 {
        if self.rate > 0.0 { ((room + self.above) / self.rate).max(0.0) } else { f64::INFINITY }
    }
}

/// Seconds from the first point to the last.
fn span(points: &[Point]) -> f64 {
    points[points.len() - 1].at - points[0].at
}

/// Whether there was a stretch before the one that begins here that was four fifths as long, and as steep: if it is steeper
/// than all before on average, at least so; else at most.
fn precedented(points: &[Point], from: usize, noise: f64) -> bool {
    let (first, begin, last) = (points[0], points[from], points[points.len() - 1]);
    let length = 0.8 * (last.at - begin.at);
    let wanted = (last.used - begin.used) / (last.at - begin.at) * length;
    let before = (begin.used - first.used) / (begin.at - first.at) * length;
    let mut right = 0;
    (0..from).any(|left| {
        while right < from && points[right].at - points[left].at < length {
            right += 1;
        }
        let time = points[right].at - points[left].at;
        let came = (points[right].used - points[left].used) * length / time;
        let like =
            if wanted > before { came >= 0.8 * wanted - noise } else { came <= wanted + 0.2 * wanted.abs() + noise };
        time >= length && like
    })
}

/// Seconds of the longest stretch that was as steep.
fn lasted(points: &[Point], rate: f64) -> f64 {
    // Above a line nearly as steep: the widest pair of which the later one is not lower than the earlier.
    let height: Vec<f64> = points.iter().map(|point| point.used - 0.95 * rate * point.at).collect();
    // Only what is lower than all before it can begin the widest.
    let mut begins: Vec<usize> = Vec::new();
    for (index, this) in height.iter().enumerate() {
        if begins.last().is_none_or(|last| *this < height[*last]) {
            begins.push(index);
        }
    }
    let mut longest = 0.0f64;
    for (end, this) in height.iter().enumerate().rev() {
        while let Some(begin) = begins.pop_if(|begin| height[*begin] <= *this) {
            longest = longest.max(points[end].at - points[begin].at);
        }
    }
    longest
}

#[cfg(test)]
mod tests;
