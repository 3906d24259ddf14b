//! Plans of several volumes at once, and of mount points that Kubernetes uses.

use super::*;
use bowline_ports::{ActiveState, BlockDevice, DeviceId, ErrorKind, GoneDisk, Mount, Probe, Unit};
use bowline_settings::SourceFile;

mod alike;
mod elses;
mod growth;
mod released;
mod several_disks;
mod unusable;

fn volumes(text: &str) -> Vec<Volume> {
    let files = [SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 }];
    bowline_settings::load(&files).unwrap().settings.volumes
}

fn nothing_seen() -> VolumeFacts {
    VolumeFacts {
        number: None,
        probe: None,
        extent: Ok(None),
        answer: Ok(()),
        growing: None,
        intent: None,
        begun: None,
        released: None,
        unmounting: None,
        gone: None,
        root: None,
        missing: Vec::new(),
        job: None,
        unit: Unit::not_found(),
        disk_came: 0,
        unit_file: None,
        check_file: None,
        former: Vec::new(),
        gates: Default::default(),
        mount_point: MountPoint::Free,
        shielded: true,
        unrecorded: false,
        pods: Vec::new(),
    }
}

fn blank() -> Probe {
    Probe { zeros: 1 << 20, disks: 1, ..Probe::default() }
}

fn disk() -> BlockDevice {
    BlockDevice {
        path: "/dev/sdb".into(),
        number: "8:16".into(),
        id: DeviceId { serial: Some("1".into()), size: 1 << 30 },
        transport: "scsi".into(),
        announced: true,
        ..BlockDevice::default()
    }
}

fn facts(volumes: Vec<Result<VolumeFacts, PortError>>) -> Facts {
    Facts {
        devices: Vec::new(),
        mounts: Vec::new(),
        volumes,
        claims: Vec::new(),
        cloud_config: None,
        boot: Boot::default(),
        orphans: Vec::new(),
        stray_shields: Vec::new(),
        stray_gates: Vec::new(),
        services: Vec::new(),
        stopped: None,
        uncordon: Vec::new(),
        gone: Vec::new(),
        kubernetes: Kubernetes::default(),
    }
}

#[test]
fn a_volume_that_can_not_be_looked_at_is_told_and_the_others_go_on() {
    let volume = |name: &str| format!("[[volume]]\nname = \"{name}\"\nserial = \"{name}\"\nmount = \"/mnt/{name}\"\n");
    let volumes = volumes(&(volume("broken") + &volume("data")));
    let error = PortError::new(ErrorKind::Other, "listing /mnt/broken: Input/output error");
    let facts = facts(vec![Err(error), Ok(nothing_seen())]);
    let plan = Volumes { volumes, services: Vec::new(), starts: false }.plan(&facts, &Conditions::default());
    let waits: Vec<_> = plan.waits.iter().map(|w| (w.item.as_str(), w.what.as_str())).collect();
    assert_eq!(
        waits,
        [("volume/broken", "a look at volume broken"), ("volume/data", "the disk serial data")],
        "{plan:?}"
    );
    assert_eq!(plan.waits[0].why, "listing /mnt/broken: Input/output error");
    assert!(plan.waits[0].overdue.contains("dmesg"));
}

/// A blank disk for a volume at this place, with a bare mount point, while these services and pods run; what is refused, and
/// what is advised.
fn on_a_bare_place(place: &str, services: &[&str], seen: VolumeFacts) -> Option<(String, String)> {
    let text = format!("[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"{place}\"\nformat = \"blank-only\"\n");
    let mut facts = facts(vec![Ok(VolumeFacts { probe: Some(Ok(blank())), ..seen })]);
    facts.devices.push(disk());
    facts.kubernetes.services = services.iter().map(ToString::to_string).collect();
    let spec = Volumes { volumes: volumes(&text), services: vec!["k3s.service".into()], starts: false };
    let plan = spec.plan(&facts, &Conditions::default());
    // The gate is set all the same: the next start of Kubernetes has to wait for the volume.
    assert!(plan.steps.iter().any(
        |step| matches!(&step.action, Action::Write { path, .. } if path.ends_with("50-bowline-volume-data.conf"))
    ));
    let formats = plan.steps.iter().any(|step| matches!(step.action, Action::Format(_) | Action::Record(_)));
    assert_eq!(formats, plan.refusals.is_empty(), "either it is refused, or it goes on: {plan:?}");
    plan.refusals.first().map(|refusal| (refusal.why.clone(), refusal.hint.clone()))
}

