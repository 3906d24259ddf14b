//! The pages: what a scrape reads, put together when it comes.

use super::clock::Offset;
use super::measuring::Measuring;
use super::phases::Phases;
use super::picture::{exhaustion, view};
use super::surfaces::Latest;
use super::watching::Watching;
use bowline_engine::Report;
use bowline_host::real::RealHost;
use bowline_host::real::filesystems::{Sampler, out_of_sight};
use bowline_host::real::http::{Handler, Request, Response};
use bowline_host::real::unix_now;
use bowline_metrics::{
    Counters, Enrolments, FilesystemSample, Page, Phase, Process, Role, Route, Sample, View, real_mounts,
};
use bowline_ports::{Clock, Inspect, Mount, PortError, Space, condition};
use bowline_settings::StatusPage;
use std::io::Read;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// The loop turns at least once an hour; its watchdog is systemd's. This is for those who only see the socket.
const TURN_LIMIT: Duration = Duration::from_secs(3900);

/// How long the metrics wait for the first look after a start; Prometheus gives up after ten seconds.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// How long a page waits for what is asked at the bus.
const BUS: Duration = Duration::from_secs(1);

/// Everything that the pages show.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) host: Arc<RealHost>,
    pub(crate) latest: watch::Receiver<Latest>,
    pub(crate) phases: watch::Receiver<Phases>,
    pub(crate) counters: Counters,
    /// Where the settings make an issuer.
    pub(crate) enrolments: Option<Enrolments>,
    pub(crate) volumes: Vec<String>,
    pub(crate) role: Option<Role>,
    pub(crate) sampler: Sampler,
    pub(crate) watching: Watching,
    pub(crate) offset: Offset,
    pub(crate) measuring: Measuring,
    pub(crate) status_page: StatusPage,
}

impl Pages {
    /// Answers requests at loopback addresses, or at others.
    pub(crate) fn handler(self, loopback: bool) -> Handler {
        Arc::new(move |request: Request| {
            let pages = self.clone();
            Box::pin(async move {
                match Route::of(&request.path) {
                    None => Response::not_found(),
                    Some(route) => {
                        let page = pages.page(route, loopback, &request.accept).await;
                        let Page { status, content_type, body, policy } = page;
                        Response { status, content_type, body, policy }
                    }
                }
            })
        })
    }

    async fn page(&self, route: Route, loopback: bool, accept: &str) -> Page {
        let latest = self.latest.borrow().clone();
        let report = &*latest.report;
        match route {
            Route::Index if self.status_page.served(loopback) => self.view(report).await.page(),
            Route::Index => bowline_metrics::index(report),
            Route::Readyz => bowline_metrics::readyz(report),
            Route::Healthz => healthz(&latest),
            Route::Metrics => match looked(self.latest.clone()).await {
                Some(latest) => self.metrics(&latest.report, accept).await,
                None => bowline_metrics::early(),
            },
        }
    }

    async fn metrics(&self, report: &Report, accept: &str) -> Page {
        self.counters.scraped();
        let (mounts, clock) = tokio::join!(self.mounts(), self.clock());
        let unread = mounts.is_err();
        let filesystems = self.filesystems(&mounts.unwrap_or_default()).await;
        let filesystems: Vec<_> =
            filesystems.into_iter().map(|(mount, space)| FilesystemSample { mount, space: space.ok() }).collect();
        let exhaustion = exhaustion(&filesystems, &self.watching, &self.measuring);
        let phases: Vec<_> = {
            let phases = self.phases.borrow();
            phases.reached.iter().filter_map(|(name, s)| Some((Phase::from_name(name)?, *s))).collect()
        };
        let sample = Sample {
            report,
            now: clock.unix,
            arch: self.host.arch(),
            volumes: &self.volumes,
            role: self.role,
            filesystems: &filesystems,
            mounts_unread: unread,
            phases: &phases,
            // systemd tells of each, and the report is made anew then.
            k3s_restarts: report.conditions.get(condition::K3S_RESTARTS).and_then(|text| text.parse().ok()),
            process: process(),
            counters: Some(&self.counters),
            enrolments: self.enrolments.as_ref(),
            exhaustion: Some(&exhaustion),
            clock_synchronised: clock.synchronised,
            clock_offset: self.offset.last(),
        };
        bowline_metrics::metrics(&sample, accept)
    }

