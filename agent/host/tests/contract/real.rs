//! The real host on loop devices, and what only it can be asked.

mod devices;
mod metadata;
mod systemd;

use crate::suite::{Fixture, contract, cut_off, order};
use bowline_host::real::RealHost;
use bowline_host::real::job::Launch;
use bowline_ports::{
    Change, ErrorKind, Filesystem, GrowOrder, Inspect, Job, PortError, Progress, Signature, SignatureKind,
};
use devices::{Loop, Mounted, run};
use metadata::Service;
use std::cell::RefCell;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// This machine, with a directory and loop devices that go away with it.
struct Real {
    host: RealHost,
    directory: PathBuf,
    // Dropped before the loop devices.
    mounts: RefCell<Vec<Mounted>>,
    loops: RefCell<Vec<Loop>>,
    service: Service,
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
        Self { host, directory, mounts: RefCell::default(), loops: RefCell::default(), service, place }
    }

    fn backing_file(&self, device: &Path) -> PathBuf {
        self.loops.borrow().iter().find(|l| l.path == device).unwrap().file.clone()
    }
}

impl Drop for Real {
    /// Mount points are unwritable, for whoever removes them too.
    fn drop(&mut self) {
        self.mounts.borrow_mut().clear();
        std::process::Command::new("chattr").args(["-f", "-R", "-i"]).arg(self.place.path()).status().unwrap();
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
        let file = self.place.path().join(format!("disk-{}", self.loops.borrow().len()));
        let device = Loop::new(file, size);
        let path = device.path.clone();
        self.loops.borrow_mut().push(device);
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
    }

    fn mount(&self, device: &Path, at: &Path) {
        self.mounts.borrow_mut().push(Mounted::new(device, at));
    }

    fn release(&self) -> (String, Vec<u8>) {
        let content = b"k3s v1.34.1+k3s1".to_vec();
        let file = self.place.path().join("release");
        std::fs::write(&file, &content).unwrap();
        (format!("file:{}", file.display()), content)
    }

    fn systemd(&self) -> bool {
        Path::new("/run/systemd/system").exists()
    }

    fn metadata(&self, answers: &[(&str, &str)]) {
        self.service.answer(answers);
    }
}

contract! { Real::new();
    a_written_file_is_read_back_whole,
    what_is_not_there_is_none,
    names_are_listed_in_order,
    removing_twice_is_fine,
    renaming_replaces_and_sets_the_mode,
    a_link_never_replaces_anything,
    a_hash_follows_its_file,
    a_blank_disk_is_listed_unused_and_proven_blank,
    every_filesystem_is_made_as_ordered,
    what_was_made_is_never_made_again,
    another_device_than_ordered_is_refused,
    somebody_elses_filesystem_is_refused,
    bytes_without_a_signature_are_refused_unless_they_are_ours,
    a_device_that_is_gone_is_an_error,
    the_machine_tells_about_itself,
    a_unit_that_is_not_there,
    a_job_that_nobody_started,
    a_release_is_fetched_verified,
    without_a_metadata_service_there_is_an_error,
    a_metadata_service_answers_in_order_and_is_not_asked_again_at_once,
    a_filesystem_is_made_ready_on_its_own_device_only,
    directories_are_made_on_the_volume_and_nowhere_else,
    only_what_was_meant_is_unmounted,
    a_unit_is_written_before_and_after_systemd_has_read_it,
}

#[tokio::test]
async fn a_sparse_disk_of_20_gib_is_probed_quickly() {
    let real = Real::new();
    let path = real.make_disk(20 << 30);
    let begin = Instant::now();
    let probe = real.host.probe(&path).await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(300), "{:?}", begin.elapsed());
    assert!(probe.is_blank(), "{probe:?}");
}

#[tokio::test]
async fn the_serial_of_a_loop_device_is_its_file() {
    let real = Real::new();
    let path = real.make_disk(64 << 20);
    let order = order(&real, &path, Filesystem::Ext4).await;
    assert_eq!(order.id.serial.as_deref(), real.backing_file(&path).to_str());
}

