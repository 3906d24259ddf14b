//! Which pods have a directory of the machine in mounts of their own (`hostPath`, a local volume): what is mounted over the
//! directory later, they do not get to see.
//!
//! What is believed is the kernel: the mounts of every process in a cgroup of the kubelet's (`kubepods`), and those that the
//! kubelet itself made for a pod. Names of pods are those of the folders that the kubelet keeps their logs in.

use super::{files, mounts};
use bowline_ports::{GoneDisk, Mount, PortError};
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
    let all = pods(Path::new("/proc"), &table, &|mount| place.is_in(mount))?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let names = names(&files::list(Path::new(LOGS))?.unwrap_or_default());
    Ok(named(all.keys(), &names))
}

/// The pods that have a filesystem mounted whose disk is gone, by that disk.
pub(crate) fn on_gone_disks() -> Result<Vec<GoneDisk>, PortError> {
    let all = pods(Path::new("/proc"), &mounts::read()?, &|mount| is_gone(mount, Path::new("/sys")))?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let names = names(&files::list(Path::new(LOGS))?.unwrap_or_default());
    let mut disks: BTreeMap<(String, String), BTreeSet<&String>> = BTreeMap::new();
    for (uid, mount) in all.iter().flat_map(|(uid, mounts)| mounts.iter().map(move |mount| (uid, mount))) {
        disks.entry((mount.source.clone(), mount.fstype.clone())).or_default().insert(uid);
    }
    let disk = |((source, fstype), uids): ((String, String), BTreeSet<&String>)| GoneDisk {
        source,
        fstype,
        pods: named(uids.into_iter(), &names),
    };
    Ok(disks.into_iter().map(disk).collect())
}

/// Whether what is mounted there is on a block device that the kernel does not have any more. Its number is given to no other one as
/// long as somebody has it mounted. btrfs has a number that no device has: there the name counts.
fn is_gone(mount: &Mount, sys: &Path) -> bool {
    let all = sys.join("dev/block");
    let Some(name) = mount.source.strip_prefix("/dev/").filter(|name| *name != "root" && all.exists()) else {
        return false;
    };
    match mount.number.starts_with("0:") {
        false => !all.join(&mount.number).exists(),
        true => mount.fstype == "btrfs" && !name.contains('/') && !sys.join("class/block").join(name).exists(),
    }
}

