//! Plans of volumes that were released, and of the Node that was cordoned for them.

use super::*;

/// What hides a record must not end the cordon: another volume may be away.
#[test]
fn a_node_takes_pods_again_only_when_every_volume_says_that_none_is_released() {
    let volume = |name: &str| format!("[[volume]]\nname = \"{name}\"\nserial = \"{name}\"\nmount = \"/mnt/{name}\"\n");
    let spec = |text: &str| Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let over = |released: Option<Result<VolumeFacts, PortError>>, orphan: bool, uncordon: Option<&str>| {
        let mut text = volume("data");
        let mut all = vec![Ok(nothing_seen())];
        if let Some(seen) = released {
            text = volume("other") + &text;
            all.insert(0, seen);
        }
        let mut facts = facts(all);
        facts.uncordon = uncordon.into_iter().flat_map(|names| names.split(' ')).map(String::from).collect();
        facts.orphans.extend(orphan.then(|| Orphan { volume: "gone".into(), released: true, ..Orphan::default() }));
        let plan = spec(&text).plan(&facts, &Conditions::default());
        let told = plan.notes.iter().any(|note| note.text.contains("`kubectl uncordon` on a server"));
        (plan.conditions.contains_key(condition::CORDON_OVER), told)
    };
    let of = |released| Some(Ok(VolumeFacts { released: Some(released), ..nothing_seen() }));
    let record = |cordoned| Ok(Released::of(&disk(), 0, cordoned));
    let error = PortError::new(ErrorKind::Other, "listing /mnt/other: Input/output error");
    assert_eq!(over(Some(Err(error)), false, Some("former")), (false, true));
    assert_eq!(over(of(Err("other.json: EOF".into())), false, Some("former")), (false, true));
    assert_eq!(over(of(record(true)), false, Some("former")), (false, true));
    assert_eq!(over(of(record(false)), false, Some("former")), (true, false));
    assert_eq!(over(None, true, Some("former")), (false, false));
    assert_eq!(over(None, false, Some("data")), (false, true), "it is not ready yet");
    assert_eq!(over(None, false, Some("data former")), (false, true), "one of two is not");
    assert_eq!(over(None, false, Some("former")), (true, false));
    assert_eq!(over(None, false, None), (false, false));
}

/// A controller that is reset takes its disks away for a moment; one that was taken out stays away.
#[test]
fn a_released_disk_is_gone_when_it_stays_away() {
    let text = "[[volume]]\nname = \"data\"\ndevice = \"/dev/sdb\"\nmount = \"/mnt/data\"\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let planned = |gone: Option<u64>, now: u64, there: Option<BlockDevice>| {
        let released = Some(Ok(Released::of(&disk(), 0, false)));
        let mut facts = facts(vec![Ok(VolumeFacts { released, gone, ..nothing_seen() })]);
        facts.devices.extend(there);
        facts.boot.uptime = Some(now);
        let plan = spec.plan(&facts, &Conditions::default());
        (plan.steps.into_iter().map(|step| step.action).next(), plan.waits.len())
    };
    let volume = || String::from("data");
    assert_eq!(planned(None, 600, None), (Some(Action::Gone { volume: volume() }), 0));
    assert_eq!(planned(Some(600), 629, None), (None, 1));
    assert_eq!(planned(Some(600), 630, None), (Some(Action::TakeBack { volume: volume() }), 0));
    assert_eq!(planned(Some(600), 601, Some(disk())), (Some(Action::Back { volume: volume() }), 1));
    assert_eq!(planned(None, 602, Some(disk())), (None, 1));
    let other = BlockDevice { id: DeviceId { serial: Some("2".into()), size: 1 << 30 }, ..disk() };
    assert_eq!(planned(None, 600, Some(other)), (Some(Action::TakeBack { volume: volume() }), 0), "it is in its place");
}

/// Its disk went before it could be unmounted: the next one is not to wait for it.
#[test]
fn a_release_that_did_not_come_to_its_end_leaves_no_unit_when_its_disk_is_gone() {
    let text = "[[volume]]\nname = \"data\"\nmatch = { transport = \"scsi\" }\nmount = \"/mnt/data\"\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let planned = |unit: bool| {
        let unit_file =
            "# Written by Bowline from [[volume]] name = \"data\"\nWhat=/dev/disk/by-uuid/ab-1\n".to_owned();
        let gone = BlockDevice { id: DeviceId { serial: Some("gone".into()), size: 1 << 30 }, ..disk() };
        let released = Some(Ok(Released::of(&gone, 0, false)));
        let seen = VolumeFacts { released, gone: Some(570), unit_file: unit.then_some(unit_file), ..nothing_seen() };
        let mut facts = facts(vec![Ok(seen)]);
        facts.devices.push(disk());
        facts.boot.uptime = Some(600);
        spec.plan(&facts, &Conditions::default()).steps.into_iter().map(|step| step.action).collect::<Vec<_>>()
    };
    assert!(matches!(&planned(true)[..], [Action::Retire { unit: Some(unit), .. }] if unit == "mnt-data.mount"));
    assert!(matches!(&planned(false)[..], [Action::TakeBack { .. }]));
}

