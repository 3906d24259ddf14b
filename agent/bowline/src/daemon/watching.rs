//! How filesystems fill: looked at each minute, remembered over reboots, and foretold.
//!
//! A task of its own: a filesystem that does not answer delays nothing else. What it found is read by the pages and the report.

use bowline_engine::{CapabilityReport, CapabilityState, Note};
use bowline_host::real::counted::counted;
use bowline_host::real::filesystems::Sampler;
use bowline_host::real::samples::{FilesystemUuids, read_samples};
use bowline_ports::{Change, Counted, Inspect, Mount, PortError, Space, boot_id};
use bowline_pressure::file::{MOST, Patch, Store};
use bowline_pressure::history::Sample;
use bowline_settings::Pressure;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::evicting::{self, Eviction};
use super::filling::{Places, Room, key};
use super::foretold::{Foretold, Grave, spent};
use super::remembering::Memory;
use crate::paths;

/// Between two samples: what the history keeps by the minute.
const EVERY: Duration = Duration::from_secs(60);
/// What is counted of trouble is read again when somebody asks and it is older than this: less than between two scrapes of most.
const COUNTED: Duration = Duration::from_secs(14);
/// A forecast is made anew when somebody asks and it is older than this, and for the report every so often.
const FRESH: Duration = Duration::from_secs(60);
/// Between two looks at whether something is to be told.
const TELL: Duration = Duration::from_secs(300);
/// Thresholds change with K3s's configuration, which nobody tells of.
const THRESHOLDS: Duration = Duration::from_secs(600);

/// By mount point, as bytes: to compare the parts of so many paths is a large share of a scrape.
pub(crate) type Outlooks = BTreeMap<OsString, Foretold>;

/// What is known of filesystems. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Watching {
    state: Arc<Mutex<State>>,
    /// What is to be told, by mount point: changes are worth a look.
    told: watch::Sender<BTreeMap<PathBuf, Grave>>,
    /// That one has notably less or more room than before.
    room: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    store: Store,
    /// The last sample of each filesystem, by its mount point.
    seen: BTreeMap<PathBuf, Seen>,
    /// Of trouble, and when it was read: with many disks that are hundreds of small files.
    counted: Option<(Instant, Arc<Counted>)>,
    foretold: Option<(Instant, Arc<Outlooks>)>,
    eviction: Eviction,
    rules: Pressure,
    /// The file of samples may not be written.
    denied: bool,
}

#[derive(Clone)]
struct Seen {
    key: String,
    /// Of the filesystem, in the mount table.
    number: String,
    space: Space,
    /// It cannot fill.
    read_only: bool,
}

impl Seen {
    fn of(mount: &Mount, key: String, space: Space) -> Self {
        Self { key, number: mount.number.clone(), space, read_only: mount.read_only }
    }
}

impl Watching {
    /// What is remembered, for a look that watches nothing by itself.
    pub(crate) async fn remembered(host: &dyn Inspect, rules: &Pressure) -> Self {
        let watching = Self::default();
        let content = read_samples(Path::new(paths::SAMPLES)).await;
        let store = content.ok().flatten().and_then(|content| Store::read(&content).ok());
        let eviction = evicting::read(host).await;
        let mut state = watching.state();
        state.store = store.map(|(store, _)| store).unwrap_or_default();
        state.eviction = eviction;
        state.rules = rules.clone();
        drop(state);
        watching
    }

    /// How full filesystems are now, for forecasts out of what is remembered.
    pub(crate) fn seen(&self, mounts: &[Mount], spaces: &[Result<Space, PortError>]) {
        let uuids = FilesystemUuids::read();
        let known = mounts.iter().zip(spaces).filter_map(|(mount, space)| {
            let space = *space.as_ref().ok()?;
            Some((mount.target.clone(), Seen::of(mount, key(mount, &uuids), space)))
        });
        self.state().seen = known.collect();
    }

