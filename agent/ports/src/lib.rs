//! What Bowline may ask of a machine ([`Inspect`]) and do to it ([`Change`]), and the plain data both speak of.
//!
//! A leaf: engine and capabilities know a machine by this crate only; `bowline-host` implements it twice, for the real
//! machine and for a simulated one. Whoever holds an `&dyn Inspect` cannot change anything: that is the law
//! `look_is_not_touch`, kept by the types.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

pub mod ask;
mod block;
pub mod condition;
mod counted;
mod error;
mod file;
mod firmware;
mod guard;
mod job;
mod kubernetes;
mod machine;
mod metadata;
mod node_name;
mod objects;
mod reclaim;
pub mod records;
mod survey;
mod tend;
pub mod text;
mod unit;

pub use ask::{Answered, Ask, Proofs};
pub use block::{BlockDevice, DeviceId, Filesystem, LastMount, Probe, Signature, SignatureKind};
pub use counted::Counted;
pub use error::{ErrorKind, PortError};
pub use file::{File, FileKind, Meta};
pub use firmware::{is_anothers, machine_id, machine_note};
pub use guard::{GUARD_CLOSED, GUARD_ORDER, GUARD_SERVICE, GUARD_TABLE, GUARD_UNSUPPORTED, GuardOrder};
pub use job::{Digest, FetchOrder, FormatOrder, GrowOrder, Job, Progress, ProgressValue};
pub use kubernetes::{FIELD_MANAGER, NodeObject, OWN_TAINTS, Ready, TaintChange, taint_text};
pub use machine::{Address, Arch, BOOT_ID, Clock, GoneDisk, Listener, Mount, Space, boot_id, is_on_disk};
pub use metadata::{METADATA, MetadataAnswer, MetadataAsk, MetadataToken};
pub use node_name::{
    KUBELET_PODS, NODE_NAME, configured, forget_name, is_copy, name_is_recorded, node_name, see_name, seen_name,
};
pub use objects::{Objects, Write, each, items};
pub use reclaim::{
    RECLAIMED, RECLAIMED_SPARE, RESERVE, RESERVE_BEGUN, ReclaimOrder, ReclaimRecord, Reclaiming, Reclaims, latest,
    reclaim_job,
};
pub use records::{
    ENROLLED, ENROLLED_WITH_DATA, K3S_NODE_SEEN, K3S_RESTART, UNCORDON, json, read_json, uncordon, write_json,
};
pub use survey::{
    Beneath, Deleted, DirectorySize, Hidden, Holder, Measured, Part, Survey, SurveyOrder, SurveyedDirectory, path_text,
};
pub use tend::{Access, NewDirectory, TendOrder, Work};
pub use unit::{ActiveState, DEPENDENCY, MARK, Unit};

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::pin::Pin;

/// A boxed future: async methods are not object-safe without one.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = Result<T, PortError>> + Send + 'a>>;

