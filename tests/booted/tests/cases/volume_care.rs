//! What is done for volumes besides mounting them: nothing beneath, owner and directories, repair, release, and going in good order.

use anyhow::{Result, bail};
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, install, look_again, node_of, until, until_ready, volume_on};
use bowline_booted::{ADDRESS, configure, report};
use bowline_testbed::{Cast, Machine, case_of, say};
use std::time::{Duration, Instant};

#[test]
fn a_volume_goes_from_the_settings_or_is_released_once_nobody_uses_it() -> Result<()> {
    case_of(Cast::PLAIN, "volume-goes", |bed| {
        let (forgotten, released) = (bed.disk("84000", "64M")?, bed.disk("84001", "64M")?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&forgotten).disk(&released).start()?;
        let stays = volume_on(&released, "released", BLANK_ONLY);
        install(&machine, &(volume_on(&forgotten, "forgotten", BLANK_ONLY) + &stays))?;
        until_ready(&machine, "forgotten")?;
        until_ready(&machine, "released")?;
        machine.ok("echo kept > /mnt/forgotten/file; echo kept > /mnt/released/file")?;

        // Out of the settings, and in use: who uses it is named, and all stays as it is.
        machine.ok("systemd-run -q --unit user-of-it --working-directory=/mnt/forgotten sleep infinity")?;
        configure(&machine, &stays)?;
        let fits = |s: &Stand| matches!(s, Stand::Failing(error, _) if error.starts_with("/mnt/forgotten is in use by sleep ("));
        until(&machine, "forgotten", "in use", fits)?;
        assert_eq!(machine.read("/mnt/forgotten/file")?, "kept\n");
        let gone = "test ! -e /etc/systemd/system/mnt-forgotten.mount && ! mountpoint -q /mnt/forgotten";
        machine.ok("systemctl stop user-of-it")?;
        look_again(&machine)?;
        machine.wait_for("the volume to be gone", SOON, || Ok(machine.run(gone)?.success()))?;
        machine.ok("systemctl is-enabled mnt-forgotten.mount; [ $? != 0 ] && touch /mnt/forgotten/mine && rm /mnt/forgotten/mine")?;
        machine.ok(&format!(
            "mount {} /mnt/forgotten && grep -q kept /mnt/forgotten/file && for _ in 1 2 3 4 5 6 7 8 9 10; do umount /mnt/forgotten && break; sleep 0.5; done",
            forgotten.link()
        ))?;

        // Released, and in use: it is told, and goes on trying.
        let unknown = machine.run("bowline volumes release data")?;
        assert!(unknown.code == 1 && unknown.stderr.contains("the settings have: released"), "{unknown:?}");
        machine.ok("systemd-run -q --unit user-of-it sh -c 'exec sleep infinity < /mnt/released/file'")?;
        let busy = machine.run("bowline volumes release released --timeout 2s")?;
        assert_eq!(busy.code, 3, "{busy:?}");
        // The daemon that it asked is started anew: the next one does it.
        let restarted = "bowline volumes release released & release=$!
            sleep 1; systemctl restart bowline && systemctl stop user-of-it; wait $release";
        let done = machine.run_with(restarted, b"", SOON)?;
        assert!(done.success() && done.stdout.contains("can be detached"), "{done:?}");
        let fits =
            |s: &Stand| matches!(s, Stand::Waiting(what, _) if what.contains("or `bowline volumes take released`"));
        until(&machine, "released", "released", fits)?;
        let away = |machine: &Machine| machine.ok("! mountpoint -q /mnt/released && ! touch /mnt/released/x");
        away(&machine)?;
        machine.reboot()?;
        until(&machine, "released", "released", fits)?;
        away(&machine)?;

        // Taken back; and released again for another machine: when the disk is gone and comes back, it is mounted.
        machine.ok("bowline volumes take released")?;
        until_ready(&machine, "released")?;
        assert!(machine.run_with("bowline volumes release released", b"", SOON)?.success());
        machine.detach(&released)?;
        until(
            &machine,
            "released",
            "to be waited for",
            |s| matches!(s, Stand::Waiting(what, _) if what.starts_with("the disk")),
        )?;
        machine.attach(&released)?;
        until_ready(&machine, "released")?;
        assert_eq!(machine.read("/mnt/released/file")?, "kept\n");
        Ok(())
    })
}

