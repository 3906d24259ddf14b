//! The simulated machine itself.

use super::mounts::number_of;
use super::work::AtWork;
use super::world::{World, WorldAnswer, WorldCloud, WorldDisk, WorldK3s, WorldLabel, WorldSpace};
use bowline_ports::{
    Access, Address, Ask, BOOT_ID, BlockDevice, DeviceId, File, FileKind, Filesystem, Job, Meta, Mount, NodeObject,
    Probe, Signature, SignatureKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// What a disk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Zeros.
    Blank,
    /// A complete filesystem; `precious` when somebody stored something on it.
    Filesystem {
        /// Its type.
        name: String,
        /// Its UUID.
        uuid: String,
        /// Something was stored on it.
        precious: bool,
    },
    /// A filesystem that was begun: bytes without a signature, with nothing stored on it.
    HalfMade,
    /// Bytes of a stranger, without a signature.
    Raw,
    /// The same in a place where a look does not come by: it is found by the proof, and from then on by looks.
    Buried,
    /// A partition table.
    Partitioned,
    /// A part of something else that is not in use, such as a LUKS that is closed.
    Member,
    /// Two signatures that contradict each other.
    Ambivalent,
    /// It cannot be read.
    Unreadable,
}

/// What is wrong with the files of a filesystem, which it has written down itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disorder {
    /// It has noted that it met errors, and nothing is wrong with them.
    Noted,
    /// It can be repaired without losing anything.
    Light,
    /// Somebody has to decide what is lost.
    Deep,
}

#[derive(Clone)]
pub(super) struct Disk {
    /// The name that it had first: which disk it is, whatever it is called later.
    pub(super) home: PathBuf,
    pub(super) device: BlockDevice,
    pub(super) content: Content,
    /// What is in disorder in its filesystem.
    pub(super) disorder: Option<Disorder>,
    /// Bytes that its filesystem takes.
    pub(super) extent: u64,
}

impl Disk {
    /// That of its filesystem.
    pub(super) fn uuid(&self) -> Option<&str> {
        match &self.content {
            Content::Filesystem { uuid, .. } => Some(uuid),
            _ => None,
        }
    }

    /// It, with what udev notes of what it holds.
    pub(super) fn noted(&self) -> BlockDevice {
        let uuid = self.uuid().filter(|_| self.device.announced).map(str::to_owned);
        BlockDevice { uuid, ..self.device.clone() }
    }
}

/// What a pod has mounted, whatever becomes of the machine's own mounts.
pub(super) struct Held {
    /// `NAMESPACE/NAME`.
    pub(super) pod: String,
    pub(super) mount: Mount,
    /// That of the filesystem.
    pub(super) uuid: Option<String>,
}

#[derive(Clone)]
pub(super) struct SimUnit {
    pub(super) active: bool,
    pub(super) started: bool,
    pub(super) failed: Option<String>,
    pub(super) since: Instant,
    pub(super) ended: Option<Instant>,
    /// It went down in two steps, as what systemd unmounts does.
    pub(super) in_steps: bool,
    /// Its gate did not open when it was to be started last.
    pub(super) held_out: bool,
}

