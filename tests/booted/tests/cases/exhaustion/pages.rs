//! What is served of disks: the page for people, the forms that a scrape may have, and what no directory shows.

use super::{MEASURED, MEASURING, series, value};
use anyhow::{Context, Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, install, until_ready, volume_on};
use bowline_booted::{ADDRESS, configure};
use bowline_testbed::{Cast, Machine, case_of};

const URL: &str = "127.0.0.1:9787";
const HIDDEN: &str = "bowline_mount_hidden_bytes";
const DELETED: &str = "bowline_deleted_open_bytes";

#[test]
fn pages_tell_what_no_directory_shows() -> Result<()> {
    case_of(Cast::PLAIN.patient(), "pages", |bed| {
        let (disk, late) = (bed.disk("98400", "128M")?, bed.disk("98401", "64M")?);
        late.mkfs("ext4")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).disk(&late).start()?;
        // Somebody wrote here before the disk was mounted.
        machine.ok(&format!(
            "mkdir -p /srv/late /srv/big && head -c 12000000 /dev/zero > /srv/late/file && mount {} /srv/late",
            late.link()
        ))?;
        // Somebody else's kubelet, with a map that none would read.
        machine.put("/var/lib/kubelet/config.yaml", "evictionHard: 5%\n", 0o644)?;
        let settings = format!("{}{MEASURED}", volume_on(&disk, "data", BLANK_ONLY));
        install(&machine, &settings)?;
        until_ready(&machine, "data")?;
        machine.ok("systemd-run -q --unit grower sh -c \
             'while sleep 1; do head -c 100000 /dev/urandom >> /srv/big/grows; done'")?;
        // Deleted, and still open in a process.
        machine.ok("systemd-run -q --unit holder sh -c \
             'exec 3>/mnt/data/gone; rm /mnt/data/gone; head -c 20000000 /dev/zero >&3
              touch /run/held; exec sleep infinity'")?;
        machine.wait_for("the file to be written", SOON, || Ok(machine.run("test -e /run/held")?.success()))?;

        measured(&machine, "both")?;
        // The first time may have been before the file was deleted.
        let of_deleted = || value(&machine, DELETED, "mountpoint=\"/mnt/data\"");
        machine.wait_for("the deleted file to be measured", MEASURING, || Ok(of_deleted()? >= 20e6))?;
        let hidden = value(&machine, HIDDEN, "mountpoint=\"/srv/late\"")?;
        ensure!((12e6..13e6).contains(&hidden), "{hidden}");
        ensure!(value(&machine, HIDDEN, "mountpoint=\"/mnt/data\"")? < 1e5, "{:?}", series(&machine, HIDDEN)?);
        let deleted = value(&machine, DELETED, "mountpoint=\"/mnt/data\"")?;
        ensure!((20e6..21e6).contains(&deleted), "{deleted}");
        ensure!(value(&machine, DELETED, "mountpoint=\"/srv/late\"")? == 0.0);
        let holder = bowline_booted::pid(&machine, "holder")?;
        page(
            &machine,
            &[
                " MiB lie beneath what is mounted at /srv/late",
                &format!(
                    "19.1 MiB on /mnt/data are in files that were deleted and are still open, \
                     most of them by sleep ({holder})"
                ),
            ],
        )?;
        forms(&machine)?;
        what_the_kernel_and_packages_say(&machine)?;
        what_can_not_be_read_is_told(&machine)?;
        machine.wait_for("growth to be known", MEASURING * 2, || {
            let all = series(&machine, "bowline_directory_growth_bytes_per_second")?;
            let big = all.iter().find_map(|line| line.split_once("{path=\"/srv/big\"} ")?.1.parse::<f64>().ok());
            Ok(big.is_some_and(|rate| (10e3..1e6).contains(&rate)))
        })?;
        machine.ok("systemctl stop grower")?;

        // Without the page there is a line at its place, and the metrics as before.
        configure(&machine, &format!("{settings}[metrics]\nstatus-page = \"never\"\n"))?;
        machine.wait_for("the page to go", SOON, || {
            Ok(machine.run(&format!("curl -sSfD - {URL}/"))?.stdout.to_lowercase().contains("content-type: text/plain"))
        })?;
        let line = machine.ok(&format!("curl -sSf {URL}/"))?;
        ensure!(
            line.contains("/metrics  for Prometheus") && !line.contains("<html") && !line.contains("/mnt/data"),
            "{line}"
        );
        ensure!(value(&machine, "bowline_filesystem_error", "mountpoint=\"/mnt/data\"")? == 0.0);

        // The process ends, and the file beneath goes.
        machine.ok("systemctl stop holder; for _ in 1 2 3 4 5 6 7 8 9 10; do umount /srv/late && break; sleep 0.5; done; rm /srv/late/file")?;
        machine.ok(&format!("mount {} /srv/late", late.link()))?;
        let gone = |family: &str, place: &str| -> Result<bool> {
            Ok(value(&machine, family, &format!("mountpoint=\"{place}\""))? < 1e5)
        };
        machine
            .wait_for("both to be gone", MEASURING, || Ok(gone(HIDDEN, "/srv/late")? && gone(DELETED, "/mnt/data")?))?;
        a_kubelet_is_followed(&machine)
    })
}

