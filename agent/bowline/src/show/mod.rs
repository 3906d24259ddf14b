//! Reports as text for people: at most 80 columns, calm, colour only when told to.
//!
//! Texts of a report come from many places (device names, K3s's own last words); what could command a terminal
//! is taken out of them.

mod check;
mod paper;
mod plan;
mod progress;
mod status;
mod time;

pub(crate) use check::{Mark, check};
pub(crate) use paper::folded;
pub use plan::plan;
pub(crate) use progress::Progress;
pub use status::status;

#[cfg(test)]
mod tests;