pub(super) struct State {
    /// How often random bytes were asked for: each time others come.
    pub(super) random: u8,
    pub(super) host_name: String,
    pub(super) addresses: Vec<Address>,
    pub(super) default_route: Option<String>,
    pub(super) clock: i64,
    pub(super) synchronised: bool,
    pub(super) busy_port: Option<u16>,
    pub(super) k3s: WorldK3s,
    pub(super) foreign_labels: Vec<WorldLabel>,
    pub(super) foreign_taints: Vec<String>,
    pub(super) files: BTreeMap<PathBuf, File>,
    pub(super) disks: Vec<Disk>,
    /// Taken out.
    pub(super) away: Vec<Disk>,
    /// Device unit -> when its disk came back.
    pub(super) came: BTreeMap<String, Instant>,
    /// Directories on volumes, and whose they are.
    pub(super) arranged: BTreeMap<PathBuf, Access>,
    /// Bare mount points that nobody can write to.
    pub(super) shielded: BTreeSet<PathBuf>,
    /// What pods have mounted for themselves.
    pub(super) held: Vec<Held>,
    /// A mount that somebody uses.
    pub(super) in_use: Option<PathBuf>,
    pub(super) foreign_mounts: Vec<(PathBuf, PathBuf)>,
    pub(super) mounts: Vec<Mount>,
    pub(super) loaded: BTreeMap<PathBuf, String>,
    pub(super) units: BTreeMap<String, SimUnit>,
    /// Long work as it is told.
    pub(super) jobs: BTreeMap<String, Job>,
    /// And the units that do it.
    pub(super) work: BTreeMap<String, AtWork>,
    /// What the agent saw under way at its last look.
    pub(super) seen_at_work: BTreeSet<String>,
    pub(super) node: Option<NodeObject>,
    /// Other objects of the API, by their paths.
    pub(super) objects: BTreeMap<String, serde_json::Value>,
    /// The API answers something else where a list is asked for.
    pub(super) no_lists: bool,
    /// How many versions of them there were.
    pub(super) versions: u64,
    pub(super) answers: BTreeMap<String, Vec<WorldAnswer>>,
    pub(super) asked: Vec<Ask>,
    pub(super) cloud: Option<WorldCloud>,
    /// How often its metadata service was asked.
    pub(super) metadata_asks: usize,
    pub(super) violations: Vec<String>,
    pub(super) k3s_starts: u32,
    /// When a server that was started with etcd's tombstone comes to read it.
    pub(super) k3s_rejoins: Option<Instant>,
    /// How many of them were with ports open to pods.
    pub(super) open_starts: u32,
    /// The kernel can close ports.
    pub(super) nftables: bool,
    /// How full filesystems are, and whether the disk of the system takes no byte more.
    pub(super) space: WorldSpace,
    pub(super) full: bool,
    /// A file that takes room without having all of its bytes here.
    pub(super) reserve: Option<(PathBuf, u64)>,
    pub(super) began: Instant,
    pub(super) booted: Instant,
    /// How often it was booted.
    pub(super) boots: u32,
}

impl State {
    pub(super) fn new(world: &World) -> Self {
        let mut state = Self {
            random: 0,
            host_name: world.host_name.clone(),
            addresses: world.addresses.iter().filter_map(|a| address(a)).collect(),
            default_route: world.default_route.clone(),
            clock: world.clock,
            synchronised: world.synchronised,
            busy_port: world.busy_port,
            k3s: world.k3s.clone(),
            foreign_labels: world.labels.clone(),
            foreign_taints: world.taints.clone(),
            files: BTreeMap::new(),
            disks: Vec::new(),
            away: Vec::new(),
            came: BTreeMap::new(),
            arranged: BTreeMap::new(),
            shielded: BTreeSet::new(),
            held: Vec::new(),
            in_use: None,
            foreign_mounts: Vec::new(),
            mounts: Vec::new(),
            loaded: BTreeMap::new(),
            units: BTreeMap::new(),
            jobs: BTreeMap::new(),
            work: BTreeMap::new(),
            seen_at_work: BTreeSet::new(),
            node: None,
            objects: BTreeMap::new(),
            no_lists: false,
            versions: 0,
            answers: world.answers.clone(),
            asked: Vec::new(),
            cloud: world.cloud.clone(),
            metadata_asks: 0,
            violations: Vec::new(),
            k3s_starts: 0,
            k3s_rejoins: None,
            open_starts: 0,
            nftables: world.nftables,
            space: world.space.clone(),
            full: false,
            reserve: None,
            began: Instant::now(),
            booted: Instant::now(),
            boots: 0,
        };
        state.install_guard();
        for disk in &world.disks {
            state.attach(disk);
        }
        for (path, text) in &world.files {
            state.put(path, text.clone().into_bytes(), 0o644);
        }
        for (path, text) in &world.secrets {
            state.put(path, text.clone().into_bytes(), 0o600);
        }
        for (name, text) in world.cloud.iter().flat_map(|cloud| &cloud.dmi) {
            state.put(&Path::new("/sys/class/dmi/id").join(name), format!("{text}\n").into_bytes(), 0o444);
        }
        state
    }