#[test]
fn a_place_that_kubernetes_uses_is_not_hidden_from_it() {
    let storage = "/var/lib/rancher/k3s/storage";
    let mounted_before = || {
        let unit = Unit { left: 5, ended: 6, ..Unit::not_found() };
        let unit_file = Some("# Written by Bowline from [[volume]] name = \"data\"\n".to_owned());
        VolumeFacts { unit, unit_file, ..nothing_seen() }
    };
    let with_pods = || VolumeFacts { pods: vec!["monitoring/grafana-0".into(), "x/y".into()], ..nothing_seen() };
    let in_a_pod_of_no_name = VolumeFacts { pods: vec!["a pod with uid 12".into()], ..nothing_seen() };
    let pods = |at: &str| {
        Some(format!("{at} is in use by Kubernetes: pods have the bare directory (monitoring/grafana-0, x/y)"))
    };
    for (place, services, seen, why) in [
        (
            storage,
            &["k3s.service"][..],
            nothing_seen(),
            Some(format!("{storage}, in /var/lib/rancher, is in use by Kubernetes: k3s.service runs")),
        ),
        (
            "/var/lib/kubelet",
            &["k3s.service"],
            nothing_seen(),
            Some("/var/lib/kubelet is in use by Kubernetes: k3s.service runs".into()),
        ),
        ("/mnt/data", &["k3s.service"], with_pods(), pods("/mnt/data")),
        // Kubernetes is down, and its pods run on.
        ("/mnt/data", &[], with_pods(), pods("/mnt/data")),
        (
            "/mnt/data",
            &[],
            in_a_pod_of_no_name,
            Some("/mnt/data is in use by Kubernetes: pods have the bare directory (a pod with uid 12)".into()),
        ),
        // It was there when Kubernetes began, and is back with its disk; but not over what pods got meanwhile.
        (storage, &["k3s.service"], mounted_before(), None),
        (storage, &["k3s.service"], VolumeFacts { pods: with_pods().pods, ..mounted_before() }, pods(storage)),
        ("/mnt/data", &["k3s.service"], nothing_seen(), None),
        (storage, &[], nothing_seen(), None),
    ] {
        let refused = on_a_bare_place(place, services, seen);
        assert_eq!(refused.map(|(why, _)| why), why, "{place} while {services:?} run");
    }
}

#[test]
fn what_helps_names_the_commands() {
    let both = &["k3s.service", "kubelet.service"];
    let (_, hint) = on_a_bare_place("/var/lib/kubelet/x", both, nothing_seen()).unwrap();
    let commands = "`systemctl stop k3s kubelet; bowline apply; systemctl start k3s kubelet`";
    assert!(hint.contains(commands), "{hint}");
    let seen = VolumeFacts { pods: vec!["monitoring/grafana-0".into()], ..nothing_seen() };
    let (_, hint) = on_a_bare_place("/mnt/data", &["k3s.service"], seen.clone()).unwrap();
    assert!(hint.contains("`kubectl -n monitoring delete pod grafana-0` on a server"), "{hint}");
    let (_, hint) = on_a_bare_place("/mnt/data", &[], seen).unwrap();
    assert!(hint.contains("a reboot ends them") && !hint.contains("kubectl"), "{hint}");
}

/// The one that is named may come yet.
#[test]
fn a_disk_that_is_like_the_named_one_stands_in_for_it_some_time_after_the_boot() {
    let text = "[[volume]]\nname = \"data\"\ndevice = \"/dev/oracleoci/oraclevdb\"\nmatch = { transport = \"scsi\" }\n\
                mount = \"/mnt/data\"\nformat = \"blank-only\"\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let formats = |announced: bool, number: Option<&str>, uptime: Option<u64>| {
        let seen = VolumeFacts { probe: Some(Ok(blank())), number: number.map(String::from), ..nothing_seen() };
        let mut facts = facts(vec![Ok(seen)]);
        facts.devices.push(BlockDevice { announced, ..disk() });
        facts.boot.uptime = uptime;
        let plan = spec.plan(&facts, &Conditions::default());
        assert!(plan.refusals.is_empty(), "{plan:?}");
        let formats = plan.steps.iter().any(|step| matches!(step.action, Action::Format(_)));
        assert_eq!(formats, plan.waits.is_empty(), "it is waited for, or taken: {plan:?}");
        formats
    };
    assert!(!formats(true, None, Some(59)) && formats(true, None, Some(60)) && formats(true, None, None));
    assert!(formats(true, Some("8:16"), Some(1)), "it is the one that is named");
    assert!(!formats(false, None, Some(600)), "udev may lead another volume's name to it yet");
}

