//! From when on the kubelet of this machine evicts, and for which filesystems that holds: read from its configuration.

use bowline_ports::{FileKind, Inspect, Mount, PortError, Space};
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
    if there(host, Path::new(&k3s.agent)).await {
        let files = texts(host, &files_of_k3s(host, &k3s).await?).await?;
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
        files.extend(texts(host, &drop_in_files(host, Path::new(&drop_ins)).await?).await?);
    }
    if files.is_empty() && arguments.is_empty() {
        return Ok(Eviction::default());
    }
    let nodefs = option(&arguments, "root-dir").unwrap_or_else(|| KUBELET.into());
    eviction(host, Defaults::Upstream, &files, &arguments, [&nodefs, CONTAINERD]).await
}

/// The configuration files of K3s's kubelet, in the order in which they are merged. From 1.32 on it reads K3s's own directory alone:
/// what `config` and `config-dir` name counts as it was copied there, and itself only where K3s has not started with it yet.
async fn files_of_k3s(host: &dyn Inspect, k3s: &k3s::Options) -> Result<Vec<PathBuf>, String> {
    let managed = Path::new(&k3s.managed);
    let own = [&k3s.config, &k3s.config_dir].map(|own| own.as_deref().map(Path::new));
    if !there(host, &managed.join(k3s::DEFAULTS)).await {
        let mut files: Vec<PathBuf> = own[0].map(Path::to_path_buf).into_iter().collect();
        files.extend(drop_in_files(host, own[1].unwrap_or(managed)).await?);
        return Ok(files);
    }
    // Each with its place in that directory.
    let mut files: Vec<_> = drop_in_files(host, managed).await?.into_iter().map(|file| (file.clone(), file)).collect();
    for (own, copy) in own.into_iter().zip(k3s::COPIES.map(|copy| managed.join(copy))) {
        // K3s copies nothing that is in there already.
        let Some(own) = own.filter(|own| !own.starts_with(managed)) else { continue };
        if there(host, &copy).await {
            continue;
        }
        let is_file = copy.extension().is_some();
        let found = if is_file { vec![own.to_path_buf()] } else { drop_in_files(host, own).await? };
        files.extend(found.into_iter().map(|file| (copy.join(file.strip_prefix(own).unwrap_or(&file)), file)));
    }
    files.sort();
    Ok(files.into_iter().map(|(_, file)| file).collect())
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
        let path = host.real_path(path).await.ok()??;
        let holds = mounts.iter().filter(|mount| path.starts_with(&mount.target));
        return holds.max_by_key(|mount| mount.target.components().count()).map(|mount| mount.number.clone());
    }
    None
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

