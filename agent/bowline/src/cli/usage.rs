//! `bowline usage`: what fills the disks, as bars. Reads only; measures by itself, with progress on a terminal.

use super::{INVALID, load, output};
use crate::daemon::Watching;
use crate::show::folded;
use crate::show::usage::{Disk, Folder, Picture};
use crate::usage::directories;
use bowline_host::real::filesystems::Sampler;
use bowline_host::real::{elsewhere, no_thread};
use bowline_metrics::real_mounts;
use bowline_ports::text::bytes;
use bowline_ports::{ErrorKind, Inspect, Mount, PortError, Survey, SurveyedDirectory};
use bowline_settings::Settings;
use bowline_usage::{ANSWER, Control, Request, SILENCE, ScanError, Threads, Tree, scan};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two lines of progress.
const PACE: Duration = Duration::from_millis(200);
/// How long a scan gets that was told to stop.
const STOPPING: Duration = Duration::from_secs(1);

pub(super) async fn run(folder: &Path, path: Option<PathBuf>, depth: u8, json: bool) -> ExitCode {
    // A directory of one's own can be measured without any settings.
    let settings = match (&path, load::folder(folder)) {
        (_, Ok(loaded)) => loaded.settings,
        (Some(_), Err(_)) => Settings::default(),
        (None, Err(trouble)) => {
            output::complain(&trouble.to_string());
            return ExitCode::from(INVALID);
        }
    };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let wanted = match &path {
        Some(path) => vec![SurveyedDirectory { path: absolute(path), depth, named: true }],
        None => directories(&settings),
    };
    // What no directory shows only a unit sees: the daemon's last one. Nobody but root may read what it found.
    let survey = match host.surveyed() {
        Ok(last) => last.map(|(_, survey)| survey),
        Err(error) => {
            output::complain(&folded(&format!("not shown, what no directory has (hidden, deleted): {error}"), 0, 4));
            None
        }
    };
    if let Some(trouble) = survey.as_ref().map(|survey| &survey.deleted_trouble).filter(|trouble| !trouble.is_empty()) {
        let what = format!("not all that was deleted and is still open was found: {trouble}");
        output::complain(&folded(&what, 0, 4));
    }
    let disks = match disks(&host, &settings, survey.as_ref()).await {
        Ok(disks) => disks,
        Err(error) => {
            output::complain_of(&error);
            return ExitCode::FAILURE;
        }
    };
    let now = host.clock().await.map(|clock| clock.unix).ok();
    let (mut folders, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for directory in &wanted {
        match measured(directory).await {
            Ok(tree) => {
                // What is shown is less than there is.
                if tree.problems.unreadable > 0 {
                    code = ExitCode::FAILURE;
                }
                folders.push(Folder::of(directory, &tree, &disks, survey.as_ref().zip(now)));
            }
            // Of the distribution's own some are not there.
            Err(Some(error)) if error.kind == ErrorKind::NotFound && !directory.named => {}
            // The others are shown all the same.
            Err(Some(error)) => {
                output::complain_of(&error);
                code = ExitCode::FAILURE;
            }
            Err(None) => return ExitCode::FAILURE,
        }
    }
    if folders.is_empty() && path.is_some() {
        return code;
    }
    folders.sort_by_key(|one| std::cmp::Reverse(one.allocated));
    // What was asked for by its path is what is shown.
    let disks = disks.into_iter().filter(|disk| path.is_none() || folders.iter().any(|one| one.on == disk.mountpoint));
    let ago = survey.zip(now).and_then(|(survey, now)| u64::try_from(now - survey.at).ok());
    let picture = Picture { disks: disks.collect(), folders, unseen_seconds_ago: ago };
    if json {
        output::print_json(&picture);
    } else {
        output::print_as_is(&picture.text());
    }
    code
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

async fn disks(host: &dyn Inspect, settings: &Settings, survey: Option<&Survey>) -> Result<Vec<Disk>, PortError> {
    let watching = Watching::remembered(host, &settings.pressure).await;
    let mounts: Vec<Mount> = real_mounts(&host.mounts().await?);
    let spaces = Sampler::default().sample(&mounts).await;
    watching.seen(&mounts, &spaces);
    let foretold = watching.foretold();
    let disk = |(mount, space): (&Mount, &Result<_, PortError>)| {
        let at = mount.target.display().to_string();
        let disk = match space {
            Ok(space) => Disk::of(at, space, foretold.get(mount.target.as_os_str())),
            Err(error) => Disk { mountpoint: at, error: Some(error.message.clone()), ..Disk::default() },
        };
        match survey {
            Some(survey) => disk.measured(mount, survey),
            None => disk,
        }
    };
    Ok(mounts.iter().zip(&spaces).map(disk).collect())
}

/// Scans a directory on a thread of its own, and tells how far it is. `None` as the error: somebody had enough of it.
async fn measured(directory: &SurveyedDirectory) -> Result<Tree, Option<PortError>> {
    let request =
        Request { depth: directory.depth.into(), threads: Threads::Two, idle: true, ..Request::of(&directory.path) };
    let shown = directory.path.display();
    let silent =
        || Some(PortError::new(ErrorKind::Timeout, format!("measuring {shown}: its filesystem does not answer")));
    let path = directory.path.clone();
    let no_thread = |error: std::io::Error| Some(no_thread(format_args!("measuring {shown}"), &error));
    let answers = elsewhere(move || std::fs::symlink_metadata(path).is_ok()).map_err(no_thread)?;
    tokio::select! {
        answer = tokio::time::timeout(ANSWER, answers) => if answer.is_err() { return Err(silent()) },
        _ = tokio::signal::ctrl_c() => return Err(None),
    }
    let control = Arc::new(Control::new());
    let (asked, shared) = (request, Arc::clone(&control));
    let mut work = elsewhere(move || scan(&asked, &shared)).map_err(no_thread)?;
    let terminal = std::io::stderr().is_terminal();
    let (mut drawn, mut stopped) = (false, false);
    let mut heard = (control.names(), Instant::now());
    let tree = loop {
        tokio::select! {
            ended = &mut work => break Some(ended),
            // The thread of one that hangs ends with this program.
            () = tokio::time::sleep(STOPPING), if stopped => break None,
            () = tokio::time::sleep(PACE), if !stopped => {
                let names = control.names();
                if heard.0 != names {
                    heard = (names, Instant::now());
                } else if heard.1.elapsed() > SILENCE {
                    control.stop();
                    break None;
                }
                if terminal {
                    drawn = true;
                    let text = format!("{shown}: {names} files, {}", bytes(control.allocated()));
                    let short: String = text.chars().take(79).collect();
                    let _ = write!(std::io::stderr().lock(), "\r\x1b[K{short}");
                }
            }
            _ = tokio::signal::ctrl_c() => {
                stopped = true;
                control.stop();
            }
        }
    };
    if drawn {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
    match tree {
        _ if stopped => Err(None),
        None => Err(silent()),
        Some(Ok(Ok(tree))) => Ok(tree),
        Some(Ok(Err(ScanError::Root { path, error }))) => {
            Err(Some(PortError::io(format_args!("measuring {}", path.display()), &error)))
        }
        Some(Ok(Err(error))) => Err(Some(PortError::new(ErrorKind::Other, error.to_string()))),
        Some(Err(_)) => Err(Some(PortError::new(ErrorKind::Other, format!("measuring {shown} was cut off")))),
    }
}
