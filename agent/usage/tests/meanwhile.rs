//! What happens beside a scan: files come and go, it is stopped, and it keeps to its budget.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

mod made;

use bowline_usage::{Control, Problems, Request, ScanError, Threads, scan};
use made::{Dice, Made, as_du_says, chain, opened, scanned};
use nix::sys::stat::{Mode, mkdirat};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn many_files(folder: &Path, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for n in 0..count {
        fs::File::create(folder.join(format!("{n}"))).unwrap();
    }
}

/// Ends what goes on beside a test, also when that fails: a scope waits for its threads.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn files_may_come_go_and_move_while_they_are_counted() {
    let made = Made::quick();
    for n in 0..300 {
        made.file(format!("still/{}/{}/file", n % 7, n), n);
    }
    let still = scanned(&made.at("still"), 0, Threads::One).size();
    let ended = AtomicBool::new(false);
    let (mut scans, mut vanished) = (0, 0);
    thread::scope(|scope| {
        // Deep ones, so that what was closed on the way is not there on the way back.
        for (number, levels) in [(0, 3), (1, 150)] {
            let (made, ended) = (&made, &ended);
            scope.spawn(move || {
                let mut dice = Dice(number);
                while !ended.load(Ordering::Relaxed) {
                    let path = made.at(format!("moving/{number}-{}", dice.below(5)));
                    let deep: String = (0..levels).map(|level| format!("{level}/")).collect();
                    // Whatever is in the way of it: the other folders are as they are.
                    let _ = fs::create_dir_all(path.join(&deep));
                    (0..20).for_each(|n| drop(fs::write(path.join(&deep).join(format!("{n}")), "text")));
                    (0..levels.min(100)).for_each(|n| drop(fs::create_dir(path.join("0/1").join(format!("side-{n}")))));
                    let _ = fs::rename(path.join("0/1"), made.at(format!("moving/{number}-moved")));
                    let _ = fs::remove_dir_all(made.at(format!("moving/{number}-moved")));
                    let _ = fs::remove_dir_all(&path);
                }
            });
        }
        let _ends = Ends(&ended);
        fs::create_dir_all(made.at("moving")).unwrap();
        let began = Instant::now();
        // Longer only where a busy machine lets it do little.
        let enough = |scans, vanished| began.elapsed() >= Duration::from_secs(3) && scans > 20 && vanished > 0;
        while !enough(scans, vanished) && began.elapsed() < Duration::from_secs(60) {
            for threads in [Threads::One, Threads::Two] {
                let tree = scan(&Request { depth: 1, threads, ..Request::of(made.path()) }, &Control::new()).unwrap();
                let found = tree.directories.iter().find(|directory| directory.name == "still").unwrap();
                assert_eq!(found.size, still);
                assert_eq!(tree.problems.unreadable, 0, "{:?}", tree.problems);
                (scans, vanished) = (scans + 1, vanished + tree.problems.vanished);
            }
        }
    });
    assert!(scans > 20 && vanished > 0, "{scans} scans, {vanished} vanished");
}

#[test]
fn a_directory_that_was_moved_away_does_not_lead_elsewhere() {
    const LEVELS: usize = 200;
    let made = Made::quick();
    fs::create_dir_all(made.at("scanned")).unwrap();
    chain(opened(&made.at("scanned")), LEVELS, |at, _, part| {
        mkdirat(at, format!("side-{part:?}").as_str(), Mode::S_IRWXU).unwrap();
    });
    let level = |number| (0..number).map(|level| format!("level-{level}-of-a-long-way-down/")).collect::<String>();
    // Paths end at 4096 bytes, and the scan is at the bottom as long as this takes.
    many_files(&made.at("scanned").join(level(120)), 40_000);
    many_files(&made.at("elsewhere"), 500);
    let (whole, control) = (scanned(&made.at("scanned"), 0, Threads::One).size(), Control::new());
    let request = Request { share: Some(0.1), ..Request::of(made.at("scanned")) };
    thread::scope(|scope| {
        let scanning = scope.spawn(|| scan(&request, &control));
        while control.names() < 20_000 {
            assert!(!scanning.is_finished());
            thread::yield_now();
        }
        // Its level 50 is in another directory now. What is beneath stays open to the scan; for what is above it has to go
        // another way than by what is above it now.
        fs::rename(made.at("scanned").join(level(50)), made.at("elsewhere/moved")).unwrap();
        let tree = scanning.join().unwrap().unwrap();
        assert_eq!((tree.size(), tree.problems), (whole, Problems::default()));
    });
}

