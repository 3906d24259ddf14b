//! Law `no_data_loss`: nothing destructive without a setting that allows it and facts that prove the target blank.

use bowline_host::sim::{Content, Fault, FaultMode, SimHost};
use bowline_laws::{Case, cases, forbidding, law, run, simulate};
use proptest::prelude::*;
use std::path::PathBuf;

/// What every disk holds; whether somebody may have stored something on a mounted one, or has found something, aside.
fn contents(case: &Case, host: &SimHost) -> Vec<(PathBuf, Option<Content>)> {
    let content = |path| match host.content(path) {
        Some(Content::Filesystem { name, uuid, .. }) => Some(Content::Filesystem { name, uuid, precious: true }),
        // The same bytes, found.
        Some(Content::Buried) => Some(Content::Raw),
        other => other,
    };
    case.world.disks.iter().map(|d| (d.path.clone(), content(&d.path))).collect()
}

proptest! {
    #![proptest_config(law("no_data_loss", 512))]

    #[test]
    fn no_data_loss(
        case in cases(), at in 0usize..16, crash in any::<bool>(), reboot in any::<bool>(), forbid in any::<bool>(),
    ) {
        let host = SimHost::new(&case.world);
        let before = contents(&case, &host);
        let mut forbidden = Vec::new();
        simulate(async {
            if crash {
                host.arm(Fault::at_change(at, FaultMode::CrashDuring));
            }
            if run(&case, &host, &mut Vec::new()).await.is_none() {
                if reboot { host.reboot() } else { host.restart_agent() }
                if forbid {
                    // Between the two runs the owner takes the permission to format back.
                    forbidden = contents(&case, &host);
                    run(&forbidding(&case), &host, &mut Vec::new()).await;
                } else {
                    run(&case, &host, &mut Vec::new()).await;
                }
            }
        });
        prop_assert!(host.violations().is_empty(), "{:?}", host.violations());
        if !forbidden.is_empty() {
            prop_assert_eq!(&forbidden, &contents(&case, &host), "formatted against the settings");
        }
        let may_format = case.settings.contains("blank-only");
        for ((path, content), (_, after)) in before.into_iter().zip(contents(&case, &host)) {
            if content == Some(Content::Blank) && may_format {
                continue;
            }
            prop_assert_eq!(content, after, "{} was changed", path.display());
        }
    }
}