    /// Begins to watch, with what is remembered.
    pub(crate) fn begin(&self, host: Arc<dyn Change>, sampler: Sampler) -> JoinHandle<()> {
        let watching = self.clone();
        tokio::spawn(async move { watching.watch(&host, &sampler).await })
    }

    /// Goes by these settings from now on.
    pub(crate) fn rules(&self, rules: &Pressure) {
        let mut state = self.state();
        if state.rules != *rules {
            state.rules = rules.clone();
            state.foretold = None;
            drop(state);
            self.tell();
        }
    }

    /// Wakes when something else is to be told.
    pub(crate) fn changes(&self) -> watch::Receiver<BTreeMap<PathBuf, Grave>> {
        self.told.subscribe()
    }

    /// Wakes when a filesystem has notably less or more room than before.
    pub(crate) fn room(&self) -> watch::Receiver<()> {
        self.room.subscribe()
    }

    /// What the report says: nothing while no disk is about to be full.
    pub(crate) fn report(&self) -> Option<CapabilityReport> {
        let rules = self.state().rules.clone();
        let note = |(at, grave): (&PathBuf, &Grave)| Note { item: at.display().to_string(), text: grave.text(&rules) };
        let notes: Vec<_> = self.told.borrow().iter().map(note).collect();
        (!notes.is_empty()).then(|| CapabilityReport {
            name: "pressure".into(),
            state: CapabilityState::Done,
            steps: Vec::new(),
            waits: Vec::new(),
            refusals: Vec::new(),
            notes,
            error: None,
        })
    }

    /// Whether the file of samples may not be written, as on a filesystem that is read-only.
    pub(crate) fn denied(&self) -> bool {
        self.state().denied
    }