/// Whether a line is in the exposition.
fn says(machine: &Machine, line: &str) -> Result<bool> {
    Ok(machine.run(&format!("curl -sf {URL}/metrics | grep -qx '{line}'"))?.success())
}

/// What is read-only, or asked for by a package.
fn what_the_kernel_and_packages_say(machine: &Machine) -> Result<()> {
    let late = "mountpoint=\"/srv/late\"";
    ensure!(value(machine, "bowline_filesystem_readonly", late)? == 0.0 && says(machine, "bowline_reboot_required 0")?);
    machine.ok("mount -o remount,ro /srv/late && touch /run/reboot-required")?;
    machine.wait_for("a reboot to be asked for", SOON, || says(machine, "bowline_reboot_required 1"))?;
    machine.wait_for("it to be read-only", SOON, || Ok(value(machine, "bowline_filesystem_readonly", late)? == 1.0))?;
    machine.ok("mount -o remount,rw /srv/late && rm /run/reboot-required").map(drop)
}

/// The configuration is one that a kubelet would read: it is known of which filesystem, from when on, and that it does not come
/// to that.
fn a_kubelet_is_followed(machine: &Machine) -> Result<()> {
    let config = "kind: KubeletConfiguration\nevictionHard:\n  nodefs.available: 1Mi\n";
    machine.put("/var/lib/kubelet/config.yaml", config, 0o644)?;
    machine.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--root-dir=/srv/late\n", 0o644)?;
    // A start asks how far the clock is off, too: in the words of a chrony, which a bed does not have.
    let chronyc = "#!/bin/sh\n[ \"$*\" = '-n -c tracking' ] && \
         echo A9FEA97B,169.254.169.123,4,1790000000.1,0.75,-0.01,0.01,-3.5,0.0,0.01,0.0003,0.0002,16.2,Normal\n";
    machine.put("/usr/local/bin/chronyc", chronyc, 0o755)?;
    machine.ok("mkdir -p /run/chrony && touch /run/chrony/chronyd.sock && systemctl restart bowline")?;
    machine.wait_for("the offset of the clock", SOON, || says(machine, "bowline_clock_offset_seconds 0.75"))?;
    machine.wait_for("it to be read", SOON, || says(machine, "bowline_kubelet_configuration_error 0"))?;
    let signal = "signal=\"nodefs.available\"";
    ensure!(value(machine, "bowline_filesystem_eviction_available_bytes", signal)? == 1_048_576.0);
    ensure!(value(machine, "bowline_filesystem_eviction_seconds", signal)? > 0.0);
    let all = series(machine, "bowline_filesystem_eviction_seconds")?;
    let of_late = all.iter().all(|line| line.contains("mountpoint=\"/srv/late\"") || !line.contains(signal));
    ensure!(of_late, "{all:#?}");
    Ok(())
}

