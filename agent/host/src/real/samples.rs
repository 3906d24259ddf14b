//! The file of samples: made once in its full length, then written in place, so that a full disk does not keep anything from
//! being remembered. What is in it is not this module's business.

use super::block::filesystem_device;
use super::blocking::{DURABLE, QUICK, Silent, blocking};
use super::{files, space};
use bowline_ports::{Mount, PortError};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is left to others beside it.
const MARGIN: u64 = 16 << 20;

/// Where the file is, or is to be. Nobody is sent there while an earlier one still waits: what was to be written first would
/// come last.
#[derive(Debug, Clone)]
pub struct SamplePlace {
    path: PathBuf,
    silent: Silent,
}

/// The file. Clones are the same file.
#[derive(Debug, Clone)]
pub struct SampleFile {
    place: SamplePlace,
    /// Open for writing; `None` where its filesystem was read-only: whoever writes tries again.
    file: Option<Arc<File>>,
}

impl SamplePlace {
    /// At this path.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), silent: Silent::default() }
    }

    /// Opens the file and reads it, also on a read-only filesystem; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be opened or read, or does not answer: nothing is said of what is in it.
    pub async fn open(&self) -> Result<Option<(SampleFile, Vec<u8>)>, PortError> {
        let opened = self.silent.look(&self.path, |path| {
            let failed =
                |what: &str, error: &std::io::Error| PortError::io(format_args!("{what} {}", path.display()), error);
            let (file, writable) = match readable(path, writable(path)) {
                Ok(opened) => opened,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed("opening", &error)),
            };
            let length = file.metadata().map_err(|error| failed("reading", &error))?.size();
            let mut content = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut content, 0).map_err(|error| failed("reading", &error))?;
            Ok(Some((writable.then_some(file), content)))
        });
        Ok(opened.await?.map(|(file, content)| (self.held(file), content)))
    }

    /// Makes the file with this content, in the place of one that is there. All of it takes room from now on.
    ///
    /// # Errors
    /// There is no room for it, or it cannot be written.
    pub async fn make(&self, content: Vec<u8>) -> Result<SampleFile, PortError> {
        let made = self.silent.within(DURABLE, "making", &self.path, move |path| {
            let failed = |error: std::io::Error| PortError::io(format_args!("making {}", path.display()), &error);
            room_for(path, content.len() as u64).map_err(failed)?;
            let fill = |file: &mut File| {
                // Where that fails, a full disk keeps some from being remembered, and nothing else.
                let _ = written_in_place(file);
                file.write_all_at(&content, 0)
            };
            files::replace(path, 0o600, fill).map_err(failed)
        });
        Ok(self.held(Some(made.await?)))
    }

    fn held(&self, file: Option<File>) -> SampleFile {
        SampleFile { place: self.clone(), file: file.map(Arc::new) }
    }
}

/// Has a btrfs write to this file in place, instead of to new room each time, as it does of itself: only as long as the file is
/// empty can that be chosen.
fn written_in_place(file: &File) -> std::io::Result<()> {
    if !space::is_btrfs(file)? {
        return Ok(());
    }
    Ok(ioctl_setflags(file, ioctl_getflags(file)? | IFlags::NOCOW)?)
}

/// Whether there is room for it and some more. Where there is not, to try would fill the disk to its last byte, once a minute.
fn room_for(path: &Path, length: u64) -> std::io::Result<()> {
    let free = space::ask(path.parent().unwrap_or(path))?.available;
    // What is left of an earlier try will be free again.
    let part = std::fs::metadata(files::temporary(path)).map_or(0, |meta| meta.size());
    match fits(free.saturating_add(part), length) {
        true => Ok(()),
        false => Err(std::io::Error::from_raw_os_error(nix::libc::ENOSPC)),
    }
}

fn fits(free: u64, length: u64) -> bool {
    free >= length.saturating_add(MARGIN)
}

