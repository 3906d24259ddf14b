//! Whether this host can boot machines: what it lacks is said once, and not by every case.

use bowline_testbed::Bed;

#[test]
fn this_host_has_all_that_machines_need() {
    let missing: Vec<_> = Bed::check_host().iter().map(ToString::to_string).collect();
    assert!(missing.is_empty(), "this host lacks:\n{}", missing.join("\n"));
}
