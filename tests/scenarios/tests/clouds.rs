//! Each cloud of `tests/clouds` on the simulated machine: recognised by its firmware, asked as it wants to be, and not
//! asked again once what the settings need is known.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline::wiring;
use bowline_engine::{Engine, Overall};
use bowline_host::sim::{SimHost, World, WorldCloud, WorldTrouble};
use bowline_ports::Change;
use bowline_settings::{Settings, SourceFile};
use std::sync::Arc;
use std::time::Duration;

const CLOUDS: [(&str, &str); 6] = [
    ("hetzner", include_str!("../../clouds/hetzner.toml")),
    ("oracle", include_str!("../../clouds/oracle.toml")),
    ("aws", include_str!("../../clouds/aws.toml")),
    ("gce", include_str!("../../clouds/gce.toml")),
    ("azure", include_str!("../../clouds/azure.toml")),
    ("digitalocean", include_str!("../../clouds/digitalocean.toml")),
];

fn settings(labels: &str) -> Settings {
    let text = format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n[node]\nlabels = {{ {labels} }}\n"
    );
    let file = SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 };
    bowline_settings::load(&[file]).unwrap().settings
}

fn engine(labels: &str) -> Engine {
    Engine::new(wiring::capabilities(&settings(labels), 1_750_000_000), "test")
}

fn world(cloud: Option<WorldCloud>) -> World {
    World { cloud, ..World::default() }
}

fn recorded(text: &str) -> WorldCloud {
    toml::from_str(text).unwrap()
}

const PLACE: &str = "zone = \"{zone}\", region = \"{region}\", id = \"{instance-id}\"";

#[tokio::test(start_paused = true)]
async fn every_cloud_tells_where_the_machine_is_and_is_asked_once() {
    for (name, text) in CLOUDS {
        let host = SimHost::new(&world(Some(recorded(text))));
        let mut engine = engine(PLACE);
        let conditions = engine.look(&host).await.conditions.clone();
        for fact in ["fact/zone", "fact/region", "fact/instance-id"] {
            assert!(conditions.contains_key(fact), "{name}: {fact} is not known: {conditions:?}");
        }
        let change: Arc<dyn Change> = Arc::new(host.clone());
        engine.converge(&change, Duration::from_secs(600), |_| {}).await;
        let asked = host.metadata_asks();
        assert!((1..=2).contains(&asked), "{name}: asked {asked} times");
        assert!(host.text("/var/lib/bowline/cloud.json").unwrap().contains(&format!("\"cloud\": \"{name}\"")));

        // It is gone, and so is all of this boot: what is kept does.
        host.change_cloud(|cloud| *cloud = None);
        host.reboot();
        let mut engine = self::engine(PLACE);
        assert_eq!(engine.look(&host).await.conditions["fact/zone"], conditions["fact/zone"], "{name}");
        assert_eq!(host.metadata_asks(), asked, "{name}");
    }
}

/// A machine that was off may come back with another public address. It is asked for once a boot, and nothing waits for it.
#[tokio::test(start_paused = true)]
async fn a_public_address_is_asked_for_once_a_boot() {
    let host = SimHost::new(&world(Some(recorded(CLOUDS[2].1))));
    let change: Arc<dyn Change> = Arc::new(host.clone());
    let labels = "ip = \"{public-ipv4}\", zone = \"{zone}\"";
    let mut asked = 0;
    for (told, expected) in
        [(Some("203.0.113.8"), "203.0.113.8"), (Some("203.0.113.80"), "203.0.113.80"), (None, "203.0.113.80")]
    {
        host.change_cloud(|cloud| match told {
            Some(address) => {
                let answers = &mut cloud.as_mut().unwrap().answers;
                answers.insert("/2021-01-03/meta-data/public-ipv4".into(), address.into());
            }
            None => *cloud = None,
        });
        for _ in ["the daemon", "the daemon again"] {
            let mut engine = engine(labels);
            engine.converge(&change, Duration::from_secs(30), |_| {}).await;
            assert_eq!(engine.report().conditions["fact/public-ipv4"], expected);
            assert_eq!(engine.report().overall, Overall::Ready, "{:?}", engine.report());
        }
        let now = host.metadata_asks();
        assert!(told.is_none() || (asked + 1..=asked + 2).contains(&now), "asked {asked} times, then {now}");
        asked = now;
        host.reboot();
    }
}

