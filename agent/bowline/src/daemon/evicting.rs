//! From when on the kubelet of this machine evicts, and for which filesystems that holds: read from its configuration.

use bowline_ports::{Inspect, Mount, Space};
use bowline_pressure::eviction::k3s::{self, FILES};
use bowline_pressure::eviction::{self as kubelet, Defaults, Free, option, options_in};
use std::path::{Path, PathBuf};

/// The units of K3s, which its installer gives options.
const K3S: [&str; 2] = ["/etc/systemd/system/k3s.service", "/etc/systemd/system/k3s-agent.service"];
/// What MicroK8s's kubelet is told, where `snapd` has its data, and where its images are.
const MICROK8S: &str = "/var/snap/microk8s/current/args/kubelet";
const SNAP: [(&str, &str); 2] =
    [("${SNAP_DATA}", "/var/snap/microk8s/current"), ("${SNAP_COMMON}", "/var/snap/microk8s/common")];
const SNAP_CONTAINERD: &str = "/var/snap/microk8s/common/var/lib/containerd";
/// What a kubelet that kubeadm, Kubespray or Debian's package set up is told on its command line.
const OPTIONS: [&str; 3] =
    ["/var/lib/kubelet/kubeadm-flags.env", "/etc/kubernetes/kubelet.env", "/etc/default/kubelet"];
/// And its configuration, unless an option names another.
const CONFIG: [&str; 2] = ["/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet-config.yaml"];
const KUBELET: &str = "/var/lib/kubelet";
/// Where container runtimes of others keep their images.
const CONTAINERD: &str = "/var/lib/containerd";

/// What the kubelet has to have free, and where.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Eviction {
    /// The filesystems, by their numbers, that its own directory and the runtime's root are on; `None` where there is no
    /// kubelet.
    places: Option<(String, String)>,
    thresholds: kubelet::Eviction,
    /// Why it is not known.
    trouble: Option<String>,
}

impl Eviction {
    /// Free bytes and inodes below which pods are evicted because of the filesystem with this number, by the kubelet's names.
    pub(crate) fn of(&self, number: &str, space: &Space) -> Vec<(&'static str, u64)> {
        let Some((nodefs, imagefs)) = &self.places else { return Vec::new() };
        let mut all = Vec::new();
        let mut add = |free: Free, bytes: &'static str, inodes: &'static str| {
            all.extend(free.bytes.map(|amount| (bytes, amount)));
            all.extend(free.inodes.map(|amount| (inodes, amount)));
        };
        if number == nodefs {
            let free = self.thresholds.nodefs.begins(space.size, space.inodes);
            add(free, "nodefs.available", "nodefs.inodesFree");
        }
        if number == imagefs {
            let free = self.thresholds.imagefs.begins(space.size, space.inodes);
            add(free, "imagefs.available", "imagefs.inodesFree");
        }
        all
    }

    /// Goes by what was read anew; where that could not be read, by what was known before.
    pub(crate) fn follow(&mut self, read: Eviction) {
        match read.trouble {
            None => *self = read,
            why => self.trouble = why,
        }
    }

