//! The judgement as tables, and what happens to a loop device while it is proven blank; else real devices are the contract suite's.

use super::super::loops::{Loop, ran};
use super::*;
use bowline_ports::{DeviceId, Filesystem, Probe, Signature};
use probe::Remains;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const UUID: &str = "6b7a1c1e-3c6f-5b57-9d6b-0d8b1d1f7a11";

fn order(resume: bool) -> FormatOrder {
    FormatOrder {
        volume: "data".into(),
        device: "/dev/sdb".into(),
        id: DeviceId { serial: Some("123".into()), size: 1 << 30 },
        filesystem: Filesystem::Ext4,
        mount: "/mnt/data".into(),
        uuid: UUID.into(),
        begun: "/var/lib/bowline/intents/format-data.begun".into(),
        resume,
    }
}

fn device() -> BlockDevice {
    BlockDevice {
        path: "/dev/sdb".into(),
        number: "8:16".into(),
        id: order(false).id,
        announced: true,
        ..BlockDevice::default()
    }
}

fn blank() -> Evidence {
    let probe = Probe {
        signatures: Vec::new(),
        ambivalent: false,
        data_at: None,
        zeros: 1 << 20,
        read_error: None,
        last_mount: None,
        disks: 1,
    };
    Evidence { probe, remains: Vec::new() }
}

fn signature(name: &str, kind: SignatureKind, uuid: Option<&str>) -> Signature {
    Signature { kind, name: name.into(), uuid: uuid.map(str::to_owned), label: None }
}

fn refused(resume: bool, evidence: &Evidence) -> String {
    match judge(&order(resume), resume, evidence) {
        Judgement::Refused(reason) => reason,
        other => panic!("{other:?} for {evidence:?}"),
    }
}

#[test]
fn blank_is_blank() {
    assert_eq!(judge(&order(false), false, &blank()), Judgement::Blank);
    assert_eq!(judge(&order(true), true, &blank()), Judgement::Blank);
}

#[test]
fn what_is_not_ours_is_refused_even_when_resuming() {
    let with = |change: fn(&mut Evidence)| {
        let mut evidence = blank();
        evidence.probe.data_at = Some(0);
        change(&mut evidence);
        evidence
    };
    let foreign = "11111111-2222-3333-4444-555555555555";
    let filesystem = |e: &mut Evidence| {
        let uuid = "11111111-2222-3333-4444-555555555555";
        e.probe.signatures.push(signature("ext4", SignatureKind::Filesystem, Some(uuid)));
    };
    for resume in [false, true] {
        assert_eq!(refused(resume, &with(filesystem)), format!("it holds a filesystem (ext4, UUID {foreign})"));
        let table = with(|e| e.probe.signatures.push(signature("gpt", SignatureKind::PartitionTable, None)));
        assert_eq!(refused(resume, &table), "it holds a partition table (gpt)");
        let member = with(|e| e.probe.signatures.push(signature("LVM2_member", SignatureKind::Member, None)));
        assert_eq!(refused(resume, &member), "it holds a member of something larger (LVM2_member)");
        let both = with(|e| e.probe.ambivalent = true);
        assert_eq!(refused(resume, &both), "it holds signatures that contradict each other");
        let broken = with(|e| e.probe.read_error = Some("reading 4096 bytes at 0: I/O error".into()));
        assert!(refused(resume, &broken).starts_with("it cannot be read"));
        let remains = with(|e| {
            let uuid = "11111111-2222-3333-4444-555555555555".to_owned();
            e.remains.push(Remains { name: "xfs", uuid, offset: 4096 });
        });
        assert!(refused(resume, &remains).starts_with("it holds what is left of another filesystem (xfs, UUID 1111"));
    }
}

#[test]
fn bytes_without_a_signature_are_ours_only_when_resuming() {
    let mut evidence = blank();
    evidence.probe.data_at = Some(1024);
    assert_eq!(refused(false, &evidence), "it is not blank: there is data at byte 1024");
    assert_eq!(judge(&order(true), true, &evidence), Judgement::Blank);
    evidence.remains.push(Remains { name: "ext4", uuid: UUID.into(), offset: 4096 });
    assert_eq!(judge(&order(true), true, &evidence), Judgement::Blank);
    assert!(refused(false, &evidence).contains("what is left of another filesystem"));
}

#[test]
fn our_own_complete_filesystem_is_never_made_again() {
    let mut evidence = blank();
    evidence.probe.data_at = Some(1024);
    evidence.probe.signatures.push(signature("ext4", SignatureKind::Filesystem, Some(UUID)));
    assert_eq!(judge(&order(true), true, &evidence), Judgement::Made);
    assert!(refused(false, &evidence).starts_with("it holds a filesystem"));
}

