//! What a running Kubernetes uses of the machine. A volume that is mounted there meanwhile hides it: Kubernetes goes on with
//! what is beneath, and nobody sees what it writes.

use crate::decide::filesystem;
use crate::facts::{Facts, MountPoint, VolumeFacts};
use crate::{Action, Volumes};
use bowline_engine::{Plan, Wait};
use bowline_ports::{GoneDisk, Inspect, PortError, UNITS};
use bowline_settings::{Role, Volume};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// K3s's services.
const K3S: [&str; 2] = [Role::Server.service(), Role::Agent.service()];
/// Other Kubernetes: kubeadm's, RKE2's and MicroK8s's.
const OTHERS: [&str; 4] =
    ["kubelet.service", "rke2-server.service", "rke2-agent.service", "snap.microk8s.daemon-kubelite.service"];
/// What K3s, and every kubelet with its containers, keeps its own in. (The rest lies where no volume may be.)
const COMMON: [&str; 6] =
    ["/var/lib/rancher", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/opt/cni"];
/// What only others use.
const OF_OTHERS: [&str; 3] = ["/var/lib/containerd", "/var/lib/etcd", "/var/snap/microk8s"];
/// Where a K3s that somebody else installed may have been told of another data directory.
const CONFIG: &str = "/etc/rancher/k3s/config.yaml";
/// The same, in files that K3s reads after it.
const CONFIG_PARTS: &str = "/etc/rancher/k3s/config.yaml.d";
/// What pods have mounted nobody tells.
const AGAIN: Duration = Duration::from_secs(15);

/// A Kubernetes of this machine, as far as volumes can be in its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// Its services that run, or are on their way up or down.
    pub services: Vec<String>,
    /// Data directories that K3s's own files name, instead of the usual one.
    pub data: Vec<PathBuf>,
}

/// Reads it, where a volume is about to be mounted on a bare directory, or pods are to be ended (`pods`).
pub(crate) async fn observe(
    spec: &Volumes,
    volumes: &[Result<VolumeFacts, PortError>],
    pods: bool,
    host: &dyn Inspect,
) -> Result<Kubernetes, PortError> {
    let bare = |seen: &Result<VolumeFacts, PortError>| matches!(seen, Ok(seen) if seen.mount_point == MountPoint::Free);
    let places: Vec<_> = spec.volumes.iter().zip(volumes).filter(|(_, seen)| bare(seen)).map(|(one, _)| one).collect();
    let mut found = Kubernetes::default();
    if places.is_empty() && !pods {
        return Ok(found);
    }
    for path in K3S.map(|unit| Path::new(UNITS).join(unit)).into_iter().chain([PathBuf::from(CONFIG)]) {
        let text = host.read(&path).await?.map(|file| file.text()).unwrap_or_default();
        found.data.extend(data_directory(&text));
    }
    let parts = host.texts(Path::new(CONFIG_PARTS), ("", "")).await?;
    found.data.extend(parts.iter().filter_map(|(_, text)| data_directory(text)));
    // Elsewhere it does not matter whether it runs.
    let pods = pods || volumes.iter().flatten().any(|seen| !seen.pods.is_empty());
    if !pods && !places.iter().any(|volume| found.keeps_its_own(&volume.mount)) {
        return Ok(found);
    }
    let mut services: Vec<&str> = spec.services.iter().map(String::as_str).chain(K3S).chain(OTHERS).collect();
    services.sort_unstable();
    services.dedup();
    for service in services {
        let unit = host.unit(service).await?;
        if !unit.active.is_down() {
            found.services.push(service.to_owned());
        }
    }
    Ok(found)
}

/// What pods have of disks that may have been a volume's, and are gone: of such a filesystem, after it was unmounted. systemd forgets
/// when that was of a unit that nothing requires.
pub(crate) async fn gone_disks(
    spec: &Volumes,
    volumes: &[Result<VolumeFacts, PortError>],
    host: &dyn Inspect,
) -> Vec<GoneDisk> {
    let left = |(volume, seen): (&Volume, &Result<VolumeFacts, PortError>)| {
        let left = |seen: &VolumeFacts| seen.unit.left > 0 || seen.mount_point != MountPoint::Mounted;
        seen.as_ref().is_ok_and(left).then(|| filesystem(volume).name())
    };
    let kinds: Vec<_> = spec.volumes.iter().zip(volumes).filter_map(left).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    // It is only told of: where it cannot be looked at, all else goes on.
    let mut gone = host.gone_disks().await.unwrap_or_default();
    gone.retain(|disk| kinds.contains(&disk.fstype.as_str()));
    gone
}

