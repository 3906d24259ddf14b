//! Law `no_data_loss`: nothing destructive without a setting that allows it and facts that prove the target blank.

use bowline_host::sim::{Content, Fault, FaultMode, SimHost};
use bowline_laws::{cases, run, simulate};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_data_loss(case in cases(), at in 0usize..16, crash in any::<bool>(), reboot in any::<bool>()) {
        let host = SimHost::new(&case.world);
        let before: Vec<_> = case.world.disks.iter().map(|d| (d.path.clone(), host.content(&d.path))).collect();
        simulate(async {
            if crash {
                host.arm(Fault { at, mode: FaultMode::CrashDuring });
            }
            if run(&case, &host, &mut Vec::new()).await.is_none() {
                if reboot { host.reboot() } else { host.restart_agent() }
                run(&case, &host, &mut Vec::new()).await;
            }
        });
        prop_assert!(host.violations().is_empty(), "{:?}", host.violations());
        let may_format = case.settings.contains("blank-only");
        for (path, content) in before {
            let after = host.content(&path);
            if content == Some(Content::Blank) && may_format {
                continue;
            }
            prop_assert_eq!(content, after, "{} was changed", path.display());
        }
    }
}
