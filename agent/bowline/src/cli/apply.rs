//! `bowline apply`: the plan, done now, with progress. Asks the daemon where one runs: there is one writer.

use super::{INVALID, WAITING, load, output, plan};
use crate::{paths, show, wiring};
use bowline_engine::{Engine, Outcome, Report};
use bowline_host::real::control::{self, Lock, Reports};
use bowline_ports::{Change, ErrorKind, PortError};
use bowline_settings::Loaded;
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
    let Some((outcome, report)) = converge(folder, &loaded, wait).await else { return ExitCode::FAILURE };
    output::print(&show::plan(&report, output::colour()));
    match outcome {
        Outcome::Converged => ExitCode::SUCCESS,
        Outcome::Waiting | Outcome::Busy => ExitCode::from(WAITING),
        Outcome::Blocked => ExitCode::FAILURE,
    }
}

/// Does what the plan says, by itself or by the daemon, with progress on standard error. `None`: it has said why not.
pub(super) async fn converge(folder: &Path, loaded: &Loaded, wait: Duration) -> Option<(Outcome, Report)> {
    let mut progress = show::Progress::new(std::io::stderr().is_terminal());
    let mut show = |report: &Report| progress.show(report, &mut std::io::stderr().lock());
    let answer = match Lock::take(Path::new(paths::LOCK)) {
        Ok(_lock) => {
            let host: Arc<dyn Change> = Arc::new(output::machine()?);
            let mut engine = Engine::new(wiring::capabilities(&loaded.settings, wiring::built()), wiring::VERSION);
            engine.settings(plan::settings_report(loaded));
            let outcome = engine.converge(&host, wait, &mut show).await;
            (outcome, engine.report().clone())
        }
        Err(busy) => match ask_daemon(folder, wait, &mut show).await {
            Ok(answer) => answer,
            Err(error) => {
                output::complain_of(&busy);
                output::complain_of(&error);
                return None;
            }
        },
    };
    progress.end(&mut std::io::stderr().lock());
    Some(answer)
}

/// Has the daemon look again at once, and follows its reports.
async fn ask_daemon(
    folder: &Path,
    wait: Duration,
    show: &mut impl FnMut(&Report),
) -> Result<(Outcome, Report), PortError> {
    if let Some(host) = output::machine()
        && let Some(report) = plan::last_report(&host).await
    {
        same_settings(folder, &report)?;
    }
    follow(control::ask_apply(Path::new(paths::CONTROL)).await?, wait, show).await
}

/// The daemon applies the settings of its own folder, whatever was typed here.
fn same_settings(folder: &Path, daemon: &Report) -> Result<(), PortError> {
    let own = daemon.settings.files.first().and_then(|file| Path::new(file).parent());
    let own = own.unwrap_or(Path::new(paths::SETTINGS));
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if real(own) == real(folder) {
        return Ok(());
    }
    let message = format!(
        "the daemon applies the settings in {}, not those in {}: `bowline plan` shows what these would do, and \
         `systemctl stop bowline` makes room for applying them",
        own.display(),
        folder.display()
    );
    Err(PortError::new(ErrorKind::Busy, message))
}

async fn follow(
    mut reports: Reports,
    wait: Duration,
    show: &mut impl FnMut(&Report),
) -> Result<(Outcome, Report), PortError> {
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
            Ok(Ok(None)) if last.looks == 0 => {
                let message = "the daemon ended before it answered; `journalctl -u bowline` tells why";
                return Err(PortError::new(ErrorKind::Unreachable, message));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_settings_than_the_daemons_are_refused() {
        let mut report = Report::default();
        assert!(same_settings(Path::new(paths::SETTINGS), &report).is_ok());
        assert!(same_settings(Path::new("/srv/other"), &report).is_err());
        report.settings.files = vec!["/srv/other/50-node.toml".into()];
        assert!(same_settings(Path::new("/srv/other"), &report).is_ok());
        let error = same_settings(Path::new(paths::SETTINGS), &report).unwrap_err();
        assert!(error.message.starts_with("the daemon applies the settings in /srv/other, not those in /etc/bowline"));
    }

    #[tokio::test]
    async fn a_daemon_that_ends_before_it_answers_is_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let reports = control::ask_apply(&path).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        // Closed with something unread, it would be a reset.
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await.unwrap();
        drop(stream);
        let error = follow(reports, Duration::ZERO, &mut |_| {}).await.unwrap_err();
        assert!(error.message.starts_with("the daemon ended before it answered"), "{}", error.message);
    }
}
