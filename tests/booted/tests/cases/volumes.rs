//! The life of volumes on a booted machine, without Kubernetes: late disks, disks with data, edits by hand.

use anyhow::{Result, bail};
use bowline_booted::looks::{
    BLANK_ONLY, SOON, Stand, install, look_again, node_of, until, until_ready, until_refused, volume_on,
};
use bowline_booted::{ADDRESS, configure};
use bowline_testbed::{Cast, Disk, Machine, case_of};

#[test]
fn a_late_disk_is_taken_in_by_itself_and_edits_by_hand_are_put_back() -> Result<()> {
    case_of(Cast::PLAIN, "late-disk", |bed| {
        let (late, other) = (bed.disk("81000", "64M")?, bed.disk("81001", "64M")?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&other).start()?;
        let settings = volume_on(&late, "late", BLANK_ONLY);
        install(&machine, &settings)?;

        let stand = until(&machine, "late", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        let node = node_of(&machine, &other)?;
        let Stand::Waiting(what, why) = &stand else { bail!("{stand:?}") };
        assert_eq!(*what, format!("the disk {}", late.link()));
        assert!(why.starts_with("it is not attached; attached: /dev/") && why.contains(&node), "{why}");
        let untouched = other.sha256()?;
        machine.attach(&late)?;
        until_ready(&machine, "late")?;
        assert_eq!(other.sha256()?, untouched, "the other disk is nobody's business");
        assert_eq!(
            machine.ok("findmnt -no FSTYPE,LABEL,OPTIONS /mnt/late")?.split_whitespace().take(2).collect::<Vec<_>>(),
            ["ext4", "late"]
        );

        // The mount unit edited by hand: put back as soon as systemd reads it, and by the next start at the latest, with
        // the reason in the plan; the volume stays mounted.
        let unit = "/etc/systemd/system/mnt-late.mount";
        let ours = machine.read(unit)?;
        let edit = format!("echo > /mnt/late/precious; echo 'Options=ro' >> {unit}; systemctl daemon-reload");
        machine.ok(&edit)?;
        machine.wait_for("the unit to be put back", SOON, || Ok(machine.read(unit)? == ours))?;
        machine.ok(&format!("systemctl stop bowline; {edit}"))?;
        let plan = machine.ok("bowline plan")?;
        assert!(plan.contains(&format!("write {unit}")) && plan.contains("it was edited by"), "{plan}");
        assert!(machine.run("bowline apply")?.success());
        assert_eq!(machine.read(unit)?, ours);
        assert_eq!(machine.ok("systemctl show -p NeedDaemonReload --value mnt-late.mount")?.trim(), "no");
        machine.ok("systemctl start bowline; findmnt /mnt/late")?;
        // Disabled by hand: the next boot must find it all the same.
        machine.ok("systemctl disable mnt-late.mount")?;
        look_again(&machine)?;
        until_ready(&machine, "late")?;
        machine.ok("systemctl is-enabled mnt-late.mount")?;

        // Another machine of the same name gets the disk: its data is there, and nothing is formatted.
        machine.recreate()?;
        install(&machine, &settings)?;
        until_ready(&machine, "late")?;
        machine.ok("test -e /mnt/late/precious")?;
        assert_eq!(machine.run("journalctl -q -o cat -u 'bowline-mkfs-*'")?.stdout, "", "no mkfs on this machine");
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0);
        Ok(())
    })
}

