//! How the disks stand, out of what was watched and measured: for the metrics, and for the page.

use super::foretold::Foretold;
use super::measuring::Measuring;
use super::watching::Watching;
use crate::show::usage::WORTH_A_WORD;
use bowline_engine::Report;
use bowline_metrics::{Disk, Exhaustion, FilesystemOutlook, FilesystemSample, Folder, Foreseen, Outlook, View};
use bowline_ports::text::bytes;
use bowline_ports::{DirectorySize, Measured, Mount, PortError, Space, Survey};
use bowline_pressure::forecast::Forecast;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The page shows so many directories, the largest.
const FOLDERS: usize = 60;
/// And so many points of what was.
const POINTS: usize = 240;

impl From<&Foretold> for Outlook {
    fn from(foretold: &Foretold) -> Self {
        let evicts = foretold.evicts_first().map(told);
        Self { growth: foretold.growth, full: told(foretold.full), inodes: told(foretold.inodes), evicts }
    }
}

/// A forecast in the words of the exposition.
fn told(forecast: Forecast) -> Foreseen {
    Foreseen { seconds: forecast.seconds, confidence: forecast.confidence }
}

/// For the metrics.
pub(crate) fn exhaustion(filesystems: &[FilesystemSample], watching: &Watching, measuring: &Measuring) -> Exhaustion {
    let foretold = watching.foretold();
    let outlooks = filesystems
        .iter()
        .map(|one| {
            let at = &one.mount.target;
            let known = foretold.get(at.as_os_str());
            let kept = watching.thresholds(&one.mount, one.space.as_ref());
            let signals = kept.into_iter().map(|(signal, kept)| {
                let then = known.and_then(|known| known.evicts.get(signal)).copied();
                (signal, kept, then.map(told))
            });
            FilesystemOutlook { outlook: known.map(Outlook::from), signals: signals.collect() }
        })
        .collect();
    Exhaustion {
        outlooks,
        survey: measuring.last(),
        directory_growth: measuring.growth(),
        survey_failed: measuring.failed(),
        survey_every: measuring.every(),
        eviction_unread: watching.eviction_unread(),
        counted: watching.counted(),
    }
}

/// For the page.
pub(crate) fn view<'a>(
    report: &'a Report,
    now: i64,
    filesystems: &[(Mount, Result<Space, PortError>)],
    watching: &Watching,
    measuring: &Measuring,
) -> View<'a> {
    let foretold = watching.foretold();
    let disk = |(mount, space): &(Mount, Result<Space, PortError>)| {
        let known = foretold.get(mount.target.as_os_str());
        disk(mount, space, known, watching)
    };
    let survey = measuring.last();
    let survey = survey.as_deref();
    View {
        report,
        now,
        disks: filesystems.iter().map(disk).collect(),
        folders: survey.map(|survey| folders(survey, &measuring.growth(), filesystems)).unwrap_or_default(),
        measured: survey.map(|survey| survey.at),
        unseen: survey.map(|survey| unseen(survey, filesystems)).unwrap_or_default(),
    }
}

fn disk(mount: &Mount, space: &Result<Space, PortError>, foretold: Option<&Foretold>, watching: &Watching) -> Disk {
    let at = &mount.target;
    let base = Disk {
        mountpoint: at.display().to_string(),
        what: format!("{} on {}", mount.fstype, mount.shown_source()),
        read_only: mount.read_only,
        beyond: watching.is_beyond(at),
        ..Disk::default()
    };
    let space = match space {
        Ok(space) => space,
        Err(error) => return Disk { error: Some(error.message.clone()), ..base },
    };
    let kept = watching.thresholds(mount, Some(space));
    let bytes = kept.iter().filter(|(signal, _)| signal.ends_with(".available"));
    let reserved = space.free.saturating_sub(space.available);
    let evicts = bytes.map(|(signal, kept)| {
        let used = space.size.saturating_sub(kept.saturating_add(reserved));
        (used as f64 / space.size.max(1) as f64, format!("the kubelet evicts ({signal})"))
    });
    let mut marks: Vec<_> = evicts.collect();
    if reserved > 0 {
        let full = (space.size - reserved.min(space.size)) as f64 / space.size.max(1) as f64;
        marks.push((full, "full for all but root".into()));
    }
    Disk {
        size: space.size,
        used: space.size.saturating_sub(space.free),
        available: space.available,
        marks,
        outlook: foretold.map(Outlook::from),
        history: thinned(watching.history(at)),
        ..base
    }
}

