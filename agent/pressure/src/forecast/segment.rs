//! Since when it goes on as it does now: the longest stretch up to now that is one line, as far as its noise tells.
//!
//! How far a stretch may leave the straight way between its ends is known from its single steps: a sum of random steps
//! wanders by their deviation times the root of their number, and Kolmogorov's distribution of the largest distance of such
//! a bridge says how far is too far (1.36 at one in twenty).

use super::Point;
use super::robust::{median, spread};

/// More than this many deviations off the straight way is another rate.
const TOO_FAR: f64 = 1.36;
/// How much noise of single readings is allowed on top, in deviations.
const READINGS: f64 = 6.0;
/// What is lost by computing, of the number itself.
const ROUNDED: f64 = 1e-9;
/// The shortest stretch that is looked at, in steps.
const FEWEST: usize = 8;

/// Where the last line begins.
pub(super) fn begins(points: &[Point], noise: f64) -> usize {
    let last = points.len() - 1;
    let (mut good, mut length) = (last.saturating_sub(FEWEST), FEWEST);
    // Ever longer, until one is no line; then between the two.
    let mut bad = None;
    while good > 0 {
        length = (length * 5 / 4).max(length + 1).min(last);
        if !straight(&points[last - length..], noise) {
            bad = Some(last - length);
            break;
        }
        good = last - length;
    }
    let Some(mut bad) = bad else { return 0 };
    while good - bad > 1 {
        let middle = good.midpoint(bad);
        *(if straight(&points[middle..], noise) { &mut good } else { &mut bad }) = middle;
    }
    good
}

fn straight(points: &[Point], noise: f64) -> bool {
    let (first, last) = (&points[0], &points[points.len() - 1]);
    let length = last.at - first.at;
    let rate = (last.used - first.used) / length;
    let steps = points.windows(2).map(|pair| {
        let time = pair[1].at - pair[0].at;
        (pair[1].used - pair[0].used - rate * time) / time.sqrt()
    });
    let wander = spread(&steps.collect::<Vec<_>>()) * length.sqrt();
    let off = |point: &Point| (point.used - first.used - rate * (point.at - first.at)).abs();
    points.iter().map(off).fold(0.0, f64::max) <= TOO_FAR * wander + READINGS * noise + ROUNDED * last.used.abs()
}

/// The noise of single readings: how much the newest ones differ from the middle between their neighbours.
pub(super) fn noise(points: &[Point]) -> f64 {
    let newest = &points[points.len().saturating_sub(120)..];
    let bends = newest.windows(3).map(|w| {
        let part = (w[1].at - w[0].at) / (w[2].at - w[0].at);
        (w[1].used - w[0].used - part * (w[2].used - w[0].used)).abs()
    });
    // 1.5 is the variance of such a bend, in variances of one reading.
    1.4826 * median(bends.collect()) / 1.5f64.sqrt()
}
