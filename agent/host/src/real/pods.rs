//! Which pods have a directory of the machine in mounts of their own (`hostPath`, a local volume): what is mounted over the
//! directory later, they do not get to see.
//!
//! What is believed is the kernel: the mounts of every process in a cgroup of the kubelet's (`kubepods`), and those that the
//! kubelet itself made for a pod. Names of pods are those of the folders that the kubelet keeps their logs in.

use super::{files, mounts};
use bowline_ports::{Mount, PortError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// `NAMESPACE_NAME_UID`, one for each pod of this machine.
const LOGS: &str = "/var/log/pods";

/// The pods that have this directory, or something in it: `NAMESPACE/NAME`, sorted.
pub(crate) fn at(directory: &Path) -> Result<Vec<String>, PortError> {
    let real = match fs::canonicalize(directory) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PortError::io(format_args!("looking at {}", directory.display()), &error)),
    };
    let table = mounts::read()?;
    let Some(place) = Place::of(&real, &table) else { return Ok(Vec::new()) };
    let mut pods = place.by_the_kubelet(&table);
    pods.extend(place.in_containers(Path::new("/proc"))?);
    if pods.is_empty() {
        return Ok(Vec::new());
    }
    let names = names(&files::list(Path::new(LOGS))?.unwrap_or_default());
    let name = |uid: String| names.get(&uid).cloned().unwrap_or_else(|| format!("a pod with uid {uid}"));
    Ok(pods.into_iter().map(name).collect::<BTreeSet<_>>().into_iter().collect())
}

/// A directory as the kernel knows it, wherever it is seen: which filesystem, and where on that.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    number: String,
    root: PathBuf,
}

impl Place {
    /// Of a path without links, by the mount that it is seen through.
    fn of(path: &Path, table: &[Mount]) -> Option<Self> {
        // Of several at one place the last one is on top.
        let around = table.iter().filter(|mount| path.starts_with(&mount.target));
        let mount = around.max_by_key(|mount| mount.target.components().count())?;
        let root = mount.root.join(path.strip_prefix(&mount.target).ok()?);
        Some(Self { number: mount.number.clone(), root })
    }

    fn is_in(&self, mount: &Mount) -> bool {
        mount.number == self.number && mount.root.starts_with(&self.root)
    }

    /// The UIDs of pods that the kubelet has bound it for (`…/pods/UID/volumes/…`).
    fn by_the_kubelet(&self, table: &[Mount]) -> BTreeSet<String> {
        let pod = |mount: &Mount| {
            let mut parts = mount.target.iter().skip_while(|part| *part != "pods").skip(1);
            let uid = parts.next()?.to_str()?.to_owned();
            parts.next().is_some_and(|kind| kind == "volumes" || kind == "volume-subpaths").then_some(uid)
        };
        table.iter().filter(|mount| self.is_in(mount)).filter_map(pod).collect()
    }

    /// The UIDs of pods with a process that has it mounted.
    fn in_containers(&self, proc: &Path) -> Result<BTreeSet<String>, PortError> {
        let entries = fs::read_dir(proc).map_err(|e| PortError::io(format_args!("listing {}", proc.display()), &e))?;
        let mut pods = BTreeSet::new();
        for process in entries.flatten() {
            // One that has ended meanwhile has nothing mounted any more.
            let Ok(groups) = fs::read_to_string(process.path().join("cgroup")) else { continue };
            let Some(uid) = pod_of(&groups).filter(|uid| !pods.contains(uid)) else { continue };
            let text = fs::read(process.path().join("mountinfo")).unwrap_or_default();
            if mounts::parse(&text, true).iter().any(|mount| self.is_in(mount)) {
                pods.insert(uid);
            }
        }
        Ok(pods)
    }
}

/// The UID of the pod that a process is of, by its cgroups: `…/kubepods/burstable/podUID/…`, or, as systemd's slices,
/// `…/kubepods-burstable-podUID_WITH_UNDERLINES.slice/…`.
fn pod_of(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut parts = paths.filter(|path| path.contains("kubepods")).flat_map(|path| path.split('/'));
    parts.find_map(|part| {
        let name = part.strip_suffix(".slice").unwrap_or(part);
        let uid = match name.strip_prefix("pod") {
            Some(uid) => uid,
            None => name.strip_prefix("kubepods")?.split_once("-pod")?.1,
        };
        (!uid.is_empty()).then(|| uid.replace('_', "-"))
    })
}

