//! What a scan counts, beside `du` and `find` on the same trees: equal to the byte.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

mod made;

use bowline_usage::{Control, DEEPEST, FIRST, OPEN, ProblemKind, Request, ScanError, Threads, scan};
use made::{Dice, Made, Part, as_du_says, chain, du, odd, opened, scanned};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn files_of_every_kind() {
    let made = Made::new();
    for (n, size) in [0, 1, 59, 60, 4095, 4096, 4097, 70_000, 3_000_000].into_iter().enumerate() {
        made.file(format!("sizes/{n}"), size);
    }
    // Nearly all of it is hole; and space beyond its end, which is allocated and not apparent.
    fs::File::create(made.at("sparse")).unwrap().set_len(50 << 30).unwrap();
    made.file("kept/ahead", 10);
    let ahead = fs::File::options().write(true).open(made.at("kept/ahead")).unwrap();
    nix::fcntl::fallocate(&ahead, nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 1 << 20).unwrap();
    symlink("short", made.at("link")).unwrap();
    symlink("long/".repeat(200), made.at("long-link")).unwrap();
    symlink("..", made.at("sizes/up")).unwrap();
    nix::unistd::mkfifo(&made.at("fifo"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(made.at("socket")).unwrap();
    for name in [&b"new\nline"[..], b"bl ank", b"\xff\xfe", b"caf\xe9", "é".as_bytes(), &[b'n'; 255]] {
        made.file(odd(name), 5);
        made.file(format!("empty/{}", name.len()), 0);
        fs::create_dir(made.at("sizes").join(odd(name))).unwrap();
        made.file(made.at("sizes").join(odd(name)).join("file"), 100);
    }
    let tree = as_du_says(made.path(), 3, false);
    assert_eq!(tree.problems.not_utf8, 4, "{:?}", tree.problems);
    assert!(tree.problems.first.iter().any(|problem| problem.path == made.at(odd(b"caf\xe9"))));
    assert!(tree.directories.iter().any(|directory| directory.name == odd(b"\xff\xfe") && directory.depth == 2));
    assert!(tree.size().apparent > 50 << 30 && tree.size().allocated < 20 << 20, "{:?}", tree.size());
}

#[test]
fn a_file_with_several_names_is_counted_once() {
    let made = Made::quick();
    made.file("a/one", 10_000);
    fs::hard_link(made.at("a/one"), made.at("a/two")).unwrap();
    let tree = as_du_says(made.path(), 1, false);
    assert_eq!((tree.size().inodes, tree.size().names), (3, 4));
    fs::create_dir(made.at("b")).unwrap();
    for n in 0..200 {
        made.file(format!("a/{n}"), 5000);
        fs::hard_link(made.at(format!("a/{n}")), made.at(format!("b/{n}"))).unwrap();
        fs::hard_link(made.at(format!("a/{n}")), made.at(format!("b/again-{n}"))).unwrap();
    }
    as_du_says(made.path(), 2, true);
    // Its other name is outside.
    as_du_says(&made.at("b"), 1, true);
}

#[test]
fn generated_trees() {
    for seed in 0..6 {
        let (made, mut dice) = (Made::quick(), Dice(seed));
        let (mut directories, mut files) = (vec![made.path().to_owned()], Vec::new());
        for n in 0..400 {
            let within = directories[dice.below(directories.len() as u64) as usize].join(format!("{n}"));
            match dice.below(10) {
                0..3 => {
                    fs::create_dir(&within).unwrap();
                    directories.push(within);
                }
                3 if !files.is_empty() => {
                    let file = &files[dice.below(files.len() as u64) as usize];
                    fs::hard_link(file, &within).unwrap();
                }
                4 => symlink("x".repeat(dice.below(120) as usize + 1), &within).unwrap(),
                _ => {
                    fs::write(&within, vec![b'x'; dice.below(20_000) as usize]).unwrap();
                    files.push(within);
                }
            }
        }
        for depth in [1, 1000] {
            as_du_says(made.path(), depth, true);
        }
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
fn deeper_than_a_path_can_be() {
    const LEVELS: usize = 2000;
    let made = Made::quick();
    chain(opened(made.path()), LEVELS, |at, _, part| {
        let name = format!("side-{part:?}");
        mkdirat(at, name.as_str(), Mode::S_IRWXU).unwrap();
        let side = openat(at, name.as_str(), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        for at in [at, &side] {
            drop(openat(at, format!("{part:?}").as_str(), OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRWXU).unwrap());
        }
    });
    let (most, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let tree = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                most.fetch_max(fs::read_dir("/proc/self/fd").unwrap().count(), Ordering::Relaxed);
                thread::sleep(Duration::from_micros(300));
            }
        });
        let _ends = Ends(&ended);
        as_du_says(made.path(), 3, false)
    });
    assert_eq!(tree.size().directories as usize, 1 + 3 * LEVELS);
    // Twice as many where two threads read; the rest is of the tests beside this one.
    assert!(most.into_inner() < 2 * OPEN + 100, "directories were left open");
}

#[test]
fn what_lies_too_deep_is_named_and_not_entered() {
    let made = Made::quick();
    chain(opened(made.path()), DEEPEST + 3, |_, _, _| {});
    for threads in [Threads::One, Threads::Two] {
        let tree = scanned(made.path(), 0, threads);
        // The first one that is too deep can be seen from outside.
        assert_eq!(tree.size().directories as usize, 1 + DEEPEST + 1);
        let [problem] = &tree.problems.first[..] else { panic!("{:?}", tree.problems.first.len()) };
        assert_eq!((tree.problems.unreadable, problem.kind), (1, ProblemKind::Unreadable));
        assert!(problem.path.ends_with(format!("level-{DEEPEST}-of-a-long-way-down")));
        assert!(problem.error.as_ref().unwrap().contains("not looked into"), "{:?}", problem.error);
    }
}

#[test]
fn many_directories_in_one_with_deep_ones_among_them() {
    let made = Made::quick();
    // Their names fill more than what is read ahead, so that reading goes on after the way was closed behind.
    let wide = made.at("wide");
    for n in 0..9000 {
        fs::create_dir_all(wide.join(format!("directory-{n}"))).unwrap();
    }
    for n in [0, 1, 4000, 8000, 8999] {
        chain(opened(&wide.join(format!("directory-{n}"))), 3 * OPEN, |at, _, part| {
            drop(openat(at, format!("{part:?}").as_str(), OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRWXU).unwrap());
        });
    }
    chain(opened(made.path()), 2 * OPEN, |at, level, part| {
        if level == OPEN && part == Part::Before {
            for n in 0..6000 {
                mkdirat(at, format!("directory-{n}").as_str(), Mode::S_IRWXU).unwrap();
            }
        }
    });
    as_du_says(made.path(), 2, false);
    let few = Request { depth: 2, directories: 100, ..Request::of(made.path()) };
    let tree = scan(&few, &Control::new()).unwrap();
    assert_eq!(tree.directories.len(), 100);
    assert_eq!(tree.left_out, 1 + 2 + 9001 - 100);
    assert_eq!(tree.size().allocated, du(&["-B1"], made.path(), 0)[made.path().as_os_str()]);
}

#[test]
fn what_can_not_be_read_is_counted_and_named() {
    let made = Made::quick();
    fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755)).unwrap();
    made.file("open/file", 5000);
    for n in 0..20 {
        made.file(format!("closed-{n}/file"), 5000);
        // The names can be read, and nothing behind them.
        made.file(format!("listed-{n}/file"), 5000);
    }
    for n in 0..20 {
        fs::set_permissions(made.at(format!("closed-{n}")), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(made.at(format!("listed-{n}")), fs::Permissions::from_mode(0o744)).unwrap();
    }
    let root = nix::unistd::geteuid().is_root();
    // Only this thread, and those that it makes, look at files as somebody else.
    let tree = thread::scope(|scope| {
        let looked = scope.spawn(|| {
            if root {
                nix::unistd::setfsuid(65534.into());
            }
            scanned(made.path(), 1, Threads::Two)
        });
        looked.join().unwrap()
    });
    let mut theirs = Command::new("du");
    theirs.args(["-s", "-x", "-B1"]).arg(made.path());
    if root {
        theirs.uid(65534);
    }
    // It ends with 1 where something could not be read.
    let said = String::from_utf8(theirs.output().unwrap().stdout).unwrap();
    let expected: u64 = said.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(tree.size().allocated, expected, "{said}");
    assert_eq!(tree.directories.len(), 1 + 1 + 40, "directories that cannot be read are told, too");
    // Owners who are not root may search what others may only list.
    let listed = if root { 20 } else { 0 };
    assert_eq!((tree.problems.unreadable, tree.problems.vanished), (20 + listed, 0), "{:?}", tree.problems);
    assert_eq!(tree.problems.first.len(), FIRST);
    for problem in &tree.problems.first {
        assert_eq!((problem.kind, problem.error.is_some()), (ProblemKind::Unreadable, true));
        assert!(problem.path.starts_with(made.path()));
    }
    for n in 0..20 {
        fs::set_permissions(made.at(format!("closed-{n}")), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_root_that_is_none_is_an_error_that_names_it() {
    let made = Made::new();
    made.file("file", 1);
    symlink("directory", made.at("link")).unwrap();
    let error = |name: &str| match scan(&Request::of(made.at(name)), &Control::new()) {
        Err(error @ ScanError::Root { .. }) => error.to_string(),
        other => format!("{other:?}"),
    };
    assert!(error("nothing").ends_with("/nothing: No such file or directory (os error 2)"), "{}", error("nothing"));
    assert!(error("file").ends_with("/file: Not a directory (os error 20)"), "{}", error("file"));
    made.file("directory/file", 1);
    assert_eq!(scanned(&made.at("link"), 0, Threads::One).size().inodes, 2, "a link is followed where it is asked for");
    let share = Request { share: Some(0.0), ..Request::of(made.path()) };
    assert!(matches!(scan(&share, &Control::new()), Err(ScanError::Share(0.0))));
}
