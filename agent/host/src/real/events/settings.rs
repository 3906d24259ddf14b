//! Changes in the settings directory, by inotify. Reading a file is an event, too, and the daemon reads its
//! settings after every event: those are left out, or it would wake itself for ever.

use super::super::blocking::Silent;
use super::super::files::is_settings_file;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, mpsc};

/// A quiet time after the last change: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// No longer than this, also when somebody keeps on writing.
const LONGEST: Duration = Duration::from_secs(2);
/// A file that somebody is in the middle of writing is no settings yet: `sops -d x > 40.toml` empties it at once, and fills it
/// when the program has its answer. Of one that is kept open for longer, what is in it then counts.
const UNFINISHED: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(10);
/// Of what somebody writes elsewhere nobody hears: a file that has just changed may not be whole.
const FRESH: Duration = Duration::from_secs(2);

/// Notifies of every change; never ends.
pub(super) async fn watch(directory: &Path, unfinished: &Unfinished, signal: &Notify) {
    let silent = Silent::default();
    loop {
        let place = nearest(directory);
        let (sender, mut events) = mpsc::channel(1);
        unfinished.forget();
        let noted = unfinished.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error may hide a change, and the end of one.
            if event.map_or_else(|_| noted.forget(), |event| noted.note(&event)) {
                // One in the queue is enough.
                let _ = sender.try_send(());
            }
        });
        let watching = watcher.and_then(|mut watcher| {
            watcher.watch(&place, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let _watcher = match watching {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!("watching {}: {error}; looking every {} s", place.display(), AGAIN.as_secs());
                tokio::time::sleep(AGAIN).await;
                signal.notify_one();
                continue;
            }
        };
        // It may have come into being, or been replaced, before the watch began.
        let inode = inode(&place);
        if nearest(directory) != place {
            continue;
        }
        // What was written before the watch began is seen now: whoever hears it compares.
        signal.notify_one();
        let (mut seen, mut since) = (led_to(directory), None);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(()) => {
                        settle(&mut events, unfinished).await;
                        (seen, since) = (led_to(directory), None);
                    }
                    None => break,
                },
                // What a link leads to changes elsewhere, and nobody tells of it.
                () = tokio::time::sleep(AGAIN), if is_linked(directory) => {
                    // It may lead to what does not answer, and then nothing is known to have changed.
                    let look = |directory: &Path| {
                        let place = nearest(directory);
                        Ok((led_to(directory), self::inode(&place), place))
                    };
                    let Ok((now, number, nearest)) = silent.look(directory, look).await else { continue };
                    let changed = if now == seen { None } else { Some(*since.get_or_insert_with(Instant::now)) };
                    // One that is written to for ever counts as changed, too.
                    let is_whole = unfinished.is_none() && now.iter().all(Target::is_whole);
                    let is_news = changed.is_some_and(|since| is_whole || since.elapsed() >= UNFINISHED);
                    if !is_news && nearest == place && number == inode {
                        continue;
                    }
                    (seen, since) = (now, None);
                }
            }
            if place == directory {
                signal.notify_one();
            }
            if nearest(directory) != place || self::inode(&place) != inode {
                break;
            }
        }
    }
}

/// Waits until nothing has happened for a while, and nobody is in the middle of a file.
async fn settle(events: &mut mpsc::Receiver<()>, unfinished: &Unfinished) {
    let began = Instant::now();
    // Enough is enough: a file that is written to for ever counts as changed.
    while began.elapsed() < if unfinished.is_none() { LONGEST } else { UNFINISHED } {
        match tokio::time::timeout(QUIET, events.recv()).await {
            Ok(Some(())) => {}
            Ok(None) => return,
            Err(_) if unfinished.is_none() => return,
            Err(_) => {}
        }
    }
}

/// The settings files that somebody is in the middle of writing: written to, and not closed since.
#[derive(Debug, Clone, Default)]
pub struct Unfinished(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Unfinished {
    /// Whether there are none: what the files say is what somebody meant.
    pub fn is_none(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes part of an event. Whether it is a change.
    fn note(&self, event: &notify::Event) -> bool {
        // The queue was full: what is under way is not known any more.
        if event.need_rescan() {
            return self.forget();
        }
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for path in &event.paths {
            match event.kind {
                // An editor's own files may stay open for as long as it runs.
                EventKind::Modify(ModifyKind::Data(_)) if is_settings_file(path) => drop(files.insert(path.clone())),
                EventKind::Modify(ModifyKind::Data(_)) => {}
                EventKind::Modify(ModifyKind::Metadata(_)) => {}
                kind if is_change(kind) => drop(files.remove(path)),
                _ => {}
            }
        }
        is_change(event.kind)
    }

    fn forget(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        true
    }
}

fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// The directory, or the nearest one above it that exists.
fn nearest(directory: &Path) -> PathBuf {
    directory.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

/// What a settings file is a link to: which file, if there is one, and since when and how long it is as it is.
#[derive(PartialEq)]
struct Target {
    link: PathBuf,
    file: Option<(u64, u64)>,
    modified: Option<SystemTime>,
    length: u64,
}

impl Target {
    /// Whether nobody seems to be writing it. One that is emptied first may be filled much later.
    fn is_whole(&self) -> bool {
        let age = self.modified.and_then(|at| at.elapsed().ok());
        age.is_none_or(|age| age >= if self.length == 0 { UNFINISHED } else { FRESH })
    }
}

/// The settings files that are links.
fn links(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_settings_file(path) && is_link(path))
}

/// Whether the settings lie somewhere else, as a whole or some of them: nobody tells of what changes there.
pub fn is_linked(directory: &Path) -> bool {
    // From above: what lies behind a link, which may not answer, is not asked for.
    let places: Vec<&Path> = directory.ancestors().collect();
    places.into_iter().rev().any(is_link) || links(directory).next().is_some()
}

/// What the settings files are links to that are some.
fn led_to(directory: &Path) -> Vec<Target> {
    let target = |link: PathBuf| {
        let meta = std::fs::metadata(&link).ok();
        let meta = meta.as_ref();
        Target {
            file: meta.map(|meta| (meta.dev(), meta.ino())),
            modified: meta.and_then(|meta| meta.modified().ok()),
            length: meta.map_or(0, std::fs::Metadata::len),
            link,
        }
    };
    let mut all: Vec<Target> = links(directory).map(target).collect();
    all.sort_by(|one, other| one.link.cmp(&other.link));
    all
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