/// By a series of its own, and no gap in the others.
fn what_can_not_be_read_is_told(machine: &Machine) -> Result<()> {
    let says = |line: &str| says(machine, line);
    ensure!(says("bowline_kubelet_configuration_error 1")?);
    ensure!(machine.journal("bowline")?.contains("when the kubelet evicts is not known: evictionHard is no map"));
    ensure!(says("bowline_directory_scan_error 0")?);
    machine.ok("systemctl mask --runtime bowline-survey.service")?;
    machine.wait_for("it to be told that nothing is measured", MEASURING, || says("bowline_directory_scan_error 1"))?;
    ensure!(!series(machine, "bowline_directory_bytes")?.is_empty());
    machine.ok("systemctl unmask --runtime bowline-survey.service")?;
    machine.wait_for("it to be measured again", MEASURING, || says("bowline_directory_scan_error 0"))
}

fn measured(machine: &Machine, what: &str) -> Result<()> {
    machine.wait_for(&format!("{what} to be measured"), MEASURING, || Ok(!series(machine, HIDDEN)?.is_empty()))
}

/// The page: whole in itself, nothing in it runs, and no browser would let anything.
fn page(machine: &Machine, said: &[&str]) -> Result<()> {
    let head = machine.ok(&format!("curl -sSfD - -o /run/page.html {URL}/"))?.to_lowercase();
    for line in ["content-type: text/html", "x-content-type-options: nosniff", "referrer-policy: no-referrer"] {
        ensure!(head.contains(line), "{line}: {head}");
    }
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).context("no policy")?;
    ensure!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for word in ["unsafe", "script-src", "http:", "https:", "*"] {
        ensure!(!policy.contains(word), "{word}: {policy}");
    }
    let html = machine.read("/run/page.html")?;
    for text in said.iter().chain(&["/mnt/data", "/srv/big"]) {
        ensure!(html.contains(text), "{text}: {html}");
    }
    for word in ["<script", "<iframe", "src=\"http", "<link rel=\"stylesheet", "url(http", "onload", "onclick"] {
        ensure!(!html.contains(word), "{word}: {html}");
    }
    Ok(())
}

/// The forms that a scrape may have: all have the same families, and promtool has nothing to say of them.
fn forms(machine: &Machine) -> Result<()> {
    let get = |more: &str| machine.ok(&format!("curl -sSfD /run/head {more} {URL}/metrics"));
    let head = |line: &str| -> Result<()> {
        let head = machine.read("/run/head")?.to_lowercase();
        ensure!(head.contains(line), "{line}: {head}");
        Ok(())
    };
    let plain = families(&get("")?);
    head("content-type: text/plain; version=0.0.4")?;
    ensure!(plain.len() > 30 && plain.contains(&"bowline_filesystem_full_seconds".into()), "{plain:?}");
    machine.ok("curl -sSf 127.0.0.1:9787/metrics > /run/metrics && promtool check metrics < /run/metrics")?;

    let open = get("-H 'Accept: application/openmetrics-text;version=1.0.0'")?;
    head("content-type: application/openmetrics-text; version=1.0.0")?;
    ensure!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1, "{open}");
    // Its counters are named without an ending.
    let named: Vec<_> = plain.iter().map(|name| name.trim_end_matches("_total").to_owned()).collect();
    ensure!(families(&open) == named, "{:?}", families(&open));

    let packed = get("-H 'Accept-Encoding: gzip' -o /run/metrics.gz")?;
    head("content-encoding: gzip")?;
    ensure!(packed.is_empty());
    machine.ok("gzip -t < /run/metrics.gz")?;
    ensure!(families(&machine.ok("gzip -dc < /run/metrics.gz")?) == plain);
    Ok(())
}

/// The families of an exposition, in their order.
fn families(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned())).collect()
}
