//! Whether there are settings, and whether they are in order.

use super::check::{Check, Subject};
use crate::cli::load::Trouble;
use bowline_settings::{Error, Loaded};
use std::path::Path;

pub(super) fn diagnose(settings: &Result<Loaded, Trouble>, folder: &Path) -> Vec<Check> {
    match settings {
        Err(Trouble::Unreadable(error)) => vec![Check::blind("settings", error).explains(Subject::Daemon)],
        Err(Trouble::Invalid(errors)) => errors
            .iter()
            .map(|error| {
                let remedy = error.suggestion.clone().unwrap_or_else(|| "correct that line".into());
                let remedy = format!("{remedy} (`bowline check` shows the line)");
                // One that starts with them ends at once.
                Check::finding("settings", place_and_message(error), remedy).explains(Subject::Daemon)
            })
            .collect(),
        Ok(loaded) if loaded.settings.is_empty() => {
            let remedy = format!(
                "write a file such as {}/50-node.toml; /usr/share/bowline has examples, and it is seen at once",
                folder.display()
            );
            vec![Check::finding("settings", format!("there are none in {}", folder.display()), remedy)]
        }
        Ok(loaded) => {
            let mut files: Vec<_> = loaded.origins.iter().map(|origin| &origin.place.file).collect();
            files.sort();
            files.dedup();
            let text = match files.as_slice() {
                [one] => format!("valid, from {}", one.display()),
                several => format!("valid, from {} files in {}", several.len(), folder.display()),
            };
            let mut checks = vec![Check::ok("settings", text)];
            let warnings = loaded.warnings.iter();
            checks.extend(warnings.map(|w| Check::note("settings", format!("{}: {}", w.place, w.message))));
            checks
        }
    }
}

/// Where it is, and the other places that have to do with it, such as the one it contradicts.
fn place_and_message(error: &Error) -> String {
    let also: Vec<_> = error.also.iter().map(ToString::to_string).collect();
    match also.is_empty() {
        true => format!("{}: {}", error.place, error.message),
        false => format!("{}: {} (see also {})", error.place, error.message, also.join(", ")),
    }
}