#[tokio::test]
async fn signatures_of_members_and_contradictions() {
    let real = Real::new();
    let swap = real.make_disk(64 << 20);
    run(&["mkswap", "-q", swap.to_str().unwrap()]);
    let probe = real.host.probe(&swap).await.unwrap();
    assert!(matches!(&probe.signatures[..], [Signature { kind: SignatureKind::Member, name, .. }] if name == "swap"));
    assert!(probe.filesystem().is_none());

    let both = real.make_disk(400 << 20);
    real.make_filesystem(&both, Filesystem::Ext4, "11111111-2222-4333-8444-555555555555");
    let xfs = real.make_disk(400 << 20);
    real.make_filesystem(&xfs, Filesystem::Xfs, "11111111-2222-4333-8444-666666666666");
    let mut superblock = vec![0; 512];
    std::fs::File::open(&xfs).unwrap().read_exact_at(&mut superblock, 0).unwrap();
    std::fs::File::options().write(true).open(&both).unwrap().write_all_at(&superblock, 0).unwrap();
    let probe = real.host.probe(&both).await.unwrap();
    assert!(probe.ambivalent && probe.filesystem().is_none() && !probe.is_blank(), "{probe:?}");
    assert_eq!(probe.signatures.len(), 2, "{probe:?}");
}

#[tokio::test]
async fn an_xfs_that_was_never_finished_is_plain_bytes() {
    let real = Real::new();
    let path = real.make_disk(400 << 20);
    let order = order(&real, &path, Filesystem::Xfs).await;
    real.make_filesystem(&path, Filesystem::Xfs, &order.uuid);
    // `sb_inprogress`, which mkfs.xfs clears last.
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[1], 126).unwrap();
    let probe = real.host.probe(&path).await.unwrap();
    assert!(probe.signatures.is_empty() && probe.data_at == Some(0), "{probe:?}");
    assert_eq!(format(&real, &order).await.unwrap_err().kind, ErrorKind::Changed);
    format(&real, &cut_off(&real.host, order).await).await.unwrap();
    assert!(real.host.probe(&path).await.unwrap().filesystem().is_some());
}

async fn format(real: &Real, order: &bowline_ports::FormatOrder) -> Result<(), PortError> {
    real.host.format(order, &Progress::default()).await
}

