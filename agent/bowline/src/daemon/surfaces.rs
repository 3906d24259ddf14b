//! Where one report goes: the status file, systemd's STATUS=, whoever follows by the control socket, the pages.

use super::phases::{Moment, Phases};
use crate::cli::not_looked_yet;
use crate::{paths, wiring};
use bowline_engine::Report;
use bowline_host::real::control::Published;
use bowline_host::real::notify_socket::{Notice, NotifySocket};
use bowline_host::real::since_boot;
use bowline_ports::{Change, boot_id, write_json};
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
}

impl Surfaces {
    pub(crate) async fn new(host: &Arc<dyn Change>) -> Self {
        let boot = boot_id(host.as_ref()).await.unwrap_or_default();
        let now = moment(&boot);
        let phases = match host.read(Path::new(paths::PHASES)).await {
            Ok(Some(file)) => serde_json::from_slice(&file.content).unwrap_or_else(|_| Phases::new(now)),
            Ok(None) | Err(_) => Phases::new(now),
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
            match write_json(host.as_ref(), paths::STATUS, report, 0o644).await {
                Ok(()) => self.written = Some(timeless),
                Err(error) => tracing::warn!("the status file is out of date: {error}"),
            }
        }
        // Who was answered finds the same in the status file. The socket itself is one receiver.
        if self.lines.receiver_count() > 1 {
            self.lines.send_replace((report.looks, serde_json::to_string(report).unwrap_or_default()));
        }
        let mut phases = self.phases.borrow().clone();
        if phases.note(report, volumes, &moment(&self.boot)) {
            if let Err(error) = write_json(host.as_ref(), paths::PHASES, &phases, 0o600).await {
                tracing::warn!("the times of the first boot are not kept: {error}");
            }
            self.phases.send_replace(phases);
        }
    }
}

fn moment(boot: &str) -> Moment {
    Moment {
        unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
        since_boot: since_boot().map_or(0.0, |d| d.as_secs_f64()),
        boot: boot.to_owned(),
    }
}
