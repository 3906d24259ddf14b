//! How many machines may run at once: the kernel gives each user so many inotify instances, and a machine with Kubernetes
//! takes its share. Cases that would be too many wait for each other.

use std::sync::{Condvar, LazyLock, Mutex, PoisonError};

/// What systemd, its services, K3s and Bowline take on one machine (measured: 18 on an agent, up to 29 on a server).
const A_MACHINE: usize = 25;
/// The kernel's own default.
const DEFAULT: usize = 128;

static PLACES: LazyLock<Places> = LazyLock::new(|| Places { all: all(), taken: Mutex::new(0), freed: Condvar::new() });

struct Places {
    all: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

/// Places of one case; given back when this goes.
pub(crate) struct Taken(usize);

/// Waits until so many more machines may run. More than there are places for may run alone.
pub(crate) fn take(machines: usize) -> Taken {
    let wanted = machines.min(PLACES.all);
    let taken = PLACES.taken.lock().unwrap_or_else(PoisonError::into_inner);
    let full = |taken: &mut usize| *taken + wanted > PLACES.all;
    let mut taken = PLACES.freed.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner);
    *taken += wanted;
    Taken(wanted)
}

impl Drop for Taken {
    fn drop(&mut self) {
        *PLACES.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        PLACES.freed.notify_all();
    }
}

fn all() -> usize {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances");
    let limit = limit.ok().and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(DEFAULT);
    (limit / A_MACHINE).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn who_finds_no_place_waits_for_one() {
        let all = take(usize::MAX);
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let one = take(1);
            tell.send(()).unwrap();
            drop(one);
        });
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
        drop(all);
        told.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
