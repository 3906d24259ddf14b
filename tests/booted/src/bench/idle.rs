//! `settled_cpu_day`, `settled_writes_hour`: what a daemon takes and writes while nothing happens and nobody asks it.

use crate::cpu::cpu_ms;
use crate::figure::{Figure, rounded};
use anyhow::{Context, Result, ensure};
use bowline_booted::pid;
use bowline_testbed::Machine;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// Directories are measured once after the start, and then not for as long as this is about.
pub(crate) const RARELY: &str = "[usage]\nevery = \"24h\"\n";
/// That first time is at most 132 s after the start.
const MEASURED: Duration = Duration::from_secs(300);
/// What is changed from here on is younger than this file.
const MARK: &str = "/run/bench-idle";
/// Written each minute, as it should be.
const SAMPLES: &str = "/var/lib/bowline/samples";
/// Where the daemon says how all stands: it is written anew when something of that has changed.
const STATUS: &str = "/run/bowline/status.json";
/// Besides what its unit names: its own folders, and what a sandbox leaves open to everybody.
const WRITABLE: &str = "/var/lib/bowline /run/bowline /tmp /var/tmp /dev/shm";

/// A daemon that is being watched.
pub(crate) struct Idle<'a> {
    machine: &'a Machine,
    main: String,
    begun: Instant,
    cpu: f64,
    written: u64,
    status: String,
}

/// What one has done meanwhile.
pub(crate) struct Done {
    cpu_day: f64,
    bytes_hour: f64,
    measured: Value,
}

impl<'a> Idle<'a> {
    /// Begins to watch. Directories have been measured, so that this will not happen meanwhile.
    pub(crate) fn begin(machine: &'a Machine) -> Result<Self> {
        measured(machine)?;
        let main = pid(machine, "bowline")?;
        // From here on the unit's time is counted; it is set before anything is read.
        machine
            .ok(&format!("systemctl set-property --runtime bowline CPUAccounting=yes && sleep 2 && touch {MARK}"))?;
        let (cpu, written) = (cpu_ms(machine, "bowline")?, written(machine, &main)?);
        Ok(Self { machine, main, begun: Instant::now(), cpu, written, status: machine.read(STATUS)? })
    }

    /// What it has done until now.
    pub(crate) fn end(self) -> Result<Done> {
        let Self { machine, main, begun, cpu, written: before, status } = self;
        let spent = cpu_ms(machine, "bowline")? - cpu;
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(pid(machine, "bowline")? == main, "it was started again meanwhile");
        let to_disk = written(machine, &main)? - before;
        let found = changed(machine, &main)?;
        let sampled = found.lines().any(|line| line.ends_with(SAMPLES));
        ensure!(sampled, "not even the samples were written: what is looked for is not what is written\n{found}");
        let others: Map<String, Value> =
            found.lines().filter(|line| !line.ends_with(SAMPLES)).filter_map(one).collect();
        let bytes: u64 = others.values().filter_map(Value::as_u64).sum();
        let measured = json!({
            "seconds": rounded(seconds), "cpu_ms": rounded(spent), "changed": others,
            "write_bytes, the samples among them": to_disk, "status": differing(&status, &machine.read(STATUS)?),
        });
        Ok(Done { cpu_day: spent * 86_400.0 / seconds, bytes_hour: bytes as f64 * 3600.0 / seconds, measured })
    }
}

/// Waits until directories have been measured for the first time.
pub(crate) fn measured(machine: &Machine) -> Result<()> {
    machine.wait_for("directories to be measured", MEASURED, || {
        let seen = "curl -sSf http://127.0.0.1:9787/metrics | grep -q ^bowline_directory_scan_timestamp_seconds";
        Ok(machine.run(seen)?.success() && !machine.run("systemctl is-active -q bowline-survey")?.success())
    })
}

/// Both figures, of the daemon that has done most.
pub(crate) fn figures(all: &[(&str, Done)]) -> Vec<Figure> {
    let most = |of: fn(&Done) -> f64| all.iter().map(|(_, done)| of(done)).fold(0.0, f64::max);
    let measured: Value = all.iter().map(|(name, done)| ((*name).to_owned(), done.measured.clone())).collect();
    vec![
        Figure::new("settled_cpu_day", most(|done| done.cpu_day), "ms by the day").measured(measured.clone()),
        Figure::new("settled_writes_hour", most(|done| done.bytes_hour), "bytes by the hour").measured(measured),
    ]
}

/// Whatever has changed since in the folders that its sandbox lets it write to, as it sees them.
fn changed(machine: &Machine, main: &str) -> Result<String> {
    let named = machine.ok("systemctl show -p ReadWritePaths --value bowline")?;
    let folders: String = named
        .split_whitespace()
        .map(|path| path.trim_start_matches(['-', '+']))
        .chain(WRITABLE.split(' '))
        .map(|path| format!("/proc/{main}/root{path} "))
        .collect();
    machine.ok(&format!(
        "for f in {folders}; do [ ! -e $f ] || find $f -cnewer {MARK} -printf '%s %p\\n'; done | sed 's|/proc/{main}/root||'"
    ))
}

/// A file or folder by name, with its bytes. One that is empty now has changed all the same.
fn one(line: &str) -> Option<(String, Value)> {
    let (bytes, path) = line.split_once(' ')?;
    Some((path.to_owned(), bytes.parse::<u64>().ok()?.max(1).into()))
}

/// Lines of one text alone, with a mark in front: the reason why a file was written.
fn differing(before: &str, after: &str) -> Vec<String> {
    let only = |mark: &str, one: &str, other: &str| -> Vec<String> {
        let lines = one.lines().filter(|line| other.lines().all(|there| there != *line));
        lines.map(|line| format!("{mark} {}", line.trim())).collect()
    };
    only("-", before, after).into_iter().chain(only("+", after, before)).collect()
}

/// Bytes that the process had storage take, ever.
fn written(machine: &Machine, main: &str) -> Result<u64> {
    let text = machine.read(&format!("/proc/{main}/io"))?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    bytes.with_context(|| format!("no write_bytes in {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_all_counts() {
        let done = |cpu_day, bytes_hour| Done { cpu_day, bytes_hour, measured: Value::Null };
        let both = figures(&[("server", done(9000.0, 0.0)), ("agent", done(10.0, 5.0))]);
        assert_eq!(both.iter().map(|figure| figure.ours).collect::<Vec<_>>(), [9000.0, 5.0]);
        assert_eq!(one("0 /run/bowline/x y"), Some(("/run/bowline/x y".into(), 1.into())));
        assert_eq!(one("nonsense"), None);
        assert_eq!(
            differing("{\n  \"a\": 1,\n  \"b\": 2\n", "{\n  \"a\": 1,\n  \"b\": 3\n"),
            ["- \"b\": 2", "+ \"b\": 3"]
        );
    }
}
