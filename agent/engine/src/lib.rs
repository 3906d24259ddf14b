//! The one control flow of Bowline: look at the node, compute what differs from the settings, do the first
//! difference, look again. No knowledge of any operating system and no I/O of its own.
//!
//! - [`Capability`]: observe (reads), plan (pure), apply (one change).
//! - [`Plan`]: steps, waits and refusals; each says why.
//! - [`Conditions`]: how capabilities meet without knowing each other.
//! - [`Engine`]: the loop; [`Report`]: what every surface shows.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod backoff;
mod capability;
mod conditions;
mod engine;
mod plan;
mod report;

pub use backoff::{delay, somewhat_longer};
pub use capability::{Boxed, Capability, boxed};
pub use conditions::Conditions;
pub use engine::{Engine, Wake};
pub use plan::{Note, Plan, Refusal, Risk, Step, Wait};
pub use report::{
    CapabilityReport, CapabilityState, Failing, Outcome, Overall, RefusalReport, Report, SettingsReport, StepReport,
    WaitReport,
};
