//! The daemon: the engine's loop with its surfaces.
//!
//! It wakes for changed settings, devices and units, for a command that asks, for steps that end and for what is
//! due. Nothing it is in the middle of depends on it: mounting and long work are units of PID 1.

mod alive;
mod clock;
mod evicting;
mod filling;
mod foretold;
mod issuing;
mod known;
mod listen;
mod logging;
mod measuring;
mod phases;
mod picture;
mod reloading;
mod remembering;
mod sandbox;
mod scrape;
mod surfaces;
mod watching;

use crate::cli::{Running, settings_report};
use crate::{paths, wiring};
use alive::Alive;
use bowline_cluster::Cluster;
use bowline_engine::{Capability, Engine, Report, Wake};
use bowline_guard::Guard;
use bowline_host::real::RealHost;
use bowline_host::real::control::{self, Lock};
use bowline_host::real::events::{Event, Sources, Unfinished};
use bowline_host::real::filesystems::Sampler;
use bowline_host::real::notify_socket::Notice;
use bowline_metrics::{Counters, StepResult};
use bowline_node::Node;
use bowline_ports::{Change, GUARD_SERVICE, PortError, condition};
use bowline_reclaim::Reclaim;
use bowline_settings::{Settings, SourceFile};
use bowline_volumes::{Volumes, mount_unit_name};
pub(crate) use foretold::{End, Foretold, sure};
use known::Known;
use listen::Listeners;
use measuring::Measuring;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use surfaces::Surfaces;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
pub(crate) use watching::Watching;

/// How long a command that has the machine is given to end, or to let the daemon have it.
const ENDS: Duration = Duration::from_secs(20);

/// Runs until systemd ends it. 78 when the settings are wrong.
#[inline(never)]
pub(crate) fn run(folder: PathBuf) -> Running {
    Box::pin(async move { start(&folder).await })
}

