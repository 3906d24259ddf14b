//! Standard output and standard error. A closed pipe (`bowline status | head -1`) ends the output, not the world; any
//! other failure is said, and ends the program with 1: half a list must not pass for the whole one.

use crate::show::{fitted, folded};
use bowline_host::real::RealHost;
use bowline_ports::{ErrorKind as Kind, PortError};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something that was printed did not arrive.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes text for people to standard output, at most 80 columns wide.
pub(crate) fn print(text: &str) {
    print_as_is(&fitted(text));
}

/// Writes text to standard output that a program reads.
pub(crate) fn print_as_is(text: &str) {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written =
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush());
    if let Err(error) = written.as_ref()
        && error.kind() != ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        complain(&format!("writing to standard output: {error}; what was printed is not complete"));
    }
}

/// Whether something that was printed did not arrive.
pub(crate) fn lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Writes a value as indented JSON to standard output.
pub(crate) fn print_json(value: &impl Serialize) {
    print_as_is(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Writes an error to standard error, at most 80 columns wide.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", fitted(text));
}

/// Writes an error with what to do about it to standard error.
pub(crate) fn complain_of(error: &PortError) {
    match &error.hint {
        Some(hint) => {
            complain(&format!("{}\n{}", folded(&error.to_string(), 0, 4), folded(&format!("help: {hint}"), 2, 8)));
        }
        None => complain(&folded(&error.to_string(), 0, 4)),
    }
}

/// Whether colour is wanted: only on a terminal, and never against NO_COLOR.
pub(crate) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// The machine, or the complaint on standard error.
pub(crate) fn machine() -> Option<RealHost> {
    RealHost::new().map_err(|error| complain(&error.message)).ok()
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Writes why a command that changes the machine has failed to standard error.
pub(crate) fn failed(error: PortError) -> ExitCode {
    complain_of(&by_rights(error, is_root()));
    ExitCode::FAILURE
}

/// Whoever is not root may not do most of it.
pub(crate) fn by_rights(error: PortError, root: bool) -> PortError {
    match error.hint.is_none() && error.kind == Kind::Denied && !root {
        true => error.hint("run it as root"),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_is_told_to_be_root_and_root_is_not() {
        let hint = |kind, root| by_rights(PortError::new(kind, "reading /x"), root).hint;
        assert_eq!(hint(Kind::Denied, false).as_deref(), Some("run it as root"));
        assert_eq!((hint(Kind::Denied, true), hint(Kind::NotFound, false)), (None, None));
        let own = by_rights(PortError::new(Kind::Denied, "reading /x").hint("mount it"), false);
        assert_eq!(own.hint.as_deref(), Some("mount it"));
    }
}
