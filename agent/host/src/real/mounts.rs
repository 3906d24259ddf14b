//! The mount table of PID 1: the sandbox of a service shows its own, in which most is read-only.

use super::blocking::Silent;
use super::ext4::{Errors, Superblock};
use bowline_ports::{Mount, PortError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// That of PID 1.
const TABLE: &str = "/proc/1/mountinfo";
/// Its own, where other processes are hidden.
const OWN_TABLE: &str = "/proc/self/mountinfo";
/// Options of a filesystem that cannot be written to.
const GAVE_UP: [&[u8]; 3] = [b"ro", b"emergency_ro", b"shutdown"];
/// That a filesystem has turned read-only by itself the table does not say: who reads it seldom reads it so often.
const SELDOM: Duration = Duration::from_secs(300);

/// Whether the mount table has changed, which it says itself (man 5 proc, `mountinfo`). To read it takes far
/// longer than to ask for that.
#[derive(Debug, Default)]
pub(crate) struct Changes(Option<File>);

impl Changes {
    /// Whether it has, since this was last asked; true at first. To be asked before the table is read: what changes in
    /// between has it read once more.
    pub(crate) fn any(&mut self) -> bool {
        let Some(table) = &self.0 else {
            self.0 = File::open(TABLE).or_else(|_| File::open(OWN_TABLE)).ok();
            return true;
        };
        let mut asked = [PollFd::new(table.as_fd(), PollFlags::POLLPRI)];
        poll(&mut asked, PollTimeout::ZERO).map_or(true, |ready| ready > 0)
    }

    /// It counts as changed when it is asked next.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

/// The mount table, for who looks at it again and again.
#[derive(Debug, Default)]
pub struct Table {
    changes: Changes,
    read: Option<Instant>,
}

impl Table {
    /// The mounts, where they may be others than at the last call.
    ///
    /// # Errors
    /// The table cannot be read; it is read again at the next call.
    pub fn news(&mut self) -> Result<Option<Vec<Mount>>, PortError> {
        if !self.changes.any() && self.read.is_some_and(|at| at.elapsed() < SELDOM) {
            return Ok(None);
        }
        self.read = None;
        let mounts = read()?;
        self.read = Some(Instant::now());
        Ok(Some(mounts))
    }
}

/// The mount table of PID 1, without what filesystems say of themselves.
pub(crate) fn read() -> Result<Vec<Mount>, PortError> {
    text().map(|(text, per_mount)| parse(&text, per_mount))
}

/// The mount table of PID 1, for who reads it again and again: a text that says the same is not taken apart once more.
#[derive(Debug, Default)]
pub(crate) struct Kept(RandomState, Mutex<(u64, Lines)>);

impl Kept {
    /// The mounts, as they stand now.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn read(&self, silent: &Silent) -> Result<Vec<Mount>, PortError> {
        let unknown = self.lines()?.1.count();
        for device in unknown {
            // Of one that does not answer it counts what the table says.
            if let Ok(superblock) = silent.look(&device, Superblock::read).await {
                self.locked().1.learn(&device, superblock);
            }
        }
        Ok(self.locked().1.look())
    }

    /// The mounts as the table has them, for who knows that no filesystem has met errors.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) fn table(&self) -> Result<Vec<Mount>, PortError> {
        Ok(self.lines()?.1.mounts.clone())
    }

    fn lines(&self) -> Result<MutexGuard<'_, (u64, Lines)>, PortError> {
        let (text, per_mount) = text()?;
        let says = self.0.hash_one((&text, per_mount));
        let mut kept = self.locked();
        if kept.0 != says {
            // Its files go before those that are opened now.
            kept.1 = Lines::default();
            *kept = (says, Lines::read(Path::new("/"), &text, per_mount));
        }
        Ok(kept)
    }

    fn locked(&self) -> MutexGuard<'_, (u64, Lines)> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of a table, and those of filesystems that count their errors.
#[derive(Debug, Default)]
struct Lines {
    mounts: Vec<Mount>,
    counting: Vec<Counting>,
}

#[derive(Debug)]
struct Counting {
    /// Its mounts: of one that is bound into pods there may be more than files that may be open.
    indices: Vec<usize>,
    errors: Errors,
    /// Whether it turns read-only at an error, where its options say it.
    turns: Option<bool>,
    /// Errors, when they were counted last.
    met: u64,
    /// Once it has met errors.
    superblock: Option<Superblock>,
}

impl Lines {
    fn read(root: &Path, text: &[u8], per_mount: bool) -> Self {
        let lines: Vec<_> = lines(text, per_mount).collect();
        let mut filesystems = BTreeMap::<&str, (Vec<usize>, &[u8])>::new();
        for (index, (mount, options)) in lines.iter().enumerate().filter(|(_, (mount, _))| mount.fstype == "ext4") {
            filesystems.entry(&mount.number).or_insert((Vec::new(), options)).0.push(index);
        }
        let counting = filesystems.into_iter().filter_map(|(number, (indices, options))| {
            let turns = options.split(|b| *b == b',').find_map(|option| option.strip_prefix(b"errors="));
            let turns = turns.map(|does| does == b"remount-ro");
            Some(Counting { indices, errors: Errors::of(root, number)?, turns, met: 0, superblock: None })
        });
        let counting = counting.collect();
        Self { mounts: lines.into_iter().map(|(mount, _)| mount).collect(), counting }
    }

