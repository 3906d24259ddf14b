//! Stands in for `bowline internal VERB ORDER` where the contract suite runs on a booted machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The arguments as systemd gives them: program, `internal`, verb, order.
    let arguments: Vec<_> = std::env::args_os().skip(2).collect();
    bowline_host::real::job::run_internal(&arguments)
}
