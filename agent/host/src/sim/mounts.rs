//! Mounts in the simulation, and disks that come and go beneath them. What is mounted is a unit, whoever mounted it.

use super::state::{Content, Disk, Disorder, Held, State};
use super::systemd::setting;
use bowline_ports::text::shell;
use bowline_ports::{ErrorKind, GoneDisk, Mount, PortError, UNITS};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// The name of a mount point's unit, as `systemd-escape --path` has it for the letters that are used here.
pub(super) fn unit_of(at: &Path) -> String {
    let text = at.display().to_string();
    format!("{}.mount", text.trim_matches('/').replace('-', "\\x2d").replace('/', "-"))
}

/// The mount point of a unit.
pub(super) fn place_of(unit: &str) -> Option<PathBuf> {
    let path = unit.strip_suffix(".mount")?.replace('-', "/").replace("\\x2d", "-");
    Some(Path::new("/").join(path))
}

impl State {
    /// A path without links in it. As many are followed as the kernel follows.
    pub(super) fn real_path(&self, path: &Path) -> Option<PathBuf> {
        let leads = |at: &Path| match self.disks.iter().find(|disk| disk.device.links.iter().any(|link| link == at)) {
            Some(disk) => Some(disk.device.path.clone()),
            None => self.files.get(at)?.text().strip_prefix("-> ").map(PathBuf::from),
        };
        let mut real = path.to_path_buf();
        for _ in 0..40 {
            let link = real.ancestors().find_map(|at| Some((at.to_path_buf(), leads(at)?)));
            let Some((at, target)) = link else { return self.meta(&real).map(|_| real) };
            let below = real.strip_prefix(&at).map(Path::to_path_buf).unwrap_or_default();
            real = at.parent().unwrap_or(&at).join(target);
            // Without an empty end, which would be a slash.
            real.extend(below.iter());
        }
        None
    }

    /// What mounts a unit's filesystem: whatever is there already is its.
    pub(super) fn start_mount(&mut self, name: &str, text: &str) -> Result<(), PortError> {
        let at = PathBuf::from(setting(text, "Where").unwrap_or_default());
        let Some(disk) = self.disk_of(text) else {
            let what = setting(text, "What").unwrap_or_default();
            return Err(PortError::new(ErrorKind::Timeout, format!("{what} did not appear")));
        };
        let cause = match &disk.content {
            Content::Filesystem { name, .. } if Some(name) != setting(text, "Type").as_ref() => "wrong fs type",
            Content::Filesystem { .. } if disk.extent > disk.device.id.size => {
                "the device is smaller than its filesystem"
            }
            Content::Filesystem { name, uuid, .. }
                if name == "xfs" && self.is_mounted(uuid) || self.is_mounted_elsewhere(disk) =>
            {
                "wrong fs type, bad option, bad superblock" // as the kernel has it of a second one
            }
            Content::Filesystem { .. } => "",
            _ => "wrong fs type, bad superblock",
        };
        if !cause.is_empty() {
            let text =
                format!("{name} did not start: systemd says failed (exit-code): mount: {}: {cause}", at.display());
            let quoted = shell(name);
            let hint = format!("look with: systemctl status {quoted}; journalctl -u {quoted}");
            return Err(PortError::new(ErrorKind::Other, text).hint(hint));
        }
        let device = disk.device.path.clone();
        let by_bowline = text.starts_with("# Written by Bowline");
        let disorder = disk.disorder.is_some_and(|disorder| disorder != Disorder::Noted);
        let built_on = disk.device.root || !disk.device.holders.is_empty() || !disk.device.partitions.is_empty();
        if by_bowline && disorder && setting(text, "Type").as_deref() == Some("ext4") {
            self.violations.push(format!("what is in disorder is mounted at {}", at.display()));
        }
        if by_bowline && built_on {
            self.violations.push(format!("what others are built on is mounted at {}", at.display()));
        }
        if self.files.keys().any(|path| path.starts_with(&at)) {
            self.violations.push(format!("a mount at {} hides files", at.display()));
        }
        self.mount(&device, &at);
        Ok(())
    }

    /// A filesystem with this UUID is mounted.
    fn is_mounted(&self, uuid: &str) -> bool {
        self.disks.iter().any(|disk| disk.uuid() == Some(uuid) && !disk.device.mounted_at.is_empty())
    }

    /// What a mount unit mounts. Of several with one UUID, udev's link leads to the one that came last.
    fn disk_of(&self, text: &str) -> Option<&Disk> {
        let what = setting(text, "What").unwrap_or_default();
        let uuid = what.strip_prefix("/dev/disk/by-uuid/");
        self.disks.iter().rfind(|disk| match (&disk.content, uuid) {
            (Content::Filesystem { uuid: there, .. }, Some(uuid)) => there == uuid,
            _ => disk.device.path == Path::new(&what),
        })
    }

