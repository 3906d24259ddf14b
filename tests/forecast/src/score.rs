//! What predictions were worth, by kinds, as a table.

use crate::{FAR, Series, peer};
use std::fmt::Write;

/// Somebody who is given samples one after the other, and asked now and then.
pub trait Forecaster {
    /// One more sample: seconds since 1970, bytes in use, bytes in all.
    fn sample(&mut self, at: i64, used: u64, total: u64);
    /// Seconds until it is full. `None`: never, as far as can be said.
    fn remaining(&mut self) -> Option<f64>;
}

/// The error of one prediction: from 0 to 1 (see the crate).
pub fn error(predicted: Option<f64>, truth: Option<f64>) -> f64 {
    let near = |moment: Option<f64>| moment.filter(|seconds| *seconds <= FAR);
    match (near(predicted), near(truth)) {
        (None, None) => 0.0,
        (Some(_), None) | (None, Some(_)) => 1.0,
        (Some(p), Some(r)) => ((p - r).abs() / r).min(1.0),
    }
}

/// What was predicted at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The kind of the series.
    pub kind: &'static str,
    /// Its seed.
    pub seed: u64,
    /// Seconds after its first sample.
    pub after: f64,
    /// What really remained, in seconds.
    pub truth: Option<f64>,
    /// What we said.
    pub ours: Option<f64>,
    /// What `predict_linear` over 6 h says.
    pub peer: Option<f64>,
}

impl Asked {
    /// The error of ours.
    pub fn our_error(&self) -> f64 {
        error(self.ours, self.truth)
    }

    /// The error of the peer's.
    pub fn peer_error(&self) -> f64 {
        error(self.peer, self.truth)
    }
}

/// Plays series to a new forecaster each, and asks it and the peer at their moments.
pub fn play<F: Forecaster>(series: &[Series], new: impl Fn() -> F) -> Vec<Asked> {
    let mut asked = Vec::new();
    for one in series {
        let mut ours = new();
        let mut moments = one.moments.iter().copied().peekable();
        for (index, used) in one.used.iter().enumerate() {
            ours.sample(one.at(index), *used, one.total);
            if moments.next_if_eq(&index).is_some() {
                asked.push(Asked {
                    kind: one.kind,
                    seed: one.seed,
                    after: (one.at(index) - one.start) as f64,
                    truth: one.remaining(index),
                    ours: ours.remaining(),
                    peer: peer::predict_linear(one, index),
                });
            }
        }
    }
    asked
}

/// One kind's errors.
#[derive(Debug, Clone)]
pub struct Row {
    /// The kind.
    pub kind: &'static str,
    /// How many series it has, and how often was asked.
    pub series: usize,
    /// How often was asked.
    pub asked: usize,
    /// The median error of ours, from 0 to 1.
    pub ours: f64,
    /// That of `predict_linear` over 6 h.
    pub peer: f64,
    /// The means of the same.
    pub means: (f64, f64),
}

/// The errors by kinds, in the order in which they come.
pub fn rows(asked: &[Asked]) -> Vec<Row> {
    let mut kinds: Vec<&'static str> = Vec::new();
    for one in asked {
        if !kinds.contains(&one.kind) {
            kinds.push(one.kind);
        }
    }
    let row = |kind| {
        let of: Vec<&Asked> = asked.iter().filter(|one| one.kind == kind).collect();
        let mut seeds: Vec<u64> = of.iter().map(|one| one.seed).collect();
        seeds.dedup();
        let (ours, peer): (Vec<f64>, Vec<f64>) = of.iter().map(|one| (one.our_error(), one.peer_error())).unzip();
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
        let means = (mean(&ours), mean(&peer));
        Row { kind, series: seeds.len(), asked: of.len(), ours: median(ours), peer: median(peer), means }
    };
    kinds.into_iter().map(row).collect()
}

/// The middle one, or the mean of the two in the middle; not a number of none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let n = numbers.len();
    match n {
        0 => f64::NAN,
        _ if n % 2 == 1 => numbers[n / 2],
        _ => f64::midpoint(numbers[n / 2 - 1], numbers[n / 2]),
    }
}

/// The rows as Markdown: errors in percent of what really remained.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| kind | series | moments | ours, median | `predict_linear`, median | ours, mean | `predict_linear`, mean |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for r in rows {
        let percent = |error: f64| format!("{:.1} %", error * 100.0);
        let [a, b, c, d] = [r.ours, r.peer, r.means.0, r.means.1].map(percent);
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} | {} | {} | {a} | {b} | {c} | {d} |", r.kind, r.series, r.asked);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors() {
        let day = Some(86_400.0);
        assert_eq!(error(day, day), 0.0);
        assert_eq!(error(Some(43_200.0), day), 0.5);
        assert_eq!(error(Some(129_600.0), day), 0.5);
        assert_eq!(error(Some(900_000.0), day), 1.0);
        assert_eq!(error(None, day), 1.0);
        assert_eq!(error(Some(0.0), day), 1.0);
        assert_eq!(error(None, None), 0.0);
        assert_eq!(error(day, None), 1.0);
        assert_eq!(error(Some(FAR + 1.0), None), 0.0);
        assert_eq!(error(None, Some(FAR + 1.0)), 0.0);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    struct Silent(usize);
    impl Forecaster for Silent {
        fn sample(&mut self, _: i64, _: u64, _: u64) {
            self.0 += 1;
        }
        fn remaining(&mut self) -> Option<f64> {
            Some(self.0 as f64)
        }
    }

    /// Who is asked knows what came before, and nothing that comes after.
    #[test]
    fn nobody_sees_the_future() {
        let series =
            Series { kind: "a", seed: 3, start: 0, total: 9, used: vec![0; 10], full: Some(9), moments: vec![4, 7] };
        let asked = play(&[series], || Silent(0));
        assert_eq!(asked.iter().map(|one| one.ours).collect::<Vec<_>>(), [Some(5.0), Some(8.0)]);
        assert_eq!(asked[1].truth, Some(120.0));
        let row = &rows(&asked)[0];
        assert_eq!((row.series, row.asked), (1, 2));
    }
}