    /// Why nothing new is known of evictions, though there is a kubelet.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

/// Reads it. Where there is no kubelet, or its configuration cannot be read, nothing is foretold of evictions.
pub(crate) async fn read(host: &dyn Inspect) -> Eviction {
    attempt(host).await.unwrap_or_else(|why| Eviction { trouble: Some(why), ..Eviction::default() })
}

async fn attempt(host: &dyn Inspect) -> Result<Eviction, String> {
    let mut files = texts(host, &[FILES[0].into()]).await?;
    files.extend(folder(host, FILES[1], &[".yaml", ".yml"]).await?);
    let units: Vec<String> = texts(host, &K3S.map(PathBuf::from)).await?.into_iter().map(|(_, text)| text).collect();
    let k3s = k3s::options(&borrowed(&files), &units.join("\n")).map_err(|problem| problem.to_string())?;
    if there(host, &k3s.agent).await {
        let mut files = texts(host, &k3s.config.iter().map(PathBuf::from).collect::<Vec<_>>()).await?;
        files.extend(folder(host, &k3s.drop_ins, &[".conf"]).await?);
        return eviction(host, Defaults::K3s, &files, &k3s.arguments, [&k3s.nodefs, &k3s.imagefs]).await;
    }
    if let [(_, text)] = &texts(host, &[MICROK8S.into()]).await?[..] {
        let text = SNAP.iter().fold(text.clone(), |text, (variable, path)| text.replace(variable, path));
        let arguments = options_in(&text);
        let files =
            texts(host, &option(&arguments, "config").map(PathBuf::from).into_iter().collect::<Vec<_>>()).await?;
        let nodefs = option(&arguments, "root-dir").unwrap_or_else(|| KUBELET.into());
        return eviction(host, Defaults::Upstream, &files, &arguments, [&nodefs, SNAP_CONTAINERD]).await;
    }
    let told = texts(host, &OPTIONS.map(PathBuf::from)).await?;
    let arguments: Vec<String> = told.iter().flat_map(|(_, text)| options_in(text)).collect();
    let config = match option(&arguments, "config") {
        Some(own) => vec![PathBuf::from(own)],
        None => CONFIG.map(PathBuf::from).to_vec(),
    };
    let mut files = texts(host, &config).await?;
    if let Some(drop_ins) = option(&arguments, "config-dir") {
        files.extend(folder(host, &drop_ins, &[".conf"]).await?);
    }
    if files.is_empty() && arguments.is_empty() {
        return Ok(Eviction::default());
    }
    let nodefs = option(&arguments, "root-dir").unwrap_or_else(|| KUBELET.into());
    eviction(host, Defaults::Upstream, &files, &arguments, [&nodefs, CONTAINERD]).await
}

async fn eviction(
    host: &dyn Inspect,
    defaults: Defaults,
    files: &[(String, String)],
    arguments: &[String],
    [nodefs, imagefs]: [&str; 2],
) -> Result<Eviction, String> {
    let thresholds = kubelet::read(defaults, &borrowed(files), arguments).map_err(|problem| problem.to_string())?;
    let mounts = host.mounts().await.map_err(|error| error.to_string())?;
    let (nodefs, imagefs) = (filesystem(host, nodefs, &mounts).await, filesystem(host, imagefs, &mounts).await);
    Ok(Eviction { places: nodefs.zip(imagefs), thresholds, trouble: None })
}

/// The number of the filesystem that a path is on, through links; of one that is not there yet, that of what is above it.
async fn filesystem(host: &dyn Inspect, path: &str, mounts: &[Mount]) -> Option<String> {
    for path in Path::new(path).ancestors() {
        let Ok(Some(meta)) = host.meta(path).await else { continue };
        if mounts.iter().any(|mount| mount.number == meta.device) {
            return Some(meta.device);
        }
        // btrfs gives its subvolumes numbers that no mount has: the mount that it is on, of several at one place the last.
        let holds = mounts.iter().filter(|mount| path.starts_with(&mount.target));
        return holds.max_by_key(|mount| mount.target.components().count()).map(|mount| mount.number.clone());
    }
    None
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

async fn there(host: &dyn Inspect, path: &str) -> bool {
    host.meta(Path::new(path)).await.is_ok_and(|meta| meta.is_some())
}

/// The files of these that are there.
async fn texts(host: &dyn Inspect, paths: &[PathBuf]) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for path in paths {
        let file = host.read(path).await.map_err(|error| error.to_string())?;
        all.extend(file.map(|file| (path.display().to_string(), file.text())));
    }
    Ok(all)
}

/// The files of a directory with these endings, by their names.
async fn folder(host: &dyn Inspect, path: &str, endings: &[&str]) -> Result<Vec<(String, String)>, String> {
    let names = host.list(Path::new(path)).await.map_err(|error| error.to_string())?.unwrap_or_default();
    let wanted = names.iter().filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    let paths: Vec<_> = wanted.map(|name| Path::new(path).join(name)).collect();
    texts(host, &paths).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_host::sim::{SimHost, World};

    const SPACE: Space = Space { size: 1000, free: 500, available: 400, inodes: 100, inodes_free: 50 };

    #[tokio::test]
    async fn a_machine_without_a_kubelet_evicts_nothing() {
        let host = SimHost::new(&World::default());
        assert_eq!(read(&host).await, Eviction::default());
    }

    /// K3s as its installer leaves it, and MicroK8s as its snap does, with what somebody changed.
    #[tokio::test]
    async fn where_the_kubelet_of_others_is_told() {
        const ON_ROOT: [(&str, u64); 1] = [("nodefs.available", 90)];
        for (path, text, there) in [
            (
                "/etc/systemd/system/k3s.service",
                "ExecStart=/usr/local/bin/k3s \\\n server \\\n '--data-dir=/srv/k3s' '--kubelet-arg=eviction-hard=nodefs.available<9%'\n",
                "/srv/k3s/agent/x",
            ),
            (MICROK8S, "--root-dir=${SNAP_COMMON}/var/lib/kubelet\n--eviction-hard=\"nodefs.available<9%\"\n", "/x"),
        ] {
            let host = SimHost::new(&World::default());
            for (path, text) in [(path, text), (there, "")] {
                bowline_ports::Change::write(&host, Path::new(path), text.as_bytes(), 0o600).await.unwrap();
            }
            let eviction = read(&host).await;
            assert_eq!(eviction.trouble(), None, "{path}");
            let (nodefs, _) = eviction.places.clone().unwrap();
            assert_eq!(eviction.of(&nodefs, &SPACE), ON_ROOT, "{path}");
        }
    }

    /// It goes on as it was told at its start, whatever somebody writes there afterwards.
    #[tokio::test]
    async fn what_was_known_holds_while_the_configuration_can_not_be_read() {
        let host = SimHost::new(&World::default());
        let write = async |text: &str| {
            let path = Path::new("/var/lib/kubelet/config.yaml");
            bowline_ports::Change::write(&host, path, text.as_bytes(), 0o600).await.unwrap();
        };
        write("evictionHard: {nodefs.available: 9%}\n").await;
        let mut eviction = read(&host).await;
        let nodefs = eviction.places.clone().unwrap().0;
        write("evictionHard: 9\n").await;
        eviction.follow(read(&host).await);
        assert!(eviction.trouble().unwrap().starts_with("evictionHard is no map"), "{eviction:?}");
        assert_eq!(eviction.of(&nodefs, &SPACE), [("nodefs.available", 90)]);
        write("evictionHard: {nodefs.available: 50%}\n").await;
        eviction.follow(read(&host).await);
        assert_eq!((eviction.trouble(), eviction.of(&nodefs, &SPACE)), (None, vec![("nodefs.available", 500)]));
    }

    #[test]
    fn what_holds_for_a_filesystem_is_told_by_its_number() {
        let thresholds = kubelet::read(Defaults::K3s, &[], &[]).unwrap();
        let places = Some(("8:1".into(), "8:16".into()));
        let eviction = Eviction { places, thresholds, trouble: None };
        assert_eq!(eviction.of("8:1", &SPACE), [("nodefs.available", 50)]);
        assert_eq!(eviction.of("8:16", &SPACE), [("imagefs.available", 50)]);
        assert_eq!(eviction.of("8:2", &SPACE), []);
    }
}
