//! How often an engine turns while nothing happens.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use crate::common::ClockOnly;
use bowline_engine::{Capability, Conditions, Engine, Overall, Plan, Wake, boxed};
use bowline_ports::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// When it was looked at, in seconds.
type Looks = Arc<Mutex<Vec<u64>>>;

/// Looks every so many seconds, and wants nothing but what its plan says.
struct Watcher<const NTH: u32>(Instant, Looks);

macro_rules! watcher {
    ($nth:literal, $name:literal, $every:literal, $plan:expr) => {
        impl Capability for Watcher<$nth> {
            const NAME: &'static str = $name;
            const EVERY: Duration = Duration::from_secs($every);
            type Facts = ();
            type Action = String;
            async fn observe(&self, _: &dyn Inspect) -> Result<(), PortError> {
                self.1.lock().unwrap().push(self.0.elapsed().as_secs());
                Ok(())
            }
            fn plan(&self, _: &(), _: &Conditions) -> Plan<String> {
                $plan
            }
            async fn apply(&self, _: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
                Ok(())
            }
        }
    };
}
watcher!(1, "five-minutes", 300, Plan::default());
watcher!(2, "five-minutes-too", 300, Plan::default());
watcher!(3, "an-hour", 3600, Plan::default());
// It waits for nothing, and has something to ask once more.
watcher!(4, "curious", 3600, Plan { again: Some(Duration::from_secs(5)), ..Plan::default() });

#[tokio::test(start_paused = true)]
async fn what_waits_for_nothing_may_be_looked_at_again_all_the_same() {
    let begun = Instant::now();
    let mut engine = Engine::new(vec![boxed(Watcher::<4>(begun, Looks::default()))], "test");
    assert_eq!(engine.look(&ClockOnly).await.overall, Overall::Ready);
    engine.next().await;
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn looks_that_are_due_at_about_the_same_time_come_together() {
    let host: Arc<dyn Change> = Arc::new(ClockOnly);
    let (begun, looks): (Instant, [Looks; 3]) = (Instant::now(), Default::default());
    let [one, two, hour] = looks.clone();
    let all = vec![boxed(Watcher::<1>(begun, one)), boxed(Watcher::<2>(begun, two)), boxed(Watcher::<3>(begun, hour))];
    let mut engine = Engine::new(all, "test");
    let mut turns = 0;
    // An event has the second look at its own time.
    let mut event = Some(Duration::from_secs(100));
    while begun.elapsed() < Duration::from_secs(1100) {
        engine.look(host.as_ref()).await;
        engine.start(&host);
        turns += 1;
        tokio::select! {
            () = engine.next() => {}
            () = tokio::time::sleep(event.unwrap_or(Duration::MAX)) => {
                event = None;
                engine.wake(Wake::Capability("five-minutes-too"));
            }
        }
    }
    let seen = looks.map(|looks| looks.lock().unwrap().clone());
    assert_eq!(seen, [vec![0, 300, 600, 900], vec![0, 100, 300, 600, 900], vec![0]], "an hour is an hour");
    assert_eq!(turns, 5);
}
