//! Disks that fill: what is told of them, what fills them, and that a full one takes nothing down.

use anyhow::{Context, Result};
use bowline_booted::looks::{BLANK_ONLY, SOON, install, until_ready, volume_on};
use bowline_booted::{ADDRESS, report};
use bowline_pressure::file::{Store, fresh};
use bowline_pressure::history::Sample;
use bowline_testbed::{Cast, Machine, case_of};
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
        // Beneath the mount point, and deleted with somebody who still has it open.
        machine.ok("mkdir -p /mnt/data && systemd-run -q --unit holder sh -c 'exec 3>/var/tmp/gone; rm /var/tmp/gone; head -c 20000000 /dev/zero >&3; exec sleep infinity'")?;
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
        filled_evenly(&machine, 100_000_000, 20_000)?;
        machine.wait_for("the report to tell", MEASURING, || {
            let notes = report(&machine)?["capabilities"].to_string();
            Ok(notes.contains("/mnt/data") && notes.contains("pressure.critical"))
        })?;
        let told = machine.journal("bowline")?;
        assert!(told.contains("/mnt/data is expected to be full"), "{told}");
        let left = value(&machine, "bowline_filesystem_full_seconds", "mountpoint=\"/mnt/data\"")?;
        assert!((30.0..14_400.0).contains(&left), "{left} seconds");
        let text = machine.ok("bowline usage")?;
        assert!(text.contains("/mnt/data") && text.contains("full in "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

        // What fills it: measured by a unit of its own, as du says; and what no directory has.
        let by_du = machine.ok("du -sB1 /srv/big | cut -f1")?.trim().parse::<f64>()?;
        machine.wait_for("directories to be measured", MEASURING, || {
            Ok(!series(&machine, "bowline_directory_bytes")?.is_empty())
        })?;
        let measured = value(&machine, "bowline_directory_bytes", "path=\"/srv/big\",kind=\"allocated\"")?;
        assert_eq!(measured, by_du);
        assert!(value(&machine, "bowline_directory_inodes", "path=\"/srv/big/inner\"")? == 2.0);
        assert!(value(&machine, "bowline_deleted_open_bytes", "mountpoint=\"/\"")? >= 20_000_000.0);
        assert_eq!(value(&machine, "bowline_mount_hidden_bytes", "mountpoint=\"/mnt/data\"")?, 0.0);
        machine.ok("promtool check metrics < /dev/null; curl -sf 127.0.0.1:9787/metrics | promtool check metrics")?;

        page(&machine)
    })
}

/// The page, and the forms that a scrape may have.
fn page(machine: &Machine) -> Result<()> {
    let head = machine.ok("curl -sfD - -o /run/page.html 127.0.0.1:9787/")?.to_lowercase();
    assert!(
        head.contains("content-type: text/html") && head.contains("default-src 'none'; style-src 'sha256-"),
        "{head}"
    );
    let html = machine.read("/run/page.html")?;
    assert!(html.contains("/mnt/data") && html.contains("/srv/big/inner") && !html.contains("<script"), "{html}");
    let gzip = machine.ok("curl -sf -H 'Accept-Encoding: gzip' 127.0.0.1:9787/metrics | gzip -dc")?;
    assert!(gzip.contains("bowline_build_info"), "{gzip}");
    let open = machine
        .ok("curl -sf -H 'Accept: application/openmetrics-text;version=1.0.0' 127.0.0.1:9787/metrics | tail -n 1")?;
    assert_eq!(open.trim(), "# EOF");
    Ok(())
}

#[test]
fn a_full_filesystem_of_its_own_state_takes_nothing_down() -> Result<()> {
    case_of(Cast::PLAIN, "state-full", |bed| {
        let (state, data) = (bed.disk("98100", "16M")?, bed.disk("98101", "64M")?);
        state.mkfs("ext4 -m 0")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&state).disk(&data).start()?;
        machine.ok(&format!("mkdir -p /var/lib/bowline && mount {} /var/lib/bowline", state.link()))?;
        install(&machine, &volume_on(&data, "data", BLANK_ONLY))?;
        until_ready(&machine, "data")?;
        machine.wait_for("samples", SOON, || Ok(machine.run(&format!("test -s {SAMPLES}"))?.success()))?;

        // To the last byte and the last inode.
        machine.run("mkdir /mnt/data/many && cd /mnt/data/many && seq 100000 | xargs touch 2>/dev/null")?;
        for place in ["/var/lib/bowline", "/mnt/data"] {
            machine.run(&format!("head -c 1G /dev/zero > {place}/filler; dd if=/dev/zero of={place}/filler oflag=append conv=notrunc bs=1k"))?;
        }
        for place in ["/var/lib/bowline", "/mnt/data"] {
            let free = machine.ok(&format!("df --output=avail {place} | tail -n 1"))?;
            assert_eq!(free.trim(), "0", "{place}");
        }
        let before = machine.ok(&format!("sha256sum {SAMPLES}"))?;
        machine.wait_for("a sample to be kept in place", MEASURING, || {
            Ok(machine.ok(&format!("sha256sum {SAMPLES}"))? != before)
        })?;
        let pid = bowline_booted::pid(&machine, "bowline")?;
        machine.ok("systemctl reload bowline && bowline status")?;
        assert_eq!(value(&machine, "bowline_filesystem_inodes_free", "mountpoint=\"/mnt/data\"")?, 0.0);
        assert_eq!(value(&machine, "bowline_filesystem_available_bytes", "mountpoint=\"/var/lib/bowline\"")?, 0.0);

        // Restarted with the full disk it knows what it knew, and stands as before when there is room again.
        machine.ok("systemctl restart bowline && bowline status --wait-ready 30s")?;
        assert_ne!(bowline_booted::pid(&machine, "bowline")?, pid);
        let said = machine.journal("bowline")?;
        assert!(!said.contains("how filesystems filled is not known"), "{said}");
        machine.ok("rm -rf /var/lib/bowline/filler /mnt/data/many /mnt/data/filler")?;
        until_ready(&machine, "data")?;
        assert_eq!(machine.run("bowline plan --exit-code")?.code, 0);
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

/// The lines of a family.
fn series(machine: &Machine, family: &str) -> Result<Vec<String>> {
    let text = machine.ok("curl -sf 127.0.0.1:9787/metrics")?;
    Ok(text.lines().filter(|line| line.starts_with(&format!("{family}{{"))).map(String::from).collect())
}

/// The value of the one series of a family that has this in its labels.
fn value(machine: &Machine, family: &str, labels: &str) -> Result<f64> {
    let all = series(machine, family)?;
    let one = all.iter().find(|line| line.contains(labels)).with_context(|| format!("no {labels} in {all:#?}"))?;
    let (_, value) = one.rsplit_once(' ').context("no value")?;
    Ok(value.parse()?)
}
