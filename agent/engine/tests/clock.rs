//! The time of day is set while things are waited for: their ages stay what they are.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use crate::common::{ClockOnly, UNIX};
use bowline_engine::{Capability, Conditions, Engine, Plan, Report, Wait, boxed};
use bowline_ports::*;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const TEN_YEARS: i64 = 10 * 365 * 86_400;

struct Patient;

impl Capability for Patient {
    const NAME: &'static str = "patient";
    const EVERY: Duration = Duration::from_secs(3600);
    type Facts = ();
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<(), PortError> {
        Ok(())
    }
    fn plan(&self, (): &(), _: &Conditions) -> Plan<String> {
        let mut plan = Plan::default();
        plan.waits.push(Wait::new("it", "a thing", "it is late").deadline(Duration::from_secs(300), "fetch it"));
        plan
    }
    async fn apply(&self, _: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        Ok(())
    }
}

/// For how long it is waited, by the report, and whether that is too long.
fn stands(report: &Report) -> (i64, bool) {
    let wait = &report.capabilities[0].waits[0];
    (report.at - wait.since, wait.overdue.is_some())
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_changes_no_ages() {
    let mut engine = Engine::new(vec![boxed(Patient)], "1");
    assert_eq!(stands(engine.look(&ClockOnly).await), (0, false));
    tokio::time::advance(Duration::from_secs(60)).await;
    UNIX.fetch_add(60, SeqCst);
    assert_eq!(stands(engine.look(&ClockOnly).await), (60, false));
    for set in [TEN_YEARS, -TEN_YEARS, TEN_YEARS] {
        UNIX.fetch_add(set, SeqCst);
        assert_eq!(stands(engine.look(&ClockOnly).await), (60, false), "{set}");
    }
    let earlier = engine.report().clone();

    // And set once more while no daemon runs: it is waited for no longer than the machine is up.
    UNIX.fetch_add(TEN_YEARS, SeqCst);
    let clock = Clock { unix: UNIX.load(SeqCst), synchronised: true, uptime: 90, awake: 90 };
    let mut engine = Engine::new(vec![boxed(Patient)], "1");
    engine.resume(&earlier, &clock);
    assert_eq!(stands(engine.look(&ClockOnly).await), (90, false));
    tokio::time::advance(Duration::from_secs(220)).await;
    UNIX.fetch_add(220, SeqCst);
    assert_eq!(stands(engine.look(&ClockOnly).await), (310, true));
}
