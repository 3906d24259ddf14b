//! Files and directories: bounded reads, atomic and durable writes.

use bowline_ports::text::shell;
use bowline_ports::{ErrorKind, File, FileKind, Meta, PortError};
use nix::fcntl::OFlag;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const LARGEST: u64 = 4 << 20;

/// `major:minor` of a device number.
pub(crate) fn number(dev: u64) -> String {
    format!("{}:{}", nix::sys::stat::major(dev), nix::sys::stat::minor(dev))
}

/// Nothing stands there: neither the file nor the directory that would hold it.
fn absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// A whole regular file of at most 4 MiB.
pub(crate) fn read(path: &Path) -> Result<Option<File>, PortError> {
    let what = || format!("reading {}", path.display());
    // Non-blocking: a FIFO would keep the reader waiting for a writer.
    let opened = fs::File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(PortError::io(what(), &error)),
    };
    let meta = file.metadata().map_err(|e| PortError::io(what(), &e))?;
    if !meta.is_file() {
        return Err(PortError::new(ErrorKind::Invalid, format!("{}: not a regular file", path.display())));
    }
    // With room for all of it and one byte more: a buffer that grows from nothing takes a handful of reads.
    let mut content = Vec::with_capacity(usize::try_from(meta.len().min(LARGEST)).unwrap_or(0) + 1);
    file.take(LARGEST + 1).read_to_end(&mut content).map_err(|e| PortError::io(what(), &e))?;
    if content.len() as u64 > LARGEST {
        return Err(PortError::new(ErrorKind::Invalid, format!("{}: larger than 4 MiB", path.display())));
    }
    let modified = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
    Ok(Some(File { content, mode: meta.mode() & 0o7777, uid: meta.uid(), modified }))
}

/// What stands at a path.
pub(crate) fn meta(path: &Path) -> Result<Option<Meta>, PortError> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(PortError::io(format_args!("looking at {}", path.display()), &error)),
    };
    let kind = meta.file_type();
    let (kind, device) = if kind.is_block_device() {
        (FileKind::Block, meta.rdev())
    } else if kind.is_file() {
        (FileKind::File, meta.dev())
    } else if kind.is_dir() {
        (FileKind::Directory, meta.dev())
    } else {
        (FileKind::Other, meta.dev())
    };
    let (owner, mode) = ((meta.uid(), meta.gid()), meta.mode() & 0o7777);
    let immutable = if kind == FileKind::Directory { immutable(path) } else { None };
    Ok(Some(Meta { kind, mode, owner, size: meta.size(), device: number(device), immutable }))
}

/// A path without links in it.
pub(crate) fn real_path(path: &Path) -> Result<Option<PathBuf>, PortError> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(Some(real)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(PortError::io(format_args!("looking where {} leads", path.display()), &error)),
    }
}

/// Whether it has that flag, where its filesystem knows it (statx(2)).
fn immutable(path: &Path) -> Option<bool> {
    let seen = statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE).ok()?;
    let flag = StatxAttributes::IMMUTABLE;
    seen.stx_attributes_mask.contains(flag).then(|| seen.stx_attributes.contains(flag))
}

