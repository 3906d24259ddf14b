//! What a capability wants done, waits for and refuses.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a step may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Nothing that runs is disturbed.
    Safe,
    /// A service is restarted.
    Restart,
    /// A device is written over.
    Erase,
}

/// One change to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step<A> {
    /// What it is about (`volume/data`, `k3s`). Steps of one item run in order, items run side by side.
    pub item: String,
    /// The change.
    pub action: A,
    /// Why it is needed: one clause.
    pub why: String,
    /// What it may cost.
    pub risk: Risk,
    /// Another item of the same capability that has to have no steps left before this one begins.
    pub after: Option<String>,
}

/// Something that has to come first and that Bowline cannot bring about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// What it is about.
    pub item: String,
    /// What is waited for; the name under which its start is remembered.
    pub what: String,
    /// Why.
    pub why: String,
    /// After this long it counts as a fault, and `overdue` is shown.
    pub deadline: Option<Duration>,
    /// What a person should know or do once the deadline has passed.
    pub overdue: String,
    /// Look again this often while it lasts, because no event tells.
    pub poll: Option<Duration>,
}

impl Wait {
    /// A wait without a deadline, ended by an event.
    pub fn new(item: impl Into<String>, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            item: item.into(),
            what: what.into(),
            why: why.into(),
            deadline: None,
            overdue: String::new(),
            poll: None,
        }
    }

    /// The same wait with a deadline and what to say after it.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration, overdue: impl Into<String>) -> Self {
        self.deadline = Some(deadline);
        self.overdue = overdue.into();
        self
    }

    /// The same wait, looked at again at this interval.
    #[must_use]
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = Some(every);
        self
    }
}

/// Something that Bowline will not do as things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What it is about.
    pub item: String,
    /// What is not done.
    pub what: String,
    /// Why not: what was found, on what.
    pub why: String,
    /// What a person can do.
    pub hint: String,
}

/// A remark that asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What it is about.
    pub item: String,
    /// The remark.
    pub text: String,
}

/// Everything that a capability computed from its settings, its facts and the conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan<A> {
    /// Changes, in order within each item.
    pub steps: Vec<Step<A>>,
    /// What has to come first.
    pub waits: Vec<Wait>,
    /// What will not be done.
    pub refusals: Vec<Refusal>,
    /// Remarks.
    pub notes: Vec<Note>,
    /// Conditions that other capabilities may rely on now (`volume/data` -> `ready`).
    pub conditions: BTreeMap<String, String>,
    /// After so long it is looked at again, though nothing is waited for.
    #[serde(skip)]
    pub again: Option<Duration>,
}

impl<A> Default for Plan<A> {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            waits: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            conditions: BTreeMap::new(),
            again: None,
        }
    }
}

impl<A> Plan<A> {
    /// Adds a safe step.
    pub fn step(&mut self, item: impl Into<String>, action: A, why: impl Into<String>) {
        self.step_with(item, action, why, Risk::Safe);
    }

    /// Adds a step with its risk.
    pub fn step_with(&mut self, item: impl Into<String>, action: A, why: impl Into<String>, risk: Risk) {
        self.steps.push(Step { item: item.into(), action, why: why.into(), risk, after: None });
    }

    /// Makes the last step wait until another item of this capability has none left.
    pub fn after(&mut self, item: impl Into<String>) {
        if let Some(last) = self.steps.last_mut() {
            last.after = Some(item.into());
        }
    }

    /// Adds a refusal.
    pub fn refuse(
        &mut self,
        item: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.refusals.push(Refusal { item: item.into(), what: what.into(), why: why.into(), hint: hint.into() });
    }

    /// Adds a remark.
    pub fn note(&mut self, item: impl Into<String>, text: impl Into<String>) {
        self.notes.push(Note { item: item.into(), text: text.into() });
    }

    /// States a condition.
    pub fn state(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.conditions.insert(key.into(), value.into());
    }

    /// Whether anything is left to do, wait for or mend for an item.
    pub fn settled(&self, item: &str) -> bool {
        !self.steps.iter().any(|s| s.item == item)
            && !self.waits.iter().any(|w| w.item == item)
            && !self.refusals.iter().any(|r| r.item == item)
    }
}
