//! `bowline apply`: the plan, done now, with progress. Asks the daemon where one runs: there is one writer.

use super::converge::{Wait, converge, outcome};
use super::{INVALID, WAITING, load, output};
use crate::show;
use bowline_engine::Outcome;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(super) async fn run(folder: &Path, wait: Duration) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    if loaded.settings.is_empty() {
        output::print(&format!("nothing to do: no settings yet in {}", folder.display()));
        return ExitCode::from(WAITING);
    }
    let answered = converge(folder, &loaded, Wait::for_all(wait)).await.filter(|report| report.looks > 0);
    let Some(report) = answered else { return ExitCode::FAILURE };
    output::print(&show::plan(&report, output::colour()));
    match outcome(&report) {
        Outcome::Converged => ExitCode::SUCCESS,
        Outcome::Waiting | Outcome::Busy => ExitCode::from(WAITING),
        Outcome::Blocked => ExitCode::FAILURE,
    }
}
