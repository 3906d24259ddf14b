//! What fills the disks, as bars in a terminal.

mod ending;

use crate::daemon::Foretold;
use bowline_ports::text::{about, bytes, clean};
use bowline_ports::{Mount, Space, Survey, SurveyedDirectory, path_text};
use bowline_usage::Tree;
pub(crate) use ending::Ending;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Columns of a bar.
const BAR: usize = 24;
/// Of the directories in one so many are told, the largest; all are in the JSON.
const MOST: usize = 12;
/// Fewer bytes that nobody sees are no line.
pub(crate) const WORTH_A_WORD: u64 = 10_000_000;

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Picture {
    /// Filesystems, by their mount points.
    pub(crate) disks: Vec<Disk>,
    /// Directories, the largest first.
    pub(crate) folders: Vec<Folder>,
    /// Seconds ago Bowline looked last for what is in no directory; `None`: it never did, or nobody but root may know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unseen_seconds_ago: Option<u64>,
}

/// A filesystem.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Disk {
    /// Where it is mounted.
    pub(crate) mountpoint: String,
    /// Why it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Bytes in all.
    pub(crate) size: u64,
    /// Bytes in use.
    pub(crate) used: u64,
    /// Bytes that an ordinary user may still write.
    pub(crate) available: u64,
    /// Bytes an hour that it grows by; `None`: not watched for long enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) growth_per_hour: Option<f64>,
    /// What it is expected to come to first; `None`: nothing, or not known.
    #[serde(flatten)]
    pub(crate) end: Option<Ending>,
    /// Bytes beneath what is mounted there, where nobody sees them, as they were measured last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hidden: Option<u64>,
    /// Bytes in files that were deleted and are still open, as they were measured last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<u64>,
    /// Who has most of those open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) deleted_held_by: Vec<String>,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Folder {
    /// Its path.
    pub(crate) path: String,
    /// The mount point of the filesystem that it is on.
    pub(crate) on: String,
    /// Bytes that it takes, with everything in it.
    pub(crate) allocated: u64,
    /// Bytes that its files seem to have.
    pub(crate) apparent: u64,
    /// Files and directories.
    pub(crate) inodes: u64,
    /// Bytes of the filesystem that it is on; 0 where that is not known.
    pub(crate) of: u64,
    /// How many files or directories could not be read.
    pub(crate) unreadable: u64,
    /// Names of files with several that may have been counted more than once.
    pub(crate) maybe_twice: u64,
    /// What has changed since the daemon measured it; `None` where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed: Option<Changed>,
    /// Those in it, to the depth that was asked for; each before those in it.
    pub(crate) parts: Vec<Part>,
    /// How many more there are, which are counted in those that they are in.
    pub(crate) left_out: u64,
}

/// How a directory has changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Changed {
    /// By so many bytes; below 0 where it takes less.
    pub(crate) bytes: i64,
    /// Within so many seconds.
    pub(crate) seconds: u64,
}

impl Changed {
    /// From what was measured last to these bytes, now.
    fn since(last: &Survey, path: &Path, allocated: u64, now: i64) -> Option<Self> {
        let before = last.directories.iter().find(|one| one.path == path)?.size?.allocated;
        let seconds = u64::try_from(now - last.at).ok()?;
        Some(Self { bytes: i64::try_from(allocated).ok()?.saturating_sub_unsigned(before), seconds })
    }
}

/// A directory in another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Part {
    /// Its path.
    pub(crate) path: String,
    /// How many levels beneath.
    pub(crate) depth: usize,
    /// Bytes that it takes, with everything in it.
    pub(crate) allocated: u64,
    /// Files and directories.
    pub(crate) inodes: u64,
}

impl Disk {
    pub(crate) fn of(mountpoint: String, space: &Space, foretold: Option<&Foretold>) -> Self {
        Self {
            mountpoint,
            error: None,
            size: space.size,
            used: space.size.saturating_sub(space.free),
            available: space.available,
            growth_per_hour: foretold.map(|foretold| foretold.growth * 3600.0),
            end: foretold.and_then(Ending::of),
            ..Self::default()
        }
    }

    /// What was measured of it last.
    pub(crate) fn measured(self, mount: &Mount, survey: &Survey) -> Self {
        let hidden = survey.hidden.iter().find(|hidden| hidden.mount_point == mount.target);
        let deleted = survey.deleted.iter().find(|deleted| deleted.number == mount.number);
        let holders = deleted.iter().flat_map(|deleted| &deleted.holders);
        Self {
            hidden: hidden.map(|hidden| hidden.bytes),
            deleted: Some(deleted.map_or(0, |deleted| deleted.bytes)),
            deleted_held_by: holders.map(|holder| format!("{} ({})", holder.name, holder.pid)).collect(),
            ..self
        }
    }

