//! Damaged XFS and btrfs: refused with the command that mends them, or repaired where nothing is lost, and a log is never given up.

use anyhow::{Context, Result, bail};
use bowline_booted::looks::{Stand, install, look_again, node_of, until, until_ready, volume_on};
use bowline_booted::{ADDRESS, configure};
use bowline_testbed::{Cast, Disk, Machine, case_of};

/// The smallest that `mkfs.xfs` makes has four groups of 80 MiB.
const SIZE: &str = "320M";
/// Where the first group's inode header is, the second one's free space header, and the root directory's inode.
const AGI: u64 = 1024;
const AGF: u64 = (80 << 20) + 512;
const ROOT: u64 = 64 << 10;

#[test]
fn a_damaged_xfs_is_refused_with_the_command_that_mends_it() -> Result<()> {
    case_of(Cast::PLAIN, "xfs-damaged", |bed| {
        let disk = bed.disk("88000", SIZE)?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).start()?;
        made(&machine, &disk, false)?;
        damage(&machine, &disk, AGI)?;
        let data = front(&machine, &disk)?;
        install(&machine, &volume_on(&disk, "data", "filesystem = \"xfs\""))?;

        let (error, hint) = failing(&machine, "data", "has to be repaired")?;
        let node = node_of(&machine, &disk)?;
        assert!(error.starts_with(&format!("xfs on {node} has to be repaired: ")), "{error}");
        assert!(error.contains("bad magic # 0x0 for agi 0"), "{error}");
        let command = format!("xfs_repair {node}");
        assert!(hint.contains("nothing was changed. `xfs_repair") && hint.contains("repair = \"safe\""), "{hint}");
        let seen = disk.sha256()?;
        for _ in 0..2 {
            look_again(&machine)?;
            failing(&machine, "data", "has to be repaired")?;
        }
        assert_eq!(disk.sha256()?, seen, "it is not mounted again, nor written to");
        assert_eq!(front(&machine, &disk)?, data, "nor by the mount that failed");

        let printed = hint.split('`').find(|text| **text == *command).context("the command is in the hint")?;
        machine.ok(printed)?;
        look_again(&machine)?;
        until_ready(&machine, "data")?;
        all_is_there(&machine, "data")
    })
}

#[test]
fn an_xfs_is_repaired_once_its_log_is_replayed_and_never_without() -> Result<()> {
    case_of(Cast::PLAIN, "xfs-repaired", |bed| {
        let [clean, half, torn, whole] = ["88100", "88101", "88102", "88103"].map(|serial| bed.disk(serial, SIZE));
        let (clean, half, torn, whole) = (clean?, half?, torn?, whole?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&clean).disk(&half).disk(&torn).disk(&whole).start()?;
        // A clean log and damage; a log to be replayed, and damage that it can be replayed around, or cannot; and no damage.
        made(&machine, &clean, false)?;
        damage(&machine, &clean, AGI)?;
        for (disk, at) in [(&half, Some(AGF)), (&torn, Some(ROOT)), (&whole, None)] {
            made(&machine, disk, true)?;
            if let Some(at) = at {
                damage(&machine, disk, at)?;
            }
        }
        assert_eq!(log(&machine, &torn)?, "DIRTY");
        let settings = |more: &str, option: &str| {
            let more = format!("filesystem = \"xfs\"\n{more}");
            ["clean", "half", "torn"]
                .iter()
                .zip([&clean, &half, &torn])
                .map(|(name, disk)| volume_on(disk, name, &more))
                .collect::<String>()
                + &volume_on(&whole, "whole", &format!("{more}\n{option}"))
        };

        // Nobody allows a repair. An option that XFS does not take makes the mount of a sound one fail as well: its log is no damage.
        install(&machine, &settings("", "options = [\"logbufs=1\"]"))?;
        for name in ["clean", "half"] {
            let (_, hint) = failing(&machine, name, "has to be repaired: ")?;
            assert!(hint.contains("`xfs_repair /dev/"), "{hint}");
        }
        failing(&machine, "whole", "mnt-whole.mount")?;
        configure(&machine, &settings("", ""))?;
        until_ready(&machine, "whole")?;
        all_is_there(&machine, "whole")?;

        configure(&machine, &settings("repair = \"safe\"", ""))?;
        look_again(&machine)?;
        for name in ["clean", "half"] {
            until_ready(&machine, name)?;
            all_is_there(&machine, name)?;
        }
        let (error, hint) = failing(&machine, "torn", "its log cannot be replayed")?;
        assert!(error.contains("Structure needs cleaning"), "{error}");
        let gives_up = format!(
            "`xfs_repair -L {}` gives up what its log holds, which Bowline never does",
            node_of(&machine, &torn)?
        );
        assert!(hint.contains(&gives_up) && hint.contains("mount -o ro,norecovery"), "{hint}");
        assert_eq!(log(&machine, &torn)?, "DIRTY", "all that it holds is still there");
        Ok(())
    })
}

