//! Reports as text for people: at most 80 columns (but for what is longer and copied: a path, a command), calm, colour only
//! when told to.
//!
//! Texts of a report come from many places (device names, K3s's own last words); what could command a terminal
//! is taken out of them.

mod check;
mod paper;
mod plan;
mod progress;
mod status;
mod table;
pub(crate) mod usage;

pub(crate) use check::{Mark, check};
pub(crate) use paper::{fitted, folded};
pub use plan::plan;
pub(crate) use progress::Progress;
pub use status::status;
pub(crate) use table::table;

#[cfg(test)]
pub(crate) mod tests;
