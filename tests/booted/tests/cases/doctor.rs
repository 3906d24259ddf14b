//! `bowline doctor` on a machine that something is done to: one finding for each fault, and its remedy mends it.

use anyhow::Result;
use bowline_booted::findings::{Harm, Mend, play, remedy, the_finding, well};
use bowline_booted::looks::{BLANK_ONLY, volume_on};
use bowline_booted::{VOLUME, configure, install_and_wait, releases, settings, with_k3s};
use bowline_testbed::{Cast, Disk, Machine, case_of};

const HARMS: [Harm; 12] = [
    Harm {
        done: "systemctl stop dbus.socket dbus.service",
        check: "systemd",
        found: "the system bus (D-Bus) cannot be reached",
        mend: Mend::Printed("systemctl start dbus.socket dbus.service"),
    },
    Harm {
        done: "systemctl stop bowline",
        check: "daemon",
        found: "it does not run: bowline.service is dead",
        mend: Mend::Printed("systemctl restart bowline.service"),
    },
    Harm {
        done: "systemctl mask --now bowline",
        check: "daemon",
        found: "bowline.service is masked",
        mend: Mend::Printed("systemctl unmask bowline.service && systemctl start bowline.service"),
    },
    Harm {
        done: "systemctl disable bowline",
        check: "daemon",
        found: "it runs, but bowline.service is not enabled",
        mend: Mend::Printed("systemctl enable bowline.service"),
    },
    Harm {
        done: "(umask 077; printf '[node]\\nlable = {}\\n' > /etc/bowline/config.d/20-wrong.toml)",
        check: "settings",
        found: "/etc/bowline/config.d/20-wrong.toml:2:1",
        mend: Mend::Person("label", "rm /etc/bowline/config.d/20-wrong.toml"),
    },
    Harm {
        done: "(umask 077; printf '[node]\\naddress = 10\\n' > /etc/bowline/config.d/20-wrong.toml)",
        check: "settings",
        found: "/etc/bowline/config.d/20-wrong.toml:2:11: ",
        mend: Mend::Person("`bowline check` shows the line", "rm /etc/bowline/config.d/20-wrong.toml"),
    },
    Harm {
        done: "(umask 077; printf '[[volume]]\\nname = \"data\"\\nserial = \"7\"\\n' > /etc/bowline/config.d/20-wrong.toml)",
        check: "settings",
        found: "this one has both (see also /etc/bowline/config.d/10-node.toml:",
        mend: Mend::Person("remove one of them", "rm /etc/bowline/config.d/20-wrong.toml"),
    },
    Harm {
        done: "echo Options=ro >> /etc/systemd/system/mnt-data.mount",
        check: "units of volume data",
        found: "/etc/systemd/system/mnt-data.mount is not as Bowline writes it",
        mend: Mend::Printed("bowline apply"),
    },
    Harm {
        done: "mount --bind /etc/systemd/system /etc/systemd/system && mount -o remount,ro,bind /etc/systemd/system",
        check: "/etc/systemd/system",
        found: "read-only",
        mend: Mend::Person("Only one that was mounted so on purpose", "mount -o remount,rw /etc/systemd/system"),
    },
    Harm {
        done: "mv /usr/sbin/mkfs.ext4 /root/",
        check: "mkfs.ext4",
        found: "it is not installed: volume data cannot be formatted without it",
        mend: Mend::Person("install the package e2fsprogs", "mv /root/mkfs.ext4 /usr/sbin/"),
    },
    Harm {
        done: "echo '# mine' >> /etc/systemd/system/k3s.service",
        check: "K3s's unit",
        found: "/etc/systemd/system/k3s.service",
        mend: Mend::Printed("bowline apply"),
    },
    Harm {
        done: "systemctl stop k3s",
        check: "K3s",
        found: "somebody stopped it, and Bowline does not override that",
        mend: Mend::Printed("systemctl start k3s.service"),
    },
];

/// All of /etc, where Bowline writes at two places.
const READ_ONLY: Harm = Harm {
    done: "mount --bind /etc /etc && mount -o remount,ro,bind /etc",
    check: "/etc/systemd/system",
    found: "/etc is mounted read-only",
    mend: Mend::Person("Only one that was mounted so on purpose", "mount -o remount,rw /etc"),
};

