//! How many machines may run at once. The kernel gives each user so many inotify instances, of which every machine takes
//! its share, and processors can bear so many machines. Cases that would be too many wait for each other; of those that
//! wait, one that takes minutes is next, then the largest, as they would be alone at the end otherwise. Clusters wait for
//! one another much of their time, which single machines beside them make use of: three clusters run at once, and leave an
//! eighth to others.

use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// The kernel's own default, of inotify instances.
const DEFAULT: usize = 128;
/// For what else runs on the host, such as a machine of the testbed's own tests.
const SPARE: usize = 14;
/// Machines at once for each processor: they wait for one another most of the time.
const EACH_PROCESSOR: usize = 5;
/// A virtual machine is always busy while it boots, and gives way to others then (`nice`): it counts as so many machines.
const VIRTUAL: usize = 4;
/// Clusters at once.
const CLUSTERS: usize = 3;
/// Cases begin at about the same moment: the largest is known once they are all there.
const ARRIVAL: Duration = Duration::from_millis(300);

static PLACES: LazyLock<Places> = LazyLock::new(|| Places::new(host(), ARRIVAL));

/// Who takes part in a case at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cast {
    /// Servers of Kubernetes.
    pub servers: usize,
    /// Its agents.
    pub agents: usize,
    /// Machines without Kubernetes.
    pub plain: usize,
    /// Virtual machines.
    pub virtuals: usize,
    /// It takes minutes, which are mostly waits: it begins before the others, so that it does not end alone.
    pub patient: bool,
}

impl Cast {
    /// One server.
    pub const SERVER: Cast = Cast { servers: 1, agents: 0, plain: 0, virtuals: 0, patient: false };
    /// One machine on which no Kubernetes starts.
    pub const PLAIN: Cast = Cast { servers: 0, agents: 0, plain: 1, virtuals: 0, patient: false };
    /// One virtual machine.
    pub const VIRTUAL: Cast = Cast { servers: 0, agents: 0, plain: 0, virtuals: 1, patient: false };

    /// A cluster of so many.
    pub fn cluster(servers: usize, agents: usize) -> Cast {
        Cast { servers, agents, plain: 0, virtuals: 0, patient: false }
    }

    /// The same, which begins before the others.
    pub fn patient(self) -> Cast {
        Cast { patient: true, ..self }
    }

    /// Of inotify instances, systemd and its services have 3, Bowline 2 (one is its path unit's), containerd 1, the kubelet 7,
    /// and what else a server has 11: counted in /proc/PID/fd, each once (kcmp), at their most. Another one or two come and
    /// go (`journalctl --follow`).
    fn takes(self) -> Share {
        let instances = 25 * self.servers + 14 * self.agents + 7 * self.plain;
        let cluster = self.servers + self.agents > 1;
        Share {
            patient: self.patient,
            instances,
            machines: self.servers + self.agents + self.plain + VIRTUAL * self.virtuals,
            clusters: usize::from(cluster),
            in_clusters: if cluster { instances } else { 0 },
        }
    }
}

/// A share of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    /// Those go first, and then the largest: the order of the fields matters.
    patient: bool,
    instances: usize,
    machines: usize,
    clusters: usize,
    /// Of the instances, those of clusters.
    in_clusters: usize,
}

impl Share {
    fn fits(self, taken: Share, all: Share) -> bool {
        taken.instances + self.instances <= all.instances
            && taken.machines + self.machines <= all.machines
            && taken.clusters + self.clusters <= all.clusters
            && (taken.in_clusters == 0 || taken.in_clusters + self.in_clusters <= all.in_clusters)
    }
}

fn host() -> Share {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances");
    let limit = limit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let instances = limit.saturating_sub(SPARE);
    let machines = EACH_PROCESSOR * processors;
    Share { patient: false, instances, machines, clusters: CLUSTERS, in_clusters: instances * 7 / 8 }
}

struct Places {
    all: Share,
    arrival: Duration,
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    taken: Share,
    waiting: Vec<Share>,
}

