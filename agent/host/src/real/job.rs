//! Long work: a transient unit of PID 1 runs this same program with an order, so that a restart or an upgrade of
//! the daemon interrupts nothing. Order, progress and result are three files below `/run/bowline/jobs`.

mod device;
pub(crate) mod fetch;
pub(crate) mod format;
mod grow;
pub(crate) mod job_files;
#[cfg(test)]
pub(super) mod loops;
mod reclaim;
mod survey;
mod tend;
mod verb;

pub use fetch::{Url, Web, find_digest, redirected};
pub use verb::Verb;

use super::blocking::no_thread;
use super::bus::{Bus, CALL, limited};
use super::units;
use bowline_ports::{ErrorKind, FormatOrder, Job, PortError, Progress, ProgressValue};
use job_files::{JobFiles, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zbus::wire::Variant;

/// Between two looks at the files of a job.
const LOOK: Duration = Duration::from_millis(150);
/// At the least.
const LEAST: Duration = Duration::from_millis(5);
/// Between two looks at its unit.
const LOOK_AT_UNIT: Duration = Duration::from_secs(1);
/// How long a job is followed by its files alone while systemd does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who carries out long work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// Transient units of PID 1 that run this program (absolute path) with `internal VERB ORDER`.
    Units(PathBuf),
    /// Threads of this process: for tests on machines without systemd. They end with the process.
    Here,
}

/// Reports progress from within the work.
pub(crate) type Report<'a> = &'a (dyn Fn(ProgressValue) + Send + Sync);

/// An order that can be carried out.
pub(crate) trait Order: Serialize + DeserializeOwned + Clone + Send + 'static {
    /// The hidden subcommand.
    const VERB: Verb;
    /// The work's name.
    fn job(&self) -> String;
    /// For people: what the unit does.
    fn description(&self) -> String;
    /// Whether an order that is being carried out is this one.
    fn same(&self, other: &Self) -> bool;
    /// Whether another order ends the work on an earlier one.
    const REPLACED: bool;
    /// What it finds out, for whoever asked: `()` where that is seen on the machine.
    type Found: Serialize + DeserializeOwned;
    /// What the unit may do besides writing files as root.
    fn capabilities(&self) -> Option<u64>;
    /// What else its unit is to have, as systemd's properties.
    fn properties(&self) -> Vec<(&'static str, Variant<'static>)> {
        Vec::new()
    }
    /// Does it.
    fn carry_out(&self, report: Report<'_>) -> impl Future<Output = Result<Self::Found, PortError>> + Send;
}

impl Order for FormatOrder {
    const VERB: Verb = Verb::Format;
    /// Half a filesystem is finished first.
    const REPLACED: bool = false;
    type Found = ();

    fn job(&self) -> String {
        format!("mkfs-{}", self.volume)
    }

    fn description(&self) -> String {
        format!("Bowline: makes {} on {} for the volume {}", self.filesystem, self.device.display(), self.volume)
    }

    fn same(&self, other: &Self) -> bool {
        // Where it is to be mounted may be another place by now.
        let work = |order: &Self| Self { resume: false, mount: PathBuf::new(), ..order.clone() };
        work(self) == work(other)
    }

    fn capabilities(&self) -> Option<u64> {
        None
    }

    async fn carry_out(&self, report: Report<'_>) -> Result<(), PortError> {
        format::format(self, report).await
    }
}

/// Starts jobs, follows them and looks at them.
#[derive(Debug)]
pub(crate) struct Jobs {
    files: JobFiles,
    launch: Launch,
    here: Arc<Mutex<HashSet<String>>>,
    /// What was under way at the last look.
    seen: Mutex<HashSet<String>>,
}

impl Jobs {
    pub(crate) fn new(run: &Path, launch: Launch) -> Self {
        Self { files: JobFiles::at(run.join("jobs")), launch, here: Arc::default(), seen: Mutex::default() }
    }

