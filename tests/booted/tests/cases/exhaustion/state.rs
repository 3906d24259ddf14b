//! The filesystem of Bowline's own state without a byte or an inode left: it goes on and starts anew, tells what it cannot write
//! down, and does nothing that has to be written down first.

use super::{MEASURING, SAMPLES, fill, told_of, value};
use anyhow::{Result, bail, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, install, look_again, until, until_ready, volume_on};
use bowline_booted::{ADDRESS, configure, json, pid};
use bowline_testbed::{Cast, Machine, case_of, say};

const PLACE: &str = "/var/lib/bowline";

/// What there is no more of, how the filesystem is made, and what is said of it.
struct Lacking {
    case: &'static str,
    mkfs: &'static str,
    fill: fn(&Machine) -> Result<()>,
    told: &'static str,
    metric: &'static str,
    remedy: &'static str,
}

#[test]
fn a_full_filesystem_of_its_own_state_takes_nothing_down() -> Result<()> {
    takes_nothing_down(&Lacking {
        case: "state-full",
        mkfs: "ext4",
        fill: |machine| fill(machine, PLACE),
        told: "is full",
        metric: "bowline_filesystem_available_bytes",
        remedy: "make room on the filesystem of /var/lib/bowline/intents (",
    })
}

#[test]
fn nor_does_one_without_an_inode() -> Result<()> {
    takes_nothing_down(&Lacking {
        case: "state-no-inode",
        mkfs: "ext4 -N 64",
        fill: |machine| {
            let files =
                format!("mkdir -p {PLACE}/filler && cd {PLACE}/filler && seq 1000 | xargs touch 2>&1; ! touch more");
            machine.ok(&files).map(drop)
        },
        told: "has no inode left",
        metric: "bowline_filesystem_inodes_free",
        remedy: "remove files from the filesystem of /var/lib/bowline/intents: it has no inode left",
    })
}

fn takes_nothing_down(lacking: &Lacking) -> Result<()> {
    case_of(Cast::PLAIN.patient(), lacking.case, |bed| {
        let (own, data, more) = (bed.disk("98200", "32M")?, bed.disk("98201", "64M")?, bed.disk("98202", "64M")?);
        own.mkfs(lacking.mkfs)?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&own).disk(&data).disk(&more).start()?;
        machine.ok(&format!("mkdir -p {PLACE} && mount {} {PLACE} && rmdir {PLACE}/lost+found", own.link()))?;
        install(&machine, &volume_on(&data, "data", BLANK_ONLY))?;
        until_ready(&machine, "data")?;
        machine.wait_for("samples", SOON, || Ok(machine.run(&format!("test -s {SAMPLES}"))?.success()))?;
        let (process, files) = (pid(&machine, "bowline")?, files(&machine)?);
        let blank = more.sha256()?;

        // What is remembered of filesystems has its room already, and goes on being written.
        (lacking.fill)(&machine)?;
        let before = remembered(&machine)?;
        until_remembered(&machine, &before)?;
        machine.wait_for("the full one to be told", MEASURING, || {
            Ok(told_of(&machine, PLACE)?.is_some_and(|text| text.starts_with(lacking.told)))
        })?;
        ensure!(value(&machine, lacking.metric, &format!("mountpoint=\"{PLACE}\""))? == 0.0);
        say("full");

        // What needs a record cannot be done, and is told with its remedy; the rest stands.
        let both = format!("{}{}", volume_on(&data, "data", BLANK_ONLY), volume_on(&more, "more", BLANK_ONLY));
        configure(&machine, &both)?;
        not_written(&machine, lacking.remedy)?;
        ensure!(pid(&machine, "bowline")? == process, "it was started anew");

        // One that starts now knows what the one before knew.
        machine.ok("systemctl stop bowline")?;
        let before = remembered(&machine)?;
        machine.ok("systemctl start bowline")?;
        not_written(&machine, lacking.remedy)?;
        ensure!(pid(&machine, "bowline")? != process);
        until_remembered(&machine, &before)?;
        until_ready(&machine, "data")?;
        ensure!(json(&machine, "usage", "usage")?["disks"].to_string().contains(PLACE));
        let said = machine.journal("bowline")?;
        for loss in ["how filesystems filled is not known", "cannot be read", "is not kept across a restart"] {
            ensure!(!said.contains(loss), "{loss}: {said}");
        }
        ensure!(more.sha256()? == blank, "formatted without a record");
        say("restarted");

        // There is room again: what waited for it is done, and nothing was lost, nor left behind.
        machine.ok(&format!("rm -r {PLACE}/filler"))?;
        look_again(&machine)?;
        until_ready(&machine, "more")?;
        machine.wait_for("nothing to be told", MEASURING, || Ok(told_of(&machine, PLACE)?.is_none()))?;
        let now = self::files(&machine)?;
        ensure!(files.lines().all(|file| now.contains(file)), "before:\n{files}\nnow:\n{now}");
        ensure!(!now.contains(".tmp") && !now.contains("intents/"), "left behind: {now}");
        ensure!(machine.run("bowline plan --exit-code")?.code == 0);
        Ok(())
    })
}

/// All its files with their sums, but for the samples: those change.
fn files(machine: &Machine) -> Result<String> {
    machine.ok(&format!("cd {PLACE} && find . -type f ! -name samples -exec sha256sum {{}} + | sort -k 2"))
}

/// The file of samples: which one it is and how long, and its sum.
fn remembered(machine: &Machine) -> Result<[String; 2]> {
    Ok([machine.ok(&format!("stat -c '%i %s' {SAMPLES}"))?, machine.ok(&format!("sha256sum {SAMPLES}"))?])
}

/// Waits until another sample is in the file, which is the same one.
fn until_remembered(machine: &Machine, [file, sum]: &[String; 2]) -> Result<()> {
    machine.wait_for("another sample to be kept", MEASURING, || Ok(remembered(machine)?[1] != *sum))?;
    ensure!(remembered(machine)?[0] == *file, "another file was made");
    Ok(())
}

/// The volume that is new is not begun, since nothing can be written down of it.
fn not_written(machine: &Machine, remedy: &str) -> Result<()> {
    let said = until(machine, "more", "failing", |stand| matches!(stand, Stand::Failing(..)))?;
    let Stand::Failing(error, hint) = said else { bail!("{said:?}") };
    ensure!(
        error == format!("writing {PLACE}/intents/format-more.json: No space left on device (os error 28)"),
        "{error}"
    );
    ensure!(hint.starts_with(remedy), "{hint}");
    Ok(())
}