#[test]
fn filesystems_that_are_there_or_asked_for() -> Result<()> {
    case_of(Cast::PLAIN, "filesystems", |bed| {
        let disk = |serial: &str, size: &str| bed.disk(serial, size);
        let (old_ext4, old_xfs) = (disk("82000", "64M")?, disk("82001", "320M")?);
        let (new_xfs, new_btrfs, by_serial) = (disk("82002", "320M")?, disk("82003", "128M")?, disk("82004", "64M")?);
        let (outer, inner) = (disk("82005", "64M")?, disk("82006", "64M")?);
        old_ext4.mkfs("ext4 -L somebody")?;
        old_xfs.mkfs("xfs -L theirs")?;
        let attached = [&old_ext4, &old_xfs, &new_xfs, &new_btrfs, &by_serial, &inner];
        let machine = attached.iter().fold(bed.machine("n1").address(ADDRESS), |m, d| m.disk(d)).start()?;
        // Bare in a container; udev asks the kernel through it whether a btrfs is complete.
        machine.ok("mknod /dev/btrfs-control c 10 234")?;
        machine.ok(&format!("mount {} /mnt && echo kept > /mnt/file && umount /mnt", old_ext4.link()))?;

        let xfs = "filesystem = \"xfs\"\n";
        let by = format!(
            "[[volume]]\nname = \"serial\"\nserial = \"{}\"\nmount = \"/mnt/serial\"\n{BLANK_ONLY}\n",
            serial(&machine, &by_serial)?
        );
        let nested = volume_on(&inner, "inner", BLANK_ONLY).replace("/mnt/inner", "/mnt/outer/deep/inner");
        let settings = [
            volume_on(&old_ext4, "ext4", ""),
            volume_on(&old_xfs, "xfs", xfs),
            volume_on(&new_xfs, "new-xfs", &format!("{xfs}{BLANK_ONLY}\noptions = [\"noatime\"]")),
            volume_on(&new_btrfs, "new-btrfs", &format!("filesystem = \"btrfs\"\n{BLANK_ONLY}")),
            by,
            nested,
            volume_on(&outer, "outer", BLANK_ONLY),
        ]
        .concat();
        install(&machine, &settings)?;
        for name in ["ext4", "xfs", "new-xfs", "new-btrfs", "serial"] {
            until_ready(&machine, name)?;
        }
        let mounts = machine.ok("findmnt -rno TARGET,FSTYPE,LABEL | grep ^/mnt/ | sort")?;
        let wanted = "/mnt/ext4 ext4 somebody\n/mnt/new-btrfs btrfs new-btrfs\n/mnt/new-xfs xfs new-xfs\n/mnt/serial ext4 serial\n/mnt/xfs xfs theirs\n";
        assert_eq!(mounts, wanted);
        assert!(machine.ok("findmnt -no OPTIONS /mnt/new-xfs")?.contains("noatime"));
        assert_eq!(machine.read("/mnt/ext4/file")?, "kept\n");
        let said = machine.journal("bowline")?;
        assert!(said.contains("label somebody") && said.contains(", last mounted at /mnt on 20"), "{said}");

        // Nested: the inner one waits for the outer one, whose disk comes late.
        let why = "/mnt/outer/deep/inner lies on it: mounted now, it would be hidden later".to_string();
        let wait = Stand::Waiting("the volume outer at /mnt/outer".to_string(), why);
        until(&machine, "inner", "to wait for the outer one", |s| *s == wait)?;
        machine.ok("test -d /mnt/outer && ! touch /mnt/outer/x && test ! -e /mnt/outer/deep")?;
        machine.attach(&outer)?;
        until_ready(&machine, "outer")?;
        until_ready(&machine, "inner")?;
        machine.reboot()?;
        for name in ["inner", "outer", "ext4", "xfs", "new-xfs", "serial"] {
            until_ready(&machine, name)?;
        }
        machine.ok("mknod /dev/btrfs-control c 10 234; udevadm trigger -s block --settle")?;
        until_ready(&machine, "new-btrfs")?;
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0, "{}", machine.run("bowline plan")?);
        Ok(())
    })
}

