//! Law `crash_anywhere`: stop at any call, or fail any call once, look or change: the next run reaches the same end.
//!
//! `FAULT_CASES=5000` tries more calls of the good run, and more generated machines.

use bowline_engine::Outcome;
use bowline_host::sim::{Fault, FaultMode, SimHost, WorldTrouble};
use bowline_laws::{Case, KINDS, agent_case, cases, cloud_case, end, good_case, law, number, run_for, simulate};
use bowline_ports::Inspect;
use bowline_volumes::Released;
use proptest::prelude::*;
use std::time::Duration;

/// How long a run waits for things: longer than the delay after any one failure, than K3s takes to come up, and than a named disk is
/// waited for where another one may stand in.
const PATIENCE: Duration = Duration::from_secs(75);
/// So many calls, and so many generated machines, unless `$FAULT_CASES` says otherwise.
const CASES: u32 = 256;

/// What is gone with an agent that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dies {
    /// Nothing: the units that it began go on.
    Alone,
    /// These units as well.
    WithItsWork,
    /// The machine loses power.
    WithAll,
}

impl Dies {
    const ALL: [Self; 3] = [Self::Alone, Self::WithItsWork, Self::WithAll];

    /// The ways that differ: a failure sees none, and units are at work only in the middle of what they do.
    fn of(mode: FaultMode) -> Vec<Self> {
        match mode {
            FaultMode::FailBefore | FaultMode::FailAfter => vec![Self::Alone],
            FaultMode::CrashDuring => Self::ALL.into(),
            FaultMode::CrashBefore | FaultMode::CrashAfter => vec![Self::Alone, Self::WithAll],
        }
    }
}

/// Where a run ends.
#[derive(Debug, PartialEq)]
struct End {
    outcome: Option<Outcome>,
    left: Vec<String>,
}

/// Where an undisturbed run ends, after how many changes, and after how many calls.
async fn undisturbed(case: &Case) -> (End, usize, usize) {
    undisturbed_for(case, PATIENCE).await
}

async fn undisturbed_for(case: &Case, patience: Duration) -> (End, usize, usize) {
    let host = SimHost::new(&case.world);
    let outcome = run_for(case, &host, &mut Vec::new(), patience).await;
    (End { outcome, left: end(&host) }, host.changes(), host.calls())
}

/// A run with a fault, and where it did not come to the wanted end, the next one on the same machine: how that ends, and the
/// call where the fault happened. What must never happen is none of it.
async fn disturbed(case: &Case, fault: Fault, dies: Dies, wanted: &End) -> (End, &'static str) {
    let host = SimHost::new(&case.world);
    host.arm(fault);
    let mut got = End { outcome: run_for(case, &host, &mut Vec::new(), PATIENCE).await, left: end(&host) };
    // A failure is got over by the run that meets it, unless that was about to give up what it waits for.
    let waits = wanted.outcome != Some(Outcome::Converged) && got != *wanted;
    if got.outcome.is_none() || waits {
        match dies {
            Dies::WithAll if got.outcome.is_none() => host.reboot(),
            Dies::WithItsWork if got.outcome.is_none() => {
                host.kill_work();
                host.restart_agent();
            }
            _ => host.restart_agent(),
        }
        got.outcome = run_for(case, &host, &mut Vec::new(), PATIENCE).await;
        got.left = end(&host);
    }
    let hit = host.fault_hit().unwrap_or("no call");
    assert!(host.violations().is_empty(), "{fault:?} at `{hit}`, dies: {dies:?}: {:?}", host.violations());
    assert_eq!(host.open_starts(), 0, "{fault:?} at `{hit}`: K3s was started with the issuer's port open to pods");
    (got, hit)
}

/// Every change of the good run, every kind of fault, with the agent killed alone or with its work, and with the power cut.
#[test]
fn crash_anywhere_on_a_good_machine() {
    let case = cloud_case();
    let (wanted, changes, _) = simulate(undisturbed(&case));
    assert_eq!(wanted.outcome, Some(Outcome::Converged));
    assert!(changes >= 14, "the whole job takes {changes} changes");
    for at in 0..changes {
        for mode in FaultMode::ALL {
            for dies in Dies::of(mode) {
                let (got, hit) = simulate(disturbed(&case, Fault::at_change(at, mode), dies, &wanted));
                assert_eq!(got, wanted, "{mode:?} at change {at} (`{hit}`), dies: {dies:?}");
            }
        }
    }
}

/// A unit that works on after its agent is followed by the next one, and never begun a second time.
#[test]
fn what_works_on_is_not_begun_again() {
    let case = good_case();
    let (_, changes, _) = simulate(undisturbed(&case));
    let mut cut = Vec::new();
    for at in 0..changes {
        let host = SimHost::new(&case.world);
        host.arm(Fault::at_change(at, FaultMode::CrashDuring));
        let ran = simulate(async {
            assert_eq!(run_for(&case, &host, &mut Vec::new(), PATIENCE).await, None);
            host.restart_agent();
            run_for(&case, &host, &mut Vec::new(), PATIENCE).await
        });
        assert_eq!(ran, Some(Outcome::Converged), "killed at change {at}");
        for job in ["mkfs-data", "fetch-k3s"] {
            assert_eq!(host.times_begun(job), 1, "{job}, killed at change {at}");
        }
        cut.extend(host.fault_hit());
    }
    assert!(cut.contains(&"format") && cut.contains(&"fetch"), "{cut:?}");
}

/// Calls of the good run from its first to its last, most of them looks: each fails once, as the kinds of failures take turns,
/// or is the last one of an agent.
#[test]
fn any_call_of_a_good_run_may_fail_or_be_the_last() {
    any_call(&cloud_case(), number("FAULT_CASES", CASES) as usize);
}

