//! Long work in the simulation, in units of PID 1: it goes on without the agent that began it, and ends with the machine.

use super::SimHost;
use super::change::{check, set};
use super::fault::{FaultMode, failure};
use super::state::{Content, State};
use bowline_ports::{
    ErrorKind, FetchOrder, FormatOrder, Fut, GrowOrder, Job, PortError, Progress, ProgressValue, ReclaimOrder,
    TendOrder, Work,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// What a unit is told to do.
#[derive(Clone, PartialEq)]
pub(super) enum Order {
    Format(FormatOrder),
    Grow(GrowOrder),
    Tend(TendOrder),
    Fetch(FetchOrder),
    Reclaim(ReclaimOrder),
}

impl Order {
    fn job(&self) -> String {
        match self {
            Self::Format(order) => format!("mkfs-{}", order.volume),
            Self::Grow(order) => GrowOrder::job(&order.volume, &order.id, order.uuid.as_deref()),
            Self::Tend(order) => order.job(),
            Self::Fetch(order) => format!("fetch-{}", order.name),
            Self::Reclaim(order) => order.job(),
        }
    }

    /// Half of the time that it takes: a repair, or writing out what is in memory, takes longer than the rest at a mount point.
    fn half(&self) -> Duration {
        Duration::from_millis(match self {
            Self::Format(_) | Self::Grow(_) => 500,
            Self::Fetch(_) => 1000,
            Self::Reclaim(_) => 150,
            Self::Tend(order) => match &order.work {
                Work::Prepare { suspect: true, .. } | Work::Prepare { repair: true, .. } | Work::Unmount { .. } => 50,
                Work::Prepare { .. } | Work::Arrange { .. } | Work::Shield { .. } => 0,
            },
        })
    }

    fn progress(&self) -> ProgressValue {
        let doing = |text: String| ProgressValue { done: 0, total: 0, text };
        match self {
            Self::Format(order) => doing(format!("making {}", order.filesystem)),
            Self::Grow(order) => doing(format!("growing {}", order.filesystem)),
            Self::Fetch(_) => ProgressValue { done: 1 << 20, total: 70 << 20, text: "downloading".into() },
            Self::Tend(_) | Self::Reclaim(_) => ProgressValue::default(),
        }
    }

    /// The disk that it holds open.
    fn device(&self) -> Option<&Path> {
        match self {
            Self::Format(FormatOrder { device, .. }) | Self::Grow(GrowOrder { device, .. }) => Some(device),
            Self::Tend(TendOrder { work: Work::Prepare { device, .. }, .. }) => Some(device),
            Self::Tend(_) | Self::Fetch(_) | Self::Reclaim(_) => None,
        }
    }

    /// Whether it is the work that another one asks for.
    fn same(&self, other: &Self) -> bool {
        let work = |order: &Self| match order {
            Self::Format(order) => Self::Format(FormatOrder { resume: false, mount: PathBuf::new(), ..order.clone() }),
            other => other.clone(),
        };
        work(self) == work(other)
    }
}

/// A unit that is at work, or was.
pub(super) struct AtWork {
    order: Order,
    /// The disk that it holds open, by the name that it had first.
    disk: Option<PathBuf>,
    /// It is past half of its way: a filesystem is begun.
    halfway: bool,
    /// When it has come to half of its way, or to its end.
    next: Instant,
    ended: Option<Result<(), PortError>>,
    /// How often work of this name was begun since the boot.
    times: u32,
}

impl AtWork {
    fn goes_on(&self) -> bool {
        self.ended.is_none()
    }

    fn is_writing(&self) -> bool {
        self.goes_on() && self.halfway && matches!(self.order, Order::Format(_))
    }
}

impl SimHost {
    /// A change that is made by a unit: begun, or taken up where it is under way, and followed. What cuts the agent off in its
    /// middle does not end the unit.
    pub(super) fn work<'a>(&'a self, call: &'static str, order: Order, progress: &'a Progress) -> Fut<'a, ()> {
        Box::pin(async move {
            let Some(fault) = self.faults.change(call).await else { return self.follow(&order, progress, false).await };
            match fault.mode {
                FaultMode::FailBefore | FaultMode::CrashBefore => {}
                FaultMode::FailAfter => self.follow(&order, progress, true).await?,
                FaultMode::CrashDuring => drop(self.follow(&order, progress, true).await),
                FaultMode::CrashAfter => drop(self.follow(&order, progress, false).await),
            }
            if !fault.mode.is_failure() {
                self.faults.die().await;
            }
            Err(failure(call, fault.kind))
        })
    }

    /// Follows it to its end, or half of the way.
    async fn follow(&self, order: &Order, progress: &Progress, half: bool) -> Result<(), PortError> {
        let name = order.job();
        let enough = Instant::now() + order.half();
        self.lock().begin(order)?;
        loop {
            let next = match self.lock().work.get(&name) {
                Some(AtWork { ended: Some(result), .. }) => return result.clone(),
                Some(work) => work.next,
                None => return Err(cut_off(&name)),
            };
            progress.set(order.progress());
            if half && enough <= Instant::now() {
                return Ok(());
            }
            tokio::time::sleep_until(if half { next.min(enough) } else { next }).await;
        }
    }
}

