//! Law `crash_anywhere`, of a server whose Node was deleted, and which was taken out of etcd with it: it is in again wherever that is
//! cut off, and its K3s, which needs seconds from each start until it begins to join, is not restarted again and again.

use bowline_engine::Outcome;
use bowline_host::sim::{Fault, FaultMode, SimHost};
use bowline_laws::{end, member_case, run_for, simulate};
use bowline_ports::K3S_ETCD_TOMBSTONE;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(75);

/// What there is in the end, how often K3s was started for it, and after how many changes.
struct Rejoined {
    left: Vec<String>,
    starts: u32,
    changes: usize,
}

fn taken_out(cut: Option<(Fault, bool)>) -> Rejoined {
    let case = member_case();
    simulate(async {
        let host = SimHost::new(&case.world);
        assert_eq!(run_for(&case, &host, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
        let (starts, changes) = (host.k3s_starts(), host.changes());
        host.put(K3S_ETCD_TOMBSTONE, "");
        if let Some((fault, _)) = cut {
            host.arm(fault);
        }
        let mut outcome = run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
        if outcome.is_none() {
            if cut.is_some_and(|(_, reboot)| reboot) {
                host.reboot()
            } else {
                host.restart_agent()
            }
            outcome = run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
        }
        assert_eq!(outcome, Some(Outcome::Converged), "{cut:?}");
        assert!(host.violations().is_empty(), "{cut:?}: {:?}", host.violations());
        assert!(
            !host.files().iter().any(|(path, _)| path == Path::new(K3S_ETCD_TOMBSTONE)),
            "{cut:?}: it has not joined anew"
        );
        Rejoined { left: end(&host), starts: host.k3s_starts() - starts, changes: host.changes() - changes }
    })
}

#[test]
fn a_server_that_was_taken_out_is_in_again_wherever_that_is_cut_off() {
    let whole = taken_out(None);
    assert_eq!(whole.starts, 1, "its K3s is restarted once");
    assert!(whole.changes >= 6, "{} changes", whole.changes);
    use FaultMode::{CrashAfter, FailBefore};
    for at in 0..whole.changes {
        for (mode, reboot) in [(FailBefore, false), (CrashAfter, false), (CrashAfter, true)] {
            let again = taken_out(Some((Fault::at_change(at, mode), reboot)));
            assert_eq!(again.left, whole.left, "{mode:?} at change {at}, reboot: {reboot}");
            // A boot starts it as well, and one that is let in again must not know of the start before.
            assert!(
                again.starts <= 2 + u32::from(reboot),
                "{mode:?} at change {at}, reboot: {reboot}: {}",
                again.starts
            );
        }
    }
}
