//! `bowline check`: validates settings and touches nothing.

use super::{INVALID, load, output};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(folder: &Path, files: &[PathBuf]) -> ExitCode {
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
