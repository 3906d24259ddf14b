//! Series made from seeds: kinds of how disks fill, each with sizes, rates and hours drawn anew for every seed.
//!
//! What all have: a disk of 20 to 160 GB, used to 20 to 50 % at first; every minute's growth is drawn between half and one
//! and a half of its rate; and temporary files lie over it, of some megabytes, half of them gone after about seven minutes.

use crate::random::Random;
use crate::{EVERY, Series};

/// How many series there are of each kind.
pub const SEEDS: u64 = 30;
/// Samples in an hour.
const HOUR: f64 = 3600.0 / EVERY as f64;
const DAY: f64 = 24.0 * HOUR;
const GB: f64 = 1e9;
/// Hours before the end at which is asked, where a disk fills in days.
const BEFORE: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 36.0, 48.0, 72.0, 120.0];
/// Nobody is asked in the first hours: there is nothing yet to tell by.
const SILENT: f64 = 12.0;
/// Hours after something that happens once.
const AFTER: [f64; 12] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0];

/// Fills a disk, and says when it is asked about it.
pub type Make = fn(&mut Disk) -> Ends;
/// The names of all kinds, and how each is made.
pub const KINDS: [(&str, Make); 13] = [
    ("steady", steady),
    ("bursts", bursts),
    ("saw-tooth", saw_tooth),
    ("saw-tooth, bounded", saw_tooth_bounded),
    ("log rotation", log_rotation),
    ("log rotation, bounded", log_rotation_bounded),
    ("daily rhythm", daily_rhythm),
    ("a step, then on", step_on),
    ("a step, then flat", step_flat),
    ("first boot's images", first_boot),
    ("runaway", runaway),
    ("faster", faster),
    ("slower", slower),
];

/// All series of all kinds.
pub fn all() -> Vec<Series> {
    KINDS.iter().flat_map(|(kind, _)| (1..=SEEDS).map(move |seed| series(kind, seed))).collect()
}

/// One series; an unknown kind is an empty one.
pub fn series(kind: &str, seed: u64) -> Series {
    let Some(number) = KINDS.iter().position(|(name, _)| *name == kind) else {
        return Series { kind: "none", seed, start: 0, total: 0, used: vec![], full: None, moments: vec![] };
    };
    let (kind, make) = KINDS[number];
    let mut disk = Disk::new(Random::new(seed * 1000 + number as u64));
    let ends = make(&mut disk);
    disk.end(kind, seed, ends)
}

