//! `install_to_ready_overhead`: from the installed package to a Ready Node with its volume, beside a good shell script.
//!
//! Every run has a machine and a blank 20 GiB volume of its own. Both sides download from the same release server, and
//! the same loop sees the end.

use crate::figure::{Figure, median, rounded};
use crate::tell;
use anyhow::{Context, Result, ensure};
use bowline_booted::{ADDRESS, NODE, VOLUME, bare, configure, deb, releases, settings};
use bowline_testbed::{Bed, K3S_VERSION, Machine, Releases};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const PAIRS: usize = 5;
/// For one side of one pair.
const LIMIT: Duration = Duration::from_secs(300);
const READY: &str = include_str!("ready.sh");
const OURS: &str = include_str!("bowline.sh");
const PEER: &str = include_str!("install.sh");

/// What one run printed: name -> seconds of the machine's clock.
pub(crate) type Times = BTreeMap<String, f64>;

struct Run {
    seconds: f64,
    phases: Value,
}

/// Five pairs, whose first side alternates.
pub(crate) fn overhead() -> Result<Vec<Figure>> {
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let (ours, peer);
        if pair % 2 == 0 {
            ours = run(ours_on)?;
            peer = run(peer_on)?;
        } else {
            peer = run(peer_on)?;
            ours = run(ours_on)?;
        }
        tell(&format!("    pair {}: Bowline {:.2} s, the script {:.2} s", pair + 1, ours.seconds, peer.seconds));
        pairs.push((ours, peer));
    }
    let of = |pick: fn(&(Run, Run)) -> f64| pairs.iter().map(pick).collect::<Vec<_>>();
    let overhead = median(&of(|(ours, peer)| ours.seconds - peer.seconds));
    let whole = of(|(ours, _)| ours.seconds);
    let measured = json!({
        "ours_whole": rounded(median(&whole)),
        "pairs": pairs.iter().map(|(ours, peer)| json!({
            "difference": rounded(ours.seconds - peer.seconds),
            "ours": rounded(ours.seconds),
            "peer": rounded(peer.seconds),
            "ours_phases": ours.phases,
            "peer_phases": peer.phases,
        })).collect::<Vec<_>>(),
    });
    let figure = Figure::new("install_to_ready_overhead", overhead, "s")
        .beside(median(&of(|(_, peer)| peer.seconds)), "a shell script, all of its time")
        .runs(PAIRS)
        .measured(measured);
    Ok(vec![figure])
}

fn run(side: fn(&Machine, &Releases) -> Result<Run>) -> Result<Run> {
    let bed = Bed::new("bench-install")?;
    let releases = releases(&bed)?;
    let disk = bed.disk(VOLUME, "20G")?;
    let machine = bare(&bed, &releases, Some(&disk))?;
    machine.wait_booted()?;
    machine.put("/run/bench/ready.sh", READY, 0o644)?;
    let result = side(&machine, &releases);
    if let Err(error) = &result {
        bed.save_evidence(&format!("{error:#}"));
    }
    result
}

fn ours_on(machine: &Machine, releases: &Releases) -> Result<Run> {
    configure(machine, &format!("{}{}", settings::server(releases), settings::volume()))?;
    machine.put("/run/bench/bowline.deb", std::fs::read(deb()?)?, 0o644)?;
    machine.put("/run/bench/bowline.sh", OURS, 0o755)?;
    let times = timed(machine, &format!("NODE={NODE} PACKAGE=/run/bench/bowline.deb /run/bench/bowline.sh"))?;
    let phases: Value = serde_json::from_str(&machine.read("/var/lib/bowline/first-boot.json")?)?;
    let mut phases = phases["reached"].clone();
    phases["package_installed"] = json!(rounded(between(&times, "began", "installed")?));
    phases["cpu_until_ready"] = json!(times.get("cpu"));
    phases["looks_until_ready"] = json!(times.get("looks"));
    Ok(Run { seconds: between(&times, "began", "ready")?, phases })
}

fn peer_on(machine: &Machine, releases: &Releases) -> Result<Run> {
    machine.put("/run/bench/install.sh", PEER, 0o755)?;
    let times = timed(
        machine,
        &format!(
            "NODE={NODE} ADDRESS={ADDRESS} VERSION={K3S_VERSION} MIRROR={} CA=/etc/bowline/mirror-ca.pem \
             DEVICE=/dev/disk/by-id/scsi-0HC_Volume_{VOLUME} MOUNT=/mnt/data /run/bench/install.sh",
            releases.url()
        ),
    )?;
    let phases = ["download", "format", "mount", "start", "ready"];
    let phases = phases.iter().map(|phase| Ok(((*phase).to_string(), json!(between(&times, "began", phase)?))));
    Ok(Run { seconds: between(&times, "began", "ready")?, phases: Value::Object(phases.collect::<Result<_>>()?) })
}

fn timed(machine: &Machine, command: &str) -> Result<Times> {
    let output = machine.run_with(command, &[], LIMIT)?;
    ensure!(output.success(), "{command}: {output}");
    Ok(times(&output.stdout))
}

pub(crate) fn times(text: &str) -> Times {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(n, s)| Some((n.into(), s.parse().ok()?)))
        .collect()
}

pub(crate) fn between(times: &Times, from: &str, to: &str) -> Result<f64> {
    let at = |name: &str| times.get(name).with_context(|| format!("the run did not say when it was at {name:?}"));
    Ok(rounded(at(to)? - at(from)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_what_the_scripts_print() {
        let times = times("began 10.50\nnoise\nready 22.25\n");
        assert_eq!(between(&times, "began", "ready").unwrap(), 11.75);
        assert!(between(&times, "began", "mount").is_err());
    }
}
