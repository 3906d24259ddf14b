//! Plans of several volumes at once, and of mount points that Kubernetes uses.

use super::*;
use bowline_ports::{BlockDevice, DeviceId, ErrorKind, Probe, Unit};
use bowline_settings::SourceFile;

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
        errors: 0,
        growing: None,
        intent: None,
        begun: None,
        released: None,
        unmounting: None,
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
        pods: Vec::new(),
    }
}

fn facts(volumes: Vec<Result<VolumeFacts, PortError>>) -> Facts {
    Facts {
        devices: Vec::new(),
        mounts: Vec::new(),
        volumes,
        claims: Vec::new(),
        cloud_config: None,
        orphans: Vec::new(),
        stray_shields: Vec::new(),
        stray_gates: Vec::new(),
        services: Vec::new(),
        stopped: None,
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
    let blank = Probe {
        signatures: Vec::new(),
        ambivalent: false,
        data_at: None,
        zeros: 1 << 20,
        last_mount: None,
        read_error: None,
    };
    let mut facts = facts(vec![Ok(VolumeFacts { probe: Some(Ok(blank)), ..seen })]);
    facts.devices.push(BlockDevice {
        path: "/dev/sdb".into(),
        number: "8:16".into(),
        id: DeviceId { serial: Some("1".into()), size: 1 << 30 },
        vendor: String::new(),
        model: String::new(),
        transport: "scsi".into(),
        links: Vec::new(),
        partition_of: None,
        partitions: Vec::new(),
        holders: Vec::new(),
        mounted_at: Vec::new(),
        swap: false,
        root: false,
        read_only: false,
    });
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
    assert!(hint.contains("`kubectl -n monitoring delete pod grafana-0`"), "{hint}");
    let (_, hint) = on_a_bare_place("/mnt/data", &[], seen).unwrap();
    assert!(hint.contains("a reboot ends them") && !hint.contains("kubectl"), "{hint}");
}