#[tokio::test]
async fn a_mounted_device_is_shown_and_refused() {
    let real = Real::new();
    let path = real.make_disk(64 << 20);
    let mut order = order(&real, &path, Filesystem::Ext4).await;
    format(&real, &order).await.unwrap();
    let target = real.directory.join("mount point");
    let _mounted = Mounted::new(&path, &target);
    let device = real.host.block_devices().await.unwrap().into_iter().find(|d| d.path == path).unwrap();
    assert_eq!(device.mounted_at, std::slice::from_ref(&target));
    let mount = real.host.mounts().await.unwrap().into_iter().find(|m| m.target == target).unwrap();
    assert_eq!((mount.fstype.as_str(), mount.number, mount.read_only), ("ext4", device.number, false));
    assert!(real.host.space(&target).await.unwrap().size < 64 << 20);
    order.resume = true;
    let error = format(&real, &order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(error.message.contains(&format!("it is mounted at {}", target.display())), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_named_with_what_is_needed() {
    let real = Real::new();
    let path = real.make_disk(8 << 20);
    format(&real, &order(&real, &path, Filesystem::Ext4).await).await.unwrap();
    let target = real.directory.join("small");
    let _mounted = Mounted::new(&path, &target);
    let source = real.directory.join("source");
    std::fs::write(&source, vec![7; 16 << 20]).unwrap();
    let order = bowline_ports::FetchOrder {
        name: "big".into(),
        url: format!("file:{}", source.display()),
        ca_file: None,
        digest: bowline_ports::Digest::Pinned("0".repeat(64)),
        to: target.join("k3s"),
    };
    let error = real.host.fetch(&order, &Progress::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    assert!(error.message.contains("17 MiB needed"), "{error}");
    let error = real.host.write(&target.join("file"), &vec![7; 16 << 20], 0o644).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    assert_eq!(std::fs::read_dir(&target).unwrap().flatten().filter(|e| e.file_name() != "lost+found").count(), 0);
}

#[tokio::test]
async fn work_under_way_is_followed_and_another_order_is_refused() {
    let real = Real::new();
    let path = real.make_disk(64 << 20);
    let first = order(&real, &path, Filesystem::Ext4).await;
    let held = std::fs::File::open(&path).unwrap();
    held.lock().unwrap();
    let progress = Progress::default();
    let (one, two) = tokio::join!(real.host.format(&first, &progress), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(progress.get().text, "waiting for the lock");
        let job = real.host.job(&format!("mkfs-{}", first.volume)).await.unwrap();
        assert!(matches!(job, Some(Job::Running(_))), "{job:?}");
        let mut other = first.clone();
        other.uuid = "11111111-2222-4333-8444-555555555555".into();
        assert_eq!(format(&real, &other).await.unwrap_err().kind, ErrorKind::Busy);
        held.unlock().unwrap();
        // The same order once more, only to resume: followed.
        other.uuid = first.uuid.clone();
        other.resume = true;
        format(&real, &other).await
    });
    one.unwrap();
    two.unwrap();
}

#[tokio::test]
async fn a_lock_that_nobody_gives_back_is_busy() {
    let real = Real::new();
    let path = real.make_disk(64 << 20);
    let order = order(&real, &path, Filesystem::Ext4).await;
    let held = std::fs::File::open(&path).unwrap();
    held.lock_shared().unwrap();
    let error = format(&real, &order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(error.message.contains("another program keeps it locked"), "{error}");
    assert!(real.host.probe(&path).await.unwrap().is_blank());
}

/// Whether this process has CAP_SYS_RESOURCE (bit 24).
fn may_use_resources() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap() & (1 << 24) != 0
}

/// In use, and to the byte; a filesystem that is not mounted is left alone, and so is another disk.
#[tokio::test]
async fn a_mounted_filesystem_grows_with_its_device() {
    const SMALL: u64 = 400 << 20;
    const LARGE: u64 = 700 << 20;
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs] {
        let real = Real::new();
        let path = real.make_disk(SMALL);
        real.make_filesystem(&path, filesystem, "6b7a1c1e-3c6f-5b57-9d6b-0d8b1d1f7a12");
        assert_eq!(real.host.extent(&path, filesystem).await.unwrap(), Some(SMALL), "{filesystem}");
        let file = std::fs::File::options().write(true).open(real.backing_file(&path)).unwrap();
        file.set_len(LARGE).unwrap();
        run(&["losetup", "--set-capacity", path.to_str().unwrap()]);

        let mount = real.place.path().join("mounted");
        let id = real.host.block_devices().await.unwrap().into_iter().find(|one| one.path == path).unwrap().id;
        assert_eq!(id.size, LARGE);
        let order = GrowOrder { volume: "data".into(), device: path.clone(), id, mount: mount.clone(), filesystem };
        let progress = Progress::default();
        let error = real.host.grow(&order, &progress).await.unwrap_err();
        assert!(error.message.contains("it is not mounted at"), "{error}");

        let mounted = Mounted::new(&path, &mount);
        std::fs::write(mount.join("file"), "precious").unwrap();
        let mut other = order.clone();
        other.id.size = SMALL;
        let error = real.host.grow(&other, &progress).await.unwrap_err();
        assert!(error.kind == ErrorKind::Changed && error.message.contains("has another size by now"), "{error}");
        let grown = real.host.grow(&order, &progress).await;
        if filesystem == Filesystem::Ext4 && !may_use_resources() {
            // A root without CAP_SYS_RESOURCE, as in some containers: ext4 grows for nobody there.
            assert!(grown.unwrap_err().message.contains("Permission denied to resize filesystem"));
            continue;
        }
        grown.unwrap();
        assert_eq!(real.host.job(&GrowOrder::job(&order.volume, LARGE)).await.unwrap(), Some(Job::Done));
        assert_eq!(std::fs::read_to_string(mount.join("file")).unwrap(), "precious");
        // XFS writes its superblock half a minute later, or when it is unmounted.
        drop(mounted);
        assert_eq!(real.host.extent(&path, filesystem).await.unwrap(), Some(LARGE), "{filesystem}");
    }
}
