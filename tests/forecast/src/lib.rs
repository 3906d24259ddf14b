//! Judges of forecasts of when a filesystem is full: series that go on until it really is (or never are), and what a
//! prediction on them was worth. They were there before the method that they judge (`agent/pressure`), which never sees more
//! than the samples up to the moment it is asked at.
//!
//! **Series.** Used bytes, one sample a minute. [`generated`] makes them from seeds ([`random`]), [`recorded`] plays real ones.
//! A series ends with the first sample at which the filesystem is full; that moment is the truth. One that does not fill
//! has the truth "never".
//!
//! **Moments.** Each series has the moments at which is asked: before the end (from an hour to five days before), or, where
//! something happens once, at fixed times after it. They do not depend on what anybody predicts.
//!
//! **Error.** With R seconds really remaining and P predicted, |P − R| / R, and at most 1: a prediction that is off by as
//! much as there was left, and silence while the disk fills, are worth nothing. Where the truth is never: 0 for silence, 1 for
//! any moment. More than [`FAR`] (30 days) is never, predicted or true, for who asks wants to know about days. The figure is the
//! median over all moments of a kind's series; the mean is told beside it, since a median of 0 can hide a lot.

pub mod generated;
pub mod peer;
pub mod random;
pub mod recorded;
pub mod score;

/// Seconds between two samples.
pub const EVERY: i64 = 60;
/// A moment further away, in seconds, counts as never.
pub const FAR: f64 = 30.0 * 86_400.0;

/// How a filesystem filled.
#[derive(Debug, Clone)]
pub struct Series {
    /// Which kind it is of.
    pub kind: &'static str,
    /// What it was made from; 0 of a recorded one.
    pub seed: u64,
    /// When the first sample was taken, in seconds since 1970.
    pub start: i64,
    /// Bytes of the filesystem.
    pub total: u64,
    /// Bytes in use, every [`EVERY`] seconds. The last one is the first at which it is full, if it ever is.
    pub used: Vec<u64>,
    /// The index of the sample at which it is full. `None`: it never is.
    pub full: Option<usize>,
    /// The indices at which is asked.
    pub moments: Vec<usize>,
}

impl Series {
    /// When the sample was taken, in seconds since 1970.
    pub fn at(&self, index: usize) -> i64 {
        self.start + index as i64 * EVERY
    }

    /// Seconds that really remain after that sample. `None`: it is never full.
    pub fn remaining(&self, index: usize) -> Option<f64> {
        self.full.map(|full| (full - index) as f64 * EVERY as f64)
    }
}
