//! A check by its name, and what came out of it.

use bowline_ports::{ErrorKind, PortError};
use serde::Serialize;

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Check {
    /// What was checked.
    pub(super) name: String,
    /// What came out.
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

/// What came out of a check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// Nothing is wrong.
    Ok {
        /// How it is.
        text: String,
    },
    /// Nothing is wrong, and there is something to know.
    Note {
        /// What.
        text: String,
    },
    /// It could not be made.
    Skipped {
        /// Why.
        text: String,
    },
    /// Something is wrong.
    Finding {
        /// What was found, and on what.
        found: String,
        /// What to do.
        remedy: String,
        /// The command that does it, where there is one that harms nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        command: Option<String>,
        /// What else it is the reason of: no finding of its own.
        #[serde(skip)]
        explains: Vec<Subject>,
    },
}

/// What Bowline may complain of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// An item of a capability.
    Item(&'static str, String),
    /// Everything of a capability.
    Capability(&'static str),
    /// Steps that fail like this.
    Failure(ErrorKind),
    /// Everything that cannot be looked at.
    Blindness,
    /// That the daemon is down.
    Daemon,
}

impl Check {
    pub(super) fn ok(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Ok { text: text.into() } }
    }

    pub(super) fn note(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Note { text: text.into() } }
    }

    pub(super) fn skipped(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Skipped { text: text.into() } }
    }

    pub(super) fn finding(name: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let verdict =
            Verdict::Finding { found: found.into(), remedy: remedy.into(), command: None, explains: Vec::new() };
        Self { name: name.into(), verdict }
    }

    /// The finding that something could not be looked at.
    pub(super) fn blind(name: impl Into<String>, error: &PortError) -> Self {
        let remedy = error.hint.clone().unwrap_or_else(|| "fix what the error names, then run this again".into());
        Self::finding(name, error.message.clone(), remedy)
    }

    /// The same finding with a command.
    pub(super) fn command(mut self, line: impl Into<String>) -> Self {
        if let Verdict::Finding { command, .. } = &mut self.verdict {
            *command = Some(line.into());
        }
        self
    }

    /// The same finding, which is the reason of something else too.
    pub(super) fn explains(mut self, subject: Subject) -> Self {
        if let Verdict::Finding { explains, .. } = &mut self.verdict {
            explains.push(subject);
        }
        self
    }

    pub(super) fn is_finding(&self) -> bool {
        matches!(self.verdict, Verdict::Finding { .. })
    }
}

/// Whether a finding is the reason of this already.
pub(super) fn explained(checks: &[Check], subject: &Subject) -> bool {
    match subject {
        Subject::Item(capability, item) => item_explained(checks, capability, item),
        other => any(checks, |one| one == other),
    }
}

/// The same of an item of a capability.
pub(super) fn item_explained(checks: &[Check], capability: &str, item: &str) -> bool {
    any(checks, |one| match one {
        Subject::Capability(all) => *all == capability,
        Subject::Item(of, one) => *of == capability && one == item,
        Subject::Failure(_) | Subject::Blindness | Subject::Daemon => false,
    })
}

fn any(checks: &[Check], fits: impl Fn(&Subject) -> bool) -> bool {
    checks.iter().any(|check| match &check.verdict {
        Verdict::Finding { explains, .. } => explains.iter().any(&fits),
        Verdict::Ok { .. } | Verdict::Note { .. } | Verdict::Skipped { .. } => false,
    })
}
