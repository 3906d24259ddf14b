//! Which mounts are filesystems that can fill up.

use bowline_ports::Mount;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

/// Types that hold nothing of their own, or nothing that can be filled: views of the kernel, memory, images
/// that are always full.
const NOT_STORAGE: &[&str] = &[
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cramfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// Where container runtimes and the kubelet mount things that come and go with pods.
const RUNTIME: &[&str] = &[
    "/run/containerd",
    "/run/k3s",
    "/run/netns",
    "/var/lib/containerd/io.containerd.grpc.v1.cri",
    "/var/lib/docker/overlay2",
    "/var/lib/rancher/k3s/agent/containerd",
    "/var/snap/microk8s/common/run",
];

/// The same of a kubelet, wherever its root is: K3s's, k0s's and MicroK8s's have others, and it is a setting.
const KUBELET: [&str; 2] = ["/kubelet/plugins/", "/kubelet/pods/"];

/// The mounts that are worth measuring, sorted by target. The rules, in order:
///
/// 1. Of several mounts on one target only the last counts: it hides the others.
/// 2. Types that hold nothing of their own (kernel views, memory, read-only images) are left out, and what an ordinary
///    user's program serves (FUSE): there may be any number of those, and each says of itself what it likes.
/// 3. So is everything beneath the directories of container runtimes and the kubelet's pods and plugins: it
///    comes and goes with pods, and what is a disk of its own among it is measured by the kubelet. A disk for all of
///    such a directory counts.
/// 4. An overlay counts only as the root filesystem; any other belongs to a container.
/// 5. A filesystem counts once, however often it is bound: as `/` if it is that, else where the whole of it is
///    mounted rather than a part, else at the shortest target.
pub fn real_mounts(mounts: &[Mount]) -> Vec<Mount> {
    // By its bytes: to compare the parts of so many paths is a large share of a scrape.
    let mut visible: BTreeMap<&OsStr, &Mount> = BTreeMap::new();
    for mount in mounts {
        visible.insert(mount.target.as_os_str(), mount);
    }
    let mut chosen: BTreeMap<&str, &Mount> = BTreeMap::new();
    for mount in visible.into_values().filter(|m| is_storage(m)) {
        let best = chosen.entry(&mount.number).or_insert(mount);
        if rank(mount) < rank(best) {
            *best = mount;
        }
    }
    let mut real: Vec<Mount> = chosen.into_values().cloned().collect();
    real.sort_by(|a, b| a.target.cmp(&b.target));
    real
}

fn is_storage(mount: &Mount) -> bool {
    let fstype = mount.fstype.as_str();
    !NOT_STORAGE.contains(&fstype)
        && !mount.by_user
        && !RUNTIME.iter().any(|runtime| beneath(&mount.target, runtime))
        && !of_a_kubelet(&mount.target)
        && (!matches!(fstype, "overlay" | "fuse.fuse-overlayfs") || mount.target == Path::new("/"))
}

/// Whether a path of the kernel's table, which has no slash too many, is beneath this directory.
fn beneath(path: &Path, directory: &str) -> bool {
    let rest = path.as_os_str().as_encoded_bytes().strip_prefix(directory.as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

fn of_a_kubelet(path: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    KUBELET.iter().any(|part| path.windows(part.len()).any(|window| window == part.as_bytes()))
}

/// Smaller is the better name for a filesystem.
fn rank(mount: &Mount) -> (bool, bool, usize) {
    (mount.target != Path::new("/"), mount.root != Path::new("/"), mount.target.as_os_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `source number fstype root target`, one mount a line.
    fn table(text: &str) -> Vec<Mount> {
        text.lines()
            .map(|line| {
                let f: Vec<_> = line.split_whitespace().collect();
                Mount {
                    target: f[4].into(),
                    source: f[0].into(),
                    number: f[1].into(),
                    fstype: f[2].into(),
                    root: f[3].into(),
                    read_only: false,
                    errors: 0,
                    by_user: false,
                }
            })
            .collect()
    }

    /// Without allow_other it would say to root that it has no room at all.
    #[test]
    fn what_a_user_mounts_by_fuse_is_nobodys_storage() {
        let mut all =
            table("/dev/sdb 8:16 ext4 / /mnt/data\n/dev/sdb 0:99 fuse.x / /home/u/m\nb 0:98 fuse.s3fs / /mnt/b");
        all[1].by_user = true;
        let kept: Vec<_> = real_mounts(&all).into_iter().map(|mount| mount.target).collect();
        assert_eq!(kept, [Path::new("/mnt/b"), Path::new("/mnt/data")], "root's own count");
    }

    fn kept(text: &str) -> Vec<String> {
        real_mounts(&table(text)).iter().map(|m| m.target.display().to_string()).collect()
    }

    #[test]
    fn a_cloud_machine_with_k3s() {
        let machine = "sysfs 0:21 sysfs / /sys
proc 0:22 proc / /proc
udev 0:5 devtmpfs / /dev
devpts 0:23 devpts / /dev/pts
tmpfs 0:24 tmpfs / /run
/dev/sda1 8:1 ext4 / /
/dev/sda15 8:15 vfat / /boot/efi
cgroup2 0:26 cgroup2 / /sys/fs/cgroup
/dev/loop0 7:0 squashfs / /snap/core20/2318
/dev/sr0 11:0 iso9660 / /media/seed
/dev/sdb 8:16 ext4 / /var/lib/kafka
/dev/sdc 8:32 xfs / /mnt/scratch
overlay 0:60 overlay / /run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/a/rootfs
shm 0:61 tmpfs / /run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/b/shm
tmpfs 0:62 tmpfs / /var/lib/kubelet/pods/u1/volumes/kubernetes.io~projected/kube-api-access
/dev/sda1 8:1 ext4 /var/lib/x /var/lib/kubelet/pods/u1/volume-subpaths/x
/dev/sdb 8:16 ext4 /data-0 /var/lib/kubelet/pods/u1/volumes/kubernetes.io~local-volume/pv
/dev/sdd 8:48 ext4 / /var/lib/kubelet/plugins/kubernetes.io/csi/driver/1/globalmount
nas:/export 0:70 nfs4 / /mnt/nas
nsfs 0:4 nsfs net:[1] /run/netns/cni-1";
        assert_eq!(kept(machine), ["/", "/boot/efi", "/mnt/nas", "/mnt/scratch", "/var/lib/kafka"]);
    }

    #[test]
    fn volumes_of_pods_wherever_the_kubelet_has_them() {
        for root in ["/var/snap/microk8s/common/var/lib/kubelet", "/var/lib/k0s/kubelet", "/mnt/fast/kubelet"] {
            let machine = format!(
                "/dev/sda1 8:1 ext4 / /
/dev/sdb 8:16 ext4 / {root}
nas:/a 0:70 nfs4 / {root}/pods/u1/volumes/kubernetes.io~nfs/pv
s3 0:71 fuse.s3fs / {root}/pods/u1/volumes/kubernetes.io~csi/pv/mount
/dev/sdd 8:48 ext4 / {root}/plugins/kubernetes.io/csi/driver/1/globalmount"
            );
            assert_eq!(kept(&machine), ["/", root]);
        }
    }

    #[test]
    fn the_rules_one_by_one() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("nothing", "", &[]),
            ("the last of a stack", "/dev/sda 8:0 ext4 / /m\n/dev/sdb 8:16 ext4 / /m", &["/m"]),
            ("hidden by memory", "/dev/sda 8:0 ext4 / /m\ntmpfs 0:50 tmpfs / /m", &[]),
            ("memory", "tmpfs 0:50 tmpfs / /run\nramfs 0:51 ramfs / /run/credentials/x", &[]),
            ("the shortest", "/dev/sda 8:0 ext4 / /data/long\n/dev/sda 8:0 ext4 / /data", &["/data"]),
            ("the whole", "/dev/sda 8:0 ext4 / /var/lib/kafka\n/dev/sda 8:0 ext4 /x /k", &["/var/lib/kafka"]),
            ("only a part", "/dev/sda 8:0 ext4 /x /kafka\n/dev/sda 8:0 ext4 /x /k", &["/k"]),
            ("root of a container", "/dev/sda 8:0 ext4 /machines/a /\n/dev/sda 8:0 ext4 / /host", &["/"]),
            ("an overlay as root", "overlay 0:40 overlay / /", &["/"]),
            ("another overlay", "overlay 0:40 overlay / /var/lib/docker/overlay2/a/merged", &[]),
            ("anybody's overlay", "overlay 0:40 overlay / /tmp/nodes/n1/root", &[]),
            ("subvolumes", "/dev/sda 0:30 btrfs /@ /\n/dev/sda 0:30 btrfs /@home /home", &["/"]),
            ("remote", "//nas/a 0:60 cifs / /mnt/a\nu@h: 0:61 fuse.sshfs / /mnt/b", &["/mnt/a", "/mnt/b"]),
            ("a name alike", "/dev/sda 8:0 ext4 / /run/k3s-data", &["/run/k3s-data"]),
            ("containerd's own disk", "/dev/sda 8:0 ext4 / /var/lib/containerd", &["/var/lib/containerd"]),
            ("k3s's own disk", "/dev/sda 8:0 ext4 / /var/lib/rancher", &["/var/lib/rancher"]),
            ("the kubelet's own disk", "/dev/sda 8:0 ext4 / /var/lib/kubelet", &["/var/lib/kubelet"]),
            ("a disk for pods", "/dev/sda 8:0 ext4 / /var/lib/kubelet/pods", &["/var/lib/kubelet/pods"]),
            (
                "a disk for k3s's images",
                "/dev/sda 8:0 xfs / /var/lib/rancher/k3s/agent/containerd\n\
                 /dev/sda 8:0 xfs /x /var/lib/rancher/k3s/agent/containerd/io.containerd.grpc.v1.cri/x",
                &["/var/lib/rancher/k3s/agent/containerd"],
            ),
        ];
        for (name, mounts, wanted) in cases {
            assert_eq!(&kept(mounts), wanted, "{name}");
        }
        let stacked = real_mounts(&table("/dev/sda 8:0 ext4 / /m\n/dev/sdb 8:16 ext4 / /m"));
        assert_eq!(stacked[0].source, "/dev/sdb");
    }
}
