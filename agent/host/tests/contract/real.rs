//! The real host on loop devices, and what only it can be asked.

mod alone;
mod care;
mod devices;
mod metadata;
mod systemd;

use crate::every_case;
use crate::suite::Fixture;
use bowline_host::real::RealHost;
use bowline_host::real::job::Launch;
use bowline_ports::{Change, Filesystem};
use devices::{Disk, Mounted, run};
use metadata::Service;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// All cases of this host.
const ALL: usize = CASES + alone::cases::CASES + care::cases::CASES + systemd::cases::CASES;
/// How many have ended, and of what this machine lacks how many of them only showed how that is told.
static ENDED: Mutex<(usize, BTreeMap<&str, usize>)> = Mutex::new((0, BTreeMap::new()));

/// This machine, with a directory and disks that go away with it. Each case has one.
struct Real {
    host: RealHost,
    directory: PathBuf,
    // Dropped before the disks.
    mounts: RefCell<Vec<Mounted>>,
    disks: RefCell<Vec<Disk>>,
    service: Service,
    /// What the case is about, and this machine lacks.
    lacks: Cell<Option<&'static str>>,
    // Dropped last: the loop devices' files lie in it.
    place: TempDir,
}

impl Real {
    fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the contract of the real host needs root: it makes loop devices");
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("work");
        std::fs::create_dir(&directory).unwrap();
        let launch = std::env::var_os("BOWLINE_CONTRACT_PROGRAM").map_or(Launch::Here, |p| Launch::Units(p.into()));
        let service = Service::nowhere_yet();
        let host = RealHost::with(&place.path().join("run"), launch).with_metadata_at(service.address);
        let (mounts, disks, lacks) = Default::default();
        Self { host, directory, mounts, disks, service, lacks, place }
    }

    /// Whether the machine has what a case needs; without it the case only shows how that is told.
    fn has(&self, what: &'static str, there: bool) -> bool {
        if !there {
            self.lacks.set(Some(what));
        }
        there
    }
}

impl Drop for Real {
    /// Mount points are unwritable, for whoever removes them too. The last case to end tells how many held.
    fn drop(&mut self) {
        self.mounts.borrow_mut().clear();
        std::process::Command::new("chattr").args(["-f", "-R", "-i"]).arg(self.place.path()).status().unwrap();
        let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        ended.0 += 1;
        if let Some(what) = self.lacks.get() {
            *ended.1.entry(what).or_default() += 1;
        }
        if ended.0 == ALL {
            let part = |(what, count): (&&str, &usize)| format!(", {count} only in part for want of {what}");
            let parts: String = ended.1.iter().map(part).collect();
            // Past the capture of what tests say. A closed stderr is no reason to fail.
            let _ = std::io::stderr().write_all(format!("contract: {ALL} cases of the real host{parts}\n").as_bytes());
        }
    }
}

impl Fixture for Real {
    fn host(&self) -> &dyn Change {
        &self.host
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn make_disk(&self, size: u64) -> PathBuf {
        let file = self.place.path().join(format!("disk-{}", self.disks.borrow().len()));
        let disk = Disk::new(file, size);
        let path = disk.path.clone();
        self.disks.borrow_mut().push(disk);
        path
    }

    fn scribble(&self, device: &Path) {
        let device = std::fs::File::options().write(true).open(device).unwrap();
        device.write_all_at(b"somebody's data", 12_345).unwrap();
        device.sync_all().unwrap();
    }

    fn make_filesystem(&self, device: &Path, filesystem: Filesystem, uuid: &str) {
        let device = device.to_str().unwrap();
        match filesystem {
            Filesystem::Ext4 => run(&["mkfs.ext4", "-F", "-q", "-U", uuid, device]),
            Filesystem::Xfs => run(&["mkfs.xfs", "-f", "-q", "-m", &format!("uuid={uuid}"), device]),
            Filesystem::Btrfs => run(&["mkfs.btrfs", "-f", "-q", "-U", uuid, device]),
        };
        devices::settled();
    }

    fn make_filesystem_of(&self, device: &Path, filesystem: Filesystem, uuid: &str, size: u64) {
        let device = device.to_str().unwrap();
        match filesystem {
            Filesystem::Ext4 => run(&["mkfs.ext4", "-F", "-q", "-U", uuid, device, &format!("{}K", size >> 10)]),
            Filesystem::Xfs => {
                run(&["mkfs.xfs", "-f", "-q", "-m", &format!("uuid={uuid}"), "-d", &format!("size={size}"), device])
            }
            Filesystem::Btrfs => run(&["mkfs.btrfs", "-f", "-q", "-U", uuid, "-b", &size.to_string(), device]),
        };
        devices::settled();
    }

    fn make_too_large(&self, device: &Path) {
        let device = device.to_str().unwrap();
        let size: u64 = run(&["blockdev", "--getsize64", device]).parse().unwrap();
        // Without copies of the superblock, which lie beyond the end.
        let without = ["-O", "sparse_super2", "-E", "num_backup_sb=0"];
        run(&[&["mkfs.ext4", "-F", "-q"], &without[..], &[device, &format!("{}K", size >> 9)]].concat());
        devices::settled();
    }

    fn damage(&self, device: &Path) {
        // An entry whose inode is gone, and the kernel's note that it met errors.
        let device = device.to_str().unwrap();
        for request in ["mkdir victim", "clri victim", "ssv state 2"] {
            run(&["debugfs", "-w", "-R", request, device]);
        }
    }

    fn hold(&self, device: &Path) -> Option<std::fs::File> {
        let held = std::fs::File::open(device).unwrap();
        held.lock().unwrap();
        Some(held)
    }

    fn mount(&self, device: &Path, at: &Path) {
        self.mounts.borrow_mut().push(Mounted::new(device, at));
    }

    fn bind(&self, from: &Path, at: &Path) {
        self.mounts.borrow_mut().push(Mounted::bound(from, at));
    }

    fn release(&self) -> (String, Vec<u8>) {
        let content = b"k3s v1.34.1+k3s1".to_vec();
        let file = self.place.path().join("release");
        std::fs::write(&file, &content).unwrap();
        (format!("file:{}", file.display()), content)
    }

    fn systemd(&self) -> bool {
        self.has("systemd", Path::new("/run/systemd/system").exists())
    }

    fn grows(&self) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        const CAP_SYS_RESOURCE: u64 = 1 << 24;
        self.has("CAP_SYS_RESOURCE", u64::from_str_radix(set.trim(), 16).unwrap() & CAP_SYS_RESOURCE != 0)
    }

    fn metadata(&self, answers: &[(&str, &str)]) {
        self.service.answer(answers);
    }
}

every_case!(Real::new());

/// Asks again and again, for a minute at most.
async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !probe().await {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "waited a minute for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
