//! The museum of disks: what Bowline decides on each kind. Nothing but the blank ones is written to.

use anyhow::{Context, Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, install, look_again_within, node_of, stand, volume_on};
use bowline_booted::{ADDRESS, report};
use bowline_testbed::{Cast, Disk, Machine, Museum, case_of, checkout, wait_some};
use std::fmt::Write;
use std::time::Duration;

/// Fifty disks take a while on a busy machine.
const ALL: Duration = Duration::from_secs(90);
/// The kinds that hold nothing, and may be written to.
const BLANK: [&str; 2] = ["sparse", "zeros"];

#[test]
fn only_blank_disks_of_the_museum_are_formatted() -> Result<()> {
    case_of(Cast::PLAIN, "museum", |bed| {
        let museum = Museum::open()?;
        let mut all = Vec::new();
        let mut settings = String::new();
        for (number, kind) in museum.kinds()?.into_iter().enumerate() {
            let disk = bed.disk_with(&format!("6000{number:02}"), &museum.image(&kind))?;
            // An ext4 is taken as it is where an ext4 is wanted.
            let wanted = if kind == "ext4" { "xfs" } else { "ext4" };
            settings.push_str(&volume_on(&disk, &kind, &format!("{BLANK_ONLY}\nfilesystem = \"{wanted}\"")));
            all.push((kind, disk));
        }
        ensure!(all.len() >= 45, "only {} kinds", all.len());
        let before = hashes(&all)?;
        let machine = all.iter().fold(bed.machine("n1").address(ADDRESS), |m, (_, disk)| m.disk(disk)).start()?;
        let nodes =
            all.iter().map(|(kind, disk)| Ok((kind.clone(), node_of(&machine, disk)?))).collect::<Result<Vec<_>>>()?;
        for (_, node) in nodes.iter().filter(|(kind, _)| kind == "read-only") {
            machine.ok(&format!("blockdev --setro {node}"))?;
        }
        install(&machine, &settings)?;

        let first = decisions(&machine, &nodes)?;
        // Whoever looks again, after a crash or a boot, decides the same.
        machine.kill("bowline")?;
        // It proves some of the fifty at that moment.
        look_again_within(&machine, SOON * 3)?;
        let again = decisions(&machine, &nodes)?;
        ensure!(first == again, "it decided otherwise:\n{again}\nthan at first:\n{first}");

        for ((kind, disk), before) in all.iter().zip(&before) {
            let untouched = disk.sha256()? == *before;
            ensure!(
                untouched != BLANK.contains(&kind.as_str()),
                "{kind}: {}",
                ["written to", "left"][usize::from(untouched)]
            );
        }
        let golden = checkout().join("tests/museum/decisions.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &first)?;
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        ensure!(first == wanted, "UPDATE=1 rewrites {}; it says now:\n{first}", golden.display());
        Ok(())
    })
}

/// A line for each kind, once every one is decided on.
fn decisions(machine: &Machine, nodes: &[(String, String)]) -> Result<String> {
    let mut last = String::new();
    let decided = wait_some("a decision on every disk", ALL, || {
        let report = report(machine)?;
        let mut text = String::new();
        for (kind, node) in nodes {
            let said = match stand(&report, kind) {
                Stand::Ready => {
                    format!("formatted as {}", machine.ok(&format!("findmnt -no FSTYPE /mnt/{kind}"))?.trim())
                }
                Stand::Refused(why, _) => format!("refused: {why}"),
                // The proof has found what looks did not come by.
                Stand::Failing(why, _) => format!(
                    "refused: {}",
                    why.replace("was not formatted: it is not blank: there is", "has no known signature, but")
                ),
                other => {
                    last = format!("{kind}: {other:?}");
                    return Ok(None);
                }
            };
            writeln!(text, "{kind:<16} {}", said.replace(node, "it"))?;
        }
        Ok(Some(text))
    });
    decided.with_context(|| last)
}

fn hashes(all: &[(String, Disk)]) -> Result<Vec<String>> {
    all.iter().map(|(_, disk)| disk.sha256()).collect()
}
