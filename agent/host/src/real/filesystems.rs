//! How full many filesystems are, for scrapes: quick when all is well, and never late because one of them hangs.
//!
//! A dead network filesystem can hold the thread that asks it for ever. So each mount has at most one probe under
//! way; a scrape waits for it until its deadline; and while it still hangs, later scrapes get an error at once.
//!
//! Probes run one after another on one thread, which ends with them: that is enough where all answer within
//! microseconds. Another thread takes over the rest as soon as one makes no headway. The threads are not the
//! runtime's own, since a runtime waits at its end for blocking work, and so would wait for ever. What was found is told
//! when the queue is empty, or stands still: to wake those who wait for each of a hundred costs more than the asking.

use super::space;
use bowline_ports::{ErrorKind, Mount, PortError, Space};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long a scrape waits for a filesystem.
pub const DEADLINE: Duration = Duration::from_secs(1);

type Outcome = Result<Space, PortError>;
type Probe = Box<dyn Fn(&Mount) -> Outcome + Send + Sync>;
/// The number too: what hangs may be replaced by another filesystem at the same place.
type Key = (PathBuf, String);

/// Measures mounts. Clones share their probes.
#[derive(Clone)]
pub struct Sampler(Arc<Shared>);

struct Shared {
    probe: Probe,
    deadline: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    under_way: HashMap<Key, Waiter>,
    /// Found, and not told yet.
    found: Vec<(watch::Sender<Option<Outcome>>, Outcome)>,
    /// Probes begun, ever: a queue that is not empty while this stands still needs another thread.
    begun: u64,
}

struct Task {
    mount: Mount,
    outcome: watch::Sender<Option<Outcome>>,
}

#[derive(Clone)]
struct Waiter {
    outcome: watch::Receiver<Option<Outcome>>,
    until: Instant,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new(measure, DEADLINE)
    }
}

impl Sampler {
    /// A sampler with a probe and a deadline of its own. The probe may block.
    pub fn new(probe: impl Fn(&Mount) -> Outcome + Send + Sync + 'static, deadline: Duration) -> Self {
        Self(Arc::new(Shared { probe: Box::new(probe), deadline, state: Mutex::default() }))
    }

    /// How full each of the mounts is, in their order.
    ///
    /// Takes no longer than the deadline. A filesystem that has not answered by then is an error of kind `Timeout`.
    pub async fn sample(&self, mounts: &[Mount]) -> Vec<Outcome> {
        let waiters = self.begin(mounts);
        let collect = async {
            let mut outcomes = Vec::with_capacity(waiters.len());
            for (mount, waiter) in mounts.iter().zip(waiters) {
                outcomes.push(self.outcome(mount, waiter).await);
            }
            outcomes
        };
        tokio::select! {
            biased;
            outcomes = collect => outcomes,
            () = self.keep_going() => Vec::new(),
        }
    }

    /// Queues a probe for each mount that has none, and hires a thread for them.
    fn begin(&self, mounts: &[Mount]) -> Vec<Waiter> {
        let until = Instant::now() + self.0.deadline;
        let mut state = self.0.lock();
        let idle = state.queue.is_empty();
        let waiters = mounts.iter().map(|mount| state.waiter(mount, until)).collect();
        let work = !state.queue.is_empty();
        drop(state);
        if idle && work {
            self.hire();
        }
        waiters
    }

    async fn outcome(&self, mount: &Mount, mut waiter: Waiter) -> Outcome {
        let answered = timeout_at(waiter.until, waiter.outcome.wait_for(Option::is_some)).await;
        if let Ok(Ok(outcome)) = answered
            && let Some(outcome) = outcome.as_ref()
        {
            return outcome.clone();
        }
        let place = mount.target.display();
        let late = Instant::now().saturating_duration_since(waiter.until) + self.0.deadline;
        Err(PortError::new(
            ErrorKind::Timeout,
            format!("the filesystem at {place} has not answered for {} s", late.as_secs()),
        ))
    }

    /// Hires another thread whenever the queue stands still. Goes on for ever.
    async fn keep_going(&self) {
        // The number of probes begun at which the queue stands still.
        let mut still = u64::MAX;
        let mut pause = Duration::from_millis(50);
        loop {
            let (begun, queued) = {
                let state = self.0.lock();
                (state.begun, state.queue.len())
            };
            let stuck = queued > 0 && begun == still;
            still = begun;
            self.0.tell();
            if stuck {
                self.hire();
                still += 1;
            }
            // Short enough that all of them are begun within the deadline, should every one of them hang.
            let share = self.0.deadline / u32::try_from(2 * queued + 2).unwrap_or(u32::MAX);
            pause = pause.min(share.max(Duration::from_millis(2)));
            tokio::time::sleep(pause).await;
        }
    }