    /// Counts their errors; gives the devices of those that have met some, and of which it is not known yet what their superblocks
    /// say. What was unmounted and mounted again meanwhile counts anew.
    fn count(&mut self) -> Vec<PathBuf> {
        let mut devices = Vec::new();
        for one in &mut self.counting {
            let count = one.errors.count().or_else(|| {
                one.superblock = None;
                one.errors.open_anew();
                one.errors.count()
            });
            one.met = count.unwrap_or_default();
            if one.met > 0 && one.superblock.is_none() && !devices.contains(&one.errors.device) {
                devices.push(one.errors.device.clone());
            }
        }
        devices
    }

    fn learn(&mut self, device: &Path, superblock: Superblock) {
        for one in self.counting.iter_mut().filter(|one| one.errors.device == device) {
            one.superblock = Some(superblock);
        }
    }

    /// The mounts, as they stood when their errors were counted.
    fn look(&self) -> Vec<Mount> {
        let mut mounts = self.mounts.clone();
        for one in self.counting.iter().filter(|one| one.met > 0) {
            let read_only = one.superblock.is_some_and(|says| one.errors.made_read_only(says, one.turns));
            for index in &one.indices {
                if let Some(mount) = mounts.get_mut(*index) {
                    mount.errors = one.met;
                    mount.read_only |= read_only;
                }
            }
        }
        mounts
    }
}

/// The table's text, and whether the options of a mount are true in it.
fn text() -> Result<(Vec<u8>, bool), PortError> {
    match whole(TABLE) {
        Ok(text) => Ok((text, true)),
        // Where other processes are hidden: the own table has the same mounts, since they propagate, but only the
        // filesystem's own options are true in it.
        Err(_) => match whole(OWN_TABLE) {
            Ok(text) => Ok((text, false)),
            Err(error) => Err(PortError::io("reading /proc/1/mountinfo", &error)),
        },
    }
}

/// A file of the kernel, which says of none how long it is: a buffer that grows from nothing takes ten reads in the place
/// of two.
fn whole(path: &str) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(32 * 1024);
    File::open(path)?.read_to_end(&mut text)?;
    Ok(text)
}

/// Reads `mountinfo` (man 5 proc); lines of another form are passed over.
pub(crate) fn parse(text: &[u8], per_mount: bool) -> Vec<Mount> {
    lines(text, per_mount).map(|(mount, _)| mount).collect()
}

/// The same with the options of each filesystem.
fn lines(text: &[u8], per_mount: bool) -> impl Iterator<Item = (Mount, &[u8])> {
    text.split(|b| *b == b'\n').filter_map(move |line| parse_line(line, per_mount))
}