#[test]
fn what_others_use_is_left_to_them() -> Result<()> {
    case_of(Cast::PLAIN, "used-volumes", |bed| {
        let disk = |serial: &str| bed.disk(serial, "64M");
        let (never, elsewhere, filled, file) = (disk("83000")?, disk("83001")?, disk("83002")?, disk("83003")?);
        let (fstab, unit, taken, read_only) = (disk("83004")?, disk("83005")?, disk("83006")?, disk("83007")?);
        let all = [&never, &elsewhere, &filled, &file, &fstab, &unit, &taken, &read_only];
        elsewhere.mkfs("ext4 -E lazy_itable_init=0,lazy_journal_init=0")?;
        read_only.mkfs("ext4")?;
        let machine = all.iter().fold(bed.machine("n1").address(ADDRESS), |m, d| m.disk(d)).start()?;
        machine.ok(&format!(
            "mkdir -p /srv/old /mnt/filled /mnt/taken /mnt/ro && mount {} /srv/old && echo kept > /srv/old/file && sync
             echo theirs > /mnt/filled/file; echo x > /mnt/file
             echo '/dev/disk/by-label/nowhere /mnt/fstab ext4 noauto 0 0' >> /etc/fstab
             printf '[Mount]\\nWhat=tmpfs\\nWhere=/mnt/unit\\nType=tmpfs\\n' > /etc/systemd/system/mnt-unit.mount
             mount -t tmpfs tmpfs /mnt/taken && mount -o ro {} /mnt/ro && systemctl daemon-reload",
            elsewhere.link(),
            read_only.link()
        ))?;
        let blank = [&never, &filled, &file, &fstab, &unit, &taken];
        let before = blank.iter().map(|d| d.sha256()).collect::<Result<Vec<_>>>()?;
        let settings = [
            volume_on(&never, "never", ""),
            volume_on(&elsewhere, "elsewhere", BLANK_ONLY),
            volume_on(&filled, "filled", BLANK_ONLY),
            volume_on(&file, "file", BLANK_ONLY),
            volume_on(&fstab, "fstab", BLANK_ONLY),
            volume_on(&unit, "unit", BLANK_ONLY),
            volume_on(&taken, "taken", BLANK_ONLY),
            volume_on(&read_only, "ro", BLANK_ONLY),
        ]
        .concat();
        install(&machine, &settings)?;

        let node = |disk: &Disk| node_of(&machine, disk);
        let refused = |name: &str, why: String| until_refused(&machine, name, &why);
        let hint = refused("never", format!("{} is blank, and `format` is \"never\"", node(&never)?))?;
        assert_eq!(hint, "set `format = \"blank-only\"` on the volume, or format the disk yourself");
        let hint = refused("elsewhere", format!("{} is mounted at /srv/old", node(&elsewhere)?))?;
        assert_eq!(hint, "`umount /srv/old`, or correct `device`");
        let hint = refused("filled", "/mnt/filled is not empty: it holds file".into())?;
        assert_eq!(hint, "a mount would hide these files: move them away, or choose another `mount`");
        refused("file", "/mnt/file is not a directory".into())?;
        let line = machine.ok("grep -n nowhere /etc/fstab | cut -d: -f1")?.trim().to_owned();
        let hint = refused(
            "fstab",
            format!(
                "line {line} of /etc/fstab mounts /dev/disk/by-label/nowhere at /mnt/fstab as ext4, and the settings mount {} at /mnt/fstab",
                node(&fstab)?
            ),
        )?;
        assert!(hint.starts_with("remove that line or unit (and `systemctl daemon-reload`), or correct"), "{hint}");
        let theirs = "/etc/systemd/system/mnt-unit.mount";
        let why = format!(
            "{theirs} mounts tmpfs at /mnt/unit as tmpfs, and the settings mount {} at /mnt/unit",
            node(&unit)?
        );
        refused("unit", why)?;
        refused("taken", "tmpfs is already mounted there".into())?;
        refused("ro", format!("{} at /mnt/ro is mounted read-only", node(&read_only)?))?;
        look_again(&machine)?;
        let after = blank.iter().map(|d| d.sha256()).collect::<Result<Vec<_>>>()?;
        assert_eq!(before, after, "nothing was written");
        assert_eq!(machine.ok("cat /srv/old/file /mnt/filled/file")?, "kept\ntheirs\n");

        // Each remedy, carried out.
        machine.ok(&format!(
            "umount() {{ for _ in 1 2 3 4 5 6 7 8 9 10; do command umount $1 && return; sleep 0.5; done; }}
             umount /srv/old; mv /mnt/filled/file /srv/; rm /mnt/file {theirs}; sed -i /nowhere/d /etc/fstab
             umount /mnt/taken; umount /mnt/ro; systemctl daemon-reload"
        ))?;
        configure(
            &machine,
            &settings.replacen("mount = \"/mnt/never\"\n", &format!("mount = \"/mnt/never\"\n{BLANK_ONLY}\n"), 1),
        )?;
        look_again(&machine)?;
        for name in ["never", "elsewhere", "filled", "file", "fstab", "unit", "taken", "ro"] {
            until_ready(&machine, name)?;
        }
        assert_eq!(machine.read("/mnt/elsewhere/file")?, "kept\n");
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0, "{}", machine.run("bowline plan")?);
        Ok(())
    })
}

