//! What a filesystem comes to, and when.

use crate::daemon::{End, Foretold, sure};
use bowline_ports::text::about;
use serde::Serialize;
use std::fmt;

/// What a filesystem comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Ending {
    /// In how many seconds; 0: it has come to that.
    pub(crate) seconds_left: f64,
    /// What it is: `full`, `inodes` (none is left), `eviction` (of pods, by the kubelet).
    #[serde(rename = "ends", serialize_with = "word")]
    pub(crate) what: End,
    /// How sure it is, 0 to 1.
    pub(crate) confidence: f64,
    /// Whether that is enough to be told of by others.
    #[serde(skip)]
    pub(crate) sure: bool,
}

fn word<S: serde::Serializer>(end: &End, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(end.word())
}

impl Ending {
    pub(super) fn of(foretold: &Foretold) -> Option<Self> {
        let (what, first) = foretold.first();
        let (seconds_left, confidence) = (first.seconds, first.confidence);
        seconds_left.is_finite().then_some(Self { seconds_left, what, confidence, sure: sure(&first) })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, then) = match self.what {
            End::Full => ("full", "full in"),
            End::NoInodes => ("no inode left", "no inode left in"),
            End::Evicts => ("pods are evicted", "pods are evicted in"),
        };
        if self.seconds_left <= 0.0 {
            return f.write_str(now);
        }
        write!(f, "{then} {}", about(self.seconds_left))?;
        if self.sure { Ok(()) } else { write!(f, " ({:.0} % sure)", self.confidence * 100.0) }
    }
}
