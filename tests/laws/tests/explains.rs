//! Law `explains`: every step, wait and refusal says why; a refusal says what to do.

use bowline_engine::Risk;
use bowline_host::sim::SimHost;
use bowline_laws::{cases, law, run, simulate};
use proptest::prelude::*;

proptest! {
    #![proptest_config(law("explains", 128))]

    #[test]
    fn explains(case in cases()) {
        let mut reports = Vec::new();
        let host = SimHost::new(&case.world);
        simulate(run(&case, &host, &mut reports));
        for capability in reports.iter().flat_map(|r| &r.capabilities) {
            for step in &capability.steps {
                prop_assert!(!step.what.is_empty() && !step.why.is_empty(), "{:?}", step);
            }
            for wait in &capability.waits {
                prop_assert!(!wait.what.is_empty() && !wait.why.is_empty(), "{:?}", wait);
                prop_assert!(wait.overdue.as_ref().is_none_or(|o| !o.is_empty()), "{:?}", wait);
            }
            for refusal in &capability.refusals {
                prop_assert!(!refusal.why.is_empty() && !refusal.hint.is_empty(), "{:?}", refusal);
                let erased = capability.steps.iter().find(|s| s.item == refusal.item && s.risk == Risk::Erase);
                prop_assert!(erased.is_none(), "refused, and formatted all the same: {:?} {:?}", refusal, erased);
                prop_assert!(!refusal.why.ends_with('.'), "the surfaces put the sentence together: {:?}", refusal);
            }
        }
    }
}