    /// What no directory shows, in lines of their own.
    fn unseen(&self, out: &mut String) {
        let at = name(&self.mountpoint);
        if let Some(hidden) = self.hidden.filter(|hidden| *hidden >= WORTH_A_WORD) {
            let _ = writeln!(out, "{:>10}  beneath what is mounted at {at}, where nobody sees them", bytes(hidden));
        }
        if let Some(deleted) = self.deleted.filter(|deleted| *deleted >= WORTH_A_WORD) {
            let _ = writeln!(out, "{:>10}  on {at} in files that were deleted and are still open", bytes(deleted));
            if !self.deleted_held_by.is_empty() {
                let _ = writeln!(out, "{:>10}  most of them by {}", "", name(&self.deleted_held_by.join(", ")));
            }
        }
    }

    fn line(&self, width: usize) -> String {
        if let Some(error) = &self.error {
            return format!("{:width$}  cannot be measured: {}", name(&self.mountpoint), name(error));
        }
        let share = share(self.used, self.size);
        let left = self.end.map(|end| format!("  {end}")).unwrap_or_default();
        let (bar, percent) = (bar(share), share * 100.0);
        format!("{:width$}  {bar} {percent:3.0} %  {} free{left}", name(&self.mountpoint), bytes(self.available))
    }
}

impl Folder {
    /// `last` is what was measured before and when it is now, in seconds since 1970.
    pub(crate) fn of(directory: &SurveyedDirectory, tree: &Tree, disks: &[Disk], last: Option<(&Survey, i64)>) -> Self {
        let holds = disks.iter().filter(|disk| tree.real.starts_with(&disk.mountpoint));
        let disk = holds.max_by_key(|disk| Path::new(&disk.mountpoint).components().count());
        let size = tree.size();
        let parts = tree.directories.iter().enumerate().skip(1).map(|(index, one)| Part {
            path: path_text(&tree.path(index)),
            depth: one.depth,
            allocated: one.size.allocated,
            inodes: one.size.inodes,
        });
        Self {
            path: path_text(&directory.path),
            on: disk.map(|disk| disk.mountpoint.clone()).unwrap_or_default(),
            allocated: size.allocated,
            apparent: size.apparent,
            inodes: size.inodes,
            of: disk.map_or(0, |disk| disk.size),
            unreadable: tree.problems.unreadable,
            maybe_twice: tree.problems.not_remembered,
            changed: last.and_then(|(last, now)| Changed::since(last, &directory.path, size.allocated, now)),
            parts: parts.collect(),
            left_out: tree.left_out,
        }
    }

    fn lines(&self, out: &mut String) {
        let line = |out: &mut String, indent: usize, path: &str, allocated: u64, inodes: u64| {
            let _ = writeln!(
                out,
                "{:>10}  {}  {:indent$}{}  ({inodes} files)",
                bytes(allocated),
                bar(share(allocated, self.of)),
                "",
                name(path)
            );
        };
        line(out, 0, &self.path, self.allocated, self.inodes);
        if self.unreadable > 0 {
            let what = if self.unreadable == 1 { "file or directory" } else { "files or directories" };
            let _ = writeln!(out, "{:>10}  {} {what} could not be read", "", self.unreadable);
        }
        if self.maybe_twice > 0 {
            let text = "names of files with several names may be counted twice";
            let _ = writeln!(out, "{:>10}  {} {text}", "", self.maybe_twice);
        }
        if let Some(Changed { bytes: by, seconds }) =
            self.changed.filter(|one| one.bytes.unsigned_abs() >= WORTH_A_WORD)
        {
            let (by, how) = (bytes(by.unsigned_abs()), if by > 0 { "more" } else { "less" });
            let _ = writeln!(out, "{:>10}  {by} {how} than {} ago", "", about(seconds as f64));
        }
        let mut parts: Vec<_> = self.parts.iter().collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.allocated));
        for part in parts.iter().take(MOST) {
            let within = part.path.strip_prefix(&self.path).unwrap_or(&part.path).trim_start_matches('/');
            line(out, 2, within, part.allocated, part.inodes);
        }
        if parts.len() > MOST {
            let rest: u64 = parts.iter().skip(MOST).filter(|part| part.depth == 1).map(|part| part.allocated).sum();
            let _ = writeln!(out, "{:>10}  in {} more", bytes(rest), parts.len() - MOST);
        }
        if self.left_out > 0 {
            let _ = writeln!(out, "{:>10}  {} more are not listed: there are too many", "", self.left_out);
        }
    }
}

