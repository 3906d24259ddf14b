//! Volumes on a booted machine: from a disk to a mount, by Bowline and by hand, and many of them.

use crate::figure::{Figure, median, rounded};
use crate::settled::cpu_ms;
use anyhow::{Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, install, volume_on};
use bowline_booted::{ADDRESS, configure, deb};
use bowline_testbed::{Bed, Disk, Machine};
use serde_json::json;
use std::time::Duration;

const RUNS: usize = 5;
const FEW: usize = 8;
const MANY: usize = 64;
const LOOKS: u32 = 20;
/// What one `apply` of many volumes may take.
const LIMIT: Duration = Duration::from_secs(300);
/// What Bowline gives mkfs.
const MKFS: &str = "mkfs.ext4 -F -q -m 0 -L data -U random -E lazy_itable_init=1,lazy_journal_init=1,nodiscard";

/// From a disk that is attached to the mount.
pub(crate) fn one() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-volume")?;
    one_in(&bed).inspect_err(|error| bed.save_evidence(&format!("{error:#}")))
}

/// Many of them.
pub(crate) fn many() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-volumes")?;
    many_in(&bed).inspect_err(|error| bed.save_evidence(&format!("{error:#}")))
}

fn one_in(bed: &Bed) -> Result<Vec<Figure>> {
    let machine = bed.machine("n1").address(ADDRESS).start()?;
    machine.install(&deb()?)?;
    machine.ok("systemctl stop bowline")?;
    let mut serial = 90_000..;
    let mut disk = |size: &str| -> Result<Disk> {
        let disk = bed.disk(&serial.next().unwrap_or_default().to_string(), size)?;
        machine.attach(&disk)?;
        machine.ok(&format!("udevadm settle; test -b {}", disk.link()))?;
        Ok(disk)
    };
    let (mut blank, mut hand, mut adopt, mut proof) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let theirs = disk("20G")?;
        hand.push(timed(&machine, &format!("{MKFS} {0} && mkdir -p /mnt/hand && mount {0} /mnt/hand", theirs.link()))?);
        machine.ok("umount /mnt/hand")?;
        machine.detach(&theirs)?;

        let ours = disk("20G")?;
        blank.push(applied(&machine, &volume_on(&ours, "data", BLANK_ONLY))?);
        forget(&machine)?;
        adopt.push(applied(&machine, &volume_on(&ours, "data", ""))?);
        forget(&machine)?;
        machine.detach(&ours)?;

        // mkfs.xfs writes next to nothing, so that what is left is the proofs, the look's and the unit's, and all around them.
        let large = disk("1T")?;
        let xfs = format!("filesystem = \"xfs\"\n{BLANK_ONLY}");
        let whole = applied(&machine, &volume_on(&large, "data", &xfs))?;
        forget(&machine)?;
        let mkfs = timed(
            &machine,
            &format!("mkfs.xfs -f -q -K {0} && mount {0} /mnt/hand && umount /mnt/hand", large.link()),
        )?;
        proof.push(whole - mkfs);
        machine.detach(&large)?;
    }
    let figure = |name, ours: &[f64], unit| Figure::new(name, median(ours), unit).runs(RUNS);
    Ok(vec![
        figure("blank_to_mounted", &blank, "s")
            .beside(median(&hand), "mkfs.ext4 and mount")
            .measured(json!({ "ours": seconds(&blank), "by hand": seconds(&hand) })),
        figure("adopt_to_mounted", &adopt, "s").measured(json!({ "ours": seconds(&adopt) })),
        figure("proof_1tib_sparse", &proof, "s").measured(json!({ "ours": seconds(&proof) })),
    ])
}

fn many_in(bed: &Bed) -> Result<Vec<Figure>> {
    let machine = bed.machine("n1").address(ADDRESS).start()?;
    machine.install(&deb()?)?;
    machine.ok("systemctl stop bowline")?;
    let disks = (0..MANY).map(|n| bed.disk(&(91_000 + n).to_string(), "64M")).collect::<Result<Vec<_>>>()?;
    for disk in &disks {
        machine.attach(disk)?;
    }
    machine.ok("udevadm settle")?;
    let settings = |disks: &[Disk]| -> String {
        disks.iter().map(|disk| volume_on(disk, &format!("v{}", disk.serial()), BLANK_ONLY)).collect()
    };
    let few = applied(&machine, &settings(&disks[..FEW]))?;
    // The first ones are as they are by now: the others are what takes the time.
    let many = applied(&machine, &settings(&disks))?;
    let each = (many / (MANY - FEW) as f64, few / FEW as f64);
    let ratio = Figure::new("volumes_64", each.0, "s/volume").beside(each.1, "volumes_8");

    install(&machine, &settings(&disks))?;
    machine.ok("bowline status --wait-ready 60s")?;
    std::thread::sleep(Duration::from_secs(5));
    let before = cpu_ms(&machine)?;
    for _ in 0..LOOKS {
        machine.ok("systemctl reload bowline && sleep 0.5")?;
    }
    let spent = (cpu_ms(&machine)? - before) / f64::from(LOOKS);
    Ok(vec![
        ratio.measured(json!({ "8": rounded(few), "56 more": rounded(many) })),
        Figure::new("settled_look_64_volumes_cpu", spent, "ms").runs(LOOKS as usize),
    ])
}

/// Seconds that a command takes, by the machine's own clock.
fn timed(machine: &Machine, command: &str) -> Result<f64> {
    let text = format!("begin=$(date +%s%N); {{ {command}; }} >&2 || exit 1; echo $(($(date +%s%N) - begin))");
    let output = machine.run_with(&text, b"", LIMIT)?;
    ensure!(output.success(), "{command}: {output:?}");
    Ok(output.stdout.trim().parse::<f64>()? / 1e9)
}

/// Seconds until these settings are applied.
fn applied(machine: &Machine, settings: &str) -> Result<f64> {
    configure(machine, settings)?;
    timed(machine, "bowline apply --wait 60s")
}

/// As if Bowline had never mounted it, with its data.
fn forget(machine: &Machine) -> Result<()> {
    let unit = "/etc/systemd/system/mnt-data.mount";
    machine.ok(&format!(
        "systemctl disable --now mnt-data.mount; rm -f {unit}; chattr -i /mnt/data; systemctl daemon-reload"
    ))?;
    Ok(())
}

fn seconds(all: &[f64]) -> Vec<f64> {
    all.iter().copied().map(rounded).collect()
}