fn writable(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// What was opened for writing, or where only that is refused, by a read-only filesystem, the same for reading; and whether it
/// can be written.
fn readable(path: &Path, opened: std::io::Result<File>) -> std::io::Result<(File, bool)> {
    match opened {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok((File::open(path)?, false)),
        opened => Ok((opened?, true)),
    }
}

impl SampleFile {
    /// Writes pieces at their places, in their order, and has the disk keep them.
    ///
    /// # Errors
    /// The disk takes no more, fails, or does not answer.
    pub async fn write(&self, pieces: Vec<(u64, Vec<u8>)>) -> Result<(), PortError> {
        let file = self.file.clone();
        let written = self.place.silent.within(DURABLE, "writing", &self.place.path, move |path| {
            let write = |file: &File| {
                pieces.iter().try_for_each(|(at, bytes)| file.write_all_at(bytes, *at))?;
                file.sync_data()
            };
            let kept = match &file {
                Some(file) => write(file),
                None => writable(path).and_then(|file| write(&file)),
            };
            kept.map_err(|error| PortError::io(format_args!("writing {}", path.display()), &error))
        });
        written.await
    }
}

/// What is in the file, without touching it; `None` where there is none.
///
/// # Errors
/// It cannot be read, or does not answer.
pub async fn read_samples(path: &Path) -> Result<Option<Vec<u8>>, PortError> {
    let path = path.to_path_buf();
    blocking(format!("reading {}", path.display()), QUICK, move || match std::fs::read(&path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PortError::io(format_args!("reading {}", path.display()), &error)),
    })
    .await
}

/// UUIDs of the filesystems on block devices, by the device's number: what udev knows.
#[derive(Debug, Default)]
pub struct FilesystemUuids(BTreeMap<String, String>);

impl FilesystemUuids {
    /// As they are now.
    pub fn read() -> Self {
        let links = std::fs::read_dir("/dev/disk/by-uuid").into_iter().flatten().flatten();
        let known = links.filter_map(|link| {
            let device = std::fs::metadata(link.path()).ok()?.rdev();
            Some((files::number(device), link.file_name().to_str()?.to_owned()))
        });
        Self(known.chain(Self::of_btrfs(Path::new("/sys/fs/btrfs"))).collect())
    }

    /// A btrfs of several disks has one link, and any of them may be the source of its mount.
    fn of_btrfs(all: &Path) -> Vec<(String, String)> {
        let names = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter_map(|one| one.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        let mut members = Vec::new();
        for uuid in names(all) {
            let devices = all.join(&uuid).join("devices");
            let numbers = names(&devices).into_iter().filter_map(|one| {
                std::fs::read_to_string(devices.join(one).join("dev")).ok().map(|number| number.trim().to_owned())
            });
            members.extend(numbers.map(|number| (number, uuid.clone())));
        }
        members
    }

    /// That of the filesystem that is mounted.
    pub fn of(&self, mount: &Mount) -> Option<&str> {
        self.0.get(&filesystem_device(mount, Path::new("/dev"))).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::loops::{Loop, Place, ran};
    use super::*;

    fn mount(number: &str, source: &str) -> Mount {
        Mount {
            target: "/mnt".into(),
            source: source.into(),
            number: number.into(),
            fstype: "btrfs".into(),
            root: "/".into(),
            read_only: false,
            errors: 0,
            by_user: false,
        }
    }

    #[test]
    fn a_filesystem_whose_number_is_made_up_is_known_by_its_source() {
        let uuids = FilesystemUuids([("8:16".to_owned(), "u1".to_owned())].into());
        assert_eq!(uuids.of(&mount("8:16", "/dev/anything")), Some("u1"));
        for (number, source) in [("0:52", "tmpfs"), ("0:52", "/dev/null"), ("0:52", "/dev/bowline-nothing")] {
            assert_eq!(uuids.of(&mount(number, source)), None, "{source}");
        }
        // Of this machine's disks, where it has one.
        let disks = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
        for name in disks.filter_map(|disk| disk.file_name().into_string().ok()) {
            let source = format!("/dev/{name}");
            let number = std::fs::read_to_string(format!("/sys/class/block/{name}/dev")).unwrap_or_default();
            if Path::new(&source).exists() {
                let uuids = FilesystemUuids([(number.trim().to_owned(), "u2".to_owned())].into());
                assert_eq!(uuids.of(&mount("0:37", &source)), Some("u2"), "{source}");
                // A user's, who wrote that there.
                let by_fuse = Mount { fstype: "fuse.sshfs".into(), ..mount("0:37", &source) };
                assert_eq!(uuids.of(&by_fuse), None, "{source}");
            }
        }
    }

    #[test]
    fn all_disks_of_a_btrfs_have_its_uuid() {
        let all = tempfile::tempdir().unwrap();
        for (name, number) in [("sdb", "8:16\n"), ("sdc", "8:32\n")] {
            let device = all.path().join("u1/devices").join(name);
            std::fs::create_dir_all(&device).unwrap();
            std::fs::write(device.join("dev"), number).unwrap();
        }
        std::fs::create_dir(all.path().join("features")).unwrap();
        let mut members = FilesystemUuids::of_btrfs(all.path());
        members.sort_unstable();
        assert_eq!(members, [("8:16", "u1"), ("8:32", "u1")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[tokio::test]
    async fn made_once_and_written_in_place() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("samples");
        let samples = SamplePlace::new(&path);
        assert!(samples.open().await.unwrap().is_none());
        let file = samples.make(vec![7; 100_000]).await.unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.size()), (0o600, 100_000));
        assert!(meta.blocks() * 512 >= 100_000, "its room is taken");
        file.write(vec![(10, vec![1, 2]), (99_999, vec![3])]).await.unwrap();
        let (_, content) = samples.open().await.unwrap().unwrap();
        assert_eq!((&content[9..13], content[99_999], content.len()), (&[7, 1, 2, 7][..], 3, 100_000));
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), meta.ino());
        // In the place of another.
        samples.make(vec![0; 10]).await.unwrap();
        assert_eq!(samples.open().await.unwrap().unwrap().1, vec![0; 10]);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
        let nowhere = place.path().join("no/such/folder");
        assert!(SamplePlace::new(&nowhere).make(vec![]).await.unwrap_err().message.contains("no/such/folder"));
    }

