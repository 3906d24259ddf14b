//! `bowline volumes release` and `take`: that a volume is released stands in a file, which the capability `volumes` follows, in
//! the daemon or here.

use super::args;
use super::converge::{Wait, converge, not_yet};
use super::cordon::{Cordon, told_to_end};
use super::drain::{Drain, drain, without_api};
use super::{INVALID, WAITING, load, output};
use crate::paths;
use bowline_engine::{Outcome, Report};
use bowline_host::real::RealHost;
use bowline_host::real::control::Lock;
use bowline_ports::{
    ActiveState, CORDONED, Change, ErrorKind, Inspect, Objects, PortError, UNCORDON, condition, k3s_kubeconfig,
    node_name, node_path, read_json, uncordon, write_json,
};
use bowline_settings::{Loaded, Role, Settings, Volume};
use bowline_volumes::{Released, take_back};
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long `take` waits for the volume to be mounted; a daemon goes on without it.
const MOUNTED: Duration = Duration::from_secs(60);

pub(super) async fn run(folder: &Path, command: args::Volumes) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let done = match command {
        args::Volumes::Release { name, timeout } => {
            let cordon = Cordon::default();
            let server = loaded.settings.cluster.as_ref().is_some_and(|cluster| cluster.role == Role::Server);
            let objects = host.objects(k3s_kubeconfig(server));
            let told = async { ExitCode::from(128 + told_to_end().await) };
            cordon.unless(told, &objects, release(&host, folder, &loaded, &name, &cordon, timeout)).await
        }
        args::Volumes::Take { name } => take(&host, folder, &loaded, &name).await,
    };
    done.unwrap_or_else(output::failed)
}

