//! What a scenario says of the machine, in TOML or in code.

use super::state::Disorder;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A machine before Bowline's first look.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct World {
    /// The kernel's host name.
    pub host_name: String,
    /// `interface address`, one a line.
    pub addresses: Vec<String>,
    /// The interface of the default route.
    pub default_route: Option<String>,
    /// Seconds since 1970.
    pub clock: i64,
    /// Whether the clock is synchronised.
    pub synchronised: bool,
    /// Attached disks.
    pub disks: Vec<WorldDisk>,
    /// Path -> text.
    pub files: BTreeMap<PathBuf, String>,
    /// Files that root alone can read, and their text.
    pub secrets: BTreeMap<PathBuf, String>,
    /// A port that something else listens on.
    pub busy_port: Option<u16>,
    /// How K3s behaves.
    pub k3s: WorldK3s,
    /// Labels that others set on the Node as soon as it exists.
    pub labels: Vec<WorldLabel>,
    /// Taints that others set on the Node as soon as it exists (`key=value:effect`).
    pub taints: Vec<String>,
    /// Whether the kernel can close ports to pods.
    pub nftables: bool,
    /// Servers that can be asked (`host:port`), and what they answer, one after the other; the last one again and
    /// again. Any other server is unreachable.
    pub answers: BTreeMap<String, Vec<WorldAnswer>>,
    /// The cloud that the machine is in.
    pub cloud: Option<WorldCloud>,
    /// How full all filesystems are.
    pub space: WorldSpace,
}

impl Default for World {
    fn default() -> Self {
        Self {
            host_name: "n1".into(),
            addresses: vec!["lo 127.0.0.1".into(), "eth0 203.0.113.7".into(), "eth1 10.0.1.10".into()],
            default_route: Some("eth0".into()),
            clock: 1_800_000_000,
            synchronised: true,
            disks: vec![WorldDisk::root()],
            files: BTreeMap::new(),
            secrets: BTreeMap::new(),
            busy_port: None,
            k3s: WorldK3s::default(),
            labels: Vec::new(),
            taints: Vec::new(),
            nftables: true,
            answers: BTreeMap::new(),
            cloud: None,
            space: WorldSpace::default(),
        }
    }
}

/// How full filesystems are: all of them alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct WorldSpace {
    /// Bytes in all.
    pub size: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that can be freed, by the name of what they are (`journal`).
    pub garbage: BTreeMap<String, u64>,
}

impl Default for WorldSpace {
    fn default() -> Self {
        Self { size: 100 << 30, free: 75 << 30, garbage: BTreeMap::new() }
    }
}

/// A cloud: what the firmware says of it, and its metadata service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct WorldCloud {
    /// Files of `/sys/class/dmi/id`.
    pub dmi: BTreeMap<String, String>,
    /// The header without which the service says no (`metadata-flavor: Google`).
    pub header: Option<String>,
    /// The path of the token without which it says no.
    pub token: Option<String>,
    /// What it says, by path and query.
    pub answers: BTreeMap<String, String>,
    /// What goes wrong the next times that it is asked.
    pub trouble: Vec<WorldTrouble>,
}

/// What comes of asking the metadata service when not an answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorldTrouble {
    /// There is no connection to it.
    Unreachable,
    /// It takes the connection and says nothing.
    Silent,
    /// It says that it has too much to do.
    Overloaded,
    /// It says what nobody understands.
    Nonsense,
}

/// A disk of the world.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct WorldDisk {
    /// `/dev/sdb`.
    pub path: PathBuf,
    /// Serial.
    pub serial: Option<String>,
    /// That is its controller's, and other disks' as well.
    pub shared: bool,
    /// Bytes.
    pub size: u64,
    /// Links made by udev.
    pub links: Vec<PathBuf>,
    /// `blank`, `raw`, `buried`, `half-made`, `gpt`, `unreadable`, `ambivalent`, a filesystem such as `ext4`, or a part of something
    /// else such as `crypto_LUKS`.
    pub content: String,
    /// UUID of the filesystem, where there is one.
    pub uuid: Option<String>,
    /// How many bytes of the disk the filesystem takes, where that is not all of them.
    pub extent: Option<u64>,
    /// What is wrong with its files: `light`, or `deep` where somebody has to decide what is lost; `noted` where it only says that it
    /// met errors.
    pub disorder: String,
    /// It holds the running system.
    pub root: bool,
    /// Mounted by somebody else at boot.
    pub mounted_at: Option<PathBuf>,
    /// Devices built on it.
    pub holders: Vec<String>,
    /// Partitions on it.
    pub partitions: Vec<PathBuf>,
}

impl WorldDisk {
    pub(super) fn disorder(&self) -> Option<Disorder> {
        match self.disorder.as_str() {
            "noted" => Some(Disorder::Noted),
            "light" => Some(Disorder::Light),
            "deep" => Some(Disorder::Deep),
            _ => None,
        }
    }

    /// The disk that every machine has.
    pub fn root() -> Self {
        Self {
            path: "/dev/sda".into(),
            serial: Some("root".into()),
            size: 40 << 30,
            content: "gpt".into(),
            root: true,
            partitions: vec!["/dev/sda1".into()],
            ..Self::default()
        }
    }

    /// A volume as Hetzner attaches it: blank, with its number as serial.
    pub fn volume(path: &str, serial: &str) -> Self {
        Self {
            path: path.into(),
            serial: Some(serial.into()),
            size: 20 << 30,
            links: vec![format!("/dev/disk/by-id/scsi-0HC_Volume_{serial}").into()],
            content: "blank".into(),
            ..Self::default()
        }
    }
}

/// How K3s behaves in the world.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct WorldK3s {
    /// Versions that can be downloaded.
    pub releases: Vec<String>,
    /// What a download is instead of the version that was asked for.
    pub serves: Option<String>,
    /// It ends at once with these last words.
    pub dies_with: Option<String>,
    /// Its Node never becomes Ready, for this reason.
    pub never_ready: Option<String>,
}

impl Default for WorldK3s {
    fn default() -> Self {
        Self { releases: vec!["v1.34.1+k3s1".into()], serves: None, dies_with: None, never_ready: None }
    }
}

/// A label that somebody else keeps.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WorldLabel {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// Field manager.
    pub manager: String,
}

/// What a server answers, or why nothing comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WorldAnswer {
    /// A proven answer.
    Says {
        /// HTTP status.
        status: u16,
        /// Its body.
        body: String,
    },
    /// It lets the machine in, and gives its Node what it says: proven answers to the two questions. `now` in them is what its
    /// clock says when the world begins. What a machine that has left asks it does not know.
    LetsIn {
        /// The body of a grant.
        enroll: String,
        /// The body of the answer about the Node: its labels are set, and the startup taint goes when all is in place.
        node: String,
    },
    /// There is no connection to it.
    Unreachable,
    /// It takes the question and says nothing.
    Silent,
    /// Its name leads to no address.
    Nameless,
    /// The machine itself has no route to it.
    NoWay,
    /// It answers, and the proof is wrong.
    Unproven,
}