/// Why nothing may be mounted at the volume's bare mount point, and what helps.
pub(crate) fn in_use(volume: &Volume, seen: &VolumeFacts, facts: &Facts) -> Option<(String, String)> {
    let at = volume.mount.display();
    // It was mounted there since boot and went with its disk: what Kubernetes has of it is the volume, and not what is beneath.
    let comes_back = seen.unit_file.is_some() && seen.unit.left > 0;
    if let Some((service, used)) = facts.kubernetes.users(&volume.mount).filter(|_| !comes_back) {
        let place = if used == volume.mount { at.to_string() } else { format!("{at}, in {},", used.display()) };
        let all: Vec<_> = facts.kubernetes.services.iter().map(|name| name.trim_end_matches(".service")).collect();
        let all = all.join(" ");
        return Some((
            format!("{place} is in use by Kubernetes: {service} runs"),
            format!(
                "a mount would hide it from what runs. `systemctl stop {all}; bowline apply; systemctl start {all}` mounts it \
                 while Kubernetes is down; or choose another `mount`"
            ),
        ));
    }
    if seen.pods.is_empty() {
        return None;
    }
    let ends = match ends(&seen.pods, facts) {
        Ok(commands) => format!(
            "{commands} (where something makes them again at once, `kubectl cordon` this node before), then `bowline apply` here"
        ),
        Err(down) => down.into(),
    };
    Some((
        format!("{at} is in use by Kubernetes: pods have the bare directory ({})", seen.pods.join(", ")),
        format!("they would go on with what is beneath the mount. {ends}; or choose another `mount`"),
    ))
}

/// The commands that end pods, or what is to be done while nobody takes orders for them.
fn ends(pods: &[String], facts: &Facts) -> Result<String, &'static str> {
    if facts.kubernetes.services.is_empty() {
        // After a boot Kubernetes waits for its gated volumes.
        return Err(
            "Kubernetes is down, and they run on: a reboot ends them, as `k3s-killall.sh` of K3s's installer does",
        );
    }
    let command = |(space, name): (&str, &str)| format!("`kubectl -n {space} delete pod {name}`");
    let commands: Vec<_> = pods.iter().filter_map(|pod| pod.split_once('/')).map(command).collect();
    // The kubectl of an agent has no rights.
    Ok(if commands.is_empty() { "end them".to_owned() } else { format!("{} on a server", commands.join(", ")) })
}

/// Pods that have a disk which is gone. What is mounted in its place they do not get to see; and an XFS is not mounted again as long
/// as they run. An item of its own, which holds nobody back: Kubernetes has to run for them to be ended.
pub(crate) fn gone(facts: &Facts, plan: &mut Plan<Action>) {
    for disk in &facts.gone {
        let (source, pods) = (&disk.source, disk.pods.join(", "));
        let ends = match ends(&disk.pods, facts) {
            Ok(commands) => format!("{commands}: what is started in their place has what is mounted now"),
            Err(down) => down.into(),
        };
        let why = format!("that disk is gone, or has another name by now, and {pods} can read and write nothing on it");
        let wait = Wait::new(
            format!("gone/{}", source.trim_start_matches("/dev/")),
            format!("pods to let go of {source}"),
            why,
        );
        plan.waits.push(wait.deadline(Duration::ZERO, ends).poll(AGAIN));
    }
}

impl Kubernetes {
    /// Whether one that runs, or will, keeps its own at a place.
    pub(crate) fn keeps_its_own(&self, place: &Path) -> bool {
        let mut known = COMMON.iter().chain(&OF_OTHERS).map(Path::new).chain(self.data.iter().map(PathBuf::as_path));
        known.any(|used| place.starts_with(used))
    }

    /// The first of its services that uses a place, and the directory around it.
    fn users(&self, place: &Path) -> Option<(&str, PathBuf)> {
        self.services.iter().find_map(|service| {
            let k3s = K3S.contains(&service.as_str());
            let own = self.data.iter().filter(|_| k3s).cloned();
            let theirs = OF_OTHERS.iter().filter(|_| !k3s).map(PathBuf::from);
            let used = own.chain(theirs).chain(COMMON.map(PathBuf::from)).find(|used| place.starts_with(used))?;
            Some((service.as_str(), used))
        })
    }
}