#[test]
fn each_fault_is_one_finding_whose_remedy_mends_it() -> Result<()> {
    case_of(Cast::SERVER.patient(), "doctor", |bed| {
        let releases = releases(bed)?;
        let (disk, second) = (bed.disk(VOLUME, "512M")?, bed.disk("97000", "64M")?);
        let machine = with_k3s(bed, &releases, Some(&disk))?;
        let settings = format!("{}{}", settings::server(&releases), settings::volume());
        install_and_wait(&machine, &settings)?;
        well(&machine)?;
        play(&machine, &READ_ONLY)?;
        // It was mended by a writable mount, which would be in the way of others.
        machine.ok("umount --lazy /etc")?;
        HARMS.iter().try_for_each(|harm| play(&machine, harm))?;
        bad_option(&machine, &settings)?;
        disks(&machine, &second, &settings)
    })
}

/// K3s does not know an option of its own.
fn bad_option(machine: &Machine, settings: &str) -> Result<()> {
    configure(machine, &format!("{settings}[cluster.config]\nkubelet-arg = [\"no-such-flag=1\"]\n"))?;
    let finding = the_finding(machine, "K3s", "no-such-flag")?;
    assert!(remedy(&finding).contains("fix what it names (often `[cluster.config]`)"), "{finding}");
    configure(machine, settings)?;
    well(machine)
}

/// A second volume: absent, hidden by files, foreign, partitioned, of another kind, and used by somebody.
fn disks(machine: &Machine, second: &Disk, settings: &str) -> Result<()> {
    second.tool("mkswap \"$1\"")?;
    machine.ok("mkdir -p /mnt/second && echo theirs > /mnt/second/file")?;
    configure(machine, &format!("{settings}{}", volume_on(second, "second", BLANK_ONLY)))?;
    let finding = the_finding(machine, "volume second", "it is not attached; attached: ")?;
    assert!(remedy(&finding).starts_with("attach the disk"), "{finding}");
    machine.attach(second)?;

    let finding = the_finding(machine, "volume second", "/mnt/second is not empty: it holds file")?;
    assert!(remedy(&finding).contains("move them away"), "{finding}");
    machine.ok("mv /mnt/second/file /srv/")?;

    let finding = the_finding(machine, "volume second", "holds part of something else (swap)")?;
    let commands: Vec<_> = remedy(&finding).split('`').skip(1).step_by(2).collect();
    assert!(matches!(commands[..], [wipe, zero] if wipe.starts_with("wipefs") && zero.starts_with("blkdiscard")));
    machine.ok("systemctl stop bowline")?;
    machine.ok(&commands.join(" && "))?;
    machine.ok(&format!("echo ';' | sfdisk --quiet --label gpt {} && systemctl start bowline", second.link()))?;

    let finding = the_finding(machine, "volume second", "holds a partition table (gpt)")?;
    let commands: Vec<_> = remedy(&finding).split('`').skip(1).step_by(2).collect();
    assert!(matches!(commands[..], [wipe, zero] if wipe.starts_with("wipefs") && zero.starts_with("blkdiscard")));
    machine.ok("systemctl stop bowline")?;
    machine.ok(&commands.join(" && "))?;
    let theirs = format!("{settings}{}", volume_on(second, "second", "format = \"blank-only\"\nfilesystem = \"xfs\""));
    configure(machine, &theirs)?;
    machine.ok(&format!("mkfs.ext4 -q {} && systemctl start bowline", second.link()))?;

    // The wrong disk, or the right one and the wrong filesystem: a person knows.
    let finding = the_finding(machine, "volume second", "holds a filesystem (ext4)")?;
    assert!(remedy(&finding).contains("`filesystem = \"ext4\"`"), "{finding}");
    machine.ok(&format!("systemctl stop bowline && mkdir /srv/other && mount {} /srv/other", second.link()))?;
    configure(machine, &format!("{settings}{}", volume_on(second, "second", BLANK_ONLY)))?;
    machine.ok("systemctl start bowline")?;

    let finding = the_finding(machine, "volume second", "is mounted at /srv/other")?;
    assert_eq!(finding["command"], "umount /srv/other", "{finding}");
    machine.ok(
        "for _ in 1 2 3 4 5 6 7 8 9 10; do umount /srv/other && break; sleep 0.5; done; bowline apply --wait 120s",
    )?;
    well(machine)
}
