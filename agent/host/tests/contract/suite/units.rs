//! Units: what enables them, mount units, and gates. Without systemd the calls fail as unreachable.

use super::{Fixture, SIZE, device, fresh_uuid};
use bowline_ports::{ActiveState, Change, ErrorKind, Filesystem, Progress, TendOrder, Unit, Work};
use std::path::{Path, PathBuf};

const PLACE: &str = "/srv/bowline-contract";
const MOUNT: &str = "srv-bowline\\x2dcontract.mount";
const SERVICE: &str = "bowline-contract.service";
const INSTALL: &str = "[Install]\nWantedBy=multi-user.target\n";

fn file(unit: &str) -> PathBuf {
    Path::new("/etc/systemd/system").join(unit)
}

fn link(unit: &str) -> PathBuf {
    Path::new("/etc/systemd/system/multi-user.target.wants").join(unit)
}

/// Writes a unit as `apply` does; without systemd it shows that nothing comes of it, and says no.
async fn written(fixture: &impl Fixture, unit: &str, text: &str) -> bool {
    let done = fixture.host().write_unit(unit, &file(unit), text).await;
    if fixture.systemd() {
        done.unwrap();
        return true;
    }
    assert_eq!(done.unwrap_err().kind, ErrorKind::Unreachable);
    assert_eq!(fixture.host().meta(&file(unit)).await.unwrap(), None, "nothing is written that nobody reads");
    false
}

/// Takes away what the case wrote.
async fn forget(host: &dyn Change, files: &[PathBuf]) {
    for file in files {
        host.remove(file).await.unwrap();
    }
    host.reload_units().await.unwrap();
}

async fn state(host: &dyn Change, unit: &str) -> ActiveState {
    host.unit(unit).await.unwrap().active
}

