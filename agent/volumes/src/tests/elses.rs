//! Plans for places at which somebody else has mounted something since.

use super::*;
use crate::facts::Former;

/// What is planned for a unit that is to go, of a volume that has left the settings, or has another place in them.
fn planned(mounted: &str, uuid: Option<&str>, there: bool) -> [Vec<String>; 2] {
    let number = if mounted.starts_with("/dev") { "8:16" } else { "0:77" };
    let mount = Mount {
        target: "/mnt/data".into(),
        source: mounted.into(),
        number: number.into(),
        fstype: "ext4".into(),
        root: "/".into(),
        read_only: false,
        errors: 0,
    };
    let former =
        Former { unit: "mnt-data.mount".into(), at: "/mnt/data".into(), uuid: Some("ours".into()), mount: Some(mount) };
    let text = "[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/other\"\n";
    let forgotten = Orphan { volume: "data".into(), units: vec![former.clone()], ..Orphan::default() };
    [("", vec![forgotten], vec![]), (text, vec![], vec![Ok(VolumeFacts { former: vec![former], ..nothing_seen() })])]
        .map(|(text, orphans, seen)| {
            let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
            let mut facts = Facts { orphans, ..facts(seen) };
            facts.devices.extend(there.then(|| BlockDevice { uuid: uuid.map(Into::into), ..disk() }));
            let plan = spec.plan(&facts, &Conditions::default());
            let going = plan.steps.iter().filter(|step| step.action.to_string().contains("mnt-data.mount"));
            going.map(|step| step.action.to_string()).collect()
        })
}

#[test]
fn what_somebody_else_has_mounted_stays_when_a_volume_goes() {
    let unmounted = ["unmount /mnt/data, and remove mnt-data.mount"];
    let left = ["remove mnt-data.mount, and leave what is mounted there"];
    for both in [planned("/dev/sdb", Some("ours"), true), planned("/dev/sdb", None, true)] {
        assert_eq!(both, [unmounted, unmounted], "its own, or one of which nothing is known");
    }
    assert_eq!(planned("/dev/sdb", None, false), [unmounted, unmounted], "what is left of a disk that is gone");
    assert_eq!(planned("/dev/sdb", Some("theirs"), true), [left, left], "another disk");
    assert_eq!(planned("nas:/export", Some("ours"), true), [left, left], "no disk at all");
}
