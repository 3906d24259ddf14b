//! What the rules say that people have today: `predict_linear(node_filesystem_avail_bytes[6h], …)`.
//!
//! As Prometheus computes it (`funcPredictLinear` and `linearRegression` in `promql/functions.go` of Prometheus 2 and 3): a
//! least-squares line through all samples of the last six hours, the oldest edge left out; its value at the moment of
//! evaluation is the intercept, and the prediction goes on from there along the slope. Samples that are all equal give slope
//! 0. Fewer than two samples give nothing. Kahan's summation, which Prometheus uses, changes nothing here: the sums are of at
//! most 360 numbers, with times counted from the evaluation. The samples are those of the series, one a minute; with one in 15
//! seconds the line would be the same but for noise.
//!
//! The predicted moment of exhaustion is where that line reaches nothing available: for every `t` before it the rule
//! `predict_linear(…, t) < 0` is silent, and for every `t` after it, it fires. Prometheus's memory is taken to be whole here,
//! which is more than it has where it starts anew without its data.

use crate::{EVERY, Series};

/// The six hours of the rule, in samples.
const RANGE: usize = (6 * 3600 / EVERY) as usize;

/// Seconds after the sample `at` when nothing is available any more, by `predict_linear` over six hours. `None`: never.
pub fn predict_linear(series: &Series, at: usize) -> Option<f64> {
    let from = (at + 1).saturating_sub(RANGE);
    let samples = (from..=at).map(|i| {
        let seconds = -((at - i) as f64) * EVERY as f64;
        (seconds, series.total as f64 - series.used[i] as f64)
    });
    let (slope, now) = line(samples)?;
    if now <= 0.0 {
        return Some(0.0);
    }
    (slope < 0.0).then(|| now / -slope)
}

/// Slope and value at 0 of the least-squares line.
fn line(samples: impl Iterator<Item = (f64, f64)> + Clone) -> Option<(f64, f64)> {
    let n = samples.clone().count() as f64;
    if n < 2.0 {
        return None;
    }
    let first = samples.clone().next()?.1;
    if samples.clone().all(|(_, y)| y == first) {
        return Some((0.0, first));
    }
    let (mut sx, mut sy, mut sxy, mut sxx) = (0.0, 0.0, 0.0, 0.0);
    for (x, y) in samples {
        sx += x;
        sy += y;
        sxy += x * y;
        sxx += x * x;
    }
    let slope = (sxy - sx * sy / n) / (sxx - sx * sx / n);
    Some((slope, sy / n - slope * sx / n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(used: Vec<u64>) -> Series {
        Series { kind: "test", seed: 0, start: 0, total: 1_000_000, used, full: None, moments: vec![] }
    }

    #[test]
    fn a_line_is_continued() {
        // 100 bytes a minute, 500,000 left.
        let line = series((0..500).map(|i| 450_100 + i * 100).collect());
        assert!((predict_linear(&line, 499).unwrap() - 5000.0 * 60.0).abs() < 1e-3);
    }

    #[test]
    fn it_sees_six_hours_and_no_more() {
        let mut used = vec![0; 1000];
        used.extend(vec![700_000; 360]);
        assert_eq!(predict_linear(&series(used.clone()), 1359), None);
        assert!(predict_linear(&series(used), 1358).is_some());
    }

    /// The series `testcounter_reset_middle` of PromQL's own tests (0+10x4 0+10x5, one in five minutes), predicted for an
    /// hour after 3000 s: 76.81818… where the first sample is in range, 70 where the range is open on its left.
    #[test]
    fn it_agrees_with_prometheuss_own_tests() {
        let values = [0.0, 10.0, 20.0, 30.0, 40.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0];
        let at = || values.iter().enumerate().map(|(i, y)| (i as f64 * 300.0 - 3000.0, *y));
        let (slope, now) = line(at()).unwrap();
        assert!((slope - 0.010_606_060_606_060_607).abs() < 1e-12, "{slope}");
        assert!((now + slope * 3600.0 - 76.818_181_818_181_8).abs() < 1e-9, "{}", now + slope * 3600.0);
        let (slope, now) = line(at().skip(1)).unwrap();
        assert!((now + slope * 3600.0 - 70.0).abs() < 1e-9, "{}", now + slope * 3600.0);
    }

    #[test]
    fn flat_is_never_and_shrinking_too() {
        assert_eq!(predict_linear(&series(vec![5; 400]), 399), None);
        assert_eq!(predict_linear(&series((0..400).rev().collect()), 399), None);
        assert_eq!(predict_linear(&series(vec![5]), 0), None);
        assert_eq!(predict_linear(&series(vec![1_000_000; 9]), 8), Some(0.0));
    }
}
