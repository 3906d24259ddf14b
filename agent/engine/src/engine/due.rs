//! When the engine turns next, if nothing wakes it before.

use super::{Engine, Key};
use std::time::Duration;
use tokio::time::Instant;

impl Engine {
    /// Whether the next step of an item has to wait for another item.
    fn is_held_back(&self, (name, item): &Key) -> bool {
        let mut slots = self.slots.iter().filter(|slot| slot.capability.0.name() == *name);
        slots.any(|slot| slot.plan.steps.iter().find(|s| s.item == *item).is_some_and(|step| slot.holds_back(step)))
    }

    pub(super) fn due(&self) -> Instant {
        let looks = self.slots.iter().map(|s| s.looked + s.poll().unwrap_or(s.every()).min(s.every()));
        // A try that is under way ends by itself, and one that is held back comes when the other step has ended: their
        // old moments would make this a busy loop.
        let free = |key: &Key| !self.in_flight.contains_key(key) && !self.is_held_back(key);
        let tries = self.trouble.iter().filter(|(key, _)| free(key)).map(|(_, t)| t.next);
        let deadlines = self.slots.iter().flat_map(|s| {
            let name = s.capability.0.name();
            s.plan.waits.iter().filter_map(move |w| {
                let (begun, _) = self.since.get(&(name.to_string(), w.item.clone(), w.what.clone()))?;
                let due = *begun + w.deadline?;
                (due > Instant::now()).then_some(due)
            })
        });
        // A report tells how far a step is: while one is under way, the loop turns for that alone.
        let far = Instant::now() + Duration::from_secs(if self.in_flight.is_empty() { 3600 } else { 1 });
        looks.chain(tries).chain(deadlines).min().unwrap_or(far).min(far)
    }
}
