//! The places, and reading them from sparse files (a device and a file read alike).

use super::*;
use std::os::unix::fs::FileExt;

fn sparse(size: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    file
}

#[test]
fn a_sparse_device_of_20_gib_is_proven_blank_quickly() {
    let device = sparse(20 << 30);
    let begin = std::time::Instant::now();
    let bytes = read(&device, 20 << 30);
    assert!(begin.elapsed() < Duration::from_millis(300), "{:?}", begin.elapsed());
    assert_eq!((bytes.data_at, bytes.error), (None, None));
    assert!(bytes.zeros > 6 << 20, "{}", bytes.zeros);
}

#[test]
fn a_small_device_is_read_whole() {
    for size in [4096, 1 << 20, (16 << 20) - 512] {
        let device = sparse(size);
        assert_eq!(read(&device, size).data_at, None);
        device.write_all_at(&[1], size / 2 + 7).unwrap();
        assert_eq!(read(&device, size).data_at, Some(size / 2 + 7));
    }
}

#[test]
fn a_byte_at_either_end_is_found() {
    let size = 1 << 30;
    for at in [0, 1, (1 << 20) - 1, size - (1 << 20), size - 1] {
        let device = sparse(size);
        device.write_all_at(&[1], at).unwrap();
        assert_eq!(read(&device, size).data_at, Some(at));
    }
}

#[test]
fn ranges_are_ascending_and_within_the_device() {
    for size in [512, 4096, 1 << 20, 16 << 20, (16 << 20) + 512, 47 << 30, 5 << 40] {
        let ranges = places::ranges(size);
        assert!(ranges.iter().all(|r| r.offset + r.length <= size), "{size}");
        assert!(ranges.windows(2).all(|w| w[0].offset <= w[1].offset));
        assert!(ranges.len() < 4000, "{}", ranges.len());
    }
}

#[test]
fn a_file_cut_short_is_a_read_error_and_proves_nothing() {
    let device = sparse(1 << 20);
    let bytes = read(&device, 1 << 30);
    assert!(bytes.error.unwrap().contains("at"));
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
        let bytes = read(file.as_file(), size);
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
