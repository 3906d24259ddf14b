//! Law `no_data_loss`: nothing destructive without a setting that allows it and facts that prove the target blank.

use bowline_host::sim::{Content, Fault, FaultMode, SimHost, WorldDisk};
use bowline_laws::{Case, cases, faults, forbidding, good_case, law, run_for, simulate};
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

/// Longer than the delay after any one failure.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Whether a filesystem that was begun on a blank disk went on.
fn is_made(before: &Option<Content>, after: &Option<Content>) -> bool {
    matches!(before, Some(Content::Blank | Content::HalfMade))
        && matches!(after, Some(Content::HalfMade | Content::Filesystem { .. }))
}

proptest! {
    #![proptest_config(law("no_data_loss", 512))]

    #[test]
    fn no_data_loss(
        case in cases(), fault in proptest::option::weighted(0.8, faults(0..16, 0..1000)), reboot in any::<bool>(),
        forbid in any::<bool>(),
    ) {
        let host = SimHost::new(&case.world);
        let before = contents(&case, &host);
        let (mut forbidden, mut at_work) = (Vec::new(), Vec::new());
        simulate(async {
            if let Some(fault) = fault {
                host.arm(fault);
            }
            if run_for(&case, &host, &mut Vec::new(), PATIENCE).await.is_none() {
                if reboot { host.reboot() } else { host.restart_agent() }
                if forbid {
                    // Between the two runs the owner takes the permission to format back.
                    forbidden = contents(&case, &host);
                    // What was begun when it was there goes on in its unit.
                    at_work = host.being_written();
                    run_for(&forbidding(&case), &host, &mut Vec::new(), PATIENCE).await;
                } else {
                    run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
                }
            }
        });
        prop_assert!(host.violations().is_empty(), "{:?}", host.violations());
        for (one, after) in forbidden.iter().zip(contents(&case, &host)) {
            prop_assert!(*one == after || at_work.contains(&one.0) && is_made(&one.1, &after.1), "formatted against the settings: {:?}, {:?}", one, after);
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

/// A unit that works on gives no leave to make another filesystem: neither on another disk, nor where the settings forbid it by now.
#[test]
fn what_works_on_gives_no_leave_to_format_another_disk() {
    let mut case = good_case();
    case.world.disks.push(WorldDisk::volume("/dev/sdc", "87654321"));
    let mut other = forbidding(&case);
    other.settings = other.settings.replace("12345678", "87654321");
    let mut killed = 0;
    for at in 0..32 {
        let host = SimHost::new(&case.world);
        host.arm(Fault::at_change(at, FaultMode::CrashDuring));
        simulate(async {
            run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
            host.restart_agent();
            killed += usize::from(!host.being_written().is_empty());
            run_for(&other, &host, &mut Vec::new(), PATIENCE).await;
        });
        assert_eq!(host.content("/dev/sdc"), Some(Content::Blank), "killed at change {at}");
    }
    assert!(killed > 0, "never while a filesystem was made");
}