/// The names in a directory, sorted.
pub(crate) fn list(path: &Path) -> Result<Option<Vec<String>>, PortError> {
    let what = || format!("listing {}", path.display());
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(PortError::io(what(), &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| PortError::io(what(), &e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(Some(names))
}

/// Names and texts of the files whose names end so.
pub(crate) fn texts(path: &Path, (prefix, suffix): (&str, &str)) -> Result<Vec<(String, String)>, PortError> {
    let named = |name: &String| name.starts_with(prefix) && name.ends_with(suffix);
    let names = list(path)?.unwrap_or_default().into_iter().filter(named);
    let text = |name: String| read(&path.join(&name)).ok().flatten().map(|file| (name, file.text()));
    Ok(names.filter_map(text).collect())
}

/// Where a file is prepared before it takes its name.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.bowline-tmp"))
}

/// Makes a file that takes this much room, in the place of one that is there.
pub(crate) fn reserve(path: &Path, bytes: u64) -> Result<(), PortError> {
    let failed = |error: std::io::Error| {
        let failed = PortError::io(format_args!("keeping room with {}", path.display()), &error);
        match error.raw_os_error() {
            Some(nix::libc::EOPNOTSUPP) => failed.hint("this filesystem promises no room: pressure.reserve = \"off\""),
            _ => failed,
        }
    };
    // What stands in the way takes the room that this one needs.
    remove(path)?;
    let length = nix::libc::off_t::try_from(bytes).unwrap_or(nix::libc::off_t::MAX);
    let allocate =
        |made: &mut fs::File| Ok(nix::fcntl::fallocate(made, nix::fcntl::FallocateFlags::empty(), 0, length)?);
    replace(path, 0o600, allocate).map(drop).map_err(failed)
}

/// Writes a file atomically and durably; after an error the old content stands.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), PortError> {
    let what = || format!("writing {}", path.display());
    let directory = parent(path)?;
    make_directories(directory)?;
    let written = replace(path, mode, |file| file.write_all(content));
    written.map(drop).map_err(|error| explained(PortError::io(what(), &error), directory, content.len() as u64))
}

/// Makes a file beside the path, and gives it that name once it is filled and on the disk. After an error what had the name before
/// stands, and what was begun is gone.
pub(crate) fn replace(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut fs::File) -> std::io::Result<()>,
) -> std::io::Result<fs::File> {
    let temporary = temporary(path);
    // Half-made before a crash.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().read(true).write(true).create_new(true).mode(mode).open(&temporary)?;
    // Whatever the umask took away.
    let prepared = file.set_permissions(fs::Permissions::from_mode(mode)).and_then(|()| fill(&mut file));
    let renamed = prepared.and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = renamed {
        // The error that matters is the first one; what is left behind is replaced by the next attempt.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()?;
    Ok(file)
}

/// Removes a file durably.
pub(crate) fn remove(path: &Path) -> Result<(), PortError> {
    // What a crash left half made for it would stay for ever.
    let _ = fs::remove_file(temporary(path));
    match fs::remove_file(path) {
        Ok(()) => sync_directory(parent(path)?),
        Err(error) if absent(&error) => Ok(()),
        Err(error) => {
            Err(explained(PortError::io(format_args!("removing {}", path.display()), &error), parent(path)?, 0))
        }
    }
}

/// Sets the mode of a file, gives it another name and syncs the directories.
pub(crate) fn rename(from: &Path, to: &Path, mode: u32) -> Result<(), PortError> {
    let what = || format!("renaming {} to {}", from.display(), to.display());
    let directory = parent(to)?;
    make_directories(directory)?;
    let result = fs::File::open(from).and_then(|file| {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(from, to)
    });
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            return Err(PortError::new(ErrorKind::Invalid, format!("{}: not on the same filesystem", what())));
        }
        Err(error) => return Err(explained(PortError::io(what(), &error), directory, 0)),
    }
    sync_directory(directory)?;
    let source = parent(from)?;
    if source == directory { Ok(()) } else { sync_directory(source) }
}

/// Makes a symbolic link; one with the same target that stands already is fine.
pub(crate) fn link(target: &Path, path: &Path) -> Result<(), PortError> {
    let what = || format!("linking {} to {}", path.display(), target.display());
    let directory = parent(path)?;
    make_directories(directory)?;
    match std::os::unix::fs::symlink(target, path) {
        Ok(()) => sync_directory(directory),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => match fs::read_link(path) {
            Ok(there) if there == target => Ok(()),
            Ok(there) => Err(PortError::new(
                ErrorKind::Changed,
                format!("{}: a link to {} stands there already", what(), there.display()),
            )),
            Err(_) => Err(PortError::new(ErrorKind::Changed, format!("{}: something else stands there", what()))),
        },
        Err(error) => Err(explained(PortError::io(what(), &error), directory, 0)),
    }
}

/// Makes missing directories with mode 0755, whatever the umask, each synced into its parent.
pub(crate) fn make_directories(path: &Path) -> Result<(), PortError> {
    let what = || format!("making the directory {}", path.display());
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_directories(above)?;
    }
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(error) => return Err(explained(PortError::io(what(), &error), path, 0)),
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| PortError::io(what(), &e))?;
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => sync_directory(above),
        _ => Ok(()),
    }
}

/// Makes a rename or a removal in this directory survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> Result<(), PortError> {
    fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| PortError::io(format_args!("syncing the directory {}", path.display()), &e))
}

fn parent(path: &Path) -> Result<&Path, PortError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && path.file_name().is_some() => Ok(parent),
        _ => Err(PortError::new(ErrorKind::Invalid, format!("{}: not an absolute path of a file", path.display()))),
    }
}

/// Adds what a person can do to an error of a write.
fn explained(error: PortError, place: &Path, needed: u64) -> PortError {
    match error.kind {
        ErrorKind::NoSpace => error.hint(super::space::make_room(place, needed)),
        ErrorKind::Denied => error.hint(format!(
            "is the filesystem of {} mounted read-only? Look with: findmnt --target {}. If so, see `dmesg`: the kernel makes a \
             filesystem read-only when it or its disk is damaged; then it is checked first, the root's by a reboot with \
             `fsck.mode=force`. Only one that was mounted so on purpose: `mount -o remount,rw TARGET`, the TARGET of findmnt. \
             If not, `systemctl restart bowline` has the sandbox made anew",
            place.display(),
            shell(place)
        )),
        _ => error,
    }
}