/// Everything that may be read from the machine. No method changes anything. Each has its deadline: seconds, but for what reads
/// much (a device that is probed, a file whose hash is asked for), which may take minutes.
pub trait Inspect: Send + Sync {
    /// The wall clock and whether something keeps it synchronised.
    fn clock(&self) -> Fut<'_, Clock>;
    /// The host name as the kernel has it.
    fn host_name(&self) -> Fut<'_, String>;
    /// The processor architecture.
    fn arch(&self) -> Arch;
    /// A whole file of at most 4 MiB; `None` where there is none.
    fn read<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<File>>;
    /// What stands at a path, symbolic links followed; `None` where nothing does.
    fn meta<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<Meta>>;
    /// A path without symbolic links in it, as the mount table has it; `None` where nothing stands there.
    fn real_path<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<PathBuf>>;
    /// The names in a directory, sorted; `None` where there is no directory.
    fn list<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<Vec<String>>>;
    /// Names and texts of the files in a directory whose names begin and end so, sorted. What is no regular file, or cannot be read,
    /// is left out; what is called otherwise is not opened.
    fn texts<'a>(&'a self, path: &'a Path, named: (&'a str, &'a str)) -> Fut<'a, Vec<(String, String)>> {
        Box::pin(async move {
            let mut texts = Vec::new();
            let is_named = |name: &String| name.starts_with(named.0) && name.ends_with(named.1);
            for name in self.list(path).await?.unwrap_or_default().into_iter().filter(is_named) {
                if let Some(file) = self.read(&path.join(&name)).await.ok().flatten() {
                    texts.push((name, file.text()));
                }
            }
            Ok(texts)
        })
    }
    /// SHA-256 of a file in lower-case hex; `None` where there is none.
    fn sha256<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<String>>;
    /// Addresses of all interfaces, loopback included; none of IPv6 that nobody can listen at yet, or that is for a while only.
    fn addresses(&self) -> Fut<'_, Vec<Address>>;
    /// The interface of the default route; `None` without one.
    fn default_route(&self) -> Fut<'_, Option<String>>;
    /// The IPv4 address that this machine speaks from by its default route; `None` without one. Hosts that talk to nobody need
    /// not have it.
    fn default_source(&self) -> Fut<'_, Option<Ipv4Addr>> {
        Box::pin(async { Ok(None) })
    }
    /// The process that listens on a TCP port, if one does.
    fn listener(&self, port: u16) -> Fut<'_, Option<Listener>>;
    /// Every block device that could hold a filesystem: disks, partitions, loop, device-mapper, md.
    fn block_devices(&self) -> Fut<'_, Vec<BlockDevice>>;
    /// What a device holds, read with `blkid`, `wipefs` and by looking at the bytes themselves.
    fn probe<'a>(&'a self, device: &'a Path) -> Fut<'a, Probe>;
    /// How many bytes of a device a filesystem of this type takes, as its superblock says; `None` where none is there.
    fn extent<'a>(&'a self, device: &'a Path, filesystem: Filesystem) -> Fut<'a, Option<u64>>;
    /// The mount table of PID 1 (the sandbox shows its own).
    fn mounts(&self) -> Fut<'_, Vec<Mount>>;
    /// Pods (`NAMESPACE/NAME`) that have a directory of this machine, or something in it, in mounts of their own, sorted. Hosts
    /// that run no pods need not have it.
    fn pods_at<'a>(&'a self, _: &'a Path) -> Fut<'a, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Pods that have a filesystem mounted whose disk is gone, by that disk. Hosts that run no pods need not have it.
    fn gone_disks(&self) -> Fut<'_, Vec<GoneDisk>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// How full the filesystem at a path is. A filesystem that does not answer is an error of kind `Timeout`.
    fn space<'a>(&'a self, path: &'a Path) -> Fut<'a, Space>;
    /// A unit as systemd knows it; `Unit::load` is `not-found` where it does not.
    fn unit<'a>(&'a self, name: &'a str) -> Fut<'a, Unit>;
    /// The last lines that a unit wrote to the journal, oldest first.
    fn journal_tail<'a>(&'a self, unit: &'a str, lines: usize) -> Fut<'a, Vec<String>>;
    /// The version that a K3s binary says of itself (`v1.34.1+k3s1`); `None` without a binary.
    fn k3s_version<'a>(&'a self, binary: &'a Path) -> Fut<'a, Option<String>>;
    /// A Node, read with the credentials of a kubeconfig file; `None` where the cluster has none of that name.
    fn node<'a>(&'a self, kubeconfig: &'a Path, name: &'a str) -> Fut<'a, Option<NodeObject>>;
    /// An object of the Kubernetes API, or a list, by its path (as [`Objects::get`]), read with the credentials of a
    /// kubeconfig file; `None` where there is none. Hosts that talk to nobody need not have it.
    fn object<'a>(&'a self, _: &'a Path, path: &'a str) -> Fut<'a, Option<serde_json::Value>> {
        Box::pin(async move { Err(no_api(path)) })
    }
    /// Long work under way or ended, by its name (`mkfs-data`); `None` when nobody started it since boot.
    fn job<'a>(&'a self, name: &'a str) -> Fut<'a, Option<Job>>;
    /// What the cloud's metadata service at [`METADATA`] answers to each path, in their order, or why it does not, within
    /// two seconds for all of them. Redirections are answers. A path is asked for again after five seconds at the
    /// earliest, and ever more rarely (up to a minute) while its answer stays the same: sooner, the answer or the error
    /// of before comes back, so that looks may be as frequent as they have to be for other reasons.
    fn metadata<'a>(&'a self, ask: &'a MetadataAsk) -> Fut<'a, Vec<MetadataAnswer>>;
}