/// Mounted by hand, or read-only, it is not free; another one like it is no reason to begin anew.
#[test]
fn the_disk_that_was_used_and_is_busy_is_not_replaced_by_one_like_it() {
    let text = "[[volume]]\nname = \"data\"\nmatch = { transport = \"scsi\" }\nmount = \"/mnt/data\"\nformat = \"blank-only\"\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let planned = |mounted: bool, unit_of: &str, uptime| {
        let unit_file =
            format!("# Written by Bowline from [[volume]] name = \"{unit_of}\"\nWhat=/dev/disk/by-uuid/ab-1\n");
        let seen = VolumeFacts { probe: Some(Ok(blank())), unit_file: Some(unit_file), ..nothing_seen() };
        let mut facts = facts(vec![Ok(seen)]);
        let mounted_at = mounted.then(|| "/mnt/rescue".into()).into_iter().collect();
        let uuid = Some("ab-1".to_owned());
        facts.devices.push(BlockDevice {
            path: "/dev/sdc".into(),
            number: "8:32".into(),
            uuid,
            mounted_at,
            read_only: !mounted,
            ..disk()
        });
        facts.devices.push(disk());
        facts.boot.uptime = Some(uptime);
        let plan = spec.plan(&facts, &Conditions::default());
        let formats = plan.steps.iter().any(|step| matches!(step.action, Action::Format(_)));
        let refused = plan.refusals.first().map(|one| one.why.clone()).unwrap_or_default();
        (formats, plan.waits.len(), refused)
    };
    let (formats, waits, why) = planned(true, "data", 600);
    assert!(!formats && waits == 0 && why.ends_with("serial 1): /dev/sdc is mounted at /mnt/rescue"), "{why}");
    let (formats, waits, why) = planned(false, "data", 600);
    assert!(!formats && waits == 0 && why.ends_with(": /dev/sdc is read-only"), "{why}");
    assert_eq!(planned(true, "data", 10), (false, 1, String::new()), "it may be free in a moment");
    assert_eq!(planned(true, "former", 10), (true, 0, String::new()), "that was another volume's filesystem");
}

/// Cut off between the two, systemd could mount it still.
#[test]
fn a_released_volume_can_be_detached_once_systemd_has_read_that_its_unit_is_gone() {
    let text = "[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/data\"\ngate = false\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    for loaded in [true, false] {
        let fragment = Some(mount_unit_path(Path::new("/mnt/data")));
        let unit =
            if loaded { Unit { load: "loaded".into(), fragment, ..Unit::not_found() } } else { Unit::not_found() };
        let released = Some(Ok(Released::of(&disk(), 0, false)));
        let mut facts = facts(vec![Ok(VolumeFacts { unit, released, ..nothing_seen() })]);
        facts.devices.push(disk());
        let plan = spec.plan(&facts, &Conditions::default());
        assert_eq!(plan.steps.iter().any(|step| step.action == Action::Reload), loaded, "{plan:?}");
        assert_eq!(plan.conditions.contains_key("released/data"), !loaded, "{plan:?}");
    }
}

