//! Looking at the machine, while steps under way go on.

use super::{Engine, Slot};
use crate::report::Report;
use bowline_ports::Inspect;
use futures::StreamExt;
use tokio::time::Instant;

impl Engine {
    /// Looks at what is due and plans; changes nothing.
    pub async fn look(&mut self, host: &dyn Inspect) -> &Report {
        let now = Instant::now();
        // To wake up is what a look at rest costs: who is half-way to its own goes along, so that the next ones come together.
        let longest = self.slots.iter().filter(|slot| slot.is_due(now)).map(Slot::every).max();
        for slot in &mut self.slots {
            let along = longest.is_some_and(|longest| slot.every() <= longest && slot.is_due(now + slot.every() / 2));
            slot.dirty |= slot.facts.is_none() || along;
        }
        // Conditions flow down the list in one pass; a capability that asked for one stated further down looks
        // again. Each extra pass needs a condition that changed, and no capability looks more often than there
        // are capabilities: that bounds it.
        for _ in 0..=self.slots.len() {
            self.observe(host).await;
            self.plan();
            if !self.slots.iter().any(|s| s.dirty) {
                break;
            }
        }
        self.looks += 1;
        let unix = host.clock().await.map(|c| c.unix).unwrap_or(self.report.at);
        self.remember(unix, Instant::now());
        self.make_report(unix);
        &self.report
    }

    /// Steps under way go on meanwhile: one that stands still may hold what the look waits for, such as its turn to write
    /// to the bus.
    async fn observe(&mut self, host: &dyn Inspect) {
        let looks = self.slots.iter_mut().filter(|s| s.dirty).map(|slot| async move {
            slot.facts = Some(slot.capability.0.observe(host).await);
            slot.dirty = false;
            slot.looked = Instant::now();
        });
        let mut looks = futures::future::join_all(looks);
        let mut finished = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = &mut looks => break,
                Some(one) = self.running.next(), if !self.running.is_empty() => finished.push(one),
            }
        }
        drop(looks);
        finished.into_iter().for_each(|one| self.finished(one));
    }
}
