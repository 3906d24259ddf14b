//! `bowline leave`: out of the cluster, in good order; and back.
//!
//! That the machine is to leave stands in a file, which the capability `join` follows, in the daemon or here: what was
//! interrupted goes on.
//!
//! - `drain`: moves the pods away before.

mod drain;

use super::{INVALID, WAITING, apply, load, output};
use bowline_host::real::RealHost;
use bowline_join::AGENT_SERVICE;
use bowline_join::files::LEFT;
use bowline_ports::{Change, Inspect, PortError, k3s_kubelet_kubeconfig};
use bowline_settings::{Loaded, Role};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(super) async fn run(folder: &Path, drain: bool, undo: bool, timeout: Duration) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    if loaded.settings.cluster.as_ref().is_none_or(|cluster| cluster.role != Role::Agent) {
        output::complain("this machine is no agent: only agents leave by this command yet");
        output::complain(
            "  help: on another server, `kubectl delete node NAME` takes a server out of\n        \
             etcd as well; then `k3s-uninstall.sh` here",
        );
        return ExitCode::FAILURE;
    }
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let done = match undo {
        true => come_back(&host).await,
        false => leave(&host, folder, &loaded, drain, timeout).await,
    };
    done.unwrap_or_else(|error| {
        output::complain_of(&error);
        ExitCode::FAILURE
    })
}

async fn leave(
    host: &RealHost,
    folder: &Path,
    loaded: &Loaded,
    drain: bool,
    timeout: Duration,
) -> Result<ExitCode, PortError> {
    let marked = host.read(Path::new(LEFT)).await?.is_some();
    if drain && !marked {
        let name = match &loaded.settings.node.name {
            Some(name) => name.clone(),
            None => host.host_name().await?.to_lowercase(),
        };
        drain::drain(&host.objects(k3s_kubelet_kubeconfig()), &name, timeout).await?;
    }
    if !marked {
        let since = host.clock().await?.unix;
        host.write(Path::new(LEFT), format!("{since}\n").as_bytes(), 0o600).await?;
    }
    // In short looks: when it has left, what it waits for is to be asked back.
    let end = Instant::now() + timeout;
    let mut left = false;
    while !left && Instant::now() < end {
        let Some((_, report)) = apply::converge(folder, loaded, Duration::ZERO).await else {
            return Ok(ExitCode::FAILURE);
        };
        left = report.conditions.get("left").is_some_and(|left| left == "yes");
        if !left {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    if left {
        output::print(
            "this machine has left its cluster: K3s is stopped, its Node is gone, and its name\n\
             is free. Volumes and settings are as they were; `bowline leave --undo` asks to be\n\
             let in again. What its pods still run ends with the next reboot.",
        );
        return Ok(ExitCode::SUCCESS);
    }
    output::complain("it has not left yet, and goes on trying: `bowline status` says what is in the way");
    Ok(ExitCode::from(WAITING))
}

async fn come_back(host: &RealHost) -> Result<ExitCode, PortError> {
    if host.read(Path::new(LEFT)).await?.is_none() {
        output::print("this machine was not told to leave: nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    host.remove(Path::new(LEFT)).await?;
    // K3s waits for its token, which comes when the machine is let in.
    host.enable(AGENT_SERVICE).await?;
    host.start_no_block(AGENT_SERVICE).await?;
    output::print("it asks to be let in again: `bowline status` follows it");
    Ok(ExitCode::SUCCESS)
}
