//! Filesystems without a byte or an inode left: Bowline goes on, tells, and has lost nothing when there is room again;
//! and a Prometheus that loads the shipped rules has an alert of it, for as long as it lasts.

use super::{MEASURING, fill, told_of, value};
use anyhow::{Context, Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, install, until_ready, volume_on};
use bowline_booted::{ADDRESS, pid, report};
use bowline_testbed::{Cast, Machine, Prometheus, case_of, say};

const RULES: &str = "/usr/share/bowline/prometheus/rules.yml";
/// Bytes that are left, as root and as others count, and inodes.
const LEFT: [&str; 2] = ["bowline_filesystem_available_bytes", "bowline_filesystem_inodes_free"];
const FULL: &str = "bowline_filesystem_full_seconds";
const NO_INODES: &str = "bowline_filesystem_inodes_exhausted_seconds";

#[test]
fn full_filesystems_are_told_alerted_and_take_nothing_down() -> Result<()> {
    case_of(Cast::PLAIN.patient(), "full", |bed| {
        let (disk, few) = (bed.disk("98100", "64M")?, bed.disk("98101", "64M")?);
        few.mkfs("ext4 -N 256")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).disk(&few).start()?;
        install(&machine, &format!("{}{}", volume_on(&disk, "data", BLANK_ONLY), volume_on(&few, "few", "")))?;
        until_ready(&machine, "data")?;
        until_ready(&machine, "few")?;
        let prometheus = prometheus(&machine)?;
        let before = (pid(&machine, "bowline")?, state(&machine)?);
        ensure!(
            told_of(&machine, "/mnt/data")?.is_none() && told_of(&machine, "/mnt/few")?.is_none(),
            "told too early"
        );
        ensure!(firing(&prometheus)?.is_empty(), "{:?}", firing(&prometheus)?);

        // Nine tenths: Prometheus warns, and it is not grave yet.
        machine.ok("fallocate -l $(( $(stat -f -c '%a * %S' /mnt/data) * 9 / 10 )) /mnt/data/filler")?;
        until_firing(&prometheus, &[("BowlineFilesystemUsage", "warning", "/mnt/data")])?;
        say("warned");

        // To the last byte, and to the last inode.
        fill(&machine, "/mnt/data")?;
        machine.run("mkdir /mnt/few/many; cd /mnt/few/many && seq 1000 | xargs touch")?;
        ensure!(!machine.run("touch /mnt/few/more")?.success(), "there are more inodes");

        // Everywhere: in the file that all can read, in the report, in the journal and in the metrics.
        let texts = [
            ("/mnt/data", "is full: nobody but root can write there; `bowline usage` shows what takes the room"),
            ("/mnt/few", "has no inode left: no file can be made there; `bowline usage` shows what takes the room"),
        ];
        machine.wait_for("the full ones to be told", MEASURING, || {
            Ok(texts.iter().all(|(place, text)| told_of(&machine, place).ok().flatten().as_deref() == Some(*text)))
        })?;
        let (said, asked) = (machine.journal("bowline")?, report(&machine)?["capabilities"].to_string());
        for (place, text) in texts {
            ensure!(said.contains(&format!("{place} {text}")), "{said}");
            ensure!(asked.contains(text), "{asked}");
        }
        let of = |family: &str, place: &str| value(&machine, family, &format!("mountpoint=\"{place}\""));
        let left = |place: &str| -> Result<[f64; 2]> { Ok([of(LEFT[0], place)?, of(LEFT[1], place)?]) };
        let (data, inodes) = (left("/mnt/data")?, left("/mnt/few")?);
        ensure!(data[0] == 0.0 && data[1] > 0.0, "{data:?}");
        ensure!(inodes[0] > 0.0 && inodes[1] == 0.0, "{inodes:?}");
        ensure!(of(FULL, "/mnt/data")? == 0.0 && of(NO_INODES, "/mnt/data")?.is_infinite());
        ensure!(of(FULL, "/mnt/few")?.is_infinite() && of(NO_INODES, "/mnt/few")? == 0.0);
        let usage = machine.ok("bowline usage")?;
        let line = |place: &str, end: &str| usage.lines().any(|line| line.starts_with(place) && line.ends_with(end));
        ensure!(line("/mnt/data", " 0 B free  full") && line("/mnt/few", " free  no inode left"), "{usage}");

        // By what they are and by what is foretold, since full by now is less than a day.
        let both = |alert, place| [(alert, "critical", place), (alert, "warning", place)];
        let alerts = [
            both("BowlineFilesystemFilling", "/mnt/data"),
            both("BowlineFilesystemUsage", "/mnt/data"),
            both("BowlineInodesRunningOut", "/mnt/few"),
            both("BowlineInodesUsage", "/mnt/few"),
        ];
        until_firing(&prometheus, &alerts.concat())?;
        say("told");

        // There is room again.
        machine.ok("rm -r /mnt/data/filler /mnt/few/many")?;
        until_firing(&prometheus, &[])?;
        machine.wait_for("nothing to be told", MEASURING, || {
            Ok(told_of(&machine, "/mnt/data")?.is_none() && told_of(&machine, "/mnt/few")?.is_none())
        })?;
        ensure!(left("/mnt/data")?[0] > 30e6 && left("/mnt/few")?[1] > 200.0);
        ensure!(of(FULL, "/mnt/data")?.is_infinite() && of(NO_INODES, "/mnt/few")?.is_infinite());
        let said = machine.journal("bowline")?;
        for (place, _) in texts {
            ensure!(said.contains(&format!("{place} is not expected to be full any more")), "{said}");
        }
        ensure!((pid(&machine, "bowline")?, state(&machine)?) == before, "another process, or other files");
        ensure!(machine.run("bowline plan --exit-code")?.code == 0);
        Ok(())
    })
}

