//! `bowline plan`: what would be done and why, what is waited for, what is refused. Holds no `Change`.

use super::{INVALID, load, output};
use crate::{paths, show, wiring};
use bowline_engine::{CapabilityState, Engine, Report, SettingsReport};
use bowline_ports::{Inspect, read_json};
use bowline_settings::Loaded;
use std::path::Path;
use std::process::ExitCode;

pub(super) async fn run(folder: &Path, json: bool, exit_code: bool) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else {
        return ExitCode::from(if exit_code { 1 } else { INVALID });
    };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let report = look(&loaded, &host).await;
    if json {
        output::print_json(&report);
    } else {
        output::print(&show::plan(&report, output::colour()));
    }
    let blind = report.capabilities.iter().any(|c| c.state == CapabilityState::Unknown);
    match (blind, exit_code, report.is_empty()) {
        (true, _, _) => ExitCode::FAILURE,
        (false, true, false) => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}

/// One look at the machine with these settings.
pub(super) async fn look(loaded: &Loaded, host: &dyn Inspect) -> Report {
    let mut engine = Engine::new(wiring::capabilities(&loaded.settings, wiring::built()), wiring::VERSION);
    engine.settings(settings_report(loaded));
    // Since when things are waited for is what the daemon has seen.
    if let (Some(earlier), Ok(clock)) = (last_report(host).await, host.clock().await) {
        engine.resume(&earlier, &clock);
    }
    engine.look(host).await.clone()
}

/// The daemon's last report of this boot.
pub(crate) async fn last_report(host: &dyn Inspect) -> Option<Report> {
    read_json(host, paths::STATUS).await.ok()?
}

/// What the report says of settings that were loaded well.
pub(crate) fn settings_report(loaded: &Loaded) -> SettingsReport {
    let mut files: Vec<String> = loaded.origins.iter().map(|o| o.place.file.display().to_string()).collect();
    files.sort();
    files.dedup();
    SettingsReport { files, errors: Vec::new(), absent: loaded.settings.is_empty() }
}
