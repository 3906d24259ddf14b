//! The places, and reading them from sparse files (a device and a file read alike).

use super::*;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::os::unix::fs::FileExt;

fn sparse(size: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    file
}

fn read_as(device: &File, size: u64, depth: Depth) -> Bytes {
    let (done, phase) = (AtomicU64::new(0), 0x0123_4567_89ab_cdef);
    let ranges = places::ranges(size, depth, phase);
    let bytes = read(device, &ranges, depth == PROOF, &done);
    if bytes.error.is_none() {
        assert_eq!(done.load(Relaxed), ranges.iter().map(|range| range.length).sum::<u64>());
    }
    bytes
}

#[test]
fn a_glance_at_a_sparse_device_of_20_gib_takes_a_moment() {
    let device = sparse(20 << 30);
    let (mut quickest, first) = (Duration::MAX, std::time::Instant::now());
    // The quickest of some: others may keep the processors busy for a while.
    while quickest >= Duration::from_millis(300) && first.elapsed() < Duration::from_secs(60) {
        let begin = std::time::Instant::now();
        let bytes = read_as(&device, 20 << 30, GLANCE);
        quickest = quickest.min(begin.elapsed());
        assert_eq!((bytes.data_at, bytes.error), (None, None));
        assert!(bytes.zeros > 6 << 20, "{}", bytes.zeros);
    }
    assert!(quickest < Duration::from_millis(300), "{quickest:?}");
}

#[test]
fn what_is_read_whole_hides_no_byte() {
    // The last one lies where neither a sample is nor the copy of anything.
    for (depth, size, at) in [
        (GLANCE, 4096, 2055),
        (GLANCE, (16 << 20) - 512, (8 << 20) + 7),
        (PROOF, 300 << 20, (150 << 20) + 7),
        (PROOF, 4 << 30, 2_577_058_154),
    ] {
        let device = sparse(size);
        assert_eq!(read_as(&device, size, depth).data_at, None);
        device.write_all_at(&[1], at).unwrap();
        assert_eq!(read_as(&device, size, depth).data_at, Some(at));
    }
}

#[test]
fn a_byte_at_either_end_is_found() {
    // The last one ends within a page.
    let sizes = [(GLANCE, 1 << 30, 1 << 20), (PROOF, 5 << 30, 8 << 20), (PROOF, (5 << 30) + 1536, 8 << 20)];
    for (depth, size, end) in sizes {
        for at in [0, 1, end - 1, size - end, size - 1] {
            let device = sparse(size);
            device.write_all_at(&[1], at).unwrap();
            assert_eq!(read_as(&device, size, depth).data_at, Some(at), "{size}");
        }
    }
}

/// An unfinished XFS was once taken for a finished one: the byte that tells could not be read during the proof.
#[test]
fn a_proof_leaves_others_who_read_the_open_device_alone() {
    let device = sparse(1 << 30);
    let other = device.try_clone().unwrap();
    std::thread::scope(|scope| {
        let proof = scope.spawn(|| read_as(&device, 1 << 30, PROOF));
        let mut looks = 0;
        while !proof.is_finished() {
            let flags = OFlag::from_bits_retain(fcntl(&other, FcntlArg::F_GETFL).unwrap());
            assert!(!flags.contains(OFlag::O_DIRECT), "a device could be read in whole pages only");
            looks += 1;
        }
        assert!(looks > 10, "{looks}");
    });
}

/// A proof of a large device reads 256 MiB of it, spread evenly, somewhere else each time.
#[test]
fn samples_are_spread_and_move() {
    let size: u64 = 1 << 40;
    let plain = |phase| {
        let all = places::ranges(size, PROOF, phase).into_iter().filter(|range| range.copy_of.is_none());
        all.filter(|range| range.length == 64 << 10).map(|range| range.offset).collect::<Vec<_>>()
    };
    let (one, other) = (plain(7), plain(1 << 27));
    assert_eq!(one.len(), 4096);
    assert!(one.windows(2).all(|pair| pair[1] - pair[0] == one[1] - one[0]), "evenly");
    assert!(one.iter().zip(&other).all(|(one, other)| one != other));
    assert!(other.iter().all(|at| at + (64 << 10) <= size - (8 << 20)));
}

#[test]
fn what_has_a_signature_is_read_where_it_begins_and_ends() {
    let size = 20 << 30;
    let few: u64 = places::ranges(size, GLANCE.without_samples(), 7).iter().map(|range| range.length).sum();
    let all: u64 = places::ranges(size, GLANCE, 7).iter().map(|range| range.length).sum();
    assert_eq!(all - few, 1024 * 4096);
    let device = sparse(size);
    device.write_all_at(&[1], 1080).unwrap();
    assert_eq!(read_as(&device, size, GLANCE.without_samples()).data_at, Some(1080));
}

/// As xfsprogs from 6.8 on make it on a machine with twelve processors.
#[test]
fn an_xfs_of_many_groups_is_found_by_each_of_them() {
    let size = 100 << 30;
    let device = sparse(size);
    let group = size / 4096 / 12 * 4096;
    for number in [1, 5, 11] {
        device.write_all_at(b"XFSB", number * group).unwrap();
        assert_eq!(read_as(&device, size, PROOF).data_at, Some(number * group));
        device.write_all_at(&[0; 4], number * group).unwrap();
    }
}