/// One settings file. Without `Debug`: its text may have secrets in it.
pub struct SettingsFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
}

/// More than anybody writes; reading settings takes time by the square of their length.
const LARGEST_SETTINGS: u64 = 256 << 10;

/// The settings files of a directory (`*.toml`, no dotfiles), sorted by name; none where there is no directory.
pub fn read_settings_dir(directory: &Path) -> Result<Vec<SettingsFile>, PortError> {
    let mut files = Vec::new();
    // A path below a file has no metadata either, and that is no folder that may still come.
    let folder = match fs::metadata(directory) {
        Ok(meta) => meta.is_dir(),
        Err(error) => error.kind() != std::io::ErrorKind::NotADirectory,
    };
    if !folder {
        return Err(PortError::new(ErrorKind::Invalid, format!("{} is not a folder", directory.display()))
            .hint("settings are read from a folder of files NAME.toml; `bowline check FILE` checks a single file"));
    }
    for name in list(directory)?.unwrap_or_default() {
        let path = directory.join(&name);
        if !is_settings_file(&path) {
            continue;
        }
        match read_settings_file(&path)? {
            Some(file) => files.push(file),
            None if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) => {
                return Err(PortError::new(
                    ErrorKind::NotFound,
                    format!("{} is a link to what does not exist", path.display()),
                )
                .hint("correct the link, or remove it"));
            }
            // Removed since the listing: as if it had never been there.
            None => {}
        }
    }
    Ok(files)
}

/// Whether a file in the folder of the settings is one of them, by its name.
pub(crate) fn is_settings_file(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| !name.starts_with('.') && name.ends_with(".toml"))
}

/// One settings file, wherever it is; `None` where nothing is.
pub fn read_settings_file(path: &Path) -> Result<Option<SettingsFile>, PortError> {
    let Some(file) = read(path)? else { return Ok(None) };
    if file.content.len() as u64 > LARGEST_SETTINGS {
        return Err(PortError::new(ErrorKind::Invalid, format!("{}: larger than 256 KiB", path.display()))
            .hint("settings are a few lines of text; is it the right file?"));
    }
    let text = String::from_utf8(file.content).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        PortError::new(ErrorKind::Invalid, format!("{}: not UTF-8 at byte {at}", path.display()))
            .hint("save the file as UTF-8 text")
    })?;
    Ok(Some(SettingsFile { path: path.to_path_buf(), text, mode: file.mode, uid: file.uid }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory is opened to be synced, and to be listed: else nobody opens it.
    #[test]
    fn what_is_removed_is_gone_from_the_disk_as_well() {
        use notify::event::AccessKind;
        use notify::{EventKind, RecursiveMode, Watcher};

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("record");
        fs::write(&file, "that it was begun").unwrap();
        fs::write(temporary(&file), "that").unwrap();
        let (sender, events) = std::sync::mpsc::channel();
        let mut watcher = notify::recommended_watcher(move |event| _ = sender.send(event)).unwrap();
        watcher.watch(folder.path(), RecursiveMode::NonRecursive).unwrap();
        remove(&file).unwrap();
        assert!(!temporary(&file).exists());
        let mut removed = false;
        loop {
            let event = events.recv_timeout(std::time::Duration::from_secs(10)).unwrap().unwrap();
            removed |= matches!(event.kind, EventKind::Remove(_)) && event.paths == [file.clone()];
            if removed && matches!(event.kind, EventKind::Access(AccessKind::Open(_))) && event.paths == [folder.path()]
            {
                break;
            }
        }
    }

    #[test]
    fn texts_of_what_is_a_file_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.mount", "two"), ("a.mount", "one"), ("a.service", "no")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/dev/null", folder.path().join("masked.mount")).unwrap();
        fs::create_dir(folder.path().join("folder.mount")).unwrap();
        let found = texts(folder.path(), ("", ".mount")).unwrap();
        let found: Vec<_> = found.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(found, [("a.mount", "one"), ("b.mount", "two")]);
        assert_eq!(texts(folder.path(), ("b", ".mount")).unwrap(), [("b.mount".to_owned(), "two".to_owned())]);
        assert_eq!(texts(&folder.path().join("none"), ("", ".mount")).unwrap(), []);
    }

    /// Who remounts a damaged filesystem writes on with what is damaged.
    #[test]
    fn a_filesystem_that_cannot_be_written_is_checked_before_it_is_remounted() {
        let hint = explained(PortError::new(ErrorKind::Denied, "x"), Path::new("/srv"), 0).hint.unwrap();
        assert!(hint.find("`dmesg`").unwrap() < hint.find("on purpose: `mount -o remount,rw").unwrap(), "{hint}");
    }
}