/// `NAMESPACE/NAME` of each, sorted.
fn named<'a>(uids: impl Iterator<Item = &'a String>, names: &BTreeMap<String, String>) -> Vec<String> {
    let name = |uid: &String| names.get(uid).cloned().unwrap_or_else(|| format!("a pod with uid {uid}"));
    uids.map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

/// By their UIDs, the pods that have such a mount, with those of one of their processes.
fn pods(
    proc: &Path,
    table: &[Mount],
    fits: &dyn Fn(&Mount) -> bool,
) -> Result<BTreeMap<String, Vec<Mount>>, PortError> {
    let mut all = in_containers(proc, fits)?;
    for (uid, mount) in by_the_kubelet(table, fits) {
        all.entry(uid).or_default().push(mount);
    }
    Ok(all)
}

/// What the kubelet has bound for pods (`…/pods/UID/volumes/…`), by their UIDs.
fn by_the_kubelet(table: &[Mount], fits: &dyn Fn(&Mount) -> bool) -> Vec<(String, Mount)> {
    let pod = |mount: &Mount| {
        let mut parts = mount.target.iter().skip_while(|part| *part != "pods").skip(1);
        let uid = parts.next()?.to_str()?.to_owned();
        let bound = parts.next().is_some_and(|kind| kind == "volumes" || kind == "volume-subpaths");
        bound.then(|| (uid, mount.clone()))
    };
    table.iter().filter(|mount| fits(mount)).filter_map(pod).collect()
}

/// What a process of each pod has mounted.
fn in_containers(proc: &Path, fits: &dyn Fn(&Mount) -> bool) -> Result<BTreeMap<String, Vec<Mount>>, PortError> {
    let entries = fs::read_dir(proc).map_err(|e| PortError::io(format_args!("listing {}", proc.display()), &e))?;
    let mut pods = BTreeMap::new();
    for process in entries.flatten() {
        // One that has ended meanwhile has nothing mounted any more.
        let Ok(groups) = fs::read(process.path().join("cgroup")) else { continue };
        let Some(uid) = pod_of(&String::from_utf8_lossy(&groups)).filter(|uid| !pods.contains_key(uid)) else {
            continue;
        };
        let text = fs::read(process.path().join("mountinfo")).unwrap_or_default();
        let mounts: Vec<Mount> = mounts::parse(&text, true).into_iter().filter(|mount| fits(mount)).collect();
        if !mounts.is_empty() {
            pods.insert(uid, mounts);
        }
    }
    Ok(pods)
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
}

/// The UID of the pod that a process is of, by its cgroups: `…/kubepods/burstable/podUID/…`, or, as systemd's slices,
/// `…/kubepods-burstable-podUID_WITH_UNDERLINES.slice/…`. Whoever logs in has cgroups beneath `user.slice`, and calls them what they
/// like.
fn pod_of(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let of_the_kubelet =
        |path: &&str| path.split_once("kubepods").is_some_and(|(above, _)| !above.contains("/user.slice/"));
    let mut parts = paths.filter(of_the_kubelet).flat_map(|path| path.split('/'));
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
        let bound = |path: &str| {
            let place = place(path);
            by_the_kubelet(&table, &|mount| place.is_in(mount)).into_iter().map(|(uid, _)| uid).collect::<BTreeSet<_>>()
        };
        assert_eq!(bound("/mnt/data"), uids(["aa-1"]));
        assert_eq!(bound("/mnt"), uids(["aa-1"]), "something in it");
        assert_eq!(bound("/mnt/data/x"), uids([]), "what is around it is no use of it");
        assert_eq!(bound("/mnt/other"), uids([]), "no pod's");
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
        let found = |fits: &dyn Fn(&Mount) -> bool| {
            in_containers(proc.path(), fits).unwrap().into_keys().collect::<BTreeSet<_>>()
        };
        assert_eq!(found(&|mount| place("/mnt/data").is_in(mount)), uids(["aa-1", "bb-2"]));
        assert_eq!(found(&|mount| place("/srv").is_in(mount)), uids([]));
        // Of a device that is there nobody has what is gone.
        let sys = tempfile::tempdir().unwrap();
        fs::create_dir_all(sys.path().join("dev/block/254:1")).unwrap();
        assert_eq!(found(&|mount| is_gone(mount, sys.path())), uids([]));
        fs::remove_dir(sys.path().join("dev/block/254:1")).unwrap();
        assert_eq!(found(&|mount| is_gone(mount, sys.path())), uids(["aa-1", "bb-2", "cc-3", "dd-4"]));
    }

    #[test]
    fn a_disk_is_gone_when_no_device_has_its_number() {
        let sys = tempfile::tempdir().unwrap();
        let gone = |line: &str| {
            let text = format!("2 1 {line} rw\n");
            is_gone(&mounts::parse(text.as_bytes(), true)[0], sys.path())
        };
        assert!(!gone("8:16 / /data rw - xfs /dev/sdb"), "what devices there are is not known");
        fs::create_dir_all(sys.path().join("dev/block/8:32")).unwrap();
        fs::create_dir_all(sys.path().join("class/block/sdc")).unwrap();
        for (line, is) in [
            ("8:16 / /data rw - xfs /dev/sdb", true),
            ("8:32 / /data rw - xfs /dev/sdc", false),
            ("0:50 / /data rw - btrfs /dev/sdb", true),
            ("0:50 / /data rw - btrfs /dev/sdc", false),
            ("0:50 / /data rw - btrfs /dev/mapper/x", false),
            ("0:50 / /data rw - btrfs /dev/root", false),
            ("0:50 / / rw - overlay overlay", false),
            ("0:51 / /nas rw - nfs4 nas:/export", false),
        ] {
            assert_eq!(gone(line), is, "{line}");
        }
    }

    #[test]
    fn names_of_pods() {
        let folders = ["monitoring_grafana-0_aa-1", "kube-system_etcd_0123", "garbage"].map(str::to_owned);
        let names = names(&folders);
        assert_eq!(names.get("aa-1").map(String::as_str), Some("monitoring/grafana-0"));
        assert_eq!(names.get("0123").map(String::as_str), Some("kube-system/etcd"));
        assert_eq!(names.len(), 2);
        assert_eq!(pod_of("0::/kubepods\n"), None);
        assert_eq!(
            pod_of("0::/user.slice/user-1.slice/user@1.service/kubepods.slice/kubepods-podx.slice/a.scope\n"),
            None
        );
        assert_eq!(pod_of("0::/kubepods.slice/kubepods-besteffort.slice\n"), None);
    }

    #[test]
    fn nobody_has_a_directory_that_is_not_there_or_was_just_made() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(at(&folder.path().join("none")).unwrap(), Vec::<String>::new());
        assert_eq!(at(folder.path()).unwrap(), Vec::<String>::new());
    }
}
