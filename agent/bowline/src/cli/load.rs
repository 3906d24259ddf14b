//! Settings from their folder or from files.

use super::output;
use crate::paths;
use bowline_host::real::{SettingsFile, read_settings_dir, read_settings_file};
use bowline_ports::{ErrorKind, PortError};
use bowline_settings::{Errors, Loaded, SourceFile};
use std::path::{Path, PathBuf};

/// Why there are no settings.
pub(crate) enum Trouble {
    /// The folder or a file cannot be read.
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
    /// Whether it lasts until somebody changes the settings. What could not be read may be there a moment later without any change
    /// in the folder: a link to what is mounted later, a disk that stutters.
    pub(crate) fn lasts(&self) -> bool {
        match self {
            Self::Unreadable(error) => error.kind == ErrorKind::Invalid,
            Self::Invalid(_) => true,
        }
    }

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

/// The files of the settings folder. Only the usual one may still be missing: another was named by somebody.
pub(crate) fn sources(folder: &Path) -> Result<Vec<SourceFile>, Trouble> {
    // What may not be looked at is none that does not exist: reading it says so.
    let there = folder.try_exists().unwrap_or_else(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    if folder != Path::new(paths::SETTINGS) && !there {
        let missing = PortError::new(ErrorKind::NotFound, format!("{} does not exist", folder.display()));
        return Err(Trouble::Unreadable(
            missing.hint("`--settings` names the folder of the settings: correct or make it"),
        ));
    }
    let files = read_settings_dir(folder).map_err(unreadable)?;
    Ok(files.into_iter().map(source).collect())
}

fn unreadable(error: PortError) -> Trouble {
    Trouble::Unreadable(output::by_rights(error, output::is_root()))
}

fn source(f: SettingsFile) -> SourceFile {
    SourceFile { path: f.path, text: f.text, mode: f.mode, uid: f.uid }
}

/// The settings in files that were read.
pub(crate) fn validated(sources: &[SourceFile]) -> Result<Loaded, Trouble> {
    bowline_settings::load(sources).map_err(Trouble::Invalid)
}

/// The settings of the folder.
pub(crate) fn folder(folder: &Path) -> Result<Loaded, Trouble> {
    validated(&sources(folder)?)
}

/// The settings of some files, as if they were alone in the folder. They may not be in their place yet.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Loaded, Trouble> {
    let mut all = Vec::new();
    for path in paths {
        let missing = || PortError::new(ErrorKind::NotFound, format!("{} does not exist", path.display()));
        let file = read_settings_file(path).and_then(|f| f.ok_or_else(missing)).map_err(unreadable)?;
        all.push(source(file));
    }
    bowline_settings::load_drafts(&all).map_err(Trouble::Invalid)
}

/// The settings of the folder, or the complaint on standard error.
pub(crate) fn or_complain(settings: &Path) -> Option<Loaded> {
    folder(settings).map_err(|trouble| output::complain(&trouble.to_string())).ok()
}
