//! Disks that must not be touched: each with its message, none with a byte written, each mended as the message says.

use anyhow::{Context, Result};
use bowline_booted::looks::{BLANK_ONLY, install, look_again, node_of, until_ready, until_refused, volume_on};
use bowline_booted::{ADDRESS, configure};
use bowline_testbed::{Cast, Disk, case_of};
use std::fmt::Write;

/// Something on a disk that is not blank: its name, how it comes there, and what is said about it.
struct Foreign {
    name: &'static str,
    put: fn(&Disk) -> Result<()>,
    said: &'static str,
}

const UUID: &[u8; 16] = b"\x11\x11\x11\x11\x22\x22\x43\x33\x84\x44\x55\x55\x55\x55\x55\x55";

const FOREIGN: [Foreign; 15] = [
    Foreign { name: "xfs", put: |d| d.mkfs("xfs"), said: "holds a filesystem (xfs)" },
    Foreign { name: "vfat", put: vfat, said: "holds a filesystem (vfat)" },
    Foreign { name: "ntfs", put: ntfs, said: "holds a filesystem (ntfs) and a partition table (dos)" },
    Foreign { name: "gpt", put: |d| d.partition(), said: "holds a partition table (gpt) and a partition table (PMBR)" },
    Foreign { name: "empty-gpt", put: empty_gpt, said: "holds a partition table (gpt) and a partition table (PMBR)" },
    Foreign { name: "lvm", put: lvm, said: "holds part of something else (LVM2_member)" },
    Foreign { name: "raid", put: raid, said: "holds part of something else (linux_raid_member)" },
    Foreign { name: "luks", put: luks, said: "holds part of something else (crypto_LUKS)" },
    Foreign { name: "swap", put: |d| d.tool("mkswap \"$1\""), said: "holds part of something else (swap)" },
    Foreign { name: "two-in-one", put: two_in_one, said: "holds a filesystem (xfs) and a filesystem (ext4)" },
    Foreign {
        name: "raw-front",
        put: |d| d.fill(4096, 8, 0xaa),
        said: "has no signature that is known, but data at byte 4096",
    },
    Foreign {
        name: "raw-middle",
        put: |d| d.fill(30 << 20, 2 << 20, 0xaa),
        said: "has no signature that is known, but data at byte 31457280",
    },
    Foreign {
        name: "raw-end",
        put: |d| d.fill((64 << 20) - 8, 8, 0xaa),
        said: "has no signature that is known, but data at byte 67108856",
    },
    Foreign {
        name: "no-front",
        put: ext4_without_front,
        said: "has no signature that is known, but data at byte 65536",
    },
    Foreign {
        name: "xfs-no-front",
        put: xfs_without_front,
        said: "has no signature that is known, but data at byte 65536",
    },
];

#[test]
fn what_is_not_blank_is_never_touched() -> Result<()> {
    case_of(Cast::PLAIN, "refused-volumes", |bed| {
        let mut settings = String::new();
        let mut disks = Vec::new();
        for (number, foreign) in FOREIGN.iter().enumerate() {
            // No XFS is smaller; zeroing the others takes time.
            let size = if foreign.name.contains("xfs") || foreign.name == "two-in-one" { "320M" } else { "64M" };
            let disk = bed.disk(&format!("7000{number:02}"), size)?;
            (foreign.put)(&disk).context(foreign.name)?;
            writeln!(settings, "{}", volume_on(&disk, foreign.name, BLANK_ONLY))?;
            disks.push(disk);
        }
        let good = bed.disk("79999", "320M")?;
        writeln!(settings, "{}", volume_on(&good, "good", BLANK_ONLY))?;
        let machine = disks.iter().chain([&good]).fold(bed.machine("n1").address(ADDRESS), |m, d| m.disk(d)).start()?;
        let before = hashes(&disks)?;
        install(&machine, &settings)?;
        until_ready(&machine, "good").context("fifteen bad disks hold up no good one")?;

        let mut remedies = String::new();
        for (disk, foreign) in disks.iter().zip(&FOREIGN) {
            let node = node_of(&machine, disk)?;
            let hint = until_refused(&machine, foreign.name, &format!("{node} {}", foreign.said))?;
            let erase = format!("`wipefs -a {node}`, then `blkdiscard -z {node}`");
            assert!(hint.starts_with("nothing was touched. ") && hint.contains(&erase), "{}: {hint}", foreign.name);
            assert_eq!(hint.contains("`filesystem = \"xfs\"`"), foreign.name == "xfs", "{hint}");
            if foreign.name != "xfs" {
                writeln!(remedies, "wipefs -qa {node} && blkdiscard -z {node} || exit")?;
            }
        }
        machine.kill("bowline")?;
        look_again(&machine)?;
        for ((disk, foreign), before) in disks.iter().zip(&FOREIGN).zip(&before) {
            assert_eq!(&disk.sha256()?, before, "{} was written to", foreign.name);
        }
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 2, "there is something to do");

        // Each remedy, carried out.
        machine.ok(&remedies)?;
        let xfs = format!("{BLANK_ONLY}\nfilesystem = \"xfs\"");
        configure(&machine, &settings.replacen(BLANK_ONLY, &xfs, 1))?;
        for foreign in &FOREIGN {
            until_ready(&machine, foreign.name)?;
        }
        let types = machine.ok("findmnt -no FSTYPE /mnt/xfs; findmnt -no FSTYPE /mnt/luks")?;
        assert_eq!(types.split_whitespace().collect::<Vec<_>>(), ["xfs", "ext4"]);
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0, "{}", machine.run("bowline plan")?);
        Ok(())
    })
}

