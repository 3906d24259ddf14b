//! Settings that come late, are wrong, and are mended: at the start and while Bowline runs.

use anyhow::{Result, ensure};
use bowline_booted::clock::synchronised;
use bowline_booted::findings::{nothing_found, remedy, the_finding};
use bowline_booted::told::{no_longer_tells, tells};
use bowline_booted::{configure, deb, pid, report};
use bowline_testbed::{Cast, Machine, case_of};
use std::time::Duration;

const GOOD: &str = "[node]\naddress = \"10.0.1.0/24\"\n";
const SOON: Duration = Duration::from_secs(30);

#[test]
fn no_settings_are_a_wait_and_wrong_ones_keep_the_earlier_in_force() -> Result<()> {
    case_of(Cast::PLAIN, "settings", |bed| {
        let machine = synchronised(bed.machine("n1").address("10.0.1.10")).start()?;
        machine.install(&deb()?)?;
        machine.wait_for("a report", SOON, || Ok(machine.run("bowline status")?.code == 3))?;
        ensure!(machine.run("bowline status")?.stdout.starts_with("converging: no settings yet"));
        assert_eq!(state(&machine)?, ("active".into(), "waiting: no settings yet".into()));
        let bowline = pid(&machine, "bowline")?;

        configure(&machine, GOOD)?;
        is_ready(&machine)?;
        assert_eq!(valid(&machine)?, "1");

        // Who asks right after a change is answered about that, and not about the settings before.
        let elsewhere = GOOD.replace("10.0.1.0", "10.0.9.0");
        assert_eq!(asked_after(&machine, &elsewhere, "bowline apply --wait 0s")?, 3, "it waits for that address");
        change(&machine, GOOD)?;
        is_ready(&machine)?;
        assert_eq!(asked_after(&machine, &elsewhere, "bowline status --wait-ready 1s")?, 3);
        assert_eq!(asked_after(&machine, GOOD, "bowline apply --wait 30s")?, 0);
        assert_eq!(report(&machine)?["conditions"]["address"], "10.0.1.10");

        // Wrong ones while it runs.
        configure(&machine, &GOOD.replace("address", "adress"))?;
        let line =
            tells(&machine, &["settings: /etc/bowline/config.d/10-node.toml:2:1: ", "unknown key `adress` in [node]"])?;
        let status = machine.run("bowline status")?;
        ensure!(status.stdout.contains("the newest settings are invalid, the earlier ones stay in force"), "{status}");
        assert_eq!(status.code, 1);
        ensure!(state(&machine)?.1.starts_with("settings invalid, the earlier ones stay in force: "), "{line}");
        assert_eq!(valid(&machine)?, "0");
        assert_eq!(report(&machine)?["conditions"]["address"], "10.0.1.10", "the earlier ones are in force");
        let check = machine.run("bowline check")?;
        assert_eq!(check.code, 2);
        ensure!(check.stderr.contains("did you mean `address`"), "{check}");

        configure(&machine, GOOD)?;
        no_longer_tells(&machine, "adress")?;
        is_ready(&machine)?;
        assert_eq!(valid(&machine)?, "1");

        // Asked to read them again, it says what came of it, and is ready again.
        machine.ok("systemctl reload bowline")?;
        machine.wait_for("what came of it", SOON, || {
            Ok(machine.journal("bowline")?.contains("settings read again: nothing changed"))
        })?;
        machine.wait_for("the end of it", SOON, || Ok(state(&machine)?.0 == "active"))?;
        is_ready(&machine)?;
        assert_eq!(pid(&machine, "bowline")?, bowline, "all of it in one process");

        // As `sops -d x > FILE` writes it, empty for a while: nothing of that is taken into force, whoever asks.
        let changes = || Ok::<_, anyhow::Error>(machine.journal("bowline")?.matches("settings changed").count());
        let before = changes()?;
        machine.ok(&format!(
            "{{ sleep 3; printf '%s' '{GOOD}'; }} > /etc/bowline/config.d/10-node.toml & sleep 1; bowline apply; wait; sleep 1"
        ))?;
        is_ready(&machine)?;
        assert_eq!(changes()?, before, "an empty file was no settings");

        // Taken away: a wait again.
        machine.ok("rm /etc/bowline/config.d/10-node.toml")?;
        machine.wait_for("the wait", SOON, || Ok(report(&machine)?["settings"]["absent"] == true))?;
        Ok(())
    })
}

