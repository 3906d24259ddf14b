//! The plan, carried out for as long as a command waits: by the daemon where one runs, else here. There is one writer.

use super::{output, plan};
use crate::{paths, show, wiring};
use bowline_engine::{Engine, Outcome, Report, Wake};
use bowline_host::real::control::{self, Lock, Reports};
use bowline_ports::{Change, ErrorKind, PortError, write_json};
use bowline_settings::Loaded;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Between two questions, and between two looks at whether somebody is there to be asked.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a command waits, and for what.
pub(super) struct Wait<'a> {
    end: Instant,
    until: Option<&'a dyn Fn(&Report) -> bool>,
}

impl<'a> Wait<'a> {
    /// Until nothing is left to do. Steps under way are waited for, however long they take: the time is for what has to come first.
    pub(super) fn for_all(time: Duration) -> Self {
        Self { end: Instant::now() + time, until: None }
    }

    /// Until a report says so, and no longer than this, whatever is under way.
    pub(super) fn until(until: &'a dyn Fn(&Report) -> bool, time: Duration) -> Self {
        Self { end: Instant::now() + time, until: Some(until) }
    }

    fn is_met(&self, report: &Report) -> bool {
        match self.until {
            Some(until) => report.looks > 0 && until(report),
            None => outcome(report) == Outcome::Converged,
        }
    }

    fn has_ended(&self) -> bool {
        Instant::now() >= self.end
    }

    fn is_over(&self, report: &Report) -> bool {
        let goes_on = self.until.is_none() && outcome(report) == Outcome::Busy;
        self.is_met(report) || (self.has_ended() && !goes_on)
    }

    /// Until it is worth looking whether it is over.
    fn pause(&self) -> Duration {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => AGAIN,
            left => left.min(AGAIN),
        }
    }
}

/// How it stands; who has not answered yet is busy.
pub(super) fn outcome(report: &Report) -> Outcome {
    if report.looks == 0 { Outcome::Busy } else { Outcome::of(report) }
}

/// Does what the plan says, by itself or by the daemon, with progress on standard error: the last report, which has no look where
/// nobody answered in time. `None`: it has said why not.
pub(super) async fn converge(folder: &Path, loaded: &Loaded, wait: Wait<'_>) -> Option<Report> {
    let host: Arc<dyn Change> = Arc::new(output::machine()?);
    let (mut out, progress) = (std::io::stderr(), show::Progress::new(std::io::stderr().is_terminal()));
    let mut work = Work::new(&wait, progress, &mut out);
    let done = work.carry_out(&host, folder, loaded).await;
    work.progress.end(work.out);
    let Work { last, busy, away, .. } = work;
    // Who was answered knows that it is the daemon.
    let told = done.as_ref().err().into_iter().chain(busy.iter().filter(|_| last.looks == 0)).chain(&away);
    for error in told {
        output::failed(error.clone());
    }
    done.ok().map(|()| last)
}

/// What is said of a thing that is not done when the time is over.
pub(super) fn not_yet(what: &str) -> String {
    by_whether_it_goes_on(what, Lock::is_held(Path::new(paths::LOCK)))
}

fn by_whether_it_goes_on(what: &str, held: bool) -> String {
    match held {
        true => format!("{what}, and Bowline keeps trying: `bowline status` says what is in the way"),
        false => format!(
            "{what}, and nobody goes on with it, since no daemon runs: `systemctl start bowline`, or run this again"
        ),
    }
}

/// One command's work.
struct Work<'a> {
    wait: &'a Wait<'a>,
    progress: show::Progress,
    out: &'a mut dyn Write,
    last: Report,
    /// A daemon was there.
    daemon: bool,
    /// Why it is not done here, and why the daemon does not answer now.
    busy: Option<PortError>,
    away: Option<PortError>,
}

impl<'a> Work<'a> {
    fn new(wait: &'a Wait<'a>, progress: show::Progress, out: &'a mut dyn Write) -> Self {
        Self { wait, progress, out, last: Report::default(), daemon: false, busy: None, away: None }
    }

    async fn carry_out(&mut self, host: &Arc<dyn Change>, folder: &Path, loaded: &Loaded) -> Result<(), PortError> {
        loop {
            let over = match Lock::take(Path::new(paths::LOCK)) {
                Ok(lock) => {
                    (self.busy, self.away) = (None, None);
                    let mut engine =
                        Engine::new(wiring::capabilities(&loaded.settings, wiring::built()), wiring::VERSION);
                    engine.settings(plan::settings_report(loaded));
                    self.alone(&mut engine, host, lock, Path::new(paths::LOCK)).await
                }
                Err(error) if error.kind != ErrorKind::Busy => return Err(error),
                Err(busy) => {
                    self.busy = Some(busy);
                    if let Some(report) = plan::last_report(host.as_ref()).await {
                        same_settings(folder, &report)?;
                    }
                    self.follow(Path::new(paths::CONTROL)).await?
                }
            };
            if over {
                return Ok(());
            }
        }
    }

