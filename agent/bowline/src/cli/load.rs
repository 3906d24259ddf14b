//! Settings from their folder or from files.

use super::output;
use bowline_host::real::{RealHost, read_settings_dir};
use bowline_ports::{ErrorKind, Inspect, PortError};
use bowline_settings::{Errors, Loaded, SourceFile};
use std::path::{Path, PathBuf};

/// Why there are no settings.
pub(crate) enum Trouble {
    /// The folder or a file can not be read.
    Unreadable(PortError),
    /// What is written there is wrong.
    Invalid(Errors),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(error) => match &error.hint {
                Some(hint) => write!(f, "{error}\n  help: {hint}"),
                None => error.fmt(f),
            },
            Self::Invalid(errors) => errors.fmt(f),
        }
    }
}

impl Trouble {
    /// One line for each fault.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Unreadable(error) => vec![error.message.clone()],
            Self::Invalid(errors) => errors
                .iter()
                .map(|e| format!("{}:{}:{}: {}", e.place.file.display(), e.place.line, e.place.column, e.message))
                .collect(),
        }
    }
}

/// The files of the settings folder.
pub(crate) fn sources(folder: &Path) -> Result<Vec<SourceFile>, Trouble> {
    let files = read_settings_dir(folder).map_err(Trouble::Unreadable)?;
    Ok(files.into_iter().map(|f| SourceFile { path: f.path, text: f.text, mode: f.mode, uid: f.uid }).collect())
}

/// The settings of the folder.
pub(crate) fn folder(folder: &Path) -> Result<Loaded, Trouble> {
    bowline_settings::load(&sources(folder)?).map_err(Trouble::Invalid)
}

/// The settings of some files, as if they were alone in the folder.
pub(crate) async fn files(paths: &[PathBuf]) -> Result<Loaded, Trouble> {
    let mut all = Vec::new();
    let host = RealHost::new().map_err(Trouble::Unreadable)?;
    for path in paths {
        let missing = || PortError::new(ErrorKind::NotFound, format!("{} does not exist", path.display()));
        let file = host.read(path).await.and_then(|f| f.ok_or_else(missing)).map_err(Trouble::Unreadable)?;
        let utf8 = |_| PortError::new(ErrorKind::Invalid, format!("{} is not UTF-8 text", path.display()));
        let text = String::from_utf8(file.content).map_err(utf8).map_err(Trouble::Unreadable)?;
        all.push(SourceFile { path: path.clone(), text, mode: file.mode, uid: file.uid });
    }
    bowline_settings::load(&all).map_err(Trouble::Invalid)
}

/// The settings of the folder, or the complaint on standard error.
pub(crate) fn or_complain(settings: &Path) -> Option<Loaded> {
    folder(settings).map_err(|trouble| output::complain(&trouble.to_string())).ok()
}
