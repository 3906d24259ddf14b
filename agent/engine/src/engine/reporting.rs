//! From the engine's state to a report.

use super::{Engine, Key, Slot, log};
use crate::report::{
    CapabilityReport, CapabilityState, Failing, Overall, RefusalReport, Report, StepReport, WaitReport,
};
use bowline_ports::PortError;
use std::collections::BTreeSet;
use tokio::time::Instant;

impl Engine {
    pub(super) fn make_report(&mut self, unix: i64) {
        let now = Instant::now();
        let reports = self.slots.iter().map(|slot| (slot, self.capability_report(slot, now, unix)));
        let silent = |slot: &Slot, report: &CapabilityReport| {
            slot.capability.0.optional() && slot.plan.conditions.is_empty() && report.state == CapabilityState::Done
        };
        let told = reports.filter(|(slot, report)| !silent(slot, report));
        let mut capabilities: Vec<_> = told.map(|(_, report)| report).collect();
        capabilities.extend(self.attached.iter().cloned());
        use CapabilityState as S;
        let any = |wanted: &[S]| capabilities.iter().any(|c| wanted.contains(&c.state));
        let overall = if any(&[S::Refused, S::Failing, S::Overdue, S::Unknown]) || !self.settings.errors.is_empty() {
            Overall::Degraded
        } else if any(&[S::Working, S::Waiting]) || self.settings.absent {
            Overall::Converging
        } else {
            Overall::Ready
        };
        let report = Report {
            schema: Report::SCHEMA,
            version: self.version.clone(),
            at: unix,
            looks: self.looks,
            overall,
            settings: self.settings.clone(),
            capabilities,
            conditions: self.conditions(),
        };
        log::differences(&self.report, &report);
        self.report = report;
    }

    fn capability_report(&self, slot: &Slot, now: Instant, unix: i64) -> CapabilityReport {
        let name = slot.capability.0.name();
        let since = |item: &String, what: &String| {
            self.since.get(&(name.to_string(), item.clone(), what.clone())).copied().unwrap_or((now, unix))
        };
        let mut first = BTreeSet::new();
        let steps: Vec<_> = slot
            .plan
            .steps
            .iter()
            .map(|step| {
                let key: Key = (name, step.item.clone());
                let first = first.insert(step.item.clone());
                let trouble = self.trouble.get(&key).filter(|_| first);
                StepReport {
                    item: step.item.clone(),
                    what: step.action.text.clone(),
                    why: step.why.clone(),
                    risk: step.risk,
                    action: step.action.json.clone(),
                    running: self.in_flight.get(&key).filter(|_| first).map(|f| f.progress.get()),
                    failing: trouble.map(|t| Failing {
                        attempts: t.attempts,
                        since: t.since,
                        kind: t.error.kind,
                        error: t.error.message.clone(),
                        hint: t.error.hint.clone(),
                        next_try: unix + t.next.saturating_duration_since(now).as_secs() as i64,
                    }),
                }
            })
            .collect();
        let waits: Vec<_> = slot
            .plan
            .waits
            .iter()
            .map(|w| {
                let (begun, since) = since(&w.item, &w.what);
                let overdue = w.deadline.filter(|d| now.duration_since(begun) >= *d).map(|_| w.overdue.clone());
                WaitReport { item: w.item.clone(), what: w.what.clone(), why: w.why.clone(), since, overdue }
            })
            .collect();
        let refusals: Vec<_> = slot
            .plan
            .refusals
            .iter()
            .map(|r| RefusalReport {
                item: r.item.clone(),
                what: r.what.clone(),
                why: r.why.clone(),
                hint: r.hint.clone(),
                since: since(&r.item, &r.what).1,
            })
            .collect();
        let error = slot.facts.as_ref().and_then(|f| f.as_ref().err());
        let error = error.map(PortError::in_full);
        let state = if error.is_some() {
            CapabilityState::Unknown
        } else if !refusals.is_empty() {
            CapabilityState::Refused
        } else if steps.iter().any(|s| s.failing.is_some()) {
            CapabilityState::Failing
        } else if waits.iter().any(|w| w.overdue.is_some()) {
            CapabilityState::Overdue
        } else if !steps.is_empty() {
            CapabilityState::Working
        } else if !waits.is_empty() {
            CapabilityState::Waiting
        } else {
            CapabilityState::Done
        };
        CapabilityReport { name: name.into(), state, steps, waits, refusals, notes: slot.plan.notes.clone(), error }
    }
}
