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

/// A few of the kinds; all that disks may hold is in the museum (`museum`).
const FOREIGN: [Foreign; 4] = [
    Foreign { name: "xfs", put: |d| d.mkfs("xfs"), said: "holds a filesystem (xfs)" },
    Foreign { name: "gpt", put: |d| d.partition(), said: "holds a partition table (gpt) and a partition table (PMBR)" },
    Foreign { name: "luks", put: luks, said: "holds part of something else (crypto_LUKS)" },
    Foreign {
        name: "raw-middle",
        put: |d| d.fill(30 << 20, 2 << 20, 0xaa),
        said: "has no known signature, but data at byte 31457280",
    },
];

#[test]
fn what_is_not_blank_is_never_touched() -> Result<()> {
    case_of(Cast::PLAIN, "refused-volumes", |bed| {
        let mut settings = String::new();
        let mut disks = Vec::new();
        for (number, foreign) in FOREIGN.iter().enumerate() {
            // No XFS is smaller; zeroing the others takes time.
            let size = if foreign.name == "xfs" { "320M" } else { "64M" };
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
        until_ready(&machine, "good").context("bad disks hold up no good one")?;

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

/// The header of LUKS 1.
fn luks(disk: &Disk) -> Result<()> {
    disk.write(0, b"LUKS\xba\xbe\0\x01aes")?;
    disk.write(168, b"11111111-2222-4333-8444-555555555555")
}