/// Has a volume unmounted, and says when its disk can be taken away.
async fn release(
    host: &RealHost,
    folder: &Path,
    loaded: &Loaded,
    name: &str,
    cordon: &Cordon,
    timeout: Duration,
) -> Result<ExitCode, PortError> {
    let volume = known(&loaded.settings, name)?;
    let mount = volume.mount.display();
    if host.read(&Released::path_of(name)).await?.is_none() {
        let mounts = host.mounts().await?;
        let mounted = mounts.iter().rfind(|one| one.target == volume.mount);
        let devices = host.block_devices().await?;
        let Some(device) = mounted.and_then(|mounted| devices.iter().find(|one| one.is_mounted_by(mounted))) else {
            let text = format!("{name} is not mounted at {mount}: there is nothing to be released");
            return Err(PortError::new(ErrorKind::Invalid, text).hint("`bowline volumes` shows what is attached"));
        };
        let _alone = Cordon::alone()?;
        // An earlier release is over, and the Node was not told yet: it goes on to take none, for this one.
        let mut cordoned = !uncordon(host).await?.is_empty();
        if let Some(cluster) = &loaded.settings.cluster
            && host.unit(cluster.role.service()).await?.active == ActiveState::Active
        {
            let hint = format!(
                "so does `bowline volumes take {name}` here; nothing was unmounted yet; once they are gone, run this again"
            );
            let what = Drain { beneath: Some(&volume.mount), hint: &hint };
            let (objects, node) =
                (host.objects(k3s_kubeconfig(cluster.role == Role::Server)), node(host, &loaded.settings).await?);
            // An earlier release that is over may let pods come meanwhile: it looks for that at its end.
            let drained = drain(&objects, &node, &what, cordon, timeout).await;
            let stop = format!("`systemctl stop {}`, then run this again", cluster.role.service());
            cordoned = drained.map_err(|error| without_api(error, &stop))?;
        }
        // Who was in the way of an earlier release says nothing of this one.
        host.forget_unmounting(name)?;
        let record = Released::of(device, host.clock().await?.unix, cordoned);
        cordon.put_on_record(write_json(host, Released::path_of(name), &record, 0o600)).await?;
    }
    let done = |report: &Report| report.conditions.contains_key(&condition::released(name));
    let Some(report) = converge(folder, loaded, Wait::until(&done, timeout)).await else {
        return Ok(ExitCode::FAILURE);
    };
    if !done(&report) {
        output::complain(&not_yet("the volume is not unmounted yet"));
        return Ok(ExitCode::from(WAITING));
    }
    output::print(&format!(
        "{name} is unmounted, and all of it is on its disk, which can be detached.\n\
         `bowline volumes take {name}` mounts it here again."
    ));
    if volume.gate && loaded.settings.cluster.is_some() {
        output::print("Until then Kubernetes is not started on this machine.");
    }
    let record: Option<Released> = read_json(host, Released::path_of(name)).await?;
    if record.is_some_and(|record| record.cordoned) {
        let node = node(host, &loaded.settings).await?;
        output::print(&format!(
            "The node takes no new pods until it is taken back here, or, on a server: kubectl uncordon {node}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes a released volume back. A Node that was cordoned for it takes pods again: by the capability `labels`, since the API may
/// not answer now.
async fn take(host: &RealHost, folder: &Path, loaded: &Loaded, name: &str) -> Result<ExitCode, PortError> {
    let volume = known(&loaded.settings, name)?;
    let left = left_cordoned(host, &loaded.settings);
    let Some(released) = ended(host, name, Path::new(paths::DRAIN), left).await? else {
        output::print(&format!("{name} was not released: nothing was changed"));
        return Ok(ExitCode::SUCCESS);
    };
    let ready = |report: &Report| report.conditions.get(&condition::volume(name)).is_some_and(|state| state == "ready");
    // Whatever else there is to do goes on without this.
    let seen = |report: &Report| ready(report) || Outcome::of(report) != Outcome::Busy;
    let Some(report) = converge(folder, loaded, Wait::until(&seen, MOUNTED)).await else {
        return Ok(ExitCode::FAILURE);
    };
    output::print(&match released {
        true => {
            format!("{name} will be mounted at {} again; `bowline status` shows how far it is.", volume.mount.display())
        }
        false => {
            "no volume is released any more: the node, which was told to take no pods for one, is to take them again"
                .into()
        }
    });
    let left = released && !ready(&report) && !Lock::is_held(Path::new(paths::LOCK));
    if left {
        output::complain(&not_yet(&format!("{name} is not mounted yet")));
    }
    if !uncordon(host).await?.is_empty() {
        let node = node(host, &loaded.settings).await?;
        output::complain(&format!(
            "{node} takes no pods yet: it takes them when the volume is ready and its API answers, or, on a server: kubectl uncordon {node}"
        ));
    }
    Ok(if left { ExitCode::from(WAITING) } else { ExitCode::SUCCESS })
}

/// Puts on record that a volume is no longer released: whether it was, or a Node was `left` cordoned. `None`: neither.
async fn ended(
    host: &dyn Change,
    name: &str,
    drains: &Path,
    left: impl Future<Output = Result<bool, PortError>>,
) -> Result<Option<bool>, PortError> {
    // The cordon of a drain that goes on was not left by anybody.
    let _alone = Cordon::alone_by(drains)?;
    if host.read(&Released::path_of(name)).await?.is_some() {
        take_back(host, name).await?;
        return Ok(Some(true));
    }
    if left.await? {
        host.write(&Path::new(UNCORDON).join(name), b"", 0o600).await?;
        return Ok(Some(false));
    }
    Ok(None)
}

/// Whether this Node takes no pods for a release, there is none any more, and nobody is to end that yet; not where nobody can be asked.
async fn left_cordoned(host: &RealHost, settings: &Settings) -> Result<bool, PortError> {
    let Some(cluster) = &settings.cluster else { return Ok(false) };
    let Ok(node) = node(host, settings).await else { return Ok(false) };
    is_left_cordoned(host, &host.objects(k3s_kubeconfig(cluster.role == Role::Server)), &node).await
}

async fn is_left_cordoned(host: &dyn Inspect, objects: &dyn Objects, node: &str) -> Result<bool, PortError> {
    if !Released::all(host).await?.is_empty() || !uncordon(host).await?.is_empty() {
        return Ok(false);
    }
    let ours =
        |node: Value| node["metadata"]["annotations"][CORDONED] == "true" && node["spec"]["unschedulable"] == true;
    Ok(objects.get(&node_path(node)).await.is_ok_and(|node| node.is_some_and(ours)))
}

fn known<'a>(settings: &'a Settings, name: &str) -> Result<&'a Volume, PortError> {
    settings.volume(name).ok_or_else(|| {
        let names: Vec<_> = settings.volumes.iter().map(|volume| volume.name.as_str()).collect();
        let hint = match names.as_slice() {
            [] => "there is no [[volume]] in the settings".to_owned(),
            names => format!("the settings have: {}", names.join(", ")),
        };
        PortError::new(ErrorKind::NotFound, format!("there is no volume {name:?} in the settings")).hint(hint)
    })
}

async fn node(host: &RealHost, settings: &Settings) -> Result<String, PortError> {
    node_name(host, settings.node.name.as_deref()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring;
    use bowline_engine::Engine;
    use bowline_host::sim::{SimHost, World, WorldDisk};
    use bowline_ports::{DeviceId, Fut, Write};
    use bowline_settings::SourceFile;
    use serde_json::json;
    use std::sync::Arc;

    const NODE: &str = "/api/v1/nodes/n1";
    /// Before the simulated clock.
    const BUILT: i64 = 1_750_000_000;

    /// An API with a Node that Bowline has cordoned.
    struct Api;

    impl Objects for Api {
        fn get<'a>(&'a self, _: &'a str) -> Fut<'a, Option<Value>> {
            let node =
                json!({ "metadata": { "annotations": { CORDONED: "true" } }, "spec": { "unschedulable": true } });
            Box::pin(async move { Ok(Some(node)) })
        }

        fn write<'a>(&'a self, _: &'a str, _: Write<'a>) -> Fut<'a, ()> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn a_node_is_not_left_cordoned_as_long_as_any_volume_is_released() {
        let host = SimHost::new(&World::default());
        assert_eq!(is_left_cordoned(&host, &Api, "n1").await, Ok(true));
        host.put(Released::path_of("other"), "{}");
        assert_eq!(is_left_cordoned(&host, &Api, "n1").await, Ok(false));
        let host = SimHost::new(&World::default());
        host.put(Path::new(UNCORDON).join("another"), "");
        assert_eq!(is_left_cordoned(&host, &Api, "n1").await, Ok(false), "it is taken back, and not there yet");
    }

    #[tokio::test]
    async fn nothing_is_taken_back_while_pods_are_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let drains = folder.path().join("drain");
        let host = SimHost::new(&World::default());
        host.put(Released::path_of("data"), "{}");
        let moving = Cordon::alone_by(&drains).unwrap();
        for name in ["data", "other"] {
            let error = ended(&host, name, &drains, async { Ok(true) }).await.unwrap_err();
            assert_eq!(error.message, "another command is moving pods off this machine: nothing was changed");
        }
        assert!(uncordon(&host).await.unwrap().is_empty() && host.text(Released::path_of("data")).is_some());
        drop(moving);
        for (name, left, done) in [("data", true, Some(true)), ("other", true, Some(false)), ("other", false, None)] {
            // Each by a lock of its own: a child that another test starts has one for a moment longer.
            let drains = folder.path().join(format!("{name}-{left}"));
            assert_eq!(ended(&host, name, &drains, async move { Ok(left) }).await, Ok(done));
        }
    }

    async fn converge(host: &SimHost, settings: &Settings) {
        let change: Arc<dyn Change> = Arc::new(host.clone());
        let mut engine = Engine::new(wiring::capabilities(settings, BUILT), "test").without_jitter();
        engine.converge(&change, Duration::from_secs(60), |_| {}).await;
    }

    /// A record is dropped, and who dropped it does nothing more: the Node takes pods again all the same, unless it was a person who
    /// told it to take none.
    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_cordoned_for_a_release_takes_pods_again() {
        let text = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                    [[volume]]\nname = \"data\"\nserial = \"1\"\nmount = \"/mnt/data\"\nformat = \"blank-only\"\ngate = false\n";
        let file = SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
        let settings = bowline_settings::load(&[file]).unwrap().settings;
        let mut world = World::default();
        world.disks.push(WorldDisk::volume("/dev/sdb", "1"));
        for (ours, left) in [("true", json!(null)), ("", json!(true))] {
            let host = SimHost::new(&world);
            converge(&host, &settings).await;
            let disk = DeviceId { serial: Some("1".into()), size: 20 << 30 };
            let record = Released { disk, uuid: None, shared: false, since: 0, cordoned: true };
            host.put(Released::path_of("data"), &serde_json::to_string(&record).unwrap());
            let node = json!({ "metadata": { "annotations": { CORDONED: ours } }, "spec": { "unschedulable": true } });
            host.put_object(NODE, node);
            converge(&host, &settings).await;
            assert_eq!(host.mounted(), [Path::new("/")], "it is released");
            take_back(&host, "data").await.unwrap();
            assert!(uncordon(&host).await.unwrap() == ["data"] && host.text(Released::path_of("data")).is_none());
            converge(&host, &settings).await;
            assert_eq!(host.mounted(), [Path::new("/"), Path::new("/mnt/data")]);
            assert_eq!(host.api_object(NODE).unwrap()["spec"]["unschedulable"], left);
            assert!(uncordon(&host).await.unwrap().is_empty());
        }
    }

    /// `kubectl uncordon` leaves the annotation; the next cordon is a person's, and stays.
    #[tokio::test(start_paused = true)]
    async fn a_cordon_of_a_person_outlives_a_release_that_somebody_has_ended() {
        let text = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n";
        let file = SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
        let settings = bowline_settings::load(&[file]).unwrap().settings;
        let host = SimHost::new(&World::default());
        converge(&host, &settings).await;
        host.put_object(NODE, json!({ "metadata": { "annotations": { CORDONED: "true", "x": "y" } } }));
        converge(&host, &settings).await;
        let mut node = host.api_object(NODE).unwrap();
        assert_eq!(node["metadata"]["annotations"], json!({ "x": "y" }));
        node["spec"]["unschedulable"] = json!(true);
        host.put_object(NODE, node);
        host.put(Path::new(UNCORDON).join("former"), "");
        converge(&host, &settings).await;
        assert_eq!(host.api_object(NODE).unwrap()["spec"]["unschedulable"], true);
        assert!(uncordon(&host).await.unwrap().is_empty());
    }
}
