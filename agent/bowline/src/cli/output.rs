//! Standard output and standard error. A closed pipe (`bowline status | head -1`) ends the output, not the world.

use bowline_host::real::RealHost;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Writes text to standard output.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Writes a value as indented JSON to standard output.
pub(crate) fn print_json(value: &impl Serialize) {
    print(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Writes an error to standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether colour is wanted: only on a terminal, and never against NO_COLOR.
pub(crate) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// The machine, or the complaint on standard error.
pub(crate) fn machine() -> Option<RealHost> {
    RealHost::new().map_err(|error| complain(&error.message)).ok()
}