impl State {
    /// Begins the work, unless it is under way; or it was when the agent looked last, and its result is what is asked for.
    fn begin(&mut self, order: &Order) -> Result<(), PortError> {
        let name = order.job();
        if let Some(there) = self.work.get(&name) {
            let same = order.same(&there.order);
            if same && (there.goes_on() || self.seen_at_work.contains(&name)) {
                return Ok(());
            }
            // A download of something else is ended.
            if there.goes_on() && !matches!(order, Order::Fetch(_)) {
                let error = PortError::new(ErrorKind::Busy, format!("{name} is at work on another order"));
                return Err(error.hint(format!("wait for it, or end it: systemctl stop bowline-{name}.service")));
            }
        }
        let disk = self.disks.iter().find(|disk| Some(disk.device.path.as_path()) == order.device());
        let disk = disk.map(|disk| disk.home.clone());
        let next = Instant::now() + order.half();
        let times = self.times_begun(&name) + 1;
        self.jobs.insert(name.clone(), Job::Running(order.progress()));
        self.work.insert(name, AtWork { order: order.clone(), disk, halfway: false, next, ended: None, times });
        Ok(())
    }

    /// How a job is, for an agent, which remembers what it saw.
    pub(super) fn job(&mut self, name: &str) -> Option<Job> {
        match self.jobs.get(name) {
            Some(Job::Running(_)) => self.seen_at_work.insert(name.to_owned()),
            _ => self.seen_at_work.remove(name),
        };
        self.jobs.get(name).cloned()
    }

    /// Units have gone on to this moment.
    pub(super) fn go_on(&mut self) {
        self.k3s_goes_on();
        let going = |state: &Self| {
            let all = state.work.iter().filter(|(_, work)| work.goes_on());
            all.min_by_key(|(_, work)| work.next).map(|(name, work)| (name.clone(), work.next))
        };
        while let Some((name, next)) = going(self) {
            if Instant::now() < next {
                return;
            }
            self.stage(&name);
        }
    }

    /// One comes as far as half of its way, or to its end.
    fn stage(&mut self, name: &str) {
        let locked = self.locked_until(name);
        let Some(work) = self.work.get_mut(name) else { return };
        if let Some(until) = locked {
            work.next = until + Duration::from_millis(1);
            return;
        }
        let (order, ends) = (work.order.clone(), work.halfway);
        work.halfway = true;
        work.next += order.half();
        let result = match &order {
            Order::Format(order) if !ends => match self.begins(order) {
                Ok(true) => return,
                other => other.map(drop),
            },
            _ if !ends => return,
            Order::Format(order) => self.made(order),
            Order::Grow(order) => self.grow(order),
            Order::Tend(order) => self.tend(order),
            Order::Fetch(order) => self.fetched(order),
            Order::Reclaim(order) => self.reclaim(order),
        };
        self.ends(name, result);
    }

    fn ends(&mut self, name: &str, result: Result<(), PortError>) {
        let result = self.ended(name.to_owned(), result);
        self.work.entry(name.to_owned()).and_modify(|work| work.ended = Some(result));
    }

    /// When the work ends that has written to the disk which a format is about to write to: it has the lock.
    fn locked_until(&self, name: &str) -> Option<Instant> {
        let own = self.work.get(name).filter(|work| !work.halfway && matches!(work.order, Order::Format(_)))?;
        let another = |(other, _): &(&String, &AtWork)| other.as_str() != name;
        let mut others = self.work.iter().filter(another).map(|(_, work)| work);
        others.find(|work| work.is_writing() && work.disk == own.disk).map(|work| work.next)
    }

    /// From the last look at the disk to the first byte; `false` when all is done already.
    fn begins(&mut self, order: &FormatOrder) -> Result<bool, PortError> {
        if !check(self, order)? {
            self.files.remove(&order.begun);
            self.shield(&order.mount);
            return Ok(false);
        }
        self.put(&order.begun, order.mark().into_bytes(), 0o600);
        set(self, order, Content::HalfMade);
        Ok(true)
    }

    /// The filesystem is complete.
    fn made(&mut self, order: &FormatOrder) -> Result<(), PortError> {
        let (name, uuid) = (order.filesystem.name().to_string(), order.uuid.clone());
        set(self, order, Content::Filesystem { name, uuid, precious: false });
        self.files.remove(&order.begun);
        self.shield(&order.mount);
        Ok(())
    }

    /// A disk is taken out: what was at work on it fails.
    pub(super) fn lost(&mut self, disk: &Path) {
        let at_work = self.work.iter().filter(|(_, work)| work.goes_on() && work.disk.as_deref() == Some(disk));
        for name in at_work.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.ends(&name, Err(PortError::new(ErrorKind::Other, format!("{name}: its disk is gone"))));
        }
    }

    /// All units are killed.
    pub(super) fn kill_work(&mut self) {
        let at_work = self.work.iter().filter(|(_, work)| work.goes_on());
        for name in at_work.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.ends(&name, Err(cut_off(&name)));
        }
    }

    pub(super) fn times_begun(&self, job: &str) -> u32 {
        self.work.get(job).map_or(0, |work| work.times)
    }

    /// The disks whose bytes change without an agent, by the names that they had first.
    pub(super) fn being_written(&self) -> Vec<PathBuf> {
        let writes = |work: &&AtWork| match &work.order {
            Order::Format(_) => true,
            Order::Tend(TendOrder { work: Work::Prepare { repair, .. }, .. }) => *repair,
            Order::Grow(_) | Order::Tend(_) | Order::Fetch(_) | Order::Reclaim(_) => false,
        };
        let all = self.work.values().filter(|work| work.goes_on()).filter(writes);
        all.filter_map(|work| work.disk.clone()).collect()
    }
}

/// What is told of a unit that ended without a result.
fn cut_off(job: &str) -> PortError {
    PortError::new(ErrorKind::Other, format!("{job} was cut off before it had a result"))
        .hint(format!("look with: journalctl -u bowline-{job}.service"))
}
