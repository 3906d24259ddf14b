//! `bowline volumes release` and `take`: that a volume is released stands in a file, which the capability `volumes` follows, in
//! the daemon or here.

use super::args::Volumes;
use super::drain::{CORDONED, Drain, drain};
use super::{INVALID, WAITING, apply, load, output};
use bowline_host::real::RealHost;
use bowline_ports::{
    ActiveState, Change, ErrorKind, Inspect, Objects, PortError, Write, condition, k3s_kubeconfig, node_name,
};
use bowline_settings::{Loaded, Role, Settings, Volume};
use bowline_volumes::Released;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn run(folder: &Path, command: Volumes) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let done = match command {
        Volumes::Release { name, timeout } => release(&host, folder, &loaded, &name, timeout).await,
        Volumes::Take { name } => take(&host, folder, &loaded, &name).await,
    };
    done.unwrap_or_else(|error| {
        output::complain_of(&error);
        ExitCode::FAILURE
    })
}

/// Has a volume unmounted, and says when its disk can be taken away.
async fn release(
    host: &RealHost,
    folder: &Path,
    loaded: &Loaded,
    name: &str,
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
        let mut cordoned = false;
        if let Some(cluster) = &loaded.settings.cluster
            && host.unit(cluster.role.service()).await?.active == ActiveState::Active
        {
            let hint = "nothing was unmounted yet; once they are gone, run this again";
            let what = Drain { beneath: Some(&volume.mount), hint };
            let (objects, node) =
                (host.objects(k3s_kubeconfig(cluster.role == Role::Server)), node(host, &loaded.settings).await?);
            cordoned = drain(&objects, &node, &what, timeout).await.map_err(|error| match error.hint {
                Some(_) => error,
                None => {
                    let service = cluster.role.service();
                    error.hint(format!(
                        "without the API no pod can be moved: `systemctl stop {service}`, then run this again"
                    ))
                }
            })?;
        }
        // Who was in the way of an earlier release says nothing of this one.
        host.forget_unmounting(name)?;
        let record = Released::of(device, host.clock().await?.unix, cordoned);
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        host.write(&Released::path_of(name), &text, 0o600).await?;
    }
    let end = Instant::now() + timeout;
    loop {
        let Some((_, report)) = apply::converge(folder, loaded, Duration::ZERO).await else {
            return Ok(ExitCode::FAILURE);
        };
        if report.conditions.contains_key(&condition::released(name)) {
            break;
        }
        if Instant::now() >= end {
            output::complain("it is not unmounted yet, and goes on trying: `bowline status` says what is in the way");
            return Ok(ExitCode::from(WAITING));
        }
        tokio::time::sleep(AGAIN).await;
    }
    output::print(&format!(
        "{name} is unmounted, and all of it is on its disk, which can be detached.\n\
         `bowline volumes take {name}` mounts it here again."
    ));
    if volume.gate && loaded.settings.cluster.is_some() {
        output::print("Until then Kubernetes is not started on this machine.");
    }
    let record = host.read(&Released::path_of(name)).await?;
    if record.is_some_and(|file| serde_json::from_slice::<Released>(&file.content).is_ok_and(|record| record.cordoned))
    {
        let node = node(host, &loaded.settings).await?;
        output::print(&format!("The node takes no new pods until it is taken back here, or: kubectl uncordon {node}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes a released volume back.
async fn take(host: &RealHost, folder: &Path, loaded: &Loaded, name: &str) -> Result<ExitCode, PortError> {
    let volume = known(&loaded.settings, name)?;
    let Some(file) = host.read(&Released::path_of(name)).await? else {
        output::print(&format!("{name} was not released: nothing was changed"));
        return Ok(ExitCode::SUCCESS);
    };
    host.remove(&Released::path_of(name)).await?;
    let cordoned = serde_json::from_slice::<Released>(&file.content).is_ok_and(|record| record.cordoned);
    if apply::converge(folder, loaded, Duration::ZERO).await.is_none() {
        return Ok(ExitCode::FAILURE);
    }
    output::print(&format!("{name} is taken back to {}: `bowline status` follows it", volume.mount.display()));
    if cordoned && let Some(cluster) = &loaded.settings.cluster {
        let node = node(host, &loaded.settings).await?;
        let uncordon = json!({ "metadata": { "annotations": { CORDONED: Value::Null } }, "spec": { "unschedulable": Value::Null } });
        let path = format!("/api/v1/nodes/{node}");
        if let Err(error) =
            host.objects(k3s_kubeconfig(cluster.role == Role::Server)).write(&path, Write::Merge(&uncordon)).await
        {
            output::complain(&format!("{node} takes no pods yet ({error}): `kubectl uncordon {node}` lets them come"));
        }
    }
    Ok(ExitCode::SUCCESS)
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
