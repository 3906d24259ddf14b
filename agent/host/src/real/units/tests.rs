//! Units as systemd describes them.

use super::*;
use zbus::wire::Str;

fn properties(text: &[(&str, &str)], flags: &[(&str, bool)], times: &[(&str, u64)]) -> Properties {
    let text = text.iter().map(|(k, v)| ((*k).to_owned(), OwnedVariant::from(Str::from(v.to_string()))));
    let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), OwnedVariant::from(*v)));
    let times = times.iter().map(|(k, v)| ((*k).to_owned(), OwnedVariant::from(*v)));
    text.chain(flags).chain(times).collect()
}

/// As systemd 252 shows a K3s that waits for its next attempt.
#[test]
fn a_service_between_restarts() {
    let mut common = properties(
        &[
            ("LoadState", "loaded"),
            ("ActiveState", "activating"),
            ("SubState", "auto-restart"),
            ("UnitFileState", "enabled"),
            ("FragmentPath", "/etc/systemd/system/k3s.service"),
        ],
        &[("NeedDaemonReload", true), ("AssertResult", true)],
        &[
            ("AssertTimestamp", 1_763_710_800_000_000),
            ("InactiveExitTimestampMonotonic", 20_000_000),
            ("ActiveExitTimestampMonotonic", 9_000_000),
            ("InactiveEnterTimestampMonotonic", 10_000_000),
        ],
    );
    let drop_in = "/etc/systemd/system/k3s.service.d/50-bowline.conf".to_owned();
    common.insert("DropInPaths".into(), OwnedVariant::try_from(zbus::wire::Variant::from(vec![drop_in])).unwrap());
    let mut special = properties(&[("Result", "exit-code")], &[], &[]);
    special.insert("NRestarts".into(), OwnedVariant::from(7_u32));
    special.insert("ExecMainStartTimestamp".into(), OwnedVariant::from(1_763_710_800_000_000_u64));
    special.insert("ExecMainStatus".into(), OwnedVariant::from(1_i32));
    let unit = from_properties(&common, &special);
    assert_eq!((unit.active, unit.sub.as_str()), (ActiveState::Activating, "auto-restart"));
    assert_eq!((unit.result.as_str(), unit.restarts, unit.exit_status), ("exit-code", 7, 1));
    assert_eq!(unit.drop_ins, [PathBuf::from("/etc/systemd/system/k3s.service.d/50-bowline.conf")]);
    assert!(unit.needs_reload && unit.started);
    assert_eq!((unit.began, unit.left, unit.ended), (20_000_000, 9_000_000, 10_000_000));
}

#[test]
fn a_unit_whose_start_is_queued_is_on_its_way() {
    let queued = |state: &str, id: u32| {
        let mut common = properties(&[("LoadState", "loaded"), ("ActiveState", state)], &[], &[]);
        let path = ObjectPath::try_from("/org/freedesktop/systemd1/job/1").unwrap();
        let job = zbus::wire::Variant::from((id, path));
        common.insert("Job".into(), OwnedVariant::try_from(job).unwrap());
        from_properties(&common, &Properties::new()).active
    };
    assert_eq!(queued("inactive", 7), ActiveState::Activating);
    assert_eq!(queued("failed", 7), ActiveState::Activating);
    assert_eq!(queued("inactive", 0), ActiveState::Inactive);
    assert_eq!(queued("deactivating", 7), ActiveState::Deactivating);
}

#[test]
fn a_unit_without_a_file() {
    let common = properties(
        &[("LoadState", "not-found"), ("ActiveState", "inactive"), ("SubState", "dead"), ("FragmentPath", "")],
        &[("AssertResult", false)],
        &[("AssertTimestamp", 0)],
    );
    assert_eq!(from_properties(&common, &Properties::new()), Unit::not_found());
}

/// As systemd 257 has it.
#[test]
fn a_restart_that_a_dependency_made_fail_is_down() {
    let of = |id: u32| {
        let states = [("LoadState", "loaded"), ("ActiveState", "activating"), ("SubState", "auto-restart-queued")];
        let mut common = properties(&states, &[], &[]);
        let path = ObjectPath::try_from("/org/freedesktop/systemd1/job/1").unwrap();
        common.insert("Job".into(), OwnedVariant::try_from(zbus::wire::Variant::from((id, path))).unwrap());
        let unit = from_properties(&common, &properties(&[("Result", "signal")], &[], &[]));
        (unit.active, unit.result)
    };
    assert_eq!(of(0), (ActiveState::Failed, "dependency".into()));
    assert_eq!(of(7), (ActiveState::Activating, "signal".into()));
}

#[test]
fn a_start_prevented_by_an_assertion_shows() {
    let common = properties(
        &[("LoadState", "loaded"), ("ActiveState", "inactive"), ("SubState", "dead")],
        &[("AssertResult", false)],
        &[("AssertTimestamp", 1_763_710_800_000_000)],
    );
    let unit = from_properties(&common, &properties(&[("Result", "success")], &[], &[]));
    assert_eq!(unit.result, "assert");
    // As systemd has it of a command that said no.
    let condition = properties(
        &[("LoadState", "loaded"), ("ActiveState", "inactive"), ("SubState", "dead")],
        &[("AssertResult", true), ("ConditionResult", false)],
        &[("AssertTimestamp", 1_763_710_800_000_000), ("ConditionTimestamp", 1_763_710_800_000_000)],
    );
    let of = |result: &str| from_properties(&condition, &properties(&[("Result", result)], &[], &[])).result;
    assert_eq!((of("success"), of("exec-condition")), ("condition".into(), "exec-condition".into()));
    // As it was: one that had been killed before, and was then started too early.
    let failed = properties(
        &[("LoadState", "loaded"), ("ActiveState", "failed"), ("SubState", "failed")],
        &[("AssertResult", false)],
        &[("AssertTimestamp", 1_763_710_800_000_000)],
    );
    let failed = from_properties(&failed, &properties(&[("Result", "timeout")], &[], &[]));
    assert_eq!((failed.active, failed.result.as_str()), (ActiveState::Failed, "assert"));
    assert!(came_to_nothing("k3s.service", &unit));
    let error = start_failed("k3s.service", "assert", &unit, &[]);
    assert_eq!(error.message, "k3s.service did not start: an assertion in its unit file does not hold");
}

#[test]
fn a_failed_start_carries_the_last_words() {
    let mut unit = Unit::not_found();
    (unit.active, unit.sub, unit.result) = (ActiveState::Failed, "failed".into(), "exit-code".into());
    let last = ["mount: /mnt/data: wrong fs type".to_owned()];
    let error = start_failed("mnt-data.mount", "failed", &unit, &last);
    assert_eq!(
        error.message,
        "mnt-data.mount did not start: systemd says failed (exit-code): mount: /mnt/data: wrong fs type"
    );
    assert!(error.hint.unwrap().contains("journalctl -u mnt-data.mount"));
}
