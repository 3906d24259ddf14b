//! Plans for filesystems that are smaller than their disks.

use super::*;
use bowline_ports::{Job, ProgressValue};

const TEXT: &str = "[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/data\"\n";

/// The plan for one that is mounted, whose growth stands so.
fn planned(growing: Option<Job>, released: bool) -> Plan<Action> {
    let released = released.then(|| Ok(Released::of(&disk(), 0, false)));
    let seen = VolumeFacts { extent: Ok(Some(512 << 20)), growing, released, ..nothing_seen() };
    let mut facts = facts(vec![Ok(seen)]);
    facts.devices.push(BlockDevice { mounted_at: vec!["/mnt/data".into()], ..disk() });
    facts.mounts.push(Mount {
        target: "/mnt/data".into(),
        source: "/dev/sdb".into(),
        number: "8:16".into(),
        fstype: "ext4".into(),
        root: "/".into(),
        read_only: false,
        errors: 1,
        by_user: false,
    });
    let spec = Volumes { volumes: volumes(TEXT), services: Vec::new(), starts: false };
    spec.plan(&facts, &Conditions::default())
}

fn running() -> Option<Job> {
    Some(Job::Running(ProgressValue::default()))
}

/// Kubernetes would not start on a machine that was made anew.
#[test]
fn a_volume_is_ready_whether_or_not_its_filesystem_grows() {
    let failed = Job::Failed(PortError::new(ErrorKind::Other, "resize2fs failed"));
    for (growing, grows) in [(None, true), (running(), true), (Some(failed), true), (Some(Job::Done), false)] {
        let plan = planned(growing, false);
        assert_eq!(plan.conditions.get("volume/data").map(String::as_str), Some("ready"), "{plan:?}");
        let growth: Vec<_> = plan.steps.iter().filter(|step| step.item == "growth/data").collect();
        assert_eq!(plan.steps.len(), growth.len(), "{plan:?}");
        assert_eq!(growth.iter().any(|step| matches!(step.action, Action::Grow(_))), grows, "{plan:?}");
    }
}

/// An unmount that fails has Kubernetes stopped.
#[test]
fn a_volume_that_is_released_grows_to_its_end() {
    let waits = |growing| planned(growing, true).waits.into_iter().map(|wait| wait.what).collect::<Vec<_>>();
    assert_eq!(waits(running()), ["its filesystem to have grown"]);
    assert!(waits(None).is_empty() && waits(Some(Job::Done)).is_empty());
}
