//! One program of all tests of this crate: linked once.

mod afterwards;
mod attacks;
mod common;
mod crashes;
mod events;
mod gone;
mod many;
mod moves;
mod only_claimed;
mod persistent;
mod quorum;
mod refusals;
mod story;
mod tokens;
