//! The settings as every other crate sees them: typed, complete, validated.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use crate::access::{Directory, Mode, Owner};
use crate::disk::DiskMatch;
use crate::enroll::Enroll;
use crate::join::{Join, Version};
use crate::k3s::{ConfigValue, Mirror, Sha256};
use crate::metrics::{Log, Metrics};
use crate::net::Cidr;
use crate::persistent::PersistentVolume;
use crate::pressure::{Measured, Pressure, Usage};
use crate::reclaim::Reclaim;
use crate::taint::Taint;

/// All settings of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// `[cluster]`: what Kubernetes to run. None: only volumes and metrics.
    pub cluster: Option<Cluster>,
    /// `[cluster] distribution = "none"`: something else runs it.
    pub managed: Option<Managed>,
    /// `[node]`: who this node is.
    pub node: Node,
    /// `[[volume]]`, in the order of their first mention. Names, mount points
    /// and devices are unique.
    pub volumes: Vec<Volume>,
    /// `[enroll]`: whom this server lets into its cluster. None where it lets in
    /// nobody: an agent, or a server without a cluster key.
    pub enroll: Option<Enroll>,
    /// `[metrics]`: where they are served, and to whom.
    pub metrics: Metrics,
    /// `[pressure]`: when a disk that fills is told of.
    pub pressure: Pressure,
    /// `[usage]`: how often and how hard directories are measured.
    pub usage: Usage,
    /// `[[directory]]`, in the order of their first mention: what is measured besides the distribution's own.
    pub directories: Vec<Measured>,
    /// `[reclaim]`: what is freed where a filesystem fills. Empty: nothing.
    pub reclaim: Reclaim,
    /// `[log]`: how much is logged.
    pub log: Log,
}

impl Settings {
    /// Whether nothing is set: the package came before its settings, and waits.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }
}

/// `[cluster]`: the Kubernetes that this node runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cluster {
    /// Whose Kubernetes it is.
    pub distribution: Distribution,
    /// The release.
    pub version: Version,
    /// What this node does in the cluster.
    pub role: Role,
    /// SHA-256 sums of the K3s binary, for architectures that have one pinned.
    pub sha256: BTreeMap<Arch, Sha256>,
    /// Where releases come from; None is K3s's own release page.
    pub mirror: Option<Mirror>,
    /// An absolute path to PEM certificates that alone are trusted for
    /// the mirror.
    pub ca_file: Option<PathBuf>,
    /// `[cluster.config]`: K3s options by their long name without dashes. A name
    /// that ends in `+` adds to what K3s's other configuration files have.
    pub config: BTreeMap<String, ConfigValue>,
    /// `servers`, `ticket`, `key-file`, `datastore`, `init`: how the node comes in.
    #[serde(flatten)]
    pub join: Join,
}

/// A Kubernetes that something else manages, such as Kubespray.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Managed {
    /// The services that wait for the volumes (`kubelet.service`); unique.
    pub services: Vec<String>,
}

/// A Kubernetes distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// K3s.
    K3s,
}

/// What a node does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It has the API and the data, and runs pods.
    Server,
    /// It runs pods.
    Agent,
}

impl Role {
    /// The name as written in the settings, in tickets and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }

    /// K3s's service, as K3s's own installer names it.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Server => "k3s.service",
            Self::Agent => "k3s-agent.service",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A processor architecture, by Kubernetes's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Arch {
    /// The name as Kubernetes and K3s write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[node]`: who this node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Node {
    /// The node's name in the cluster; None is the host name.
    pub name: Option<String>,
    /// The network that the node's own address is in. None: any address will do
    /// that the default route uses.
    pub address: Option<Cidr>,
    /// The address that the outside world knows the node by.
    pub external_address: Option<ExternalAddress>,
    /// Labels of the node, valid by Kubernetes's rules; values may have [facts](crate::Fact) in braces in them.
    pub labels: BTreeMap<String, String>,
    /// Taints of the node; no two have both key and effect in common.
    pub taints: Vec<Taint>,
}

/// An address, or the fact that it is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalAddress {
    /// This address, as written.
    Ip(IpAddr),
    /// `{public-ipv4}`: what the cloud says.
    PublicIpv4,
}

impl fmt::Display for ExternalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::PublicIpv4 => f.write_str("{public-ipv4}"),
        }
    }
}

impl Serialize for ExternalAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One `[[volume]]`: a disk, its filesystem and its place in the tree.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Volume {
    /// 1 to 12 of `a-z`, `0-9` and `-`, so that it fits an XFS label.
    pub name: String,
    /// Which disk it is.
    #[serde(flatten)]
    pub source: VolumeSource,
    /// The absolute mount point, without `.`, `..`, spaces or a `/` at its end.
    pub mount: PathBuf,
    /// What the disk has, or gets.
    pub filesystem: Filesystem,
    /// Mount options, one an item.
    pub options: Vec<String>,
    /// Whether the disk may be formatted.
    pub format: Format,
    /// Whether Kubernetes waits for it.
    pub gate: bool,
    /// Whether its filesystem grows when its disk does.
    pub growth: bool,
    /// Whether a filesystem that has to be repaired may be.
    pub repair: Repair,
    /// Whose its own directory is, kept; None leaves that as it is.
    pub owner: Option<Owner>,
    /// The mode of its own directory, kept; None leaves that as it is.
    pub mode: Option<Mode>,
    /// Made where they are missing; paths are unique.
    pub directories: Vec<Directory>,
    /// What Kubernetes is told of it.
    #[serde(skip_serializing_if = "Option::is_none", rename = "persistent-volume")]
    pub persistent: Option<PersistentVolume>,
}

/// How a volume's disk is told from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeSource {
    /// By a path below `/dev`, best one of `/dev/disk/by-id`.
    Device(PathBuf),
    /// By the serial number that the kernel reports.
    Serial(String),
    /// By what it is like.
    Match(DiskMatch),
    /// By a path; as long as there is no such path, by what the disk is like.
    DeviceOrMatch {
        /// Below `/dev`.
        device: PathBuf,
        /// What it is like.
        fits: DiskMatch,
    },
}

impl fmt::Display for VolumeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => path.display().fmt(f),
            Self::Serial(serial) => write!(f, "serial {serial}"),
            Self::Match(fits) => write!(f, "with {fits}"),
            Self::DeviceOrMatch { device, fits } => write!(f, "{} or with {fits}", device.display()),
        }
    }
}

/// A filesystem that Bowline can make and mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// ext4.
    #[default]
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl Filesystem {
    /// The name as `mount` and `blkid` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a volume's disk may be formatted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// It may not: what is on it is used or refused.
    #[default]
    Never,
    /// It may, when it is proven blank.
    BlankOnly,
}

/// Whether a filesystem that has to be repaired may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repair {
    /// It is refused, with the command that would do it.
    #[default]
    Never,
    /// What loses nothing (`e2fsck -p -f`, `xfs_repair` without `-L`).
    Safe,
}

/// The path without symbolic meaning: absolute, no `.`, `..`, `//` or final `/`.
pub(crate) fn is_normal(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    path.is_absolute()
        && (text == b"/"
            || text
                .get(1..)
                .unwrap_or_default()
                .split(|byte| *byte == b'/')
                .all(|part| !part.is_empty() && part != b"." && part != b".."))
}
