//! Disks: seeing them, and the only act that destroys.

use super::{Fixture, SIZE, STRANGER, cut_off, device, format, fresh_uuid, job, order};
use bowline_ports::{
    Change, ErrorKind, FileKind, Filesystem, FormatOrder, GrowOrder, Job, Mount, Progress, SignatureKind, TendOrder,
    Work,
};
use std::path::Path;
use std::time::Duration;

pub(crate) async fn a_blank_disk_is_listed_unused_and_proven_blank(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    let found = device(host, &path).await;
    assert_eq!(found.id.size, SIZE);
    assert!(found.id.serial.is_some());
    assert!(!found.root && !found.swap && !found.read_only);
    assert!(found.mounted_at.is_empty() && found.holders.is_empty() && found.partitions.is_empty());
    let meta = host.meta(&path).await.unwrap().unwrap();
    assert_eq!((meta.kind, meta.device), (FileKind::Block, found.number));
    let probe = host.probe(&path).await.unwrap();
    assert!(probe.is_blank(), "{probe:?}");
}

pub(crate) async fn every_filesystem_is_made_as_ordered(fixture: &impl Fixture) {
    let host = fixture.host();
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs] {
        let path = fixture.make_disk(SIZE);
        let order = order(fixture, &path, filesystem).await;
        assert_eq!(job(host, &order).await, None, "nobody started it");
        format(host, &order).await.unwrap();
        assert_eq!(job(host, &order).await, Some(Job::Done));
        let probe = host.probe(&path).await.unwrap();
        let made = probe.filesystem().unwrap_or_else(|| panic!("{probe:?}"));
        assert_eq!((made.name.as_str(), made.uuid.as_deref()), (filesystem.name(), Some(order.uuid.as_str())));
        assert!(!probe.is_blank());
    }
}

pub(crate) async fn what_was_made_is_never_made_again(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    let mut order = order(fixture, &path, Filesystem::Ext4).await;
    format(host, &order).await.unwrap();
    let error = format(host, &order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed, "{error}");
    assert_eq!(job(host, &order).await, Some(Job::Failed(error)));
    // Whoever resumes finds the work done.
    order.resume = true;
    format(host, &order).await.unwrap();
    let probe = host.probe(&path).await.unwrap();
    assert_eq!(probe.filesystem().unwrap().uuid.as_deref(), Some(order.uuid.as_str()));
}

pub(crate) async fn another_device_than_ordered_is_refused(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    let right = order(fixture, &path, Filesystem::Ext4).await;
    let mut serial = right.clone();
    serial.id.serial = Some("another".into());
    let mut size = right.clone();
    size.id.size += 512;
    for wrong in [serial, size] {
        for resume in [false, true] {
            let mut wrong = wrong.clone();
            wrong.resume = resume;
            let error = format(host, &wrong).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Changed, "{error}");
            assert!(error.message.contains(&*path.to_string_lossy()), "{error}");
        }
    }
    assert!(host.probe(&path).await.unwrap().is_blank(), "nothing was written");
}

pub(crate) async fn somebody_elses_filesystem_is_refused(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    fixture.make_filesystem(&path, Filesystem::Ext4, STRANGER);
    let before = host.probe(&path).await.unwrap();
    assert_eq!(before.filesystem().unwrap().kind, SignatureKind::Filesystem);
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
        for resume in [false, true] {
            let order = order(fixture, &path, filesystem).await;
            let order = if resume { cut_off(host, order).await } else { order };
            let error = format(host, &order).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Changed, "{error}");
        }
    }
    assert_eq!(host.probe(&path).await.unwrap(), before, "nothing was written");
}

pub(crate) async fn bytes_without_a_signature_are_refused_unless_they_are_ours(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    fixture.scribble(&path);
    let probe = host.probe(&path).await.unwrap();
    assert!(probe.data_at.is_some() && probe.signatures.is_empty(), "{probe:?}");
    let mut order = order(fixture, &path, Filesystem::Ext4).await;
    let error = format(host, &order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed, "{error}");
    assert_eq!(host.probe(&path).await.unwrap(), probe, "nothing was written");
    assert_eq!(host.meta(&order.begun).await.unwrap(), None, "what was refused was not begun");
    // Whoever says that it was begun has to have it in writing.
    order.resume = true;
    assert_eq!(format(host, &order).await.unwrap_err().kind, ErrorKind::Changed);
    assert_eq!(host.probe(&path).await.unwrap(), probe, "nothing was written");
    format(host, &cut_off(host, order).await).await.unwrap();
    assert!(host.probe(&path).await.unwrap().filesystem().is_some());
}

