//! The exposition for Prometheus (text format 0.0.4, or OpenMetrics) and the small pages beside it.
//!
//! Pure rendering: everything comes from a [`Sample`], nothing is read from the machine, nothing is global.
//! Counters and histograms live in [`Counters`] and [`Enrolments`] and are rendered by the `prometheus` crate; the many gauges a
//! mount are written directly, because that crate's encoder would be the largest part of a scrape.
//!
//! Label values are bounded: capabilities, states, phases and volumes are named by the program or the settings;
//! of mounts only those that [`real_mounts`] keeps, which leaves out what comes and goes with pods.
//!
//! No secret can get here: texts of a report (errors, reasons) are not rendered as metrics at all.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod counters;
mod enrolments;
mod exhaustion;
mod exposition;
mod filesystem;
mod mounts;
mod openmetrics;
mod page;
mod sample;
mod state;
mod view;

pub use counters::{Counters, StepResult};
pub use enrolments::Enrolments;
pub use exhaustion::{Exhaustion, FilesystemOutlook};
pub use exposition::Form;
pub use mounts::real_mounts;
pub use openmetrics::{OPENMETRICS, wants_openmetrics};
pub use page::{Page, Route, early, healthz, index, metrics, readyz};
pub use prometheus::Error;
pub use sample::{FilesystemSample, Phase, Process, Role, Sample};
pub use view::{Disk, Folder, Foreseen, Outlook, View};

/// The media type of [`Form::Text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
