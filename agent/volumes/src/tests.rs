//! Plans of several volumes at once.

use super::*;
use bowline_ports::ErrorKind;
use bowline_settings::SourceFile;

#[test]
fn a_volume_that_can_not_be_looked_at_is_told_and_the_others_go_on() {
    let volume = |name: &str| format!("[[volume]]\nname = \"{name}\"\nserial = \"{name}\"\nmount = \"/mnt/{name}\"\n");
    let text = volume("broken") + &volume("data");
    let files = [SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 }];
    let volumes = bowline_settings::load(&files).unwrap().settings.volumes;
    let seen = VolumeFacts {
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
        unit: bowline_ports::Unit::not_found(),
        disk_came: 0,
        unit_file: None,
        former: Vec::new(),
        gates: Default::default(),
        mount_point: MountPoint::Free,
    };
    let error = PortError::new(ErrorKind::Other, "listing /mnt/broken: Input/output error");
    let facts = Facts {
        devices: Vec::new(),
        mounts: Vec::new(),
        volumes: vec![Err(error), Ok(seen)],
        claims: Vec::new(),
        cloud_config: None,
        orphans: Vec::new(),
        stray_gates: Vec::new(),
        services: Vec::new(),
        stopped: None,
    };
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