    /// The unit that a mount unit requires: whether other disks have the filesystem's UUID, and whether it says that it has met
    /// errors; or Bowline has looked, which it says for one mount.
    pub(super) fn checked(&mut self, name: &str, text: &str) -> Result<(), PortError> {
        let Some(check) = setting(text, "Requires") else { return Ok(()) };
        let failed = || PortError::new(ErrorKind::Other, format!("{name} did not start: dependency {check} failed"));
        let script = self.loaded.get(&Path::new(UNITS).join(&check)).ok_or_else(failed)?;
        let mark = script.split_whitespace().find(|word| word.starts_with("</run/")).unwrap_or_default();
        let looked = self.files.remove(Path::new(mark.trim_start_matches('<')));
        let Some(disk) = self.disk_of(text) else { return Ok(()) };
        let meant = looked.is_some_and(|file| {
            let text = file.text();
            let (at, path) = text.trim().split_once(' ').unwrap_or_default();
            let age = at.parse().ok().and_then(|at| self.uptime().checked_sub(at));
            age.is_some_and(|age| age < 120) && Path::new(path) == disk.device.path
        });
        let alone =
            self.disks.iter().filter(|other| other.uuid().is_some_and(|uuid| disk.uuid() == Some(uuid))).count() < 2;
        if meant || (alone && disk.disorder.is_none()) {
            return Ok(());
        }
        Err(failed())
    }

    pub(super) fn mount(&mut self, device: &Path, at: &Path) {
        let Some(disk) = self.disks.iter_mut().find(|d| d.device.path == device) else { return };
        disk.device.mounted_at.push(at.to_path_buf());
        let fstype = match &mut disk.content {
            Content::Filesystem { name, precious, .. } => {
                *precious = true; // from now on somebody may store something
                name.clone()
            }
            _ => "ext4".into(),
        };
        let mount = Mount {
            target: at.to_path_buf(),
            source: device.display().to_string(),
            number: disk.device.number.clone(),
            fstype,
            root: "/".into(),
            read_only: false,
            errors: u64::from(disk.disorder == Some(Disorder::Noted)),
            by_user: false,
        };
        match mount.fstype.as_str() {
            // That is another unit, which waits for somebody to go there.
            "autofs" => self.mounts.push(mount),
            _ => self.came_up(mount),
        }
    }

    /// Mounts a directory of something mounted at another place as well.
    pub(super) fn bind(&mut self, from: &Path, at: &Path) {
        let fits = |m: &&Mount| from.starts_with(&m.target);
        let Some(mount) = self.mounts.iter().filter(fits).max_by_key(|m| m.target.components().count()).cloned() else {
            return;
        };
        if let Some(disk) = self.disks.iter_mut().find(|d| d.device.number == mount.number) {
            disk.device.mounted_at.push(at.to_path_buf());
        }
        let below = from.strip_prefix(&mount.target).unwrap_or(from);
        self.came_up(Mount { target: at.to_path_buf(), root: mount.root.join(below), ..mount });
    }

    /// What lies on a disk that is gone, while its mount stands, answers nothing.
    pub(super) fn answers(&self, path: &Path) -> Result<(), PortError> {
        let around = self.mounts.iter().filter(|mount| path.starts_with(&mount.target));
        let mount = around.max_by_key(|mount| mount.target.components().count());
        let there = |mount: &Mount| self.disks.iter().any(|disk| disk.device.number == mount.number);
        match mount.filter(|mount| mount.target != Path::new("/") && mount.source.starts_with("/dev/") && !there(mount))
        {
            Some(_) => {
                Err(PortError::io(format_args!("looking at {}", path.display()), &std::io::Error::from_raw_os_error(5)))
            }
            None => Ok(()),
        }
    }

    /// A pod mounts for itself what is mounted at a place.
    pub(super) fn hold(&mut self, pod: &str, at: &Path) {
        let Some(mount) = self.mounts.iter().rfind(|mount| mount.target == at).cloned() else { return };
        let disk = self.disks.iter().find(|disk| disk.device.number == mount.number);
        let uuid = disk.and_then(Disk::uuid).map(str::to_owned);
        self.held.push(Held { pod: pod.to_owned(), mount, uuid });
    }

    /// What pods have of disks that are gone.
    pub(super) fn gone_disks(&self) -> Vec<GoneDisk> {
        let mut gone = Vec::<GoneDisk>::new();
        for Held { pod, mount, .. } in &self.held {
            if self.disks.iter().any(|disk| disk.device.number == mount.number) {
                continue;
            }
            match gone.iter_mut().find(|one| one.source == mount.source) {
                Some(one) => one.pods.push(pod.clone()),
                None => {
                    let (source, fstype) = (mount.source.clone(), mount.fstype.clone());
                    gone.push(GoneDisk { source, fstype, pods: vec![pod.clone()] });
                }
            }
        }
        gone
    }