/// Without a serial it is known by what udev has read of it, or is taken for the same as long as nothing else is known of it.
#[test]
fn a_released_disk_without_a_serial_is_not_gone_because_it_is_not_known() {
    let text = "[[volume]]\nname = \"data\"\ndevice = \"/dev/sdb\"\nmount = \"/mnt/data\"\ngate = false\n";
    let spec = Volumes { volumes: volumes(text), services: Vec::new(), starts: false };
    let without = BlockDevice { id: DeviceId { serial: None, size: 1 << 30 }, uuid: Some("ab-1".into()), ..disk() };
    let beside = |mounts: &[Mount], path: &str, announced: bool, uuid: Option<&str>, size: u64| {
        let released = Some(Ok(Released::of(&without, 0, false)));
        let mut facts = facts(vec![Ok(VolumeFacts { released, gone: Some(570), ..nothing_seen() })]);
        let id = DeviceId { serial: None, size };
        let uuid = uuid.map(String::from);
        facts.devices.push(BlockDevice { path: path.into(), announced, uuid, id, ..disk() });
        facts.boot.uptime = Some(600);
        facts.mounts.extend(mounts.iter().cloned());
        let plan = spec.plan(&facts, &Conditions::default());
        let back = plan.steps.iter().any(|step| matches!(step.action, Action::TakeBack { .. }));
        (back, plan.conditions.contains_key("released/data"))
    };
    let planned = |path, announced, uuid, size| beside(&[], path, announced, uuid, size);
    assert_eq!(planned("/dev/sdb", true, Some("ab-1"), 2 << 30), (false, true), "it was made larger");
    assert_eq!(planned("/dev/sdb", false, None, 1 << 30), (false, false), "udev has not come to it");
    assert_eq!(planned("/dev/sdx", false, None, 1 << 30), (false, false), "nor to its links");
    assert_eq!(planned("/dev/sdb", true, None, 1 << 30), (false, true), "it was erased");
    assert_eq!(planned("/dev/sdb", true, Some("cd-2"), 1 << 30), (true, false), "it is another");
    assert_eq!(planned("/dev/sdb", true, None, 2 << 30), (true, false), "it is another");
    assert_eq!(planned("/dev/sdx", true, None, 1 << 30), (true, false), "that is elsewhere");
    let (source, fstype) = ("/dev/sdc".into(), "ext4".into());
    let (target, root) = ("/mnt/data".into(), "/".into());
    let left =
        Mount { target, source, number: "8:32".into(), fstype, root, read_only: false, errors: 0, by_user: false };
    assert_eq!(beside(&[left], "/dev/sdb", true, None, 1 << 30), (true, false), "that one went");
}

/// The kernel takes all partitions away for a moment, and tells that at once.
#[test]
fn a_released_partition_is_not_gone_while_its_disk_is_there() {
    let kept = |partition: &str, disk_path: &str, link: &str| {
        let text =
            format!("[[volume]]\nname = \"data\"\ndevice = \"{partition}\"\nmount = \"/mnt/data\"\ngate = false\n");
        let spec = Volumes { volumes: volumes(&text), services: Vec::new(), starts: false };
        let part = BlockDevice { id: DeviceId { serial: None, size: 1 }, uuid: Some("ab-1".into()), ..disk() };
        let released = Some(Ok(Released::of(&part, 0, false)));
        let mut facts = facts(vec![Ok(VolumeFacts { released, gone: Some(570), ..nothing_seen() })]);
        facts.devices.push(BlockDevice { path: disk_path.into(), links: vec![link.into()], ..disk() });
        facts.boot.uptime = Some(600);
        let plan = spec.plan(&facts, &Conditions::default());
        !plan.steps.iter().any(|step| matches!(step.action, Action::TakeBack { .. }))
    };
    let link = "/dev/disk/by-id/scsi-0HC_Volume_11111111";
    assert!(kept(&format!("{link}-part1"), "/dev/sdc", link) && kept("/dev/sdc1", "/dev/sdc", link));
    assert!(kept("/dev/vdp12", "/dev/vdp", link) && kept("/dev/nvme0n1p2", "/dev/nvme0n1", link));
    assert!(!kept("/dev/sdb1", "/dev/sdc", link) && !kept("/dev/nvme0n1", "/dev/sdc", link));
}

/// Two of one size are often attached to one machine in the end.
#[test]
fn disks_without_a_serial_have_filesystems_that_are_told_apart() {
    let id = |serial: Option<&str>| DeviceId { serial: serial.map(String::from), size: 1 << 30 };
    let planned = |serial, boot| planned_uuid(&id(serial), "data", boot);
    assert_ne!(planned(None, "one boot"), planned(None, "another"));
    assert_eq!(planned(Some("1"), "one boot"), planned(Some("1"), "another"));
}

/// Bowline was killed between the writing of a gate and its reading.
#[test]
fn a_gate_that_systemd_has_not_read_is_no_gate_yet() {
    let text = "[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/data\"\n";
    let spec = Volumes { volumes: volumes(text), services: vec!["k3s.service".into()], starts: true };
    let reloads = |needs_reload: bool| {
        let mut facts = facts(vec![Ok(nothing_seen())]);
        let unit = Unit { load: "loaded".into(), active: ActiveState::Active, needs_reload, ..Unit::not_found() };
        facts.services.push(("k3s.service".into(), unit));
        let plan = spec.plan(&facts, &Conditions::default());
        plan.steps.iter().any(|step| step.action == Action::Reload)
    };
    assert!(reloads(true) && !reloads(false));
}