#[test]
fn a_mount_that_only_a_container_still_has_is_not_off_its_disk() -> Result<()> {
    case_of(Cast::PLAIN, "volume-in-container", |bed| {
        let disk = bed.disk("84100", "64M")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).start()?;
        install(&machine, &volume_on(&disk, "data", BLANK_ONLY))?;
        until_ready(&machine, "data")?;
        machine.ok("mkdir /mnt/data/x")?;
        // As a pod has it: in mounts of its own, where no unmounting reaches.
        machine.ok(
            "systemd-run -q --unit pod -p PrivateMounts=yes sh -c \
             'mkdir -p /run/pod && mount --make-rprivate / && mount --bind /mnt/data/x /run/pod && umount /mnt/data && exec sleep infinity'",
        )?;
        machine.wait_for("the container", SOON, || {
            Ok(machine.run("grep -q /run/pod /proc/$(systemctl show -P MainPID pod)/mountinfo")?.success())
        })?;
        let busy = machine.run_with("bowline volumes release data --timeout 15s", b"", SOON)?;
        assert_eq!(busy.code, 3, "{busy:?}");
        let Stand::Failing(error, _) = until(&machine, "data", "held", |s| matches!(s, Stand::Failing(..)))? else {
            bail!("it has to fail")
        };
        assert!(error.starts_with("/mnt/data is in use by sleep ("), "{error}");
        machine.ok("systemctl stop pod")?;
        assert!(machine.run_with("bowline volumes release data", b"", SOON)?.success());
        Ok(())
    })
}

#[test]
fn nothing_lies_beneath_and_owners_are_as_the_settings_say() -> Result<()> {
    case_of(Cast::PLAIN, "volume-owners", |bed| {
        let (disk, old) = (bed.disk("84200", "64M")?, bed.disk("84201", "64M")?);
        old.mkfs("ext4")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).disk(&old).start()?;
        let more = "owner = \"1001:0\"\nmode = \"0750\"\n\
             directories = [{ path = \"data-0\", owner = \"1001:0\", mode = \"0770\" }, { path = \"a/b\" }]\n";
        let settings =
            |more: &str| volume_on(&disk, "data", &format!("{BLANK_ONLY}\n{more}")) + &volume_on(&old, "old", "");
        install(&machine, &settings(more))?;
        until_ready(&machine, "data")?;
        until_ready(&machine, "old")?;
        let stat =
            |path: &str| -> Result<String> { Ok(machine.ok(&format!("stat -c '%u:%g %a' {path}"))?.trim().to_owned()) };
        assert_eq!((stat("/mnt/data")?.as_str(), stat("/mnt/data/data-0")?.as_str()), ("1001:0 750", "1001:0 770"));
        assert_eq!(stat("/mnt/data/a/b")?, "0:0 755");

        // Beneath, nobody can write, root neither: under a volume that was formatted here, and one that was not.
        machine.ok("mkdir /run/under && mount --bind / /run/under")?;
        for name in ["data", "old"] {
            let error = machine.run(&format!("touch /run/under/mnt/{name}/x"))?;
            assert!(error.stderr.contains("Operation not permitted"), "{name}: {error:?}");
        }

        // Its own directory is kept; those on it belong to who uses them, and a link of theirs leads nowhere.
        machine.ok("chown 0:0 /mnt/data; chown 7:7 /mnt/data/data-0; rm -r /mnt/data/a; ln -s /etc /mnt/data/a")?;
        look_again(&machine)?;
        let fits = |s: &Stand| matches!(s, Stand::Failing(error, _) if error.contains("/mnt/data/a/b"));
        until(&machine, "data", "a link in the way", fits)?;
        machine.ok("test ! -e /etc/b; rm /mnt/data/a")?;
        look_again(&machine)?;
        until_ready(&machine, "data")?;
        assert_eq!((stat("/mnt/data")?.as_str(), stat("/mnt/data/data-0")?.as_str()), ("1001:0 750", "7:7 770"));
        Ok(())
    })
}

