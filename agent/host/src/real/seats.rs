//! Who may stay when there are too many: each connection has a seat until its answer is on its way.
//!
//! The issuers' door has them, and the socket of the metrics.
//!
//! A seat is taken away only for a newcomer, from whoever gives the least reason to keep it: has been answered, never
//! spoke, fell silent, speaks too slowly. Whose request is there whole keeps its seat. So idle connections and dribbling
//! ones never keep a good one out, and who comes from one address with many of them competes with itself first. So do the
//! addresses of one IPv6 network (/64), which may be one machine's, or a hundred machines'.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// It has not said a byte.
    Mute = 0,
    /// Handshake, head or body are on their way.
    Speaking = 1,
    /// All of its request is there.
    Working = 2,
    /// It has its answer.
    Leaving = 3,
}

/// The signs of life of one connection; times are milliseconds since `born`.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    heard: AtomicU64,
    stage: AtomicU8,
    hold: AtomicBool,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), heard: AtomicU64::new(0), stage: AtomicU8::new(0), hold: AtomicBool::new(false) }
    }

    /// Bytes came.
    pub(super) fn beat(&self) {
        self.heard.store(u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        self.stage.fetch_max(Stage::Speaking as u8, Relaxed);
    }

    /// It has come so far.
    pub(super) fn reached(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Relaxed);
    }

    /// A request of one that may send several is there: the first is answered whoever wants the seat, a later one as long as nobody
    /// with more reason does.
    pub(super) fn asked(&self) {
        self.beat();
        if self.stage.load(Relaxed) < Stage::Working as u8 {
            self.reached(Stage::Working);
        } else {
            self.stage.store(Stage::Speaking as u8, Relaxed);
        }
    }

    /// What is written from now on is kept and not sent.
    pub(super) fn hold_back(&self) {
        self.hold.store(true, Relaxed);
    }

    pub(super) fn held_back(&self) -> bool {
        self.hold.load(Relaxed)
    }

    fn silent(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Relaxed)))
    }

    /// How little would be lost with it: nothing for a seat that has to be kept, `Reason(0)` for one that is kept unless
    /// its source has many more than the newcomer's.
    fn reason(&self, patience: Patience) -> Option<u8> {
        match self.stage.load(Relaxed) {
            stage if stage == Stage::Leaving as u8 => Some(3),
            stage if stage == Stage::Mute as u8 => Some(2),
            stage if stage == Stage::Working as u8 => None,
            _ => Some(u8::from(self.silent() >= patience.silent || self.born.elapsed() >= patience.slow)),
        }
    }
}

/// For how long a seat is kept while somebody else wants it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For who sends nothing.
    pub(super) silent: Duration,
    /// For who sends, and has not sent all of its request.
    pub(super) slow: Duration,
}

/// All seats of a door.
#[derive(Debug)]
pub(super) struct Seats {
    total: usize,
    each: usize,
    patience: Patience,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    taken: HashMap<u64, Taken>,
    sources: HashMap<IpAddr, usize>,
    networks: HashMap<IpAddr, usize>,
}

/// A newcomer, or none where a seat is shed.
#[derive(Debug, Clone, Copy, Default)]
struct New {
    /// Its address, with how many seats that has.
    source: Option<IpAddr>,
    own: usize,
    /// Its network, and how many seats that has.
    network: Option<IpAddr>,
    near: usize,
}

/// Whose seats count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    All,
    Network,
    Source,
}

#[derive(Debug)]
struct Taken {
    /// Its address.
    source: IpAddr,
    /// Whom it counts as among others: of IPv6 the /64.
    network: IpAddr,
    pulse: Arc<Pulse>,
    task: Option<AbortHandle>,
}

/// A taken seat; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    seats: Arc<Seats>,
    pub(super) pulse: Arc<Pulse>,
}

/// How many times as many seats as one address an IPv6 network (/64) has: a machine may have all of its addresses, and other
/// machines theirs in the same.
const NETWORK: usize = 4;

/// Whom an address counts as beside others: of IPv6 the /64, since a machine may have all of it.
pub(super) fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

