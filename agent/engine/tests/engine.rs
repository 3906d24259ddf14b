//! The loop against a world of two numbers: one capability counts `a` up to its target, the other starts when
//! the first says so. The host is never asked for anything but the clock.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use crate::common::ClockOnly;
use bowline_engine::{
    Capability, CapabilityState, Conditions, Engine, Outcome, Overall, Plan, Risk, SettingsReport, Wait, Wake, boxed,
};
use bowline_ports::*;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Default)]
struct World {
    a: Arc<AtomicU32>,
    b: Arc<AtomicU32>,
    fail: Arc<Mutex<Vec<ErrorKind>>>,
    looks_b: Arc<AtomicU32>,
}

struct CountUp(World, u32);
struct Follower(World);

impl Capability for CountUp {
    const NAME: &'static str = "count";
    type Facts = u32;
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<u32, PortError> {
        Ok(self.0.a.load(SeqCst))
    }
    fn plan(&self, a: &u32, _: &Conditions) -> Plan<String> {
        let mut plan = Plan::default();
        for n in *a..self.1 {
            plan.step("a", format!("make it {}", n + 1), "it is too small");
        }
        if *a == self.1 {
            plan.state("a", "ready");
        }
        plan
    }
    async fn apply(&self, _: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        if let Some(kind) = self.0.fail.lock().unwrap().pop() {
            return Err(PortError::new(kind, "no luck").hint("try a horseshoe"));
        }
        self.0.a.fetch_add(1, SeqCst);
        Ok(())
    }
}

impl Capability for Follower {
    const NAME: &'static str = "follow";
    type Facts = u32;
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<u32, PortError> {
        self.0.looks_b.fetch_add(1, SeqCst);
        Ok(self.0.b.load(SeqCst))
    }
    fn plan(&self, b: &u32, now: &Conditions) -> Plan<String> {
        let mut plan = Plan::default();
        if !now.is("a", "ready") {
            plan.waits.push(Wait::new("b", "a", "b follows a").deadline(Duration::from_secs(60), "count yourself"));
        } else if *b == 0 {
            plan.step("b", "set".into(), "a is ready");
        }
        plan
    }
    async fn apply(&self, _: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        self.0.b.store(1, SeqCst);
        Ok(())
    }
}

fn engine(world: &World, target: u32) -> (Engine, Arc<dyn Change>) {
    let capabilities = vec![boxed(Follower(world.clone())), boxed(CountUp(world.clone(), target))];
    (Engine::new(capabilities, "test"), Arc::new(ClockOnly))
}

#[tokio::test(start_paused = true)]
async fn converges_in_order_and_then_does_nothing() {
    let world = World::default();
    let (mut engine, host) = engine(&world, 3);
    assert_eq!(engine.converge(&host, Duration::ZERO, |_| {}).await, Outcome::Converged);
    assert_eq!((world.a.load(SeqCst), world.b.load(SeqCst)), (3, 1));
    assert_eq!(engine.report().overall, Overall::Ready);
    let looks = world.looks_b.load(SeqCst);
    engine.turn(&host).await;
    assert_eq!(world.looks_b.load(SeqCst), looks, "an unchanged node is not looked at again before it is due");
    assert!(engine.report().is_empty());
}

#[tokio::test(start_paused = true)]
async fn settings_that_are_not_taken_into_force_are_no_convergence() {
    let (mut engine, host) = engine(&World::default(), 1);
    let errors = vec!["50-node.toml:1:1: unknown section".into()];
    engine.settings(SettingsReport { errors, ..SettingsReport::default() });
    assert_eq!(engine.converge(&host, Duration::ZERO, |_| {}).await, Outcome::Blocked);
    assert!(engine.report().is_empty(), "the earlier ones are in force");
}

#[tokio::test(start_paused = true)]
async fn a_failing_item_is_tried_again_later_and_says_why_meanwhile() {
    let world = World::default();
    *world.fail.lock().unwrap() = vec![ErrorKind::Timeout, ErrorKind::Busy];
    let (mut engine, host) = engine(&world, 1);
    assert_eq!(engine.converge(&host, Duration::ZERO, |_| {}).await, Outcome::Blocked);
    let count = &engine.report().capabilities[1];
    assert_eq!(count.state, CapabilityState::Failing);
    let failing = count.steps[0].failing.as_ref().unwrap();
    assert_eq!((failing.attempts, failing.error.as_str()), (1, "no luck"));
    assert_eq!(failing.hint.as_deref(), Some("try a horseshoe"));
    assert_eq!(engine.report().headline(), "failing: a: no luck");
    assert_eq!(engine.converge(&host, Duration::from_secs(60), |_| {}).await, Outcome::Converged);
}

