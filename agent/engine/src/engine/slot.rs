//! A capability in the engine: its last facts and plan, and when it looks again.

use super::Key;
use crate::capability::{Boxed, ErasedAction, ErasedPlan};
use crate::{Plan, Step};
use bowline_ports::PortError;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(super) struct Slot {
    pub(super) capability: Boxed,
    pub(super) facts: Option<Result<Box<dyn Any + Send + Sync>, PortError>>,
    pub(super) plan: ErasedPlan,
    pub(super) seen: BTreeMap<String, Option<String>>,
    pub(super) dirty: bool,
    pub(super) looked: Instant,
}

impl Slot {
    pub(super) fn new(capability: Boxed) -> Self {
        Self {
            capability,
            facts: None,
            plan: Plan::default(),
            seen: BTreeMap::new(),
            dirty: true,
            looked: Instant::now(),
        }
    }

    /// Whether a step has to wait for the steps of another item.
    pub(super) fn holds_back(&self, step: &Step<Arc<ErasedAction>>) -> bool {
        step.after.as_ref().is_some_and(|after| self.plan.steps.iter().any(|other| other.item == *after))
    }

    /// Whether an item waits for something.
    pub(super) fn waits_at(&self, (name, item): &Key) -> bool {
        self.capability.0.name() == *name && self.plan.waits.iter().any(|wait| wait.item == *item)
    }

    pub(super) fn every(&self) -> Duration {
        // What cannot be seen is tried again soon.
        if matches!(self.facts, Some(Err(_))) { Duration::from_secs(5) } else { self.capability.0.every() }
    }

    /// Whether it was looked at so long ago.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.looked) >= self.every()
    }

    pub(super) fn poll(&self) -> Option<Duration> {
        // What a refusal names is mended by people, and often no event tells.
        let refusals = (!self.plan.refusals.is_empty()).then_some(Duration::from_secs(10));
        let waits = self.plan.waits.iter().filter_map(|w| w.poll).chain(refusals).chain(self.plan.again).min();
        if matches!(self.facts, Some(Err(_))) { Some(self.every()) } else { waits }
    }
}
