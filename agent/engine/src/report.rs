//! What every surface shows: terminal, status file, metrics, journal.

use crate::{Note, Risk};
use bowline_ports::{ErrorKind, ProgressValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One look at the whole node. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this form; grows when a field changes its meaning.
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// When it was made.
    pub at: i64,
    /// Looks since the start.
    pub looks: u64,
    /// The whole in one word.
    pub overall: Overall,
    /// The settings in force.
    pub settings: SettingsReport,
    /// Every capability, in order.
    pub capabilities: Vec<CapabilityReport>,
    /// All conditions.
    pub conditions: BTreeMap<String, String>,
}

/// The whole in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overall {
    /// Nothing to do, nothing waited for.
    Ready,
    /// On the way.
    #[default]
    Converging,
    /// Something failed, is refused, or has been waited for too long.
    Degraded,
}

/// The settings in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsReport {
    /// The files that were read.
    pub files: Vec<String>,
    /// What is wrong with the newest files, while older settings stay in force.
    pub errors: Vec<String>,
    /// No settings file exists yet.
    pub absent: bool,
}

/// How a capability stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapabilityState {
    /// As the settings say.
    Done,
    /// Steps are to be done or under way.
    Working,
    /// Something else has to come first.
    Waiting,
    /// Something was waited for longer than its deadline.
    Overdue,
    /// Bowline will not do it as things are.
    Refused,
    /// Steps fail and are tried again.
    Failing,
    /// The node could not be looked at.
    Unknown,
}

impl CapabilityState {
    /// Every state, for metrics that show each as a series.
    pub const ALL: [Self; 7] =
        [Self::Done, Self::Working, Self::Waiting, Self::Overdue, Self::Refused, Self::Failing, Self::Unknown];

    /// The word used everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Working => "working",
            Self::Waiting => "waiting",
            Self::Overdue => "overdue",
            Self::Refused => "refused",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
        }
    }
}

/// One capability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapabilityReport {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: CapabilityState,
    /// What is to be done.
    pub steps: Vec<StepReport>,
    /// What is waited for.
    pub waits: Vec<WaitReport>,
    /// What is refused.
    pub refusals: Vec<RefusalReport>,
    /// Remarks.
    pub notes: Vec<Note>,
    /// Why the node could not be looked at, if so.
    pub error: Option<String>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// What it is about.
    pub item: String,
    /// What will be done.
    pub what: String,
    /// Why.
    pub why: String,
    /// What it may cost.
    pub risk: Risk,
    /// The change itself.
    pub action: serde_json::Value,
    /// Under way, and how far.
    pub running: Option<ProgressValue>,
    /// It failed before and is tried again.
    pub failing: Option<Failing>,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Failures in a row; 0: it did not fail, and is held back since it was done too often lately.
    pub attempts: u32,
    /// Since when it has been failing.
    pub since: i64,
    /// The kind of the last failure.
    pub kind: ErrorKind,
    /// The last failure.
    pub error: String,
    /// What a person can do.
    pub hint: Option<String>,
    /// When it is tried again.
    pub next_try: i64,
}

/// A wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitReport {
    /// What it is about.
    pub item: String,
    /// What is waited for.
    pub what: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: i64,
    /// What to know or do, once the deadline has passed.
    pub overdue: Option<String>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalReport {
    /// What it is about.
    pub item: String,
    /// What is not done.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What a person can do.
    pub hint: String,
    /// Since when.
    pub since: i64,
}

impl Report {
    /// The form's version.
    pub const SCHEMA: u32 = 1;

    /// The same report without what changes by itself (times, counters): two looks at an unchanged node are equal in
    /// it.
    #[must_use]
    pub fn timeless(&self) -> Self {
        let mut report = self.clone();
        report.at = 0;
        report.looks = 0;
        for capability in &mut report.capabilities {
            for step in &mut capability.steps {
                if let Some(failing) = &mut step.failing {
                    failing.next_try = 0;
                }
            }
        }
        report
    }

    /// Nothing to do, nothing waited for, nothing refused.
    pub fn is_empty(&self) -> bool {
        self.capabilities
            .iter()
            .all(|c| c.steps.is_empty() && c.waits.is_empty() && c.refusals.is_empty() && c.error.is_none())
    }

    /// One line for `systemctl status`.
    pub fn headline(&self) -> String {
        if !self.settings.errors.is_empty() {
            return format!("settings invalid, the earlier ones stay in force: {}", self.settings.errors[0]);
        }
        if self.settings.absent {
            return "waiting: no settings yet".into();
        }
        let all = || self.capabilities.iter();
        if let Some(r) = all().flat_map(|c| &c.refusals).next() {
            return format!("refused: {}: {}", r.item, r.why);
        }
        if let Some((s, f)) = all().flat_map(|c| &c.steps).find_map(|s| s.failing.as_ref().map(|f| (s, f))) {
            return format!("failing: {}: {}", s.item, f.error);
        }
        if let Some(error) = all().find_map(|c| c.error.as_ref().map(|e| format!("{}: {e}", c.name))) {
            return format!("cannot look: {error}");
        }
        if let Some(s) = all().flat_map(|c| &c.steps).find(|s| s.running.is_some()) {
            return format!("{}: {}", s.item, s.what);
        }
        if let Some(w) = all().flat_map(|c| &c.waits).next() {
            return format!("waiting for {}", w.what);
        }
        match self.overall {
            Overall::Ready => "ready: the node is as its settings say".into(),
            Overall::Converging | Overall::Degraded => "working".into(),
        }
    }
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do, nothing waited for.
    Converged,
    /// Steps are under way or can be started.
    Busy,
    /// Only waits are left.
    Waiting,
    /// Something is refused or fails.
    Blocked,
}

impl Outcome {
    /// What a report says of the run that made it.
    pub fn of(report: &Report) -> Self {
        use CapabilityState as S;
        let any = |wanted: &[S]| report.capabilities.iter().any(|c| wanted.contains(&c.state));
        if report.capabilities.iter().flat_map(|c| &c.steps).any(|s| s.running.is_some()) {
            Self::Busy
        } else if !report.settings.errors.is_empty() || any(&[S::Refused, S::Failing, S::Unknown]) {
            Self::Blocked
        } else if report.settings.absent || any(&[S::Waiting, S::Overdue]) {
            Self::Waiting
        } else if any(&[S::Working]) {
            Self::Busy
        } else {
            Self::Converged
        }
    }
}
