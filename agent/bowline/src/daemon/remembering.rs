//! The file of samples as the daemon holds it: read at the start, or as soon as it can be, and written each minute.

use bowline_host::real::samples::{SampleFile, SamplePlace};
use bowline_ports::{ErrorKind, PortError};
use bowline_pressure::file::{Patch, Store, fresh};
use std::path::{Path, PathBuf};

/// What is remembered over a restart.
pub(super) struct Memory {
    path: PathBuf,
    place: SamplePlace,
    held: Held,
    /// Something was not written.
    behind: bool,
    /// Why nothing is read or written, as it was told last.
    trouble: String,
    denied: bool,
}

enum Held {
    /// It could not be read yet. It may be sound, so nothing takes its place.
    Unread,
    /// There is none, or one that holds no samples.
    Nothing,
    /// It was read, or made.
    Open(SampleFile),
}

impl Memory {
    pub(super) fn at(path: &Path) -> Self {
        let place = SamplePlace::new(path);
        Self { path: path.into(), place, held: Held::Unread, behind: false, trouble: String::new(), denied: false }
    }

    /// What is in the file, once: as soon as it can be read.
    pub(super) async fn read(&mut self) -> Option<Store> {
        if !matches!(self.held, Held::Unread) {
            return None;
        }
        let path = self.path.display();
        let store = match self.place.open().await {
            Ok(Some((file, content))) => match Store::read(&content) {
                Ok((store, damage)) => {
                    if damage.slots + damage.regions > 0 {
                        tracing::warn!("{path}: {} samples cannot be read, and are left out", damage.slots);
                    }
                    self.held = Held::Open(file);
                    Some(store)
                }
                Err(why) => {
                    tracing::warn!("{path}: {why}: how filesystems filled is not known, and begins anew");
                    None
                }
            },
            Ok(None) => None,
            Err(error) => {
                self.tell(Some(format!(
                    "how filesystems filled is not known, and how they fill is not kept across a restart, until this \
                     can be read (if the disk lost it for good, remove it): {error}"
                )));
                return None;
            }
        };
        if store.is_none() {
            self.held = Held::Nothing;
        }
        store
    }

    /// Writes what was added; where there is no file yet, or something was not written, all that is remembered.
    pub(super) async fn keep(&mut self, patches: Vec<Patch>, all: impl Fn() -> Vec<Patch>) {
        let written = match &self.held {
            Held::Unread => return,
            Held::Open(file) => write(file, if self.behind { all() } else { patches }).await,
            Held::Nothing => match self.made(all()).await {
                Ok(file) => {
                    self.held = Held::Open(file);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        // What was not written once is missing for what comes after it: all of it again.
        self.behind = written.is_err();
        self.denied = written.as_ref().is_err_and(|error| error.kind == ErrorKind::Denied);
        self.tell(written.err().map(|error| format!("how filesystems fill is not kept across a restart: {error}")));
    }

    async fn made(&self, all: Vec<Patch>) -> Result<SampleFile, PortError> {
        let file = self.place.make(fresh()).await?;
        write(&file, all).await?;
        Ok(file)
    }

    /// Whether it may not be written.
    pub(super) fn denied(&self) -> bool {
        self.denied
    }

    /// Once for each trouble.
    fn tell(&mut self, trouble: Option<String>) {
        let trouble = trouble.unwrap_or_default();
        if trouble != self.trouble && !trouble.is_empty() {
            tracing::warn!("{trouble}");
        }
        self.trouble = trouble;
    }
}

async fn write(file: &SampleFile, patches: Vec<Patch>) -> Result<(), PortError> {
    file.write(patches.into_iter().map(|patch| (patch.offset, patch.bytes)).collect()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_pressure::history::Sample;

    fn sample(minute: i64) -> Sample {
        let passed = minute.unsigned_abs() * 60;
        Sample { at: 1_760_000_000 + minute * 60, boot: 7, uptime: 1000 + passed, bytes: passed, inodes: passed }
    }

    /// One minute of [`super::super::watching`].
    async fn minute(memory: &mut Memory, store: &mut Store, minute: i64) {
        let mut patches = store.add("a", sample(minute));
        if let Some(before) = memory.read().await {
            let since = std::mem::replace(store, before);
            patches = store.follow(&since);
        }
        memory.keep(patches, || store.patches()).await;
    }

    fn on_disk(path: &Path) -> Vec<f64> {
        let (store, damage) = Store::read(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(damage.slots + damage.regions, 0);
        store.history("a").unwrap().bytes().iter().map(|point| point.used / 60.0).collect()
    }

    #[tokio::test]
    async fn what_can_not_be_read_for_a_while_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("samples"), folder.path().join("aside"));
        let (mut memory, mut store) = (Memory::at(&path), Store::default());
        for at in 0..3 {
            minute(&mut memory, &mut store, at).await;
        }
        assert_eq!(on_disk(&path), [0.0, 1.0, 2.0]);

        // Another start, at which opening fails.
        std::fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let (mut memory, mut store) = (Memory::at(&path), Store::default());
        for at in 3..5 {
            minute(&mut memory, &mut store, at).await;
        }
        assert!(memory.trouble.contains("Too many levels of symbolic links"), "{}", memory.trouble);
        assert!(path.is_symlink(), "nothing took its place");
        std::fs::rename(&aside, &path).unwrap();
        for at in 5..7 {
            minute(&mut memory, &mut store, at).await;
        }
        assert_eq!(memory.trouble, "");
        assert_eq!(on_disk(&path), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    /// A node that has nothing to do hears of a read-only disk by this alone.
    #[tokio::test]
    async fn what_may_not_be_written_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let chattr = |flag: &str| std::process::Command::new("chattr").arg(flag).arg(folder.path()).status();
        // Without root, or on a filesystem without such a flag.
        if !chattr("+i").is_ok_and(|status| status.success()) {
            return;
        }
        let (mut memory, mut store) = (Memory::at(&folder.path().join("samples")), Store::default());
        minute(&mut memory, &mut store, 0).await;
        let denied = memory.denied();
        assert!(chattr("-i").unwrap().success());
        minute(&mut memory, &mut store, 1).await;
        assert_eq!((denied, memory.denied()), (true, false));
    }

    #[tokio::test]
    async fn what_holds_no_samples_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples");
        std::fs::write(&path, "none").unwrap();
        let (mut memory, mut store) = (Memory::at(&path), Store::default());
        minute(&mut memory, &mut store, 0).await;
        assert_eq!(on_disk(&path), [0.0]);
    }
}
