//! Law `crash_anywhere`: stop after any step, or fail any call once: the next run reaches the same end.

use bowline_engine::Outcome;
use bowline_host::sim::{Fault, FaultMode, SimHost, WorldTrouble};
use bowline_laws::{Case, cases, cloud_case, end, good_case, law, run, simulate};
use proptest::prelude::*;

const MODES: [FaultMode; 5] = [
    FaultMode::FailBefore,
    FaultMode::FailAfter,
    FaultMode::CrashBefore,
    FaultMode::CrashDuring,
    FaultMode::CrashAfter,
];

/// Where an undisturbed run ends, and after how many changes.
async fn undisturbed(case: &Case) -> (Option<Outcome>, Vec<String>, usize) {
    let host = SimHost::new(&case.world);
    let outcome = run(case, &host, &mut Vec::new()).await;
    (outcome, end(&host), host.changes())
}

/// A run with a fault, then (after a crash) another one on the same machine: how it ends, what it leaves, and what must
/// never have happened.
async fn disturbed(case: &Case, fault: Fault, reboot: bool) -> (Option<Outcome>, Vec<String>, Vec<String>) {
    let host = SimHost::new(&case.world);
    host.arm(fault);
    let mut outcome = run(case, &host, &mut Vec::new()).await;
    if outcome.is_none() {
        if reboot {
            host.reboot();
        } else {
            host.restart_agent();
        }
        outcome = run(case, &host, &mut Vec::new()).await;
    }
    let mut violations = host.violations();
    if host.open_starts() > 0 {
        violations.push("K3s was started with the issuer's port open to pods".into());
    }
    (outcome, end(&host), violations)
}

/// Every call of the good run, every kind of fault, with the agent killed and with the power cut.
#[test]
fn crash_anywhere_on_a_good_machine() {
    for case in [good_case(), cloud_case()] {
        crash_at_every_change(&case);
    }
}

fn crash_at_every_change(case: &Case) {
    let (outcome, wanted, changes) = simulate(undisturbed(case));
    assert_eq!(outcome, Some(Outcome::Converged));
    assert!(changes >= 14, "the whole job takes {changes} changes");
    for at in 0..changes {
        for mode in MODES {
            for reboot in [false, true] {
                let (outcome, got, violations) = simulate(disturbed(case, Fault { at, mode }, reboot));
                let what = format!("{mode:?} at change {at}, reboot: {reboot}");
                assert_eq!(outcome, Some(Outcome::Converged), "{what}");
                assert_eq!(got, wanted, "{what}");
                assert!(violations.is_empty(), "{what}: {violations:?}");
            }
        }
    }
}

/// A boot in the middle of the job is no reason to start K3s earlier: systemd starts what is enabled.
#[test]
fn k3s_does_not_start_without_its_address_whenever_the_power_goes() {
    let mut case = good_case();
    case.world.addresses[2] = "eth1 192.168.0.9".into();
    let (outcome, wanted, changes) = simulate(undisturbed(&case));
    assert_eq!(outcome, Some(Outcome::Waiting));
    assert!(!wanted.iter().any(|line| line.contains("kubeconfig")), "{wanted:#?}");
    for at in 0..changes {
        let (_, got, _) = simulate(disturbed(&case, Fault { at, mode: FaultMode::CrashAfter }, true));
        assert_eq!(got, wanted, "the power went after change {at}");
    }
}

/// Whatever goes wrong with the metadata service, and how often: the end is the same.
#[test]
fn trouble_with_the_cloud_changes_nothing_in_the_end() {
    let (outcome, wanted, _) = simulate(undisturbed(&cloud_case()));
    assert_eq!(outcome, Some(Outcome::Converged));
    assert!(wanted.iter().any(|line| line == "zone=fsn1-dc14"), "{wanted:?}");
    use WorldTrouble::{Nonsense, Overloaded, Silent, Unreachable};
    for kind in [Unreachable, Silent, Overloaded, Nonsense] {
        for times in 1..=4 {
            let mut case = cloud_case();
            case.world.cloud.as_mut().unwrap().trouble = vec![kind; times];
            let (outcome, got, _) = simulate(undisturbed(&case));
            assert_eq!((outcome, &got), (Some(Outcome::Converged), &wanted), "{kind:?}, {times} times");
        }
    }
}

proptest! {
    #![proptest_config(law("crash_anywhere", 256))]

    #[test]
    fn crash_anywhere(case in cases(), at in 0usize..18, mode in prop::sample::select(&MODES), reboot in any::<bool>()) {
        let (outcome, wanted, _) = simulate(undisturbed(&case));
        let (again, got, violations) = simulate(disturbed(&case, Fault { at, mode }, reboot));
        prop_assert_eq!(outcome, again);
        prop_assert_eq!(wanted, got);
        prop_assert!(violations.is_empty(), "{:?}", violations);
    }
}
