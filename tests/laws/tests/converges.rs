//! Law `converges`: from any start, finitely many steps, then an empty plan; a second run does nothing and writes
//! nothing.

use bowline_engine::Outcome;
use bowline_host::sim::SimHost;
use bowline_laws::{Case, cases, good_case, law, run, simulate};
use proptest::prelude::*;

async fn twice(case: &Case) -> (Option<Outcome>, Option<Outcome>, usize) {
    let host = SimHost::new(&case.world);
    let first = run(case, &host, &mut Vec::new()).await;
    let made = host.changes();
    let second = run(case, &host, &mut Vec::new()).await;
    let retried = host.changes() - made;
    (first, second, retried)
}

#[test]
fn converges_on_a_good_machine() {
    let case = good_case();
    simulate(async {
        let host = SimHost::new(&case.world);
        let mut reports = Vec::new();
        assert_eq!(run(&case, &host, &mut reports).await, Some(Outcome::Converged), "{:#?}", reports.last());
        assert!(reports.last().unwrap().is_empty());
        let changes = host.changes();
        assert_eq!(run(&case, &host, &mut reports).await, Some(Outcome::Converged));
        assert_eq!(host.changes(), changes, "a second run must change nothing");
        host.reboot();
        assert_eq!(run(&case, &host, &mut reports).await, Some(Outcome::Converged));
        assert_eq!(host.changes(), changes, "a reboot must need nothing");
        assert_eq!(host.k3s_starts(), 2, "once, and once by systemd at the reboot");
        assert_eq!(host.open_starts(), 0, "never with the issuer's port open to pods");
    });
}

proptest! {
    #![proptest_config(law("converges", 128))]

    #[test]
    fn converges(case in cases()) {
        let (first, second, changes) = simulate(twice(&case));
        prop_assert_eq!(first, second, "the second run ends where the first did");
        if first == Some(Outcome::Converged) {
            prop_assert_eq!(changes, 0, "a second run must change nothing");
        } else {
            // What fails is tried again, but never often: delays grow.
            // An agent whose K3s does not come up needs another token every three minutes, which takes ten.
            let most = if case.settings.contains("ticket = ") { 8 + 10 } else { 8 };
            prop_assert!(changes <= most, "{} changes in three minutes of standing still", changes);
        }
    }
}