    /// Carries out an order, or follows the work on it that is under way.
    pub(crate) async fn run<O: Order>(&self, bus: &Bus, order: &O, progress: &Progress) -> Result<(), PortError> {
        let job = order.job();
        // One that cannot be read is of another version: another order.
        let same = self.files.order::<O>(&job).ok().flatten().is_some_and(|other| order.same(&other));
        // Who asks saw it under way: also when it has ended since, its result is what is asked for.
        if self.was_under_way(&job) && same {
            let result = self.follow(bus, &job, progress).await;
            // Once: a look that does not come may never see that it has ended.
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
            return result;
        }
        let mut running = self.running(bus, &job).await?;
        // Its result is there, and it is just ending: that is an earlier order's, not this one's.
        let over = running && self.files.result(&job)?.is_some();
        if over {
            running = !self.ended(bus, &job).await?;
        }
        // One that is over and does not end waits for a disk or a server that does not answer.
        if running && (over || !same) {
            running = !(O::REPLACED && self.stop(bus, &job).await?);
            if running {
                let how = if over {
                    "does not end: a disk or a server that it needs does not answer"
                } else {
                    "is at work on another order"
                };
                return Err(PortError::new(ErrorKind::Busy, format!("{job} {how}"))
                    .hint(format!("wait for it, or end it: systemctl stop {}", unit_name(&job))));
            }
        }
        if !running {
            let path = self.files.begin(&job, order)?;
            self.start(bus, order, path).await?;
        }
        self.follow(bus, &job, progress).await
    }

    /// What work that has ended well found out; `None` where there is none.
    pub(crate) fn found<O: Order>(&self, job: &str) -> Result<Option<O::Found>, PortError> {
        match self.files.result(job)? {
            Some(Outcome::Done) => self.files.found(job),
            Some(Outcome::Failed(_)) | None => Ok(None),
        }
    }

    /// The same, with the order that it was the answer to.
    pub(crate) fn found_last<O: Order>(&self, job: &str) -> Result<Option<(O, O::Found)>, PortError> {
        Ok(self.files.order(job)?.zip(self.found::<O>(job)?))
    }

    /// A job as it is now.
    pub(crate) async fn look(&self, bus: &Bus, job: &str) -> Result<Option<Job>, PortError> {
        let seen = self.state(bus, job).await?;
        let mut under_way = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen {
            Some(Job::Running(_)) => under_way.insert(job.to_owned()),
            _ => under_way.remove(job),
        };
        Ok(seen)
    }

    /// What is known of a job that has ended is forgotten.
    pub(crate) fn forget(&self, job: &str) -> Result<(), PortError> {
        self.files.forget(job)
    }

    fn was_under_way(&self, job: &str) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(job)
    }

    async fn state(&self, bus: &Bus, job: &str) -> Result<Option<Job>, PortError> {
        if !self.files.has_order(job) {
            return Ok(None);
        }
        if let Some(outcome) = self.files.result(job)? {
            return Ok(Some(ended(outcome)));
        }
        if self.running(bus, job).await? {
            return Ok(Some(Job::Running(self.files.progress(job).unwrap_or_default())));
        }
        // It may have ended between the two looks.
        if let Some(outcome) = self.files.result(job)? {
            return Ok(Some(ended(outcome)));
        }
        Ok(Some(Job::Failed(self.cut_off(job).await)))
    }

    async fn running(&self, bus: &Bus, job: &str) -> Result<bool, PortError> {
        match &self.launch {
            Launch::Here => Ok(self.here.lock().unwrap_or_else(PoisonError::into_inner).contains(job)),
            Launch::Units(_) => {
                let unit = units::unit(bus, &unit_name(job)).await?;
                Ok(!unit.active.is_down())
            }
        }
    }

    /// Ends the work on a job; whether it is over.
    async fn stop(&self, bus: &Bus, job: &str) -> Result<bool, PortError> {
        if let Launch::Units(_) = &self.launch {
            let unit = unit_name(job);
            let manager = bus.manager().await?;
            limited(&format!("stopping {unit}"), CALL, manager.stop_unit(&unit, "replace")).await?;
        }
        self.ended(bus, job).await
    }

    /// Waits for the end of a job that should come at once; whether it came.
    async fn ended(&self, bus: &Bus, job: &str) -> Result<bool, PortError> {
        for _ in 0..20 {
            if !self.running(bus, job).await? {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(false)
    }

    async fn start<O: Order>(&self, bus: &Bus, order: &O, path: PathBuf) -> Result<(), PortError> {
        let job = order.job();
        match &self.launch {
            Launch::Here => {
                self.here.lock().unwrap_or_else(PoisonError::into_inner).insert(job.clone());
                let here = Arc::clone(&self.here);
                let started = std::thread::Builder::new().spawn(move || {
                    // The result file says how it went.
                    let _ = carry_out::<O>(&path);
                    here.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
                });
                started.map(drop).map_err(|error| {
                    self.here.lock().unwrap_or_else(PoisonError::into_inner).remove(&order.job());
                    no_thread(order.description(), &error)
                })
            }
            Launch::Units(program) => {
                let started = start_unit(bus, order, program, &path).await;
                if started.is_err() {
                    self.files.abandon(&job);
                }
                started
            }
        }
    }

    async fn follow(&self, bus: &Bus, job: &str, progress: &Progress) -> Result<(), PortError> {
        let begin = Instant::now();
        let mut looked = Instant::now();
        let mut heard = Instant::now();
        loop {
            if let Some(outcome) = self.files.result(job)? {
                return outcome.into_result();
            }
            if let Some(value) = self.files.progress(job) {
                progress.set(value);
            }
            if looked.elapsed() >= LOOK_AT_UNIT {
                looked = Instant::now();
                match self.running(bus, job).await {
                    Ok(true) => heard = Instant::now(),
                    Ok(false) => {
                        return match self.files.result(job)? {
                            Some(outcome) => outcome.into_result(),
                            None => Err(self.cut_off(job).await),
                        };
                    }
                    // The work goes on without D-Bus, and so does its result.
                    Err(error) if heard.elapsed() > PATIENCE => return Err(error),
                    Err(_) => {}
                }
            }
            // Short work is not waited for longer than it takes.
            tokio::time::sleep(LOOK.min(begin.elapsed() / 10).max(LEAST)).await;
        }
    }

    /// The error of a job that ended without a result: killed, out of memory, or its program is gone.
    async fn cut_off(&self, job: &str) -> PortError {
        let unit = unit_name(job);
        let last = match self.launch {
            Launch::Here => Vec::new(),
            Launch::Units(_) => units::journal_tail(&unit, 3).await.unwrap_or_default(),
        };
        let words = if last.is_empty() { String::new() } else { format!(": {}", last.join("; ")) };
        PortError::new(ErrorKind::Other, format!("{job} was cut off before it had a result{words}"))
            .hint(format!("look with: journalctl -u {unit}"))
    }
}

fn ended(outcome: Outcome) -> Job {
    match outcome.into_result() {
        Ok(()) => Job::Done,
        Err(error) => Job::Failed(error),
    }
}

/// The transient unit of a job.
pub fn unit_name(job: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '_' };
    format!("bowline-{}.service", job.chars().map(plain).collect::<String>())
}

