//! Disks that fill: what is told of them, what fills them, and that neither a full one nor one that hangs takes
//! anything down.

mod full;
mod hanging;
mod pages;
mod state;

use anyhow::{Context, Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, install, until_ready, volume_on};
use bowline_booted::{ADDRESS, report};
use bowline_pressure::file::{Store, fresh};
use bowline_pressure::history::Sample;
use bowline_testbed::{Cast, Machine, case_of, wait_some};
use serde_json::Value;
use std::time::Duration;

const SAMPLES: &str = "/var/lib/bowline/samples";
/// Measured as often as may be.
const MEASURED: &str = "[usage]\nevery = \"1m\"\ncpu-share = \"100%\"\n[[directory]]\npath = \"/srv/big\"\ndepth = 1\n";
/// Until something is measured: a minute, with jitter, and what a busy machine takes.
const MEASURING: Duration = Duration::from_secs(150);

#[test]
fn what_fills_disks_is_measured_and_foretold() -> Result<()> {
    case_of(Cast::PLAIN, "exhaustion", |bed| {
        let disk = bed.disk("98000", "256M")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).start()?;
        machine.ok("mkdir -p /srv/big/inner && head -c 30000000 /dev/urandom > /srv/big/inner/file")?;
        install(&machine, &format!("{}{MEASURED}", volume_on(&disk, "data", BLANK_ONLY)))?;
        until_ready(&machine, "data")?;

        // The file of samples is there with the first one, in its full length, for root alone.
        machine.wait_for("samples", SOON, || Ok(machine.run(&format!("test -s {SAMPLES}"))?.success()))?;
        let file = machine.ok(&format!("stat -c '%a %U %s' {SAMPLES}"))?;
        assert_eq!(file.trim(), format!("600 root {}", bowline_pressure::file::LENGTH));

        // Nothing is foretold of what was watched for a moment, and each series is there all the same.
        let full = series(&machine, "bowline_filesystem_full_seconds")?;
        let data = full.iter().find(|line| line.contains("mountpoint=\"/mnt/data\"")).context("no /mnt/data")?;
        assert!(data.ends_with(" +Inf"), "{data}");

        // As if it had been filled evenly for two hours: it is full in less than an hour, which is told everywhere.
        filled_evenly(&machine, 100_000_000, 15_000)?;
        machine.wait_for("the report to tell", MEASURING, || {
            let notes = report(&machine)?["capabilities"].to_string();
            Ok(notes.contains("/mnt/data") && notes.contains("pressure.critical"))
        })?;
        let told = machine.journal("bowline")?;
        assert!(told.contains("/mnt/data is expected to be full"), "{told}");
        let left = value(&machine, "bowline_filesystem_full_seconds", "mountpoint=\"/mnt/data\"")?;
        assert!((300.0..14_400.0).contains(&left), "{left} seconds");
        let text = machine.ok("bowline usage")?;
        assert!(text.contains("/mnt/data") && text.contains("full in "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

        // What fills it: measured by a unit of its own, as du says.
        let by_du = machine.ok("du -sB1 /srv/big | cut -f1")?.trim().parse::<f64>()?;
        machine.wait_for("directories to be measured", MEASURING, || {
            Ok(!series(&machine, "bowline_directory_bytes")?.is_empty())
        })?;
        let measured = value(&machine, "bowline_directory_bytes", "path=\"/srv/big\",kind=\"allocated\"")?;
        assert_eq!(measured, by_du);
        assert!(value(&machine, "bowline_directory_inodes", "path=\"/srv/big/inner\"")? == 2.0);
        Ok(())
    })
}

/// Replaces the history of `/mnt/data`: so many bytes in use two hours ago, and so many more with each second. The disk itself
/// is filled as far.
fn filled_evenly(machine: &Machine, begin: u64, each: u64) -> Result<()> {
    machine.ok("systemctl stop bowline")?;
    let uuid = machine.ok("findmnt -no UUID /mnt/data")?;
    let now: i64 = machine.ok("date +%s")?.trim().parse()?;
    let boot = machine.ok("cut -c1-8 /proc/sys/kernel/random/boot_id")?;
    let boot = u32::from_str_radix(boot.trim(), 16)?;
    machine.ok(&format!("fallocate -l {} /mnt/data/filler", begin + each * 7200 - 10_000_000))?;
    let mut store = Store::default();
    let mut file = fresh();
    for minute in (1..=120).rev() {
        let ago = minute * 60;
        let bytes = begin + each * (7200 - ago);
        let at = now - i64::try_from(ago)?;
        // Of an earlier boot: this one may be younger.
        let sample = Sample { at, boot: boot ^ 1, uptime: 100_000 - ago, bytes, inodes: 20 };
        for patch in store.add(uuid.trim(), sample) {
            let from = usize::try_from(patch.offset)?;
            file[from..from + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
    }
    machine.put(SAMPLES, file, 0o600)?;
    machine.ok("systemctl start bowline")?;
    Ok(())
}

/// Fills the filesystem at a place by a file in it, to the last byte that root can write.
fn fill(machine: &Machine, place: &str) -> Result<()> {
    let more = format!("dd if=/dev/zero of={place}/more bs=1 count=1 conv=fsync");
    // Large pieces are refused while small ones still fit; and what waits to be written may take less room in the end.
    machine.ok(&format!(
        "for _ in $(seq 30); do
             cat /dev/zero 2>/dev/null >> {place}/filler; dd if=/dev/zero bs=1k 2>/dev/null >> {place}/filler
             sync -f {place}; [ $(stat -f -c %a {place}) != 0 ] || {more} 2>/dev/null || break
         done"
    ))?;
    let more = machine.run(&more)?;
    ensure!(!more.success() && more.stderr.contains("No space left"), "{place} is not full: {more}");
    machine.ok(&format!("rm {place}/more")).map(drop)
}

/// What the daemon says of a filesystem that fills, in its file: nothing while there is nothing to say.
fn told_of(machine: &Machine, place: &str) -> Result<Option<String>> {
    let status: Value = serde_json::from_str(&machine.read("/run/bowline/status.json")?)?;
    let all = status["capabilities"].as_array().context("no capabilities")?;
    let notes = all.iter().filter(|one| one["name"] == "pressure").filter_map(|one| one["notes"].as_array()).flatten();
    Ok(notes.filter(|note| note["item"] == place).find_map(|note| note["text"].as_str().map(String::from)))
}

/// The lines of a family.
fn series(machine: &Machine, family: &str) -> Result<Vec<String>> {
    let text = machine.ok("curl -sf 127.0.0.1:9787/metrics")?;
    Ok(text.lines().filter(|line| line.starts_with(&format!("{family}{{"))).map(String::from).collect())
}

/// The value of the one series of a family that has this in its labels.
fn value(machine: &Machine, family: &str, labels: &str) -> Result<f64> {
    // A filesystem that was not asked in time, as on a busy host, has an error in this scrape and its values in the next.
    wait_some(&format!("{family} of {labels}"), SOON, || {
        let all = series(machine, family)?;
        let one = all.iter().find(|line| line.contains(labels)).with_context(|| format!("no {labels} in {all:#?}"))?;
        let (_, value) = one.rsplit_once(' ').context("no value")?;
        Ok(Some(value.parse()?))
    })
}
