//! What could not be counted: how much of it, and the first few by name.

use std::path::PathBuf;

/// How many of each kind are named, at most.
pub const FIRST: usize = 8;

/// What kept something out of the sum, or may keep it out of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// It could not be read, or lies too deep: what is in it is missing in the sum.
    Unreadable,
    /// It was listed, and gone or moved when it was looked at.
    Vanished,
    /// Something is mounted there, or another filesystem begins: not counted, as it should be.
    Mount,
    /// Counted; but its name is not UTF-8, and a text can show it only roughly.
    NotUtf8,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// Where, from the directory that was asked for.
    pub path: PathBuf,
    /// Why, of what is unreadable: mostly what the kernel said.
    pub error: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// How many files or directories could not be read.
    pub unreadable: u64,
    /// How many vanished.
    pub vanished: u64,
    /// How many mounts and other filesystems are beneath.
    pub mounts: u64,
    /// How many names are not UTF-8.
    pub not_utf8: u64,
    /// How many names were counted of files with several names that are not remembered, since there are too many: the sum may
    /// have some of these files more than once.
    pub not_remembered: u64,
    /// The first ones of each kind, at most [`FIRST`] of each.
    pub first: Vec<Problem>,
}

impl Problems {
    /// Counts one; where it is, is asked only when it is named.
    pub(crate) fn met(&mut self, kind: ProblemKind, error: Option<String>, path: impl FnOnce() -> PathBuf) {
        let count = self.of(kind);
        *count += 1;
        if *count <= FIRST as u64 {
            self.first.push(Problem { kind, path: path(), error });
        }
    }

    /// Those of another thread.
    pub(crate) fn add(&mut self, other: Self) {
        self.unreadable += other.unreadable;
        self.vanished += other.vanished;
        self.mounts += other.mounts;
        self.not_utf8 += other.not_utf8;
        self.not_remembered += other.not_remembered;
        for one in other.first {
            if self.first.iter().filter(|named| named.kind == one.kind).count() < FIRST {
                self.first.push(one);
            }
        }
    }

    fn of(&mut self, kind: ProblemKind) -> &mut u64 {
        match kind {
            ProblemKind::Unreadable => &mut self.unreadable,
            ProblemKind::Vanished => &mut self.vanished,
            ProblemKind::Mount => &mut self.mounts,
            ProblemKind::NotUtf8 => &mut self.not_utf8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_kind_are_named_and_all_are_counted() {
        let many = |kind, name: &str| {
            let mut problems = Problems::default();
            (0..100).for_each(|n| problems.met(kind, None, || format!("{name}{n}").into()));
            problems
        };
        let mut all = many(ProblemKind::Vanished, "a");
        all.add(many(ProblemKind::Vanished, "b"));
        all.add(many(ProblemKind::Mount, "c"));
        assert_eq!((all.vanished, all.mounts, all.unreadable), (200, 100, 0));
        let named: Vec<_> = all.first.iter().map(|one| one.path.to_string_lossy().into_owned()).collect();
        let expected: Vec<_> = (0..FIRST).map(|n| format!("a{n}")).chain((0..FIRST).map(|n| format!("c{n}"))).collect();
        assert_eq!(named, expected);
    }
}