#[test]
fn what_others_say_of_a_disk_is_left_in_charge_or_refused() -> Result<()> {
    case_of(Cast::PLAIN, "volumes-of-fstab", |bed| {
        let (equal, blank, hetzner) = (bed.disk("83100", "64M")?, bed.disk("83101", "64M")?, bed.disk("83102", "64M")?);
        equal.mkfs("ext4")?;
        hetzner.mkfs("ext4")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&equal).disk(&blank).disk(&hetzner).start()?;
        machine.ok(&format!(
            "ln -s /dev/null /etc/systemd/system/tmp.mount
             echo '{} /mnt/equal ext4 noauto 0 0' >> /etc/fstab; echo '{} /mnt/blank auto noauto 0 0' >> /etc/fstab
             echo '{} /mnt/HC_Volume_83102 ext4 discard,nofail,defaults 0 0' >> /etc/fstab
             mkdir -p /var/lib/cloud/instance && printf 'fs_setup:\n- device: {}\n' > /var/lib/cloud/instance/cloud-config.txt",
            equal.link(),
            blank.link(),
            hetzner.link(),
            blank.link()
        ))?;
        let settings =
            volume_on(&equal, "equal", "") + &volume_on(&blank, "blank", BLANK_ONLY) + &volume_on(&hetzner, "data", "");
        install(&machine, &settings)?;

        // Equal: whoever has said it first mounts it, and Bowline has no unit of its own beside that.
        until_ready(&machine, "equal")?;
        until_ready(&machine, "blank")?;
        machine.ok("test ! -e /etc/systemd/system/mnt-equal.mount && test ! -e /etc/systemd/system/mnt-blank.mount && findmnt /mnt/blank")?;
        let plan = machine.ok("bowline plan")?;
        assert!(plan.contains("which is left in charge") && plan.contains("(`fs_setup`)"), "{plan}");

        // Hetzner's `automount`, at another place: told with its line, and nothing is mounted twice.
        let line = machine.ok("grep -n HC_Volume_83102.*discard /etc/fstab | cut -d: -f1")?.trim().to_owned();
        let why = format!(
            "line {line} of /etc/fstab mounts {} at /mnt/HC_Volume_83102 as ext4, and the settings mount {} at /mnt/data",
            hetzner.link(),
            node_of(&machine, &hetzner)?
        );
        until_refused(&machine, "data", &why)?;
        machine.ok("sed -i /discard/d /etc/fstab; systemctl daemon-reload")?;
        look_again(&machine)?;
        until_ready(&machine, "data")?;
        Ok(())
    })
}

/// What the machine takes for the serial of a disk: that of a loop device is its file.
fn serial(machine: &Machine, disk: &Disk) -> Result<String> {
    let node = node_of(machine, disk)?;
    Ok(machine
        .ok(&format!("cat /sys/block/{}/loop/backing_file", node.trim_start_matches("/dev/")))?
        .trim()
        .to_string())
}

/// `mkfs.ext4` on a slow disk: it says how far it is, and stays there until it may go on.
const SLOW_MKFS: &str = "#!/bin/bash
printf 'Writing inode tables:  12/160\\b\\b\\b\\b\\b\\b\\b'
until [ -e /run/go-on ]; do sleep 0.05; done
exec -a mkfs.ext4 /usr/sbin/mke2fs \"$@\"
";

#[test]
fn how_far_mkfs_is_is_seen_on_a_terminal_and_in_lines_elsewhere() -> Result<()> {
    case_of(Cast::PLAIN, "mkfs-progress", |bed| {
        let disk = bed.disk("83000", "64M")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).start()?;
        machine.put("/usr/local/sbin/mkfs.ext4", SLOW_MKFS, 0o755)?;
        install(&machine, &volume_on(&disk, "data", BLANK_ONLY))?;
        machine.ok("systemd-run -q --unit terminal script -qec 'bowline apply --wait 1s' /run/terminal
             systemd-run -q --unit pipe sh -c 'bowline apply --wait 1s 2> /run/pipe'")?;
        let shows = |file: &str, words: &str| {
            machine.wait_for(&format!("{words:?} in {file}"), SOON, || {
                Ok(machine.run(&format!("cat {file}"))?.stdout.contains(words))
            })
        };
        shows("/run/terminal", "  [=>                  ]    7 %  writing inode tables")?;
        shows("/run/pipe", "begun: volume/data: format ")?;
        machine.ok("touch /run/go-on")?;
        until_ready(&machine, "data")?;
        for file in ["/run/terminal", "/run/pipe"] {
            shows(file, "done: volume/data: format ")?;
        }
        assert!(!machine.read("/run/pipe")?.contains(['%', '\r']), "{}", machine.read("/run/pipe")?);
        Ok(())
    })
}
