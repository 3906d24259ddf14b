//! `bowline leave`: out of the cluster, in good order; and back.
//!
//! That the machine is to leave stands in a file, which the capability `join` follows, in the daemon or here: what was
//! interrupted goes on.

use super::converge::{Wait, converge, not_yet};
use super::cordon::{Cordon, told_to_end};
use super::drain::{Drain, drain, without_api};
use super::nodes::silent;
use super::{INVALID, WAITING, load, output};
use crate::paths;
use bowline_cluster::{caution, remover, unit_file, unit_text};
use bowline_engine::Report;
use bowline_host::real::RealHost;
use bowline_issuer::nodes::{self, Standing};
use bowline_join::files::{LEAVING, Left, leaving};
use bowline_ports::{
    Change, ErrorKind, Inspect, K3S_ETCD_TOMBSTONE, PortError, condition, k3s_admin_kubeconfig, k3s_kubeconfig,
    machine_note, node_name, read_json, write_json,
};
use bowline_settings::{Cluster, ENROLL_PORT, Loaded, Role, Settings};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(super) async fn run(folder: &Path, drain: bool, undo: bool, timeout: Duration) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    let Some(cluster) = &loaded.settings.cluster else {
        output::complain("there is no [cluster] in the settings: this machine is in none that it could leave");
        return ExitCode::FAILURE;
    };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let done = match undo {
        true => come_back(&host, cluster, Path::new(paths::DRAIN)).await,
        false => {
            let cordon = Cordon::default();
            let objects = host.objects(k3s_kubeconfig(cluster.role == Role::Server));
            let told = async { ExitCode::from(128 + told_to_end().await) };
            let work = leave(&host, folder, &loaded, (cluster.role, drain), &cordon, timeout);
            cordon.unless(told, &objects, work).await
        }
    };
    done.unwrap_or_else(output::failed)
}

async fn leave(
    host: &RealHost,
    folder: &Path,
    loaded: &Loaded,
    (role, drained): (Role, bool),
    cordon: &Cordon,
    timeout: Duration,
) -> Result<ExitCode, PortError> {
    if leaving(host).await?.is_none() {
        let name = node_name(host, loaded.settings.node.name.as_deref()).await?;
        let issuers = match role {
            Role::Agent => Vec::new(),
            // Before anything is touched: somebody has to be there to take it out.
            Role::Server => others(host, &loaded.settings, &name).await?,
        };
        let _alone = Cordon::alone()?;
        if drained {
            let hint = "nothing was left yet; `bowline leave` without --drain does not wait for them";
            let objects = host.objects(k3s_kubeconfig(role == Role::Server));
            let drained = drain(&objects, &name, &Drain { beneath: None, hint }, cordon, timeout).await;
            drained.map_err(|error| without_api(error, "`bowline leave` without --drain does not move them"))?;
        }
        let (since, machine) = (host.clock().await?.unix, machine_note(host).await?);
        let left = Left { since, machine, issuers, drained, ..Left::default() };
        cordon.put_on_record(write_json(host, LEAVING, &left, 0o600)).await?;
    } else if drained {
        output::complain("it was told to leave before: pods are not moved away any more");
    }
    let left = |report: &Report| report.conditions.get(condition::LEFT).cloned();
    let Some(report) = converge(folder, loaded, Wait::until(&|report| left(report).is_some(), timeout)).await else {
        return Ok(ExitCode::FAILURE);
    };
    let left = left(&report).unwrap_or_default();
    if left == "unasked" {
        output::print(
            "K3s is stopped. No server was asked, since this machine holds no name: if it still\n\
             has a Node, `kubectl delete node NAME` on a server removes it. Volumes and settings\n\
             are as they were; `bowline leave --undo` asks to be let in.",
        );
        return Ok(ExitCode::SUCCESS);
    }
    if left == "yes" {
        let left = read_json(host, LEAVING).await?.unwrap_or_default();
        output::print(&farewell(role, &left));
        return Ok(ExitCode::SUCCESS);
    }
    output::complain(&not_yet("the machine has not left yet"));
    Ok(ExitCode::from(WAITING))
}

/// What is said of a machine that has left, by what the servers did for it.
fn farewell(role: Role, left: &Left) -> String {
    let stays = "Volumes and settings are as they were; `bowline leave --undo` asks to be\n\
                 let in again. What its pods still run ends with the next reboot.";
    if let Some(why) = &left.refused {
        return format!(
            "this machine has left its cluster: K3s is stopped. The servers removed nothing for it:\n{why}.\n\
             If `kubectl get nodes` on a server still shows this machine, and no other by its name,\n\
             `kubectl delete node NAME` there removes it. {stays}"
        );
    }
    let out = match role {
        Role::Agent => "",
        Role::Server => "\nThe other servers have taken it out of etcd, and go on without it.",
    };
    format!(
        "this machine has left its cluster: K3s is stopped, and it has no Node and no name\n\
         there any more. {stays}{out}"
    )
}

/// Where the other servers let nodes in, one of which has to take this one out.
async fn others(host: &RealHost, settings: &Settings, name: &str) -> Result<Vec<String>, PortError> {
    let port = settings.enroll.iter().flat_map(|enroll| &enroll.listen).next().map_or(ENROLL_PORT, |at| at.port);
    let holders = nodes::holders(&host.objects(k3s_admin_kubeconfig())).await.map_err(silent)?;
    let others = holders.all.iter().filter(|holder| {
        let claim = &holder.claim;
        claim.role == Role::Server && claim.name.as_str() != name && holder.standing == Standing::Registered
    });
    let issuers: Vec<String> = others
        .filter_map(|holder| holder.claim.addresses.first())
        .map(|address| SocketAddr::new(*address, port).to_string())
        .collect();
    if issuers.is_empty() {
        let text = format!("{name} is the only server that Bowline runs on: its cluster would end with it");
        let unit = host.read(&unit_file(Role::Server)).await?.map(|file| file.text()).unwrap_or_default();
        return Err(PortError::new(ErrorKind::Invalid, text).hint(end_of_cluster(&unit)));
    }
    Ok(issuers)
}