impl Picture {
    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let width = self.disks.iter().map(|disk| disk.mountpoint.chars().count()).max().unwrap_or(0).min(24);
        let mut out = String::new();
        for disk in &self.disks {
            let _ = writeln!(out, "{}", disk.line(width));
        }
        let mut unseen = String::new();
        self.disks.iter().for_each(|disk| disk.unseen(&mut unseen));
        if !unseen.is_empty() {
            let ago =
                self.unseen_seconds_ago.map(|ago| format!(" (measured {} ago)", about(ago as f64))).unwrap_or_default();
            let _ = write!(out, "\nnot in any directory{ago}:\n{unseen}");
        }
        if !self.folders.is_empty() {
            out.push_str("\nshare of the filesystem that each is on:\n");
        }
        self.folders.iter().for_each(|folder| folder.lines(&mut out));
        out
    }
}

/// Whoever makes directories or starts processes names them: no name may command a terminal, or begin a line.
fn name(text: &str) -> String {
    clean(text).replace('\n', "?")
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) }
}

fn bar(share: f64) -> String {
    let full = ((share * BAR as f64).round() as usize).min(BAR);
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::End;

    #[test]
    fn a_linked_directory_is_on_the_filesystem_that_it_leads_to() {
        let place = tempfile::tempdir().unwrap();
        let (real, link) = (place.path().canonicalize().unwrap().join("real"), place.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let disk = |mountpoint: &Path, size| Disk { mountpoint: path_text(mountpoint), size, ..Disk::default() };
        let disks = [disk(Path::new("/"), 80), disk(&real, 40)];
        let tree = bowline_usage::scan(&bowline_usage::Request::of(&link), &bowline_usage::Control::new()).unwrap();
        let folder = Folder::of(&SurveyedDirectory { path: link.clone(), depth: 0, named: true }, &tree, &disks, None);
        assert_eq!((folder.path, folder.on, folder.of), (path_text(&link), path_text(&real), 40));
    }

    #[test]
    fn the_picture() {
        let disk = Disk {
            mountpoint: "/".into(),
            size: 40_000_000_000,
            used: 30_000_000_000,
            available: 8_000_000_000,
            end: Some(Ending { seconds_left: 30_000.0, what: End::Evicts, confidence: 0.8, sure: true }),
            deleted: Some(2_000_000_000),
            deleted_held_by: vec!["java (811)".into()],
            ..Disk::default()
        };
        let full = Disk {
            mountpoint: "/boot".into(),
            size: 1_000_000_000,
            used: 1_000_000_000,
            end: Some(Ending { seconds_left: 0.0, what: End::Full, confidence: 1.0, sure: true }),
            hidden: Some(30_000_000),
            ..Disk::default()
        };
        let unsure = Disk {
            mountpoint: "/srv".into(),
            size: 1_000_000_000,
            end: Some(Ending { seconds_left: 90_000.0, what: End::Full, confidence: 0.3, sure: false }),
            deleted: Some(5),
            ..Disk::default()
        };
        let hung = Disk { mountpoint: "/mnt/nas".into(), error: Some("no answer".into()), ..Disk::default() };
        let part = |path: &str, allocated| Part { path: path.into(), depth: 1, allocated, inodes: 7 };
        let folder = Folder {
            path: "/var/lib".into(),
            on: "/".into(),
            allocated: 20_000_000_000,
            apparent: 1,
            inodes: 1234,
            of: 40_000_000_000,
            unreadable: 1,
            maybe_twice: 3,
            changed: Some(Changed { bytes: 1_200_000_000, seconds: 2600 }),
            parts: vec![part("/var/lib/a\x1b[2J\n", 5_000_000), part("/var/lib/b", 19_000_000_000)],
            left_out: 12,
        };
        let text =
            Picture { disks: vec![disk, full, unsure, hung], folders: vec![folder], unseen_seconds_ago: Some(600) }
                .text();
        let expected = "\
/         [##################......]  75 %  7.5 GiB free  pods are evicted in 8 h
/boot     [########################] 100 %  0 B free  full
/srv      [........................]   0 %  0 B free  full in 25 h (30 % sure)
/mnt/nas  cannot be measured: no answer

not in any directory (measured 10 min ago):
   1.9 GiB  on / in files that were deleted and are still open
            most of them by java (811)
  28.6 MiB  beneath what is mounted at /boot, where nobody sees them

share of the filesystem that each is on:
  18.6 GiB  [############............]  /var/lib  (1234 files)
            1 file or directory could not be read
            3 names of files with several names may be counted twice
            1.1 GiB more than 43 min ago
  17.7 GiB  [###########.............]    b  (7 files)
   4.8 MiB  [........................]    a?[2J?  (7 files)
            12 more are not listed: there are too many
";
        assert_eq!(text, expected);
    }
}