#[test]
fn one_directory_with_a_hundred_thousand_files() {
    one_directory(100_000);
}

#[test]
#[ignore = "takes a minute and a gigabyte of memory for the files"]
fn one_directory_with_a_million_files() {
    one_directory(1_000_000);
}

fn one_directory(count: usize) {
    let made = Made::quick();
    many_files(&made.at("many"), count);
    as_du_says(made.path(), 1, false);
    stops(made.path());
    keeps_to_its_budget(made.path());
    runs_when_nobody_else_does(made.path());
}

/// A thread tells its progress by so many names: it may have met as many more when it is told to stop.
const STRETCH: u64 = 64;

/// Stops a scan in the midst of it, when `then` has looked at it, and says how long that took. It does no more work
/// then, however long the machine lets it wait for a processor. `None`: it had come to its end before.
fn stopped(request: &Request, then: impl Fn()) -> Option<Duration> {
    let control = Control::new();
    thread::scope(|scope| {
        let scanning = scope.spawn(|| scan(request, &control));
        while control.names() < 1000 && !scanning.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        then();
        let told = Instant::now();
        control.stop();
        let met = control.names();
        let Err(error) = scanning.join().unwrap() else { return None };
        let took = told.elapsed();
        assert!(matches!(error, ScanError::Stopped), "{error}");
        let threads = if request.threads == Threads::Two { 2 } else { 1 };
        let more = control.names() - met;
        assert!(more <= 2 * STRETCH * threads, "{more} more names after it was told to stop");
        Some(took)
    })
}

/// Within a second of being told, also when all its time is spent in one directory, and asleep.
fn stops(root: &Path) {
    for share in [None, Some(0.001)] {
        for threads in [Threads::One, Threads::Two] {
            let request = Request { share, threads, ..Request::of(root) };
            // A few times, for others may keep the processors busy. Who sleeps, sleeps five seconds each time.
            let mut all = (0..10).filter_map(|_| stopped(&request, || {}));
            assert!(all.any(|took| took < Duration::from_secs(1)), "{request:?}");
        }
    }
    let control = Control::new();
    control.stop();
    assert!(matches!(scan(&Request::of(root), &control), Err(ScanError::Stopped)));
    assert!(control.names() <= 1, "it did not begin");
}

fn keeps_to_its_budget(root: &Path) {
    for threads in [Threads::One, Threads::Two] {
        let request = Request { share: Some(0.1), threads, ..Request::of(root) };
        let tree = scan(&request, &Control::new()).unwrap();
        let share = tree.cpu.as_secs_f64() / tree.took.as_secs_f64();
        // The last slice of each thread is not slept for.
        assert!(share < 0.13, "{share}: {:?} in {:?}", tree.cpu, tree.took);
        assert_eq!(tree.size(), scanned(root, 0, Threads::One).size());
    }
}

/// Its threads are idle ones, as the kernel tells it, and it is stopped all the same.
fn runs_when_nobody_else_does(root: &Path) {
    const SCHED_IDLE: u32 = 5;
    let is_idle = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        // The name, in parentheses, is the 2nd field, and the policy the 41st.
        let mut policies = stats.filter_map(|stat| {
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(38)?.parse::<u32>().ok())
        });
        policies.any(|policy| policy == SCHED_IDLE)
    };
    let gone = || {
        let began = Instant::now();
        // A thread that has been waited for is in the table for a moment more.
        while is_idle() && began.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(1));
        }
        !is_idle()
    };
    assert!(gone());
    // It sleeps nearly all the time, so that it is there when it is looked at.
    let request = Request { idle: true, share: Some(0.01), ..Request::of(root) };
    // How soon it gets a processor to end on is not its own affair: that it does no more work is seen.
    stopped(&request, || assert!(is_idle())).unwrap();
    assert!(gone(), "nobody else has become idle");
}
