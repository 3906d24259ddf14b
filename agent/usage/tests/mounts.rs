//! What is mounted beneath is not crossed, not counted, and not even looked at.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may end so, and says why it does not run")]

mod made;

use bowline_usage::{ProblemKind, Size, Threads};
use made::{Made, odd, scanned};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

const NONE: Option<&str> = None;

/// In a folder, on a thread with mounts of its own, which end with it.
fn with_mounts_of_its_own(test: impl FnOnce(&Made) + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: mounting takes root");
        return;
    }
    let made = Made::quick();
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).unwrap();
            test(&made);
        });
        inside.join().unwrap();
    });
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE).unwrap();
}

/// A scan finds this size, and as many mounts, by one thread and by two.
fn finds(root: &Path, size: Size, mounts: u64) {
    for threads in [Threads::One, Threads::Two] {
        let tree = scanned(root, 1, threads);
        assert_eq!(tree.size(), size);
        assert_eq!((tree.problems.mounts, tree.problems.unreadable), (mounts, 0), "{:?}", tree.problems);
        assert!(
            tree.problems.first.iter().all(|one| one.kind == ProblemKind::Mount || one.kind == ProblemKind::NotUtf8)
        );
    }
}

#[test]
fn other_filesystems_and_other_mounts_of_the_same_are_left_out() {
    with_mounts_of_its_own(|made| {
        made.file("beside/file", 9000);
        made.file("deep/er/file", 9000);
        let before = scanned(made.path(), 1, Threads::One).size();
        // Du counts the third to the fifth, since their device is the same; they are on another mount.
        let names = [&b"other"[..], b"deep/other \\ \xff", b"same", b"deep/er/same", b"deep/er/a file"];
        for name in &names[..4] {
            fs::create_dir(made.at(odd(name))).unwrap();
            made.file(made.at(odd(name)).join("hidden"), 5000);
        }
        made.file("deep/er/a file", 100);
        for name in &names[..2] {
            mount(Some("tmpfs"), &made.at(odd(name)), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
            made.file(made.at(odd(name)).join("more"), 70_000);
        }
        for name in &names[2..4] {
            bind(&made.at("beside"), &made.at(odd(name)));
        }
        bind(&made.at("beside/file"), &made.at(odd(names[4])));
        finds(made.path(), before, 5);
        // The directory that is asked for may be one itself.
        let (mounted, beside) = (made.at("same"), made.at("beside"));
        assert_eq!(scanned(&mounted, 0, Threads::One).size(), scanned(&beside, 0, Threads::One).size());
    });
}

#[test]
fn a_filesystem_that_does_not_answer_is_not_touched() {
    let Ok(server) = fs::File::options().read(true).write(true).open("/dev/fuse") else {
        eprintln!("not run: this machine has no FUSE");
        return;
    };
    let number = server.as_raw_fd();
    let (done, ends) = channel::<()>();
    // A scan that does ask it is not to wait for ever: closed, it answers that it is gone.
    thread::spawn(move || {
        let _ = ends.recv_timeout(Duration::from_secs(120));
        drop(server);
    });
    with_mounts_of_its_own(|made| {
        made.file("pods/file", 9000);
        let before = scanned(made.path(), 1, Threads::One).size();
        fs::create_dir(made.at("pods/volume")).unwrap();
        // Nobody reads from it: whoever asks the filesystem for anything waits until it is closed.
        let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0");
        let volume = made.at("pods/volume");
        mount(Some("dead"), &volume, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
        finds(made.path(), before, 1);
        nix::mount::umount2(&volume, nix::mount::MntFlags::MNT_DETACH).unwrap();
    });
    drop(done);
}
