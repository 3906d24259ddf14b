//! One program of all tests of this crate: linked once.

mod common;
mod golden;
mod networks;
mod properties;
mod rules;
mod secrets;
