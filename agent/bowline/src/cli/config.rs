//! `bowline config`: the merged settings, each with its origin.

use super::{INVALID, load, output};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(folder: &Path, json: bool) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    if json {
        output::print_json(&loaded.origins);
    } else if loaded.origins.is_empty() {
        output::print(&format!("no settings yet in {}", folder.display()));
    } else {
        let mut text = String::new();
        for origin in &loaded.origins {
            let place = format!("{}:{}", origin.place.file.display(), origin.place.line);
            text.push_str(&format!("{} = {}\n    # {place}", origin.key, origin.value));
            if let Some(first) = origin.replaced.first() {
                text.push_str(&format!(", replaces {}:{}", first.file.display(), first.line));
            }
            text.push('\n');
        }
        output::print(&text);
    }
    ExitCode::SUCCESS
}
