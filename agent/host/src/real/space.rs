//! How full filesystems are, and whether they answer. A dead network filesystem can hold a thread for ever, so each place has at most one
//! probe under way, and nobody waits for it longer than two seconds.

use bowline_ports::{ErrorKind, PortError, Space};
use nix::errno::Errno;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(2);

/// The places that are being probed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes(Arc<Mutex<HashSet<PathBuf>>>);

impl Probes {
    /// Asks the filesystem at a path.
    pub(crate) async fn space(&self, path: &Path) -> Result<Space, PortError> {
        let Some(under_way) = self.begin(path) else {
            let text = format!("the filesystem at {} still does not answer", path.display());
            return Err(PortError::new(ErrorKind::Timeout, text));
        };
        let shown = format!("asking the filesystem at {}", path.display());
        let (what, path) = (shown.clone(), path.to_path_buf());
        super::blocking::blocking(shown, DEADLINE, move || {
            let answer = ask(&path).map_err(|e| PortError::io(what, &e));
            drop(under_way);
            answer
        })
        .await
    }

    fn begin(&self, place: &Path) -> Option<UnderWay> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(place.to_path_buf()).then(|| UnderWay { probes: self.clone(), place: place.to_path_buf() })
    }
}

struct UnderWay {
    probes: Probes,
    place: PathBuf,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.probes.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

/// What a filesystem says that gave up: its disk failed, or it found itself damaged.
const GAVE_UP: [Errno; 3] = [Errno::EIO, Errno::EUCLEAN, Errno::ESHUTDOWN];

/// `statvfs`, at once. One that was shut down by errors answers that from memory, so that its directory is opened as well.
pub(crate) fn ask(path: &Path) -> std::io::Result<Space> {
    if let Err(error) = std::fs::read_dir(path).and_then(|mut entries| entries.next().transpose())
        && GAVE_UP.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
    {
        return Err(error);
    }
    let answer = nix::sys::statvfs::statvfs(path)?;
    let unit = answer.fragment_size();
    Ok(Space {
        size: answer.blocks() * unit,
        free: answer.blocks_free() * unit,
        available: answer.blocks_available() * unit,
        inodes: answer.files(),
        inodes_free: answer.files_free(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mount_that_hangs_has_one_probe_and_does_not_hold_others() {
        let probes = Probes::default();
        let space = probes.space(Path::new("/")).await.unwrap();
        assert!(space.size > 0 && space.size >= space.free && space.free >= space.available);
        let hanging = probes.begin(Path::new("/proc")).unwrap();
        let error = probes.space(Path::new("/proc")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert_eq!(error.message, "the filesystem at /proc still does not answer");
        assert!(probes.space(Path::new("/")).await.is_ok());
        drop(hanging);
        assert!(probes.space(Path::new("/proc")).await.is_ok());
    }

    #[tokio::test]
    async fn nothing_there_is_not_found() {
        let error = Probes::default().space(Path::new("/no/such/place")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}