/// The places of one case; given back when this goes.
pub(crate) struct Taken<'a> {
    share: Share,
    of: &'a Places,
}

/// Waits until this cast may enter.
pub(crate) fn take(cast: Cast) -> Taken<'static> {
    PLACES.take(cast.takes())
}

impl Places {
    fn new(all: Share, arrival: Duration) -> Self {
        Self { all, arrival, table: Mutex::default(), changed: Condvar::new() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is more than all there is may run alone.
    fn take(&self, share: Share) -> Taken<'_> {
        let all = self.all;
        let (instances, machines) = (share.instances.min(all.instances), share.machines.min(all.machines));
        let share = Share { instances, machines, ..share };
        self.table().waiting.push(share);
        sleep(self.arrival);
        let mut table = self.table();
        while table.next(all) != Some(share) {
            table = self.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(at) = table.waiting.iter().position(|waiting| *waiting == share) {
            table.waiting.swap_remove(at);
        }
        table.taken.instances += share.instances;
        table.taken.machines += share.machines;
        table.taken.clusters += share.clusters;
        table.taken.in_clusters += share.in_clusters;
        // A smaller one may find its place beside this one.
        self.changed.notify_all();
        Taken { share, of: self }
    }
}

impl Table {
    /// Of those that wait and for which there is room, a patient one, or else the largest.
    fn next(&self, all: Share) -> Option<Share> {
        self.waiting.iter().copied().filter(|share| share.fits(self.taken, all)).max()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut table = self.of.table();
        table.taken.instances -= self.share.instances;
        table.taken.machines -= self.share.machines;
        table.taken.clusters -= self.share.clusters;
        table.taken.in_clusters -= self.share.in_clusters;
        self.of.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn of(instances: usize) -> Share {
        Share { instances, machines: 1, ..Share::default() }
    }

    #[test]
    fn who_finds_no_place_waits_and_the_largest_is_first() {
        let all = Share { instances: 10, machines: 4, ..Share::default() };
        let places: &'static Places = Box::leak(Box::new(Places::new(all, Duration::ZERO)));
        let all = places.take(of(99));
        let (tell, told) = channel();
        for share in [2, 7, 4] {
            let tell = tell.clone();
            std::thread::spawn(move || tell.send((share, places.take(of(share)))).is_ok());
        }
        assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "they wait");
        while places.table().waiting.len() < 3 {
            std::thread::yield_now();
        }
        drop(all);
        let next = || told.recv_timeout(Duration::from_secs(60)).unwrap();
        // The two that fit beside each other tell in any order, and keep the third out.
        let both = [next(), next()];
        let mut come = [both[0].0, both[1].0];
        come.sort_unstable();
        assert_eq!(come, [2, 7]);
        drop(both);
        assert_eq!(next().0, 4);
    }

    #[test]
    fn who_waits_for_clocks_begins_first() {
        let waiting = vec![of(3), Share { patient: true, ..of(2) }, of(7)];
        let table = Table { waiting, ..Table::default() };
        let all = Share { machines: 4, ..of(10) };
        assert_eq!(table.next(all), Some(Share { patient: true, ..of(2) }));
        assert_eq!(table.next(Share { instances: 1, ..all }), None);
    }

    #[test]
    fn processors_and_clusters_count_too() {
        let taken = Share { instances: 11, machines: 3, clusters: 2, in_clusters: 11, ..Share::default() };
        let all = Share { instances: 100, machines: 4, clusters: 2, in_clusters: 80, ..Share::default() };
        assert!(of(20).fits(taken, all));
        assert!(!of(20).fits(taken, Share { machines: 3, ..all }));
        let cluster = |in_clusters| Share { clusters: 1, in_clusters, ..of(in_clusters) };
        assert!(!cluster(20).fits(taken, all));
        // Single machines find room beside clusters, though not beside the largest.
        assert!(cluster(69).fits(taken, Share { clusters: 3, ..all }));
        assert!(!cluster(70).fits(taken, Share { clusters: 3, ..all }));
        assert!(cluster(90).fits(Share::default(), all));
    }
}