/// Some hypervisors give several disks one serial; and Azure's and Google's NVMe disks tell their controller's, which earlier builds
/// took down.
#[test]
fn a_disk_with_the_serial_of_the_released_one_is_not_therefore_it() {
    let text = "[[volume]]\nname = \"data\"\ndevice = \"/dev/disk/by-path/lun-0\"\nmount = \"/mnt/data\"\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let own = || BlockDevice { uuid: Some("ab-1".into()), ..disk() };
    // What becomes of the release, with these disks: it waits for one to be detached or unmounted, or its disk is gone.
    let planned = |record: &Released, devices: Vec<BlockDevice>| {
        let mut facts =
            facts(vec![Ok(VolumeFacts { released: Some(Ok(record.clone())), gone: Some(1), ..nothing_seen() })]);
        (facts.devices, facts.boot.uptime) = (devices, Some(600));
        let plan = spec.plan(&facts, &Conditions::default());
        match plan.steps.first().map(|step| &step.action) {
            Some(Action::TakeBack { .. }) => "gone".to_owned(),
            _ => plan.waits[0].what.split(", or").next().unwrap_or_default().to_owned(),
        }
    };
    let stays = "/dev/sdb to be detached";
    let record = Released::of(&own(), 0, false);
    let sized =
        |device: BlockDevice, gib: u64| BlockDevice { id: DeviceId { size: gib << 30, ..device.id.clone() }, ..device };
    let unknown = || BlockDevice { uuid: None, ..own() };
    assert_eq!(planned(&record, vec![own()]), stays);
    assert_eq!(planned(&record, vec![sized(own(), 2)]), stays, "it was made larger");
    assert_eq!(planned(&record, vec![unknown()]), stays, "it was erased, or udev has not come to it");
    let other = || BlockDevice { path: "/dev/sda".into(), number: "8:0".into(), uuid: Some("cd-2".into()), ..disk() };
    let anew = BlockDevice { uuid: Some("cd-2".into()), ..own() };
    assert_eq!(planned(&record, vec![anew]), stays, "somebody has made another filesystem on it");
    assert_eq!(planned(&record, vec![other(), own()]), stays);
    assert_eq!(planned(&record, vec![sized(other(), 40)]), "gone", "another size and another filesystem");
    assert_eq!(
        planned(&record, vec![other(), BlockDevice { path: "/dev/sdc".into(), number: "8:32".into(), ..other() }]),
        "gone"
    );
    let in_use = BlockDevice { mounted_at: vec!["/mnt/other".into()], ..other() };
    assert_eq!(planned(&record, vec![in_use]), "gone");
    let system = BlockDevice { root: true, mounted_at: vec!["/".into()], uuid: None, ..other() };
    assert_eq!(planned(&record, vec![system.clone()]), "gone");
    assert_eq!(planned(&record, vec![system.clone(), own()]), stays);
    assert_eq!(planned(&Released { uuid: None, ..record.clone() }, vec![system.clone()]), "gone");

    // By its filesystem, from when its serial is known to be its controller's.
    let namespace = |device: BlockDevice| {
        let id = DeviceId { serial: None, size: device.id.size };
        BlockDevice { shared_serial: device.id.serial.clone(), id, ..device }
    };
    assert_eq!(planned(&record, vec![namespace(system.clone()), namespace(own())]), stays);
    assert_eq!(planned(&record, vec![namespace(system.clone()), namespace(other())]), "gone");
    let late = BlockDevice { announced: false, ..namespace(unknown()) };
    assert_eq!(planned(&record, vec![namespace(system), late]), "udev to come to /dev/sdb");

    // It is its own again, from when the namespace beside it is gone; and earlier builds took down none meanwhile.
    let shared = Released::of(&namespace(own()), 0, false);
    let nvme = |device: BlockDevice| BlockDevice { transport: "nvme".into(), ..device };
    let earlier = Released { disk: namespace(own()).id, shared: false, ..shared.clone() };
    for (record, one) in [(&shared, own()), (&earlier, nvme(own()))] {
        assert_eq!(planned(record, vec![one.clone()]), stays);
        assert_eq!(planned(record, vec![namespace(one.clone())]), stays);
        let late = BlockDevice { announced: false, uuid: None, ..one.clone() };
        assert_eq!(planned(record, vec![late]), "udev to come to /dev/sdb");
        assert_eq!(planned(record, vec![BlockDevice { uuid: Some("cd-2".into()), ..one }]), "gone", "it was beside it");
    }
    assert_eq!(planned(&earlier, vec![own()]), "gone", "no namespace gets a serial of its own there");
    assert_eq!(planned(&earlier, vec![sized(nvme(own()), 2)]), "gone");
}

/// Told as its own by an earlier build, and the other way round.
#[test]
fn a_record_has_the_serial_that_a_disk_tells() {
    let record = |device: &BlockDevice| serde_json::to_value(Released::of(device, 0, false)).unwrap();
    let id = DeviceId { serial: None, size: 1 << 30 };
    let namespace = BlockDevice { id, shared_serial: Some("1".into()), ..disk() };
    let told = |value: serde_json::Value| value["disk"]["serial"].as_str().map(String::from);
    assert_eq!([told(record(&namespace)), told(record(&disk()))], [Some("1".to_owned()), Some("1".to_owned())]);
    assert!(record(&disk()).get("shared").is_none() && record(&namespace)["shared"] == true);
    assert!(!serde_json::from_value::<Released>(record(&disk())).unwrap().shared);
}
