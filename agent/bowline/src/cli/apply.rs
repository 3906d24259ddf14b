//! `bowline apply`: the plan, done now, with progress. Asks the daemon where one runs: there is one writer.

use super::{INVALID, WAITING, load, output, plan};
use crate::{paths, show, wiring};
use bowline_engine::{Engine, Outcome, Report};
use bowline_host::real::control::{self, Lock};
use bowline_ports::Change;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) async fn run(folder: &Path, wait: Duration) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    if loaded.settings.is_empty() {
        output::print(&format!("nothing to do: no settings yet in {}", folder.display()));
        return ExitCode::from(WAITING);
    }
    let mut progress = show::Progress::new(std::io::stderr().is_terminal());
    let mut show = |report: &Report| progress.show(report, &mut std::io::stderr().lock());
    let (outcome, report) = match Lock::take(Path::new(paths::LOCK)) {
        Ok(_lock) => {
            let Some(host) = output::machine() else { return ExitCode::FAILURE };
            let host: Arc<dyn Change> = Arc::new(host);
            let mut engine = Engine::new(wiring::capabilities(&loaded.settings, wiring::built()), wiring::VERSION);
            engine.settings(plan::settings_report(&loaded));
            let outcome = engine.converge(&host, wait, &mut show).await;
            (outcome, engine.report().clone())
        }
        Err(busy) => match ask_daemon(wait, &mut show).await {
            Ok(answer) => answer,
            Err(error) => {
                output::complain(&format!("{}\n{}", busy.message, error.message));
                return ExitCode::FAILURE;
            }
        },
    };
    progress.end(&mut std::io::stderr().lock());
    output::print(&show::plan(&report, output::colour()));
    match outcome {
        Outcome::Converged => ExitCode::SUCCESS,
        Outcome::Waiting | Outcome::Busy => ExitCode::from(WAITING),
        Outcome::Blocked => ExitCode::FAILURE,
    }
}

/// Has the daemon look again at once, and follows its reports.
async fn ask_daemon(
    wait: Duration,
    show: &mut impl FnMut(&Report),
) -> Result<(Outcome, Report), bowline_ports::PortError> {
    let mut reports = control::ask_apply(Path::new(paths::CONTROL)).await?;
    let began = Instant::now();
    let mut last = Report::default();
    loop {
        // The daemon sends a report at each turn; silence means that nothing changes.
        match tokio::time::timeout(Duration::from_secs(1), reports.next()).await {
            Ok(Ok(Some(text))) => {
                if let Ok(report) = serde_json::from_str::<Report>(&text) {
                    show(&report);
                    last = report;
                }
            }
            Ok(Ok(None)) => return Ok((outcome(&last), last)),
            Ok(Err(error)) => return Err(error),
            Err(_silence) => {}
        }
        match outcome(&last) {
            Outcome::Converged => return Ok((Outcome::Converged, last)),
            Outcome::Busy => {}
            standing if began.elapsed() >= wait && last.looks > 0 => return Ok((standing, last)),
            _ => {}
        }
    }
}

/// How it stands; a daemon that has not answered yet is busy.
fn outcome(report: &Report) -> Outcome {
    if report.looks == 0 { Outcome::Busy } else { Outcome::of(report) }
}
