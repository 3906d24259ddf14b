//! What fills the disks: measured now and then by a unit of its own, as the settings say how often and how hard.

use crate::usage::{directories, order};
use bowline_engine::somewhat_longer;
use bowline_host::real::RealHost;
use bowline_ports::{Inspect, Survey, SurveyedDirectory};
use bowline_settings::Settings;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// After the start, so that the first boot has the disks for itself.
const FIRST: Duration = Duration::from_secs(120);

/// Where other directories are asked for than were measured last.
const OTHERS: Duration = Duration::from_secs(10);

/// After one that came to nothing, where the next would be later than that.
const FAILED: Duration = Duration::from_secs(15 * 60);

/// What was measured last. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Measuring(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    last: Option<Arc<Survey>>,
    /// The directories that it was to measure.
    asked: Vec<SurveyedDirectory>,
    /// Bytes a second by which each directory grew from one measurement to the next, as last known.
    grew: BTreeMap<PathBuf, f64>,
    /// The same of what goes on: a download between two measurements, however far apart they are, is no growth. So nothing is
    /// told of what has but one rate.
    growth: BTreeMap<PathBuf, f64>,
    /// Why measuring came to nothing the last time; empty when it did not.
    trouble: String,
    /// Between two measurements.
    every: Option<Duration>,
}

impl State {
    fn put(&mut self, asked: Vec<SurveyedDirectory>, found: Survey) {
        if let Some(before) = &self.last {
            let now = growth(before, &found);
            let lasting = |(path, rate): (&PathBuf, &f64)| {
                let earlier = self.grew.get(path)?;
                let goes_on = earlier * rate > 0.0;
                Some((path.clone(), if goes_on { rate.signum() * rate.abs().min(earlier.abs()) } else { 0.0 }))
            };
            self.growth = now.iter().filter_map(lasting).collect();
            // One that could not be measured this time keeps its rate: the next one is compared with that.
            self.grew.retain(|path, _| found.directories.iter().any(|one| one.path == *path));
            self.grew.extend(now);
        }
        self.last = Some(Arc::new(found));
        self.asked = asked;
    }

    /// How long to wait before these are measured: changed settings and a new start of the daemon put nothing off.
    fn pause(&self, wanted: &[SurveyedDirectory], every: Duration, now: i64) -> Duration {
        match &self.last {
            None => FIRST.min(every),
            Some(_) if self.asked != wanted => OTHERS.min(every),
            // A clock that was set back begins anew.
            Some(last) => {
                let ago = u64::try_from(now - last.at).map_or(Duration::ZERO, Duration::from_secs);
                every.saturating_sub(ago).max(OTHERS.min(every))
            }
        }
    }
}

fn growth(before: &Survey, now: &Survey) -> BTreeMap<PathBuf, f64> {
    let seconds = now.at - before.at;
    let bytes = |survey: &Survey, path: &PathBuf| {
        let one = survey.directories.iter().find(|one| one.path == *path)?;
        Some(one.size?.allocated as f64)
    };
    let rate = |path: &PathBuf| Some((bytes(now, path)? - bytes(before, path)?) / seconds as f64);
    let paths = now.directories.iter().map(|one| &one.path);
    paths.filter(|_| seconds > 0).filter_map(|path| Some((path.clone(), rate(path)?))).collect()
}

impl Measuring {
    /// What was measured last; `None`: nothing yet.
    pub(crate) fn last(&self) -> Option<Arc<Survey>> {
        self.state().last.clone()
    }

    /// Bytes a second by which directories grew, as far as that is known of two times; the lesser of these.
    pub(crate) fn growth(&self) -> BTreeMap<PathBuf, f64> {
        self.state().growth.clone()
    }

    /// Whether measuring came to nothing the last time.
    pub(crate) fn failed(&self) -> bool {
        !self.state().trouble.is_empty()
    }

    /// Seconds between two measurements; `None`: nobody measures.
    pub(crate) fn every(&self) -> Option<u64> {
        self.state().every.map(|every| every.as_secs())
    }

    /// Remembers why measuring came to nothing, and tells it once.
    fn tried(&self, trouble: String) {
        let mut state = self.state();
        if trouble != state.trouble && !trouble.is_empty() {
            tracing::warn!("directories were not measured: {trouble}");
        }
        state.trouble = trouble;
    }