pub(crate) async fn work_goes_on_without_who_began_it_and_another_order_is_refused(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    let mut first = order(fixture, &path, Filesystem::Ext4).await;
    let held = fixture.hold(&path);
    let under_way = async || {
        while !matches!(job(host, &first).await, Some(Job::Running(_))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = format(host, &first) => panic!("{ended:?}"),
        () = under_way() => {}
    }
    // Nobody follows it any more.
    assert!(matches!(job(host, &first).await, Some(Job::Running(_))));
    let other = FormatOrder { uuid: fresh_uuid(), ..first.clone() };
    assert_eq!(format(host, &other).await.unwrap_err().kind, ErrorKind::Busy);
    drop(held);
    // The same once more, only to resume: followed.
    first.resume = true;
    format(host, &first).await.unwrap();
    assert_eq!(job(host, &first).await, Some(Job::Done));
    let probe = host.probe(&path).await.unwrap();
    assert_eq!(probe.filesystem().unwrap().uuid.as_deref(), Some(first.uuid.as_str()));
}

pub(crate) async fn a_device_that_is_gone_is_an_error(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    let mut order = order(fixture, &path, Filesystem::Ext4).await;
    order.device = "/dev/no-such-disk".into();
    let error = format(host, &order).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Changed), "{error:?}");
    assert!(host.probe(&order.device).await.is_err());
    let file = fixture.directory().join("file");
    host.write(&file, &[0; 4096], 0o644).await.unwrap();
    assert!(host.probe(&file).await.is_err(), "a file is not a device");
}

/// In use, and to the byte; a filesystem that is not mounted is left alone, and so is another disk.
pub(crate) async fn a_mounted_filesystem_grows_with_its_device(fixture: &impl Fixture) {
    const LARGE: u64 = 700 << 20;
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs] {
        let (host, path) = (fixture.host(), fixture.make_disk(LARGE));
        fixture.make_filesystem_of(&path, filesystem, &fresh_uuid(), SIZE);
        assert_eq!(host.extent(&path, filesystem).await.unwrap(), Some(SIZE), "{filesystem}");
        let (id, uuid) = (device(host, &path).await.id, None);
        let (volume, mount) = (format!("contract-{filesystem}"), fixture.directory().join(filesystem.name()));
        let order = GrowOrder { volume, device: path.clone(), id, uuid, mount: mount.clone(), filesystem };
        let error = host.grow(&order, &Progress::default()).await.unwrap_err();
        assert!(error.kind == ErrorKind::Changed && error.message.contains("not mounted"), "{error:?}");

        fixture.mount(&path, &mount);
        host.write(&mount.join("file"), b"precious", 0o600).await.unwrap();
        let mut other = order.clone();
        other.id.size = SIZE;
        assert_eq!(host.grow(&other, &Progress::default()).await.unwrap_err().kind, ErrorKind::Changed);
        // Another's place is not this one's.
        let (neighbour, theirs) = (fixture.make_disk(SIZE), fixture.directory().join(format!("by-{filesystem}")));
        fixture.make_filesystem(&neighbour, Filesystem::Ext4, &fresh_uuid());
        fixture.mount(&neighbour, &theirs);
        let elsewhere = GrowOrder { mount: theirs, ..order.clone() };
        let error = host.grow(&elsewhere, &Progress::default()).await.unwrap_err();
        assert!(error.kind == ErrorKind::Changed && error.message.contains("not mounted"), "{error:?}");
        assert_eq!(host.extent(&path, filesystem).await.unwrap(), Some(SIZE), "{filesystem}");
        if filesystem == Filesystem::Ext4 && !fixture.grows() {
            let error = host.grow(&order, &Progress::default()).await.unwrap_err();
            assert!(error.message.contains("Permission denied to resize filesystem"), "{error}");
            continue;
        }
        host.grow(&order, &Progress::default()).await.unwrap();
        assert_eq!(host.job(&GrowOrder::job(&order.volume, &order.id, None)).await.unwrap(), Some(Job::Done));
        assert_eq!(host.read(&mount.join("file")).await.unwrap().unwrap().text(), "precious");
        // XFS writes its superblock half a minute later, or when it is unmounted.
        let work = Work::Unmount { number: mounted(host, &mount).await.number, for_good: false };
        let order = TendOrder { volume: order.volume, mount, work };
        host.tend(&order, &Progress::default()).await.unwrap();
        assert_eq!(host.extent(&path, filesystem).await.unwrap(), Some(LARGE), "{filesystem}");
    }
}

async fn mounted(host: &dyn Change, at: &Path) -> Mount {
    let mounts = host.mounts().await.unwrap();
    mounts.into_iter().find(|mount| mount.target == at).unwrap_or_else(|| panic!("{} is not mounted", at.display()))
}