/// Once it is as wanted; what was queued takes a moment.
async fn until(host: &dyn Change, unit: &str, wanted: ActiveState) -> Unit {
    for _ in 0..100 {
        let unit = host.unit(unit).await.unwrap();
        if unit.active == wanted {
            return unit;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{unit} is {:?}, and not {wanted:?}", state(host, unit).await)
}

async fn unmount(host: &dyn Change, number: &str) {
    let work = Work::Unmount { number: number.into(), for_good: true };
    let order = TendOrder { volume: "contract-units".into(), mount: PLACE.into(), work };
    host.tend(&order, &Progress::default()).await.unwrap();
}

pub(crate) async fn a_unit_is_written_before_and_after_systemd_has_read_it(fixture: &impl Fixture) {
    let host = fixture.host();
    let text = |options: &str| format!("[Mount]\nWhat=tmpfs\nWhere={PLACE}\nType=tmpfs\nOptions={options}\n");
    if !written(fixture, MOUNT, &text("rw")).await {
        return;
    }
    for options in ["ro", "rw"] {
        let unit = host.unit(MOUNT).await.unwrap();
        assert!(unit.load == "loaded" && !unit.needs_reload, "{options}: {unit:?}");
        host.write_unit(MOUNT, &file(MOUNT), &text(options)).await.unwrap();
    }
    forget(host, &[file(MOUNT)]).await;
    assert_eq!(host.unit(MOUNT).await.unwrap().load, "not-found");
}

pub(crate) async fn a_unit_is_enabled_by_a_link(fixture: &impl Fixture) {
    let host = fixture.host();
    let service = "[Service]\nExecStart=/bin/sleep infinity\n";
    if !written(fixture, SERVICE, service).await {
        return;
    }
    let error = host.enable(SERVICE).await.unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.message.contains("[Install]"), "{error}");
    host.write_unit(SERVICE, &file(SERVICE), &format!("{service}{INSTALL}")).await.unwrap();
    assert_eq!(host.unit(SERVICE).await.unwrap().file_state, "disabled");
    for _ in 0..2 {
        host.enable(SERVICE).await.unwrap();
        assert_eq!(host.unit(SERVICE).await.unwrap().file_state, "enabled");
    }
    let links = host.list(Path::new("/etc/systemd/system/multi-user.target.wants")).await.unwrap().unwrap();
    assert!(links.iter().any(|name| name == SERVICE), "{links:?}");
    host.remove(&link(SERVICE)).await.unwrap();
    host.reload_units().await.unwrap();
    assert_eq!(host.unit(SERVICE).await.unwrap().file_state, "disabled");
    assert_eq!(host.enable("no-such-unit.service").await.unwrap_err().kind, ErrorKind::NotFound);
    forget(host, &[file(SERVICE)]).await;
}

pub(crate) async fn a_mount_unit_mounts_what_it_says(fixture: &impl Fixture) {
    let (host, path, uuid) = (fixture.host(), fixture.make_disk(SIZE), fresh_uuid());
    fixture.make_filesystem(&path, Filesystem::Ext4, &uuid);
    let text = |kind: &str| format!("[Mount]\nWhat=/dev/disk/by-uuid/{uuid}\nWhere={PLACE}\nType={kind}\n{INSTALL}");
    if !written(fixture, MOUNT, &text("xfs")).await {
        return;
    }
    // Wanted by a target, it is not forgotten while it is down.
    host.enable(MOUNT).await.unwrap();
    host.reload_units().await.unwrap();
    let error = host.start(MOUNT).await.unwrap_err();
    assert!(error.kind == ErrorKind::Other && error.hint.is_some(), "{error:?}");
    assert!(error.message.starts_with(&format!("{MOUNT} did not start: ")), "{error}");
    assert_eq!(state(host, MOUNT).await, ActiveState::Failed);

    host.write_unit(MOUNT, &file(MOUNT), &text("ext4")).await.unwrap();
    host.start(MOUNT).await.unwrap();
    host.start(MOUNT).await.unwrap();
    let unit = host.unit(MOUNT).await.unwrap();
    assert_eq!((unit.active, unit.sub.as_str()), (ActiveState::Active, "mounted"));
    let found = device(host, &path).await;
    assert_eq!(found.mounted_at, [PathBuf::from(PLACE)]);
    let mounts = host.mounts().await.unwrap();
    assert_eq!(mounts.iter().filter(|mount| mount.target == Path::new(PLACE)).count(), 1, "once is enough");

    // Whoever unmounts: that it is down is seen. systemd does it in two steps, and sees one of anybody else's.
    unmount(host, &found.number).await;
    let unit = until(host, MOUNT, ActiveState::Inactive).await;
    assert!(0 < unit.left && unit.left == unit.ended, "{unit:?}");
    host.start(MOUNT).await.unwrap();
    host.stop_no_block(MOUNT).await.unwrap();
    let unit = until(host, MOUNT, ActiveState::Inactive).await;
    assert!(unit.left < unit.ended, "{unit:?}");
    assert!(device(host, &path).await.mounted_at.is_empty());
    forget(host, &[link(MOUNT), file(MOUNT)]).await;
}

pub(crate) async fn what_somebody_mounts_is_a_unit(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    fixture.make_filesystem(&path, Filesystem::Ext4, &fresh_uuid());
    fixture.mount(&path, Path::new(PLACE));
    if fixture.systemd() {
        let unit = until(host, MOUNT, ActiveState::Active).await;
        assert_eq!((unit.load.as_str(), unit.sub.as_str(), unit.fragment), ("loaded", "mounted", None));
    }
    unmount(host, &device(host, &path).await.number).await;
    if fixture.systemd() {
        until(host, MOUNT, ActiveState::Inactive).await;
    }
}

pub(crate) async fn a_service_waits_at_its_gate(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.make_disk(SIZE));
    let text = format!("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n{INSTALL}");
    if !written(fixture, SERVICE, &text).await {
        return;
    }
    let gate = file(&format!("{SERVICE}.d")).join("50-bowline-volume-contract.conf");
    let gated = format!("[Unit]\nRequiresMountsFor={PLACE}\nAssertPathIsMountPoint={PLACE}\n");
    host.write_unit(SERVICE, &gate, &gated).await.unwrap();
    host.enable(SERVICE).await.unwrap();
    host.reload_units().await.unwrap();
    assert_eq!(host.start(SERVICE).await.unwrap_err().kind, ErrorKind::Other);
    let unit = host.unit(SERVICE).await.unwrap();
    assert_eq!((unit.active, unit.started), (ActiveState::Inactive, false), "{unit:?}");

    fixture.make_filesystem(&path, Filesystem::Ext4, &fresh_uuid());
    fixture.mount(&path, Path::new(PLACE));
    host.start(SERVICE).await.unwrap();
    let unit = host.unit(SERVICE).await.unwrap();
    assert_eq!((unit.active, unit.started), (ActiveState::Active, true), "{unit:?}");
    host.stop_no_block(SERVICE).await.unwrap();
    until(host, SERVICE, ActiveState::Inactive).await;
    unmount(host, &device(host, &path).await.number).await;
    forget(host, &[link(SERVICE), gate, file(SERVICE)]).await;
}
