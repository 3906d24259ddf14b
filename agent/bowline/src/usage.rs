//! Which directories are measured, and where is looked beneath.

use bowline_metrics::real_mounts;
use bowline_ports::{Beneath, Mount, SurveyOrder, SurveyedDirectory};
use bowline_settings::Settings;
use std::path::{Path, PathBuf};

/// What Kubernetes and its runtime fill, and the journal; ones that are not there are left out by who measures.
const K3S: [(&str, u8); 6] = [
    ("/var/lib/rancher/k3s/agent/containerd", 1),
    ("/var/lib/rancher/k3s/agent/images", 0),
    ("/var/lib/rancher/k3s/server/db", 0),
    ("/var/lib/rancher/k3s/storage", 1),
    ("/var/lib/kubelet/pods", 0),
    ("/var/log/pods", 1),
];
/// Besides those, where something else manages Kubernetes: K3s too, perhaps.
const OTHERS: [(&str, u8); 12] = [
    ("/var/lib/containerd", 1),
    ("/var/lib/etcd", 0),
    // RKE2.
    ("/var/lib/rancher/rke2/agent/containerd", 1),
    ("/var/lib/rancher/rke2/agent/images", 0),
    ("/var/lib/rancher/rke2/server/db", 0),
    // k0s.
    ("/var/lib/k0s/containerd", 1),
    ("/var/lib/k0s/etcd", 0),
    ("/var/lib/k0s/kubelet/pods", 0),
    // MicroK8s.
    ("/var/snap/microk8s/common/default-storage", 1),
    ("/var/snap/microk8s/common/var/lib/containerd", 1),
    ("/var/snap/microk8s/common/var/lib/kubelet/pods", 0),
    ("/var/snap/microk8s/current/var/kubernetes/backend", 0),
];
const ALWAYS: [(&str, u8); 1] = [("/var/log/journal", 0)];

/// Everything that is measured by these settings: the distribution's own, and `[[directory]]`.
pub(crate) fn directories(settings: &Settings) -> Vec<SurveyedDirectory> {
    let own: [&[(&str, u8)]; 2] = match (&settings.cluster, &settings.managed) {
        (Some(_), _) => [&K3S, &[]],
        (None, Some(_)) => [&K3S, &OTHERS],
        (None, None) => [&[], &[]],
    };
    let named = settings.directories.iter();
    let mut all: Vec<_> =
        named.map(|one| SurveyedDirectory { path: one.path.clone(), depth: one.depth, named: true }).collect();
    for (path, depth) in own.concat().iter().chain(&ALWAYS) {
        if !all.iter().any(|one| one.path == Path::new(path)) {
            all.push(SurveyedDirectory { path: path.into(), depth: *depth, named: false });
        }
    }
    all.sort();
    all
}

/// The order for a machine with these mounts.
pub(crate) fn order(settings: &Settings, mounts: &[Mount]) -> SurveyOrder {
    SurveyOrder {
        directories: directories(settings),
        beneath: beneath(mounts),
        share: settings.usage.cpu_share.number(),
    }
}

/// Every mount of a real filesystem but the root, with the one that it hides a directory of, where that is on a disk: who serves one
/// over a network may not answer, and systemd, which binds it for the unit, would wait for that before anything is measured.
fn beneath(mounts: &[Mount]) -> Vec<Beneath> {
    let real = real_mounts(mounts);
    let parent = |at: &Path| -> Option<PathBuf> {
        let above = real.iter().filter(|other| other.target != at && at.starts_with(&other.target));
        let next = above.max_by_key(|other| other.target.components().count());
        next.filter(|other| other.is_on_disk()).map(|other| other.target.clone())
    };
    real.iter()
        .filter_map(|mount| Some(Beneath { mount_point: mount.target.clone(), parent: parent(&mount.target)? }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(target: &str, number: &str) -> Mount {
        Mount {
            target: target.into(),
            source: format!("/dev/{number}"),
            number: number.into(),
            fstype: "ext4".into(),
            root: "/".into(),
            read_only: false,
            errors: 0,
            by_user: false,
        }
    }

    #[test]
    fn a_mount_hides_a_directory_of_the_next_one_above() {
        let mounts = [mount("/", "8:1"), mount("/mnt/data", "8:2"), mount("/mnt/data/inner", "8:3")];
        let pairs: Vec<_> = beneath(&mounts).into_iter().map(|one| (one.mount_point, one.parent)).collect();
        let expected = [("/mnt/data", "/"), ("/mnt/data/inner", "/mnt/data")];
        assert_eq!(pairs, expected.map(|(at, parent)| (PathBuf::from(at), PathBuf::from(parent))));
    }

    /// As with a server that is gone, and a mount beneath what it served.
    #[test]
    fn what_a_network_serves_is_not_looked_beneath() {
        let of = |target: &str, number: &str, fstype: &str, source: &str| Mount {
            fstype: fstype.into(),
            source: source.into(),
            ..mount(target, number)
        };
        let mounts = [
            mount("/", "8:1"),
            of("/mnt/nas", "0:70", "nfs4", "nas:/export"),
            mount("/mnt/nas/local", "8:2"),
            of("/mnt/ssh", "0:71", "fuse.sshfs", "a@b:"),
            mount("/mnt/ssh/local", "8:3"),
        ];
        let pairs: Vec<_> = beneath(&mounts).into_iter().map(|one| (one.mount_point, one.parent)).collect();
        let expected = [("/mnt/nas", "/"), ("/mnt/ssh", "/")];
        assert_eq!(pairs, expected.map(|(at, parent)| (PathBuf::from(at), PathBuf::from(parent))));
    }

    #[test]
    fn own_directories_go_before_the_distributions() {
        let text = "[cluster]\ndistribution = \"none\"\n[[directory]]\npath = \"/var/lib/etcd\"\ndepth = 3\n";
        let file = bowline_settings::SourceFile { path: "/x/1.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
        let all = directories(&bowline_settings::load(&[file]).unwrap().settings);
        let etcd: Vec<_> = all.iter().filter(|one| one.path == Path::new("/var/lib/etcd")).collect();
        assert_eq!(etcd, [&SurveyedDirectory { path: "/var/lib/etcd".into(), depth: 3, named: true }]);
        let of_others =
            ["k3s/agent/containerd", "rke2/agent/containerd"].map(|path| Path::new("/var/lib/rancher").join(path));
        for path in
            of_others.iter().map(PathBuf::as_path).chain(["/var/lib/containerd", "/var/log/journal"].map(Path::new))
        {
            assert_eq!(all.iter().filter(|one| one.path == path).count(), 1, "{}", path.display());
        }
        assert_eq!(directories(&Settings::default()).len(), 1, "the journal");
    }
}
