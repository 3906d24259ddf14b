//! One program of all tests of this crate: linked once.

mod addresses;
mod afterwards;
mod common;
mod decide;
mod leaving;
mod newer;
mod sequences;
mod vectors;
mod wire;
