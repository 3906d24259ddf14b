//! `bowline check`: validates settings and touches nothing.

use super::{INVALID, load, output};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(folder: &Path, files: &[PathBuf]) -> ExitCode {
    // A folder that is named is looked at as the daemon looks at its own.
    let (folder, files) = match files {
        [named] if named.is_dir() => (named.as_path(), &[] as &[PathBuf]),
        _ => (folder, files),
    };
    let loaded = if files.is_empty() { load::folder(folder) } else { load::files(files) };
    match loaded {
        Err(trouble) => {
            output::complain(&trouble.to_string());
            ExitCode::from(INVALID)
        }
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::complain(&format!("warning: {warning}"));
            }
            let others = not_read(folder, files);
            if !others.is_empty() {
                let others = others.join(", ");
                output::complain(&format!("warning: not read: {others} (the name of a settings file ends in .toml)"));
            }
            let what = if loaded.settings.is_empty() {
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
