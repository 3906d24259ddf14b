//! One program of all tests of this crate: linked once.

mod clock;
mod common;
mod engine;
mod locks;
mod rest;