#[test]
fn right_before_it_is_written_to_the_ends_are_read_again() {
    let size = 20 << 30;
    let device = sparse(size);
    assert_eq!(places::ranges(size, ENDS, 7).iter().map(|range| range.length).sum::<u64>(), 2 << 20);
    for at in [1080, size - 512] {
        device.write_all_at(&[1], at).unwrap();
        assert_eq!(read_as(&device, size, ENDS).data_at, Some(at));
        device.write_all_at(&[0], at).unwrap();
    }
}

/// Past the cache where the temporary folder's filesystem has such a way.
#[test]
fn a_proof_reads_what_was_written_a_moment_ago() {
    let size = 5 << 30;
    let device = sparse(size);
    for at in [0, 4096, (5 << 20) + 5] {
        device.write_all_at(&[1], at).unwrap();
        assert_eq!(read_as(&device, size, PROOF).data_at, Some(at));
        device.write_all_at(&[0], at).unwrap();
    }
    assert_eq!(read_as(&device, size, PROOF).data_at, None);
}

#[test]
fn ranges_are_ascending_and_within_the_device() {
    for depth in [GLANCE, PROOF, ENDS] {
        for size in [512, 4096, 1 << 20, 16 << 20, (16 << 20) + 512, 4 << 30, (4 << 30) + 512, 47 << 30, 5 << 40] {
            for phase in [0, 12_345_678, u64::MAX] {
                let ranges = places::ranges(size, depth, phase);
                assert!(ranges.iter().all(|r| r.offset + r.length <= size), "{size}");
                assert!(ranges.windows(2).all(|w| w[0].offset <= w[1].offset));
                assert!(ranges.len() < 8000, "{}", ranges.len());
            }
        }
    }
}

#[test]
fn a_file_cut_short_is_a_read_error_and_proves_nothing() {
    let device = sparse(1 << 20);
    let bytes = read_as(&device, 1 << 30, GLANCE);
    assert!(bytes.error.unwrap().1.contains("at"));
}

/// The real programs make a filesystem, its beginning is wiped as `dd` would, and what is left is still found.
#[test]
fn copies_of_superblocks_survive_a_wiped_beginning() {
    const UUID: &str = "6b7a1c1e-3c6f-5b57-9d6b-0d8b1d1f7a11";
    let uuid = format!("uuid={UUID}");
    let cases: [(&str, u64, &[&str]); 5] = [
        ("ext4", 20 << 30, &["mkfs.ext4", "-F", "-q", "-U", UUID]),
        ("ext4", 100 << 20, &["mkfs.ext4", "-F", "-q", "-b", "1024", "-U", UUID]),
        ("ext4", 300 << 20, &["mkfs.ext4", "-F", "-q", "-b", "2048", "-U", UUID]),
        ("xfs", 20 << 30, &["mkfs.xfs", "-q", "-m", &uuid]),
        ("btrfs", 1 << 30, &["mkfs.btrfs", "-q", "-U", UUID]),
    ];
    for (name, size, command) in cases {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let done = std::process::Command::new(command[0]).args(&command[1..]).arg(file.path()).output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
        let megabytes = if name == "btrfs" { 2 } else { 64 };
        file.as_file().write_all_at(&vec![0; megabytes << 20], 0).unwrap();
        let bytes = read_as(file.as_file(), size, GLANCE);
        assert!(bytes.data_at.is_some_and(|at| at >= (megabytes as u64) << 20), "{name}: {:?}", bytes.data_at);
        assert!(bytes.remains.iter().any(|r| r.name == name && r.uuid == UUID), "{command:?}: {:?}", bytes.remains);
    }
}

#[test]
fn what_the_device_policy_denies_is_told_from_a_bad_disk() {
    let denied = PortError::io("opening /dev/sdb", &std::io::Error::from_raw_os_error(1));
    assert!(is_denied(&denied), "{denied}");
    let words = "wipefs failed (exit status: 1): wipefs: error: /proc/self/fd/0: probing initialization failed: \
                 Operation not permitted";
    assert!(is_denied(&PortError::new(ErrorKind::Other, words)));
    for other in [5, 6, 13] {
        assert!(!is_denied(&PortError::io("opening /dev/sdb", &std::io::Error::from_raw_os_error(other))));
    }
}

#[tokio::test]
async fn what_still_waits_for_a_device_keeps_others_from_it() {
    let (silent, path, moment) = (Silent::default(), Path::new("/dev/sdb"), Duration::from_millis(50));
    let under_way = silent.begin("probing", path).unwrap();
    let device = Device { file: Arc::new(sparse(4096)), shown: "sdb".into(), under_way: Some(Arc::clone(&under_way)) };
    let (answer, waits) = std::sync::mpsc::channel::<()>();
    let waits = Arc::new(std::sync::Mutex::new(waits));
    let (begun, begins) = std::sync::mpsc::channel();
    // On a busy machine it may be given up before it has begun.
    let hangs = loop {
        let (begun, waits) = (begun.clone(), Arc::clone(&waits));
        let hang = move |_: &std::fs::File| {
            begun.send(()).unwrap();
            Ok(waits.lock().is_ok_and(|waits| waits.recv().is_ok()))
        };
        let hangs = device.ask("reading sdb".into(), moment, hang).await;
        if begins.try_recv().is_ok() {
            break hangs;
        }
    };
    assert!(under_way.noted(hangs).is_err());
    drop((device, under_way));
    assert_eq!(at(path, &silent).await.unwrap_err().message, "probing /dev/sdb: it still does not answer");
    drop(answer);
    while silent.begin("probing", path).is_err() {
        tokio::time::sleep(moment).await;
    }
}
