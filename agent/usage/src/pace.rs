//! How much of the machine a scanning thread takes: its priority and its budget.

use crate::control::Control;
use rustix::time::{ClockId, clock_gettime};
use std::thread::sleep;
use std::time::{Duration, Instant};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    thread_schedule_policy,
};

/// So much is used before there is a pause.
const SLICE: Duration = Duration::from_millis(5);
/// A pause is looked up from this often, to see whether the scan was stopped.
const NAP: Duration = Duration::from_millis(50);

/// `SCHED_IDLE`: the kernel ranks reads by it too, where they have no rank of their own, so that no second call is needed.
const IDLE: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

/// Makes this thread an idle one, if it is not. Says why not, where it could not be.
pub(crate) fn be_idle() -> Option<String> {
    // Inherited, as from a unit with CPUSchedulingPolicy=idle: asking for it may be forbidden there.
    if thread_schedule_policy() == Ok(IDLE) {
        return None;
    }
    let answer = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE);
    // It goes on to set a nice value, which means nothing by then, and which a nicer process may not.
    if thread_schedule_policy() == Ok(IDLE) {
        return None;
    }
    Some(match answer {
        Ok(()) => "SCHED_IDLE did not stay set".into(),
        Err(error) => format!("SCHED_IDLE: {error}"),
    })
}

/// What this thread has used of processors since it began.
pub(crate) fn used() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// A budget of processor time.
#[derive(Debug)]
pub(crate) struct Pace {
    /// This thread's share of one processor.
    share: Option<f64>,
    since: Instant,
    used: Duration,
}

impl Pace {
    pub(crate) fn new(share: Option<f64>) -> Self {
        Self { share, since: Instant::now(), used: used() }
    }

    /// Sleeps as long as it takes for what was used to be no more than the share. Time that was not used is not saved up.
    pub(crate) fn pause(&mut self, control: &Control) {
        let Some(share) = self.share else { return };
        let spent = used().saturating_sub(self.used);
        if spent < SLICE {
            return;
        }
        let due = self.since + spent.div_f64(share.max(1e-3));
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            && !control.stopped()
        {
            sleep(left.min(NAP));
        }
        (self.since, self.used) = (Instant::now(), used());
    }
}