/// Every so manieth point, and the last.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    points.into_iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last).map(|(_, point)| point).collect()
}

/// Directories with those in them beneath, largest first at each level.
fn folders(
    survey: &Survey,
    growth: &BTreeMap<PathBuf, f64>,
    filesystems: &[(Mount, Result<Space, PortError>)],
) -> Vec<Folder> {
    let mut all: Vec<&Measured> = survey.directories.iter().collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.size.map(|size| size.allocated)));
    let mut folders = Vec::new();
    for one in all {
        let size = space_of(one.place(), filesystems);
        let folder = |path: &Path, depth: u8, bytes: Option<DirectorySize>| Folder {
            path: path.display().to_string(),
            depth,
            bytes: bytes.map(|bytes| bytes.allocated),
            share: bytes.zip(size).map(|(bytes, size)| bytes.allocated as f64 / size as f64),
            growth: growth.get(path).map(|rate| rate * 86_400.0),
            left_out: 0,
            trouble: String::new(),
        };
        // The page has less room than the survey.
        let shown = one.parts.len().min(FOLDERS.saturating_sub(folders.len() + 1));
        let left_out = one.left_out.saturating_add((one.parts.len() - shown) as u64);
        let trouble = one.trouble.clone();
        folders.push(Folder { left_out, trouble, ..folder(&one.path, 0, one.size) });
        let mut parts: Vec<_> = one.parts.iter().collect();
        // Beneath their parents; among brothers the largest first.
        let order = |path: &Path| -> Vec<(std::cmp::Reverse<u64>, PathBuf)> {
            let above = path.ancestors().take_while(|above| *above != one.path);
            let mut keys: Vec<_> = above
                .map(|above| {
                    let bytes = one.parts.iter().find(|part| part.path == above).map_or(0, |part| part.size.allocated);
                    (std::cmp::Reverse(bytes), above.to_path_buf())
                })
                .collect();
            keys.reverse();
            keys
        };
        parts.sort_by_cached_key(|part| order(&part.path));
        folders.extend(parts[..shown].iter().map(|part| folder(&part.path, part.depth, Some(part.size))));
    }
    folders.truncate(FOLDERS);
    folders
}

/// Bytes of the filesystem that a path is on; `None` where that is not known, as while it hangs.
fn space_of(path: &Path, filesystems: &[(Mount, Result<Space, PortError>)]) -> Option<u64> {
    let holds = filesystems.iter().filter(|(mount, _)| path.starts_with(&mount.target));
    let one = holds.max_by_key(|(mount, _)| mount.target.components().count());
    one.and_then(|(_, space)| space.as_ref().ok()).map(|space| space.size).filter(|size| *size > 0)
}

