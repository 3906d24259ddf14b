//! Work at mount points.

use super::{Fixture, SIZE, STRANGER, device, fresh_uuid};
use bowline_ports::{Access, ErrorKind, FileKind, Filesystem, Job, NewDirectory, PortError, Progress, TendOrder, Work};
use std::path::Path;

async fn tend(fixture: &impl Fixture, mount: &Path, work: Work) -> Result<(), PortError> {
    let order = TendOrder { volume: "contract".into(), mount: mount.to_path_buf(), work };
    let done = fixture.host().tend(&order, &Progress::default()).await;
    let job = fixture.host().job(&order.job()).await.unwrap();
    assert_eq!(matches!(job, Some(Job::Done)), done.is_ok(), "{job:?}");
    done
}

pub(crate) async fn a_filesystem_is_made_ready_on_its_own_device_only(fixture: &impl Fixture) {
    let (host, path, mount) = (fixture.host(), fixture.make_disk(SIZE), fixture.directory().join("mnt"));
    fixture.make_filesystem(&path, Filesystem::Ext4, STRANGER);
    let id = device(host, &path).await.id;
    let prepare = |id| Work::Prepare {
        device: path.clone(),
        id,
        filesystem: Filesystem::Ext4,
        suspect: true,
        repair: false,
        options: Vec::new(),
    };
    let before = host.probe(&path).await.unwrap();
    tend(fixture, &mount, prepare(id.clone())).await.unwrap();
    let mut another = id;
    another.size += 512;
    assert_eq!(tend(fixture, &mount, prepare(another)).await.unwrap_err().kind, ErrorKind::Changed);
    assert_eq!(host.probe(&path).await.unwrap(), before, "nothing was written");
}

pub(crate) async fn a_bare_mount_point_is_made_unwritable_and_given_back(fixture: &impl Fixture) {
    let (host, mount) = (fixture.host(), fixture.directory().join("mnt"));
    assert_eq!(host.meta(&mount).await.unwrap(), None);
    // A filesystem that has no such flag is none that is without it.
    for on in [true, false] {
        tend(fixture, &mount, Work::Shield { on }).await.unwrap();
        let seen = host.meta(&mount).await.unwrap().and_then(|meta| meta.immutable);
        assert_ne!(seen, Some(!on));
    }
}

pub(crate) async fn directories_are_made_on_the_volume_and_nowhere_else(fixture: &impl Fixture) {
    let (host, path, mount) = (fixture.host(), fixture.make_disk(SIZE), fixture.directory().join("mnt"));
    fixture.make_filesystem(&path, Filesystem::Ext4, STRANGER);
    let number = device(host, &path).await.number;
    let access = Access { owner: Some((1001, 7)), mode: Some(0o770) };
    let arrange = || Work::Arrange {
        number: number.clone(),
        root: Access { owner: None, mode: Some(0o751) },
        directories: vec![NewDirectory { path: "a/b".into(), access }],
    };
    assert!(tend(fixture, &mount, arrange()).await.is_err(), "it is not mounted");
    assert_eq!(host.meta(&mount.join("a")).await.unwrap(), None);
    fixture.mount(&path, &mount);
    tend(fixture, &mount, arrange()).await.unwrap();
    let made = host.meta(&mount.join("a/b")).await.unwrap().unwrap();
    assert_eq!((made.kind, made.owner, made.mode), (FileKind::Directory, (1001, 7), 0o770));
    let plain = host.meta(&mount.join("a")).await.unwrap().unwrap();
    assert_eq!((plain.owner, plain.mode), ((0, 0), 0o755));
    assert_eq!(host.meta(&mount).await.unwrap().unwrap().mode, 0o751);
}

pub(crate) async fn only_what_was_meant_is_unmounted(fixture: &impl Fixture) {
    let (host, path, mount) = (fixture.host(), fixture.make_disk(SIZE), fixture.directory().join("mnt"));
    fixture.make_filesystem(&path, Filesystem::Ext4, STRANGER);
    let number = device(host, &path).await.number;
    let unmount = |number: &str| Work::Unmount { number: number.into(), for_good: false };
    fixture.mount(&path, &mount);
    assert_eq!(tend(fixture, &mount, unmount("250:4095")).await.unwrap_err().kind, ErrorKind::Changed);
    let mounted = || async { host.mounts().await.unwrap().iter().any(|one| one.target == mount) };
    assert!(mounted().await);
    tend(fixture, &mount, unmount(&number)).await.unwrap();
    assert!(!mounted().await);
    tend(fixture, &mount, unmount(&number)).await.unwrap();
}

