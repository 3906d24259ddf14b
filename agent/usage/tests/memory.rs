//! A scan's memory does not grow with the number of files. Alone in its file: it is the process's that is measured.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

mod made;

use bowline_usage::Threads;
use made::{Made, chain, opened, scanned};
use nix::sys::stat::{Mode, mkdirat};
use std::fs;

/// What the process holds in memory at most since `from_here`, in bytes.
fn most() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn from_here() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[test]
fn memory_does_not_grow_with_files() {
    const FILES: usize = 60_000;
    let few = Made::quick();
    few.file("folder/file", 1);
    let (wide, spread) = (Made::quick(), Made::quick());
    fs::create_dir(wide.at("one")).unwrap();
    for n in 0..FILES {
        fs::File::create(wide.at(format!("one/file-with-a-name-{n}"))).unwrap();
        if n % 40 == 0 {
            fs::create_dir_all(spread.at(format!("{}/{n}", n % 7))).unwrap();
        }
        fs::File::create(spread.at(format!("{}/{}/{n}", n / 40 * 40 % 7, n / 40 * 40))).unwrap();
    }
    let took = |made: &Made| {
        from_here();
        scanned(made.path(), 1, Threads::Two);
        most()
    };
    took(&few);
    let (little, wide, much) = (took(&few), took(&wide), took(&spread));
    for (what, taken) in [("one directory", wide), ("many directories", much)] {
        assert!(taken < little + 500_000, "{what}: {taken} bytes, and {little} for one file");
    }

    // Nor does it with directories, each in the one before and with many beside it.
    const LEVELS: usize = 300;
    let deep = Made::quick();
    chain(opened(deep.path()), LEVELS, |at, _, part| {
        for n in 0..130 {
            mkdirat(at, format!("{part:?}-{n:0240}").as_str(), Mode::S_IRWXU).unwrap();
        }
    });
    from_here();
    let tree = scanned(deep.path(), 0, Threads::One);
    let taken = most();
    assert_eq!(tree.size().directories as usize, 1 + LEVELS * 261);
    assert!(taken < little + 6_000_000, "deep: {taken} bytes, and {little} for one file");

    // Of files with several names one bit is kept, or a word where no two are neighbours.
    let linked = Made::quick();
    fs::create_dir(linked.at("other")).unwrap();
    for n in 0..FILES {
        fs::File::create(linked.at(format!("{n}"))).unwrap();
        fs::hard_link(linked.at(format!("{n}")), linked.at(format!("other/{n}"))).unwrap();
    }
    let linked = took(&linked);
    assert!(linked < little + 700_000, "{linked} bytes, and {little} for one file");
}
