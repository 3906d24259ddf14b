//! Whether there are settings, and whether they are in order.

use super::check::Check;
use crate::cli::load::Trouble;
use bowline_settings::Loaded;
use std::path::Path;

pub(super) fn diagnose(settings: &Result<Loaded, Trouble>, folder: &Path) -> Vec<Check> {
    match settings {
        Err(Trouble::Unreadable(error)) => vec![Check::blind("settings", error)],
        Err(Trouble::Invalid(errors)) => errors
            .iter()
            .map(|error| {
                let remedy = error.suggestion.clone().unwrap_or_else(|| "correct that line".into());
                let remedy = format!("{remedy} (`bowline check` shows the line)");
                Check::finding("settings", format!("{}: {}", error.place, error.message), remedy)
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