pub(crate) async fn what_is_mounted_elsewhere_too_is_not_off_its_disk(fixture: &impl Fixture) {
    // btrfs has a number that is no device's.
    let both = [(Filesystem::Ext4, STRANGER), (Filesystem::Btrfs, "11111111-2222-4333-8444-e15ee4e15ee4")];
    for (filesystem, uuid) in both {
        let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
        let mount = fixture.directory().join(format!("mnt-{filesystem}"));
        fixture.make_filesystem(&path, filesystem, uuid);
        fixture.mount(&path, &mount);
        fixture.bind(&mount, &fixture.directory().join(format!("elsewhere-{filesystem}")));
        let mounts = host.mounts().await.unwrap();
        let number = mounts.into_iter().find(|one| one.target == mount).unwrap().number;
        // Who holds it gets a moment to let go.
        let unmount = Work::Unmount { number, for_good: false };
        let error = tend(fixture, &mount, unmount).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy, "{filesystem}: {error}");
    }
}

pub(crate) async fn a_filesystem_in_disorder_is_refused_or_repaired_as_ordered(fixture: &impl Fixture) {
    let (host, path, mount) = (fixture.host(), fixture.make_disk(SIZE), fixture.directory().join("mnt"));
    fixture.make_filesystem(&path, Filesystem::Ext4, STRANGER);
    fixture.damage(&path);
    let id = device(host, &path).await.id;
    let prepare = |repair| {
        let (device, id) = (path.clone(), id.clone());
        Work::Prepare { device, id, filesystem: Filesystem::Ext4, suspect: false, repair, options: Vec::new() }
    };
    let before = host.probe(&path).await.unwrap();
    for _ in 0..2 {
        let error = tend(fixture, &mount, prepare(false)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains("has to be repaired: Entry 'victim'"), "{error}");
        assert!(error.hint.unwrap().contains(&format!("e2fsck -p -f {}", path.display())));
    }
    assert_eq!(host.probe(&path).await.unwrap(), before, "nothing was written");
    tend(fixture, &mount, prepare(true)).await.unwrap();
    tend(fixture, &mount, prepare(false)).await.unwrap();
    let after = host.probe(&path).await.unwrap();
    assert_eq!(after.filesystem().unwrap().uuid, before.filesystem().unwrap().uuid);
}

pub(crate) async fn a_disk_smaller_than_its_filesystem_is_not_called_damaged(fixture: &impl Fixture) {
    let (host, path, mount) = (fixture.host(), fixture.make_disk(SIZE), fixture.directory().join("mnt"));
    fixture.make_too_large(&path);
    let id = device(host, &path).await.id;
    let before = host.probe(&path).await.unwrap();
    for (suspect, repair) in [(false, false), (true, false), (true, true)] {
        let (device, id) = (path.clone(), id.clone());
        let work = Work::Prepare { device, id, filesystem: Filesystem::Ext4, suspect, repair, options: Vec::new() };
        let error = tend(fixture, &mount, work).await.unwrap_err();
        let (shown, twice) = (path.display(), 2 * SIZE);
        let wanted = format!("{shown} has {SIZE} bytes, and its filesystem takes {twice}: it was made smaller");
        assert_eq!((error.kind, error.message), (ErrorKind::Invalid, wanted));
        let hint = error.hint.unwrap();
        assert!(hint.starts_with("make the disk as large as it was: ") && !hint.contains('`'), "{hint}");
    }
    assert_eq!(host.probe(&path).await.unwrap(), before, "nothing was written");
}

/// As when a pod still has it on a disk that was taken out.
pub(crate) async fn an_xfs_whose_uuid_is_mounted_is_not_called_damaged(fixture: &impl Fixture) {
    let (host, one, other) = (fixture.host(), fixture.make_disk(SIZE), fixture.make_disk(SIZE));
    let (mount, mine) = (fixture.directory().join("mnt"), fixture.directory().join("mine"));
    let uuid = fresh_uuid();
    for path in [&one, &other] {
        fixture.make_filesystem(path, Filesystem::Xfs, &uuid);
    }
    fixture.mount(&one, &mine);
    let (id, before) = (device(host, &other).await.id, host.probe(&other).await.unwrap());
    let prepare = |suspect, repair| {
        let (device, id) = (other.clone(), id.clone());
        Work::Prepare { device, id, filesystem: Filesystem::Xfs, suspect, repair, options: Vec::new() }
    };
    tend(fixture, &mount, prepare(false, false)).await.unwrap();
    for repair in [false, true] {
        let error = tend(fixture, &mount, prepare(true, repair)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy, "{error}");
        assert!(error.message.contains("cannot be mounted: one with its UUID still is"), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("that is no damage") && !hint.contains("-L")));
    }
    assert_eq!(host.probe(&other).await.unwrap(), before, "nothing was written");
    let mounts = host.mounts().await.unwrap();
    let number = mounts.into_iter().find(|one| one.target == mine).unwrap().number;
    tend(fixture, &mine, Work::Unmount { number, for_good: false }).await.unwrap();
    tend(fixture, &mount, prepare(true, false)).await.unwrap();
}
