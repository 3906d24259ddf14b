//! The shape of a capability, and the erased form in which the engine sees it.

use crate::{Conditions, Plan, Step};
use bowline_ports::{Change, Inspect, PortError, Progress};
use serde::Serialize;
use std::any::Any;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// One thing that Bowline looks after. `self` is the validated settings of it.
///
/// As much as possible is decided in `plan`, as little as possible in `apply`.
pub trait Capability: Send + Sync + 'static {
    /// Its name in every report (`volumes`).
    const NAME: &'static str;
    /// Look again at least this often, even when nothing happens.
    const EVERY: Duration = Duration::from_secs(3600);
    /// Left out of reports where it is done and states no condition: most settings do not ask for it.
    const OPTIONAL: bool = false;
    /// What observing yields.
    type Facts: Send + Sync + 'static;
    /// One change.
    type Action: Display + Serialize + Send + Sync + 'static;

    /// Reads everything that the plan needs. Reads only.
    fn observe(&self, host: &dyn Inspect) -> impl Future<Output = Result<Self::Facts, PortError>> + Send;

    /// [`Self::EVERY`], where it does not depend on the settings.
    fn every(&self) -> Duration {
        Self::EVERY
    }

    /// Computes what differs. Pure, total, synchronous.
    fn plan(&self, facts: &Self::Facts, now: &Conditions) -> Plan<Self::Action>;

    /// Makes one change, without choices.
    fn apply(
        &self,
        action: &Self::Action,
        host: &dyn Change,
        progress: &Progress,
    ) -> impl Future<Output = Result<(), PortError>> + Send;
}

type BoxedFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An action without its type, together with how it reads.
pub(crate) struct ErasedAction {
    pub(crate) text: String,
    pub(crate) json: serde_json::Value,
    inner: Box<dyn Any + Send + Sync>,
}

pub(crate) type ErasedPlan = Plan<Arc<ErasedAction>>;

pub(crate) trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn every(&self) -> Duration;
    fn optional(&self) -> bool;
    fn observe<'a>(&'a self, host: &'a dyn Inspect) -> BoxedFuture<'a, Result<Box<dyn Any + Send + Sync>, PortError>>;
    fn plan(&self, facts: &(dyn Any + Send + Sync), now: &Conditions) -> ErasedPlan;
    fn apply<'a>(
        &'a self,
        action: &'a ErasedAction,
        host: &'a dyn Change,
        progress: &'a Progress,
    ) -> BoxedFuture<'a, Result<(), PortError>>;
}

impl<C: Capability> Erased for C {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn every(&self) -> Duration {
        Capability::every(self)
    }

    fn optional(&self) -> bool {
        C::OPTIONAL
    }

    fn observe<'a>(&'a self, host: &'a dyn Inspect) -> BoxedFuture<'a, Result<Box<dyn Any + Send + Sync>, PortError>> {
        Box::pin(async move {
            let facts = Capability::observe(self, host).await?;
            Ok(Box::new(facts) as Box<dyn Any + Send + Sync>)
        })
    }

    fn plan(&self, facts: &(dyn Any + Send + Sync), now: &Conditions) -> ErasedPlan {
        // Facts of another type cannot get here: the engine keeps them beside the capability that made them.
        let Some(facts) = facts.downcast_ref::<C::Facts>() else { return Plan::default() };
        let plan = Capability::plan(self, facts, now);
        Plan {
            steps: plan.steps.into_iter().map(erase).collect(),
            waits: plan.waits,
            refusals: plan.refusals,
            notes: plan.notes,
            conditions: plan.conditions,
            again: plan.again,
        }
    }

    fn apply<'a>(
        &'a self,
        action: &'a ErasedAction,
        host: &'a dyn Change,
        progress: &'a Progress,
    ) -> BoxedFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            match action.inner.downcast_ref::<C::Action>() {
                Some(action) => Capability::apply(self, action, host, progress).await,
                None => Ok(()),
            }
        })
    }
}

fn erase<A: Display + Serialize + Send + Sync + 'static>(step: Step<A>) -> Step<Arc<ErasedAction>> {
    let action = ErasedAction {
        text: step.action.to_string(),
        json: serde_json::to_value(&step.action).unwrap_or_default(),
        inner: Box::new(step.action),
    };
    Step { item: step.item, action: Arc::new(action), why: step.why, risk: step.risk, after: step.after }
}

/// A capability as the engine keeps it.
#[derive(Clone)]
pub struct Boxed(pub(crate) Arc<dyn Erased>);

impl Boxed {
    /// The capability's name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }
}

/// Boxes a capability for the engine.
pub fn boxed<C: Capability>(capability: C) -> Boxed {
    Boxed(Arc::new(capability))
}