    /// XFS mounts no UUID twice: that of a copy, or of what a pod has on a disk that is gone.
    pub(super) fn is_mounted_elsewhere(&self, disk: &Disk) -> bool {
        let held = |held: &Held| held.uuid.as_deref() == disk.uuid() && held.mount.number != disk.device.number;
        let copy = |other: &Disk| {
            other.device.path != disk.device.path && other.uuid() == disk.uuid() && !other.device.mounted_at.is_empty()
        };
        matches!(&disk.content, Content::Filesystem { name, .. } if name == "xfs")
            && (self.held.iter().any(held) || self.disks.iter().any(copy))
    }

    fn came_up(&mut self, mount: Mount) {
        let unit = self.state_of(&unit_of(&mount.target));
        (unit.active, unit.since, unit.failed) = (true, Instant::now(), None);
        self.mounts.push(mount);
    }

    /// What is mounted on what is mounted there, the deepest last.
    pub(super) fn beneath(&self, at: &Path) -> impl DoubleEndedIterator<Item = PathBuf> + use<> {
        let mut all: Vec<_> =
            self.mounts.iter().map(|m| &m.target).filter(|one| *one != at && one.starts_with(at)).cloned().collect();
        all.sort();
        all.into_iter()
    }

    /// Nothing is mounted there any more. systemd unmounts in two steps; a person's `umount` it sees as one.
    pub(super) fn unmounted(&mut self, at: &Path, by_systemd: bool) {
        self.mounts.retain(|mount| mount.target != at);
        for disk in &mut self.disks {
            disk.device.mounted_at.retain(|there| there != at);
        }
        let unit = self.state_of(&unit_of(at));
        if std::mem::take(&mut unit.active) {
            (unit.ended, unit.in_steps) = (Some(Instant::now()), by_systemd);
        }
    }

    /// Takes a disk out: systemd stops what needs its mounts, then unmounts. What somebody uses stays in the kernel's table,
    /// with nothing behind it.
    pub(super) fn detach(&mut self, device: &Path) {
        let Some(index) = self.disks.iter().position(|d| d.device.path == device) else { return };
        let mut disk = self.disks.remove(index);
        self.lost(&disk.home);
        for at in std::mem::take(&mut disk.device.mounted_at) {
            let gate = format!("RequiresMountsFor={}", at.display());
            let gated = |(path, text): (&PathBuf, &String)| {
                let folder = path.parent()?.strip_prefix(UNITS).ok()?.to_string_lossy().into_owned();
                text.lines().any(|line| line == gate).then(|| folder.trim_end_matches(".d").to_owned())
            };
            for service in self.loaded.iter().filter_map(gated).collect::<Vec<_>>() {
                self.stop(&service);
            }
            // Parents go after their children.
            for one in self.beneath(&at).rev().chain([at.clone()]) {
                if self.in_use.as_ref() == Some(&one) {
                    break;
                }
                self.unmounted(&one, true);
            }
        }
        self.away.push(disk);
    }

    /// Puts a disk back that was taken out, with what it holds, under this name. A name whose old disk is still mounted the
    /// kernel does not give anew: then it is the next that is free.
    pub(super) fn put_back(&mut self, home: &Path, name: &Path) {
        let Some(index) = self.away.iter().position(|disk| disk.home == home) else { return };
        let taken = |state: &Self, path: &Path| {
            let number = number_of(path);
            let mut mounts = state.mounts.iter().chain(state.held.iter().map(|held| &held.mount));
            state.disks.iter().any(|disk| disk.device.path == path) || mounts.any(|mount| mount.number == number)
        };
        let names = ('b'..='z').map(|letter| PathBuf::from(format!("/dev/sd{letter}")));
        let Some(path) = std::iter::once(name.to_path_buf()).chain(names).find(|path| !taken(self, path)) else {
            return;
        };
        let mut disk = self.away.remove(index);
        (disk.device.number, disk.device.path) = (number_of(&path), path);
        if let Content::Filesystem { uuid, .. } = &disk.content {
            let unit = format!("dev-disk-by\\x2duuid-{}.device", uuid.replace('-', "\\x2d"));
            self.came.insert(unit, Instant::now());
        }
        self.disks.push(disk);
    }
}

/// `major:minor` of a disk, which the kernel makes from its name.
pub(super) fn number_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.strip_prefix("sd").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => format!("8:{}", 16 * u32::from(letter - b'a')),
        _ => format!("259:{}", name.bytes().fold(0, |sum: u32, byte| (sum * 31 + u32::from(byte)) % 1_000_003)),
    }
}
