//! What was found out about a file stays true until the file is another one.

use super::blocking::Silent;
use bowline_ports::PortError;
use std::collections::HashMap;
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Device, inode, size, and the times of its last changes.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// Facts about files, by path.
#[derive(Debug)]
pub(crate) struct Memory<T>(Mutex<HashMap<PathBuf, (Stamp, T)>>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Memory<T> {
    /// The fact about a file, found out anew when the file is not the one remembered; `None` without a file.
    pub(crate) async fn of<F>(
        &self,
        silent: &Silent,
        path: &Path,
        find_out: impl FnOnce() -> F,
    ) -> Result<Option<T>, PortError>
    where
        F: Future<Output = Result<Option<T>, PortError>>,
    {
        let Some(before) = silent.look(path, stamp).await? else { return Ok(None) };
        if let Some((of, fact)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path)
            && *of == before
        {
            return Ok(Some(fact.clone()));
        }
        let fact = find_out().await?;
        // Changed while it was read: true of neither.
        if let Some(fact) = &fact
            && silent.look(path, stamp).await? == Some(before)
        {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(path.to_path_buf(), (before, fact.clone()));
        }
        Ok(fact)
    }
}

fn stamp(path: &Path) -> Result<Option<Stamp>, PortError> {
    match std::fs::metadata(path) {
        Ok(m) => Ok(Some((m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(PortError::io(format_args!("looking at {}", path.display()), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn asked_once_until_the_file_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let memory = Memory::default();
        let asked = Cell::new(0);
        let ask = async || {
            let find_out = || async {
                asked.set(asked.get() + 1);
                Ok(Some(asked.get()))
            };
            memory.of(&Silent::default(), file.path(), find_out).await.unwrap()
        };
        assert_eq!((ask().await, ask().await), (Some(1), Some(1)));
        std::fs::write(file.path(), "longer").unwrap();
        assert_eq!(ask().await, Some(2));
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(ask().await, None);
    }
}
