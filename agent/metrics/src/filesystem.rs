//! The families of filesystems: seven gauges a mount, written directly.

use crate::FilesystemSample;
use crate::exposition::{Exposition, Kind, labels};
use bowline_ports::{Mount, Space, path_text};

/// A family with a value from `statvfs`.
struct Column {
    name: &'static str,
    help: &'static str,
    value: fn(&Space) -> Option<u64>,
}

const COLUMNS: [Column; 5] = [
    Column { name: "filesystem_size_bytes", help: "Size of the filesystem.", value: |s| Some(s.size) },
    Column {
        name: "filesystem_free_bytes",
        help: "Free bytes, those reserved for root included.",
        value: |s| Some(s.free),
    },
    Column {
        name: "filesystem_available_bytes",
        help: "Bytes that an ordinary user may still write.",
        value: |s| Some(s.available),
    },
    Column {
        name: "filesystem_inodes",
        help: "Inodes in all; absent where their number is not fixed.",
        value: |s| (s.inodes > 0).then_some(s.inodes),
    },
    Column {
        name: "filesystem_inodes_free",
        help: "Free inodes; absent where their number is not fixed.",
        value: |s| (s.inodes > 0).then_some(s.inodes_free),
    },
];

/// A filesystem with its labels: escaped once, used by a dozen families.
pub(crate) type Row<'a> = (String, &'a FilesystemSample);

pub(crate) fn rows(filesystems: &[FilesystemSample]) -> Vec<Row<'_>> {
    filesystems.iter().map(|one| (labelled(&one.mount), one)).collect()
}

pub(crate) fn families(out: &mut Exposition, rows: &[Row<'_>]) {
    for column in &COLUMNS {
        let mut family = out.family(column.name, Kind::Gauge, column.help);
        for (labels, f) in rows {
            if let Some(value) = f.space.as_ref().and_then(column.value) {
                family.series(labels, value);
            }
        }
    }
    let mut family = out.family("filesystem_readonly", Kind::Gauge, "1 when it is mounted read-only.");
    for (labels, f) in rows {
        family.series(labels, f.mount.read_only);
    }
    let help = "1 when it could not be measured, or did not answer in time.";
    let mut family = out.family("filesystem_error", Kind::Gauge, help);
    for (labels, f) in rows {
        family.series(labels, f.space.is_none());
    }
}

/// The labels of a filesystem.
fn labelled(mount: &Mount) -> String {
    let (at, device) = (path_text(&mount.target), mount.shown_source());
    labels(&[("mountpoint", &at), ("device", &device), ("fstype", &mount.fstype)])
}