fn hashes(disks: &[Disk]) -> Result<Vec<String>> {
    disks.iter().map(Disk::sha256).collect()
}

fn empty_gpt(disk: &Disk) -> Result<()> {
    disk.tool("echo 'label: gpt' | sfdisk --quiet \"$1\"")
}

/// As `pvcreate` of LVM 2.03 writes it: the label, and the header of an empty metadata area.
fn lvm(disk: &Disk) -> Result<()> {
    let mut label = b"LABELONE\x01\0\0\0\0\0\0\0\x54\x22\xb9\xef\x20\0\0\0LVM2 001".to_vec();
    label.extend_from_slice(b"1qXev0YxtHV4VK8awN3Ba4HViC4vs0rn\0\0\0\x04\0\0\0\0\0\0\x10\0\0\0\0\0");
    label.resize(0x60, 0);
    label.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\xf0\x0f\0\0\0\0\0");
    label.resize(0x88, 0);
    label.push(2);
    disk.write(512, &label)
}

/// The superblock of an md array, version 1.2.
fn raid(disk: &Disk) -> Result<()> {
    let mut block = vec![0; 256];
    block[..8].copy_from_slice(b"\xfc\x4e\x2b\xa9\x01\0\0\0");
    block[16..32].copy_from_slice(UUID);
    block[144] = 8;
    disk.write(4096, &block)
}

/// The header of LUKS 1.
fn luks(disk: &Disk) -> Result<()> {
    disk.write(0, b"LUKS\xba\xbe\0\x01aes")?;
    disk.write(168, b"11111111-2222-4333-8444-555555555555")
}

/// A boot sector of FAT16, as `mkfs.fat` writes it.
fn vfat(disk: &Disk) -> Result<()> {
    disk.write(0, b"\xeb\x3c\x90mkfs.fat\0\x02\x04\x04\0\x02\0\x02\0\0\xf8\x80\0\x20\0\x02\0\0\0\0\0\0\0\x02\0")?;
    disk.write(36, b"\x80\0\x29\x78\x56\x34\x12NO NAME    FAT16   ")?;
    disk.write(510, b"\x55\xaa")
}

/// A boot sector of NTFS with the records that it points to.
fn ntfs(disk: &Disk) -> Result<()> {
    disk.write(0, b"\xeb\x52\x90NTFS    \0\x02\x08\0\0\0\0\0\0\0\xf8")?;
    disk.write(40, b"\xff\xff\x01\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\xf6\0\0\0\x01")?;
    disk.write(510, b"\x55\xaa")?;
    disk.write(4 * 4096, b"FILE")?;
    disk.write(4 * 4096 + 3 * 1024, b"FILE")
}

/// The superblocks of two filesystems at once.
fn two_in_one(disk: &Disk) -> Result<()> {
    disk.mkfs("xfs")?;
    let xfs = disk.read(0, 512)?;
    disk.mkfs("ext4")?;
    disk.write(0, &xfs)
}

/// `blkid` finds nothing here: only the copies of the superblock tell.
fn ext4_without_front(disk: &Disk) -> Result<()> {
    disk.mkfs("ext4")?;
    disk.fill(0, 64 << 10, 0)
}

fn xfs_without_front(disk: &Disk) -> Result<()> {
    disk.mkfs("xfs")?;
    disk.fill(0, 64 << 10, 0)
}
