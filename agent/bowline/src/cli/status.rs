//! `bowline status`: how the node stands, as the daemon saw it last. Whoever waits, and may ask, has it look again.

use super::{WAITING, output, plan};
use crate::{paths, show};
use bowline_engine::{Overall, Report};
use bowline_host::real::control::{self, Lock, Reports};
use bowline_ports::{ErrorKind, Inspect};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Between two readings of the status file, and between two looks at the time while the daemon is silent.
const AGAIN: Duration = Duration::from_millis(300);
/// How long a daemon that has just started is given for its first look.
const FIRST_LOOK: Duration = Duration::from_secs(5);

pub(super) async fn run(json: bool, wait_ready: Option<Duration>) -> ExitCode {
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let held = || Lock::is_held(Path::new(paths::LOCK));
    let waited = match wait_ready {
        Some(wait) => until_ready(Path::new(paths::CONTROL), &host, wait, held).await,
        None => None,
    };
    let unanswered = wait_ready.is_some() && waited.is_none();
    let report = match waited {
        Some(report) => Some(report),
        None => last_look(&host, held).await,
    };
    if report.is_none() && held() {
        output::complain("bowline is at work, and has no report yet: a first look may take minutes on slow disks.");
        output::complain("If `systemctl status bowline` shows no daemon, another command of bowline is at work");
        return ExitCode::from(WAITING);
    }
    let Some(report) = report.filter(|_| held()) else {
        output::complain("bowline does not run on this machine: `systemctl start bowline` starts it,");
        output::complain("`journalctl -u bowline` tells why it ended; `bowline plan` works without it");
        return ExitCode::FAILURE;
    };
    if json {
        output::print_json(&report);
    } else {
        let now = host.clock().await.map_or(report.at, |clock| clock.unix);
        output::print(&show::status(&report, now, output::colour()));
    }
    if report.looks == 0 || (unanswered && report.overall == Overall::Ready) {
        output::complain(match report.looks {
            0 => "bowline has not looked yet since it was started: this is what was seen before",
            _ => "the daemon has not looked again within that time: this is what it saw before",
        });
        return ExitCode::from(WAITING);
    }
    exit(&report)
}

/// What was seen last: by the daemon that runs, if it comes to that soon, else by the one before it (no look of this one).
async fn last_look(host: &dyn Inspect, held: impl Fn() -> bool) -> Option<Report> {
    let began = Instant::now();
    loop {
        let report = plan::last_report(host).await;
        let looked = report.as_ref().is_some_and(|report| report.looks > 0);
        if looked || !held() || began.elapsed() >= FIRST_LOOK {
            return report;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The last report within this time, the first that is ready. The status file may be of before a setting was changed: root
/// asks the daemon, whose answers are of looks after that; the others are shown what is in the file.
async fn until_ready(control: &Path, host: &dyn Inspect, wait: Duration, held: impl Fn() -> bool) -> Option<Report> {
    let began = Instant::now();
    let (mut daemon, mut last) = (Daemon { control, reports: None, may_ask: true }, None);
    loop {
        last = daemon.next(host).await.or(last);
        let ready = last.as_ref().is_some_and(|report: &Report| report.overall == Overall::Ready);
        if (ready && held()) || began.elapsed() >= wait {
            return last;
        }
    }
}

/// Who is asked.
struct Daemon<'a> {
    control: &'a Path,
    reports: Option<Reports>,
    may_ask: bool,
}

impl Daemon<'_> {
    /// What it says next; `None` while it says nothing, after a moment.
    async fn next(&mut self, host: &dyn Inspect) -> Option<Report> {
        if self.may_ask && self.reports.is_none() {
            match control::ask_apply(self.control).await {
                Ok(reports) => self.reports = Some(reports),
                Err(error) => self.may_ask = error.kind != ErrorKind::Denied,
            }
        }
        if let Some(reports) = &mut self.reports {
            match tokio::time::timeout(AGAIN, reports.next()).await {
                Ok(Ok(Some(text))) => return serde_json::from_str(&text).ok(),
                Err(_silence) => return None,
                // It ended, or has too many to answer.
                Ok(Ok(None) | Err(_)) => self.reports = None,
            }
        }
        tokio::time::sleep(AGAIN).await;
        if self.may_ask { None } else { plan::last_report(host).await.filter(|report| report.looks > 0) }
    }
}

fn exit(report: &Report) -> ExitCode {
    match report.overall {
        Overall::Ready => ExitCode::SUCCESS,
        Overall::Converging => ExitCode::from(WAITING),
        Overall::Degraded => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_host::sim::{SimHost, World};
    use tokio::sync::{mpsc, watch};

    fn report(overall: Overall, looks: u64) -> Report {
        Report { overall, looks, ..Report::default() }
    }

    /// A machine whose status file says that it is ready.
    async fn ready_by_its_file() -> SimHost {
        ready_by_its_file_after(7).await
    }

    async fn ready_by_its_file_after(looks: u64) -> SimHost {
        let host = SimHost::new(&World::default());
        let text = serde_json::to_vec(&report(Overall::Ready, looks)).unwrap();
        bowline_ports::Change::write(&host, Path::new(paths::STATUS), &text, 0o644).await.unwrap();
        host
    }

    #[tokio::test]
    async fn who_waits_is_answered_by_a_look_after_the_question() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (asked, mut asks) = mpsc::channel(1);
        let (publish, reports) = watch::channel((7, String::new()));
        let server = control::listen(&path, asked, reports).unwrap();
        let host = ready_by_its_file().await;
        let daemon = tokio::spawn(async move {
            let heard: control::LookRequest = asks.recv().await.unwrap();
            heard.send(7).unwrap();
            for (overall, looks) in [(Overall::Converging, 8), (Overall::Ready, 9)] {
                publish.send((looks, serde_json::to_string(&report(overall, looks)).unwrap())).unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            publish
        });
        let last = until_ready(&path, &host, Duration::from_secs(30), || true).await.unwrap();
        assert_eq!((last.overall, last.looks), (Overall::Ready, 9));
        drop(daemon.await.unwrap());
        server.abort();
    }

    #[tokio::test]
    async fn a_daemon_that_does_not_answer_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let host = ready_by_its_file().await;
        assert_eq!(until_ready(&path, &host, Duration::ZERO, || true).await, None);
        drop(listener);
        assert_eq!(until_ready(&path, &host, Duration::ZERO, || true).await, None);
    }

    #[tokio::test]
    async fn who_may_not_ask_is_shown_the_file() {
        let host = ready_by_its_file().await;
        let mut daemon = Daemon { control: Path::new("/nowhere"), reports: None, may_ask: false };
        assert_eq!(daemon.next(&host).await.map(|report| report.looks), Some(7));
    }

    /// What the daemon before it saw is no answer of a daemon that has just started, until it does not come to one.
    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_has_just_started_is_given_a_moment() {
        let began = tokio::time::Instant::now();
        let host = ready_by_its_file_after(0).await;
        assert_eq!(last_look(&host, || false).await.map(|report| report.looks), Some(0));
        assert!(began.elapsed() < AGAIN, "nothing runs");
        assert_eq!(last_look(&host, || true).await.map(|report| report.looks), Some(0));
        assert!(began.elapsed() >= FIRST_LOOK);
        let mut daemon = Daemon { control: Path::new("/nowhere"), reports: None, may_ask: false };
        assert_eq!(daemon.next(&host).await, None);
        let none = SimHost::new(&World::default());
        assert_eq!(last_look(&none, || true).await, None);
        assert_eq!(last_look(&ready_by_its_file().await, || true).await.map(|report| report.looks), Some(7));
    }
}
