//! Law `secrets_stay_in_files`: no secret in a report, its text, its JSON, or a file that others can read. (The
//! booted cases look at command lines, environments, logs and metrics.)

use bowline_engine::Report;
use bowline_host::sim::SimHost;
use bowline_laws::{Case, SECRET, agent_case, cases, good_case, law, run, settings, simulate};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

#[test]
fn secrets_stay_in_files_on_a_good_machine() {
    let case = good_case();
    let host = SimHost::new(&case.world);
    let mut reports = Vec::new();
    simulate(run(&case, &host, &mut reports));
    let holders: Vec<_> = host.files_with_modes().into_iter().filter(|(_, text, _)| text.contains(SECRET)).collect();
    let paths: Vec<_> = holders.iter().map(|(path, ..)| path.display().to_string()).collect();
    assert_eq!(paths, ["/etc/rancher/k3s/config.yaml.d/50-bowline.yaml"], "K3s needs it, nobody else does");
    assert_eq!(holders[0].2, 0o600);
    assert!(!format!("{:?}", settings(&case.settings)).contains(SECRET));
}

/// A server has it in its options, an agent in its token.
#[test]
fn secrets_stay_in_files_when_k3s_repeats_them() {
    for mut case in [good_case(), agent_case()] {
        case.world.k3s.dies_with = Some(format!("parse \\\"https://k3s:{SECRET}@db\\\": and {SECRET}"));
        let reports = kept(&case).unwrap();
        let told = |report: &Report| serde_json::to_string(report).unwrap().contains("and (hidden)");
        assert!(reports.iter().any(told), "K3s's words are told: {reports:?}");
    }
}

proptest! {
    #![proptest_config(law("secrets_stay_in_files", 128))]

    #[test]
    fn secrets_stay_in_files(case in cases()) {
        kept(&case)?;
    }
}

/// The reports of a whole run, with no secret in them or beside them.
fn kept(case: &Case) -> Result<Vec<Report>, TestCaseError> {
    let mut reports = Vec::new();
    let host = SimHost::new(&case.world);
    simulate(run(case, &host, &mut reports));
    for report in &reports {
        let json = serde_json::to_string(report).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(!json.contains(SECRET));
        prop_assert!(!bowline::show::plan(report, false).contains(SECRET));
        prop_assert!(!bowline::show::status(report, report.at, false).contains(SECRET));
    }
    for (path, text, mode) in host.files_with_modes() {
        prop_assert!(!text.contains(SECRET) || mode & 0o077 == 0, "{} has mode {:o}", path.display(), mode);
    }
    Ok(reports)
}
