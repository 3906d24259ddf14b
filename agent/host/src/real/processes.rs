//! The processes of a machine, and the files that they have open, out of `/proc`.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// The folders of all processes.
pub(crate) fn processes(proc: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter(|one| one.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)).map(|one| one.path())
}

/// What a process has open, each a link in its folder; nothing of one that has ended.
pub(crate) fn descriptors(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|fd| fd.path())
}

/// The files that processes have open, each as often as it is.
pub(crate) fn open_files(proc: &Path) -> impl Iterator<Item = Metadata> {
    processes(proc).flat_map(|process| descriptors(&process)).filter_map(|fd| fs::metadata(fd).ok())
}
