//! The families of disks that fill: what is foretold, what fills them, and what else goes wrong with them.
//!
//! Of each filesystem there is a series in every family, also where nothing can be foretold (then it says infinite, with a
//! confidence of 0), so that a rule never meets a gap.

use crate::exposition::{Exposition, Kind, also, labels};
use crate::filesystem::Row;
use crate::view::{Foreseen, Outlook};
use bowline_ports::{Counted, DirectorySize, Survey, path_text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All of it. What is absent is left out of the exposition.
#[derive(Debug, Clone, Default)]
pub struct Exhaustion {
    /// What is foretold, in the order of the sample's filesystems.
    pub outlooks: Vec<FilesystemOutlook>,
    /// What was measured last.
    pub survey: Option<std::sync::Arc<Survey>>,
    /// Bytes a second by which directories go on to grow, by path: of those that were measured three times.
    pub directory_growth: BTreeMap<PathBuf, f64>,
    /// Measuring came to nothing the last time: what is told of directories is older.
    pub survey_failed: bool,
    /// How often directories are to be measured, in seconds; `None`: nobody does.
    pub survey_every: Option<u64>,
    /// The kubelet's configuration could not be read: what is told of evictions is older, or nothing.
    pub eviction_unread: bool,
    /// What was counted of trouble.
    pub counted: std::sync::Arc<Counted>,
}

/// What is foretold of one filesystem, and from when on the kubelet evicts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilesystemOutlook {
    /// `None`: it was not watched for long enough.
    pub outlook: Option<Outlook>,
    /// For each of the kubelet's signals that is about this filesystem: what has to be free (bytes or inodes), and when it is
    /// not any more; `None`: it was not watched for long enough.
    pub signals: Vec<(&'static str, u64, Option<Foreseen>)>,
}

/// Name, help, value.
type Column<T> = (&'static str, &'static str, fn(&T) -> f64);

const COLUMNS: [Column<FilesystemOutlook>; 5] = [
    ("filesystem_growth_bytes_per_second", "Long-term growth in bytes per second; negative if it shrinks.", |one| {
        one.outlook.map_or(0.0, |outlook| outlook.growth)
    }),
    (
        "filesystem_full_seconds",
        "Seconds until an ordinary user can write no more; +Inf if that is not expected.",
        |one| one.full().seconds,
    ),
    (
        "filesystem_full_confidence",
        "How sure filesystem_full_seconds is, 0 to 1; 0 where it was not watched for long enough.",
        |one| one.full().confidence,
    ),
    (
        "filesystem_inodes_exhausted_seconds",
        "Seconds until it has no inode left; +Inf if that is not expected.",
        |one| one.inodes().seconds,
    ),
    (
        "filesystem_inodes_exhausted_confidence",
        "How sure filesystem_inodes_exhausted_seconds is, 0 to 1; 0 where it was not watched for long enough.",
        |one| one.inodes().confidence,
    ),
];
/// Of each signal of the kubelet.
const EVICTS: [Column<Foreseen>; 2] = [
    (
        "filesystem_eviction_seconds",
        "Seconds until the kubelet evicts because of it, by signal; +Inf if that is not expected.",
        |then| then.seconds,
    ),
    (
        "filesystem_eviction_confidence",
        "How sure filesystem_eviction_seconds is, 0 to 1, by signal; 0 where it was not watched for long enough.",
        |then| then.confidence,
    ),
];
/// What is said where it was not watched for long enough.
const UNKNOWN: Foreseen = Foreseen { seconds: f64::INFINITY, confidence: 0.0 };

impl FilesystemOutlook {
    fn full(&self) -> Foreseen {
        self.outlook.map_or(UNKNOWN, |outlook| outlook.full)
    }

    fn inodes(&self) -> Foreseen {
        self.outlook.map_or(UNKNOWN, |outlook| outlook.inodes)
    }
}

pub(crate) fn families(out: &mut Exposition, filesystems: &[Row<'_>], all: &Exhaustion) {
    forecasts(out, filesystems, all);
    let help = "1 when directories could not be measured the last time: what is told of them is older.";
    out.gauge("directory_scan_error", help, all.survey_failed);
    if let Some(every) = all.survey_every {
        out.gauge(
            "directory_scan_interval_seconds",
            "How often directories are to be measured, by the settings.",
            every,
        );
    }
    if let Some(survey) = &all.survey {
        directories(out, survey, &all.directory_growth);
        unseen(out, filesystems, survey);
    }
    counted(out, filesystems, &all.counted);
}

fn forecasts(out: &mut Exposition, filesystems: &[Row<'_>], all: &Exhaustion) {
    let rows: Vec<_> = filesystems.iter().map(|(labels, _)| labels).zip(&all.outlooks).collect();
    for (name, help, value) in COLUMNS {
        let mut family = out.family(name, Kind::Gauge, help);
        for (labels, one) in &rows {
            family.series(labels, value(one));
        }
    }
    for (name, help, value) in EVICTS {
        let mut family = out.family(name, Kind::Gauge, help);
        for (labels, one) in &rows {
            for (name, _, then) in &one.signals {
                family.series(&also(labels, "signal", name), value(&then.unwrap_or(UNKNOWN)));
            }
        }
    }
    let help = "1 when the kubelet's configuration cannot be read: what is told of evictions is older, or nothing.";
    out.gauge("kubelet_configuration_error", help, all.eviction_unread);
    for (ending, name, help) in [
        (".available", "filesystem_eviction_available_bytes", "Free bytes below which the kubelet evicts, by signal."),
        (".inodesFree", "filesystem_eviction_inodes_free", "Free inodes below which the kubelet evicts, by signal."),
    ] {
        let mut family = out.family(name, Kind::Gauge, help);
        for (labels, one) in &rows {
            for (name, kept, _) in one.signals.iter().filter(|(name, ..)| name.ends_with(ending)) {
                family.series(&also(labels, "signal", name), *kept);
            }
        }
    }
}

/// Their parts come and go with pods and claims: the page shows them, and series of all that ever were would have no end.
const OF_PODS: [&str; 3] =
    ["/var/log/pods", "/var/lib/rancher/k3s/storage", "/var/snap/microk8s/common/default-storage"];

fn directories(out: &mut Exposition, survey: &Survey, growth: &BTreeMap<PathBuf, f64>) {
    // Bounded: what the settings and the distribution name, and their parts down to a depth of a few, at most some hundreds. One
    // that is a part of another, too, has one series.
    let wholes = survey.directories.iter().filter_map(|one| Some((&one.path, one.size?)));
    let mut all: BTreeMap<&PathBuf, DirectorySize> = wholes.collect();
    let lasting = survey.directories.iter().filter(|one| !OF_PODS.iter().any(|path| one.path == Path::new(path)));
    for part in lasting.flat_map(|one| &one.parts) {
        all.entry(&part.path).or_insert(part.size);
    }
    let rows: Vec<(String, DirectorySize)> =
        all.iter().map(|(path, size)| (labels(&[("path", &path_text(path))]), *size)).collect();
    let mut family = out.family("directory_bytes", Kind::Gauge, "Size of a directory with everything in it.");
    for (labels, size) in &rows {
        family.series(&also(labels, "kind", "allocated"), size.allocated);
        family.series(&also(labels, "kind", "apparent"), size.apparent);
    }
    let mut family =
        out.family("directory_inodes", Kind::Gauge, "Files and directories in a directory, itself among them.");
    for (labels, size) in &rows {
        family.series(labels, size.inodes);
    }
    let of = |path: &PathBuf| labels(&[("path", &path_text(path))]);
    let mut family =
        out.family("directory_error", Kind::Gauge, "1 when a directory, or something in it, could not be read.");
    for one in &survey.directories {
        family.series(&of(&one.path), one.size.is_none() || !one.trouble.is_empty());
    }
    let help = "How fast a directory grows: the lesser of how it grew to the last measurement and to the one before.";
    let mut family = out.family("directory_growth_bytes_per_second", Kind::Gauge, help);
    for (path, rate) in growth.iter().filter(|(path, _)| all.contains_key(path)) {
        family.series(&of(path), *rate);
    }
    let help =
        "Directories inside it that have no series of their own, because there are too many; their bytes count for it.";
    let mut family = out.family("directory_parts_left_out", Kind::Gauge, help);
    for one in survey.directories.iter().filter(|one| one.size.is_some()) {
        family.series(&of(&one.path), one.left_out);
    }
    let mut family = out.family("directory_scan_seconds", Kind::Gauge, "Seconds that measuring a directory took.");
    for one in &survey.directories {
        family.series(&of(&one.path), one.seconds);
    }
    out.gauge("directory_scan_timestamp_seconds", "When directories were measured, in seconds since 1970.", survey.at);
}

fn unseen(out: &mut Exposition, filesystems: &[Row<'_>], survey: &Survey) {
    let help = "Bytes beneath a mount point, where nobody sees them.";
    let mut family = out.family("mount_hidden_bytes", Kind::Gauge, help);
    for one in &survey.hidden {
        family.series(&labels(&[("mountpoint", &path_text(&one.mount_point))]), one.bytes);
    }
    let help = "Bytes in files that were deleted and are still open.";
    let mut family = out.family("deleted_open_bytes", Kind::Gauge, help);
    for (_, one) in filesystems {
        let deleted = survey.deleted.iter().find(|deleted| deleted.number == one.mount.number);
        let labels = labels(&[("mountpoint", &path_text(&one.mount.target))]);
        family.series(&labels, deleted.map_or(0, |deleted| deleted.bytes));
    }
}

fn counted(out: &mut Exposition, filesystems: &[Row<'_>], counted: &Counted) {
    let help =
        "Failed commands to a disk (SCSI and SATA only); notices that a disk was attached or has grown count as well.";
    let mut family = out.family("disk_io_errors_total", Kind::Counter, help);
    for (device, errors) in &counted.io_errors {
        family.series(&labels(&[("device", device)]), *errors);
    }
    let help = "Errors that the filesystem has recorded itself (ext4, btrfs).";
    let mut family = out.family("filesystem_errors_total", Kind::Counter, help);
    let errors: BTreeMap<&str, u64> =
        counted.filesystem_errors.iter().map(|(n, errors)| (n.as_str(), *errors)).collect();
    for (labels, one) in filesystems {
        if let Some(errors) = errors.get(one.mount.number.as_str()).or_else(|| errors.get(one.mount.source.as_str())) {
            family.series(labels, *errors);
        }
    }
    if let Some(kills) = counted.oom_kills {
        let help = "Processes that the kernel killed for want of memory since boot.";
        out.family("oom_kills_total", Kind::Counter, help).series("", kills);
    }
    out.gauge("reboot_required", "1 when an installed package asks for a reboot.", counted.reboot_required);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Form;
    use bowline_ports::Hidden;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn mount_points_that_are_not_utf_8_have_series_of_their_own() {
        let hidden = |at: &[u8]| Hidden { mount_point: OsStr::from_bytes(at).into(), bytes: 4 };
        let survey = Survey { hidden: vec![hidden(b"/mnt/\xff"), hidden(b"/mnt/\xfe")], ..Survey::default() };
        let mut out = Exposition::with_capacity(Form::Text, 0);
        unseen(&mut out, &[], &survey);
        let text = out.into_text();
        let series: Vec<_> = text.lines().filter(|line| line.starts_with("bowline_mount_hidden_bytes{")).collect();
        let of = |at: &str| format!(r#"bowline_mount_hidden_bytes{{mountpoint="/mnt/\\{at}"}} 4"#);
        assert_eq!(series, [of("xff"), of("xfe")]);
    }
}
