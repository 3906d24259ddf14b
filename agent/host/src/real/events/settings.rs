//! Changes in the settings directory, by inotify. Reading a file is an event, too, and the daemon reads its
//! settings after every event: those are left out, or it would wake itself for ever.

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// A quiet time after the last change: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// No longer than this, also when somebody keeps on writing.
const LONGEST: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(10);

/// Notifies of every change; never ends.
pub(super) async fn watch(directory: &Path, signal: &Notify) {
    loop {
        let place = nearest(directory);
        let (sender, mut events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error (a queue that overflowed) may hide a change.
            if event.map_or(true, |e| is_change(e.kind)) {
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
        while events.recv().await.is_some() {
            settle(&mut events).await;
            if place == directory {
                signal.notify_one();
            }
            if nearest(directory) != place || self::inode(&place) != inode {
                break;
            }
        }
    }
}

/// Waits until nothing has happened for a while.
async fn settle(events: &mut mpsc::Receiver<()>) {
    let quiet = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, events.recv()).await {} };
    // Enough is enough: a file that is written to for ever counts as changed.
    let _ = tokio::time::timeout(LONGEST, quiet).await;
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

fn inode(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
