//! Generated faults.

use bowline_host::sim::{Calls, Fault, FaultMode};
use bowline_ports::ErrorKind;
use proptest::prelude::*;
use std::ops::Range;

/// Every kind of failure, those too that no host gives at some call: what is decided must not hang on that.
pub const KINDS: [ErrorKind; 9] = [
    ErrorKind::NotFound,
    ErrorKind::Denied,
    ErrorKind::Busy,
    ErrorKind::Timeout,
    ErrorKind::NoSpace,
    ErrorKind::Unreachable,
    ErrorKind::Invalid,
    ErrorKind::Changed,
    ErrorKind::Other,
];

/// Anything that may happen at one of so many changes, or of so many calls of all.
pub fn faults(changes: Range<usize>, calls: Range<usize>) -> impl Strategy<Value = Fault> {
    let place =
        prop_oneof![2 => changes.prop_map(|at| (Calls::Changes, at)), 1 => calls.prop_map(|at| (Calls::All, at))];
    let how = (prop::sample::select(&FaultMode::ALL), prop::sample::select(&KINDS));
    (place, how).prop_map(|((among, at), (mode, kind))| Fault { among, at, mode, kind })
}