/// The data directory that a unit (`--data-dir`, `-d`) or a configuration file (`data-dir:`) of K3s names.
fn data_directory(text: &str) -> Option<PathBuf> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(str::split_whitespace).map(|word| word.trim_matches(['\'', '"', '\\']));
    let mut words = words.filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some(("--data-dir" | "-d", value)) => Some(value),
            _ if ["--data-dir", "-d", "data-dir:"].contains(&word) => words.next(),
            _ => None,
        };
        let path = value.map(|value| value.trim_matches(['\'', '"'])).filter(|value| value.starts_with('/'));
        if let Some(path) = path {
            return Some(PathBuf::from(path));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_directories_in_the_words_of_k3s() {
        for (text, path) in [
            ("ExecStart=/usr/local/bin/k3s \\\n    server \\\n\t'--data-dir' \\\n\t'/srv/k3s' \\\n", Some("/srv/k3s")),
            ("ExecStart=/usr/local/bin/k3s server --data-dir=/srv/k3s", Some("/srv/k3s")),
            ("ExecStart=/usr/local/bin/k3s agent -d /srv/k3s", Some("/srv/k3s")),
            ("token: x\ndata-dir: \"/srv/k3s\" # large\n", Some("/srv/k3s")),
            ("# data-dir: /srv/k3s\n", None),
            ("ExecStart=/usr/local/bin/k3s server --node-ip 10.0.1.10\n", None),
            ("data-dir:", None),
        ] {
            assert_eq!(data_directory(text), path.map(PathBuf::from), "{text}");
        }
    }

    /// Word for word: whoever shortens a list takes something from a Kubernetes that runs.
    #[test]
    fn every_place_of_every_kubernetes() {
        let common = [
            "/var/lib/rancher",
            "/var/lib/kubelet",
            "/var/lib/cni",
            "/var/log/pods",
            "/var/log/containers",
            "/opt/cni",
        ];
        let of_others = ["/var/lib/containerd", "/var/lib/etcd", "/var/snap/microk8s"];
        let k3s = ["k3s.service", "k3s-agent.service"];
        let others =
            ["kubelet.service", "rke2-server.service", "rke2-agent.service", "snap.microk8s.daemon-kubelite.service"];
        assert_eq!((K3S, OTHERS), (k3s, others));
        for service in k3s.iter().chain(&others).copied() {
            let runs = Kubernetes { services: vec![service.into()], data: Vec::new() };
            for place in common.iter().chain(&of_others).map(Path::new) {
                let uses = common.iter().any(|one| Path::new(one) == place) || others.contains(&service);
                let wanted = uses.then(|| (service, place.to_path_buf()));
                assert_eq!(runs.users(&place.join("within")), wanted, "{service} and {}", place.display());
                assert!(runs.keeps_its_own(place), "{}", place.display());
            }
        }
    }

    #[test]
    fn who_uses_which_place() {
        let of = |services: &[&str]| Kubernetes {
            services: services.iter().map(ToString::to_string).collect(),
            data: vec!["/srv/k3s".into()],
        };
        for (services, place, used) in [
            (&["k3s.service"][..], "/var/lib/rancher/k3s/storage", Some(("k3s.service", "/var/lib/rancher"))),
            (&["k3s.service"], "/var/lib/kubelet", Some(("k3s.service", "/var/lib/kubelet"))),
            (&["k3s-agent.service"], "/srv/k3s/storage", Some(("k3s-agent.service", "/srv/k3s"))),
            (&["kubelet.service"], "/var/lib/containerd", Some(("kubelet.service", "/var/lib/containerd"))),
            (&["docker.service", "k3s.service"], "/srv/k3s", Some(("k3s.service", "/srv/k3s"))),
            // Not Kubernetes's, a name that begins alike, not that one's, and nothing runs.
            (&["k3s.service"], "/mnt/data", None),
            (&["k3s.service"], "/var/lib/rancher-data", None),
            (&["k3s.service"], "/var/lib/containerd", None),
            (&["kubelet.service"], "/srv/k3s", None),
            (&[], "/var/lib/rancher/k3s/storage", None),
        ] {
            let wanted = used.map(|(service, directory)| (service, PathBuf::from(directory)));
            assert_eq!(of(services).users(Path::new(place)), wanted, "{services:?} and {place}");
        }
    }
}