async fn start_unit<O: Order>(bus: &Bus, order: &O, program: &Path, path: &Path) -> Result<(), PortError> {
    let name = unit_name(&order.job());
    let what = format!("starting {name}");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let arguments = vec![text(program), "internal".to_owned(), O::VERB.as_str().to_owned(), text(path)];
    let properties = || {
        let mut all = vec![
            ("Description", Variant::from(order.description())),
            ("Type", Variant::from("exec")),
            ("ExecStart", Variant::from(vec![(text(program), arguments.clone(), false)])),
            // What a failed one leaves behind would be in the way of the next.
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("SyslogIdentifier", Variant::from("bowline")),
            ("NoNewPrivileges", Variant::from(true)),
            ("UMask", Variant::from(0o077_u32)),
        ];
        all.extend(order.capabilities().map(|set| ("CapabilityBoundingSet", Variant::from(set))));
        all.extend(order.properties());
        all
    };
    let manager = bus.manager().await?;
    let first = limited(&what, CALL, manager.start_transient_unit(&name, "fail", &properties(), &[])).await;
    match first {
        Err(error) if error.kind == ErrorKind::Busy => {
            // An older systemd, or a unit that somebody looks at just now.
            let _ = limited(&what, CALL, manager.reset_failed_unit(&name)).await;
            limited(&what, CALL, manager.start_transient_unit(&name, "fail", &properties(), &[])).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// Carries out the order in a file, and leaves progress and result beside it.
fn carry_out<O: Order>(path: &Path) -> Result<(), PortError> {
    let (files, job) = JobFiles::of_order(path)?;
    let outcome = files.order::<O>(&job).and_then(|order| {
        let order = order.ok_or_else(|| {
            PortError::new(ErrorKind::NotFound, format!("{}: there is no such order", path.display()))
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| PortError::io("starting the event loop", &e))?;
        let writer = files.progress_writer(&job);
        let found = runtime.block_on(order.carry_out(&|value| writer.set(value)))?;
        files.put_found(&job, &found)
    });
    files.finish(&job, &outcome)?;
    outcome
}

#[cfg(test)]
mod tests;
