//! One suite, several hosts: what the ports promise holds on each of them, which keeps the simulated one honest.
//!
//! The real host needs root: it makes loop devices over files in a temporary directory, and formats and mounts
//! nothing else. Without root its cases fail and say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real;
mod sim;
mod suite;