async fn start(folder: &Path) -> ExitCode {
    let level = logging::start();
    let machine = match RealHost::new() {
        Ok(machine) => Arc::new(machine),
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let host: Arc<dyn Change> = machine.clone();
    let surfaces = Surfaces::new(&host).await;
    let mut settings = reloading::settings(folder, &surfaces);
    if let Err(code) = settings {
        return code;
    }
    let mut waited = false;
    let waits = |busy: &PortError| {
        waited = true;
        tracing::warn!("{busy}: waiting up to {} s for it to end", ENDS.as_secs());
        surfaces.tell(Notice::Status("waiting for another bowline to end"));
    };
    let lock = match Lock::take_within(Path::new(paths::LOCK), ENDS, waits).await {
        Ok(lock) => lock,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if waited {
        surfaces.tell(Notice::Status("looking for the first time"));
        settings = reloading::settings(folder, &surfaces);
    }
    let (loaded, files) = match settings {
        Ok(both) => both,
        Err(code) => return code,
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    level.set(loaded.settings.log.level);
    let mut engine = Engine::new(wiring::capabilities(&loaded.settings, wiring::built()), wiring::VERSION);
    engine.settings(settings_report(&loaded));
    let earlier = crate::cli::last_report(host.as_ref()).await;
    if let (Some(earlier), Ok(clock)) = (&earlier, host.clock().await) {
        engine.resume(earlier, &clock);
    }
    let counted = Counters::new(&wiring::NAMES).and_then(|counters| Ok((counters, issuing::enrolments()?)));
    let (counters, enrolments) = match counted {
        Ok(counted) => counted,
        Err(error) => {
            tracing::error!("metrics: {error}");
            return ExitCode::FAILURE;
        }
    };
    let sandbox = sandbox::Sandbox::new(host.as_ref()).await;
    let daemon = Daemon {
        folder: folder.to_path_buf(),
        settings: loaded.settings,
        files: Ok(files),
        reads_again: None,
        level,
        measuring: Measuring::remembered(&machine),
        machine,
        host,
        engine,
        surfaces,
        counters,
        known: Known::default(),
        listeners: Listeners::default(),
        sampler: Sampler::default(),
        watching: Watching::default(),
        offset: clock::Offset::default(),
        measures: None,
        issuing: issuing::Issuing::new(enrolments),
        sandbox,
    };
    let code = daemon.turn_for_ever(earlier).await;
    drop(lock);
    code
}

struct Daemon {
    folder: PathBuf,
    settings: Settings,
    /// What the settings files said, or why they could not be read: to tell a change from a mere touch.
    files: Result<Vec<SourceFile>, Vec<String>>,
    /// When they are read again that could not be read.
    reads_again: Option<Instant>,
    level: logging::Level,
    machine: Arc<RealHost>,
    host: Arc<dyn Change>,
    engine: Engine,
    surfaces: Surfaces,
    counters: Counters,
    known: Known,
    listeners: Listeners,
    sampler: Sampler,
    watching: Watching,
    offset: clock::Offset,
    measuring: Measuring,
    /// Who measures directories, by the settings in force.
    measures: Option<JoinHandle<()>>,
    issuing: issuing::Issuing,
    sandbox: sandbox::Sandbox,
}

impl Daemon {
    async fn turn_for_ever(mut self, earlier: Option<Report>) -> ExitCode {
        let (asked, mut asks) = mpsc::channel(1);
        let _control = control::listen(Path::new(paths::CONTROL), asked, self.surfaces.lines.subscribe())
            .inspect_err(|error| tracing::error!("{error}"));
        let (Ok(mut reload), Ok(mut stop), Ok(mut interrupt)) =
            (signal(SignalKind::hangup()), signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("cannot listen for signals");
            return ExitCode::FAILURE;
        };
        let units = watch::Sender::new(watched(&self.settings));
        let unfinished = Unfinished::default();
        let sources = |units: &watch::Sender<Vec<String>>, folder: &Path| Sources {
            settings: folder.to_path_buf(),
            units: units.subscribe(),
            unfinished: unfinished.clone(),
        };
        let mut events = self.machine.events(sources(&units, &self.folder));
        let alive = Alive::default();
        let _watchdog = tokio::spawn(alive.clone().tell_systemd(self.surfaces.systemd.clone()));
        self.watching.rules(&self.settings.pressure);
        let _watches = self.watching.begin(Arc::clone(&self.host), self.sampler.clone());
        let _asks_for_the_time = self.offset.begin(Arc::clone(&self.machine));
        let (mut pressure, mut room) = (self.watching.changes(), self.watching.room());
        self.measure();
        // Nobody who starts Bowline waits for a look, which may take minutes on slow disks.
        let conditions = self.surfaces.begin(earlier, &self.host).await;
        self.listen(&conditions).await;
        self.surfaces.tell(Notice::Ready);
        let turns = async {
            loop {
                let began = Instant::now();
                let host = Arc::clone(&self.host);
                let inspect: &dyn bowline_ports::Inspect = host.as_ref();
                alive.looking(true);
                self.engine.look(inspect).await;
                self.counters.looked(began.elapsed().as_secs_f64());
                let conditions = self.known.conditions(self.engine.report());
                self.listen(&conditions).await;
                self.issuing.adjust(&self.settings, &conditions, &self.machine).await;
                self.engine.start(&host);
                let report = self.engine.report().clone();
                self.surfaces.publish(&report, self.settings.volumes.len(), &host).await;
                if let Some(place) = self.sandbox.outlived(inspect, &report, self.watching.denied()).await {
                    tracing::error!(
                        "{place} was made anew, or is writable now, and the sandbox of this start does not have it so: \
                         ending, for systemd to start Bowline in a new one"
                    );
                    break ExitCode::FAILURE;
                }
                alive.looking(false);
                let reads = self.reads_again.map(|at| at.saturating_duration_since(Instant::now()));
                let retry = self.listeners.due().into_iter().chain(self.issuing.due()).min();
                tokio::select! {
                    () = self.engine.next() => {
                        for (capability, well) in self.engine.take_ended() {
                            self.counters.step(capability, if well { StepResult::Done } else { StepResult::Failed });
                        }
                    }
                    event = events.recv() => match event {
                        Some(Event::Settings) => self.reload(false, &units),
                        // Disks concern volumes, whose conditions have the others look: on a machine whose loop devices come and
                        // go, each of which would else be a look at the API.
                        Some(Event::Devices) => self.engine.wake(Wake::Capability(Volumes::NAME)),
                        Some(Event::Network) => {
                            self.engine.wake(Wake::Capability(Node::NAME));
                            self.engine.wake(Wake::Capability(Guard::NAME));
                        }
                        Some(Event::HostName) => self.engine.wake(Wake::Capability(Node::NAME)),
                        Some(Event::Units) => self.engine.wake(Wake::Look),
                        Some(Event::Node) => self.engine.wake(Wake::Capability(Cluster::NAME)),
                        // Without events the timers still turn the loop; systemd's watchdog sees that it lives.
                        None => {
                            tracing::warn!("events ended: looking by the timer only until they are back");
                            tokio::time::sleep(Duration::from_secs(5)).await;
                            events = self.machine.events(sources(&units, &self.folder));
                            self.engine.wake(Wake::Look);
                        }
                    },
                    Ok(()) = pressure.changed() => self.engine.wake(Wake::Look),
                    Ok(()) = room.changed() => self.engine.wake(Wake::Capability(Reclaim::NAME)),
                    // The sockets are tried at each turn: nothing else has to be looked at for that.
                    () = sleep_maybe(retry) => {}
                    () = sleep_maybe(reads), if unfinished.is_none() => self.reload(false, &units),
                    Some(heard) = asks.recv() => {
                        // What was changed just before is what is asked for; its event comes later. Half a file is no change yet.
                        if unfinished.is_none() {
                            self.reload(false, &units);
                        }
                        self.engine.wake(if heard.tries { Wake::All } else { Wake::Look });
                        let _ = heard.send(self.engine.report().looks);
                    }
                    Some(()) = reload.recv() => {
                        self.surfaces.tell(Notice::Reloading);
                        self.reload(true, &units);
                        let conditions = self.known.conditions(self.engine.report());
                        self.listen(&conditions).await;
                        self.surfaces.tell(Notice::Ready);
                    }
                }
            }
        };
        // Also in the midst of a long look: it changes nothing, and every step may be left off anywhere.
        let code = tokio::select! {
            code = turns => code,
            Some(()) = stop.recv() => ExitCode::SUCCESS,
            Some(()) = interrupt.recv() => ExitCode::SUCCESS,
        };
        self.surfaces.tell(Notice::Stopping);
        code
    }

    /// Measures directories by the settings in force.
    fn measure(&mut self) {
        if let Some(task) = self.measures.take() {
            task.abort();
            self.measuring.end();
        }
        // Without settings there is nobody to tell.
        if !self.settings.is_empty() {
            self.measures = Some(self.measuring.begin(Arc::clone(&self.machine), &self.settings));
        }
    }

    /// Listens wherever the settings say, as soon as the addresses are known.
    async fn listen(&mut self, conditions: &BTreeMap<String, String>) {
        let address = conditions.get(condition::ADDRESS).and_then(|a| a.parse::<std::net::IpAddr>().ok());
        // Who founds a cluster by itself has K3s's own, whatever the settings hoped for.
        let founds = conditions.get(condition::K3S_FOUNDS).is_some_and(|founds| founds == "yes");
        let default = founds.then(|| listen::own_pods(&self.settings, address.is_some_and(|a| a.is_ipv6())));
        let pods = conditions.get(condition::CLUSTER_CIDR).cloned().or(default);
        let pages = scrape::Pages {
            host: Arc::clone(&self.machine),
            latest: self.surfaces.latest.subscribe(),
            phases: self.surfaces.phases.subscribe(),
            counters: self.counters.clone(),
            enrolments: self.issuing.counted(&self.settings),
            volumes: self.settings.volumes.iter().map(|v| v.name.clone()).collect(),
            role: wiring::role(&self.settings),
            sampler: self.sampler.clone(),
            watching: self.watching.clone(),
            offset: self.offset.clone(),
            measuring: self.measuring.clone(),
            status_page: self.settings.metrics.status_page,
        };
        self.listeners.adjust(&self.settings, address, pods.as_deref(), pages).await;
        let mut attached = self.listeners.reports();
        attached.extend(self.watching.report());
        attached.extend(self.issuing.report());
        self.engine.attach(attached);
    }
}

/// The units whose changes are worth a look.
fn watched(settings: &Settings) -> Vec<String> {
    let mounts = settings.volumes.iter().map(|v| mount_unit_name(&v.mount));
    let guard = wiring::guarded(settings).then(|| GUARD_SERVICE.to_string());
    mounts.chain(wiring::services(settings)).chain(guard).collect()
}

async fn sleep_maybe(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