/// Everything that may be done to the machine. Each call is one change; all are safe to repeat.
pub trait Change: Inspect {
    /// Fills a buffer with bytes that nobody can guess.
    fn random<'a>(&'a self, into: &'a mut [u8]) -> Fut<'a, ()>;
    /// Writes a file atomically and durably (temporary file, fsync, rename, fsync of the directory), making
    /// missing directories with mode 0755.
    fn write<'a>(&'a self, path: &'a Path, content: &'a [u8], mode: u32) -> Fut<'a, ()>;
    /// Removes a file; gone already is fine.
    fn remove<'a>(&'a self, path: &'a Path) -> Fut<'a, ()>;
    /// Renames a file over another on the same filesystem, setting its mode first, and syncs the directory.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path, mode: u32) -> Fut<'a, ()>;
    /// Makes a symbolic link where nothing stands.
    fn link<'a>(&'a self, target: &'a Path, path: &'a Path) -> Fut<'a, ()>;
    /// Has systemd read its unit files again.
    fn reload_units(&self) -> Fut<'_, ()>;
    /// Writes a file of a unit, or a drop-in, with mode 0644 as [`write`](Self::write) does, and has systemd read its unit files
    /// again where it has read this unit before. One that is new to it, it reads by itself when it is asked for it.
    fn write_unit<'a>(&'a self, unit: &'a str, path: &'a Path, text: &'a str) -> Fut<'a, ()>;
    /// Starts a unit and waits until systemd has carried the job out, or refuses it.
    fn start<'a>(&'a self, unit: &'a str) -> Fut<'a, ()>;
    /// Queues a start and does not wait: K3s stays "activating" for as long as it cannot join.
    fn start_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()>;
    /// Restarts a unit, or starts one that is down, and waits like [`start`](Self::start).
    fn restart<'a>(&'a self, unit: &'a str) -> Fut<'a, ()>;
    /// Queues a restart and does not wait.
    fn restart_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()>;
    /// Queues a stop and does not wait. A unit that is down is fine.
    fn stop_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()>;
    /// Enables units for the next boot.
    fn enable<'a>(&'a self, unit: &'a str) -> Fut<'a, ()>;
    /// Makes a filesystem on a device that is proven blank under the same lock, as a unit of PID 1; or follows
    /// the one that runs already. Refused when the device is not the one of the order, or not blank and not
    /// marked as half-made by us.
    fn format<'a>(&'a self, order: &'a FormatOrder, progress: &'a Progress) -> Fut<'a, ()>;
    /// Grows a mounted filesystem to the size of its device, as a unit of PID 1; or follows the one that runs already.
    /// Refused when the device is not the one of the order, or not mounted there.
    fn grow<'a>(&'a self, order: &'a GrowOrder, progress: &'a Progress) -> Fut<'a, ()>;
    /// Does something at a volume's mount point, as a unit of PID 1; or follows the one that runs already. Refused when
    /// another device or filesystem is there than the order says.
    fn tend<'a>(&'a self, order: &'a TendOrder, progress: &'a Progress) -> Fut<'a, ()>;
    /// Downloads and verifies a file as a unit of PID 1; or follows the one that runs already.
    fn fetch<'a>(&'a self, order: &'a FetchOrder, progress: &'a Progress) -> Fut<'a, ()>;
    /// Frees something, as a unit of PID 1; or follows the one that runs already. What came of it is in the order's record, also
    /// when it fails.
    fn reclaim<'a>(&'a self, order: &'a ReclaimOrder, progress: &'a Progress) -> Fut<'a, ()>;
    /// Makes a file that takes all of this room on its filesystem, in the place of one that is there, readable by root alone.
    /// Refused as `Other` where the filesystem cannot promise room.
    fn reserve<'a>(&'a self, path: &'a Path, bytes: u64) -> Fut<'a, ()>;
    /// Server-side apply of a Node's labels as [`FIELD_MANAGER`], without force: keys that we owned and
    /// that are not in `labels` are removed.
    fn apply_labels<'a>(
        &'a self,
        kubeconfig: &'a Path,
        node: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> Fut<'a, ()>;
    /// Changes a Node's taints and the annotation [`OWN_TAINTS`] in one write, with uid and resourceVersion as
    /// preconditions. Refused as `Changed` when they are not any more what was looked at.
    fn set_taints<'a>(&'a self, kubeconfig: &'a Path, node: &'a str, change: &'a TaintChange) -> Fut<'a, ()>;
    /// One change of an object of the Kubernetes API, by its path (as [`Objects::write`]). Hosts that talk to nobody need
    /// not have it.
    fn write_object<'a>(&'a self, _: &'a Path, path: &'a str, _: Write<'a>) -> Fut<'a, ()> {
        Box::pin(async move { Err(no_api(path)) })
    }
    /// One exchange with a server node, within seconds. Nobody answers: an error of kind `Unreachable` or `Timeout`; somebody took
    /// the question, and gave no answer in time: `Busy`; the server's name leads to no address: `NotFound`; this machine
    /// itself cannot send to it: `Other`. The answer has no valid proof: `Denied`, and nothing of it is used. Hosts that talk to
    /// nobody need not have it.
    fn ask<'a>(&'a self, ask: &'a Ask, _: &'a dyn Proofs) -> Fut<'a, Answered> {
        Box::pin(async move {
            let message = format!("{}: this host cannot ask other machines", ask.server);
            Err(PortError::new(ErrorKind::Unreachable, message))
        })
    }
}

