//! One program of all tests of this crate: linked once.

mod alerts;
mod behaviour;
mod dashboard;
mod json;
mod papers;
mod postrm;
mod rights;
mod texts;
mod tickets;
mod tmpfiles;
mod width;