/// What takes room and is in no directory.
fn unseen(survey: &Survey, filesystems: &[(Mount, Result<Space, PortError>)]) -> Vec<String> {
    let mut all = Vec::new();
    for one in survey.hidden.iter().filter(|one| one.bytes >= WORTH_A_WORD) {
        let at = one.mount_point.display();
        all.push(format!("{} lie beneath what is mounted at {at}, where nobody sees them.", bytes(one.bytes)));
    }
    for one in survey.deleted.iter().filter(|one| one.bytes >= WORTH_A_WORD) {
        let mount = filesystems.iter().find(|(mount, _)| mount.number == one.number);
        let at = mount.map_or_else(|| one.number.clone(), |(mount, _)| mount.target.display().to_string());
        let who: Vec<_> = one.holders.iter().map(|holder| format!("{} ({})", holder.name, holder.pid)).collect();
        all.push(format!(
            "{} on {at} are in files that were deleted and are still open, most of them by {}.",
            bytes(one.bytes),
            who.join(", ")
        ));
    }
    if !survey.deleted_trouble.is_empty() {
        all.push(format!(
            "Of files that were deleted and are still open, not all were found: {}.",
            survey.deleted_trouble
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::filling::mount_at;
    use bowline_ports::{ErrorKind, Part};

    fn at(target: &str, size: Option<u64>) -> (Mount, Result<Space, PortError>) {
        let space = |size| Space { size, free: 0, available: 0, inodes: 0, inodes_free: 0 };
        (mount_at(target), size.map(space).ok_or_else(|| PortError::new(ErrorKind::Timeout, "no answer")))
    }

    #[test]
    fn a_linked_directory_has_its_share_of_the_filesystem_that_it_is_really_on() {
        let size = Some(DirectorySize { allocated: 10, ..DirectorySize::default() });
        let linked = Measured { path: "/srv/x".into(), real: "/data/x".into(), size, ..Measured::default() };
        let survey = Survey { directories: vec![linked], ..Survey::default() };
        let all = folders(&survey, &BTreeMap::new(), &[at("/", Some(80)), at("/data", Some(40))]);
        assert_eq!((all[0].path.as_str(), all[0].share), ("/srv/x", Some(0.25)));
    }

    #[test]
    fn how_many_directories_are_not_listed_is_known() {
        let part = |number| Part {
            path: format!("/srv/x/{number}").into(),
            depth: 1,
            size: DirectorySize { allocated: number, ..DirectorySize::default() },
        };
        let size = |allocated| Some(DirectorySize { allocated, ..DirectorySize::default() });
        let of = |path: &str, bytes, parts: u64, left_out| Measured {
            path: path.into(),
            size: size(bytes),
            parts: (0..parts).map(part).collect(),
            left_out,
            ..Measured::default()
        };
        let survey = |parts, left_out| {
            let directories = vec![of("/srv/x", 10_000, parts, left_out), of("/srv/y", 10, 0, 0)];
            folders(&Survey { directories, ..Survey::default() }, &BTreeMap::new(), &[])
        };
        let all = survey(3, 5);
        assert_eq!((all.len(), all[0].left_out, all[1].path.as_str(), all[4].left_out), (5, 5, "/srv/x/2", 0));
        let all = survey(500, 5);
        assert_eq!((all.len(), all[0].left_out, all[59].path.as_str()), (60, 446, "/srv/x/441"));
    }

    #[test]
    fn credentials_of_a_source_are_not_shown() {
        let (mount, space) = at("/mnt/dav", Some(40));
        let mount = Mount { source: "https://me:secret@dav.example/a".into(), ..mount };
        let shown = disk(&mount, &space, None, &Watching::default());
        assert_eq!(shown.what, "ext4 on https://dav.example/a");
    }

    /// A directory has no share of a filesystem whose size nobody knows, and none of the one above that.
    #[test]
    fn the_nearest_filesystem_counts_also_when_it_does_not_answer() {
        let all = [at("/", Some(80)), at("/data", Some(40)), at("/data/nas", None), at("/odd", Some(0))];
        let size = |path: &str| space_of(Path::new(path), &all);
        assert_eq!(["/srv", "/data/x", "/data/nas/x", "/odd/x"].map(size), [Some(80), Some(40), None, None]);
    }

    #[test]
    fn what_was_not_looked_at_is_said() {
        let survey = Survey { deleted_trouble: "1 process was not".into(), ..Survey::default() };
        let all = unseen(&survey, &[]);
        assert!(all.len() == 1 && all[0].ends_with("not all were found: 1 process was not."), "{all:?}");
        assert!(unseen(&Survey::default(), &[]).is_empty());
    }
}