#[test]
fn a_filesystem_that_has_to_be_repaired_is_refused_or_repaired_as_the_settings_say() -> Result<()> {
    case_of(Cast::PLAIN, "volume-repair", |bed| {
        let (broken, dirty, cut) = (bed.disk("84300", "64M")?, bed.disk("84301", "64M")?, bed.disk("84302", "64M")?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&broken).disk(&dirty).disk(&cut).start()?;
        for disk in [&broken, &dirty] {
            machine.ok(&format!(
                "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 {0} && mount {0} /mnt && echo kept > /mnt/keep && echo x > /mnt/victim && umount /mnt",
                disk.link()
            ))?;
        }
        // An entry whose inode is gone, and the kernel's note that it met errors; and a filesystem that was not unmounted.
        machine.ok(&format!("debugfs -w -R 'clri victim' {0} && debugfs -w -R 'ssv state 2' {0}", broken.link()))?;
        machine.ok(&format!("debugfs -w -R 'feature needs_recovery' {}", dirty.link()))?;
        // One whose journal holds what is not in its place yet, and an option that makes its mount fail: it is sound.
        machine.ok(&format!(
            "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 {0} && mount {0} /mnt && mkdir /mnt/d && sync && \
             for n in $(seq 200); do echo $n > /mnt/d/$n; done; sync -f /mnt/d; rm /mnt/d/9*; sync -f /mnt/d; \
             xfs_io -x -c 'shutdown -f' /mnt; umount /mnt",
            cut.link()
        ))?;
        let flags = machine.ok(&format!("dumpe2fs -h {} 2>&1", cut.link()))?;
        assert!(flags.contains("needs_recovery"), "{flags}");
        let before = broken.sha256()?;
        let settings = |more: &str| volume_on(&broken, "broken", more) + &volume_on(&dirty, "dirty", "");
        let of_cut = |option: &str| volume_on(&cut, "cut", option);
        install(&machine, &(settings("") + &of_cut("options = [\"nonsense\"]")))?;
        until(&machine, "cut", "not to be mounted", |s| matches!(s, Stand::Failing(..)))?;
        configure(&machine, &(settings("") + &of_cut("")))?;
        until_ready(&machine, "cut")?;
        assert_eq!(machine.ok("cat /mnt/cut/d/88; ls /mnt/cut/d | wc -l")?, "88\n189\n");
        configure(&machine, &settings(""))?;
        until_ready(&machine, "dirty")?;
        let Stand::Failing(error, hint) = until(&machine, "broken", "refused", |s| matches!(s, Stand::Failing(..)))?
        else {
            bail!("it has to fail")
        };
        let says = format!("ext4 on {} has to be repaired: Entry 'victim' ", node_of(&machine, &broken)?);
        assert!(error.starts_with(&says), "{error}");
        assert!(
            hint.contains("nothing was changed. `e2fsck -p -f /dev/") && hint.contains("repair = \"safe\""),
            "{hint}"
        );
        assert_eq!(broken.sha256()?, before, "nothing was written");

        configure(&machine, &settings("repair = \"safe\""))?;
        look_again(&machine)?;
        until_ready(&machine, "broken")?;
        assert_eq!(machine.ok("cat /mnt/broken/keep; ls /mnt/broken | grep -c victim || true")?, "kept\n0\n");
        assert_eq!(report(&machine)?["conditions"]["volume/broken"], "ready");

        // It meets errors again, and the other notes some that are none. systemd mounts neither at the next boot: not before Bowline
        // looks, nor without it.
        configure(&machine, &settings(""))?;
        look_again(&machine)?;
        // Bowline first: in the midst of a look it might start them again.
        machine.ok("systemctl disable --now bowline.service && systemctl stop mnt-broken.mount mnt-dirty.mount")?;
        machine.ok(&format!("debugfs -w -R 'clri keep' {}", broken.link()))?;
        for disk in [&broken, &dirty] {
            machine.ok(&format!("debugfs -w -R 'ssv state 2' {}", disk.link()))?;
        }
        let before = (broken.sha256()?, dirty.sha256()?);
        machine.reboot()?;
        for name in ["broken", "dirty"] {
            let check = format!("systemctl is-failed bowline-check-mnt-{name}.service");
            machine.wait_for(&check, SOON, || Ok(machine.run(&check)?.success()))?;
            let mounted = machine.run(&format!("systemctl start mnt-{name}.mount || mountpoint -q /mnt/{name}"))?;
            assert!(!mounted.success(), "{name} is not mounted by its unit");
        }
        assert_eq!((broken.sha256()?, dirty.sha256()?), before, "nothing was written");
        machine.ok("systemctl enable --now bowline.service")?;
        until_ready(&machine, "dirty")?;
        until(&machine, "broken", "refused", |s| matches!(s, Stand::Failing(..)))?;
        configure(&machine, &settings("repair = \"safe\""))?;
        look_again(&machine)?;
        until_ready(&machine, "broken")
    })
}