/// When a series ends, and when it is asked.
pub enum Ends {
    /// When the disk is full; asked so many hours before.
    Full(&'static [f64]),
    /// The same, asked so many hours after the sample of that index.
    FullAfter(usize, &'static [f64]),
    /// The same, asked when so much of the time from that index to the end is over.
    FullWithin(usize, &'static [f64]),
    /// It never fills, and is asked so many hours after that sample.
    Never(usize, Vec<f64>),
}

/// A disk that is being filled.
pub struct Disk {
    random: Random,
    start: i64,
    total: f64,
    /// What stays.
    kept: f64,
    /// What is above it for a while: garbage, logs that will be compressed.
    loose: f64,
    temporary: f64,
    /// How large temporary files are.
    noise: f64,
    used: Vec<u64>,
}

impl Disk {
    fn new(mut random: Random) -> Self {
        let total = random.one(&[20.0, 40.0, 80.0, 160.0]) * GB;
        let kept = total * random.between(0.2, 0.5);
        let noise = random.between(1.0, 10.0) * 1e6;
        let start = 1_750_000_000 + (random.unit() * 1440.0) as i64 * EVERY;
        Self { random, start, total, kept, loose: 0.0, temporary: 0.0, noise, used: Vec::new() }
    }

    fn free(&self) -> f64 {
        self.total - self.kept - self.loose
    }

    /// One sample, after this growth of what stays; false when the disk is full.
    fn minute(&mut self, growth: f64) -> bool {
        self.kept += growth * self.random.between(0.5, 1.5);
        self.temporary = (self.temporary * 0.9 + self.random.normal() * self.noise * 0.4).max(-self.noise);
        let used = (self.kept + self.loose + self.noise + self.temporary).min(self.total);
        self.used.push(used as u64);
        used < self.total
    }

    /// So many samples at a rate; false when the disk is full before.
    fn minutes(&mut self, count: f64, growth: f64) -> bool {
        (0..count as usize).all(|_| self.minute(growth))
    }

    /// Exactly so much, evenly in so many minutes, on top of a rate; false when the disk is full before.
    fn put(&mut self, size: f64, takes: f64, rate: f64) -> bool {
        (0..takes as usize).all(|_| {
            self.kept += size / takes;
            self.minute(rate)
        })
    }

    fn end(self, kind: &'static str, seed: u64, ends: Ends) -> Series {
        let last = self.used.len() - 1;
        let full = (self.used[last] == self.total as u64).then_some(last);
        let hours = |hours: &f64| (hours * HOUR) as usize;
        let mut moments: Vec<usize> = match &ends {
            Ends::Full(before) => before.iter().filter_map(|h| last.checked_sub(hours(h))).collect(),
            Ends::FullAfter(at, after) => after.iter().map(|h| at + hours(h)).collect(),
            Ends::FullWithin(at, parts) => parts.iter().map(|p| at + ((last - at) as f64 * p) as usize).collect(),
            Ends::Never(at, after) => after.iter().map(|h| at + hours(h)).collect(),
        };
        let first = if matches!(ends, Ends::Full(_)) { hours(&SILENT) } else { 0 };
        // The last half hour is no prediction any more.
        let latest = full.map_or(last, |full| full.saturating_sub(hours(&0.5)));
        moments.retain(|m| (first..=latest).contains(m));
        moments.sort_unstable();
        moments.dedup();
        let full = if matches!(ends, Ends::Never(..)) { None } else { full };
        Series { kind, seed, start: self.start, total: self.total as u64, used: self.used, full, moments }
    }
}

/// One rate, for days.
fn steady(disk: &mut Disk) -> Ends {
    let rate = disk.free() / (disk.random.between(2.0, 12.0) * DAY);
    while disk.minute(rate) {}
    Ends::Full(&BEFORE)
}

/// Nine tenths come at any time, every few hours, in pieces of any size, each written in 2 to 20 minutes.
fn bursts(disk: &mut Disk) -> Ends {
    let rate = disk.free() / (disk.random.between(4.0, 12.0) * DAY);
    let gap = disk.random.between(1.5, 6.0) * HOUR;
    loop {
        let quiet = disk.random.waiting(gap).ceil();
        let takes = disk.random.between(2.0, 20.0).ceil();
        let size = disk.random.waiting(rate * 0.9 * gap);
        if !disk.minutes(quiet, rate * 0.1) || !disk.put(size, takes, rate * 0.1) {
            return Ends::Full(&BEFORE);
        }
    }
}

/// Garbage of 4 to 15 % of the disk piles up for 5 to 40 hours, then is collected within minutes; beneath it something grows.
fn saw_tooth(disk: &mut Disk) -> Ends {
    let height = disk.total * disk.random.between(0.04, 0.15);
    let rate = (disk.free() - height) / (disk.random.between(5.0, 12.0) * DAY);
    let period = disk.random.between(5.0, 40.0) * HOUR;
    loop {
        let takes = period * disk.random.between(0.9, 1.1);
        for _ in 0..takes as usize {
            disk.loose += height / period * disk.random.between(0.5, 1.5);
            if !disk.minute(rate) {
                return Ends::Full(&BEFORE);
            }
        }
        if !collect(disk, 0.05, rate) {
            return Ends::Full(&BEFORE);
        }
    }
}

/// In five minutes only this part of what is loose is left.
fn collect(disk: &mut Disk, left: f64, rate: f64) -> bool {
    let by = disk.loose * (1.0 - left) / 5.0;
    (0..5).all(|_| {
        disk.loose -= by;
        disk.minute(rate)
    })
}

/// As the kubelet's collection of images: above 85 % of the disk it frees some, and it does so for ever.
fn saw_tooth_bounded(disk: &mut Disk) -> Ends {
    let (high, low) = (disk.random.between(0.82, 0.86), disk.random.between(0.68, 0.80));
    let rate = (high - low) * disk.total / (disk.random.between(5.0, 40.0) * HOUR);
    disk.kept = disk.total * disk.random.between(low, high);
    let mut teeth = Vec::new();
    while teeth.len() < 6 {
        if disk.kept > disk.total * high {
            let by = disk.kept - disk.total * (low + disk.random.between(-0.01, 0.01));
            disk.minutes(5.0, -by / 5.0);
            teeth.push(disk.used.len());
        }
        disk.minute(rate);
    }
    // From the second tooth on, which is the first that anybody saw whole.
    let hours = (teeth[5] - teeth[1]) as f64 / HOUR;
    Ends::Never(teeth[1], (0..30).map(|i| hours * f64::from(i) / 30.0).collect())
}

/// Logs grow, are compressed to a tenth once in a period, and the seventh is removed; beneath them something grows.
fn log_rotation(disk: &mut Disk) -> Ends {
    let height = disk.total * disk.random.between(0.03, 0.12);
    let rate = (disk.free() - height * 1.7) / (disk.random.between(5.0, 12.0) * DAY);
    while rotated(disk, height, rate, f64::INFINITY) {}
    Ends::Full(&BEFORE)
}

fn log_rotation_bounded(disk: &mut Disk) -> Ends {
    let height = disk.total * disk.random.between(0.03, 0.12);
    rotated(disk, height, 0.0, 14.0 * DAY);
    // Seven rotations later the first compressed log is gone, and what is on the disk begins to repeat itself.
    Ends::Never((8.0 * DAY) as usize, (0..36).map(|i| f64::from(i) * 4.0).collect())
}

/// Rotates for so long; false when the disk is full.
fn rotated(disk: &mut Disk, height: f64, rate: f64, length: f64) -> bool {
    let period = disk.random.one(&[6.0, 12.0, 24.0, 24.0, 24.0]) * HOUR;
    let left = disk.random.between(0.06, 0.14);
    let (mut kept, mut now) = (std::collections::VecDeque::new(), 0.0);
    while (disk.used.len() as f64) < length {
        for _ in 0..period as usize {
            let by = height / period * disk.random.between(0.5, 1.5);
            now += by;
            disk.loose += by;
            if !disk.minute(rate) {
                return false;
            }
        }
        kept.push_back(now * left);
        disk.loose -= now * (1.0 - left);
        now = 0.0;
        if kept.len() > 6 {
            disk.loose -= kept.pop_front().unwrap_or_default();
        }
    }
    true
}

/// By day much, by night next to nothing: as office hours, or as a wave.
fn daily_rhythm(disk: &mut Disk) -> Ends {
    let rate = disk.free() / (disk.random.between(4.0, 12.0) * DAY);
    let (office, phase) = (disk.random.unit() < 0.5, disk.random.unit());
    loop {
        let hour = ((disk.used.len() as f64 / DAY + phase).fract() * 24.0).min(24.0);
        let share = if office {
            if (8.0..18.0).contains(&hour) { 2.2 } else { 0.14 }
        } else {
            // A wave cut off below: its mean is 1.
            ((1.0 + 1.4 * (hour / 24.0 * std::f64::consts::TAU).sin()) / 1.06).max(0.0)
        };
        if !disk.minute(rate * share) {
            return Ends::Full(&BEFORE);
        }
    }
}

/// Steady growth; on one day something of 5 to 20 % of the disk is put there in 2 to 20 minutes, and it goes on.
fn step_on(disk: &mut Disk) -> Ends {
    let size = disk.total * disk.random.between(0.05, 0.20);
    let rate = (disk.free() - size) / (disk.random.between(5.0, 12.0) * DAY);
    let before = disk.random.between(1.5, 3.5) * DAY;
    let takes = disk.random.between(2.0, 20.0).ceil();
    disk.minutes(before, rate);
    disk.put(size, takes, rate);
    let at = disk.used.len() - 1;
    while disk.minute(rate) {}
    Ends::FullAfter(at, &AFTER)
}

/// The same on a disk that does not grow otherwise.
fn step_flat(disk: &mut Disk) -> Ends {
    let size = disk.total * disk.random.between(0.05, 0.20);
    let before = disk.random.between(1.0, 3.5) * DAY;
    let takes = disk.random.between(2.0, 20.0).ceil();
    let trickle = disk.total * 0.01 / (365.0 * DAY);
    disk.minutes(before, trickle);
    disk.put(size, takes, trickle);
    let at = disk.used.len() - 1;
    disk.minutes(13.0 * HOUR, trickle);
    Ends::Never(at, AFTER.to_vec())
}

/// A new machine: some minutes after its first sample 8 GB of images come in three minutes, on half of them a second lot
/// of 1 to 3 GB within the hour. Then nothing.
fn first_boot(disk: &mut Disk) -> Ends {
    disk.total = disk.total.max(40.0 * GB);
    disk.kept = disk.random.between(1.5, 3.0) * GB;
    let trickle = disk.total * 0.01 / (365.0 * DAY);
    let begin = disk.random.between(1.0, 6.0).floor();
    disk.minutes(begin, trickle);
    disk.put(8.0 * GB, 3.0, trickle);
    let at = disk.used.len() - 1;
    if disk.random.unit() < 0.5 {
        let (later, takes) = (disk.random.between(8.0, 40.0), disk.random.between(1.0, 3.0).ceil());
        let size = disk.random.between(1.0, 3.0) * GB;
        disk.minutes(later, trickle);
        disk.put(size, takes, trickle);
    }
    disk.minutes(13.0 * HOUR, trickle);
    let mut after = vec![0.0, 2.0 / 60.0, 5.0 / 60.0, 10.0 / 60.0];
    after.extend(AFTER);
    Ends::Never(at, after)
}

/// Days of next to nothing, then something fills what is left in 2 to 12 hours. Who is always silent is wrong here.
fn runaway(disk: &mut Disk) -> Ends {
    let slow = disk.free() / (disk.random.between(60.0, 400.0) * DAY);
    let before = disk.random.between(1.0, 6.0) * DAY;
    disk.minutes(before, slow);
    let at = disk.used.len() - 1;
    let rate = disk.free() / (disk.random.between(2.0, 12.0) * HOUR);
    while disk.minute(rate) {}
    Ends::FullWithin(at, &[0.25, 0.4, 0.55, 0.7])
}

/// Steady growth that becomes two to four times as fast.
fn faster(disk: &mut Disk) -> Ends {
    let factor = disk.random.between(2.0, 4.0);
    changed(disk, factor)
}

/// Steady growth that becomes two to four times as slow.
fn slower(disk: &mut Disk) -> Ends {
    let factor = 1.0 / disk.random.between(2.0, 4.0);
    changed(disk, factor)
}

fn changed(disk: &mut Disk, factor: f64) -> Ends {
    let rate = disk.free() / (disk.random.between(5.0, 10.0) * DAY);
    let before = disk.random.between(1.0, 2.5) * DAY;
    disk.minutes(before, rate);
    let at = disk.used.len() - 1;
    while disk.minute(rate * factor) {}
    Ends::FullAfter(at, &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 36.0])
}
