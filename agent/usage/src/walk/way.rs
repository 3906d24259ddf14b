//! Which directories are open on the way, and which of them another thread goes on from.

use super::{Level, OPEN, Task, Walk, is_gone};
use crate::kernel;
use crate::links::Device;
use crate::problems::ProblemKind;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::Arc;

impl Walk<'_> {
    /// A directory that was opened becomes the last level.
    pub(super) fn enter(&mut self, opened: OwnedFd, id: (Device, u64), node: usize, depth: usize) {
        let (names, path) = (self.names.len(), self.path.len());
        let directory = Some(Arc::new(opened));
        self.levels.push(Level { directory, id, node, depth, names, path, place: 0, unread: true });
        if self.levels.len() - 1 - self.closed > OPEN {
            self.closed += 1;
            self.levels[self.closed].directory = None;
        }
    }

    /// Leaves the last level, and opens the one above where it was closed.
    pub(super) fn ascend(&mut self) {
        let left = self.levels.pop();
        let Some(level) = self.levels.last() else { return };
        self.path.truncate(level.path);
        if level.directory.is_some() {
            return;
        }
        let (id, place, number) = (level.id, level.place, self.levels.len() - 1);
        let from_below = left.and_then(|left| left.directory).and_then(|below| same(&below, c"..", id).ok());
        let opened = from_below.map_or_else(|| self.walk_down(number), Ok);
        let opened = opened.and_then(|opened| kernel::go_on_at(&opened, place).map(|()| opened));
        self.closed = number.saturating_sub(1);
        match opened {
            Ok(opened) => {
                if let Some(level) = self.levels.last_mut() {
                    level.directory = Some(Arc::new(opened));
                }
            }
            // It was moved, or is gone: what has not been read of it is not there any more.
            Err(error) => {
                let kind = if is_gone(error) { ProblemKind::Vanished } else { ProblemKind::Unreadable };
                self.problem(kind, Some(error), None);
                if let Some(level) = self.levels.last_mut() {
                    level.unread = false;
                    self.names.truncate(level.names);
                }
            }
        }
    }

    /// The directory of a level, on the way by which it was come to.
    fn walk_down(&self, number: usize) -> Result<OwnedFd, Errno> {
        let last_open = (0..number).rev().find(|above| self.levels[*above].directory.is_some()).unwrap_or_default();
        let mut opened: Option<OwnedFd> = None;
        for next in last_open + 1..=number {
            let (above, level) = (&self.levels[next - 1], &self.levels[next]);
            let name = &self.path[above.path..level.path];
            let mut name = name.strip_prefix(b"/").unwrap_or(name).to_vec();
            name.push(0);
            let name = CStr::from_bytes_with_nul(&name).map_err(|_| Errno::INVAL)?;
            opened = Some(match (&opened, &above.directory) {
                (Some(above), _) => same(above, name, level.id)?,
                (None, Some(above)) => same(above, name, level.id)?,
                (None, None) => return Err(Errno::NOENT),
            });
        }
        opened.ok_or(Errno::NOENT)
    }

    /// Gives half of what is nearest to the root to a thread that waits.
    pub(super) fn hand_over(&mut self) {
        if !self.shared.is_hungry() {
            return;
        }
        let end = |number: usize| self.levels.get(number + 1).map_or(self.names.len(), |next| next.names);
        let has =
            |number: &usize| self.levels[*number].directory.is_some() && end(*number) > self.levels[*number].names;
        let Some(number) = (0..self.levels.len()).find(has) else { return };
        let (begin, end) = (self.levels[number].names, end(number));
        let zero = self.names[begin..end].iter().skip((end - begin) / 2 - 1).position(|byte| *byte == 0);
        let mut middle = zero.map_or(end, |zero| begin + (end - begin) / 2 + zero);
        if middle == end && number + 1 == self.levels.len() {
            // One has to be left.
            let Some(zero) = self.names[begin..end - 1].iter().rposition(|byte| *byte == 0) else { return };
            middle = begin + zero + 1;
        }
        let level = &self.levels[number];
        let Some(directory) = level.directory.clone() else { return };
        let (id, node, depth) = (level.id, level.node, level.depth);
        let path = self.path[..level.path].to_vec();
        let names = self.names[begin..middle].to_vec();
        if self.shared.give(Task { directory, id, node, depth, path, names, unread: false }).is_none() {
            self.names.drain(begin..middle);
            for later in &mut self.levels[number + 1..] {
                later.names -= middle - begin;
            }
        }
    }
}

/// A directory that has to be this one.
fn same(directory: &OwnedFd, name: &CStr, id: (Device, u64)) -> Result<OwnedFd, Errno> {
    let opened = kernel::open_in(directory, name)?;
    if kernel::look_at(&opened)?.id() == id { Ok(opened) } else { Err(Errno::NOENT) }
}
