//! Law `crash_anywhere`: stop after any step, or fail any call once: the next run reaches the same end.

use bowline_engine::Outcome;
use bowline_host::sim::{Fault, FaultMode, SimHost};
use bowline_laws::{Case, cases, end, good_case, law, run, simulate};
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
    let case = good_case();
    let (outcome, wanted, changes) = simulate(undisturbed(&case));
    assert_eq!(outcome, Some(Outcome::Converged));
    assert!(changes >= 14, "the whole job takes {changes} changes");
    for at in 0..changes {
        for mode in MODES {
            for reboot in [false, true] {
                let (outcome, got, violations) = simulate(disturbed(&case, Fault { at, mode }, reboot));
                let what = format!("{mode:?} at change {at}, reboot: {reboot}");
                assert_eq!(outcome, Some(Outcome::Converged), "{what}");
                assert_eq!(got, wanted, "{what}");
                assert!(violations.is_empty(), "{what}: {violations:?}");
            }
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
