//! A settled node: what a look at it costs and changes, and what the idle daemon takes in memory.

use crate::figure::{Figure, rounded};
use crate::idle::{RARELY, measured};
use crate::{node_exporter, tell, trace};
use anyhow::{Context, Result, ensure};
use bowline_booted::{VOLUME, bare, install_and_wait, pid, releases, settings};
use bowline_testbed::{Bed, Machine};
use serde_json::{Value, json};
use std::ops::Range;
use std::time::Duration;

const LOOKS: u64 = 40;
const TRACED_LOOKS: u64 = 5;
const SCRAPES: usize = 200;
const PAGE: &str = "http://127.0.0.1:9787/metrics";
/// The unit of node_exporter, and where it answers.
pub(crate) const PEER: &str = "bench-node-exporter";
pub(crate) const PEER_PAGE: &str = "http://127.0.0.1:9100/metrics";
/// The node, its guard, K3s and what could be freed are looked at every five minutes.
const TIMERS: Duration = Duration::from_secs(305);

/// All three. Memory first: reloads are no part of it.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-settled")?;
    let measured = || {
        let settled = Settled::new(&bed)?;
        Ok(vec![settled.idle_rss()?, settled.look_cpu()?, settled.look_writes()?])
    };
    measured().inspect_err(|error: &anyhow::Error| bed.save_evidence(&format!("{error:#}")))
}

/// A node that has long been Ready.
pub(crate) struct Settled {
    pub(crate) machine: Machine,
}

impl Settled {
    /// Makes one.
    pub(crate) fn new(bed: &Bed) -> Result<Self> {
        let releases = releases(bed)?;
        let disk = bed.disk(VOLUME, "20G")?;
        let machine = bare(bed, &releases, Some(&disk))?;
        install_and_wait(&machine, &format!("{}{}{RARELY}", settings::server(&releases), settings::volume()))?;
        // K3s goes on starting its controllers for a while after it is Ready.
        std::thread::sleep(Duration::from_secs(10));
        Ok(Self { machine })
    }

    /// The CPU time of one look at everything, children included.
    fn look_cpu(&self) -> Result<Figure> {
        let (looks, cpu) = (self.looks()?, cpu_ms(&self.machine)?);
        for _ in 0..LOOKS {
            self.machine.ok("systemctl reload bowline && sleep 0.3")?;
        }
        let (spent, looked) = (cpu_ms(&self.machine)? - cpu, self.looks()? - looks);
        ensure!(looked >= LOOKS, "{LOOKS} reloads made only {looked} looks");
        // By the reloads and not by the looks: the other ones are looks at a part.
        let each = spent / LOOKS as f64;
        let measured = json!({ "reloads": LOOKS, "looks": looked, "cpu_ms": rounded(spent) });
        Ok(Figure::new("settled_look_cpu", each, "ms").runs(LOOKS as usize).measured(measured))
    }

    /// What looks write and touch: bytes, changed names, and calls to systemd that change something.
    fn look_writes(&self) -> Result<Figure> {
        measured(&self.machine)?;
        let (main, folder) = (pid(&self.machine, "bowline")?, "/run/bench/trace");
        self.machine.ok(&format!(
            "mkdir -p /run/bench && rm -f {folder} && systemd-run --quiet --collect --unit=bench-trace -- \
             strace -f -q -y -s 65536 -o {folder} -e trace={} -p {main}",
            trace::CALLS.join(",")
        ))?;
        let traced = format!("grep -q '^TracerPid:[[:space:]]*[1-9]' /proc/{main}/status");
        self.machine
            .wait_for("strace to be attached", Duration::from_secs(10), || Ok(self.machine.run(&traced)?.success()))?;
        let looks = self.looks()?;
        // A change of a device makes a look at the volumes, and no line in the journal as a reload does.
        let disk = format!("$(basename $(readlink -f /dev/disk/by-id/scsi-0HC_Volume_{VOLUME}))");
        for _ in 0..TRACED_LOOKS {
            self.machine.ok(&format!("udevadm trigger --settle --action=change /sys/class/block/{disk}; sleep 1.5"))?;
        }
        tell("    looks under strace; the timers have their time");
        std::thread::sleep(TIMERS);
        let looked = self.looks()? - looks;
        self.machine.ok("systemctl stop bench-trace")?;
        ensure!(looked > TRACED_LOOKS, "only {looked} looks while it was traced");
        let seen = trace::read(&self.machine.read(folder)?);
        ensure!(seen.samples > 0, "strace saw not even the samples: {} lines", seen.lines);
        let figure = Figure::new("settled_look_writes", seen.total() as f64, "bytes+units");
        Ok(figure.runs(looked as usize).measured(serde_json::to_value(seen)?))
    }

