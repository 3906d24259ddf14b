//! Steps and looks share what the machine has only one of, such as the bus: neither may wait for the other for ever.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use crate::common::ClockOnly;
use bowline_engine::{Capability, Conditions, Engine, Outcome, Plan, boxed};
use bowline_ports::{Change, Inspect, PortError, Progress};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// Two items whose steps, and every look, take turns at one thing.
#[derive(Clone, Default)]
struct Bus {
    turn: Arc<tokio::sync::Mutex<()>>,
    done: Arc<AtomicU32>,
}

impl Capability for Bus {
    const NAME: &'static str = "bus";
    type Facts = u32;
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<u32, PortError> {
        let _turn = self.turn.lock().await;
        Ok(self.done.load(SeqCst))
    }
    fn plan(&self, done: &u32, _: &Conditions) -> Plan<String> {
        let mut plan = Plan::default();
        for item in ["a", "b"].iter().skip(usize::try_from(*done).unwrap()) {
            plan.step(*item, (*item).into(), "it is not done");
        }
        plan
    }
    async fn apply(&self, item: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        // The second is in the middle of its turn when the first has ended and all is looked at.
        if item == "b" {
            let _turn = self.turn.lock().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        } else {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.done.fetch_add(1, SeqCst);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_has_its_turn_goes_on_while_a_look_waits_for_it() {
    let host: Arc<dyn Change> = Arc::new(ClockOnly);
    let mut engine = Engine::new(vec![boxed(Bus::default())], "test");
    let converged = engine.converge(&host, Duration::ZERO, |_| {});
    let outcome = tokio::time::timeout(Duration::from_secs(60), converged).await;
    assert_eq!(outcome, Ok(Outcome::Converged));
}