fn parse_line(line: &[u8], per_mount: bool) -> Option<(Mount, &[u8])> {
    // Who mounts may name nothing as the source: then there are two spaces.
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [_, _, number, root, target, options, rest @ ..] = words.as_slice() else { return None };
    let separator = rest.iter().position(|w| *w == b"-")?;
    let [fstype, source, filesystem_options, ..] = rest.get(separator + 1..)? else { return None };
    let has = |options: &[u8], words: &[&[u8]]| options.split(|b| *b == b',').any(|o| words.contains(&o));
    let users = |option: &[u8]| option.strip_prefix(b"user_id=").is_some_and(|user| user != b"0");
    let mount = Mount {
        target: PathBuf::from(unescape(target)),
        source: unescape(source).to_string_lossy().into_owned(),
        number: String::from_utf8_lossy(number).into_owned(),
        fstype: String::from_utf8_lossy(fstype).into_owned(),
        root: PathBuf::from(unescape(root)),
        read_only: has(filesystem_options, &GAVE_UP) || (per_mount && has(options, &[b"ro"])),
        errors: 0,
        by_user: fstype.starts_with(b"fuse") && filesystem_options.split(|b| *b == b',').any(users),
    };
    Some((mount, *filesystem_options))
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
pub(crate) fn unescape(word: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', others @ ..]) => {
                plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = others;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::super::ext4::tests::machine;
    use super::*;

    const TABLE: &[u8] = b"\
29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
41 29 8:16 / /mnt/my\\040data\\134x rw,noatime shared:20 master:3 - xfs /dev/sdb rw,attr2
42 29 8:32 /sub /mnt/b ro,relatime - btrfs /dev/sdc rw,subvolid=5
43 29 8:48 / /mnt/c rw,relatime - ext4 /dev/sdd ro,errors=remount-ro
44 29 8:64 / /mnt/d rw,relatime - ext4 /dev/sde rw,errors=remount-ro,emergency_ro
45 29 8:80 / /mnt/e rw,relatime - ext4 /dev/sdf rw,shutdown
46 29 0:52 / /mnt/f rw,relatime shared:9 - tmpfs  rw,size=1024k
47 29 0:99 / /home/u/m rw,nosuid,nodev,relatime shared:30 - fuse.sshfs /dev/sdb rw,user_id=1000,group_id=0
48 29 0:98 / /mnt/g rw,relatime shared:31 - fuse.s3fs bucket rw,user_id=0,group_id=0,allow_other
49 29 8:96 / /mnt/h rw,relatime shared:32 - fuseblk /dev/sdg rw,user_id=0,group_id=0
50 29 0:97 / /mnt/i rw,relatime shared:33 - 9p share rw,user_id=1000
garbage
";

    #[test]
    fn escapes_optional_fields_and_read_only() {
        let table = parse(TABLE, true);
        assert_eq!(table.len(), 11);
        assert_eq!(table[1].target, Path::new("/mnt/my data\\x"));
        assert_eq!((table[1].fstype.as_str(), table[1].source.as_str()), ("xfs", "/dev/sdb"));
        assert_eq!(table[2].root, Path::new("/sub"));
        let read_only: Vec<_> = table.iter().map(|m| m.read_only).collect();
        assert_eq!(read_only[..7], [false, false, true, true, true, true, false]);
        assert_eq!((table[6].target.as_path(), table[6].source.as_str()), (Path::new("/mnt/f"), ""));
        assert_eq!(table[6].fstype, "tmpfs");
    }

    #[test]
    fn in_the_own_table_only_the_filesystems_options_count() {
        let read_only: Vec<_> = parse(TABLE, false).iter().map(|m| m.read_only).collect();
        assert_eq!(read_only[..7], [false, false, false, true, true, true, false]);
    }

    #[test]
    fn what_a_users_program_serves_is_theirs() {
        let table = parse(TABLE, true);
        let of_users: Vec<_> = table.iter().filter(|m| m.by_user).map(|m| m.target.as_path()).collect();
        assert_eq!(of_users, [Path::new("/home/u/m")]);
        let with_device: Vec<_> = table[6..].iter().filter(|m| m.has_device()).map(|m| m.target.as_path()).collect();
        assert_eq!(with_device, [Path::new("/mnt/h")], "a text is no device");
    }

    #[test]
    fn errors_that_made_a_filesystem_read_only_are_told_where_the_table_does_not() {
        for (options, read_only) in [("rw", false), ("rw,errors=remount-ro", true), ("rw,errors=continue", false)] {
            let root = machine(1001, "ext4_lookup", false);
            let table = format!(
                "29 1 8:17 / / rw - ext4 /dev/sdb1 {options}\n30 29 8:17 / /mnt/x rw - xfs /dev/sdb1 {options}\n"
            );
            let mut lines = Lines::read(root.path(), table.as_bytes(), true);
            let unknown = lines.count();
            let mounts = lines.look();
            assert_eq!((mounts[0].errors, mounts[0].read_only), (3, false), "its disk has not answered yet");
            for device in unknown {
                lines.learn(&device, Superblock::read(&device).unwrap());
            }
            assert!(lines.count().is_empty(), "it is asked once");
            let mounts = lines.look();
            assert_eq!((mounts[0].errors, mounts[0].read_only), (3, read_only), "{options}");
            assert_eq!((mounts[1].errors, mounts[1].read_only), (0, false), "no ext4");
            assert_eq!(parse(table.as_bytes(), true).iter().map(|m| m.errors).sum::<u64>(), 0);
        }
    }

    /// A thousand pods may each have a directory of one volume.
    #[test]
    fn a_filesystem_is_asked_once_however_often_it_is_bound() {
        let root = machine(1001, "ext4_lookup", false);
        let line = |n: usize| format!("{n} 29 8:17 /{n} /pods/{n} rw - ext4 /dev/sdb1 rw,errors=remount-ro\n");
        let table: String = (30..530).map(line).collect();
        let mut lines = Lines::read(root.path(), table.as_bytes(), true);
        assert_eq!(lines.counting.len(), 1);
        for device in lines.count() {
            lines.learn(&device, Superblock::read(&device).unwrap());
        }
        assert!(lines.look().iter().all(|mount| (mount.errors, mount.read_only) == (3, true)));
    }

    #[tokio::test]
    async fn what_is_kept_is_what_is_read() {
        let (kept, silent) = (Kept::default(), Silent::default());
        // Others may mount something in between.
        for _ in 0..100 {
            let [first, second] = [kept.read(&silent).await.unwrap(), kept.read(&silent).await.unwrap()];
            let bare = |mounts: Vec<Mount>| mounts.into_iter().map(|mount| mount.target).collect::<Vec<_>>();
            let now = bare(read().unwrap());
            if bare(first) == now && bare(second) == now {
                return;
            }
        }
        panic!("it is never the same");
    }

    #[test]
    fn this_machines_table_has_a_root_and_is_no_news_twice() {
        let mut table = Table::default();
        assert!(table.news().unwrap().unwrap().iter().any(|m| m.target == Path::new("/")));
        // Others may mount something in between.
        assert!((0..100).any(|_| table.news().unwrap().is_none()));
        table.read = Instant::now().checked_sub(SELDOM);
        assert!(table.news().unwrap().is_some(), "what it does not tell is read in the end");
    }
}