#[test]
fn a_device_that_is_another_or_in_use_is_refused_with_every_reason() {
    assert!(objections(&order(false), &device()).is_empty());
    let mut other = device();
    other.id = DeviceId { serial: None, size: 5 };
    other.root = true;
    other.swap = true;
    other.mounted_at = vec!["/mnt/a".into(), "/mnt/b".into()];
    other.holders = vec!["dm-0".into()];
    other.partitions = vec!["/dev/sdb1".into()];
    assert_eq!(
        objections(&order(false), &other).join(", "),
        "its serial is none instead of \"123\", its size is 5 instead of 1073741824 bytes, it holds the running \
         system, it is in use as swap, it has partitions (/dev/sdb1), it is mounted at /mnt/a and /mnt/b, it is \
         part of dm-0"
    );
}

#[test]
fn who_waits_for_a_lock() {
    let locks = "1: FLOCK  ADVISORY  WRITE 1234 00:06:395 0 EOF\n\
                 1: -> FLOCK  ADVISORY  WRITE 1240 00:06:395 0 EOF\n\
                 2: POSIX  ADVISORY  READ 77 fe:00:12 128 128\n";
    assert!(waits(locks, 1240));
    assert!(!waits(locks, 1234));
    assert!(!waits(locks, 77));
}

/// The order to format a device as it is, with its record in a folder.
fn order_for(path: &Path, folder: &Path) -> FormatOrder {
    let found = block::read(&[]).unwrap().into_iter().find(|one| one.path == path).unwrap();
    FormatOrder {
        device: path.to_owned(),
        id: found.id,
        mount: folder.join("mnt"),
        begun: folder.join("begun"),
        ..order(false)
    }
}

/// What comes of an order, when this happens to the device once most of it was read and found blank; `None` without loop devices.
async fn meanwhile(happens: impl Fn(&Path) + Send + Sync) -> Option<(String, String)> {
    // The most that is read whole: long enough to be told of in between.
    const SIZE: u64 = 4 << 30;
    let folder = tempfile::tempdir().unwrap();
    let disk = Loop::over(&folder.path().join("disk"), SIZE)?;
    let (order, happened) = (order_for(&disk.0, folder.path()), AtomicBool::new(false));
    let report = |value: ProgressValue| {
        if value.text == "proving it is blank" && value.done > 256 << 20 && !happened.swap(true, Relaxed) {
            happens(&disk.0);
        }
    };
    let error = format(&order, &report).await.unwrap_err();
    assert!(happened.into_inner(), "{error}");
    assert_eq!(error.kind, ErrorKind::Changed, "{error}");
    assert!(!order.begun.exists(), "nothing was begun");
    Some((error.message, error.hint.unwrap().replace(disk.shown(), "DISK")))
}

#[tokio::test]
async fn what_becomes_of_the_device_while_it_is_proven_blank_counts() {
    let read_only = |disk: &Path| _ = ran("blockdev", &["--setro", disk.to_str().unwrap()]).unwrap();
    let Some((error, hint)) = meanwhile(read_only).await else { return };
    assert!(error.ends_with("was not formatted: it is read-only"), "{error}");
    assert!(!hint.contains("wipefs"), "it may be another disk: {hint}");
}

#[tokio::test]
async fn what_is_written_while_it_is_proven_blank_stays() {
    let write = |disk: &Path| {
        let disk = File::options().write(true).open(disk).unwrap();
        disk.write_all_at(&[1], 1080).unwrap();
        disk.sync_all().unwrap();
    };
    let Some((error, hint)) = meanwhile(write).await else { return };
    assert!(error.ends_with("since it was proven blank, it is not blank: there is data at byte 1080"), "{error}");
    assert!(hint.contains("(`wipefs -a DISK`, then `blkdiscard -z DISK`)"), "{hint}");
}

/// Who partitions a disk, and udev, lock all of it.
#[tokio::test]
async fn a_partition_is_not_formatted_while_its_disk_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Loop::over(&folder.path().join("disk"), 64 << 20) else { return };
    if ran("addpart", &[disk.shown(), "1", "2048", "65536"]).is_none() {
        return;
    }
    let partition = Path::new(&format!("{}p1", disk.shown())).to_owned();
    if !partition.exists() {
        // As in a container that has nodes of its own.
        let _ = ran("delpart", &[disk.shown(), "1"]);
        return;
    }
    let order = order_for(&partition, folder.path());
    let held = File::open(&disk.0).unwrap();
    held.lock_shared().unwrap();
    let error = format(&order, &|_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    assert!(error.message.starts_with(&format!("{}: another program keeps it locked", disk.shown())), "{error}");
    let open = File::open(&partition).unwrap();
    let found = probe::of(&open, "it", probe::GLANCE, &|_, _| {}).await.unwrap().probe;
    assert!(found.is_blank(), "{found:?}");
    drop((held, open));
    let _ = ran("delpart", &[disk.shown(), "1"]);
}
