//! Plans for places at which somebody else has mounted something since.

use super::*;
use crate::facts::Former;

/// What is mounted at /mnt/data, from the device of this number.
fn at_data(source: &str, number: &str) -> Mount {
    Mount {
        target: "/mnt/data".into(),
        source: source.into(),
        number: number.into(),
        fstype: "ext4".into(),
        root: "/".into(),
        read_only: false,
        errors: 0,
        by_user: false,
    }
}

/// What is planned for a unit that is to go, of a volume that has left the settings, or has another place in them.
fn planned(mounted: &str, uuid: Option<&str>, there: bool) -> [Vec<String>; 2] {
    let number = if mounted.starts_with("/dev") { "8:16" } else { "0:77" };
    let mount = at_data(mounted, number);
    let former = Former {
        unit: "mnt-data.mount".into(),
        at: "/mnt/data".into(),
        uuid: Some("ours".into()),
        mount: Some(mount),
        under_way: false,
    };
    let text = "[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/other\"\n";
    let forgotten = Orphan { volume: "data".into(), units: vec![former.clone()], ..Orphan::default() };
    [
        ("# none\n", vec![forgotten], vec![]),
        (text, vec![], vec![Ok(VolumeFacts { former: vec![former], ..nothing_seen() })]),
    ]
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

/// systemd unmounts it when Kubernetes has stopped, and by the two steps of that Kubernetes is known to have gone with the disk.
#[test]
fn what_a_gone_disk_left_mounted_is_systemds_while_kubernetes_stops() {
    let text = "[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/data\"\n";
    let mount = at_data("/dev/sdb", "8:16");
    let back = BlockDevice { path: "/dev/sdc".into(), number: "8:32".into(), uuid: Some("ours".into()), ..disk() };
    let planned = |service: ActiveState, unit: ActiveState| {
        let unit_file =
            Some(crate::units::mount_unit_text(&volumes(text)[0], bowline_ports::Filesystem::Ext4, "ours", false));
        let unit = Unit { active: unit, ..Unit::not_found() };
        let seen = VolumeFacts { unit, unit_file, ..nothing_seen() };
        let service = ("k3s.service".to_owned(), Unit { active: service, ..Unit::not_found() });
        let facts = Facts {
            devices: vec![back.clone()],
            mounts: vec![mount.clone()],
            services: vec![service],
            ..facts(vec![Ok(seen)])
        };
        let spec = Volumes { volumes: volumes(text), services: vec!["k3s.service".into()], starts: false };
        let plan = spec.plan(&facts, &Conditions::default());
        let unmounts = plan.steps.iter().any(|step| step.action.to_string().starts_with("unmount /mnt/data"));
        (unmounts, plan.waits.iter().any(|wait| wait.what == "systemd to unmount it"))
    };
    for (service, unit) in
        [(ActiveState::Deactivating, ActiveState::Active), (ActiveState::Inactive, ActiveState::Deactivating)]
    {
        assert_eq!(planned(service, unit), (false, true));
    }
    assert_eq!(planned(ActiveState::Inactive, ActiveState::Active), (true, false));
}

/// What is at work on its disk makes the old place unwritable at its end, and may be repairing the filesystem.
#[test]
fn a_volume_moves_in_the_settings_once_the_work_on_its_disk_has_ended() {
    let text = "[[volume]]\nname = \"data\"\ndevice = \"/dev/sdb\"\nmount = \"/mnt/new\"\n";
    let planned = |text: &str, under_way: bool| {
        let former =
            Former { unit: "mnt-data.mount".into(), at: "/mnt/data".into(), uuid: None, mount: None, under_way };
        let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
        let mut all = facts(spec.volumes.iter().map(|_| Ok(nothing_seen())).collect());
        match all.volumes.first_mut() {
            Some(seen) => seen.as_mut().unwrap().former.push(former),
            None => all.orphans.push(Orphan { volume: "data".into(), units: vec![former], ..Orphan::default() }),
        }
        all.devices.push(disk());
        let plan = spec.plan(&all, &Conditions::default());
        (plan.steps.into_iter().any(|step| matches!(step.action, Action::Retire { .. })), plan.waits)
    };
    for text in [text, "# none\n"] {
        assert!(planned(text, false).0);
        let (retires, waits) = planned(text, true);
        assert!(!retires && waits.len() == 1 && waits[0].poll.is_some(), "{waits:?}");
        assert!(waits[0].what == "the work on the disk of data to end", "{waits:?}");
    }
}

/// Who may write to a directory may mount a FUSE there, and write any disk's name as its source.
#[test]
fn a_users_fuse_is_no_disk_that_is_gone() {
    let text = "[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/data\"\n";
    for (fstype, number, unmounts) in [("ext4", "8:64", true), ("fuse.x", "0:99", false)] {
        for source in ["/dev/sdb", "/dev/sde"] {
            let mount = Mount { fstype: fstype.into(), ..at_data(source, number) };
            let unit_file =
                Some(crate::units::mount_unit_text(&volumes(text)[0], bowline_ports::Filesystem::Ext4, "ours", false));
            let seen = VolumeFacts { unit_file, ..nothing_seen() };
            let own = BlockDevice { uuid: Some("ours".into()), ..disk() };
            let facts = Facts { devices: vec![own], mounts: vec![mount], ..facts(vec![Ok(seen)]) };
            let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
            let plan = spec.plan(&facts, &Conditions::default());
            let steps: Vec<_> = plan.steps.iter().map(|step| step.action.to_string()).collect();
            let is = steps.iter().any(|step| step.starts_with("unmount /mnt/data"));
            assert_eq!(is, unmounts, "{fstype} {source}: {steps:?}");
            assert_eq!(plan.refusals.len(), usize::from(!unmounts), "{fstype} {source}");
        }
    }
}
