//! Whether pods are kept from the issuers' ports.

use super::check::{Check, Subject};
use bowline_engine::Report;
use bowline_ports::{GUARD_CLOSED, GUARD_ORDER, GUARD_SERVICE, condition};

const NAME: &str = "ports closed to pods";

/// `report` is of a look just now, of a node that is to have them closed.
pub(super) fn diagnose(report: &Report) -> Check {
    let said = report.capabilities.iter().find(|capability| capability.name == "guard");
    match report.conditions.get(condition::GUARD).map(String::as_str) {
        Some("closed") => Check::ok(NAME, format!("{GUARD_SERVICE} holds them ({GUARD_CLOSED})")),
        Some(_) => {
            let notes = said.into_iter().flat_map(|said| &said.notes);
            let found = notes.map(|note| note.text.clone()).collect::<Vec<_>>().join("; ");
            let remedy =
                "run a kernel of Linux 5.12 or newer with nf_tables, or load the module and start the unit again";
            Check::finding(NAME, found, remedy)
                .command(format!("modprobe nf_tables && systemctl restart {GUARD_SERVICE}"))
                .explains(Subject::Capability("guard"))
        }
        // What holds it up is a finding of its own.
        None => Check::skipped(NAME, format!("not yet: {GUARD_SERVICE} is told by {GUARD_ORDER} what to close")),
    }
}
