//! An answer of the API that is no list: nothing is concluded from it.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline::wiring;
use bowline_engine::{Engine, StepReport};
use bowline_host::sim::{SimHost, World, WorldDisk};
use bowline_ports::Change;
use bowline_settings::SourceFile;
use std::sync::Arc;
use std::time::Duration;

const RECORD: &str = "/var/lib/bowline/persistent-volumes";
const VOLUME: &str = "[[volume]]\nname = \"data\"\ndevice = \"/dev/disk/by-id/scsi-0HC_Volume_12345678\"\n\
                      mount = \"/var/lib/kafka\"\nformat = \"blank-only\"\n";

fn engine(volume: &str) -> Engine {
    let text = format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
         [node]\naddress = \"10.0.1.0/24\"\n{volume}"
    );
    let file = SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 };
    Engine::new(wiring::capabilities(&bowline_settings::load(&[file]).unwrap().settings, 1_750_000_000), "test")
}

async fn steps(engine: &mut Engine, host: &SimHost) -> Vec<StepReport> {
    let report = engine.look(host).await;
    report
        .capabilities
        .iter()
        .filter(|one| one.name == "persistent-volumes")
        .flat_map(|one| one.steps.clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_no_list_does_not_make_persistent_volumes_gone() {
    let mut world = World::default();
    world.disks.push(WorldDisk::volume("/dev/sdb", "12345678"));
    let host = SimHost::new(&world);
    let change: Arc<dyn Change> = Arc::new(host.clone());
    let told = format!("{VOLUME}persistent-volume = {{ claim = \"kafka/data-kafka-0\" }}\n");
    engine(&told).converge(&change, Duration::from_secs(600), |_| {}).await;
    assert!(host.text(RECORD).is_some(), "one was made");
    for settings in ["", VOLUME, &told] {
        host.lists_nothing(true);
        assert_eq!(steps(&mut engine(settings), &host).await, [], "{settings}");
    }
    host.lists_nothing(false);
    assert_eq!(steps(&mut engine(VOLUME), &host).await.len(), 1, "the volume is deleted");
}