/// UID -> `NAMESPACE/NAME`, from the names of the folders with logs.
fn names(folders: &[String]) -> BTreeMap<String, String> {
    let name = |folder: &String| {
        let (rest, uid) = folder.rsplit_once('_')?;
        let (space, name) = rest.split_once('_')?;
        Some((uid.to_owned(), format!("{space}/{name}")))
    };
    folders.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"\
29 1 254:1 / / rw - ext4 /dev/vda1 rw
30 29 254:2 / /srv rw - ext4 /dev/vda2 rw
31 29 254:1 /mnt/data /var/lib/kubelet/pods/aa-1/volumes/kubernetes.io~local-volume/data rw - ext4 /dev/vda1 rw
32 29 254:1 /mnt/other /home/x rw - ext4 /dev/vda1 rw
";

    fn place(path: &str) -> Place {
        Place::of(Path::new(path), &mounts::parse(HOST, true)).unwrap()
    }

    fn uids<const N: usize>(uids: [&str; N]) -> BTreeSet<String> {
        uids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_directory_is_known_by_its_filesystem() {
        let known = |number: &str, root: &str| Place { number: number.into(), root: root.into() };
        assert_eq!(place("/mnt/data"), known("254:1", "/mnt/data"));
        assert_eq!(place("/srv/k3s"), known("254:2", "/k3s"));
        assert_eq!(place("/home/x/y"), known("254:1", "/mnt/other/y"));
    }

    #[test]
    fn what_the_kubelet_bound() {
        let table = mounts::parse(HOST, true);
        assert_eq!(place("/mnt/data").by_the_kubelet(&table), uids(["aa-1"]));
        assert_eq!(place("/mnt").by_the_kubelet(&table), uids(["aa-1"]), "something in it");
        assert_eq!(place("/mnt/data/x").by_the_kubelet(&table), uids([]), "what is around it is no use of it");
        assert_eq!(place("/mnt/other").by_the_kubelet(&table), uids([]), "no pod's");
    }

    #[test]
    fn what_containers_have_mounted() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: &str, cgroup: &str, mounts: &str| {
            let folder = proc.path().join(pid);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("cgroup"), cgroup).unwrap();
            fs::write(folder.join("mountinfo"), mounts).unwrap();
        };
        let with = |root: &str| {
            format!("1 0 0:50 / / rw - overlay overlay rw\n2 1 254:1 {root} /data rw - ext4 /dev/vda1 rw\n")
        };
        process("10", "0::/kubepods/besteffort/podaa-1/c1\n", &with("/mnt/data"));
        process("11", "0::/kubepods.slice/kubepods-podbb_2.slice/cri-containerd-c.scope\n", &with("/mnt/data/sub"));
        process("12", "3:cpu:/x\n1:name=systemd:/bed/kubepods/podcc-3/c\n", &with("/mnt"));
        // A service with the same in a sandbox of its own, and a pod with something else.
        process("13", "0::/system.slice/postgresql.service\n", &with("/mnt/data"));
        process("14", "0::/kubepods/burstable/poddd-4/c\n", &with("/mnt/database"));
        fs::create_dir(proc.path().join("self")).unwrap();
        assert_eq!(place("/mnt/data").in_containers(proc.path()).unwrap(), uids(["aa-1", "bb-2"]));
        assert_eq!(place("/srv").in_containers(proc.path()).unwrap(), uids([]));
    }

    #[test]
    fn names_of_pods() {
        let folders = ["monitoring_grafana-0_aa-1", "kube-system_etcd_0123", "garbage"].map(str::to_owned);
        let names = names(&folders);
        assert_eq!(names.get("aa-1").map(String::as_str), Some("monitoring/grafana-0"));
        assert_eq!(names.get("0123").map(String::as_str), Some("kube-system/etcd"));
        assert_eq!(names.len(), 2);
        assert_eq!(pod_of("0::/kubepods\n"), None);
        assert_eq!(pod_of("0::/kubepods.slice/kubepods-besteffort.slice\n"), None);
    }

    #[test]
    fn nobody_has_a_directory_that_is_not_there_or_was_just_made() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(at(&folder.path().join("none")).unwrap(), Vec::<String>::new());
        assert_eq!(at(folder.path()).unwrap(), Vec::<String>::new());
    }
}