    /// Looks whether something else is to be told, and puts it into the journal.
    fn tell(&self) {
        let foretold = self.foretold();
        let rules = self.state().rules.clone();
        let now: BTreeMap<PathBuf, _> =
            foretold.iter().filter_map(|(at, foretold)| Some((at.into(), foretold.grave(&rules)?))).collect();
        self.told.send_if_modified(|told| {
            for (at, grave) in &now {
                if told.get(at) != Some(grave)
                    && let Some(foretold) = foretold.get(at.as_os_str())
                {
                    let at = at.display();
                    let (end, first) = foretold.first();
                    match grave {
                        Grave::Warn | Grave::Critical => {
                            tracing::warn!("{at} is expected {} in {:.1} hours", end.text(), first.seconds / 3600.0);
                        }
                        Grave::Evicts | Grave::NoInodes | Grave::Full => tracing::warn!("{at} {}", grave.text(&rules)),
                    }
                }
            }
            for at in told.keys().filter(|at| !now.contains_key(*at)) {
                tracing::info!("{} is not expected to be full any more", at.display());
            }
            std::mem::replace(told, now.clone()) != now
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(&self, host: &Arc<dyn Change>, sampler: &Sampler) {
        let mut memory = Memory::at(Path::new(paths::SAMPLES));
        let boot = boot_id(host.as_ref()).await.unwrap_or_default();
        let boot = boot.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
        let (mut thresholds, mut told): (Option<Instant>, Option<Instant>) = (None, None);
        let mut spent_before = BTreeMap::new();
        let (mut places, mut room, mut told_beyond) = (Places::default(), Room::default(), false);
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if thresholds.is_none_or(|at| at.elapsed() >= THRESHOLDS) {
                self.thresholds_read(evicting::read(host.as_ref()).await);
                thresholds = Some(Instant::now());
            }
            let patches = match self.sample(host.as_ref(), &mut places, sampler, boot).await {
                Ok(patches) => patches,
                Err(error) => {
                    tracing::debug!("filesystems were not looked at: {error}");
                    continue;
                }
            };
            if room.moved(places.mounts(), self.state().seen.iter().map(|(at, seen)| (at.as_path(), &seen.space))) {
                self.room.send_replace(());
            }
            // What is in the file comes before all that was sampled by now.
            let patches = match memory.read().await {
                Some(before) => self.state().follows(before),
                None => patches,
            };
            memory.keep(patches, || self.state().store.patches()).await;
            self.state().denied = memory.denied();
            let beyond = self.state().beyond();
            if let Some(first) = beyond.first().filter(|_| !told_beyond) {
                let (count, first) = (beyond.len(), first.display());
                tracing::warn!(
                    "{MOST} filesystems are watched at most: there is no forecast for {count} others, such as {first}"
                );
            }
            told_beyond = !beyond.is_empty();
            // That it is full now, or is so no more, waits for no forecast.
            let now = self.spent();
            if now != spent_before {
                self.state().foretold = None;
            }
            if now != spent_before || told.is_none_or(|at| at.elapsed() >= TELL) {
                self.tell();
                told = Some(Instant::now());
                spent_before = now;
            }
        }
    }

    /// What cannot be read is told once, not at each look. The kubelet goes on with what it read at its start.
    fn thresholds_read(&self, eviction: Eviction) {
        let mut state = self.state();
        let news = eviction.trouble() != state.eviction.trouble();
        if let Some(why) = eviction.trouble().filter(|_| news) {
            tracing::warn!("when the kubelet evicts is not known: {why}");
        }
        state.eviction.follow(eviction);
    }

    async fn sample(
        &self,
        host: &dyn Inspect,
        places: &mut Places,
        sampler: &Sampler,
        boot: u32,
    ) -> Result<Vec<Patch>, PortError> {
        places.look()?;
        let clock = host.clock().await?;
        let spaces = sampler.sample(places.mounts()).await;
        let mut state = self.state();
        let (mut samples, mut seen) = (Vec::new(), BTreeMap::new());
        for ((mount, key), space) in places.mounts().iter().zip(places.keys()).zip(spaces) {
            let Ok(space) = space else {
                // What was foretold of it holds until it answers again: `filesystem_error` says that it does not.
                let before = state.seen.get(&mount.target).filter(|before| before.key == *key);
                seen.extend(before.map(|before| (mount.target.clone(), before.clone())));
                continue;
            };
            let sample = Sample {
                at: clock.unix,
                boot,
                uptime: clock.uptime,
                bytes: space.size.saturating_sub(space.free),
                inodes: space.inodes.saturating_sub(space.inodes_free),
            };
            samples.push((key.as_str(), sample));
            seen.insert(mount.target.clone(), Seen::of(mount, key.clone(), space));
        }
        state.seen = seen;
        Ok(state.store.add_all(samples))
    }

    /// Which filesystems have come to their end by now.
    fn spent(&self) -> BTreeMap<PathBuf, Grave> {
        let state = self.state();
        let one = |(at, seen): (&PathBuf, &Seen)| {
            Some((at.clone(), spent(&seen.space, &state.eviction.of(&seen.number, &seen.space))?))
        };
        state.seen.iter().filter(|(_, seen)| !seen.read_only).filter_map(one).collect()
    }

    /// What is foretold, by mount point; nothing of what was not watched for long enough.
    pub(crate) fn foretold(&self) -> Arc<Outlooks> {
        let mut state = self.state();
        if let Some((at, foretold)) = &state.foretold
            && at.elapsed() < FRESH
        {
            return Arc::clone(foretold);
        }
        let foretold: Outlooks =
            state.seen.iter().filter_map(|(at, seen)| Some((at.into(), state.of(seen)?))).collect();
        let foretold = Arc::new(foretold);
        state.foretold = Some((Instant::now(), Arc::clone(&foretold)));
        foretold
    }

    /// What is counted of trouble: read only for scrapes, and once for those that come close together.
    pub(crate) fn counted(&self) -> Arc<Counted> {
        let mut state = self.state();
        if let Some((at, counted)) = &state.counted
            && at.elapsed() < COUNTED
        {
            return Arc::clone(counted);
        }
        let counted = Arc::new(counted());
        state.counted = Some((Instant::now(), Arc::clone(&counted)));
        counted
    }

    /// What was: seconds before the last sample, and the share in use, oldest first.
    pub(crate) fn history(&self, at: &Path) -> Vec<(f64, f64)> {
        let state = self.state();
        let Some(seen) = state.seen.get(at).filter(|seen| seen.space.size > 0) else { return Vec::new() };
        let points = state.store.history(&seen.key).map(|history| history.bytes()).unwrap_or_default();
        points.into_iter().map(|point| (point.at, point.used / seen.space.size as f64)).collect()
    }

    /// Whether nothing is remembered of the filesystem there, since there are too many.
    pub(crate) fn is_beyond(&self, at: &Path) -> bool {
        self.state().beyond().iter().any(|beyond| beyond == at)
    }

    /// Free bytes and inodes at which the kubelet evicts, by its name of the signal. A filesystem that does not answer
    /// now is as large as when it last did.
    pub(crate) fn thresholds(&self, mount: &Mount, space: Option<&Space>) -> Vec<(&'static str, u64)> {
        let state = self.state();
        let last = state.seen.get(&mount.target).filter(|seen| seen.number == mount.number).map(|seen| &seen.space);
        space.or(last).map(|space| state.eviction.of(&mount.number, space)).unwrap_or_default()
    }

    /// Whether there is a kubelet whose configuration cannot be read.
    pub(crate) fn eviction_unread(&self) -> bool {
        self.state().eviction.trouble().is_some()
    }
}

impl State {
    /// What was sampled by now comes after what is remembered of before. Says what is to be written.
    fn follows(&mut self, before: Store) -> Vec<Patch> {
        let since = std::mem::replace(&mut self.store, before);
        self.foretold = None;
        self.store.follow(&since)
    }

    /// Where the filesystems are that there was no room to remember.
    fn beyond(&self) -> Vec<PathBuf> {
        let full = self.store.keys().count() >= MOST;
        let beyond = self.seen.iter().filter(|(_, seen)| full && self.store.history(&seen.key).is_none());
        beyond.map(|(at, _)| at.clone()).collect()
    }

    fn of(&self, seen: &Seen) -> Option<Foretold> {
        if seen.read_only {
            return None;
        }
        let least = self.rules.min_history.duration().as_secs_f64();
        let kept = self.eviction.of(&seen.number, &seen.space);
        Foretold::of(self.store.history(&seen.key), &seen.space, &kept, least)
    }
}

#[cfg(test)]
mod tests {
    use super::super::filling::mount_at;
    use super::*;

    #[test]
    fn forecasts_are_judged_by_the_history_that_the_settings_begin_with() {
        let least = bowline_settings::Pressure::default().min_history.duration();
        assert_eq!(least.as_secs_f64(), bowline_pressure::forecast::MIN_HISTORY);
    }

    #[test]
    fn of_too_many_filesystems_it_is_told_which_are_not_watched() {
        let (watching, space) =
            (Watching::default(), Space { size: 9, free: 9, available: 9, inodes: 9, inodes_free: 9 });
        let places: Vec<_> = (0..=MOST).map(|number| PathBuf::from(format!("/mnt/{number:02}"))).collect();
        let sample = Sample { at: 1_760_000_000, boot: 1, uptime: 60, bytes: 0, inodes: 0 };
        for (count, at) in places.iter().enumerate() {
            assert!(watching.state().beyond().is_empty(), "{count}");
            let (mount, key) = (mount_at(&at.display().to_string()), count.to_string());
            watching.state().store.add(&key, sample);
            watching.state().seen.insert(at.clone(), Seen::of(&mount, key, space));
        }
        assert_eq!(watching.state().beyond(), [PathBuf::from("/mnt/64")]);
        assert!(watching.is_beyond(Path::new("/mnt/64")) && !watching.is_beyond(Path::new("/mnt/63")));
    }
}