#[tokio::test(start_paused = true)]
async fn a_wait_remembers_its_start_and_becomes_overdue() {
    let world = World::default();
    *world.fail.lock().unwrap() = vec![ErrorKind::Invalid; 40];
    let (mut engine, host) = engine(&world, 1);
    engine.converge(&host, Duration::from_secs(30), |_| {}).await;
    assert_eq!(engine.report().capabilities[0].state, CapabilityState::Waiting);
    engine.converge(&host, Duration::from_secs(40), |_| {}).await;
    let wait = &engine.report().capabilities[0].waits[0];
    assert_eq!(wait.overdue.as_deref(), Some("count yourself"));
    assert_eq!(engine.report().overall, Overall::Degraded);
}

/// Does its one step whether or not `a` is ready, and fails for as long as it is not.
struct Eager(World);
impl Capability for Eager {
    const NAME: &'static str = "eager";
    type Facts = u32;
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<u32, PortError> {
        Ok(self.0.b.load(SeqCst))
    }
    fn plan(&self, b: &u32, now: &Conditions) -> Plan<String> {
        let mut plan = Plan::default();
        now.get("a");
        if *b == 0 {
            plan.step("b", "set".into(), "it is not set");
        }
        plan
    }
    async fn apply(&self, _: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        if self.0.a.load(SeqCst) == 0 {
            return Err(PortError::new(ErrorKind::NoSpace, "not without a"));
        }
        self.0.b.store(1, SeqCst);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_as_soon_as_a_condition_comes() {
    let world = World::default();
    *world.fail.lock().unwrap() = vec![ErrorKind::Timeout];
    let host: Arc<dyn Change> = Arc::new(ClockOnly);
    let capabilities = vec![boxed(CountUp(world.clone(), 1)), boxed(Eager(world.clone()))];
    let mut engine = Engine::new(capabilities, "test");
    let begun = Instant::now();
    assert_eq!(engine.converge(&host, Duration::from_secs(60), |_| {}).await, Outcome::Converged);
    // `a` comes after two to three seconds; the delay of a full disk alone would be twelve.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

/// What it does has no effect, or fails; it counts how often.
struct InVain(Arc<AtomicU32>, Result<(), ErrorKind>);
impl Capability for InVain {
    const NAME: &'static str = "in-vain";
    type Facts = ();
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<(), PortError> {
        Ok(())
    }
    fn plan(&self, (): &(), _: &Conditions) -> Plan<String> {
        let mut plan = Plan::default();
        plan.step("x", "set x".into(), "it is not set");
        plan
    }
    async fn apply(&self, _: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        self.0.fetch_add(1, SeqCst);
        self.1.map_err(|kind| PortError::new(kind, "no luck"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_without_effect_is_a_failure_and_no_hot_loop() {
    let host: Arc<dyn Change> = Arc::new(ClockOnly);
    let mut engine = Engine::new(vec![boxed(InVain(Arc::default(), Ok(())))], "test");
    assert_eq!(engine.converge(&host, Duration::ZERO, |_| {}).await, Outcome::Blocked);
    let failing = engine.report().capabilities[0].steps[0].failing.clone().unwrap();
    assert!(failing.error.contains("looking again shows no difference"), "{}", failing.error);
    // Nor is it done every few seconds for ever.
    assert_eq!(engine.converge(&host, Duration::from_secs(3600), |_| {}).await, Outcome::Blocked);
    let failing = engine.report().capabilities[0].steps[0].failing.clone().unwrap();
    assert!((10..30).contains(&failing.attempts), "{failing:?}");
}

/// When its service was restarted: each time there is a reason to do it again half a second later.
#[derive(Clone, Default)]
struct Restarting(Arc<Mutex<Vec<Instant>>>);
impl Restarting {
    fn seconds_between(&self) -> Vec<u64> {
        self.0.lock().unwrap().windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect()
    }
}
impl Capability for Restarting {
    const NAME: &'static str = "restarting";
    type Facts = bool;
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<bool, PortError> {
        Ok(self.0.lock().unwrap().last().is_none_or(|at| at.elapsed() >= Duration::from_millis(500)))
    }
    fn plan(&self, owed: &bool, _: &Conditions) -> Plan<String> {
        let mut plan = Plan { again: Some(Duration::from_millis(500)), ..Plan::default() };
        if *owed {
            plan.step_with("x", "restart x".into(), "it is owed", Risk::Restart);
        }
        plan
    }
    async fn apply(&self, _: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        self.0.lock().unwrap().push(Instant::now());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_restarted_ever_less_often_whatever_the_reason() {
    let world = Restarting::default();
    let host: Arc<dyn Change> = Arc::new(ClockOnly);
    let mut engine = Engine::new(vec![boxed(world.clone())], "test");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4 * 3600) {
        engine.turn(&host).await;
        engine.next().await;
    }
    let between = world.seconds_between();
    assert_eq!(between[..7], [0, 0, 10, 20, 40, 80, 160]);
    assert!(between[7..].iter().all(|seconds| *seconds == 300), "{between:?}");
    let held = engine.report().capabilities[0].steps[0].failing.clone().unwrap();
    assert_eq!(held.attempts, 0, "it did not fail");
    let why = "“restart x” would be one too many: 12 restarts within the last hour";
    assert_eq!(held.error, why);
    // Somebody asks for it.
    engine.wake(Wake::All);
    engine.turn(&host).await;
    engine.next().await;
    assert_eq!(world.seconds_between().len(), between.len() + 1);
}

/// A command that waits looks twice a second; another one that asks meanwhile is heard all the same, and so is the next.
#[tokio::test(start_paused = true)]
async fn each_who_asks_ends_the_delays_and_who_only_looks_ends_none() {
    let host: Arc<dyn Change> = Arc::new(ClockOnly);
    let tries = Arc::new(AtomicU32::new(0));
    let mut engine = Engine::new(vec![boxed(InVain(tries.clone(), Err(ErrorKind::Denied)))], "test").without_jitter();
    let mut after = 0;
    for (wake, times) in [(Wake::Look, 20), (Wake::All, 1), (Wake::Look, 2), (Wake::All, 1), (Wake::Look, 20)] {
        for _ in 0..times {
            engine.wake(wake);
            engine.turn(&host).await;
            let _ = tokio::time::timeout(Duration::from_millis(500), engine.next()).await;
        }
        // The first look has begun it.
        after += u32::from(wake == Wake::All || after == 0);
        assert_eq!(tries.load(SeqCst), after, "{wake:?}");
    }
}

/// Its one step never ends, unless it is the right one.
struct Fetcher(&'static str, Arc<AtomicU32>);
impl Capability for Fetcher {
    const NAME: &'static str = "fetcher";
    type Facts = bool;
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<bool, PortError> {
        Ok(self.1.load(SeqCst) > 0)
    }
    fn plan(&self, done: &bool, _: &Conditions) -> Plan<String> {
        let mut plan = Plan::default();
        if !done {
            plan.step("x", self.0.into(), "it is not there");
        }
        plan
    }
    async fn apply(&self, action: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        if action == "wrong" {
            std::future::pending::<()>().await;
        }
        self.1.fetch_add(1, SeqCst);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_were_corrected_end_a_step_that_hangs() {
    let host: Arc<dyn Change> = Arc::new(ClockOnly);
    let done = Arc::new(AtomicU32::new(0));
    let mut engine = Engine::new(vec![boxed(Fetcher("wrong", done.clone()))], "test");
    engine.turn(&host).await;
    // The same settings again: it goes on.
    engine.replace(vec![boxed(Fetcher("wrong", done.clone()))]);
    let again = engine.converge(&host, Duration::ZERO, |_| {});
    assert!(tokio::time::timeout(Duration::from_secs(60), again).await.is_err());
    engine.replace(vec![boxed(Fetcher("right", done.clone()))]);
    assert_eq!(engine.converge(&host, Duration::ZERO, |_| {}).await, Outcome::Converged);
    assert_eq!(done.load(SeqCst), 1);
}

/// Its second item fails once alone, and is then held back by the first, which fails on and on.
struct HeldBack(World);
impl Capability for HeldBack {
    const NAME: &'static str = "held-back";
    type Facts = bool;
    type Action = String;
    async fn observe(&self, _: &dyn Inspect) -> Result<bool, PortError> {
        Ok(self.0.a.load(SeqCst) > 0)
    }
    fn plan(&self, tried: &bool, _: &Conditions) -> Plan<String> {
        let mut plan = Plan::default();
        if *tried {
            plan.step("first", "first".into(), "the second needs it");
        }
        plan.step("second", "second".into(), "it is to be");
        if *tried {
            plan.after("first");
        }
        plan
    }
    async fn apply(&self, _: &String, _: &dyn Change, _: &Progress) -> Result<(), PortError> {
        self.0.a.fetch_add(1, SeqCst);
        Err(PortError::new(ErrorKind::Timeout, "no luck"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_that_is_held_back_is_no_reason_to_turn_without_rest() {
    let host: Arc<dyn Change> = Arc::new(ClockOnly);
    let mut engine = Engine::new(vec![boxed(HeldBack(World::default()))], "test");
    let (begun, mut turns) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(300) {
        engine.look(host.as_ref()).await;
        engine.start(&host);
        engine.next().await;
        turns += 1;
        assert!(turns < 500, "{turns} turns in {:?}", begun.elapsed());
    }
}
