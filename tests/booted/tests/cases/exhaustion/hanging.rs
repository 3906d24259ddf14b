//! A mount that hangs, as one of a dead server does: it is told by a series, and delays neither a scrape nor a
//! measurement nor the end of the daemon.

use super::{MEASURED, MEASURING, value};
use anyhow::{Context, Result, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, install, until_ready, volume_on};
use bowline_booted::{ADDRESS, pid};
use bowline_testbed::{Cast, Machine, case_of, say, wait_some};
use std::time::{Duration, Instant};

/// Within what is measured.
const SLOW: &str = "/srv/big/slow";
const DAEMON: &str = include_str!("slow.py");
const SCRAPES: u32 = 20;

#[test]
fn a_mount_that_hangs_is_told_and_holds_nothing_up() -> Result<()> {
    case_of(Cast::PLAIN, "hanging", |bed| {
        let disk = bed.disk("98300", "128M")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).start()?;
        machine.put("/run/slow.py", DAEMON, 0o644)?;
        machine.ok(&format!(
            "[ -e /dev/fuse ] || mknod /dev/fuse c 10 229; mkdir -p {SLOW} && echo something > /srv/big/file
             systemd-run -q --unit slow python3 /run/slow.py {SLOW}"
        ))?;
        machine
            .wait_for("the mount", SOON, || Ok(machine.run(&format!("findmnt {SLOW} && stat {SLOW}"))?.success()))?;
        install(&machine, &format!("{}{MEASURED}", volume_on(&disk, "data", BLANK_ONLY)))?;
        until_ready(&machine, "data")?;
        ensure!(error_of(&machine, SLOW)? == 0.0 && value(&machine, SIZE, &at(SLOW))? == 4_096_000.0);

        machine.ok("systemctl kill --signal=STOP slow")?;
        let asked = |seconds, at| machine.run(&format!("timeout -s KILL {seconds} stat -f {at}"));
        ensure!(!asked(2, SLOW)?.success() && asked(30, "/mnt/data")?.success());

        // Each scrape is in time, with an error in the place of a gap, and fresh values of the others.
        timely(&machine)?;
        let threads = threads(&machine)?;
        let begun = Instant::now();
        let mut left = value(&machine, LEFT, &at("/mnt/data"))?;
        for number in 0..SCRAPES {
            machine.ok(&format!("fallocate -l 1M /mnt/data/{number}"))?;
            let text = timely(&machine)?;
            let one = |family: &str, place: &str| -> Option<f64> {
                let line = text.lines().find(|l| l.starts_with(&format!("{family}{{")) && l.contains(&at(place)))?;
                line.rsplit_once(' ')?.1.parse().ok()
            };
            ensure!(one(ERROR, SLOW) == Some(1.0) && one(ERROR, "/mnt/data") == Some(0.0), "{text}");
            ensure!(one(SIZE, SLOW).is_none(), "a size of what does not answer: {text}");
            let now = one(LEFT, "/mnt/data").context("no /mnt/data")?;
            ensure!(now <= left - 1e6, "not fresh: {now} after {left}");
            left = now;
        }
        say(&format!("{SCRAPES} scrapes took {:.1} s", begun.elapsed().as_secs_f64()));
        // One thread waits for it. Those that only work now and then end after a while.
        machine.wait_for("no more threads than before", SOON, || Ok(self::threads(&machine)? <= threads))?;
        let page = "curl -sfm 8 127.0.0.1:9787/ | grep -q 'has not answered'";
        machine.wait_for("it on the page", SOON, || Ok(machine.run(page)?.success()))?;
        let text = machine.ok("timeout 40 bowline usage")?;
        ensure!(text.contains(SLOW) && text.contains("/mnt/data"), "{text}");
        // Asked for alone it is given up, and whoever has enough of it need not wait for that.
        let alone = machine.run(&format!("timeout -k 1 40 bowline usage {SLOW}"))?;
        ensure!(alone.code == 1 && alone.stderr.contains("its filesystem does not answer"), "{alone}");
        let tired = machine.run(&format!("timeout -s INT -k 8 2 bowline usage {SLOW}"))?;
        ensure!(tired.code == 124, "it did not end by itself: {tired}");

        // Directories are measured meanwhile, though one of them has it inside.
        machine.ok("head -c 5000000 /dev/zero > /srv/big/file")?;
        machine.wait_for("a measurement", MEASURING, || {
            let apparent = value(&machine, "bowline_directory_bytes", "path=\"/srv/big\",kind=\"apparent\"")?;
            Ok((5e6..6e6).contains(&apparent))
        })?;
        ensure!(value(&machine, "bowline_directory_error", "path=\"/srv/big\"")? == 0.0);
        say("measured");

        // Told to end it ends, by itself and at once; and it can be started again.
        machine.ok("systemctl stop bowline")?;
        let moment = |what: &str| -> Result<u64> {
            Ok(machine.ok(&format!("systemctl show -P {what}TimestampMonotonic bowline"))?.trim().parse()?)
        };
        let took = Duration::from_micros(moment("ExecMainExit")?.saturating_sub(moment("ActiveExit")?));
        // systemd kills it after 15 s, which the result would say.
        ensure!(took < Duration::from_secs(14), "it took {took:?} to end");
        ensure!(machine.ok("systemctl show -p Result --value bowline")?.trim() == "success");
        // It is started before it has looked.
        machine.ok("timeout 30 systemctl start bowline")?;
        until_ready(&machine, "data")?;
        ensure!(error_of(&machine, SLOW)? == 1.0);

        // It answers again.
        machine.ok("systemctl kill --signal=CONT slow")?;
        machine.wait_for("no error", SOON, || Ok(error_of(&machine, SLOW)? == 0.0))?;
        ensure!(value(&machine, SIZE, &at(SLOW))? == 4_096_000.0);
        Ok(())
    })
}

const ERROR: &str = "bowline_filesystem_error";
const SIZE: &str = "bowline_filesystem_size_bytes";
const LEFT: &str = "bowline_filesystem_available_bytes";

fn at(place: &str) -> String {
    format!("mountpoint=\"{place}\"")
}

fn error_of(machine: &Machine, place: &str) -> Result<f64> {
    value(machine, ERROR, &at(place))
}

/// A scrape that may take eight seconds: what hangs, hangs for ever.
fn scrape(machine: &Machine) -> Result<String> {
    machine.ok("curl -sfm 8 127.0.0.1:9787/metrics")
}

/// One in which the other filesystem has answered within its second; on a busy host that is not each.
fn timely(machine: &Machine) -> Result<String> {
    wait_some("a scrape in time", SOON, || {
        let text = scrape(machine)?;
        let late = text.lines().any(|l| l.starts_with(ERROR) && l.contains(&at("/mnt/data")) && l.ends_with(" 1"));
        Ok((!late).then_some(text))
    })
}

fn threads(machine: &Machine) -> Result<usize> {
    let pid = pid(machine, "bowline")?;
    Ok(machine.ok(&format!("ls /proc/{pid}/task | wc -l"))?.trim().parse()?)
}