#[test]
fn an_option_that_the_kernel_does_not_take_is_no_damage() -> Result<()> {
    case_of(Cast::PLAIN, "option-refused", |bed| {
        let disk = bed.disk("88300", "64M")?;
        disk.mkfs("ext4")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).start()?;
        machine.put(
            "/usr/local/sbin/e2fsck",
            "#!/bin/sh\ntouch /run/checked\nexec /usr/sbin/e2fsck \"$@\"\n",
            0o755,
        )?;
        install(&machine, &volume_on(&disk, "data", "options = [\"noatim\"]"))?;
        for _ in 0..2 {
            failing(&machine, "data", "mnt-data.mount")?;
            look_again(&machine)?;
        }
        machine.ok("test ! -e /run/checked")?;
        machine.reboot()?;
        failing(&machine, "data", "mnt-data.mount")?;
        machine.ok("test ! -e /run/checked")?;
        // systemd goes on saying that it failed, whichever option it is by now: it is checked once.
        configure(&machine, &volume_on(&disk, "data", "options = [\"noatime\"]"))?;
        until_ready(&machine, "data")?;
        machine.ok("findmnt -no OPTIONS /mnt/data | grep noatime")?;
        Ok(())
    })
}

#[test]
fn a_damaged_btrfs_is_refused_and_left_alone() -> Result<()> {
    case_of(Cast::PLAIN, "btrfs-damaged", |bed| {
        let disk = bed.disk("88200", "128M")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).start()?;
        machine.ok("mknod /dev/btrfs-control c 10 234")?;
        let link = disk.link();
        machine.ok(&format!("mkfs.btrfs -q {link} && mount {link} /mnt && echo kept > /mnt/keep && umount /mnt"))?;
        // Both copies of the tree of trees.
        machine.ok(&format!(
            "root=$(btrfs inspect-internal dump-super {link} | awk '$1 == \"root\" {{ print $2 }}')
             places=$(btrfs-map-logical -l $root {link} | sed -n 's/.* physical \\([0-9]*\\) .*/\\1/p')
             [ -n \"$places\" ] || exit 1
             for at in $places; do head -c 4096 /dev/zero | dd of={link} bs=4096 seek=$((at / 4096)) conv=notrunc,fsync status=none || exit 1; done"
        ))?;
        let before = disk.sha256()?;
        install(&machine, &volume_on(&disk, "data", "filesystem = \"btrfs\"\nrepair = \"safe\""))?;
        let (error, hint) = failing(&machine, "data", "btrfs on ")?;
        assert!(error.contains(" has to be repaired: ") && error.contains("ERROR: cannot open file system"), "{error}");
        assert!(hint.contains("nothing was changed") && hint.contains("`btrfs check --readonly /dev/"), "{hint}");
        look_again(&machine)?;
        failing(&machine, "data", "btrfs on ")?;
        assert_eq!(disk.sha256()?, before, "nothing was written");
        Ok(())
    })
}

/// An XFS with data on it, unmounted in good order, or with what was written last in its log only.
fn made(machine: &Machine, disk: &Disk, dirty: bool) -> Result<()> {
    let shutdown = if dirty { "xfs_io -x -c 'shutdown -f' /mnt" } else { "sync" };
    machine
        .ok(&format!(
            "mkfs.xfs -q {0} && mount {0} /mnt && mkdir /mnt/d && echo kept > /mnt/keep && sync && \
             for n in $(seq 200); do echo $n > /mnt/d/$n; done; sync -f /mnt/d; touch /mnt/d/last; {shutdown}; umount /mnt",
            disk.link()
        ))
        .map(drop)
}

/// Zeroes a magic number.
fn damage(machine: &Machine, disk: &Disk, at: u64) -> Result<()> {
    let link = disk.link();
    machine.ok(&format!("head -c 4 /dev/zero | dd of={link} bs=1 seek={at} conv=notrunc,fsync status=none")).map(drop)
}

/// The checksum of all between the superblock, in the first sector, and the log, which begins at 160 MiB: to these two the kernel
/// writes whenever it mounts.
fn front(machine: &Machine, disk: &Disk) -> Result<String> {
    let part = |size: u64, count: u64| {
        format!("dd if={} bs={size} skip=1 count={count} iflag=direct status=none", disk.link())
    };
    machine.ok(&format!("({}; {}) | sha256sum", part(512, 7), part(4096, (160 << 20) / 4096 - 1)))
}

/// `CLEAN` or `DIRTY`.
fn log(machine: &Machine, disk: &Disk) -> Result<String> {
    let text = machine.ok(&format!("xfs_logprint -t {} 2>&1 | sed -n 's/.*state: <\\(.*\\)>.*/\\1/p'", disk.link()))?;
    Ok(text.trim().to_owned())
}

fn all_is_there(machine: &Machine, name: &str) -> Result<()> {
    let text = machine.ok(&format!(
        "cat /mnt/{name}/keep; cat /mnt/{name}/d/200; ls /mnt/{name}/d/last; test ! -e /mnt/{name}/lost+found"
    ))?;
    assert_eq!(text, format!("kept\n200\n/mnt/{name}/d/last\n"));
    Ok(())
}

/// Waits until a volume fails with these words in its error; the error, and what is advised.
fn failing(machine: &Machine, name: &str, words: &str) -> Result<(String, String)> {
    let fits = |stand: &Stand| matches!(stand, Stand::Failing(error, _) if error.contains(words));
    match until(machine, name, words, fits)? {
        Stand::Failing(error, hint) => Ok((error, hint)),
        other => bail!("{other:?}"),
    }
}
