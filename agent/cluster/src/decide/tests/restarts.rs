//! When a K3s is restarted, and when one that is down is left so.

use super::*;
use bowline_ports::records::Moment;

const RECORD: &str = "put on record that K3s has to be restarted";

#[test]
fn a_changed_option_restarts_it_and_says_which_and_shows_no_value() {
    let plan = plan(&spec("[cluster.config]\ntoken = \"very-secret\"\n"), &up(), &all());
    let steps = said(&plan);
    assert_eq!(steps[0], RECORD);
    assert!(steps[1].contains("token"), "{steps:?}");
    assert_eq!(steps[2], "restart K3s (changed: token)");
    assert_eq!(plan.steps[2].risk, Risk::Restart);
    assert!(!serde_json::to_string(&plan).unwrap().contains("very-secret"));
}

#[test]
fn an_owed_restart_is_paid_after_a_crash_in_between() {
    let mut facts = up();
    facts.restart = Some(Restart::of("changed: disable"));
    let plan = plan(&spec(""), &facts, &all());
    assert_eq!(said(&plan), ["restart K3s (changed: disable)"]);
}

#[test]
fn an_owed_restart_starts_nothing_that_somebody_stopped() {
    let mut facts = up();
    facts.restart = Some(Restart::of("changed: disable"));
    facts.unit.active = ActiveState::Inactive;
    let stopped = plan(&spec(""), &facts, &all());
    assert_eq!(said(&stopped), ["drop the record of a restart"]);
    assert!(stopped.waits[0].why.contains("somebody stopped it"));
    facts.unit.active = ActiveState::Deactivating;
    assert!(said(&plan(&spec(""), &facts, &all())).is_empty());
}

/// The settings change again while systemd restarts it for the first change: whatever it comes up with may be the old.
#[test]
fn a_change_while_it_is_on_its_way_down_is_owed_as_well() {
    let mut facts = up();
    facts.unit.active = ActiveState::Deactivating;
    let changed = spec("[cluster.config]\ndebug = true\n");
    let steps = said(&plan(&changed, &facts, &all()));
    assert_eq!((steps.len(), steps[0].as_str()), (2, RECORD), "{steps:?}");
    assert!(steps[1].starts_with("write ") && steps[1].contains("debug"), "{steps:?}");
    // The record of the first one, which was written before, does not stand for this one.
    let written = Moment { boot: "b".into(), uptime: 7 };
    facts.restart = Some(Restart { written: Some(written), ..Restart::of("changed: disable") });
    assert_eq!(said(&plan(&changed, &facts, &all())), steps);
    // One that somebody stops has nothing to pay when it is down.
    facts.unit.active = ActiveState::Inactive;
    assert!(!said(&plan(&changed, &facts, &all())).contains(&RECORD.to_string()));
}

#[test]
fn an_owed_restart_is_paid_by_whatever_started_it_since() {
    let mut facts = Facts { restarted: true, ..up() };
    facts.restart = Some(Restart::of("changed: disable"));
    assert_eq!(said(&plan(&spec(""), &facts, &all())), ["drop the record of a restart"]);
    // What was written for an earlier change says nothing of this one.
    let written = Moment { boot: "b".into(), uptime: 7 };
    facts.restart = Some(Restart { written: Some(written), ..Restart::of("changed: disable") });
    let again = said(&plan(&spec("[cluster.config]\ndebug = true\n"), &facts, &all()));
    assert_eq!((again[0].as_str(), again[2].as_str()), (RECORD, "restart K3s (changed: debug)"));
}

#[test]
fn it_has_read_what_was_written_before_it_was_started() {
    let at = |boot: &str, uptime| Moment { boot: boot.into(), uptime };
    let owed = Restart { written: Some(at("a", 100)), ..Restart::of("changed: disable") };
    assert!(!owed.is_read(99_000_000, &at("a", 200)));
    assert!(!owed.is_read(100_900_000, &at("a", 200)), "within the same second nobody knows");
    assert!(owed.is_read(101_000_000, &at("a", 200)));
    assert!(owed.is_read(9_000_000, &at("b", 20)), "the machine was rebooted");
    assert!(!Restart::of("changed: disable").is_read(101_000_000, &at("b", 20)), "it was never written");
}

#[test]
fn a_configuration_that_was_removed_under_a_running_k3s_restarts_it() {
    let mut facts = Facts { config: None, ..up() };
    let gone = said(&plan(&spec(""), &facts, &all()));
    assert_eq!((gone[0].as_str(), gone[2].as_str()), (RECORD, "restart K3s (its configuration was gone)"));
    facts.unit.active = ActiveState::Inactive;
    facts.unit.started = false;
    let first = said(&plan(&spec(""), &facts, &all()));
    assert!(first[0].starts_with("write ") && first[1..] == ["start K3s"], "{first:?}");
}

#[test]
fn a_k3s_that_somebody_stopped_stays_stopped() {
    let mut facts = up();
    facts.unit.active = ActiveState::Inactive;
    facts.node = None;
    let plan = plan(&spec(""), &facts, &all());
    assert!(plan.steps.is_empty());
    assert!(plan.waits[0].why.contains("somebody stopped it"));
}

/// systemd starts it again whatever it ends with, but where somebody stopped it.
#[test]
fn one_that_did_not_end_well_when_it_was_stopped_stays_stopped_too() {
    let mut facts = Facts { node: None, ..up() };
    for result in ["timeout", "exit-code", "signal"] {
        (facts.unit.active, facts.unit.result) = (ActiveState::Failed, result.into());
        let plan = plan(&spec(""), &facts, &all());
        assert!(plan.steps.is_empty(), "{plan:?}");
        assert!(
            plan.waits[0]
                .why
                .contains(&format!("somebody stopped it (`systemctl stop`), and it did not end well ({result})"))
        );
    }
    facts.unit.result = "start-limit-hit".into();
    assert_eq!(said(&plan(&spec(""), &facts, &all())), ["start K3s"]);
}

#[test]
fn whether_it_runs_is_said_whatever_holds_it_up() {
    let stated = |facts: &Facts, now: &Conditions| plan(&spec(""), facts, now).conditions.get("k3s").cloned();
    let mut facts = up();
    assert_eq!(stated(&facts, &all()).as_deref(), Some("active"));
    facts.installed_sha256 = Some("b".repeat(64));
    let pin = spec(&format!("sha256 = {{ amd64 = \"{}\" }}\n", "a".repeat(64)));
    assert_eq!(plan(&pin, &facts, &all()).conditions["k3s"], "active", "of another sum than the settings pin");
    facts.unit.active = ActiveState::Inactive;
    assert_eq!(stated(&facts, &all()).as_deref(), Some("installed"), "stopped by hand");
    facts.unit.started = false;
    assert_eq!(stated(&facts, &all_with(&[("volume/data", "missing")])).as_deref(), Some("installed"), "held back");
    assert_eq!(stated(&facts, &all_with(&[("leaving", "yes")])).as_deref(), Some("installed"));
    assert_eq!(stated(&facts, &all_with(&[("leaving", "yes"), ("left", "yes")])), None);
    facts.ran = false;
    assert_eq!(stated(&facts, &all()), None, "a first boot");
    assert_eq!(stated(&fresh(), &all()), None);
}
