//! What the threads of a scan have in common, and how one with nothing left to do gets some of another's.

use crate::Request;
use crate::control::Control;
use crate::kernel::Look;
use crate::links::{Device, Links};
use crate::mounts::Mounted;
use crate::tree::Node;
use crate::walk::Task;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Read by all threads, and written under locks that are seldom taken.
pub(crate) struct Shared<'a> {
    pub(crate) root: &'a Path,
    pub(crate) control: &'a Control,
    pub(crate) idle: bool,
    /// Of one processor, for each thread.
    pub(crate) share: Option<f64>,
    pub(crate) device: Device,
    pub(crate) mounted: Mounted,
    mount: Option<u64>,
    depth: usize,
    directories: usize,
    threads: usize,
    links: Mutex<Links>,
    /// All but the first one, and how many more there would be.
    nodes: Mutex<(Vec<Node>, u64)>,
    /// How many threads wait, to be looked at without the lock.
    hungry: AtomicUsize,
    turn: Mutex<Turn>,
    bell: Condvar,
}

#[derive(Default)]
struct Turn {
    task: Option<Task>,
    waiting: usize,
    ended: bool,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(
        request: &'a Request,
        control: &'a Control,
        threads: usize,
        root: Look,
        mounted: Mounted,
    ) -> Self {
        Self {
            root: &request.root,
            control,
            idle: request.idle,
            share: request.share.map(|share| share / threads as f64),
            device: root.device,
            mounted,
            mount: root.mount,
            depth: request.depth,
            directories: request.directories,
            threads,
            links: Mutex::default(),
            nodes: Mutex::default(),
            hungry: AtomicUsize::new(0),
            turn: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// Whether something is on another mount than the scan.
    pub(crate) fn is_elsewhere(&self, look: &Look) -> bool {
        matches!((look.mount, self.mount), (Some(one), Some(other)) if one != other)
    }

    /// Whether a file is to be counted: it has one name, or this is the first of its names.
    pub(crate) fn is_new(&self, look: &Look) -> bool {
        look.names < 2 || lock(&self.links).is_new(look.device, look.inode)
    }

    /// The node of a directory at this depth: the one that it is in, where it is not told itself.
    pub(crate) fn node(&self, name: &[u8], parent: usize, depth: usize) -> usize {
        if depth > self.depth {
            return parent;
        }
        let mut nodes = lock(&self.nodes);
        let (told, left_out) = &mut *nodes;
        if told.len() + 1 >= self.directories {
            *left_out += 1;
            return parent;
        }
        told.push(Node { name: OsStr::from_bytes(name).to_owned(), parent, depth });
        told.len()
    }

    /// How many names of files with several may have been counted twice.
    pub(crate) fn not_remembered(&self) -> u64 {
        lock(&self.links).not_remembered()
    }

    /// All nodes but the first, and how many were left out.
    pub(crate) fn into_nodes(self) -> (Vec<Node>, u64) {
        self.nodes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread waits for something to do.
    pub(crate) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0
    }

    /// Gives it to whoever waits. Back, where nobody does any more.
    pub(crate) fn give(&self, task: Task) -> Option<Task> {
        let mut turn = lock(&self.turn);
        if turn.task.is_some() || turn.waiting == 0 {
            return Some(task);
        }
        turn.task = Some(task);
        self.hungry.store(0, Ordering::Relaxed);
        self.bell.notify_one();
        None
    }

    /// Waits for something to do; `None` when nobody has anything left, or the scan was stopped.
    pub(crate) fn next(&self) -> Option<Task> {
        let mut turn = lock(&self.turn);
        turn.waiting += 1;
        loop {
            if turn.ended || (turn.waiting == self.threads && turn.task.is_none()) {
                turn.ended = true;
                self.bell.notify_all();
                return None;
            }
            if let Some(task) = turn.task.take() {
                turn.waiting -= 1;
                self.hungry.store(turn.waiting, Ordering::Relaxed);
                return Some(task);
            }
            self.hungry.store(turn.waiting, Ordering::Relaxed);
            turn = self.bell.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nobody waits any longer.
    pub(crate) fn end(&self) {
        lock(&self.turn).ended = true;
        self.bell.notify_all();
    }
}

/// What a panicked thread left is whole: nothing is half done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
