//! `bowline doctor` on a machine that something is done to: one finding for each fault, and its remedy mends it.

use anyhow::{Context, Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, volume_on};
use bowline_booted::{FIRST_BOOT, VOLUME, configure, install_and_wait, ready, releases, settings, with_k3s};
use bowline_testbed::{Cast, Disk, Machine, case_of};
use serde_json::Value;

/// Something done to the machine, the finding (check, and a piece of what it says), and who mends it.
struct Harm {
    done: &'static str,
    check: &'static str,
    found: &'static str,
    mend: Mend,
}

enum Mend {
    /// The command of the finding, as it is printed.
    Printed(&'static str),
    /// A person who follows the remedy, of which this is a piece.
    Person(&'static str, &'static str),
}

const HARMS: [Harm; 10] = [
    Harm {
        done: "systemctl stop dbus.socket dbus.service",
        check: "systemd",
        found: "the system bus (D-Bus) can not be reached",
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
        done: "echo Options=ro >> /etc/systemd/system/mnt-data.mount",
        check: "units of volume data",
        found: "/etc/systemd/system/mnt-data.mount is not as Bowline writes it",
        mend: Mend::Printed("bowline apply"),
    },
    Harm {
        done: "mount --bind /etc/systemd/system /etc/systemd/system && mount -o remount,ro,bind /etc/systemd/system",
        check: "/etc/systemd/system",
        found: "read-only",
        mend: Mend::Printed("mount -o remount,rw /etc/systemd/system"),
    },
    Harm {
        done: "mv /usr/sbin/mkfs.ext4 /root/",
        check: "mkfs.ext4",
        found: "it is not installed: volume data can not be formatted without it",
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
        found: "somebody stopped it, and Bowline does not start it against that",
        mend: Mend::Printed("systemctl start k3s.service"),
    },
];

#[test]
fn each_fault_is_one_finding_whose_remedy_mends_it() -> Result<()> {
    case_of(Cast::SERVER.patient(), "doctor", |bed| {
        let releases = releases(bed)?;
        let (disk, second) = (bed.disk(VOLUME, "512M")?, bed.disk("97000", "64M")?);
        let machine = with_k3s(bed, &releases, Some(&disk))?;
        let settings = format!("{}{}", settings::server(&releases), settings::volume());
        install_and_wait(&machine, &settings)?;
        well(&machine)?;
        for harm in &HARMS {
            let finding = harmed(&machine, harm).with_context(|| harm.done.to_string())?;
            match harm.mend {
                Mend::Printed(command) => {
                    assert_eq!(finding["command"], command, "{finding}");
                    machine.ok(command)?;
                }
                Mend::Person(piece, command) => {
                    assert!(finding["remedy"].as_str().is_some_and(|r| r.contains(piece)), "{finding}");
                    machine.ok(command)?;
                }
            }
            well(&machine).with_context(|| format!("mended after: {}", harm.done))?;
        }
        disks(&machine, &second, &settings)
    })
}

/// A second volume: absent, foreign, used by somebody, and hidden by files.
fn disks(machine: &Machine, second: &Disk, settings: &str) -> Result<()> {
    second.tool("mkswap \"$1\"")?;
    configure(machine, &format!("{settings}{}", volume_on(second, "second", BLANK_ONLY)))?;
    let finding = the_finding(machine, "volume second", "it is not attached; attached: ")?;
    assert!(finding["remedy"].as_str().is_some_and(|r| r.starts_with("attach the disk")), "{finding}");
    machine.ok("mkdir -p /mnt/second && echo theirs > /mnt/second/file")?;
    machine.attach(second)?;

    let finding = the_finding(machine, "volume second", "/mnt/second is not empty: it holds file")?;
    assert!(finding["remedy"].as_str().is_some_and(|r| r.contains("move them away")), "{finding}");
    machine.ok("mv /mnt/second/file /srv/")?;

    let finding = the_finding(machine, "volume second", "holds part of something else (swap)")?;
    let remedy = finding["remedy"].as_str().unwrap_or_default();
    let commands: Vec<_> = remedy.split('`').skip(1).step_by(2).collect();
    assert!(matches!(commands[..], [wipe, zero] if wipe.starts_with("wipefs") && zero.starts_with("blkdiscard")));
    machine.ok("systemctl stop bowline")?;
    machine.ok(&commands.join(" && "))?;
    machine.ok(&format!("mkfs.ext4 -q {0} && mkdir /srv/other && mount {0} /srv/other", second.link()))?;
    machine.ok("systemctl start bowline")?;

    let finding = the_finding(machine, "volume second", "is mounted at /srv/other")?;
    assert_eq!(finding["command"], "umount /srv/other", "{finding}");
    machine.ok("umount /srv/other && bowline apply --wait 10s")?;
    well(machine)
}

/// The findings of a look at the machine.
fn findings(machine: &Machine) -> Result<Vec<Value>> {
    let output = machine.run("bowline doctor --json")?;
    let checks: Vec<Value> = serde_json::from_str(&output.stdout).with_context(|| output.to_string())?;
    let found: Vec<_> = checks.into_iter().filter(|c| c["result"] == "finding").collect();
    ensure!(output.code == i32::from(!found.is_empty()), "{output}");
    Ok(found)
}

/// Does harm, and waits for its finding. The daemon mends some of it by itself as soon as it looks, and it looks when a
/// disk comes or goes, be it a neighbour's: such harm is done again.
fn harmed(machine: &Machine, harm: &Harm) -> Result<Value> {
    machine.ok(harm.done)?;
    let mended_by_itself = matches!(harm.mend, Mend::Printed("bowline apply"));
    finding(machine, harm.check, harm.found, || if mended_by_itself { machine.ok(harm.done).map(drop) } else { Ok(()) })
}

/// Waits until there is this finding and no other.
fn the_finding(machine: &Machine, check: &str, piece: &str) -> Result<Value> {
    finding(machine, check, piece, || Ok(()))
}

/// The same; `again` is called where there is no finding at all.
fn finding(machine: &Machine, check: &str, piece: &str, again: impl Fn() -> Result<()>) -> Result<Value> {
    let mut last = Vec::new();
    machine
        .wait_for(&format!("the finding {check}: {piece}"), SOON, || {
            last = findings(machine)?;
            if last.is_empty() {
                again()?;
            }
            let [one] = &last[..] else { return Ok(false) };
            Ok(one["name"] == check && one["found"].as_str().is_some_and(|found| found.contains(piece)))
        })
        .with_context(|| format!("{last:#?}"))?;
    let text = machine.run("bowline doctor")?.stdout;
    ensure!(text.contains(check), "{text}");
    Ok(last.remove(0))
}

/// Nothing is wrong.
fn well(machine: &Machine) -> Result<()> {
    ready(machine)?;
    let mut last = Vec::new();
    machine
        .wait_for("no finding", FIRST_BOOT, || {
            last = findings(machine)?;
            Ok(last.is_empty())
        })
        .with_context(|| format!("{last:#?}"))
}
