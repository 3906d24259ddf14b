//! Law `secrets_stay_in_files`: no secret in a report, its text, its JSON, or a file that others can read. (The
//! booted cases look at command lines, environments, logs and metrics.)

use bowline_host::sim::SimHost;
use bowline_laws::{SECRET, cases, good_case, law, run, settings, simulate};
use proptest::prelude::*;

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

proptest! {
    #![proptest_config(law("secrets_stay_in_files", 128))]

    #[test]
    fn secrets_stay_in_files(case in cases()) {
        let mut reports = Vec::new();
        let host = SimHost::new(&case.world);
        simulate(run(&case, &host, &mut reports));
        for report in &reports {
            let json = serde_json::to_string(report).unwrap();
            prop_assert!(!json.contains(SECRET));
            prop_assert!(!bowline::show::plan(report, false).contains(SECRET));
            prop_assert!(!bowline::show::status(report, report.at, false).contains(SECRET));
        }
        for (path, text, mode) in host.files_with_modes() {
            prop_assert!(!text.contains(SECRET) || mode & 0o077 == 0, "{} has mode {:o}", path.display(), mode);
        }
    }
}