    /// Plugs a disk in; one that is there already only changes.
    pub(super) fn attach(&mut self, disk: &WorldDisk) {
        let there = self.disks.iter().position(|d| d.device.path == disk.path);
        let content = content_of(disk);
        if let Some(at) = &disk.mounted_at {
            self.foreign_mounts.push((disk.path.clone(), at.clone()));
        }
        let (shared_serial, serial) =
            if disk.shared { (disk.serial.clone(), None) } else { (None, disk.serial.clone()) };
        let device = BlockDevice {
            path: disk.path.clone(),
            number: number_of(&disk.path),
            id: DeviceId { serial, size: disk.size },
            shared_serial,
            vendor: "SIM".into(),
            model: "Volume".into(),
            transport: "scsi".into(),
            links: disk.links.clone(),
            announced: true,
            partitions: disk.partitions.clone(),
            holders: disk.holders.clone(),
            member: if content == Content::Member { disk.content.clone() } else { String::new() },
            root: disk.root,
            ..BlockDevice::default()
        };
        let extent = disk.extent.unwrap_or(device.id.size);
        let disk_there = Disk { home: disk.path.clone(), device, content, disorder: disk.disorder(), extent };
        match there {
            Some(index) => self.disks[index] = disk_there,
            None => self.disks.push(disk_there),
        }
        if let Some(at) = disk.mounted_at.clone() {
            self.mount(&disk.path.clone(), &at);
        }
    }

    pub(super) fn put(&mut self, path: &Path, content: Vec<u8>, mode: u32) {
        let modified = self.unix().saturating_mul(1_000_000_000);
        self.files.insert(path.to_path_buf(), File { content, mode, uid: 0, modified });
    }

    /// A file, or what the kernel tells as one.
    pub(super) fn read(&self, path: &Path) -> Option<File> {
        if path == Path::new(BOOT_ID) {
            let id = format!("b0071d00-0000-4000-8000-{:012x}\n", self.boots);
            return Some(File { content: id.into_bytes(), mode: 0o444, uid: 0, modified: 0 });
        }
        self.files.get(path).cloned()
    }

    pub(super) fn uptime(&self) -> u64 {
        self.booted.elapsed().as_secs()
    }

    pub(super) fn unix(&self) -> i64 {
        self.clock + i64::try_from(self.began.elapsed().as_secs()).unwrap_or(0)
    }

    pub(super) fn meta(&self, path: &Path) -> Option<Meta> {
        let meta = |kind, mode, size, device: &str| {
            let bare = || self.mounts.iter().all(|mount| mount.target != path);
            let immutable = (kind == FileKind::Directory).then(|| bare() && self.shielded.contains(path));
            Some(Meta { kind, mode, owner: (0, 0), size, device: device.into(), immutable })
        };
        if let Some(disk) =
            self.disks.iter().find(|d| d.device.path == path || d.device.links.iter().any(|link| link == path))
        {
            return meta(FileKind::Block, 0o660, disk.device.id.size, &disk.device.number);
        }
        if let Some(file) = self.files.get(path) {
            let reserved = self.reserve.as_ref().filter(|(at, _)| at == path).map(|(_, bytes)| *bytes);
            return meta(FileKind::File, file.mode, reserved.unwrap_or(file.content.len() as u64), "0:1");
        }
        let mounted = self.mounts.iter().any(|m| m.target != Path::new("/") && path.starts_with(&m.target));
        if let (true, Some(access)) = (mounted, self.arranged.get(path)) {
            let (mode, owner) = (access.mode.unwrap_or(0o755), access.owner.unwrap_or_default());
            let immutable = Some(false);
            return Some(Meta { kind: FileKind::Directory, mode, owner, size: 0, device: "0:1".into(), immutable });
        }
        let directory = self.files.keys().any(|p| p.starts_with(path))
            || self.mounts.iter().any(|m| m.target == path)
            || self.shielded.contains(path);
        if directory { meta(FileKind::Directory, 0o755, 0, "0:1") } else { None }
    }

