//! Threads for what may block. Unlike tokio's own, which end the program when the kernel has no thread left for the first one,
//! these are an error of whoever wanted one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Threads that hang are many before there are none left: each volume of a disk may keep several for ever, and what one that waits
/// costs is mostly addresses.
const MOST: usize = 512;

/// Threads end soon, since each keeps memory of its own.
const KEPT: Duration = Duration::from_secs(1);

thread_local! {
    /// Those of this event loop, which is one thread.
    static POOL: RefCell<Arc<Pool>> = RefCell::new(Pool::new(MOST, |pool| {
        std::thread::Builder::new().name("blocking".into()).spawn(move || pool.work()).map(drop)
    }));
}

/// Runs work on another thread, for the event loop that this is called on: its answer, once it is there. Work that has not begun
/// when nobody waits for the answer any more is not done.
///
/// # Errors
/// There is no thread for it, and none can be made.
pub fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<oneshot::Receiver<T>> {
    let (answer, hears) = oneshot::channel();
    // A program is started, and ended, by the event loop that waits for it.
    let runtime = Handle::try_current().map_err(io::Error::other)?;
    #[cfg(test)]
    let keeps = keeps_a_paused_clock(&runtime);
    let work = move || {
        #[cfg(test)]
        let _keeps = keeps;
        let _within = runtime.enter();
        if !answer.is_closed() {
            // What nobody waits for any more goes here.
            drop(answer.send(work()));
        }
    };
    POOL.with_borrow(Arc::clone).run(Box::new(work)).map(|()| hears)
}

/// A clock that a test has paused goes on when nobody works any more, and of who does it knows only tokio's own threads.
#[cfg(test)]
fn keeps_a_paused_clock(runtime: &Handle) -> std::sync::mpsc::Sender<()> {
    let (keeps, ends) = std::sync::mpsc::channel();
    runtime.spawn_blocking(move || ends.recv().is_err());
    keeps
}

type Work = Box<dyn FnOnce() + Send>;

/// How a thread is made that works for a pool.
type Hire = Box<dyn Fn(Arc<Pool>) -> io::Result<()> + Send + Sync>;

pub(super) struct Pool {
    state: Mutex<State>,
    more: Condvar,
    most: usize,
    hire: Hire,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    /// Those that wait for work, among them those that were just told of some.
    idle: usize,
}

impl Pool {
    pub(super) fn new(most: usize, hire: impl Fn(Arc<Self>) -> io::Result<()> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), more: Condvar::new(), most, hire: Box::new(hire) })
    }

    fn run(self: &Arc<Self>, work: Work) -> io::Result<()> {
        let mut state = self.lock();
        state.queue.push_back(work);
        if state.idle >= state.queue.len() {
            self.more.notify_one();
        } else if state.threads < self.most {
            match (self.hire)(Arc::clone(self)) {
                Ok(()) => state.threads += 1,
                // One that is busy comes to it, or whoever waits has a deadline.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    state.queue.pop_back();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Works until there has been nothing to do for a while.
    pub(super) fn work(&self) {
        let mut state = self.lock();
        loop {
            while let Some(work) = state.queue.pop_front() {
                drop(state);
                // Who waits for it hears that it was cut off, and there is one thread less for nobody.
                let _ = catch_unwind(AssertUnwindSafe(work));
                state = self.lock();
            }
            state.idle += 1;
            let (woken, waited) = self.more.wait_timeout(state, KEPT).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any of its threads is.
    #[cfg(test)]
    pub(super) fn busy(&self) -> bool {
        let state = self.lock();
        state.idle < state.threads
    }

    /// Has this event loop use it from now on.
    #[cfg(test)]
    pub(super) fn is_used(self: Arc<Self>) {
        POOL.set(self);
    }
}
