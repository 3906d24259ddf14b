//! `bowline check`: validates settings and touches nothing.

use super::load::{self, Trouble};
use super::{INVALID, output};
use bowline_settings::{Error, Loaded, Place};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What came out, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Outcome {
    valid: bool,
    /// They say nothing.
    absent: bool,
    errors: Vec<Fault>,
    warnings: Vec<Fault>,
    not_read: Vec<String>,
}

#[derive(Default, Serialize)]
struct Fault {
    file: Option<PathBuf>,
    line: Option<usize>,
    column: Option<usize>,
    key: Option<String>,
    message: String,
    suggestion: Option<String>,
    also: Vec<Place>,
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        Self {
            file: Some(error.place.file.clone()),
            line: Some(error.place.line),
            column: Some(error.place.column),
            key: Some(error.key.clone()).filter(|key| !key.is_empty()),
            message: error.message.clone(),
            suggestion: error.suggestion.clone(),
            also: error.also.clone(),
        }
    }
}

impl Outcome {
    fn of(loaded: &Result<Loaded, Trouble>, not_read: Vec<String>) -> Self {
        let faults = |errors: &[Error]| errors.iter().map(Fault::from).collect();
        let (absent, errors, warnings) = match loaded {
            Ok(loaded) => (says_nothing(loaded), Vec::new(), faults(&loaded.warnings)),
            Err(Trouble::Invalid(errors)) => (false, errors.iter().map(Fault::from).collect(), Vec::new()),
            Err(Trouble::Unreadable(error)) => {
                let (message, suggestion) = (error.message.clone(), error.hint.clone());
                let fault = Fault { message, suggestion, ..Fault::default() };
                (false, vec![fault], Vec::new())
            }
        };
        Self { valid: loaded.is_ok(), absent, errors, warnings, not_read }
    }
}

pub(super) fn run(folder: &Path, files: &[PathBuf], json: bool) -> ExitCode {
    // A folder that is named is looked at as the daemon looks at its own.
    let (folder, files) = match files {
        [named] if named.is_dir() => (named.as_path(), &[] as &[PathBuf]),
        _ => (folder, files),
    };
    let loaded = if files.is_empty() { load::folder(folder) } else { load::files(files) };
    if json {
        output::print_json(&Outcome::of(&loaded, not_read(folder, files)));
        return if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) };
    }
    match loaded {
        Err(trouble) => {
            output::complain(&trouble.to_string());
            ExitCode::from(INVALID)
        }
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::complain(&warning.as_warning().to_string());
            }
            let others = not_read(folder, files);
            if !others.is_empty() {
                let others = others.join(", ");
                output::complain(&format!("warning: not read: {others} (the name of a settings file ends in .toml)"));
            }
            let what = if says_nothing(&loaded) {
                let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                match files.is_empty() {
                    true => format!("no settings yet in {}", folder.display()),
                    false => format!("no settings in {}", files.join(", ")),
                }
            } else {
                "the settings are valid".to_string()
            };
            output::print(&what);
            ExitCode::SUCCESS
        }
    }
}

/// Whether nothing is written; what is as it would be without any settings is written all the same.
fn says_nothing(loaded: &Loaded) -> bool {
    loaded.settings.is_empty() && loaded.origins.is_empty()
}

/// What somebody may take for settings, and the daemon does not.
fn not_read(folder: &Path, files: &[PathBuf]) -> Vec<String> {
    let names: Vec<PathBuf> = if files.is_empty() {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir())).map(|entry| entry.path()).collect()
    } else {
        files.to_vec()
    };
    let other = |path: &&PathBuf| path.extension().is_none_or(|end| end != "toml");
    let mut others: Vec<_> = names.iter().filter(other).map(|path| path.display().to_string()).collect();
    others.sort();
    others
}
