//! Who is let into the cluster: proofs, rules, claims and decisions, without any I/O.
//!
//! The contract is `enrolment.md` of the project's design. No socket, clock, Kubernetes client or source of randomness
//! is in here: the host brings bytes, times and what it read from the API, and does the [`Act`]s that come back, in
//! their order.
//!
//! 1. [`wire::peek`] reads role and name, nothing else.
//! 2. [`proof::verify`] checks the proof and the signature.
//! 3. [`wire::EnrollRequest::parse`] reads the rest.
//! 4. [`decide::enroll`] decides, from [`Facts`]: refuse, watch on, or do these acts.
//! 5. [`proof::answer`] vouches for what is sent back.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

pub mod act;
pub mod claim;
mod code;
pub mod decide;
pub mod facts;
pub mod keep;
pub mod key;
mod name;
pub mod persistent;
pub mod proof;
pub mod refusals;
pub mod rules;
pub mod sweep;
pub mod token;
pub mod wire;

pub use act::Act;
pub use bowline_settings::{Effect, EnrollRule, Role, STARTUP_TAINT, Secret, Taint};
pub use claim::Claim;
pub use code::{Code, Refusal};
pub use facts::Facts;
pub use name::NodeName;
