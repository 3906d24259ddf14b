//! Whether systemd answers, and whether Bowline's daemon runs.

use super::check::{Check, Subject, explained};
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

pub(super) fn diagnose(facts: &Facts, before: &[Check]) -> Vec<Check> {
    let unit = match &facts.unit {
        Ok(unit) => unit,
        Err(error) => {
            let remedy = "start the system bus: Bowline asks systemd for everything through it";
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
    vec![Check::ok("systemd", "it answers on D-Bus"), daemon(unit, facts.held, before)]
}

fn daemon(unit: &Unit, held: bool, before: &[Check]) -> Check {
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
            BAD_SETTINGS if explained(before, &Subject::Daemon) => {
                let text = "it ended because of the settings, see above: it is started again when they change";
                return Check::skipped("daemon", text);
            }
            BAD_SETTINGS => {
                let found = format!("{SERVICE} ended because of wrong settings (78)");
                return Check::finding("daemon", found, "correct the settings: it is started again when they change")
                    .command(format!("bowline check && systemctl start {SERVICE}"));
            }
            0 => format!("{SERVICE} is {}", unit.sub),
            _ if explained(before, &Subject::Daemon) => {
                return Check::skipped(
                    "daemon",
                    "it ended because of the settings, see above: it is started again and again",
                );
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::ErrorKind;

    #[test]
    fn what_wrong_settings_bring_down_is_one_finding_with_them() {
        let unit = Unit {
            load: "loaded".into(),
            active: ActiveState::Failed,
            sub: "failed".into(),
            exit_status: BAD_SETTINGS,
            ..Unit::not_found()
        };
        let down = Facts { unit: Ok(unit), held: false };
        let wrong = Check::finding("settings", "wrong", "correct them").explains(Subject::Daemon);
        assert!(!diagnose(&down, &[wrong]).iter().any(Check::is_finding));
        // Right by now, and nobody has started it.
        assert!(diagnose(&down, &[Check::ok("settings", "valid")]).iter().any(Check::is_finding));
        let silent = Facts { unit: Err(PortError::new(ErrorKind::Unreachable, "no bus")), held: false };
        assert_eq!(diagnose(&silent, &[]).iter().filter(|check| check.is_finding()).count(), 1);
    }
}