impl Seats {
    /// So many in all and for each source.
    pub(super) fn new(total: usize, each: usize, patience: Patience) -> Arc<Self> {
        Arc::new(Self { total, each, patience, table: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat, when one is free or can be had, and whether somebody lost it.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> (Option<Seat>, bool) {
        let (network, source) = (source(peer), peer.to_canonical());
        let mut table = self.lock();
        let count = |of: &HashMap<IpAddr, usize>, one| of.get(one).copied().unwrap_or(0);
        let (own, near) = (count(&table.sources, &source), count(&table.networks, &network));
        let among = match (own >= self.each, near >= self.each * NETWORK, table.taken.len() >= self.total) {
            (true, ..) => Some(Among::Source),
            // An IPv4 address is its own network, and has less.
            (_, true, _) => Some(Among::Network),
            (_, _, true) => Some(Among::All),
            _ => None,
        };
        let new = New { source: Some(source), own, network: Some(network), near };
        let lost = among.is_some_and(|among| table.make_room(self.patience, new, among));
        if among.is_some() && !lost {
            return (None, false);
        }
        table.next += 1;
        let id = table.next;
        let pulse = Arc::new(Pulse::new());
        table.taken.insert(id, Taken { source, network, pulse: Arc::clone(&pulse), task: None });
        *table.sources.entry(source).or_default() += 1;
        *table.networks.entry(network).or_default() += 1;
        (Some(Seat { id, seats: Arc::clone(self), pulse }), lost)
    }

    /// Takes one seat away, where that is possible, because something else has run out.
    pub(super) fn shed(&self) -> bool {
        self.lock().make_room(self.patience, New::default(), Among::All)
    }

    /// Which task has to end when the seat is taken away.
    pub(super) fn occupied(&self, id: u64, task: AbortHandle) {
        if let Some(taken) = self.lock().taken.get_mut(&id) {
            taken.task = Some(task);
        }
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().taken.len()
    }
}

impl Table {
    /// Takes the seat of whoever gives the least reason to keep it. A network, and within it an address, that would still have more
    /// than the newcomer's gives one up also when all of its connections are lively.
    fn make_room(&mut self, patience: Patience, new: New, among: Among) -> bool {
        let candidates = self.taken.iter().filter(|(_, taken)| match among {
            Among::All => true,
            Among::Network => new.network == Some(taken.network),
            Among::Source => new.source == Some(taken.source),
        });
        let ranked = candidates.filter_map(|(id, taken)| {
            let reason = taken.pulse.reason(patience)?;
            let count = self.sources.get(&taken.source).copied().unwrap_or(0);
            let near = self.networks.get(&taken.network).copied().unwrap_or(0);
            let more = if new.network == Some(taken.network) { count > new.own + 1 } else { near > new.near + 1 };
            let allowed = reason > 0 || (among != Among::Source && more);
            // A source with many before one with few: ten thousand idle ones do not push out a slow good one.
            allowed.then(|| ((reason > 0, near, count, reason, taken.pulse.silent()), *id))
        });
        let Some((_, id)) = ranked.max_by_key(|(rank, _)| *rank) else { return false };
        if let Some(task) = self.leave(id) {
            task.abort();
        }
        true
    }

    fn leave(&mut self, id: u64) -> Option<AbortHandle> {
        let taken = self.taken.remove(&id)?;
        for (counts, one) in [(&mut self.sources, &taken.source), (&mut self.networks, &taken.network)] {
            if let Some(count) = counts.get_mut(one) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(one);
                }
            }
        }
        taken.task
    }
}

impl Seat {
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.seats.lock().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Patience = Patience { silent: Duration::from_secs(60), slow: Duration::from_secs(60) };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_machine_has_one_source() {
        assert_eq!(source(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
        assert_eq!(source(ip("2001:db8:1:2:3:4:5:6")), source(ip("2001:db8:1:2::1")));
        assert_ne!(source(ip("2001:db8:1:2::1")), source(ip("2001:db8:1:3::1")));
    }

    #[test]
    fn the_mute_make_room_and_the_working_do_not() {
        let seats = Seats::new(2, 2, LONG);
        let (one, _) = seats.take(ip("10.0.0.1"));
        let (two, _) = seats.take(ip("10.0.0.2"));
        two.as_ref().unwrap().pulse.reached(Stage::Working);
        let (three, lost) = seats.take(ip("10.0.0.3"));
        assert!(lost && three.is_some());
        three.as_ref().unwrap().pulse.beat();
        assert!(seats.take(ip("10.0.0.4")).0.is_none(), "nobody is idle");
        drop((one, three));
        assert_eq!(seats.taken(), 1, "the seat that was lost is not given back twice");
        assert!(seats.take(ip("10.0.0.4")).0.is_some());
    }

    #[test]
    fn who_may_ask_again_and_again_keeps_its_seat_for_the_first_answer() {
        let seats = Seats::new(1, 1, Patience { silent: Duration::ZERO, slow: Duration::ZERO });
        let one = seats.take(ip("10.0.0.1")).0.unwrap();
        one.pulse.asked();
        assert!(seats.take(ip("10.0.0.2")).0.is_none() && seats.take(ip("10.0.0.1")).0.is_none());
        one.pulse.reached(Stage::Leaving);
        one.pulse.asked();
        let two = seats.take(ip("10.0.0.1"));
        assert!(two.1, "by requests alone nobody keeps it for ever");
        let two = two.0.unwrap();
        two.pulse.asked();
        two.pulse.reached(Stage::Leaving);
        assert!(seats.take(ip("10.0.0.2")).1);
    }

    #[test]
    fn who_has_many_gives_one_up() {
        let seats = Seats::new(4, 4, LONG);
        let many: Vec<_> = (0..4).map(|_| seats.take(ip("10.0.0.1")).0.unwrap()).collect();
        many.iter().for_each(|seat| seat.pulse.beat());
        assert!(seats.take(ip("10.0.0.1")).0.is_none(), "not for one of its own");
        assert!(seats.take(ip("10.0.0.2")).0.is_some(), "for somebody else");
    }

    #[test]
    fn one_machine_of_a_network_keeps_no_other_one_out() {
        let seats = Seats::new(100, 2, LONG);
        let lively = |at: String| seats.take(ip(&at)).0.inspect(|seat| seat.pulse.beat());
        let busy: Vec<_> = (0..2).map(|_| lively("2001:db8::1".into()).unwrap()).collect();
        assert!(lively("2001:db8::1".into()).is_none(), "an address has its limit");
        let two = lively("2001:db8::2".into());
        assert!(two.is_some(), "and so has another one");
        // With ever new addresses a machine gets no more than its network, and gives up what it has too much of.
        let many: Vec<_> = (16..32).filter_map(|at| lively(format!("2001:db8::{at:x}"))).collect();
        assert_eq!((seats.taken(), many.len()), (8, 6), "one of the two of the first address");
        assert!(lively("2001:db8:0:1::1".into()).is_some(), "another network");
        assert!(seats.lock().networks.values().all(|count| *count <= 8));
        drop((busy, two, many));
        let left = seats.lock();
        assert_eq!((left.networks.len(), left.sources.len()), (0, 0));
    }

    #[test]
    fn in_a_full_network_the_address_with_most_gives_one_up() {
        let seats = Seats::new(100, 4, LONG);
        let lively = |at: &str| seats.take(ip(at)).0.inspect(|seat| seat.pulse.beat());
        let all: Vec<_> = (0..16).filter_map(|at| lively(&format!("2001:db8::{}", at / 4))).collect();
        assert_eq!(all.len(), 16);
        let new = seats.take(ip("2001:db8::9"));
        assert!(new.0.is_some() && new.1 && seats.taken() == 16);
    }

    #[test]
    fn who_speaks_too_slowly_makes_room() {
        let seats = Seats::new(2, 2, Patience { slow: Duration::from_millis(5), ..LONG });
        let (one, two) = (seats.take(ip("10.0.0.1")).0.unwrap(), seats.take(ip("10.0.0.2")).0.unwrap());
        one.pulse.reached(Stage::Working);
        std::thread::sleep(Duration::from_millis(10));
        two.pulse.beat();
        assert!(seats.take(ip("10.0.0.3")).1, "it speaks, and has for too long");
        assert!(seats.lock().taken.contains_key(&one.id()), "the one whose request is there");
        drop(two);
    }

    #[test]
    fn a_source_has_its_own_limit() {
        let seats = Seats::new(10, 2, Patience { silent: Duration::ZERO, ..LONG });
        let (one, two) = (seats.take(ip("10.0.0.1")).0.unwrap(), seats.take(ip("10.0.0.1")).0.unwrap());
        let other = seats.take(ip("10.0.0.2")).0.unwrap();
        two.pulse.beat();
        one.pulse.reached(Stage::Working);
        let (three, lost) = seats.take(ip("10.0.0.1"));
        assert!(three.is_some() && lost, "the silent one of the same source");
        assert_eq!(seats.taken(), 3);
        drop(other);
        assert_eq!(seats.taken(), 2);
    }
}