/// What it remembers, but for the samples: those change.
fn state(machine: &Machine) -> Result<String> {
    machine.ok(
        "cd /var/lib/bowline && find . -type f ! -name samples -exec sha256sum {} + | sort; stat -c '%s %i' samples",
    )
}

/// One that asks this machine each second, by the shipped rules; they wait for minutes before they tell, and look back for hours
/// at what was foretold: here for seconds, which is all that is changed.
fn prometheus(machine: &Machine) -> Result<Prometheus> {
    let shipped = machine.read(RULES)?;
    let hurried = |line: &str| match line.trim_start().starts_with("for: ") {
        true => "        for: 2s".to_owned(),
        false if line.contains("min_over_time(bowline_filesystem_") && line.contains("_seconds[5m])") => {
            line.replace("[5m]", "[3s]")
        }
        false => ["[8h:5m]", "[2h:5m]", "[3h:1m]", "[1h:1m]"]
            .iter()
            .fold(line.to_owned(), |line, window| line.replace(window, "[9s:1s]")),
    };
    let rules: Vec<_> = shipped.lines().map(hurried).collect();
    ensure!(rules.iter().filter(|line| line.ends_with(" for: 2s")).count() > 10, "no rule waits: {shipped}");
    machine.put("/etc/prometheus/rules.yml", rules.join("\n"), 0o644)?;
    let prometheus = machine.start_prometheus(
        "global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: [/etc/prometheus/rules.yml]\n\
         scrape_configs:\n  - job_name: bowline\n    static_configs:\n      - targets: [\"127.0.0.1:9787\"]\n",
    )?;
    prometheus.wait_query("mountpoint:bowline_filesystem_used:ratio{mountpoint=\"/mnt/data\"}", SOON)?;
    machine.wait_for("all rules to be evaluated", SOON, || {
        Ok(prometheus.rules()?.iter().all(|rule| rule["health"] != "unknown"))
    })?;
    let loaded = prometheus.rules()?;
    let alerts = shipped.matches("- alert: ").count();
    ensure!(loaded.iter().filter(|rule| rule["type"] == "alerting").count() == alerts, "{loaded:#?}");
    let ill: Vec<_> = loaded.iter().filter(|rule| rule["health"] != "ok").collect();
    ensure!(ill.is_empty(), "{ill:#?}");
    Ok(prometheus)
}

/// The alerts of the two volumes that fire: name, severity and place. (The machine's own disk is the host's.)
fn firing(prometheus: &Prometheus) -> Result<Vec<(String, String, String)>> {
    let found = prometheus.query("ALERTS{alertstate=\"firing\",mountpoint=~\"/mnt/.*\"}")?;
    let text = |labels: &serde_json::Value, name: &str| Some(labels[name].as_str()?.to_owned());
    let named = found
        .iter()
        .map(|(labels, _)| Some((text(labels, "alertname")?, text(labels, "severity")?, text(labels, "mountpoint")?)));
    let mut all = named.collect::<Option<Vec<_>>>().context("an alert lacks a label")?;
    all.sort();
    Ok(all)
}

/// Waits until exactly these fire.
fn until_firing(prometheus: &Prometheus, wanted: &[(&str, &str, &str)]) -> Result<()> {
    let mut wanted: Vec<_> =
        wanted.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect();
    wanted.sort();
    bowline_testbed::wait_for(&format!("{wanted:?} to fire, and nothing else"), SOON, || {
        Ok(firing(prometheus)? == wanted)
    })
}
