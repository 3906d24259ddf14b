//! From when on the kubelet of this machine evicts, and for which filesystems that holds: read from its configuration.

use bowline_ports::{Inspect, Space};
use bowline_pressure::eviction::k3s::{self, FILES};
use bowline_pressure::eviction::{self as kubelet, Defaults, Free};
use std::path::{Path, PathBuf};

/// A kubelet that kubeadm or Kubespray set up.
const KUBEADM: [&str; 2] = ["/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet-config.yaml"];
const K3S_DATA: &str = "/var/lib/rancher/k3s/agent";
/// Where container runtimes of others keep their images.
const CONTAINERD: &str = "/var/lib/containerd";

/// What the kubelet has to have free, and where.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Eviction {
    /// The mount points that its own directory and the runtime's root are on; `None` where there is no kubelet.
    places: Option<(PathBuf, PathBuf)>,
    thresholds: kubelet::Eviction,
}

impl Eviction {
    /// Free bytes and inodes below which pods are evicted because of this filesystem, by the kubelet's names.
    pub(crate) fn of(&self, at: &Path, space: &Space) -> Vec<(&'static str, u64)> {
        let Some((nodefs, imagefs)) = &self.places else { return Vec::new() };
        let mut all = Vec::new();
        let mut add = |free: Free, bytes: &'static str, inodes: &'static str| {
            all.extend(free.bytes.map(|amount| (bytes, amount)));
            all.extend(free.inodes.map(|amount| (inodes, amount)));
        };
        let at = at.as_os_str();
        if at == nodefs.as_os_str() {
            let free = self.thresholds.nodefs.begins(space.size, space.inodes);
            add(free, "nodefs.available", "nodefs.inodesFree");
        }
        if at == imagefs.as_os_str() {
            let free = self.thresholds.imagefs.begins(space.size, space.inodes);
            add(free, "imagefs.available", "imagefs.inodesFree");
        }
        all
    }
}

/// Reads it. Where there is no kubelet, or its configuration can not be read, nothing is foretold of evictions.
pub(crate) async fn read(host: &dyn Inspect) -> Eviction {
    match attempt(host).await {
        Ok(eviction) => eviction,
        Err(why) => {
            tracing::warn!("when the kubelet evicts is not known: {why}");
            Eviction::default()
        }
    }
}

async fn attempt(host: &dyn Inspect) -> Result<Eviction, String> {
    if there(host, K3S_DATA).await {
        let mut files = texts(host, &[FILES[0].into()]).await?;
        files.extend(folder(host, FILES[1], &[".yaml", ".yml"]).await?);
        let options = k3s::options(&borrowed(&files)).map_err(|problem| problem.to_string())?;
        let drop_ins = folder(host, &options.drop_ins, &[".conf"]).await?;
        return eviction(host, Defaults::K3s, &drop_ins, &options.arguments, &options.nodefs, &options.imagefs).await;
    }
    let files = texts(host, &KUBEADM.map(PathBuf::from)).await?;
    if files.is_empty() {
        return Ok(Eviction::default());
    }
    eviction(host, Defaults::Upstream, &files, &[], "/var/lib/kubelet", CONTAINERD).await
}

async fn eviction(
    host: &dyn Inspect,
    defaults: Defaults,
    files: &[(String, String)],
    arguments: &[String],
    nodefs: &str,
    imagefs: &str,
) -> Result<Eviction, String> {
    let thresholds = kubelet::read(defaults, &borrowed(files), arguments).map_err(|problem| problem.to_string())?;
    let mounts = host.mounts().await.map_err(|error| error.to_string())?;
    // The mount that a path is on: the longest that leads to it, and of several at one place the last.
    let on = |path: &str| {
        let holds = mounts.iter().filter(|mount| Path::new(path).starts_with(&mount.target));
        holds.max_by_key(|mount| mount.target.components().count()).map(|mount| mount.target.clone())
    };
    Ok(Eviction { places: on(nodefs).zip(on(imagefs)), thresholds })
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
        assert_eq!(read(&host).await.of(Path::new("/"), &SPACE), []);
    }

    #[test]
    fn what_holds_for_a_filesystem_is_told_by_its_place() {
        let thresholds = kubelet::read(Defaults::K3s, &[], &[]).unwrap();
        let places = Some(("/".into(), "/var/lib/rancher".into()));
        let eviction = Eviction { places, thresholds };
        assert_eq!(eviction.of(Path::new("/"), &SPACE), [("nodefs.available", 50)]);
        assert_eq!(eviction.of(Path::new("/var/lib/rancher"), &SPACE), [("imagefs.available", 50)]);
        assert_eq!(eviction.of(Path::new("/mnt/data"), &SPACE), []);
    }
}