/// Without its header or token a cloud says no: the table has those that it wants.
#[tokio::test(start_paused = true)]
async fn what_a_cloud_wants_in_a_request_is_in_it() {
    let picky = CLOUDS.map(|(name, text)| (name, recorded(text))).into_iter();
    let picky = picky.filter(|(_, cloud)| cloud.header.is_some() || cloud.token.is_some());
    assert_eq!(picky.clone().map(|(name, _)| name).collect::<Vec<_>>(), ["oracle", "aws", "gce", "azure"]);
    for (name, cloud) in picky {
        let other = WorldCloud { header: Some("x: y".into()), token: None, ..cloud };
        let host = SimHost::new(&world(Some(other)));
        let report = engine(PLACE).look(&host).await.clone();
        let node = report.capabilities.iter().find(|one| one.name == "node").unwrap();
        assert!(node.waits.iter().any(|wait| wait.why.contains("HTTP 403")), "{name}: {:?}", node.waits);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_who_need_not_be() {
    // No cloud by its firmware, though something answers.
    let hetzner = recorded(CLOUDS[0].1);
    let elsewhere = [("sys_vendor".to_string(), "QEMU".to_string())].into();
    let host = SimHost::new(&world(Some(WorldCloud { dmi: elsewhere, ..hetzner.clone() })));
    engine(PLACE).look(&host).await;
    assert_eq!(host.metadata_asks(), 0);
    // Nothing that only the cloud knows is in the settings, or what this cloud never tells.
    for labels in ["role = \"kafka\", at = \"{address}\"", "type = \"{instance-type}\""] {
        let host = SimHost::new(&world(Some(hetzner.clone())));
        let report = engine(labels).look(&host).await.clone();
        assert_eq!(host.metadata_asks(), 0, "{labels}");
        let waits = report.capabilities.iter().flat_map(|one| &one.waits);
        let never = waits.filter(|wait| wait.why.contains("(hetzner) does not have it")).count();
        assert_eq!(never, usize::from(labels.contains("type")));
    }
}

/// A look takes two seconds longer at most, and the next ones nothing, while nobody answers.
#[tokio::test(start_paused = true)]
async fn a_black_hole_holds_a_look_up_for_two_seconds_and_ever_more_rarely() {
    let silent = WorldCloud { trouble: vec![WorldTrouble::Silent; 1000], ..recorded(CLOUDS[0].1) };
    let host = SimHost::new(&world(Some(silent)));
    let mut engine = engine("zone = \"{zone}\"");
    let begin = tokio::time::Instant::now();
    let mut longest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(600) {
        let look = tokio::time::Instant::now();
        engine.wake(bowline_engine::Wake::Look);
        engine.look(&host).await;
        longest = longest.max(look.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(longest, Duration::from_secs(2));
    assert!((10..=14).contains(&host.metadata_asks()), "{} in ten minutes", host.metadata_asks());
}

/// One in 4096 of all machines has a UUID that begins as Amazon's do.
#[tokio::test(start_paused = true)]
async fn a_uuid_alone_makes_no_machine_of_amazons() {
    let uuid = "ec2e1d0c-5b4a-4968-8776-a5b4c3d2e1f0";
    let with = |vendor: &str, serial: &str, answers: &str| {
        let mut cloud = recorded(answers);
        let firmware = [("sys_vendor", vendor), ("product_uuid", uuid), ("product_serial", serial)];
        cloud.dmi = firmware.map(|(file, text)| (file.to_string(), text.to_string())).into();
        world(Some(cloud))
    };
    let (aws, droplet) = (CLOUDS[2].1, CLOUDS[5].1);
    for (world, name) in [
        (with("DigitalOcean", "22532410", droplet), Some("digitalocean")),
        (with("DigitalOcean", uuid, droplet), Some("digitalocean")),
        (with("QEMU", "22532410", aws), None),
        (with("Xen", &uuid.to_uppercase(), aws), Some("aws")),
    ] {
        let host = SimHost::new(&world);
        let change: Arc<dyn Change> = Arc::new(host.clone());
        engine(PLACE).converge(&change, Duration::from_secs(30), |_| {}).await;
        let kept = host.text("/var/lib/bowline/cloud.json");
        match name {
            Some(name) => assert!(kept.unwrap().contains(&format!("\"cloud\": \"{name}\""))),
            None => assert!(kept.is_none() && host.metadata_asks() == 0, "{kept:?}"),
        }
    }
}