#[test]
fn a_filesystem_that_gave_up_or_turned_read_only_is_told_at_once_and_comes_back() -> Result<()> {
    case_of(Cast::PLAIN, "volume-gives-up", |bed| {
        let (xfs, ext4) = (bed.disk("84500", "320M")?, bed.disk("84501", "64M")?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&xfs).disk(&ext4).start()?;
        // What is to be looked at on it answers nothing then.
        let more = "mode = \"0750\"\ndirectories = [{ path = \"a/b\" }]";
        let settings = volume_on(&xfs, "xfs", &format!("filesystem = \"xfs\"\n{more}\n{BLANK_ONLY}"))
            + &volume_on(&ext4, "ext4", BLANK_ONLY);
        install(&machine, &settings)?;
        for name in ["xfs", "ext4"] {
            until_ready(&machine, name)?;
            machine.ok(&format!("echo kept > /mnt/{name}/file && sync /mnt/{name}/file"))?;
        }
        // An XFS whose disk fails; and an ext4 as kernels before 6.12 and its backports leave it after errors.
        machine.ok("xfs_io -x -c shutdown /mnt/xfs; mount -o remount,ro /mnt/ext4")?;
        let told = Instant::now();
        let refused = |s: &Stand| matches!(s, Stand::Refused(..));
        let Stand::Refused(why, hint) = until(&machine, "xfs", "refused", refused)? else { bail!("it gave up") };
        assert!(why.contains("at /mnt/xfs does not answer: ") && why.contains("Input/output error"), "{why}");
        assert!(hint.contains("unmount it: Bowline checks it and mounts it again"), "{hint}");
        let Stand::Refused(why, _) = until(&machine, "ext4", "refused", refused)? else { bail!("it is read-only") };
        assert!(why.ends_with("at /mnt/ext4 is mounted read-only"), "{why}");
        say(&format!("both were told after {:.1?}", told.elapsed()));
        machine.ok("! bowline status | grep -q '^ready'")?;

        // Bowline may just ask it for its room.
        machine.ok("for _ in 1 2 3 4 5 6 7 8 9 10; do umount /mnt/xfs && break; sleep 0.5; done; mount -o remount,rw /mnt/ext4")?;
        for name in ["xfs", "ext4"] {
            until_ready(&machine, name)?;
            assert_eq!(machine.read(&format!("/mnt/{name}/file"))?, "kept\n");
        }
        Ok(())
    })
}

#[test]
fn a_filesystem_grows_with_its_disk_while_it_is_used() -> Result<()> {
    case_of(Cast::PLAIN, "volume-grows", |bed| {
        let (xfs, btrfs) = (bed.disk("84400", "320M")?, bed.disk("84401", "128M")?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&xfs).disk(&btrfs).start()?;
        machine.ok("mknod /dev/btrfs-control c 10 234")?;
        let settings = volume_on(&xfs, "xfs", &format!("filesystem = \"xfs\"\n{BLANK_ONLY}"))
            + &volume_on(&btrfs, "btrfs", &format!("filesystem = \"btrfs\"\n{BLANK_ONLY}"));
        install(&machine, &settings)?;
        for (name, disk) in [("xfs", &xfs), ("btrfs", &btrfs)] {
            until_ready(&machine, name)?;
            machine.ok(&format!("systemd-run -q --unit writer-{name} sh -c 'while echo line >> /mnt/{name}/file; do sync /mnt/{name}/file; sleep 0.1; done'"))?;
            disk.resize("512M")?;
            look_again(&machine)?;
            let large = format!("[ $(findmnt -bno SIZE /mnt/{name}) -gt 440000000 ]");
            machine.wait_for("the filesystem to have grown", Duration::from_secs(60), || {
                Ok(machine.run(&large)?.success())
            })?;
            until_ready(&machine, name)?;
            machine.ok(&format!(
                "systemctl is-active writer-{name}; systemctl stop writer-{name}; ! grep -v '^line$' /mnt/{name}/file"
            ))?;
        }
        // btrfs mounts under a number that is not its disk's.
        let done = machine.run_with("bowline volumes release btrfs", b"", SOON)?;
        assert!(done.success() && !machine.run("mountpoint -q /mnt/btrfs")?.success(), "{done:?}");
        Ok(())
    })
}