/// What is under way would make it unwritable again.
#[test]
fn a_mount_point_is_given_back_once_the_work_on_its_disk_has_ended() {
    let spec = Volumes { volumes: Vec::new(), services: Vec::new(), starts: false };
    let plan = |under_way: bool| {
        let mut facts = facts(Vec::new());
        facts.stray_shields.push(Shielded { volume: "data".into(), at: "/mnt/data".into(), under_way });
        spec.plan(&facts, &Conditions::default())
    };
    let ended = plan(false);
    assert_eq!((ended.steps[0].action.to_string().as_str(), ended.waits.len()), ("make /mnt/data writable again", 0));
    let running = plan(true);
    assert!(running.steps.is_empty() && running.waits[0].poll.is_some(), "{running:?}");
}

/// To follow what has ended meanwhile is to begin it: where the settings forbid that by now, or name another disk, it is waited for.
#[test]
fn a_filesystem_that_is_being_made_is_followed_only_as_the_settings_have_it() {
    let intent = |serial: Option<&str>, device: &str| {
        let id = DeviceId { serial: serial.map(Into::into), size: 1 << 30 };
        let uuid = planned_uuid(&id, "data", "");
        let (volume, device, filesystem) = ("data".into(), device.into(), bowline_ports::Filesystem::Ext4);
        Some(Intent { volume, device, id, filesystem, uuid })
    };
    let plan = |serial: Option<&str>, format: &str, begun: Option<Intent>| {
        let mut disk = disk();
        disk.id.serial = serial.map(Into::into);
        let text = format!(
            "[[volume]]\nname = \"data\"\ndevice = \"/dev/sdb\"\nmount = \"/mnt/data\"\nformat = \"{format}\"\n"
        );
        let spec = Volumes { volumes: volumes(&text), services: Vec::new(), starts: false };
        let job = Some(bowline_ports::Job::Running(Default::default()));
        let seen = VolumeFacts { job, intent: begun.map(Ok), ..nothing_seen() };
        spec.plan(&Facts { devices: vec![disk], ..facts(vec![Ok(seen)]) }, &Conditions::default())
    };
    for (serial, device) in [(Some("1"), "/dev/sdb"), (Some("1"), "/dev/sdc"), (None, "/dev/sdb")] {
        let followed = plan(serial, "blank-only", intent(serial, device));
        assert!(matches!(followed.steps[0].action, Action::Format(_)), "{followed:?}");
    }
    // Two of one size without a serial are told apart by their names.
    for (serial, format, begun) in [
        (Some("1"), "never", intent(Some("1"), "/dev/sdb")),
        (Some("1"), "blank-only", intent(Some("2"), "/dev/sdb")),
        (Some("1"), "blank-only", None),
        (None, "blank-only", intent(None, "/dev/sdc")),
    ] {
        let plan = plan(serial, format, begun);
        assert!(plan.steps.iter().all(|step| !matches!(step.action, Action::Format(_))), "{plan:?}");
        assert!(plan.waits[0].what.contains("filesystem for data") && plan.waits[0].poll.is_some(), "{plan:?}");
    }
}

/// Which volume's disk it was is not known, and nobody is held back for it.
#[test]
fn pods_on_a_disk_that_is_gone_are_named_beside_their_volume() {
    let text = "[[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/data\"\n";
    let spec = Volumes { volumes: volumes(text), services: vec!["k3s.service".into()], starts: false };
    let told = |services: &[&str]| {
        let mut facts = facts(vec![Ok(nothing_seen())]);
        let pods = vec!["default/kafka-0".to_owned(), "logging/loki-0".to_owned()];
        facts.gone.push(GoneDisk { source: "/dev/sdb".into(), fstype: "ext4".into(), pods });
        facts.kubernetes.services = services.iter().map(ToString::to_string).collect();
        let plan = spec.plan(&facts, &Conditions::default());
        let wait = plan.waits.into_iter().find(|wait| wait.item == "gone/sdb").unwrap();
        assert!(wait.why.contains("default/kafka-0, logging/loki-0") && wait.poll.is_some(), "{wait:?}");
        wait.overdue
    };
    let commands = "`kubectl -n default delete pod kafka-0`, `kubectl -n logging delete pod loki-0` on a server: ";
    assert!(told(&["k3s.service"]).starts_with(commands));
    assert!(told(&[]).contains("a reboot ends them"));
}
