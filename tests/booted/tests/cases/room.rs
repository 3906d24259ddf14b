//! Room: what is freed where a filesystem fills, and what is kept for when the disk of the system is about to be full.

use anyhow::{Context, Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, install, look_again, until_ready, volume_on};
use bowline_booted::{ADDRESS, bare, configure, pods, ready, releases, report, settings};
use bowline_testbed::{Cast, Machine, case, case_of, say};
use std::time::Duration;

/// Filesystems are looked at each minute.
const MINUTE: Duration = Duration::from_secs(75);
const RESERVE: &str = "/var/lib/bowline/reserve";
const RECLAIM: &str = "
[pressure]
reserve = \"64MiB\"
[reclaim]
order = [\"rotated-logs\", \"journal\"]
[reclaim.rotated-logs]
at = \"80%\"
at-most = \"20MiB\"
[reclaim.journal]
at = \"70%\"
keep = \"1MiB\"
";

#[test]
fn room_is_freed_in_order_and_kept_for_the_last_moment() -> Result<()> {
    case_of(Cast::PLAIN.patient(), "room", |bed| {
        let (logs, own, data) = (bed.disk("98300", "128M")?, bed.disk("98301", "512M")?, bed.disk("98302", "64M")?);
        logs.mkfs("ext4")?;
        own.mkfs("ext4")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&logs).disk(&own).disk(&data).start()?;
        machine.ok(&format!("mkdir -p /var/lib/bowline && mount {} /var/lib/bowline", own.link()))?;
        machine.ok(&format!("mount {} /var/log && mkdir -p /var/log/journal /var/log/app", logs.link()))?;
        // What is archived of the journal, and files that a logrotate left: two old, one of today. And a log that is in use.
        machine.ok("systemctl restart systemd-journald && journalctl --flush")?;
        for _ in 0..3 {
            machine.ok(
                "head -c 6000000 /dev/urandom | base64 | systemd-cat && journalctl --sync && journalctl --rotate",
            )?;
        }
        for (name, days) in [("app/app.log.2", 30), ("app/app.log.1", 20), ("app/today.1", 0), ("app/app.log", 40)] {
            machine.ok(&format!(
                "head -c 12000000 /dev/urandom > /var/log/{name} && touch -d '-{days} days' /var/log/{name}"
            ))?;
        }
        install(&machine, &format!("{}{RECLAIM}", volume_on(&data, "data", BLANK_ONLY)))?;
        until_ready(&machine, "data")?;

        // There is enough room: nothing is freed, and 64 MiB are kept.
        machine.wait_for("the reserve", SOON, || Ok(machine.run(&format!("test -e {RESERVE}"))?.success()))?;
        ensure!(
            machine.ok(&format!("stat -c '%a %s' {RESERVE} && du -m {RESERVE} | cut -f1"))? == "600 67108864\n64\n"
        );
        machine.ok("systemctl stop bowline")?;
        let full =
            "fallocate -l $(( $(stat -f -c %a /var/log) * $(stat -f -c %S /var/log) - 5000000 )) /var/log/filler";
        machine.ok(full)?;

        // What would be done is shown before it is done: the first of the order alone, within its limit.
        let plan = on_one_line(&machine.ok("bowline plan")?);
        ensure!(plan.contains("remove rotated logs that are older than 7 d, at most 20 MiB"), "{plan}");
        ensure!(plan.contains("/var/log is ") && plan.contains("`reclaim.rotated-logs.at` is 80%"), "{plan}");
        ensure!(!plan.contains("vacuum"), "{plan}");
        say("shown");

        // 12 MB are freed by the oldest log that was rotated; two together were more than 20 MiB. Then it is the journal's turn.
        machine.ok("systemctl start bowline")?;
        machine.wait_for("the journal to be vacuumed", MINUTE, || Ok(freed(&machine, "journal")? > 0.0))?;
        let left = machine.ok("ls /var/log/app")?;
        ensure!(left.split_whitespace().eq(["app.log", "app.log.1", "today.1"]), "{left}");
        let (of_logs, of_journal) = (freed(&machine, "rotated-logs")?, freed(&machine, "journal")?);
        ensure!((12e6..12.1e6).contains(&of_logs), "{of_logs}");
        ensure!(of_journal > 1e6, "{of_journal}");
        machine.wait_for("the status to say what was freed", MINUTE, || {
            Ok(on_one_line(&machine.run("bowline status")?.stdout).contains("11.4 MiB were freed at"))
        })?;
        let journal = machine.journal("bowline")?;
        ensure!(journal.contains("remove rotated logs"), "{journal}");
        // It is not tried again and again.
        look_again(&machine)?;
        ensure!(machine.run("bowline plan --exit-code")?.code == 0);
        ensure!(freed(&machine, "rotated-logs")? == of_logs);
        say("freed");

        // The disk of the system is about to be full: what was kept is given up, and everybody is told.
        let rest = "$(( $(stat -f -c %a /var/lib/bowline) * $(stat -f -c %S /var/lib/bowline) - 20000000 ))";
        machine.ok(&format!("fallocate -l {rest} /var/lib/bowline/filler"))?;
        machine.wait_for("the reserve to go", MINUTE, || Ok(!machine.run(&format!("test -e {RESERVE}"))?.success()))?;
        machine.wait_for("the report", SOON, || Ok(report(&machine)?["conditions"]["reserve"] == "missing"))?;
        ensure!(value(&machine, "bowline_reserve_missing")? == 1.0 && value(&machine, "bowline_reserve_bytes")? == 0.0);
        ensure!(machine.journal("bowline")?.contains("the disk is about to be full, 19.1 MiB are left"));
        let free: u64 = machine.ok("stat -f -c '%a %S' /var/lib/bowline | awk '{print $1 * $2}'")?.trim().parse()?;
        ensure!(free > 80_000_000, "only {free} bytes are free");
        say("given up");

        // With room again it is kept again, and no log was lost that was not to go.
        machine.ok("rm /var/lib/bowline/filler")?;
        machine.wait_for("the reserve again", MINUTE, || Ok(machine.run(&format!("test -e {RESERVE}"))?.success()))?;
        machine.wait_for("the report", SOON, || Ok(report(&machine)?["conditions"]["reserve"] == "67108864"))?;
        ensure!(machine.ok("stat -c %s /var/log/app/app.log /var/log/filler | head -1")?.trim() == "12000000");
        Ok(())
    })
}