    /// The mounts. Each filesystem is looked at by itself only where some have met errors, which are counted for scrapes anyway.
    async fn mounts(&self) -> Result<Vec<Mount>, PortError> {
        match self.watching.counted().filesystem_errors.iter().any(|(_, errors)| *errors > 0) {
            true => self.host.mounts().await,
            false => self.host.mount_table(),
        }
    }

    /// Whether the clock is synchronised is asked with it, which a bus that hangs must not hold a page up with: then nobody says so.
    async fn clock(&self) -> Clock {
        match tokio::time::timeout(BUS, self.host.clock()).await {
            Ok(Ok(clock)) => clock,
            _ => Clock { unix: unix_now(), synchronised: false, uptime: 0, awake: 0 },
        }
    }

    /// Every real mount with how full it is, but those that the sandbox hides.
    async fn filesystems(&self, mounts: &[Mount]) -> Vec<(Mount, Result<Space, PortError>)> {
        let mounts = real_mounts(mounts);
        let spaces = self.sampler.sample(&mounts).await;
        mounts.into_iter().zip(spaces).filter(|(mount, space)| !out_of_sight(mount, space)).collect()
    }

    async fn view<'a>(&self, report: &'a Report) -> View<'a> {
        let (mounts, clock) = tokio::join!(self.mounts(), self.clock());
        let filesystems = self.filesystems(&mounts.unwrap_or_default()).await;
        view(report, clock.unix, &filesystems, &self.watching, &self.measuring)
    }
}

/// The last report; `None` while there is none of this process.
async fn looked(mut latest: watch::Receiver<Latest>) -> Option<Latest> {
    let there = latest.wait_for(|latest| latest.report.looks > 0);
    tokio::time::timeout(FIRST_LOOK, there).await.ok()?.ok().map(|latest| latest.clone())
}

fn healthz(latest: &Latest) -> Page {
    bowline_metrics::healthz(latest.made.elapsed(), TURN_LIMIT)
}

/// The daemon itself. What is read is in memory, and never waited for.
fn process() -> Option<Process> {
    static BOOT: OnceLock<i64> = OnceLock::new();
    // The kernel says of none of these files how long it is: a buffer that grows from nothing takes a handful of reads.
    let text = |path: &str| {
        let mut text = String::with_capacity(4096);
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)).ok().map(|_| text)
    };
    let boot = || {
        let stat = text("/proc/stat").unwrap_or_default();
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0)
    };
    Process::parse(&text("/proc/self/stat")?, &text("/proc/self/status")?, *BOOT.get_or_init(boot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// What nobody has looked at is not there: it would be told as absent, and not ready.
    #[tokio::test(start_paused = true)]
    async fn the_metrics_wait_for_the_first_look() {
        let of = |looks| Latest { made: Instant::now(), report: Arc::new(Report { looks, ..Report::default() }) };
        let latest = watch::Sender::new(of(0));
        assert!(looked(latest.subscribe()).await.is_none());
        let waits = tokio::spawn(looked(latest.subscribe()));
        tokio::time::sleep(FIRST_LOOK / 2).await;
        latest.send_replace(of(1));
        assert_eq!(waits.await.unwrap().unwrap().report.looks, 1);
    }

    #[test]
    fn a_clock_that_is_set_says_nothing_of_the_loop() {
        let report = |at| Arc::new(Report { at, ..Report::default() });
        let now = Instant::now();
        let turned = |at, made| healthz(&Latest { made, report: report(at) }).status;
        assert_eq!((turned(0, now), turned(i64::MAX, now)), (200, 200));
        let long_ago = now.checked_sub(2 * TURN_LIMIT).unwrap();
        let unix = u64::try_from(unix_now()).unwrap();
        assert_eq!(turned(i64::try_from(unix).unwrap(), long_ago), 503);
    }
}
