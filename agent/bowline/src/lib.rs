//! Bowline's program: the command line, the daemon, and the one place where capabilities meet the machine.
//!
//! - [`wiring`]: settings -> capabilities, the only list of them.
//! - `cli`: one file a command.
//! - `daemon`: the loop with its surfaces (status file, metrics, control socket, systemd).
//! - `show`: reports as text for people.
//! - `usage`: which directories are measured.

mod cli;
mod daemon;
mod key;
mod paths;
pub mod show;
mod usage;
pub mod wiring;

pub use cli::main;
