//! The cache of what is slow to make: each artefact in a folder keyed by a hash of its inputs, built once by whoever is first.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::say;

/// Unused artefacts go after this time.
const OLD: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The inputs of an artefact, hashed.
#[derive(Clone)]
pub(crate) struct Key(Sha256);

impl Key {
    pub(crate) fn new() -> Key {
        Key(Sha256::new())
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes.len().to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds names, modes and contents of everything below `path`.
    pub(crate) fn add_tree(&mut self, path: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        self.add(path.file_name().unwrap_or_default().as_encoded_bytes());
        let data = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
        if data.is_dir() {
            let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            entries.sort();
            return entries.iter().try_for_each(|entry| self.add_tree(entry));
        }
        self.add(&[u8::from(data.permissions().mode() & 0o100 != 0)]);
        if data.is_symlink() {
            self.add(fs::read_link(path)?.as_os_str().as_encoded_bytes());
        } else {
            self.add(&fs::read(path)?);
        }
        Ok(())
    }

    fn text(self) -> String {
        self.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Something from the cache. It stays there at least as long as this value lives.
pub struct Artefact {
    path: PathBuf,
    _used: Option<File>,
}

impl Artefact {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file within it, held as this was.
    pub(crate) fn file(self, name: &str) -> Artefact {
        Artefact { path: self.path.join(name), _used: self._used }
    }

    /// Something that is kept elsewhere.
    pub(crate) fn outside(path: PathBuf) -> Artefact {
        Artefact { path, _used: None }
    }
}

/// `$BOWLINE_CACHE`, else `bowline` in the user's cache folder.
pub(crate) fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("BOWLINE_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let caches = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(caches.context("neither BOWLINE_CACHE nor HOME is set")?.join("bowline"))
}

/// The artefact `kind` with these inputs; where it is not there yet, `build` fills the folder it is given.
pub(crate) fn get(kind: &str, key: Key, build: impl FnOnce(&Path) -> Result<()>) -> Result<Artefact> {
    get_in(&folder()?, kind, key, OLD, build)
}

/// The same for what is large and quickly made: the others of its kind go when a new one is made.
pub(crate) fn get_newest(kind: &str, key: Key, build: impl FnOnce(&Path) -> Result<()>) -> Result<Artefact> {
    get_in(&folder()?, kind, key, Duration::ZERO, build)
}

fn get_in(
    cache: &Path,
    kind: &str,
    key: Key,
    old: Duration,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<Artefact> {
    fs::create_dir_all(cache).with_context(|| cache.display().to_string())?;
    let name = format!("{kind}-{}", key.text());
    let path = cache.join(&name);
    let used = OpenOptions::new().create(true).append(true).open(cache.join(format!("{name}.lock")))?;
    used.lock_shared()?;
    if !path.is_dir() {
        used.unlock()?;
        used.lock()?;
    }
    if !path.is_dir() {
        say(&format!("building {kind}: it is not in {} yet", cache.display()));
        let building = cache.join(format!("{name}.building"));
        // We hold the lock, so this is what a killed builder left.
        if building.exists() {
            fs::remove_dir_all(&building)?;
        }
        fs::create_dir(&building)?;
        if let Err(error) = build(&building) {
            fs::remove_dir_all(&building).ok();
            return Err(error.context(format!("could not build {kind}")));
        }
        fs::rename(&building, &path)?;
        prune(cache, kind, old);
    }
    used.lock_shared()?;
    used.set_modified(SystemTime::now())?;
    Ok(Artefact { path, _used: Some(used) })
}

/// Removes artefacts of this kind that nobody uses and that nobody has used for so long.
fn prune(cache: &Path, kind: &str, old: Duration) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let lock_path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else { continue };
        if name.rsplit_once('-').is_none_or(|(of, _)| of != kind) {
            continue;
        }
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
        let Ok(lock) = File::open(&lock_path) else { continue };
        if age.is_some_and(|age| age > old) && lock.try_lock().is_ok() {
            // The lock file stays: removing it would let two builders hold two locks of one name.
            fs::remove_dir_all(cache.join(name)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_s_key_follows_contents_modes_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let key = || {
            let mut key = Key::new();
            key.add_tree(dir.path()).unwrap();
            key.text()
        };
        fs::write(dir.path().join("one"), "1").unwrap();
        let first = key();
        assert_eq!(first, key());
        fs::write(dir.path().join("one"), "2").unwrap();
        let second = key();
        assert_ne!(first, second);
        fs::rename(dir.path().join("one"), dir.path().join("two")).unwrap();
        assert_ne!(second, key());
    }

    #[test]
    fn many_ask_and_one_builds_and_a_failed_build_leaves_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let failed = get_in(cache.path(), "thing", Key::new(), OLD, |building| {
            fs::write(building.join("half"), "")?;
            anyhow::bail!("no")
        });
        assert!(failed.is_err());
        let builds = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let thing = get_in(cache.path(), "thing", Key::new(), OLD, |building| {
                        builds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(50));
                        Ok(fs::write(building.join("whole"), "")?)
                    });
                    let thing = thing.unwrap();
                    assert!(thing.path().join("whole").exists() && !thing.path().join("half").exists());
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }
}