    /// It writes to new room, of which there is none.
    #[tokio::test]
    async fn on_a_full_btrfs_it_is_written_in_place() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let Some(disk) = Loop::over(&folder.path().join("image"), 128 << 20) else { return };
        ran("mkfs.btrfs", &["-q", disk.shown()]).unwrap();
        // The kernel may have no btrfs.
        let Some(_mounted) = Place::new(&[disk.shown()], &root) else { return };
        let written = async {
            let made = SamplePlace::new(&root.join("samples")).make(vec![7; 1 << 20]).await?;
            let mut others = File::create(root.join("others")).unwrap();
            while std::io::Write::write_all(&mut others, &[1; 1 << 20]).is_ok() {}
            let _ = others.sync_all();
            for round in 0..4 {
                made.write((0..16).map(|piece| (piece << 16, vec![round; 1 << 15])).collect()).await?;
            }
            Ok::<_, PortError>(())
        };
        written.await.unwrap();
    }

    #[tokio::test]
    async fn the_last_of_a_disk_is_left_to_others() {
        assert!(fits(MARGIN + 9, 9) && !fits(MARGIN + 8, 9) && !fits(0, 0));
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("samples");
        let all = space::ask(place.path()).unwrap().available;
        assert_eq!(room_for(&path, all).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "nothing was begun");
    }

    #[tokio::test]
    async fn on_a_read_only_filesystem_it_is_read_and_written_when_it_can_be() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("samples");
        std::fs::write(&path, "abc").unwrap();
        let refused = || Err(std::io::Error::from(ErrorKind::ReadOnlyFilesystem));
        let (mut file, can) = readable(&path, refused()).unwrap();
        assert_eq!((std::io::read_to_string(&mut file).unwrap().as_str(), can), ("abc", false));
        assert!(readable(&path, writable(&path)).unwrap().1);
        let other = readable(&path, Err(std::io::Error::from(ErrorKind::PermissionDenied))).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::PermissionDenied);
        // Read-only no more.
        SamplePlace::new(&path).held(None).write(vec![(1, vec![b'x'])]).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"axc");
    }
}
