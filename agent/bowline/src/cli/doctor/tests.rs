//! The whole list on the simulated machine.

use super::check::{Check, Verdict};
use super::{Ask, Outside, examine, text};
use crate::cli::load::Trouble;
use bowline_host::real::firewall::Listing;
use bowline_host::real::reach::Reach;
use bowline_host::sim::{SimHost, World, WorldDisk};
use bowline_ports::{Change, ErrorKind, PortError};
use bowline_settings::{Loaded, SourceFile};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SETTINGS: &str = r#"
[cluster]
distribution = "k3s"
version = "v1.34.1+k3s1"
role = "server"
[node]
address = "10.0.1.0/24"
labels = { zone = "a" }
[[volume]]
name = "data"
serial = "1"
mount = "/mnt/data"
format = "blank-only"
"#;

fn loaded(text: &str) -> Result<Loaded, Trouble> {
    let file = SourceFile { path: "/etc/bowline/config.d/50.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
    bowline_settings::load(&[file]).map_err(Trouble::Invalid)
}

fn world() -> World {
    let mut world = World::default();
    world.disks.push(WorldDisk::volume("/dev/sdb", "1"));
    for program in ["/usr/bin/journalctl", "/sbin/blkid", "/sbin/wipefs", "/sbin/mkfs.ext4"] {
        world.files.insert(program.into(), "a program".into());
    }
    for place in ["/etc/systemd/system/x", "/usr/local/bin/x", "/etc/rancher/x", "/var/lib/bowline/x"] {
        world.files.insert(place.into(), "a file".into());
    }
    let unit = "[Service]\nExecStart=/usr/bin/bowline run\n";
    world.files.insert("/etc/systemd/system/bowline.service".into(), unit.into());
    world
}

/// A network in which nothing answers.
async fn reach(_: &str, _: u16, _: Duration) -> Reach {
    Reach::Silent
}

/// A machine without any firewall.
async fn firewall(_: bool) -> Result<Vec<Listing>, PortError> {
    Ok(vec![])
}

async fn checks(host: &SimHost, settings: Result<Loaded, Trouble>) -> Vec<Check> {
    let outside =
        Outside { settings, folder: Path::new("/etc/bowline/config.d"), daemon: true, memory: 4 << 30, processors: 2 };
    let mut shown = Vec::new();
    let ask = Ask { resolve: async |_: &str| Ok(()), reach, firewall };
    let checks = examine(host, outside, ask, &mut |check: &Check| shown.push(check.clone())).await;
    assert_eq!(shown, checks, "each is shown as it comes, and once");
    for line in checks.iter().map(|check| text(check, false)).collect::<String>().lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    checks
}

fn findings(checks: &[Check]) -> Vec<(&str, &str, Option<&str>)> {
    let all = checks.iter().filter_map(|check| match &check.verdict {
        Verdict::Finding { found, remedy, command, .. } => {
            assert!(!remedy.is_empty(), "{check:?}");
            Some((check.name.as_str(), found.as_str(), command.as_deref()))
        }
        _ => None,
    });
    // The simulated bowline.service is no service that runs.
    all.filter(|(name, ..)| *name != "daemon").collect()
}

async fn settle(host: &SimHost, settings: &str) {
    let Ok(loaded) = loaded(settings) else { panic!("valid settings") };
    let mut engine = bowline_engine::Engine::new(crate::wiring::capabilities(&loaded.settings, 0), "test");
    let change: Arc<dyn Change> = Arc::new(host.clone());
    engine.converge(&change, Duration::from_secs(20), |_| {}).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_before_the_first_step_has_no_findings() {
    let host = SimHost::new(&world());
    let checks = checks(&host, loaded(SETTINGS)).await;
    assert_eq!(findings(&checks), []);
    assert!(checks.len() > 15, "{checks:#?}");
}

#[tokio::test(start_paused = true)]
async fn settings_that_are_wrong_or_missing() {
    let host = SimHost::new(&world());
    let wrong = checks(&host, loaded("[nod]\nname = \"x\"\n")).await;
    assert_eq!(findings(&wrong).len(), 1, "{wrong:#?}");
    assert!(findings(&wrong)[0].1.starts_with("/etc/bowline/config.d/50.toml:1:"), "{wrong:#?}");
    let none = checks(&host, Ok(Loaded::default())).await;
    assert_eq!(findings(&none), [("settings", "there are none in /etc/bowline/config.d", None)]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_server_does_not_answer() {
    let ticket = "a".repeat(64);
    let settings = format!(
        "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.99\"]\nticket = \"{ticket}\"\n"
    );
    let checks = checks(&SimHost::new(&world()), loaded(&settings)).await;
    assert_eq!(findings(&checks), [("server 10.0.1.99", "TCP 6443 and 7470: no answer within 3 s", None)]);
}

#[tokio::test(start_paused = true)]
async fn one_finding_a_fault() {
    let cases: Vec<(&str, World, &str)> = vec![
        ("volume data", World { disks: vec![WorldDisk::root()], ..world() }, "is not attached"),
        ("volume data", disk(|d| d.content = "xfs".into()), "a filesystem (xfs)"),
        ("volume data", disk(|d| d.content = "raw".into()), "data at byte"),
        ("volume data", disk(|d| d.partitions = vec!["/dev/sdb1".into()]), "is partitioned"),
        ("volume data", disk(|d| d.holders = vec!["md0".into()]), "part of md0"),
        (
            "node's address",
            World { addresses: vec!["eth0 192.168.0.1".into()], ..world() },
            "an address in 10.0.1.0/24",
        ),
        (
            "node's address",
            World { addresses: vec!["eth0 10.0.1.4".into(), "eth1 10.0.1.5".into()], ..world() },
            "several addresses are in 10.0.1.0/24: 10.0.1.4 on eth0, 10.0.1.5 on eth1",
        ),
        ("default route", World { default_route: None, ..world() }, "a default route"),
        ("node's address", World { addresses: vec![], default_route: None, ..world() }, "an address in 10.0.1.0/24"),
        ("clock", World { clock: 1_000_000_000, ..world() }, " d behind"),
        ("port 6443 (Kubernetes)", World { busy_port: Some(6443), ..world() }, "in use by nginx"),
        ("port 9787 (metrics)", World { busy_port: Some(9787), ..world() }, "in use by nginx"),
        ("mkfs.ext4", without("/sbin/mkfs.ext4"), "volume data cannot be formatted"),
        ("/etc/rancher", without("/etc/rancher/x"), "does not exist"),
    ];
    for (name, world, words) in cases {
        let checks = checks(&SimHost::new(&world), loaded(SETTINGS)).await;
        let found = findings(&checks);
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        assert!(found[0].0 == name && found[0].1.contains(words), "{name}: {found:#?}");
    }
}

fn disk(change: impl Fn(&mut WorldDisk)) -> World {
    let mut world = world();
    world.disks.last_mut().into_iter().for_each(change);
    world
}

fn without(path: &str) -> World {
    let mut world = world();
    world.files.remove(Path::new(path));
    world
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_ready_and_what_can_happen_to_it() {
    let host = SimHost::new(&world());
    settle(&host, SETTINGS).await;
    let ready = checks(&host, loaded(SETTINGS)).await;
    assert_eq!(findings(&ready), []);
    assert!(ready.iter().any(|c| c.name == "Node" && !c.is_finding()), "{ready:#?}");

    let other = SETTINGS.replace("v1.34.1", "v1.34.2");
    let version = checks(&host, loaded(&other)).await;
    assert_eq!(
        findings(&version),
        [("K3s's version", "v1.34.1+k3s1 is installed, and the settings say v1.34.2+k3s1", None)]
    );
    let upgrading = |check: &Check| matches!(&check.verdict, Verdict::Finding { remedy, .. } if remedy.contains("Upgrading K3s today"));
    assert!(version.iter().any(upgrading), "{version:#?}");

    let unit = host.text("/etc/systemd/system/mnt-data.mount").unwrap_or_default();
    host.put("/etc/systemd/system/mnt-data.mount", &unit.replace("nofail", "nofail,discard"));
    let edited = checks(&host, loaded(SETTINGS)).await;
    let found = findings(&edited);
    assert_eq!((found.len(), found[0].0, found[0].2), (1, "units of volume data", Some("bowline apply")), "{found:#?}");
    host.put("/etc/systemd/system/mnt-data.mount", &unit);

    host.stop("k3s.service");
    let stopped = checks(&host, loaded(SETTINGS)).await;
    let found = findings(&stopped);
    assert_eq!((found.len(), found[0].0, found[0].2), (1, "K3s", Some("systemctl start k3s.service")), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_has_k3s_own_last_words() {
    let mut world = world();
    world.k3s.dies_with = Some("unknown flag --no-such".into());
    let host = SimHost::new(&world);
    settle(&host, SETTINGS).await;
    let checks = checks(&host, loaded(SETTINGS)).await;
    let found = findings(&checks);
    assert_eq!((found.len(), found[0].0), (1, "K3s"), "{found:#?}");
    assert!(found[0].1.contains("unknown flag --no-such"), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_mirror_whose_name_is_unknown() {
    let host = SimHost::new(&world());
    let outside =
        Outside { settings: loaded(SETTINGS), folder: Path::new("/x"), daemon: true, memory: 4 << 30, processors: 2 };
    let resolve = async |name: &str| Err(PortError::new(ErrorKind::Unreachable, format!("resolving {name}: no")));
    let checks = examine(&host, outside, Ask { resolve, reach, firewall }, &mut |_: &Check| {}).await;
    assert_eq!(findings(&checks), [("release source", "resolving github.com: no", None)]);
}

#[tokio::test(start_paused = true)]
async fn pods_are_kept_out_or_it_is_found() {
    let settings = SETTINGS.replace("[node]", "key-file = \"/etc/bowline/cluster.key\"\n[node]");
    let host = SimHost::new(&world());
    settle(&host, &settings).await;
    assert_eq!(findings(&checks(&host, loaded(&settings)).await), []);

    let host = SimHost::new(&World { nftables: false, ..world() });
    settle(&host, &settings).await;
    let checks = checks(&host, loaded(&settings)).await;
    let found = findings(&checks);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].0 == "ports closed to pods" && found[0].1.starts_with("TCP 7470 is open to pods"), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn no_command_unmounts_a_volume_that_is_where_it_belongs() {
    let host = SimHost::new(&world());
    settle(&host, SETTINGS).await;
    let twice = format!("{SETTINGS}[[volume]]\nname = \"logs\"\ndevice = \"/dev/sdb\"\nmount = \"/mnt/logs\"\n");
    let checks = checks(&host, loaded(&twice)).await;
    let found = findings(&checks);
    assert_eq!(found.len(), 2, "{found:#?}");
    for (_, found, command) in found {
        assert!(found.contains("lead to one disk") && command.is_none(), "{found}: {command:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_in_use_elsewhere_comes_with_the_command_that_frees_it() {
    let host = SimHost::new(&world());
    settle(&host, SETTINGS).await;
    let other = SETTINGS.replace("name = \"data\"", "name = \"logs\"").replace("/mnt/data", "/mnt/logs");
    let checks = checks(&host, loaded(&other)).await;
    assert_eq!(findings(&checks), [("volume logs", "/dev/sdb is mounted at /mnt/data", Some("umount /mnt/data"))]);
}