async fn there(host: &dyn Inspect, path: &Path) -> bool {
    host.meta(path).await.is_ok_and(|meta| meta.is_some())
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

/// The files `*.conf` of a directory and of those in it, as a kubelet reads them: by their names, one directory after the other, and
/// through no link to one.
async fn drop_in_files(host: &dyn Inspect, root: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut files, mut unread) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(path) = unread.pop() {
        let failed = |error: PortError| error.to_string();
        if host.meta(&path).await.map_err(failed)?.is_none_or(|meta| meta.kind != FileKind::Directory) {
            files.extend(path.as_os_str().as_encoded_bytes().ends_with(b".conf").then_some(path));
            continue;
        }
        let (real, above) = (host.real_path(&path).await.map_err(failed)?, path.parent().unwrap_or(&path));
        let above = host.real_path(above).await.map_err(failed)?;
        if above.zip(path.file_name()).map(|(above, name)| above.join(name)) == real {
            let names = host.list(&path).await.map_err(failed)?.unwrap_or_default();
            unread.extend(names.iter().map(|name| path.join(name)));
        }
    }
    // By component: what is in a directory stands where its name does.
    files.sort();
    Ok(files)
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

    /// K3s's own files go first, then what it copied of `config-dir` to beside them, then those of an admin; an earlier K3s leaves
    /// that directory to whoever names another.
    #[tokio::test]
    async fn what_k3s_gives_its_kubelet_to_read() {
        const NODEFS: &str = "evictionHard: {nodefs.available: 10%}\n";
        let own = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d";
        let started = ("00-k3s-defaults.conf", "evictionHard: {nodefs.available: 5%, imagefs.available: 5%}\n");
        let both = |nodefs, imagefs| vec![("nodefs.available", nodefs), ("imagefs.available", imagefs)];
        for (what, in_own, options, wanted) in [
            ("copied", vec![started, ("20-cli-config-dir/a.conf", NODEFS)], "config-dir=/etc/kubelet.d", both(100, 50)),
            ("copied once", vec![started, ("20-cli-config-dir/b/a.conf", NODEFS)], "v=2", both(100, 50)),
            ("not copied yet", vec![started], "config-dir=/etc/kubelet.d", both(70, 50)),
            ("a file not copied yet", vec![started], "config=/etc/kubelet.d/a.conf", both(70, 50)),
            (
                "an admin's has the last word",
                vec![
                    started,
                    ("90-own.conf", "evictionHard: {imagefs.available: 20%}\n"),
                    ("a.txt", "evictionHard: 5\n"),
                ],
                "config-dir=/etc/kubelet.d",
                both(70, 200),
            ),
            ("named in its place", vec![started, ("x/a.conf", NODEFS)], &format!("config-dir={own}/x"), both(100, 50)),
            ("before 1.32", vec![("90-own.conf", NODEFS)], "config-dir=/etc/kubelet.d", both(70, 50)),
        ] {
            let host = SimHost::new(&World::default());
            let write = async |path: &str, text: &str| {
                bowline_ports::Change::write(&host, Path::new(path), text.as_bytes(), 0o600).await.unwrap();
            };
            write("/etc/rancher/k3s/config.yaml", &format!("kubelet-arg: [{options}]\n")).await;
            let soft = "evictionSoft: {nodefs.available: 7%}\nevictionSoftGracePeriod: {nodefs.available: 2m}\n";
            write("/etc/kubelet.d/a.conf", soft).await;
            for (name, text) in in_own {
                write(&format!("{own}/{name}"), text).await;
            }
            let eviction = read(&host).await;
            assert_eq!(eviction.trouble(), None, "{what}");
            let (nodefs, _) = eviction.places.clone().unwrap();
            assert_eq!(eviction.of(&nodefs, &SPACE), wanted, "{what}");
        }
    }

    #[tokio::test]
    async fn a_link_to_a_directory_is_not_followed() {
        let (host, place) = (bowline_host::real::RealHost::new().unwrap(), tempfile::tempdir().unwrap());
        let at = |path: &str| place.path().join(path);
        for path in ["a/d/x.conf", "a/b/y.conf", "a/b.conf", "a/b.txt"] {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), "").unwrap();
        }
        for (target, link) in [("b", "a/c"), ("..", "a/e"), ("a", "link"), ("b.txt", "a/f.conf")] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        let all = drop_in_files(&host, &at("a")).await.unwrap();
        assert_eq!(all, ["a/b/y.conf", "a/b.conf", "a/d/x.conf", "a/f.conf"].map(at));
        assert!(drop_in_files(&host, &at("link")).await.unwrap().is_empty());
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

    /// As of a subvolume, whose number no mount has.
    #[tokio::test]
    async fn what_a_link_leads_to_is_on_the_mount_that_it_leads_to() {
        let (host, place) = (bowline_host::real::RealHost::new().unwrap(), tempfile::tempdir().unwrap());
        let (data, link) = (place.path().canonicalize().unwrap().join("data"), place.path().join("link"));
        std::fs::create_dir_all(data.join("rancher")).unwrap();
        std::os::unix::fs::symlink(data.join("rancher"), &link).unwrap();
        let mount = |target: &Path, number: &str| Mount {
            target: target.into(),
            source: "/dev/sdb".into(),
            number: number.into(),
            fstype: "btrfs".into(),
            root: "/".into(),
            read_only: false,
            errors: 0,
            by_user: false,
        };
        let mounts = [mount(Path::new("/"), "none:1"), mount(&data, "none:2")];
        for path in [link.join("k3s/agent"), data] {
            let found = filesystem(&host, path.to_str().unwrap(), &mounts).await;
            assert_eq!(found.as_deref(), Some("none:2"), "{}", path.display());
        }
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