fn any_call(case: &Case, some: usize) {
    let (wanted, changes, calls) = simulate(undisturbed(case));
    assert_eq!(wanted.outcome, Some(Outcome::Converged));
    assert!(calls > 10 * changes, "{calls} calls, of which {changes} are changes");
    let some = calls.min(some);
    for (turn, at) in (0..some).map(|turn| (turn, turn * calls / some)) {
        let kind = KINDS[turn % KINDS.len()];
        let mode = if turn / KINDS.len() % 3 == 2 { FaultMode::CrashBefore } else { FaultMode::FailBefore };
        let dies = if turn % 2 == 0 { Dies::WithAll } else { Dies::Alone };
        let (got, hit) = simulate(disturbed(case, Fault::at_call(at, mode, kind), dies, &wanted));
        assert_eq!(got, wanted, "{mode:?} ({kind:?}) at call {at} (`{hit}`)");
    }
}

/// The same for an agent, which talks to its servers besides. (The hash of its password takes long: fewer calls.)
#[test]
fn any_call_of_an_agent_may_fail_or_be_the_last() {
    any_call(&agent_case(), number("FAULT_CASES", CASES) as usize / 4);
}

/// A boot in the middle of the job is no reason to start K3s earlier: systemd starts what is enabled.
#[test]
fn k3s_does_not_start_without_its_address_whenever_the_power_goes() {
    let mut case = good_case();
    case.world.addresses[2] = "eth1 192.168.0.9".into();
    let (wanted, changes, _) = simulate(undisturbed(&case));
    assert_eq!(wanted.outcome, Some(Outcome::Waiting));
    assert!(!wanted.left.iter().any(|line| line.contains("kubeconfig")), "{wanted:#?}");
    for at in 0..changes {
        let (got, _) = simulate(disturbed(&case, Fault::at_change(at, FaultMode::CrashAfter), Dies::WithAll, &wanted));
        assert_eq!(got.left, wanted.left, "the power went after change {at}");
    }
}

/// Of a volume that a person released all goes that would mount it, wherever that is cut off, and systemd knows of it.
#[test]
fn a_release_may_be_cut_off_at_any_change() {
    let case = good_case();
    let released = |cut: Option<(Fault, bool)>| {
        simulate(async {
            let host = SimHost::new(&case.world);
            run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
            let record = Released::of(&host.device("/dev/sdb").unwrap(), 1_800_000_000, false);
            host.put_secret(Released::path_of("data"), &serde_json::to_string(&record).unwrap());
            let before = host.changes();
            if let Some((fault, _)) = cut {
                host.arm(fault);
            }
            if run_for(&case, &host, &mut Vec::new(), PATIENCE).await.is_none() {
                if cut.is_some_and(|(_, reboot)| reboot) {
                    host.reboot()
                } else {
                    host.restart_agent()
                }
                run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
            }
            let unit = host.unit("var-lib-kafka.mount").await.unwrap();
            (end(&host), unit.load, host.changes() - before)
        })
    };
    let (wanted, load, changes) = released(None);
    assert!(load == "not-found" && changes >= 5, "{load}, {changes} changes");
    assert!(!wanted.iter().any(|line| line.contains("kafka.mount") && !line.contains("shielded")), "{wanted:#?}");
    for (at, mode) in (0..changes).flat_map(|at| [FaultMode::CrashBefore, FaultMode::CrashAfter].map(|mode| (at, mode)))
    {
        for reboot in [false, true] {
            let (left, load, _) = released(Some((Fault::at_change(at, mode), reboot)));
            assert_eq!(
                (left, load.as_str()),
                (wanted.clone(), "not-found"),
                "{mode:?} at change {at}, reboot: {reboot}"
            );
        }
    }
}

/// Whatever goes wrong with the metadata service, and how often: the end is the same.
#[test]
fn trouble_with_the_cloud_changes_nothing_in_the_end() {
    let (wanted, ..) = simulate(undisturbed(&cloud_case()));
    assert_eq!(wanted.outcome, Some(Outcome::Converged));
    assert!(wanted.left.iter().any(|line| line == "zone=fsn1-dc14"), "{wanted:?}");
    use WorldTrouble::{Nonsense, Overloaded, Silent, Unreachable};
    for kind in [Unreachable, Silent, Overloaded, Nonsense] {
        for times in 1..=4 {
            let mut case = cloud_case();
            case.world.cloud.as_mut().unwrap().trouble = vec![kind; times];
            // It is asked ever more rarely.
            let (got, ..) = simulate(undisturbed_for(&case, 6 * PATIENCE));
            assert_eq!(got, wanted, "{kind:?}, {times} times");
        }
    }
}

proptest! {
    #![proptest_config(law("crash_anywhere", number("FAULT_CASES", CASES)))]

    /// Anywhere in a run: early, and when it has long been at its end and waits.
    #[test]
    fn crash_anywhere(
        case in cases(), place in 0.0..1.0f64, mode in prop::sample::select(&FaultMode::ALL),
        kind in prop::sample::select(&KINDS), looks in any::<bool>(), dies in prop::sample::select(&Dies::ALL),
    ) {
        let (wanted, changes, calls) = simulate(undisturbed(&case));
        let at = |all: usize| (all as f64 * place) as usize;
        let fault = match looks {
            true => Fault::at_call(at(calls), mode, kind),
            false => Fault { kind, ..Fault::at_change(at(changes), mode) },
        };
        let (got, hit) = simulate(disturbed(&case, fault, dies, &wanted));
        prop_assert_eq!(got, wanted, "{:?} at `{}`, dies: {:?}", fault, hit, dies);
    }
}