    /// Carries it out here, until a daemon that starts wants the lock and gets it, which it does when nothing is under way: then it
    /// is not over.
    async fn alone(&mut self, engine: &mut Engine, host: &Arc<dyn Change>, mut lock: Lock, path: &Path) -> bool {
        // Who asks how the node stands is not to take an earlier look, perhaps at other settings, for one of this.
        if let Some(earlier) = plan::last_report(host.as_ref()).await
            && let (_, Err(error)) = not_looked_yet(host.as_ref(), earlier).await
        {
            self.progress.say(&format!("the status file is out of date: {}", error.message), self.out);
        }
        let wait = self.wait;
        loop {
            let met = Notify::new();
            let show = |report: &Report| {
                self.progress.show(report, self.out);
                if wait.is_met(report) {
                    met.notify_one();
                }
            };
            tokio::select! {
                biased;
                () = met.notified() => {}
                () = sleep_until(wait.end), if wait.until.is_some() => {}
                _ = engine.converge(host, Duration::ZERO, show) => {}
            }
            self.last = engine.report().clone();
            if wait.is_over(&self.last) {
                return true;
            }
            let _ = timeout(wait.pause(), engine.next()).await;
            if Lock::is_wanted(path) {
                lock = match lock.give(path).await {
                    Ok(lock) => lock,
                    Err(_) => return false,
                };
            }
            if wait.until.is_some() {
                engine.wake(Wake::Look);
            }
        }
    }

    /// Has the daemon look again at once, and follows its reports, also those of the next one when it is started anew: whoever has
    /// found one leaves the machine to it, so that the next one does not find the lock taken. Not over: there was none, and the lock
    /// may be free.
    ///
    /// # Errors
    /// It may not be asked.
    async fn follow(&mut self, control: &Path) -> Result<bool, PortError> {
        let (mut reports, mut answered, mut tried) = (None::<Reports>, None::<Instant>, false);
        loop {
            if reports.is_none() {
                // Once is enough for what failed to be tried again; others ask for that as well.
                let asked = match tried {
                    true => control::ask_again(control).await,
                    false => control::ask_apply(control).await,
                };
                match asked {
                    Ok(asked) => {
                        self.daemon = true;
                        (reports, answered) = (Some(asked), None);
                    }
                    Err(error) if error.kind == ErrorKind::Denied => return Err(error),
                    Err(error) => self.is_away(error),
                }
            }
            let heard = match &mut reports {
                // It sends a report at each turn; silence means that nothing changes.
                Some(reports) => timeout(self.wait.pause(), reports.next()).await.ok(),
                None => None,
            };
            match heard {
                Some(Ok(Some(text))) => {
                    if let Ok(report) = serde_json::from_str::<Report>(&text) {
                        self.progress.show(&report, self.out);
                        (self.last, self.away, tried) = (report, None, true);
                        answered.get_or_insert_with(Instant::now);
                    }
                }
                Some(Ok(None)) => {
                    reports = None;
                    let message = "the daemon has ended; `journalctl -u bowline` tells why";
                    self.is_away(PortError::new(ErrorKind::Unreachable, message));
                }
                Some(Err(error)) => {
                    reports = None;
                    self.is_away(error);
                }
                None => {}
            }
            // Steps under way are not waited for where nobody tells of them.
            if self.wait.is_over(&self.last) || (self.away.is_some() && self.wait.has_ended()) {
                return Ok(true);
            }
            if reports.is_none() {
                sleep(self.wait.pause()).await;
                if !self.daemon {
                    return Ok(false);
                }
            }
            // A question ends what is waited for between two looks; steps under way need none.
            let idle = answered.is_some_and(|at| at.elapsed() >= AGAIN) && outcome(&self.last) != Outcome::Busy;
            if self.wait.until.is_some() && idle {
                reports = None;
            }
        }
    }

    /// It is said once, and what is waited for is waited for all the same.
    fn is_away(&mut self, error: PortError) {
        if self.away.is_none() {
            if !self.wait.has_ended() {
                self.progress.say(&format!("{}: it is asked again until the time is over", error.message), self.out);
            }
            self.away = Some(error);
        }
    }
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

/// What an earlier process of this boot saw, as no look of the one that has the lock now: for who asks how the node stands until that
/// has looked. And whether it got there.
pub(crate) async fn not_looked_yet(host: &dyn Change, earlier: Report) -> (Report, Result<(), PortError>) {
    let report = Report { looks: 0, ..earlier };
    let written = write_json(host, paths::STATUS, &report, 0o644).await;
    (report, written)
}

#[cfg(test)]
mod tests;