    pub(super) fn list(&self, path: &Path) -> Option<Vec<String>> {
        self.meta(path).filter(|m| m.kind == FileKind::Directory)?;
        let mut names: Vec<String> = self
            .files
            .keys()
            .filter_map(|p| p.strip_prefix(path).ok()?.components().next())
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.dedup();
        Some(names)
    }

    /// The bytes that a filesystem takes.
    pub(super) fn extent(&self, device: &Path, filesystem: Filesystem) -> Option<u64> {
        let disk = self.disks.iter().find(|disk| disk.device.path == device)?;
        let fits = matches!(&disk.content, Content::Filesystem { name, .. } if name == filesystem.name());
        fits.then_some(disk.extent)
    }

    pub(super) fn probe(&self, path: &Path) -> Option<Probe> {
        let disk = self.disks.iter().find(|d| d.device.path == path)?;
        let mut probe = Probe {
            signatures: Vec::new(),
            ambivalent: false,
            data_at: None,
            zeros: 0,
            read_error: None,
            last_mount: None,
            disks: 1,
        };
        match &disk.content {
            Content::Blank | Content::Buried => probe.zeros = 4 << 20,
            Content::Filesystem { name, uuid, .. } => {
                probe.signatures.push(signature(SignatureKind::Filesystem, name, Some(uuid)));
                probe.data_at = Some(1024);
            }
            Content::HalfMade | Content::Raw => probe.data_at = Some(4096),
            Content::Partitioned => {
                probe.signatures.push(signature(SignatureKind::PartitionTable, "gpt", None));
                probe.data_at = Some(512);
            }
            Content::Member => {
                probe.signatures.push(signature(SignatureKind::Member, &disk.device.member, None));
                probe.data_at = Some(512);
            }
            Content::Ambivalent => (probe.ambivalent, probe.data_at) = (true, Some(1024)),
            Content::Unreadable => probe.read_error = Some("Input/output error at byte 0".into()),
        }
        Some(probe)
    }
}

/// What a disk of the world holds.
pub(super) fn content_of(disk: &WorldDisk) -> Content {
    let uuid = disk.uuid.clone().unwrap_or_else(|| "11111111-2222-3333-4444-555555555555".into());
    match disk.content.as_str() {
        "gpt" => Content::Partitioned,
        "crypto_LUKS" | "LVM2_member" | "linux_raid_member" => Content::Member,
        "raw" => Content::Raw,
        "buried" => Content::Buried,
        "half-made" => Content::HalfMade,
        "unreadable" => Content::Unreadable,
        "ambivalent" => Content::Ambivalent,
        name @ ("ext4" | "xfs" | "btrfs" | "vfat" | "ntfs" | "autofs") => {
            Content::Filesystem { name: name.into(), uuid, precious: true }
        }
        _ => Content::Blank,
    }
}

fn signature(kind: SignatureKind, name: &str, uuid: Option<&String>) -> Signature {
    Signature { kind, name: name.into(), uuid: uuid.cloned(), label: None }
}

pub(super) fn address(text: &str) -> Option<Address> {
    let (interface, address) = text.split_once(' ')?;
    Some(Address { interface: interface.into(), address: address.trim().parse().ok()? })
}
