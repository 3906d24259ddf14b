//! A machine whose parts fail beneath the agent: said by name, with the remedy, and gone on by itself afterwards.

use anyhow::{Result, bail};
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, install, look_again, until, until_ready, volume_on};
use bowline_booted::{ADDRESS, configure};
use bowline_testbed::{Cast, K3S_VERSION, case_of};
use std::time::{Duration, Instant};

#[test]
fn without_dbus_it_says_so_and_goes_on_when_it_is_back() -> Result<()> {
    case_of(Cast::PLAIN, "no-dbus", |bed| {
        let (disk, next) = (bed.disk("95000", "64M")?, bed.disk("95001", "64M")?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&next).start()?;
        install(&machine, &volume_on(&disk, "data", BLANK_ONLY))?;
        until(&machine, "data", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        let untouched = disk.sha256()?;

        machine.ok("systemctl stop dbus.socket dbus.service")?;
        machine.attach(&disk)?;
        let unreachable = |s: &Stand| {
            let words = "the system bus (D-Bus) cannot be reached";
            matches!(s, Stand::Unknown(error) if error.contains(words))
        };
        until(&machine, "data", "unknown", unreachable)?;
        let journal = machine.journal("bowline")?;
        assert!(
            journal.contains("cannot look at volumes: ") && journal.contains("(D-Bus) cannot be reached"),
            "{journal}"
        );
        // Also one that starts without it.
        machine.kill("bowline")?;
        machine.wait_for("another agent", SOON, || {
            Ok(machine.journal("bowline")?.matches("Started bowline").count() == 2)
        })?;
        until(&machine, "data", "unknown", unreachable)?;
        assert_eq!(disk.sha256()?, untouched);
        machine.ok("systemctl start dbus.socket dbus.service")?;
        until_ready(&machine, "data")?;

        // Once more while everything stands, and with something new to do when it is back.
        machine.ok("systemctl kill --signal=KILL dbus.service; systemctl stop dbus.socket dbus.service")?;
        let both = format!("{}{}", volume_on(&disk, "data", BLANK_ONLY), volume_on(&next, "next", BLANK_ONLY));
        configure(&machine, &both)?;
        until(&machine, "next", "unknown", unreachable)?;
        machine.ok("systemctl start dbus.socket dbus.service; findmnt /mnt/data")?;
        until_ready(&machine, "next")?;
        Ok(())
    })
}

#[test]
fn read_only_and_full_filesystems_are_named() -> Result<()> {
    case_of(Cast::PLAIN, "bad-filesystems", |bed| {
        let (units, state) = (bed.disk("96000", "64M")?, bed.disk("96001", "64M")?);
        let machine = bed.machine("n1").address(ADDRESS).disk(&units).disk(&state).start()?;
        install(&machine, "# nothing yet\n")?;
        machine.ok("mount --bind /etc/systemd/system /etc/systemd/system
             mount -o remount,ro,bind /etc/systemd/system && systemctl restart bowline")?;
        configure(&machine, &volume_on(&units, "units", BLANK_ONLY))?;
        let failing = |s: &Stand| matches!(s, Stand::Failing(..));
        let said = until(&machine, "units", "failing", failing)?;
        let error = "writing /etc/systemd/system/bowline-check-mnt-units.service: Read-only file system (os error 30)";
        let hint = "is the filesystem of /etc/systemd/system mounted read-only? Look with: findmnt --target \
                    /etc/systemd/system. If so, see `dmesg`: the kernel makes a filesystem read-only when it or \
                    its disk is damaged; then it is checked first, the root's by a reboot with `fsck.mode=force`. \
                    Only one that was mounted so on purpose: `mount -o remount,rw TARGET`, the TARGET of findmnt. \
                    If not, `systemctl restart bowline` has the sandbox made anew";
        assert_eq!(said, Stand::Failing(error.into(), hint.into()));
        machine.ok("umount /etc/systemd/system; systemctl restart bowline")?;
        until_ready(&machine, "units")?;
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0);

        machine.ok("mount -t tmpfs -o size=64k tmpfs /var/lib/bowline && systemctl restart bowline
             head -c 1M /dev/zero > /var/lib/bowline/full; df /var/lib/bowline")?;
        let untouched = state.sha256()?;
        let both = format!("{}{}", volume_on(&units, "units", BLANK_ONLY), volume_on(&state, "state", BLANK_ONLY));
        configure(&machine, &both)?;
        let said = until(&machine, "state", "failing", failing)?;
        let Stand::Failing(error, hint) = said else { bail!("{said:?}") };
        assert_eq!(error, "writing /var/lib/bowline/intents/format-state.json: No space left on device (os error 28)");
        assert!(hint.starts_with("make room on the filesystem of /var/lib/bowline/intents ("), "{hint}");
        assert_eq!(state.sha256()?, untouched, "nothing without a record");
        machine.ok("rm /var/lib/bowline/full")?;
        look_again(&machine)?;
        until_ready(&machine, "state")?;
        Ok(())
    })
}

/// In K3s's place: it is asked for its version at a look, which gives it twenty seconds.
const HANGS: &str = "#!/bin/sh\necho asked >/run/bowline/asked\nexec /bin/sleep 3600\n";

/// systemd would wait for fifteen seconds, and kill it.
#[test]
fn it_is_stopped_in_the_midst_of_a_look_that_takes_long() -> Result<()> {
    case_of(Cast::PLAIN, "stopped-in-a-look", |bed| {
        let machine = bed.machine("n1").address(ADDRESS).file("/usr/local/bin/k3s", HANGS, 0o755).start()?;
        let settings = format!("[cluster]\ndistribution = \"k3s\"\nversion = \"{K3S_VERSION}\"\nrole = \"server\"\n");
        install(&machine, &settings)?;
        machine.wait_for("a look", SOON, || Ok(machine.run("test -e /run/bowline/asked")?.success()))?;
        let begun = Instant::now();
        machine.ok("systemctl stop bowline")?;
        let took = begun.elapsed();
        assert_eq!(machine.ok("systemctl show bowline -p Result --value")?.trim(), "success", "after {took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        Ok(())
    })
}
