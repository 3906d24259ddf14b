//! A binary that is not what it should be.

use super::*;
use crate::BINARY;
use crate::facts::Staged;

const NO_PROGRAM: &str = "starting /usr/local/bin/k3s: Exec format error (os error 8)";

#[test]
fn what_does_not_run_in_its_place_is_refused_with_what_it_says() {
    let facts = Facts { broken: Some(NO_PROGRAM.into()), ..fresh() };
    let refused = plan(&spec(""), &facts, &all());
    assert!(refused.steps.is_empty(), "{:?}", said(&refused));
    let [refusal] = refused.refusals.as_slice() else { panic!("{:?}", refused.refusals) };
    assert_eq!(refusal.why, format!("{BINARY} does not run as K3s: {NO_PROGRAM}"));
    assert!(refusal.hint.contains("Bowline downloads K3s v1.34.1+k3s1 for amd64 again"), "{}", refusal.hint);
    assert!(!refused.conditions.contains_key("k3s"), "nothing runs that could be watched");
}

#[test]
fn a_k3s_that_runs_is_watched_though_its_file_was_overwritten() {
    let facts = Facts { installed: None, broken: Some(NO_PROGRAM.into()), ..up() };
    let refused = plan(&spec("[cluster.config]\ntls-san = [\"new\"]\n"), &facts, &all());
    assert_eq!(refused.refusals.len(), 1);
    assert!(refused.notes[0].text.contains("runs on from what was there before"), "{:?}", refused.notes);
    assert!(refused.steps.is_empty(), "no restart, which would end it: {:?}", said(&refused));
    assert_eq!((refused.conditions["k3s"].as_str(), refused.conditions["node"].as_str()), ("active", "ready"));

    // Not even where its Node was deleted, for which it has to be restarted.
    let long = all().after("k3s", "the Node to be there again", Duration::from_secs(60));
    let waited = plan(&spec(""), &Facts { node: None, ..facts.clone() }, &long);
    assert!(waited.steps.is_empty(), "{waited:?}");
    assert!(waited.waits[0].why.ends_with("the file in K3s's place does not run"), "{waited:?}");

    let foreign = Some("[Service]\nExecStart=/usr/local/bin/k3s \\\n    server \\\n".into());
    let refused = plan(&spec(""), &Facts { unit_file: foreign, ..facts.clone() }, &all());
    assert!(refused.refusals[0].why.ends_with(&format!("does not run as K3s: {NO_PROGRAM}")), "{refused:?}");
    assert!(refused.steps.is_empty() && refused.conditions["node"] == "ready");

    // systemd starts it again and again: that is no K3s which runs.
    let mut failing = facts;
    (failing.unit.active, failing.unit.sub) = (ActiveState::Activating, "auto-restart".into());
    let refused = plan(&spec(""), &failing, &all());
    assert!(refused.refusals.len() == 1 && refused.waits.is_empty() && refused.conditions["k3s"] == "installed");
}

fn downloaded(says: Option<&str>, broken: Option<&str>) -> Facts {
    let (says, broken) = (says.map(String::from), broken.map(String::from));
    Facts { staged: vec![Staged { version: "v1.34.1+k3s1".into(), fits: true, says, broken }], ..fresh() }
}

#[test]
fn a_download_that_does_not_run_here_or_is_another_version_is_not_installed() {
    let from = spec("mirror = \"https://mirror.example/k3s\"\n");
    for (facts, why) in [
        (downloaded(None, Some("Exec format error")), "does not run as K3s: Exec format error"),
        (downloaded(Some("v1.33.5+k3s1"), None), "is K3s v1.33.5+k3s1 and not v1.34.1+k3s1"),
    ] {
        let refused = plan(&from, &facts, &all());
        assert!(refused.steps.is_empty(), "{:?}", said(&refused));
        let refusal = &refused.refusals[0];
        assert!(refusal.why.ends_with(&format!("was downloaded and verified, but {why}")), "{}", refusal.why);
        assert!(refusal.hint.contains("https://mirror.example/k3s/v1.34.1%2Bk3s1/k3s be K3s"), "{}", refusal.hint);
        assert!(refusal.hint.contains("remove /usr/local/bin/k3s.bowline-v1.34.1+k3s1"), "{}", refusal.hint);
    }
    let right = plan(&from, &downloaded(Some("v1.34.1+k3s1"), None), &all());
    assert!(right.refusals.is_empty() && said(&right)[0].starts_with("install"), "{right:?}");
}

#[test]
fn another_version_is_not_started_where_none_has_run() {
    let other = Facts { installed: Some("v1.33.5+k3s1".into()), unit_file: Some(unit_text(Role::Server)), ..fresh() };
    let refused = plan(&spec(""), &other, &all());
    assert!(refused.steps.is_empty(), "{:?}", said(&refused));
    let refusal = &refused.refusals[0];
    assert!(refusal.why.contains("is K3s v1.33.5+k3s1, and the settings say v1.34.1+k3s1"), "{}", refusal.why);
    assert!(refusal.hint.contains(&format!("remove {BINARY}")), "{}", refusal.hint);
    // What has run would be upgraded: after a boot, too, when it is not up yet.
    let down = plan(&spec(""), &Facts { ran: true, ..other }, &all());
    assert!(down.refusals.is_empty() && said(&down).contains(&"start K3s".to_string()), "{down:?}");
    assert!(down.notes[0].text.contains("upgrading comes with a later version"), "{:?}", down.notes);
}

#[test]
fn what_is_in_its_place_is_told_whether_it_runs_or_not() {
    let waits = Conditions::default();
    let installed = |facts: &Facts| plan(&spec(""), facts, &waits).conditions.get(condition::K3S_INSTALLED).cloned();
    assert_eq!(installed(&fresh()), None);
    assert_eq!(installed(&Facts { broken: Some(NO_PROGRAM.into()), ..fresh() }), None);
    let there = Facts { installed: Some("v1.34.1+k3s1".into()), unit_file: Some(unit_text(Role::Server)), ..fresh() };
    assert_eq!(installed(&there).as_deref(), Some("v1.34.1+k3s1"));
}

/// The servers say which release an agent downloads; its owner may have upgraded it since.
#[test]
fn an_agent_without_a_version_is_watched_with_the_k3s_that_runs() {
    let mut spec = spec("");
    (spec.spec.role, spec.spec.version) = (Role::Agent, Version::OfServers);
    for unit in [unit_text(Role::Agent), "[Service]\nExecStart=/usr/local/bin/k3s agent\n".into()] {
        for told in [[].as_slice(), &[("k3s-version", "v1.34.1+k3s1")]] {
            let (installed, config) = (Some("v1.35.0+k3s1".into()), None);
            let facts = Facts { installed, config, unit_file: Some(unit.clone()), ..up() };
            let plan = plan(&spec, &facts, &all_with(told));
            assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
            assert!(plan.notes.iter().all(|note| !note.text.contains("the settings say")), "{:?}", plan.notes);
            assert_eq!(plan.conditions.get(condition::NODE).map(|it| it.as_str()), Some("ready"), "{plan:?}");
        }
    }
    let waits = plan(&spec, &fresh(), &all()).waits;
    assert_eq!(waits[0].what, "the servers to say which release they run");
}