fn no_api(path: &str) -> PortError {
    PortError::new(ErrorKind::Unreachable, format!("{path}: this host has no Kubernetes API to ask"))
}

/// The kubeconfig of a K3s node's kubelet: it may read its own Node and set labels on it that are not reserved.
pub fn k3s_kubelet_kubeconfig() -> PathBuf {
    PathBuf::from("/var/lib/rancher/k3s/agent/kubelet.kubeconfig")
}

/// What the scripts that uninstall K3s do besides, for whoever is told to run one.
pub const UNINSTALLING_ERASES: &str =
    "that script erases volumes mounted beneath /var/lib/rancher and /var/lib/kubelet: release or unmount those first";

/// The kubeconfig of K3s's administrator, on servers.
pub fn k3s_admin_kubeconfig() -> PathBuf {
    PathBuf::from("/etc/rancher/k3s/k3s.yaml")
}

/// The kubeconfig that K3s makes at its start, by which a machine reads its own Node.
pub fn k3s_kubeconfig(server: bool) -> PathBuf {
    if server { k3s_admin_kubeconfig() } else { k3s_kubelet_kubeconfig() }
}

/// All Nodes, in the Kubernetes API.
pub const NODES: &str = "/api/v1/nodes";

/// A Node, in the Kubernetes API.
pub fn node_path(name: &str) -> String {
    format!("{NODES}/{name}")
}

/// Where systemd has the units of this machine, which are those of no package.
pub const UNITS: &str = "/etc/systemd/system";

/// Bowline's own file among K3s's configuration.
pub const K3S_CONFIG: &str = "/etc/rancher/k3s/config.yaml.d/50-bowline.yaml";

/// What K3s says of its own place in a cluster that does not take it, and of nobody else's: an API server says the rest (`401
/// Unauthorized`, `invalid bearer token`) of others' credentials, too. The last is of `k3s token rotate` on another server.
pub const K3S_SAYS_OF_ITSELF: [&str; 3] =
    ["Node password rejected", "token CA hash does not match", "encrypted with different token"];

/// All that K3s keeps on a server: the cluster's objects, its authorities, its token.
pub const K3S_SERVER: &str = "/var/lib/rancher/k3s/server";

/// Embedded etcd's data: a server that has it is a member of its cluster. The folders above it K3s makes at each start of a server,
/// also of one that never comes in, and of one whose data are in SQLite; it tells its own members by this one.
pub const K3S_ETCD_DATA: &str = "/var/lib/rancher/k3s/server/db/etcd/member/wal";

/// K3s puts this file beside etcd's data when a server's member was taken out (its Node was deleted), and then does
/// nothing more, or ends, so that systemd starts it again (k3s-io/k3s#13498); at its next start it sets the data aside and joins anew.
pub const K3S_ETCD_TOMBSTONE: &str = "/var/lib/rancher/k3s/server/db/etcd/tombstone";

/// The annotation of a Node that Bowline has cordoned, and not somebody else.
pub const CORDONED: &str = "bowline/cordoned";