const AT_ZERO: &str = "
[reclaim]
order = [\"rotated-logs\"]
[reclaim.rotated-logs]
at = \"90%\"
at-most = \"20MiB\"
";

#[test]
fn with_no_byte_left_anywhere_it_still_frees_what_it_may() -> Result<()> {
    case_of(Cast::PLAIN, "room-at-zero", |bed| {
        let (logs, own) = (bed.disk("98310", "64M")?, bed.disk("98311", "64M")?);
        logs.mkfs("ext4")?;
        own.mkfs("ext4")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&logs).disk(&own).start()?;
        machine.ok(&format!("mkdir -p /var/lib/bowline && mount {} /var/lib/bowline", own.link()))?;
        machine.ok(&format!("mount {} /var/log && mkdir /var/log/app", logs.link()))?;
        let rotated = "/var/log/app/app.log.1";
        machine.ok(&format!("head -c 12000000 /dev/urandom > {rotated} && touch -d '-20 days' {rotated}"))?;
        install(&machine, AT_ZERO)?;
        ready(&machine)?;
        ensure!(freed(&machine, "rotated-logs")? == 0.0);

        // Not even root has a block left, neither where the logs are nor where Bowline keeps its records.
        machine.ok("systemctl stop bowline")?;
        for place in ["/var/log", "/var/lib/bowline"] {
            // What ext4 has promised to data on their way is given back when they are on the disk, and is taken as well.
            machine.run(&format!("cat /dev/zero > {place}/filler; sync -f {place}"))?;
            let fill = format!("while head -c 4096 /dev/urandom >> {place}/filler; do :; done; sync -f {place}");
            machine.wait_for("no room", SOON, || {
                machine.run(&fill)?;
                Ok(machine.run(&no_room(place))?.success())
            })?;
        }
        machine.ok("systemctl start bowline")?;
        machine.wait_for("the log to go", MINUTE, || Ok(!machine.run(&format!("test -e {rotated}"))?.success()))?;
        machine.wait_for("that to be told", MINUTE, || {
            let status = on_one_line(&machine.run("bowline status")?.stdout);
            Ok(status.contains("11.4 MiB were freed at") && freed(&machine, "rotated-logs")? >= 12e6)
        })?;
        // What was freed is known to the next Bowline of this boot, though the record had no room on the disk.
        machine.ok("systemctl restart bowline")?;
        machine.wait_for("it to be remembered", SOON, || Ok(freed(&machine, "rotated-logs")? >= 12e6))?;
        machine.ok(&no_room("/var/lib/bowline")).context("nothing of anybody else's went")?;
        Ok(())
    })
}

