//! The hidden subcommands that carry out an order: what the units are started with.

use super::{Order, carry_out};
use bowline_ports::{FetchOrder, FormatOrder, GrowOrder, PortError, ReclaimOrder, SurveyOrder, TendOrder};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Work that a unit of its own does: `bowline internal VERB ORDER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Downloads and verifies.
    Fetch,
    /// Makes a filesystem.
    Format,
    /// Grows one.
    Grow,
    /// Works at a volume's mount point.
    Tend,
    /// Measures directories.
    Survey,
    /// Frees room.
    Reclaim,
}

impl Verb {
    /// All there are.
    pub const ALL: [Self; 6] = [Self::Fetch, Self::Format, Self::Grow, Self::Tend, Self::Survey, Self::Reclaim];

    /// The subcommand's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Format => "format",
            Self::Grow => "grow",
            Self::Tend => "tend",
            Self::Survey => "survey",
            Self::Reclaim => "reclaim",
        }
    }

    /// Does what the order says, and leaves its result beside it. Not to be called from within an event loop.
    pub fn carry_out(self, order: &Path) -> ExitCode {
        let result = match self {
            Self::Fetch => of::<FetchOrder>(self, order),
            Self::Format => of::<FormatOrder>(self, order),
            Self::Grow => of::<GrowOrder>(self, order),
            Self::Tend => of::<TendOrder>(self, order),
            Self::Survey => of::<SurveyOrder>(self, order),
            Self::Reclaim => of::<ReclaimOrder>(self, order),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // To the journal of the unit; where nobody reads, nothing is lost: the result file has it.
                let _ = writeln!(std::io::stderr(), "{}", error.in_full());
                ExitCode::FAILURE
            }
        }
    }
}

fn of<O: Order>(verb: Verb, order: &Path) -> Result<(), PortError> {
    debug_assert_eq!(verb, O::VERB);
    carry_out::<O>(order)
}