    /// Starts node_exporter with only its filesystem collector beside it.
    pub(crate) fn begin_peer(&self) -> Result<()> {
        let program = node_exporter::build()?;
        self.machine.put("/usr/local/bin/node_exporter", std::fs::read(program)?, 0o755)?;
        self.machine.ok(&format!(
            "systemd-run --quiet --collect --unit={PEER} -- /usr/local/bin/node_exporter \
             --collector.disable-defaults --collector.filesystem --web.listen-address=127.0.0.1:9100"
        ))?;
        self.machine.wait_for("node_exporter to answer", Duration::from_secs(20), || {
            Ok(self.machine.run(&format!("curl -sf -o /dev/null {PEER_PAGE}"))?.success())
        })
    }

    /// Memory after as many scrapes, beside node_exporter with only its filesystem collector.
    fn idle_rss(&self) -> Result<Figure> {
        self.begin_peer()?;
        let before = (self.rss("bowline")?, self.rss(PEER)?);
        let scrape = format!("curl -sf -o /dev/null {PAGE} && curl -sf -o /dev/null {PEER_PAGE} && sleep 0.01");
        self.machine.ok(&format!("for i in $(seq {SCRAPES}); do {scrape} || exit 1; done"))?;
        std::thread::sleep(Duration::from_secs(5));
        let (ours, peer) = (self.rss("bowline")?, self.rss(PEER)?);
        let version = self.machine.ok("/usr/local/bin/node_exporter --version 2>&1 | tail -n +2")?;
        self.machine.ok(&format!("systemctl stop {PEER}"))?;
        let measured = json!({
            "scrapes": SCRAPES,
            "ours": ours.told(), "ours_before": before.0.told(),
            "peer": peer.told(), "peer_before": before.1.told(), "peer_build": version.trim(),
        });
        Ok(Figure::new("idle_rss", ours.all, "MB").beside(peer.all, node_exporter::NAME).measured(measured))
    }

    /// How often the daemon has looked.
    fn looks(&self) -> Result<u64> {
        let count = format!("curl -sSf {PAGE} | sed -n 's/^bowline_look_seconds_count //p'");
        Ok(self.machine.ok(&count)?.trim().parse::<f64>().context("no count of looks in the metrics")? as u64)
    }

    /// What a unit takes in memory now.
    pub(crate) fn rss(&self, unit: &str) -> Result<Rss> {
        let main = pid(&self.machine, unit)?;
        let rollup = self.machine.read(&format!("/proc/{main}/smaps_rollup"))?;
        let threads = self.machine.ok(&format!("ls /proc/{main}/task | wc -l"))?.trim().parse()?;
        let all = megabytes(&rollup, "Rss:").context("no Rss in smaps_rollup")?;
        Ok(Rss { all, anonymous: megabytes(&rollup, "Anonymous:").unwrap_or_default(), threads })
    }
}

/// CPU time of the daemon and of the children that it has waited for.
pub(crate) fn cpu_ms(machine: &Machine) -> Result<f64> {
    let stat = machine.read(&format!("/proc/{}/stat", pid(machine, "bowline")?))?;
    let tick: f64 = machine.ok("getconf CLK_TCK")?.trim().parse()?;
    Ok(ticks(&stat, 11..15).context("no times in /proc/PID/stat")? as f64 * 1000.0 / tick)
}

/// CPU time of the children alone that a process has waited for.
pub(crate) fn children_ms(machine: &Machine, process: &str) -> Result<f64> {
    let stat = machine.read(&format!("/proc/{process}/stat"))?;
    let tick: f64 = machine.ok("getconf CLK_TCK")?.trim().parse()?;
    Ok(ticks(&stat, 13..15).context("no times in /proc/PID/stat")? as f64 * 1000.0 / tick)
}

/// Memory in units of a million bytes.
pub(crate) struct Rss {
    pub(crate) all: f64,
    anonymous: f64,
    threads: u32,
}

impl Rss {
    pub(crate) fn told(&self) -> Value {
        json!({ "rss": rounded(self.all), "anonymous": rounded(self.anonymous), "threads": self.threads })
    }
}

/// A line of `smaps_rollup` in units of a million bytes.
fn megabytes(rollup: &str, name: &str) -> Option<f64> {
    let value = rollup.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

/// Of utime, stime, cutime and cstime (11 to 14, counted behind the name, which may hold anything) those that are asked for.
fn ticks(stat: &str, asked: Range<usize>) -> Option<u64> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(asked)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc() {
        let stat = "12 (a (b) c) S 1 12 12 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1";
        assert_eq!((ticks(stat, 11..15), ticks(stat, 13..15)), (Some(100), Some(70)));
        let rollup = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:               10000 kB\nAnonymous:   500 kB\n";
        assert_eq!(megabytes(rollup, "Rss:"), Some(10.24));
        assert_eq!(megabytes(rollup, "Anonymous:"), Some(0.512));
    }
}
