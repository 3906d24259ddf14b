//! What is read a folder at a time, for all volumes at once.

use crate::intent::Intent;
use crate::units::{CHECKS, GATES, UNITS};
use crate::{Released, Volumes};
use bowline_ports::{Inspect, PortError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The texts of gates and of units that check, by their paths. Each folder is read at once: with many volumes that is what a look
/// would spend most of its time on.
pub(super) struct Files(BTreeMap<PathBuf, String>);

impl Files {
    pub(super) async fn of(spec: &Volumes, host: &dyn Inspect) -> Result<Self, PortError> {
        let units = Path::new(UNITS);
        let gates = spec.services.iter().map(|service| (units.join(format!("{service}.d")), GATES));
        let mut all = BTreeMap::new();
        // Others' units may be links to a filesystem that hangs, and are not opened.
        for (folder, named) in gates.chain([(units.to_path_buf(), CHECKS)]) {
            let texts = host.texts(&folder, named).await?;
            all.extend(texts.into_iter().map(|(name, text)| (folder.join(name), text)));
        }
        Ok(Self(all))
    }

    pub(super) fn text(&self, path: &Path) -> Option<String> {
        self.0.get(path).cloned()
    }
}

/// Which of Bowline's records there are: most volumes have none.
pub(super) struct Records(BTreeSet<PathBuf>);

impl Records {
    pub(super) async fn of(host: &dyn Inspect) -> Result<Self, PortError> {
        let mut all = BTreeSet::new();
        // All records of a kind lie in one folder.
        for folder in [Released::path_of(""), Intent::path_of("")].iter().filter_map(|path| path.parent()) {
            let names = host.list(folder).await?.unwrap_or_default();
            all.extend(names.into_iter().map(|name| folder.join(name)));
        }
        Ok(Self(all))
    }

    /// The text of one.
    pub(super) async fn read(&self, path: &Path, host: &dyn Inspect) -> Result<Option<String>, PortError> {
        match self.0.contains(path) {
            true => Ok(host.read(path).await?.map(|file| file.text())),
            false => Ok(None),
        }
    }
}