    fn hire(&self) {
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("filesystems".into()).stack_size(128 * 1024);
        if let Err(error) = thread.spawn(move || shared.work()) {
            let mut state = self.0.lock();
            for task in std::mem::take(&mut state.queue) {
                state.under_way.remove(&key(&task.mount));
                task.outcome.send_replace(Some(Err(PortError::io("starting a thread", &error))));
            }
        }
    }
}

impl State {
    fn waiter(&mut self, mount: &Mount, until: Instant) -> Waiter {
        let queue = &mut self.queue;
        let new = || {
            let (sender, outcome) = watch::channel(None);
            queue.push_back(Task { mount: mount.clone(), outcome: sender });
            Waiter { outcome, until }
        };
        self.under_way.entry(key(mount)).or_insert_with(new).clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Probes until the queue is empty.
    fn work(&self) {
        let mut begin = self.begin_one(None);
        while let Some(task) = begin {
            let outcome = (self.probe)(&task.mount);
            begin = self.begin_one(Some((task, outcome)));
        }
        self.tell();
    }

    /// Notes how one ended, and takes the next.
    fn begin_one(&self, ended: Option<(Task, Outcome)>) -> Option<Task> {
        let mut state = self.lock();
        if let Some((task, outcome)) = ended {
            state.under_way.remove(&key(&task.mount));
            state.found.push((task.outcome, outcome));
        }
        let next = state.queue.pop_front()?;
        state.begun += 1;
        Some(next)
    }

    /// Tells what was found to those who wait for it. They wait for the first one first: it comes last, so that they wake once.
    fn tell(&self) {
        let found = std::mem::take(&mut self.lock().found);
        for (waiting, outcome) in found.into_iter().rev() {
            waiting.send_replace(Some(outcome));
        }
    }
}

fn key(mount: &Mount) -> Key {
    (mount.target.clone(), mount.number.clone())
}

/// Where the daemon's sandbox has directories of its own (`PrivateTmp=`).
const PRIVATE: [&str; 2] = ["/tmp", "/var/tmp"];

/// Whether nothing of a mount is seen from within the sandbox: it has other directories there. That is no fault of the filesystem's.
pub fn out_of_sight(mount: &Mount, outcome: &Outcome) -> bool {
    let at = &mount.target;
    let private = PRIVATE.iter().any(|place| at.starts_with(place) && at != Path::new(place));
    let kind = outcome.as_ref().err().map(|error| error.kind);
    private && matches!(kind, Some(ErrorKind::NotFound | ErrorKind::Changed))
}

/// Asks a filesystem. It has to be the one of the mount table: a sandbox may show another at the same path.
fn measure(mount: &Mount) -> Outcome {
    let failed = |error| PortError::io(format_args!("asking the filesystem at {}", mount.target.display()), &error);
    // Filesystems without a device of their own (major 0) may give each directory tree a number of its own.
    let expected = (!mount.number.starts_with("0:")).then_some(mount.number.as_str());
    match space::ask_once(&mount.target, expected).map_err(failed)? {
        Ok(space) => Ok(space),
        Err(seen) => Err(PortError::new(
            ErrorKind::Changed,
            format!("at {} the filesystem {seen} is seen, not {}", mount.target.display(), mount.number),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::given_back::given_back;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Condvar;

    const SPACE: Space = Space { size: 10, free: 5, available: 4, inodes: 3, inodes_free: 2 };

    fn mount(target: &str, number: &str) -> Mount {
        Mount {
            target: target.into(),
            source: "x".into(),
            number: number.into(),
            fstype: "ext4".into(),
            root: "/".into(),
            read_only: false,
            errors: 0,
            by_user: false,
        }
    }

    /// Where those wait who ask a target with "hang" in it, until it is opened.
    #[derive(Default)]
    struct Gate(Mutex<Asking>, Condvar);

    #[derive(Default)]
    struct Asking {
        asked: usize,
        held: usize,
        open: bool,
    }

    impl Gate {
        fn probe(self: &Arc<Self>) -> impl Fn(&Mount) -> Outcome + Send + Sync + 'static {
            let gate = Arc::clone(self);
            move |mount| {
                if mount.target.to_string_lossy().contains("hang") {
                    let mut asking = gate.0.lock().unwrap();
                    asking.asked += 1;
                    asking.held += usize::from(!asking.open);
                    drop(gate.1.wait_while(asking, |asking| !asking.open).unwrap());
                }
                Ok(SPACE)
            }
        }

        fn open(&self) {
            let mut asking = self.0.lock().unwrap();
            (asking.open, asking.held) = (true, 0);
            self.1.notify_all();
        }

        fn asked(&self) -> usize {
            self.0.lock().unwrap().asked
        }

        /// What is measured, in a runtime whose time is paused: it passes by milliseconds, and only while all threads
        /// of the sampler are held or have ended. So it does not matter how long they wait for a processor.
        async fn sample(&self, sampler: &Sampler, mounts: &[Mount]) -> Vec<Outcome> {
            let time = async {
                loop {
                    given_back("a thread is on its way", || {
                        // Each thread has a clone.
                        Arc::strong_count(&sampler.0) - 1 == self.0.lock().unwrap().held
                    });
                    tokio::time::advance(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                biased;
                outcomes = sampler.sample(mounts) => outcomes,
                () = time => Vec::new(),
            }
        }
    }

    fn kinds(outcomes: &[Outcome]) -> Vec<Option<ErrorKind>> {
        outcomes.iter().map(|o| o.as_ref().err().map(|e| e.kind)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_an_error_and_delays_nobody_for_long() {
        let gate = Arc::new(Gate::default());
        let sampler = Sampler::new(gate.probe(), Duration::from_millis(300));
        let mounts = [mount("/a", "8:1"), mount("/hang", "8:2"), mount("/b", "8:3")];
        let begun = Instant::now();
        let outcomes = gate.sample(&sampler, &mounts).await;
        assert!(begun.elapsed() < Duration::from_millis(310), "{:?}", begun.elapsed());
        assert_eq!(kinds(&outcomes), [None, Some(ErrorKind::Timeout), None]);
        assert_eq!(outcomes[1].as_ref().unwrap_err().message, "the filesystem at /hang has not answered for 0 s");

        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(kinds(&gate.sample(&sampler, &mounts).await), [None, Some(ErrorKind::Timeout), None]);
        }
        assert!(begun.elapsed() < Duration::from_millis(250), "errors come at once: {:?}", begun.elapsed());
        assert_eq!(gate.asked(), 1, "one probe under way");

        let replaced = [mount("/hang", "8:9")];
        gate.open();
        assert_eq!(kinds(&gate.sample(&sampler, &replaced).await), [None]);
        given_back("the first probe is under way", || sampler.0.lock().under_way.is_empty());
        assert_eq!(kinds(&gate.sample(&sampler, &mounts).await), [None, None, None], "it has come back");
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_of_them_hang_each_is_asked_within_the_deadline() {
        let gate = Arc::new(Gate::default());
        let sampler = Sampler::new(gate.probe(), Duration::from_millis(500));
        let mut mounts: Vec<_> = (0..40).map(|n| mount(&format!("/hang{n}"), "0:9")).collect();
        mounts.push(mount("/well", "8:1"));
        let begun = Instant::now();
        let outcomes = gate.sample(&sampler, &mounts).await;
        assert!(begun.elapsed() < Duration::from_millis(510), "{:?}", begun.elapsed());
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1, "the last one was reached");
        assert_eq!(gate.asked(), 40);
        gate.open();
    }

    #[tokio::test]
    async fn scrapes_at_once_share_a_probe_and_a_dropped_one_harms_nobody() {
        let gate = Arc::new(Gate::default());
        let sampler = Sampler::new(gate.probe(), Duration::from_secs(20));
        let mounts = [mount("/hang", "8:1")];
        let dropped = tokio::time::timeout(Duration::from_millis(20), sampler.sample(&mounts)).await;
        assert!(dropped.is_err());
        let both_wait = async {
            tokio::task::yield_now().await;
            gate.open();
        };
        let (one, two, ()) = tokio::join!(sampler.sample(&mounts), sampler.sample(&mounts), both_wait);
        assert_eq!((one, two), (vec![Ok(SPACE)], vec![Ok(SPACE)]));
        assert_eq!(gate.asked(), 1);
    }

    #[tokio::test]
    async fn nothing_to_measure_is_nothing() {
        assert!(Sampler::default().sample(&[]).await.is_empty());
    }

    #[test]
    fn what_the_sandbox_hides_is_no_error_and_what_fails_there_is() {
        let of = |target: &str, kind| out_of_sight(&mount(target, "8:1"), &Err(PortError::new(kind, "")));
        assert!(of("/tmp/data", ErrorKind::NotFound) && of("/var/tmp/a/b", ErrorKind::Changed));
        assert!(!of("/tmp/data", ErrorKind::Timeout) && !of("/tmp/data", ErrorKind::Other));
        assert!(!of("/tmp", ErrorKind::NotFound) && !of("/tmpfiles", ErrorKind::NotFound));
        assert!(!of("/mnt/tmp/x", ErrorKind::NotFound) && !out_of_sight(&mount("/tmp/data", "8:1"), &Ok(SPACE)));
        let hidden = mount("/var/tmp/no-such-place", "8:1");
        assert!(out_of_sight(&hidden, &measure(&hidden)));
    }

    #[test]
    fn the_filesystem_of_the_table_is_measured_or_none() {
        let device = std::fs::metadata("/").unwrap().dev();
        let root = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
        assert!(measure(&mount("/", &root)).unwrap().size > 0);
        assert_eq!(measure(&mount("/", "199:99")).unwrap_err().kind, ErrorKind::Changed);
        assert_eq!(measure(&mount("/no/such/place", "8:1")).unwrap_err().kind, ErrorKind::NotFound);
    }
}
