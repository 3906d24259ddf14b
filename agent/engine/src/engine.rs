//! The loop: look at what changed, plan, start the first step of each item, report, wait for the next event.

use crate::capability::{Boxed, ErasedAction};
use crate::report::{CapabilityReport, Outcome, Report, SettingsReport};
use crate::{Conditions, Plan, Risk};
use bowline_ports::{Change, Clock, ErrorKind, Inspect, PortError, Progress};
use futures::StreamExt;
use futures::future::{AbortHandle, Aborted, abortable};
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

mod due;
mod log;
mod look;
mod reporting;
mod restarts;
mod slot;
mod told;
mod trouble;

use restarts::Restarts;
use slot::Slot;
use told::Told;
use trouble::Trouble;

type Key = (&'static str, String);

/// Who asks again within this is still asking.
const ASKED_ANEW: Duration = Duration::from_secs(3);

/// What made the loop wake up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Settings changed or somebody asked: look at everything, and try again what failed.
    All,
    /// Devices or units changed, or who has asked still waits: look at everything, with every delay as it is (our own failures
    /// make such events).
    Look,
    /// One capability by its name.
    Capability(&'static str),
}

struct InFlight {
    action: Arc<ErasedAction>,
    risk: Risk,
    progress: Progress,
    /// Begun under settings that were replaced since.
    outdated: bool,
    abort: AbortHandle,
}

struct Finished {
    key: Key,
    result: Result<Result<(), PortError>, Aborted>,
}

/// The time of day so many seconds before another.
fn before(unix: i64, seconds: u64) -> i64 {
    unix.saturating_sub_unsigned(seconds)
}

/// The engine. It remembers what fails, since when things are waited for and how often a service was restarted lately, and
/// nothing else: the node itself is the state.
pub struct Engine {
    slots: Vec<Slot>,
    since: BTreeMap<(String, String, String), (Instant, i64)>,
    trouble: BTreeMap<Key, Trouble>,
    /// What was done last, and what had failed before: wanted again at the next look, it had no effect.
    without_effect: BTreeMap<Key, (serde_json::Value, Option<Trouble>)>,
    told: Told,
    restarts: Restarts,
    /// When somebody asked last for everything to be looked at.
    asked: Option<Instant>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Finished> + Send>>>,
    in_flight: BTreeMap<Key, InFlight>,
    ended: Vec<(&'static str, bool)>,
    attached: Vec<CapabilityReport>,
    settings: SettingsReport,
    version: String,
    looks: u64,
    report: Report,
    /// Whether the delays after failures differ from machine to machine.
    jitter: bool,
}

impl Engine {
    /// An engine over capabilities in the order of their dependence. `version` is the program's.
    pub fn new(capabilities: Vec<Boxed>, version: impl Into<String>) -> Self {
        Self {
            slots: capabilities.into_iter().map(Slot::new).collect(),
            since: BTreeMap::new(),
            trouble: BTreeMap::new(),
            without_effect: BTreeMap::new(),
            told: Told::default(),
            restarts: Restarts::default(),
            asked: None,
            running: FuturesUnordered::new(),
            in_flight: BTreeMap::new(),
            ended: Vec::new(),
            attached: Vec::new(),
            settings: SettingsReport::default(),
            version: version.into(),
            looks: 0,
            report: Report::default(),
            jitter: true,
        }
    }

    /// Tries again at times that are the same in every run: for tests whose texts have times in them.
    #[must_use]
    pub fn without_jitter(self) -> Self {
        Self { jitter: false, ..self }
    }

    /// Takes over since when things were waited for from the report of an earlier process of this boot.
    pub fn resume(&mut self, earlier: &Report, clock: &Clock) {
        for c in &earlier.capabilities {
            let waits = c.waits.iter().map(|w| (&w.item, &w.what, w.since));
            let refusals = c.refusals.iter().map(|r| (&r.item, &r.what, r.since));
            for (item, what, since) in waits.chain(refusals) {
                // No longer than this boot: the clock may have been set since.
                let ago = u64::try_from(clock.unix - since).unwrap_or(0).min(clock.uptime);
                let begun = Instant::now().checked_sub(Duration::from_secs(ago)).unwrap_or_else(Instant::now);
                self.since.insert((c.name.clone(), item.clone(), what.clone()), (begun, before(clock.unix, ago)));
            }
        }
    }

    /// Puts capabilities with other settings in place. Steps under way go on, as long as their item is not to get
    /// another one now; failures are forgotten.
    pub fn replace(&mut self, capabilities: Vec<Boxed>) {
        self.in_flight.values_mut().for_each(|flight| flight.outdated = true);
        self.slots = capabilities.into_iter().map(Slot::new).collect();
        self.trouble.clear();
        self.without_effect.clear();
    }

    /// What the report says of the settings.
    pub fn settings(&mut self, settings: SettingsReport) {
        self.settings = settings;
    }

    /// What the report says of parts of the program that are no capabilities (its own sockets).
    pub fn attach(&mut self, reports: Vec<CapabilityReport>) {
        self.attached = reports;
    }

    /// The steps that ended since the last call: capability, and whether it went well.
    pub fn take_ended(&mut self) -> Vec<(&'static str, bool)> {
        std::mem::take(&mut self.ended)
    }

    /// Marks what has to be looked at again. A wake of all also ends every delay, and what holds restarts back unless it follows
    /// another within seconds: a command of an earlier version asks so all the time while it waits.
    pub fn wake(&mut self, wake: Wake) {
        for slot in &mut self.slots {
            if wake == Wake::All || wake == Wake::Look || wake == Wake::Capability(slot.capability.0.name()) {
                slot.dirty = true;
            }
        }
        if wake == Wake::All {
            let now = Instant::now();
            self.trouble.values_mut().for_each(|t| t.next = t.next.min(now));
            if self.asked.replace(now).is_none_or(|at| now.duration_since(at) >= ASKED_ANEW) {
                self.restarts.forget();
            }
        }
    }

    fn plan(&mut self) {
        let waited: BTreeMap<String, BTreeMap<(String, String), Duration>> = self.waited();
        let mut changed = Vec::new();
        for index in 0..self.slots.len() {
            let values = self.conditions();
            let name = self.slots[index].capability.0.name();
            let now = Conditions::new(values, waited.get(name).cloned().unwrap_or_default());
            let slot = &mut self.slots[index];
            slot.plan = match &slot.facts {
                Some(Ok(facts)) => slot.capability.0.plan(facts.as_ref(), &now),
                Some(Err(_)) | None => Plan::default(),
            };
            let seen = now.asked().into_iter().map(|k| (k.clone(), now.get(&k).map(String::from))).collect();
            let before = std::mem::replace(&mut slot.seen, seen);
            if before.iter().any(|(key, value)| slot.seen.get(key).is_some_and(|now| now != value)) {
                changed.push(index);
            }
        }
        let values = self.conditions();
        let now = Instant::now();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let stale = slot.seen.iter().any(|(key, seen)| values.get(key) != seen.as_ref());
            if stale || changed.contains(&index) {
                // What failed for lack of a condition need not wait once it is there.
                let name = slot.capability.0.name();
                self.trouble.iter_mut().filter(|(key, _)| key.0 == name).for_each(|(_, t)| t.next = t.next.min(now));
                slot.dirty = true;
            }
        }
    }

    fn conditions(&self) -> BTreeMap<String, String> {
        self.slots.iter().flat_map(|s| s.plan.conditions.clone()).collect()
    }

    fn waited(&self) -> BTreeMap<String, BTreeMap<(String, String), Duration>> {
        let mut all = BTreeMap::<String, BTreeMap<_, _>>::new();
        for ((name, item, what), (begun, _)) in &self.since {
            all.entry(name.clone()).or_default().insert((item.clone(), what.clone()), begun.elapsed());
        }
        all
    }

    /// Notes since when each wait and refusal stands, and forgets those that ended. `unix` is the time of day at `now`: where it was
    /// set since the last look, what began before is told by it as it is now.
    fn remember(&mut self, unix: i64, now: Instant) {
        let began = self.since.values_mut().map(|(begun, since)| (*begun, since));
        for (begun, since) in began.chain(self.trouble.values_mut().map(|trouble| (trouble.begun, &mut trouble.since)))
        {
            let told = before(unix, now.duration_since(begun).as_secs());
            // Whole seconds differ by one.
            if told.abs_diff(*since) > 1 {
                *since = told;
            }
        }

        let mut standing = BTreeSet::new();
        for slot in &self.slots {
            let name = slot.capability.0.name();
            let waits = slot.plan.waits.iter().map(|w| (&w.item, &w.what));
            let refusals = slot.plan.refusals.iter().map(|r| (&r.item, &r.what));
            for (item, what) in waits.chain(refusals) {
                standing.insert((name.to_string(), item.clone(), what.clone()));
            }
        }
        self.since.retain(|key, _| standing.contains(key));
        for key in standing {
            self.since.entry(key).or_insert((now, unix));
        }
        let wanted: BTreeSet<Key> = self
            .slots
            .iter()
            .flat_map(|s| s.plan.steps.iter().map(|step| (s.capability.0.name(), step.item.clone())))
            .collect();
        self.trouble.retain(|key, _| wanted.contains(key));
        self.without_effect.retain(|key, _| wanted.contains(key));
        let stands = |key: &Key| wanted.contains(key) || self.slots.iter().any(|slot| slot.waits_at(key));
        self.told.ended(stands).iter().for_each(|(key, what)| log::done(key, what));
    }

    /// Starts the first step of every item that is neither under way nor waiting for its next try.
    pub fn start(&mut self, host: &Arc<dyn Change>) {
        let now = Instant::now();
        for index in 0..self.slots.len() {
            let capability = self.slots[index].capability.clone();
            let name = capability.0.name();
            let mut seen = BTreeSet::new();
            for step in self.slots[index].plan.steps.clone() {
                let key: Key = (name, step.item.clone());
                if !seen.insert(step.item.clone()) {
                    continue;
                }
                if let Some(flight) = self.in_flight.get(&key) {
                    // A wrong download must not hold up the corrected one. Left off anywhere, every step is safe.
                    if flight.outdated && flight.action.json != step.action.json {
                        flight.abort.abort();
                    }
                    continue;
                }
                if self.slots[index].holds_back(&step) {
                    continue;
                }
                if self.trouble.get(&key).is_some_and(|t| t.next > now && t.is_about(&step)) {
                    continue;
                }
                if let Some((_, earlier)) =
                    self.without_effect.remove(&key).filter(|(done, _)| *done == step.action.json)
                {
                    let error = PortError::new(
                        ErrorKind::Other,
                        format!("“{}” was done, but looking again shows no difference", step.action.text),
                    );
                    self.trouble.extend(earlier.map(|earlier| (key.clone(), earlier)));
                    self.failed(key, error);
                    continue;
                }
                if step.risk == Risk::Restart && self.holds(&key, &step, now) {
                    continue;
                }
                let progress = Progress::default();
                let (host, action) = (Arc::clone(host), Arc::clone(&step.action));
                let (flight, capability) = (progress.clone(), capability.clone());
                let (work, abort) =
                    abortable(async move { capability.0.apply(&action, host.as_ref(), &progress).await });
                let (action, risk) = (Arc::clone(&step.action), step.risk);
                self.in_flight.insert(key.clone(), InFlight { action, risk, progress: flight, outdated: false, abort });
                self.running.push(Box::pin(async move { Finished { key, result: work.await } }));
            }
        }
        let at = self.report.at;
        self.make_report(at);
    }

    /// Waits until a step ends, a delay or a look is due. Safe to cancel.
    pub async fn next(&mut self) {
        let due = self.due();
        tokio::select! {
            Some(finished) = self.running.next(), if !self.running.is_empty() => self.finished(finished),
            () = tokio::time::sleep_until(due) => {
                let now = Instant::now();
                for slot in &mut self.slots {
                    slot.dirty |= slot.poll().is_some_and(|poll| now.duration_since(slot.looked) >= poll);
                }
            }
        }
        // Several steps often end together; take what is ready before looking again.
        while let Some(Some(finished)) = futures::FutureExt::now_or_never(self.running.next()) {
            self.finished(finished);
        }
    }

    fn finished(&mut self, finished: Finished) {
        let Finished { key, result } = finished;
        let Some(flight) = self.in_flight.remove(&key) else { return };
        self.wake(Wake::Capability(key.0));
        let Ok(result) = result else { return };
        self.ended.push((key.0, result.is_ok()));
        match result {
            Ok(()) => {
                // Each restart counts.
                let repeats = flight.risk != Risk::Restart && self.slots.iter().any(|slot| slot.waits_at(&key));
                let told = self.told.done(&key, &flight.action.text, repeats);
                told.iter().for_each(|what| log::done(&key, what));
                let earlier = self.trouble.remove(&key);
                if flight.risk == Risk::Restart {
                    self.restarts.note(&key, Instant::now());
                }
                self.without_effect.insert(key, (flight.action.json.clone(), earlier));
            }
            Err(error) => {
                log::failed(&key, &flight.action.text, &error);
                self.failed(key, error);
            }
        }
    }

    /// Looks, then starts what can be started: one turn of the loop.
    pub async fn turn(&mut self, host: &Arc<dyn Change>) -> &Report {
        let inspect: &dyn Inspect = host.as_ref();
        self.look(inspect).await;
        self.start(host);
        &self.report
    }

    /// Turns until nothing is left that can be done now, then says how it stands. With `patience`, waits and
    /// failures are given that long as well. `show` gets every report.
    pub async fn converge(
        &mut self,
        host: &Arc<dyn Change>,
        patience: Duration,
        mut show: impl FnMut(&Report),
    ) -> Outcome {
        let end = Instant::now() + patience;
        loop {
            self.turn(host).await;
            show(&self.report);
            match self.outcome() {
                Outcome::Converged => return Outcome::Converged,
                Outcome::Busy => {
                    // Progress is worth showing while nothing ends.
                    let _ = tokio::time::timeout(Duration::from_millis(200), self.next()).await;
                }
                standing @ (Outcome::Waiting | Outcome::Blocked) => {
                    if tokio::time::timeout_at(end, self.next()).await.is_err() {
                        return standing;
                    }
                }
            }
        }
    }

    /// How it stands after the last turn.
    pub fn outcome(&self) -> Outcome {
        Outcome::of(&self.report)
    }

    /// The last report.
    pub fn report(&self) -> &Report {
        &self.report
    }
}