/// How to end the cluster of the only server, by the text of K3s's unit file.
fn end_of_cluster(unit: &str) -> String {
    let remover = remover(Role::Server, unit);
    let volumes =
        Some(caution(unit)).filter(|it| !it.is_empty()).unwrap_or_else(|| " (volumes stay as they are)".into());
    // Bowline would set it up again.
    format!(
        "let another server join first; to end the cluster, take [cluster] out of the settings, then run \
         `{remover}`{volumes}"
    )
}

async fn come_back(host: &dyn Change, cluster: &Cluster, drains: &Path) -> Result<ExitCode, PortError> {
    // One that is about to leave has nothing on record yet.
    let _alone = Cordon::alone_by(drains)?;
    let Some(left) = leaving(host).await? else {
        output::print("this machine was not told to leave: nothing was changed");
        return Ok(ExitCode::SUCCESS);
    };
    if cluster.role == Role::Server && cluster.join.servers.is_empty() {
        let text = "this server founded its cluster, and the settings name no other that would let it in again";
        let hint = "set `servers` in [cluster] to those that are in the cluster, then `bowline leave --undo`";
        return Err(PortError::new(ErrorKind::Invalid, text).hint(hint));
    }
    host.remove(Path::new(LEAVING)).await?;
    let service = cluster.role.service();
    // An agent waits for its token, which comes when it is let in. A server that was taken out of etcd would begin a second
    // cluster, were it not for the gate in Bowline's unit: held back by that, it is started once it has a server to join.
    let unit = host.read(&unit_file(cluster.role)).await?.map(|file| file.text());
    let ours = unit.as_ref().is_none_or(|unit| *unit == unit_text(Role::Server));
    let starts = cluster.role == Role::Agent || ours || host.meta(Path::new(K3S_ETCD_TOMBSTONE)).await?.is_none();
    // Who was never let in has no K3s yet.
    if starts && unit.is_some() {
        host.enable(service).await?;
        host.start_no_block(service).await?;
    }
    output::print("This machine now asks to be let in again; `bowline status` shows how far it is.");
    if !starts {
        output::print(&format!(
            "K3s's unit is not as Bowline writes it: when it is let in, see that K3s's configuration\n\
             has the `server` to join, then `systemctl enable --now {service}`."
        ));
    }
    if left.drained && left.given_back.is_none() {
        output::print(
            "Its Node was not removed yet, and takes no pods: `kubectl uncordon NAME` on a server\n\
             lets them come.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_host::sim::{SimHost, World};
    use bowline_settings::SourceFile;

    fn agent() -> Cluster {
        let text = format!(
            "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.10\"]\nticket = \"{}\"\n",
            "0a".repeat(32)
        );
        let file = SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 };
        bowline_settings::load(&[file]).unwrap().settings.cluster.unwrap()
    }

    #[tokio::test]
    async fn who_was_never_let_in_has_no_service_to_start_when_it_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let drains = folder.path().join("drain");
        for unit in [None, Some("[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n")] {
            let host = SimHost::new(&World::default());
            host.put(LEAVING, "{}");
            if let Some(unit) = unit {
                host.put(unit_file(Role::Agent), unit);
            }
            assert_eq!(come_back(&host, &agent(), &drains).await, Ok(ExitCode::SUCCESS));
            let enabled = host.text("/etc/systemd/system/multi-user.target.wants/k3s-agent.service");
            assert_eq!((host.text(LEAVING), enabled.is_some()), (None, unit.is_some()));
        }
    }

    /// What is about to be told to leave has nothing on record yet, and leaves.
    #[tokio::test]
    async fn who_moves_its_pods_away_is_not_said_to_stay() {
        let folder = tempfile::tempdir().unwrap();
        let drains = folder.path().join("drain");
        let moving = Cordon::alone_by(&drains).unwrap();
        let host = SimHost::new(&World::default());
        let error = come_back(&host, &agent(), &drains).await.unwrap_err();
        assert_eq!(error.message, "another command is moving pods off this machine: nothing was changed");
        assert!(error.hint.unwrap().contains("Ctrl-C ends it"));
        drop(moving);
    }

    #[test]
    fn what_it_says_last_is_what_the_servers_did() {
        let taken_out = "The other servers have taken it out of etcd";
        assert!(farewell(Role::Server, &Left::default()).contains(taken_out));
        assert!(!farewell(Role::Agent, &Left::default()).contains(taken_out));
        for role in [Role::Agent, Role::Server] {
            let refused = farewell(role, &Left { refused: Some("n1 was revoked".into()), ..Left::default() });
            assert!(!refused.contains(taken_out) && !refused.contains("no Node"), "{refused}");
            assert!(refused.contains("n1 was revoked") && refused.contains("`kubectl delete node NAME`"), "{refused}");
        }
    }

    #[test]
    fn the_end_of_a_cluster_takes_commands_that_are_there() {
        let ours = end_of_cluster(&unit_text(Role::Server));
        assert!(
            ours.contains("`systemctl disable --now k3s.service && rm -f /etc/systemd/system/k3s.service "),
            "{ours}"
        );
        assert!(ours.ends_with("(volumes stay as they are)"), "{ours}");
        let theirs = end_of_cluster("[Service]\n");
        assert!(theirs.contains("then run `k3s-uninstall.sh`; that script erases volumes"), "{theirs}");
        assert!(!theirs.contains("stay as they are"), "{theirs}");
    }
}
