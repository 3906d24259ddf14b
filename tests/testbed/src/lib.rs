//! Booted machines for Bowline's tests: real systemd, real disks, a network of their own, and nothing left behind.
//!
//! ```no_run
//! use bowline_testbed::{Bed, Os};
//! # fn main() -> anyhow::Result<()> {
//! let bed = Bed::new("first-boot")?;
//! let disk = bed.disk("12345678", "20G")?;
//! let machine = bed.machine("control").address("10.0.1.10").os(Os::Bookworm).disk(&disk).start()?;
//! machine.ok("mkfs.ext4 -q /dev/disk/by-id/scsi-0HC_Volume_12345678")?;
//! machine.reboot()?;
//! # Ok(())
//! # }
//! ```
//!
//! [`case`] does the same and leaves evidence where its body fails. `cargo run -p bowline-testbed --example bed` gives a machine to walk about in.
//!
//! Settings, all by environment:
//! - `BOWLINE_CACHE`: where built artefacts are kept (`bowline` in the user's cache folder);
//! - `BOWLINE_BEDS`: where running beds have their files (`/var/tmp/bowline-beds`): a real file system;
//! - `BOWLINE_SOURCES`: an apt sources file with Debian's main suites (found under `/etc/apt`);
//! - `K3S`: a path to K3s, or `download`; else the stand-in of `tests/k3s` is built.

mod apt;
mod artefacts;
mod base;
mod bed;
mod boot;
mod browser;
mod builder;
mod cache;
mod cgroup;
mod cloud;
mod cloud_init;
mod disk;
mod evidence;
mod host;
mod http;
mod machine;
mod museum;
mod places;
mod prometheus;
mod release;
mod root;
mod run;
mod sources;
mod system;
mod vm;
mod wait;
mod web;

use std::io::Write;

pub use apt::Repository;
pub use artefacts::{
    K3S_VERSION, checkout, diskus, host_contract, k3s, k3s_conformance, k3s_stand_in, package, scanner, unless_passed,
};
pub use bed::{Bed, GATEWAY, case, case_of};
pub use browser::{Browser, Chromium, Window, alone};
pub use builder::MachineBuilder;
pub use cache::Artefact;
pub use cloud::{Cloud, Metadata};
pub use cloud_init::CloudInit;
pub use disk::Disk;
pub use host::{Missing, open_files};
pub use machine::Machine;
pub use museum::Museum;
pub use places::Cast;
pub use prometheus::Prometheus;
pub use release::Releases;
pub use run::{LIMIT, Output, ok, run};
pub use system::System;
pub use vm::{Drive, VirtualMachine};
pub use wait::{wait_for, wait_some};
pub use web::{Count, Fault, Web};

/// The operating systems that machines can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Os {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Os {
    /// The name of its suite.
    pub fn suite(self) -> &'static str {
        match self {
            Os::Bookworm => "bookworm",
            Os::Trixie => "trixie",
        }
    }
}

/// Tells the person who runs the tests something.
pub fn say(text: &str) {
    // Nobody may be listening.
    writeln!(std::io::stderr(), "testbed: {text}").ok();
}
