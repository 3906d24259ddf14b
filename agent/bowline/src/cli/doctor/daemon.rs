//! Whether systemd answers, and whether Bowline's daemon runs.

use super::check::{Check, Subject};
use bowline_ports::{ActiveState, ErrorKind, Inspect, PortError, Unit};

const SERVICE: &str = "bowline.service";
/// How the daemon ends when its settings are wrong.
const BAD_SETTINGS: i32 = 78;

/// What was read.
pub(super) struct Facts {
    /// The daemon's unit, which also shows that systemd answers.
    pub(super) unit: Result<Unit, PortError>,
    /// A process holds the lock of the one writer.
    pub(super) held: bool,
}

pub(super) async fn gather(host: &dyn Inspect, held: bool) -> Facts {
    Facts { unit: host.unit(SERVICE).await, held }
}

pub(super) fn diagnose(facts: &Facts) -> Vec<Check> {
    let unit = match &facts.unit {
        Ok(unit) => unit,
        Err(error) => {
            let remedy = "start the system bus; Bowline asks systemd for everything by it";
            let check = Check::finding("systemd", error.message.clone(), remedy)
                .command("systemctl start dbus.socket dbus.service")
                .explains(Subject::Blindness)
                .explains(Subject::Failure(ErrorKind::Unreachable));
            let daemon = match facts.held {
                true => Check::ok("daemon", "it runs"),
                false => Check::skipped("daemon", "only systemd knows why it does not run"),
            };
            return vec![check, daemon];
        }
    };
    vec![Check::ok("systemd", "it answers on D-Bus"), daemon(unit, facts.held)]
}

fn daemon(unit: &Unit, held: bool) -> Check {
    let up = unit.active == ActiveState::Active;
    if unit.load == "not-found" {
        return match held {
            true => Check::note("daemon", format!("it runs, but not as {SERVICE}: nothing starts it at the next boot")),
            false => Check::finding("daemon", format!("there is no {SERVICE}"), "install the package again")
                .command("apt-get install --reinstall --yes bowline"),
        };
    }
    if unit.load == "masked" {
        return Check::finding("daemon", format!("{SERVICE} is masked"), "somebody keeps it down: let it up again")
            .command(format!("systemctl unmask {SERVICE} && systemctl start {SERVICE}"));
    }
    if !held {
        let words = match unit.exit_status {
            BAD_SETTINGS => {
                let found = format!("{SERVICE} ended because of wrong settings (78)");
                return Check::finding("daemon", found, "correct the settings: it is started again when they change")
                    .command(format!("bowline check && systemctl start {SERVICE}"));
            }
            0 => format!("{SERVICE} is {}", unit.sub),
            status => format!("{SERVICE} is {}, and ended with status {status}", unit.sub),
        };
        let remedy = format!("start it; `journalctl -u {SERVICE}` has its last words");
        return Check::finding("daemon", format!("it does not run: {words}"), remedy)
            .command(format!("systemctl restart {SERVICE}"));
    }
    if unit.file_state == "disabled" {
        return Check::finding(
            "daemon",
            format!("it runs, but {SERVICE} is not enabled"),
            "let the next boot start it",
        )
        .command(format!("systemctl enable {SERVICE}"));
    }
    match up {
        true => Check::ok("daemon", "it runs"),
        false => Check::note("daemon", format!("another bowline is at work; {SERVICE} is {}", unit.sub)),
    }
}
