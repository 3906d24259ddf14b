//! The program. Everything is in the library, so that tests wire the same parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline::main()
}