    /// What an earlier daemon had measured since this machine booted: its series do not end with it.
    pub(crate) fn remembered(host: &RealHost) -> Self {
        let measuring = Self::default();
        // One that cannot be read is of another version: there is none.
        if let Ok(Some((order, found))) = host.surveyed() {
            measuring.state().put(order.directories, found);
        }
        measuring
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody measures any more.
    pub(crate) fn end(&self) {
        self.state().every = None;
    }

    /// Measures again and again by these settings, until the task is ended.
    pub(crate) fn begin(&self, host: Arc<RealHost>, settings: &Settings) -> JoinHandle<()> {
        let (measuring, settings) = (self.clone(), settings.clone());
        self.state().every = Some(settings.usage.every.duration());
        tokio::spawn(async move {
            let every = settings.usage.every.duration();
            let now = host.clock().await.map_or(0, |clock| clock.unix);
            let mut pause = measuring.state().pause(&directories(&settings), every, now);
            loop {
                // Machines that boot at once do not read their disks at once.
                tokio::time::sleep(somewhat_longer(pause)).await;
                let tried = match host.mounts().await {
                    Ok(mounts) => {
                        let order = order(&settings, &mounts);
                        let found = host.survey(&order).await;
                        found.map(|found| measuring.state().put(order.directories, found))
                    }
                    Err(error) => Err(error),
                };
                pause = if tried.is_ok() { every } else { FAILED.min(every) };
                measuring.tried(tried.err().map(|error| error.to_string()).unwrap_or_default());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::{DirectorySize, Measured};
    use std::path::Path;

    fn survey(at: i64, all: &[(&str, Option<u64>)]) -> Survey {
        let one = |(path, bytes): &(&str, Option<u64>)| Measured {
            path: path.into(),
            size: bytes.map(|allocated| DirectorySize { allocated, ..DirectorySize::default() }),
            ..Measured::default()
        };
        Survey { at, directories: all.iter().map(one).collect(), ..Survey::default() }
    }

    #[test]
    fn who_measures_no_more_has_no_interval() {
        let measuring = Measuring::default();
        measuring.state().every = Some(Duration::from_secs(300));
        assert_eq!(measuring.every(), Some(300));
        measuring.end();
        assert_eq!(measuring.every(), None);
    }

    #[test]
    fn growth_is_told_of_what_was_measured_three_times() {
        let mut state = State::default();
        state.put(vec![], survey(1000, &[("/a", Some(500)), ("/b", Some(900)), ("/c", None)]));
        assert!(state.growth.is_empty());
        state.put(vec![], survey(1100, &[("/a", Some(1500)), ("/b", Some(400)), ("/c", Some(1)), ("/d", Some(1))]));
        // Between two there may have been but one step, as the images of a first boot are.
        assert!(state.growth.is_empty(), "{:?}", state.growth);
        state.put(vec![], survey(1200, &[("/a", Some(1900)), ("/b", Some(400)), ("/c", Some(501))]));
        assert_eq!(state.growth, BTreeMap::from([("/a".into(), 4.0), ("/b".into(), 0.0)]));
        state.put(vec![], survey(1300, &[("/a", Some(9900)), ("/b", Some(900)), ("/c", Some(1))]));
        assert_eq!(state.growth, BTreeMap::from([("/a".into(), 4.0), ("/b".into(), 0.0), ("/c".into(), 0.0)]));
        // A clock that was set back tells nothing.
        state.put(vec![], survey(900, &[("/a", Some(9))]));
        assert!(state.growth.is_empty());
        assert_eq!(state.grew.keys().collect::<Vec<_>>(), [Path::new("/a")], "what is measured no more is forgotten");
    }

    #[test]
    fn a_step_beside_a_measurement_that_failed_is_no_growth() {
        let mut state = State::default();
        let mut put = |at, bytes| {
            state.put(vec![], survey(at, &[("/a", bytes)]));
            state.growth.get(Path::new("/a")).copied()
        };
        assert_eq!([put(100, Some(0)), put(200, None), put(300, Some(100))], [None, None, None]);
        assert_eq!(put(400, Some(90_100)), None, "one step");
        assert_eq!(put(500, Some(90_100)), Some(0.0));
        assert_eq!([put(600, Some(90_200)), put(700, None)], [Some(0.0), None]);
        // The rate before it is known still, and one step is one.
        assert_eq!([put(800, Some(90_400)), put(900, Some(990_400))], [None, Some(1.0)]);
    }

    #[test]
    fn nothing_is_put_off_by_a_restart_or_by_other_settings() {
        let hour = Duration::from_secs(3600);
        let asked = vec![SurveyedDirectory { path: "/a".into(), depth: 0, named: true }];
        let mut state = State::default();
        assert_eq!(state.pause(&asked, hour, 5000), FIRST);
        state.put(asked.clone(), survey(1000, &[("/a", Some(1))]));
        assert_eq!(state.pause(&asked, hour, 2000), Duration::from_secs(2600));
        assert_eq!(state.pause(&asked, hour, 9_000_000), OTHERS, "it is due");
        assert_eq!(state.pause(&asked, hour, 10), hour, "the clock was set back");
        assert_eq!(state.pause(&[], hour, 1001), OTHERS, "others are asked for");
    }
}
