//! The scanner of directories (`agent/usage`) beside `du` and diskus on the same half a million files, and its memory for
//! five million. On this host and not in a machine: what is measured is a program and the kernel. The filesystem is one
//! of the bench's own, so that nothing of the host's caches is touched.

use crate::figure::{Figure, median, rounded};
use crate::tell;
use anyhow::{Context, Result, bail, ensure};
use bowline_testbed::{Artefact, Bed, diskus, run, scanner};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

const ROUNDS: usize = 7;
/// To make five million files on a busy host takes a while.
const LIMIT: Duration = Duration::from_secs(3600);
const SCRIPT: &str = include_str!("usage.sh");
const FILES: f64 = 499_995.0;
/// With the directories that they are in, and the one that is measured.
const INODES: f64 = 10.0 * FILES + 55_555.0 + 1.0;

/// What the script printed, in the order in which it did.
struct Said(BTreeMap<String, Vec<f64>>);

/// Time, beside others.
pub(crate) fn half_a_million() -> Result<Vec<Figure>> {
    let said = measured("bench-usage", &["half", &ROUNDS.to_string()])?;
    ensure!(said.one("files")? == FILES, "the tree has {} files, and not {FILES}", said.one("files")?);
    let figure = |name, ours: &str, peer: &str, peer_name| -> Result<Figure> {
        let seconds = json!({ "ours": said.all(ours)?, "peer": said.all(peer)? });
        let processors = json!({ "ours": said.processors(ours)?, "peer": said.processors(peer)? });
        Ok(Figure::new(name, median(said.all(ours)?), "s")
            .beside(median(said.all(peer)?), peer_name)
            .runs(ROUNDS)
            .measured(json!({ "seconds": seconds, "cpu_seconds": processors, "tree_made_in": said.one("made")? })))
    };
    Ok(vec![
        figure("scan_500k_warm_1t", "warm_ours_1", "warm_du", "du -s")?,
        figure("scan_500k_warm_2t", "warm_ours_2", "warm_du", "du -s")?,
        figure("scan_500k_warm_2t_vs_diskus", "warm_ours_2", "warm_diskus", "diskus 0.9.0 with 2 threads")?,
        figure("scan_500k_cold_2t", "cold_ours_2", "cold_du", "du -s, cold")?,
    ])
}

/// Memory for ten times as many, beyond that for an empty directory.
pub(crate) fn five_million() -> Result<Vec<Figure>> {
    let said = measured("bench-usage-many", &["many"])?;
    let (none, all) = (said.one("none_kb")?, said.one("all_kb")?);
    ensure!(said.one("all_inodes")? == INODES, "{} inodes were found, and not {INODES}", said.one("all_inodes")?);
    let measured: Value = json!({
        "an empty directory, kB": none,
        "all, kB": all,
        "inodes": said.one("all_inodes")?,
        "scanned_in": said.one("scanned")?,
        "tree_made_in": said.one("made")?,
    });
    Ok(vec![Figure::new("scan_5m_rss", (all - none) * 1024.0 / 1e6, "MB").measured(measured)])
}

/// Runs a part of the script where mounts are its own.
fn measured(name: &str, part: &[&str]) -> Result<Said> {
    let bed = Bed::new(name)?;
    let (scanner, diskus) = (scanner()?, diskus()?);
    let file = |of: &Artefact, name: &str| of.path().join(name);
    let script = bed.dir().join("usage.sh");
    std::fs::write(&script, SCRIPT)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash"]).arg(&script).args(part);
    command.env("FOLDER", bed.dir()).env("LC_ALL", "C");
    command.env("SCAN", file(&scanner, "scan")).env("TREE", file(&scanner, "tree")).env("DISKUS", diskus.path());
    let output = run(&mut command, b"", LIMIT)?;
    if !output.success() {
        bail!("usage.sh {}: {output}", part.join(" "));
    }
    tell(&format!("    {}", output.stdout.split_whitespace().collect::<Vec<_>>().join(" ")));
    Ok(Said::of(&output.stdout))
}

impl Said {
    fn of(text: &str) -> Self {
        let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, number) in text.lines().filter_map(|line| line.split_once(' ')) {
            if let Ok(number) = number.parse() {
                all.entry(name.to_string()).or_default().push(number);
            }
        }
        Self(all)
    }

    fn all(&self, name: &str) -> Result<&[f64]> {
        self.0.get(name).map(Vec::as_slice).with_context(|| format!("the script did not print {name:?}"))
    }

    fn one(&self, name: &str) -> Result<f64> {
        match self.all(name)? {
            [one] => Ok(*one),
            several => bail!("the script printed {name:?} {} times", several.len()),
        }
    }

    /// The processors' seconds of a command, the kernel's for it among them.
    fn processors(&self, name: &str) -> Result<f64> {
        Ok(rounded(median(self.all(&format!("{name}_user"))?) + median(self.all(&format!("{name}_system"))?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_in_every_round_is_kept_in_every_round() {
        let said = Said::of("files 5\nwarm_du 1.5\nwarm_du_user 0.25\nwarm_du_system 1\nwarm_du 2.5\nsome noise\n");
        assert_eq!(said.all("warm_du").unwrap(), [1.5, 2.5]);
        assert_eq!(said.one("files").unwrap(), 5.0);
        assert_eq!(said.processors("warm_du").unwrap(), 1.25);
        assert!(said.one("warm_du").is_err() && said.all("cold_du").is_err());
    }
}