#[test]
fn where_no_inode_is_left_logs_are_freed_though_there_are_bytes() -> Result<()> {
    case_of(Cast::PLAIN, "room-no-inode", |bed| {
        let logs = bed.disk("98320", "64M")?;
        logs.mkfs("ext4 -N 512")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&logs).start()?;
        machine.ok(&format!("mount {} /var/log && mkdir /var/log/app", logs.link()))?;
        machine.ok(
            "cd /var/log/app && for n in $(seq 100); do echo old > app-$n.log.1; done && touch -d '-20 days' *.1",
        )?;
        install(&machine, AT_ZERO)?;
        ready(&machine)?;
        ensure!(freed(&machine, "rotated-logs")? == 0.0);

        machine.run("mkdir /var/log/many; cd /var/log/many && seq 1000 | xargs touch")?;
        machine.wait_for("the logs to go", MINUTE, || Ok(freed(&machine, "rotated-logs")? > 0.0))?;
        ensure!(machine.ok("ls /var/log/app | wc -l")?.trim() == "0");
        machine.ok("touch /var/log/many/there-is-room && test -e /var/log/many/1").map(drop)
    })
}

/// Everything is due, and what was not written to for an hour is old enough.
const OF_PODS: &str = "
[reclaim]
order = [\"pod-logs\", \"images\"]
[reclaim.pod-logs]
at = \"1%\"
older-than = \"1h\"
[reclaim.images]
at = \"1%\"
";

#[test]
fn images_that_no_container_uses_and_logs_of_ended_pods_go() -> Result<()> {
    case("room-of-pods", |bed| {
        let releases = releases(bed)?;
        let machine = bare(bed, &releases, None)?;
        let server = format!("{}{}", settings::server(&releases), pods::CONFIG);
        install(&machine, &server)?;
        pods::image(&machine)?;
        ready(&machine)?;
        let node = machine.ok("hostname")?.trim().to_string();
        pods::run(&machine, "stays", &node)?;
        pods::run_to_its_end(&machine, "ends", &node)?;
        pods::image_named(&machine, "docker.io/bed/unused:1")?;
        ensure!(machine.ok("k3s crictl images -o json")?.contains("docker.io/bed/unused:1"));
        ensure!(machine.ok("cat /var/log/pods/default_ends_*/ends/*.log")?.contains("it is done"));

        // Two hours pass for one of its logs, as for one of the pod that stays.
        machine
            .ok("touch -d '-2 hours' /var/log/pods/default_ends_*/ends/*.log /var/log/pods/default_stays_*/*/*.log")?;
        configure(&machine, &format!("{server}{OF_PODS}"))?;
        // (How much that freed is measured on a disk that the host fills as well.)
        let images = || machine.ok("k3s crictl images -o json");
        machine.wait_for("images to be removed", MINUTE, || Ok(!images()?.contains("docker.io/bed/unused:1")))?;
        let ended = || {
            let record = machine.ok("cat /var/lib/bowline/reclaimed.json")?;
            Ok(record.contains("images") && !record.contains("cut off"))
        };
        machine.wait_for("that to end", MINUTE, ended)?;
        let images = images()?;
        ensure!(images.contains(pods::IMAGE), "one in use is gone: {images}");
        ensure!(freed(&machine, "pod-logs")? > 0.0);
        ensure!(machine.ok("find /var/log/pods -path '*default_ends_*' -name '*.log'")?.is_empty());
        ensure!(!machine.ok("find /var/log/pods -path '*default_stays_*' -name '*.log'")?.is_empty());

        // Nothing that runs was disturbed, and nothing is left to do.
        ensure!(machine.ok("k3s kubectl get pod stays -o jsonpath={.status.phase}")? == "Running");
        ensure!(machine.run("bowline plan --exit-code")?.code == 0, "{}", machine.run("bowline plan")?);
        Ok(())
    })
}

/// Succeeds where not even root can write 4 KiB.
fn no_room(place: &str) -> String {
    format!("! head -c 4096 /dev/urandom > {place}/more && sync -f {place} && rm -f {place}/more")
}

/// A text for people, without its lines.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Bytes that were freed of something, as the metrics say.
fn freed(machine: &Machine, what: &str) -> Result<f64> {
    let text = machine.ok("curl -sf 127.0.0.1:9787/metrics")?;
    let line = text.lines().find(|line| line.starts_with(&format!("bowline_reclaimed_bytes_total{{what=\"{what}\"}}")));
    Ok(line.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse()).transpose()?.unwrap_or(0.0))
}

/// The value of a family without labels.
fn value(machine: &Machine, family: &str) -> Result<f64> {
    let text = machine.ok("curl -sf 127.0.0.1:9787/metrics")?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{family} ")));
    Ok(line.with_context(|| format!("no {family}"))?.parse()?)
}
