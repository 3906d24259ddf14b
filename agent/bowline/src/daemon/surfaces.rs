//! Where one report goes: the status file, systemd's STATUS=, whoever follows by the control socket, the pages.

use super::phases::{Moment, Phases};
use crate::cli::not_looked_yet;
use crate::{paths, wiring};
use bowline_engine::Report;
use bowline_host::real::control::Published;
use bowline_host::real::notify_socket::{Notice, NotifySocket};
use bowline_host::real::since_boot;
use bowline_ports::{Change, PortError, boot_id, write_json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The last report, and when it was made, by a clock that nobody sets.
#[derive(Clone)]
pub(crate) struct Latest {
    pub(crate) made: Instant,
    pub(crate) report: Arc<Report>,
}

impl Latest {
    fn of(report: Report) -> Self {
        Self { made: Instant::now(), report: Arc::new(report) }
    }
}

/// Publishes reports, each surface only when it changes.
pub(crate) struct Surfaces {
    pub(crate) systemd: Option<Arc<NotifySocket>>,
    /// For the pages.
    pub(crate) latest: watch::Sender<Latest>,
    /// For the control socket, as JSON.
    pub(crate) lines: watch::Sender<Published>,
    /// When each phase of the first boot was reached.
    pub(crate) phases: watch::Sender<Phases>,
    /// Which boot this is.
    boot: String,
    written: Option<Report>,
    headline: String,
    status_trouble: Trouble,
    /// The record of the phases could not be read yet. It may be sound, so nothing takes its place.
    phases_unread: bool,
    /// It could not be written: again at the next report.
    phases_behind: bool,
    phases_trouble: Trouble,
}

/// What was told last of something that does not succeed: each trouble once, not at each try.
#[derive(Default, Debug, PartialEq)]
struct Trouble(String);

impl Trouble {
    /// Whether it was told now.
    fn tell(&mut self, what: &str, now: Option<PortError>) -> bool {
        let now = now.map(|error| format!("{what}: {error}")).unwrap_or_default();
        let news = now != self.0 && !now.is_empty();
        if news {
            tracing::warn!("{now}");
        }
        self.0 = now;
        news
    }
}

impl Surfaces {
    pub(crate) async fn new(host: &Arc<dyn Change>) -> Self {
        let boot = boot_id(host.as_ref()).await.unwrap_or_default();
        let now = moment(&boot);
        let (phases, phases_unread) = match read_phases(host, now.clone()).await {
            Ok(phases) => (phases, false),
            Err(_) => (Phases::new(now), true),
        };
        Self {
            systemd: NotifySocket::from_environment()
                .inspect_err(|error| tracing::warn!("cannot talk to systemd: {error}"))
                .ok()
                .map(Arc::new),
            latest: watch::Sender::new(Latest::of(Report { version: wiring::VERSION.into(), ..Report::default() })),
            lines: watch::Sender::default(),
            phases: watch::Sender::new(phases),
            boot,
            written: None,
            headline: String::new(),
            status_trouble: Trouble::default(),
            phases_unread,
            phases_behind: false,
            phases_trouble: Trouble::default(),
        }
    }

    pub(crate) fn tell(&self, notice: Notice<'_>) {
        if let Some(Err(error)) = self.systemd.as_ref().map(|s| s.tell(notice)) {
            tracing::debug!("telling systemd: {error}");
        }
    }

    /// Until the first look there is what an earlier process of this boot saw, as no look of this one: for who asks how the node
    /// stands, and for what listens where it did. Gives its conditions.
    pub(crate) async fn begin(&self, earlier: Option<Report>, host: &Arc<dyn Change>) -> BTreeMap<String, String> {
        let Some(earlier) = earlier else { return BTreeMap::new() };
        let (report, written) = not_looked_yet(host.as_ref(), earlier).await;
        if let Err(error) = written {
            tracing::warn!("the status file is out of date: {error}");
        }
        report.conditions
    }

    pub(crate) async fn publish(&mut self, report: &Report, volumes: usize, host: &Arc<dyn Change>) {
        self.latest.send_replace(Latest::of(report.clone()));
        let headline = report.headline();
        if headline != self.headline {
            self.tell(Notice::Status(&headline));
            self.headline = headline;
        }
        let timeless = report.timeless();
        if self.written.as_ref() != Some(&timeless) {
            let written = write_json(host.as_ref(), paths::STATUS, report, 0o644).await;
            self.written = written.is_ok().then_some(timeless);
            self.status_trouble.tell("the status file is out of date", written.err());
        }
        // Who was answered finds the same in the status file. The socket itself is one receiver.
        if self.lines.receiver_count() > 1 {
            self.lines.send_replace((report.looks, serde_json::to_string(report).unwrap_or_default()));
        }
        self.keep_phases(report, volumes, host).await;
    }

    async fn keep_phases(&mut self, report: &Report, volumes: usize, host: &Arc<dyn Change>) {
        const WHAT: &str = "the times of the first boot are not kept";
        let now = moment(&self.boot);
        if self.phases_unread {
            let before = self.phases.borrow().clone();
            match read_phases(host, now.clone()).await {
                // None were there: those since this start count.
                Ok(found) => drop(self.phases.send_replace(if found.reached.is_empty() { before } else { found })),
                Err(error) => {
                    self.phases_trouble.tell(WHAT, Some(error));
                    return;
                }
            }
            self.phases_unread = false;
        }
        let mut phases = self.phases.borrow().clone();
        if phases.note(report, volumes, &now) || self.phases_behind {
            let written = write_json(host.as_ref(), paths::PHASES, &phases, 0o600).await;
            self.phases_behind = written.is_err();
            self.phases_trouble.tell(WHAT, written.err());
            self.phases.send_replace(phases);
        }
    }
}

/// Those on record; where there are none, or they make no sense, from now on.
async fn read_phases(host: &Arc<dyn Change>, now: Moment) -> Result<Phases, PortError> {
    let file = host.read(Path::new(paths::PHASES)).await?;
    Ok(file.and_then(|file| serde_json::from_slice(&file.content).ok()).unwrap_or_else(|| Phases::new(now)))
}

fn moment(boot: &str) -> Moment {
    Moment {
        unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
        since_boot: since_boot().map_or(0.0, |d| d.as_secs_f64()),
        boot: boot.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_host::sim::{Fault, FaultMode, SimHost, World};
    use bowline_ports::{ErrorKind, condition};

    fn reached(keys: &[&str]) -> Report {
        let mut report = Report::default();
        report.conditions.extend(keys.iter().map(|key| ((*key).to_owned(), "active".to_owned())));
        report
    }

    /// What is on record.
    fn kept(host: &SimHost) -> Vec<String> {
        let phases: Option<Phases> = host.text(paths::PHASES).map(|text| serde_json::from_str(&text).unwrap());
        phases.map(|phases| phases.reached.into_keys().collect()).unwrap_or_default()
    }

    #[test]
    fn each_trouble_is_told_once() {
        let mut trouble = Trouble::default();
        let error = |text: &str| Some(PortError::new(ErrorKind::NoSpace, text));
        assert!(trouble.tell("x", error("full")) && !trouble.tell("x", error("full")));
        assert!(trouble.tell("x", error("read-only")) && !trouble.tell("x", None));
        assert!(trouble.tell("x", error("full")));
    }

    #[tokio::test]
    async fn phases_that_were_not_written_are_written_when_there_is_room() {
        let host = SimHost::new(&World::default());
        let change: Arc<dyn Change> = Arc::new(host.clone());
        let mut surfaces = Surfaces::new(&change).await;
        host.refuse_writes(true);
        let report = reached(&[condition::ADDRESS]);
        surfaces.publish(&report, 0, &change).await;
        assert!(surfaces.phases_trouble.0.contains("the times of the first boot are not kept"), "{:?}", kept(&host));
        assert_eq!(kept(&host), [""; 0]);
        host.refuse_writes(false);
        surfaces.publish(&report, 0, &change).await;
        assert_eq!(kept(&host), ["address", "settings"]);
        assert_eq!(surfaces.phases_trouble, Trouble::default());
    }

    #[tokio::test]
    async fn phases_that_could_not_be_read_are_not_written_over() {
        let host = SimHost::new(&World::default());
        let change: Arc<dyn Change> = Arc::new(host.clone());
        let mut surfaces = Surfaces::new(&change).await;
        surfaces.publish(&reached(&[condition::ADDRESS]), 0, &change).await;
        let before = host.text(paths::PHASES);
        // The second look of a start is at the record, the first one at which boot it is.
        host.arm(Fault::at_call(1, FaultMode::FailBefore, ErrorKind::Other));
        let mut surfaces = Surfaces::new(&change).await;
        assert!(surfaces.phases_unread && surfaces.phases.borrow().reached.is_empty());
        host.arm(Fault::at_call(1, FaultMode::FailBefore, ErrorKind::Other));
        surfaces.publish(&reached(&[condition::K3S]), 0, &change).await;
        assert!(surfaces.phases_unread);
        assert_eq!(host.text(paths::PHASES), before);
        surfaces.publish(&reached(&[condition::K3S]), 0, &change).await;
        assert_eq!(kept(&host), ["address", "k3s_start", "settings"]);
    }
}
