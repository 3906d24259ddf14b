//! What only the real host can be asked.

use super::Real;
use super::devices::{Mounted, run};
use crate::suite::{Fixture, contract, cut_off, order};
use bowline_ports::{Change, ErrorKind, Filesystem, Inspect, PortError, Progress, Signature, SignatureKind};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

pub(super) mod cases {
    use super::Real;

    super::contract! { Real::new(), [super];
        a_sparse_disk_of_20_gib_is_probed_quickly,
        the_serial_of_a_loop_device_is_its_file,
        signatures_of_members_and_contradictions,
        an_xfs_that_was_never_finished_is_plain_bytes,
        a_mounted_device_is_shown_and_refused,
        a_full_disk_is_named_with_what_is_needed,
        a_lock_that_nobody_gives_back_is_busy,
        room_is_kept_where_a_filesystem_promises_it_and_an_ext3_does_not,
    }
}

async fn a_sparse_disk_of_20_gib_is_probed_quickly(real: &Real) {
    let path = real.make_disk(20 << 30);
    let mut quickest = Duration::MAX;
    // The quickest of a few: others may keep the processors busy for a while.
    let first = Instant::now();
    while quickest >= Duration::from_millis(300) && first.elapsed() < Duration::from_secs(60) {
        let begin = Instant::now();
        let probe = real.host.probe(&path).await.unwrap();
        quickest = quickest.min(begin.elapsed());
        assert!(probe.is_blank(), "{probe:?}");
    }
    assert!(quickest < Duration::from_millis(300), "{quickest:?}");
}

async fn the_serial_of_a_loop_device_is_its_file(real: &Real) {
    let path = real.make_disk(64 << 20);
    let order = order(real, &path, Filesystem::Ext4).await;
    assert_eq!(order.id.serial.as_deref(), Some(real.disks.borrow()[0].file().as_str()));
}

async fn signatures_of_members_and_contradictions(real: &Real) {
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

async fn an_xfs_that_was_never_finished_is_plain_bytes(real: &Real) {
    let path = real.make_disk(400 << 20);
    let order = order(real, &path, Filesystem::Xfs).await;
    real.make_filesystem(&path, Filesystem::Xfs, &order.uuid);
    // `sb_inprogress`, which mkfs.xfs clears last.
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[1], 126).unwrap();
    let probe = real.host.probe(&path).await.unwrap();
    assert!(probe.signatures.is_empty() && probe.data_at == Some(0), "{probe:?}");
    assert_eq!(format(real, &order).await.unwrap_err().kind, ErrorKind::Changed);
    format(real, &cut_off(&real.host, order).await).await.unwrap();
    let probe = real.host.probe(&path).await.unwrap();
    assert!(probe.filesystem().is_some(), "{probe:?}");
}

async fn format(real: &Real, order: &bowline_ports::FormatOrder) -> Result<(), PortError> {
    real.host.format(order, &Progress::default()).await
}

async fn a_mounted_device_is_shown_and_refused(real: &Real) {
    let path = real.make_disk(64 << 20);
    let mut order = order(real, &path, Filesystem::Ext4).await;
    format(real, &order).await.unwrap();
    let target = real.directory.join("mount point");
    let _mounted = Mounted::new(&path, &target);
    let device = real.host.block_devices().await.unwrap().into_iter().find(|d| d.path == path).unwrap();
    assert_eq!(device.mounted_at, std::slice::from_ref(&target));
    let mount = real.host.mounts().await.unwrap().into_iter().find(|m| m.target == target).unwrap();
    assert_eq!((mount.fstype.as_str(), mount.number, mount.read_only), ("ext4", device.number, false));
    assert!(real.host.space(&target).await.unwrap().size < 64 << 20);
    order.resume = true;
    let error = format(real, &order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(error.message.contains(&format!("it is mounted at {}", target.display())), "{error}");
}

async fn a_full_disk_is_named_with_what_is_needed(real: &Real) {
    let path = real.make_disk(8 << 20);
    format(real, &order(real, &path, Filesystem::Ext4).await).await.unwrap();
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

async fn a_lock_that_nobody_gives_back_is_busy(real: &Real) {
    let path = real.make_disk(64 << 20);
    let order = order(real, &path, Filesystem::Ext4).await;
    let held = std::fs::File::open(&path).unwrap();
    held.lock_shared().unwrap();
    let error = format(real, &order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(error.message.contains("another program keeps it locked"), "{error}");
    assert!(real.host.probe(&path).await.unwrap().is_blank());
}

async fn room_is_kept_where_a_filesystem_promises_it_and_an_ext3_does_not(real: &Real) {
    for kind in ["ext4", "ext3"] {
        let (disk, at) = (real.make_disk(64 << 20), real.directory.join(kind));
        run(&["mke2fs", "-q", "-F", "-t", kind, disk.to_str().unwrap()]);
        super::devices::settled();
        let _mounted = Mounted::new(&disk, &at);
        let kept = real.host.reserve(&at.join("reserve"), 8 << 20).await;
        let size = real.host.meta(&at.join("reserve")).await.unwrap().map(|meta| meta.size);
        match kept {
            Ok(()) => assert_eq!((kind, size), ("ext4", Some(8 << 20))),
            Err(error) => {
                assert_eq!((kind, size), ("ext3", None), "{error}");
                assert!(error.hint.unwrap().contains("pressure.reserve"), "{}", error.message);
            }
        }
    }
}
