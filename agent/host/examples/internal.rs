//! Stands in for `bowline internal VERB ORDER` where the contract suite runs on a booted machine.

use bowline_host::real::job::Verb;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The arguments as systemd gives them: program, `internal`, verb, order.
    let arguments: Vec<_> = std::env::args().skip(2).collect();
    let [verb, order] = &arguments[..] else { return ExitCode::FAILURE };
    let verb = Verb::ALL.into_iter().find(|one| one.as_str() == verb);
    verb.map_or(ExitCode::FAILURE, |verb| verb.carry_out(Path::new(order)))
}