#[test]
fn wrong_settings_at_the_start_keep_it_down_until_they_are_mended() -> Result<()> {
    case_of(Cast::PLAIN, "settings-at-start", |bed| {
        let machine = synchronised(bed.machine("n1").address("10.0.1.10")).start()?;
        configure(&machine, "[node]\naddress = \"10.0.1.300\"\n")?;
        machine.install(&deb()?)?;
        down(&machine)?;
        machine.wait_for("file, line and what is wrong in the journal", SOON, || {
            let journal = said(&machine)?;
            Ok(journal.contains("/etc/bowline/config.d/10-node.toml:2:") && journal.contains("10.0.1.300"))
        })?;
        ensure!(state(&machine)?.1.starts_with("settings invalid: "), "{:?}", state(&machine)?);
        let status = machine.run("bowline status")?;
        assert_eq!(status.code, 1);
        ensure!(status.stderr.contains("`journalctl -u bowline` tells why it ended"), "{status}");
        // One fault, though Bowline is down by it.
        let finding = the_finding(&machine, "settings", "/etc/bowline/config.d/10-node.toml:2:")?;
        ensure!(remedy(&finding).contains("`bowline check` shows the line"), "{finding}");

        // Changed to something just as wrong: it tries, and is down again for the new reason.
        change(&machine, "[nodes]\n")?;
        machine.wait_for("the new reason", SOON, || Ok(said(&machine)?.contains("nodes")))?;
        down(&machine)?;
        change(&machine, GOOD)?;
        machine.wait_for("Bowline", SOON, || Ok(machine.run("systemctl is-active bowline")?.success()))?;
        is_ready(&machine)?;
        nothing_found(&machine, SOON)?;
        let starts = machine.journal("bowline")?.matches("systemd[1]: Starting bowline.service").count();
        assert_eq!(starts, 3, "one start for each change");

        // What cannot be read yet is tried again, without a change in the folder: a link to what is mounted later.
        machine.ok(
            "systemctl stop bowline && cd /etc/bowline/config.d && mv 10-node.toml /root && ln -s /srv/late/10-node.toml .",
        )?;
        machine.ok("systemctl start --no-block bowline")?;
        machine
            .wait_for("what is missing", SOON, || Ok(said(&machine)?.contains("is a link to what does not exist")))?;
        machine.ok("mkdir /srv/late && mv /root/10-node.toml /srv/late")?;
        machine.wait_for("Bowline", SOON, || Ok(machine.run("systemctl is-active bowline")?.success()))?;
        is_ready(&machine)?;

        // One that an administrator stopped stays stopped.
        machine.ok("systemctl stop bowline")?;
        configure(&machine, &format!("{GOOD}# changed\n"))?;
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(machine.run("systemctl is-active bowline")?.stdout.trim(), "inactive");
        Ok(())
    })
}

/// What the program wrote. With cgroup v1 journald looks up the unit of a process before systemd has put it there, and again
/// a second later only: of one that ends sooner the unit is not known, so that this asks by name.
fn said(machine: &Machine) -> Result<String> {
    machine.ok("journalctl --sync && journalctl --no-pager --identifier=bowline")
}

/// Changes the settings in one step of their folder, for which there is one start.
fn change(machine: &Machine, settings: &str) -> Result<()> {
    machine.put("/etc/bowline/next.toml", settings, 0o600)?;
    machine.ok("mv /etc/bowline/next.toml /etc/bowline/config.d/10-node.toml").map(drop)
}

/// How a command ends right after such a change, before its event.
fn asked_after(machine: &Machine, settings: &str, command: &str) -> Result<i32> {
    machine.put("/etc/bowline/next.toml", settings, 0o600)?;
    Ok(machine.run(&format!("mv /etc/bowline/next.toml /etc/bowline/config.d/10-node.toml && {command}"))?.code)
}

/// Waits until it is down because of its settings, and nobody tries again.
fn down(machine: &Machine) -> Result<()> {
    let show = "systemctl show bowline -p ActiveState -p ExecMainStatus --value";
    let words = |text: String| text.split_whitespace().map(String::from).collect::<Vec<_>>().join(" ");
    machine.wait_for("Bowline to be down with 78", SOON, || {
        let said = words(machine.ok(show)?);
        Ok(said == "failed 78" || said == "78 failed")
    })?;
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(machine.run("systemctl is-active bowline")?.stdout.trim(), "failed");
    assert_eq!(machine.ok("systemctl show bowline -p NRestarts --value")?.trim(), "0");
    Ok(())
}

fn is_ready(machine: &Machine) -> Result<()> {
    machine.wait_for("ready", SOON, || Ok(machine.run("bowline status")?.code == 0))
}

/// `ActiveState` and `StatusText` of the service.
fn state(machine: &Machine) -> Result<(String, String)> {
    let one = |name: &str| machine.ok(&format!("systemctl show bowline -p {name} --value"));
    Ok((one("ActiveState")?.trim().into(), one("StatusText")?.trim().into()))
}

fn valid(machine: &Machine) -> Result<String> {
    let metrics = machine.ok("curl -sSf http://127.0.0.1:9787/metrics")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("bowline_settings_valid "));
    Ok(line.unwrap_or("(not there)").to_string())
}
