//! Block devices as sysfs, udev and the mount table show them.

use super::mounts;
use bowline_ports::{BlockDevice, DeviceId, Mount, PortError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// Where the kernel and udev show devices.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// `/sys`
    pub(crate) sys: PathBuf,
    /// `/run/udev/data`
    pub(crate) udev: PathBuf,
    /// `/dev`
    pub(crate) dev: PathBuf,
}

impl Default for Tree {
    fn default() -> Self {
        Self { sys: "/sys".into(), udev: "/run/udev/data".into(), dev: "/dev".into() }
    }
}

/// All devices of this machine; `swaps` are the devices in use as swap, where the caller knows them.
pub(crate) fn read(swaps: &[PathBuf]) -> Result<Vec<BlockDevice>, PortError> {
    Tree::default().devices(&mounts::read()?, swaps)
}

/// The devices in `/proc/swaps`; an error of kind `NotFound` where the sandbox hides it.
pub(crate) fn proc_swaps() -> Result<Vec<PathBuf>, PortError> {
    let text = fs::read_to_string("/proc/swaps").map_err(|e| PortError::io("reading /proc/swaps", &e))?;
    Ok(text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(PathBuf::from).collect())
}

impl Tree {
    /// All devices that could hold a filesystem, sorted by path.
    pub(crate) fn devices(&self, mounts: &[Mount], swaps: &[PathBuf]) -> Result<Vec<BlockDevice>, PortError> {
        let class = self.sys.join("class/block");
        let entries =
            fs::read_dir(&class).map_err(|e| PortError::io(format_args!("listing {}", class.display()), &e))?;
        let mut devices: BTreeMap<String, BlockDevice> = BTreeMap::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(device) = self.device(&name) {
                devices.insert(name, device);
            }
        }
        self.take_shared_serials(&mut devices);
        let partitions: Vec<(String, PathBuf)> = devices
            .iter()
            .filter_map(|(name, device)| Some((self.name(device.partition_of.as_ref()?), self.node(name))))
            .collect();
        for (disk, partition) in partitions {
            if let Some(disk) = devices.get_mut(&disk) {
                disk.partitions.push(partition);
            }
        }
        let mut devices: Vec<BlockDevice> = devices.into_values().collect();
        self.mark_uses(&mut devices, mounts, swaps);
        devices.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(devices)
    }

    /// `/dev/NAME`; sysfs writes `!` for the slash in it.
    fn node(&self, name: &str) -> PathBuf {
        self.dev.join(name.replace('!', "/"))
    }

    /// The name that sysfs has for a node.
    fn name(&self, node: &Path) -> String {
        node.strip_prefix(&self.dev).unwrap_or(node).to_string_lossy().replace('/', "!")
    }

    /// One device by itself; `None` for what cannot hold a filesystem, or went away while it was read.
    fn device(&self, name: &str) -> Option<BlockDevice> {
        if ["ram", "zram", "sr", "fd"]
            .iter()
            .any(|p| name.strip_prefix(p).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())))
        {
            return None;
        }
        let directory = leads_to(&self.sys.join("class/block").join(name))?;
        let number = line(&directory.join("dev"))?;
        let size = line(&directory.join("size"))?.parse::<u64>().ok()?.checked_mul(512)?;
        let is_partition = directory.join("partition").exists();
        let is_unused_loop = || name.starts_with("loop") && !directory.join("loop/backing_file").exists();
        if size == 0 || (!is_partition && is_unused_loop()) {
            return None;
        }
        let path = self.node(name);
        let disk = is_partition.then(|| directory.parent().map(Path::to_path_buf)).flatten();
        let partition_of =
            disk.as_ref().and_then(|d| d.file_name()).map(|disk_name| self.node(&disk_name.to_string_lossy()));
        let serial = if partition_of.is_some() { None } else { serial(&directory) };
        let described = disk.as_ref().unwrap_or(&directory).join("device");
        // There from when udev has come to it.
        let record = fs::read(self.udev.join(format!("b{number}"))).ok();
        let record = record.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let links = self.links(record.as_deref(), &path);
        Some(BlockDevice {
            uuid: self.uuid(record.as_deref(), &links),
            links,
            announced: record.is_some() || !self.udev.exists(),
            path,
            id: DeviceId { serial, size },
            shared_serial: None,
            vendor: line(&described.join("vendor")).filter(|v| !v.starts_with("0x")).unwrap_or_default(),
            model: line(&described.join("model")).unwrap_or_default(),
            transport: transport(disk.as_deref().unwrap_or(&directory)).to_owned(),
            network: passes(&directory, "session"),
            partition_of,
            partitions: Vec::new(),
            holders: names(&directory.join("holders")),
            member: member(record.as_deref().unwrap_or_default()),
            mounted_at: Vec::new(),
            swap: false,
            root: false,
            read_only: line(&directory.join("ro")).is_some_and(|v| v != "0"),
            number,
        })
    }

    /// A namespace of an NVMe controller tells that one's serial. It is a disk's own where the disk is all that the controller is there
    /// for.
    fn take_shared_serials(&self, devices: &mut BTreeMap<String, BlockDevice>) {
        let directory = |name: &str| self.sys.join("class/block").join(name);
        let is_namespace = |name: &str, device: &BlockDevice| name.starts_with("nvme") && device.partition_of.is_none();
        let namespaces: Vec<(String, Option<PathBuf>)> = devices
            .iter()
            .filter(|(name, device)| is_namespace(name, device))
            .map(|(name, _)| (name.clone(), fs::canonicalize(directory(name).join("device")).ok()))
            .collect();
        for (name, controller) in &namespaces {
            let beside = || namespaces.iter().any(|(other, its)| other != name && its.is_some() && its == controller);
            let further = || line(&directory(name).join("nsid")).is_some_and(|number| number != "1");
            if let Some(device) = devices.get_mut(name)
                && (further() || beside() || tells_one_for_all(device))
            {
                device.shared_serial = device.id.serial.take();
            }
        }
    }

    /// The links that udev recorded, as far as they lead here now: two devices may claim one link.
    fn links(&self, record: Option<&str>, path: &Path) -> Vec<PathBuf> {
        // The kernel is asked for every part of the way only where a link leads to another one.
        let leads_here = |link: &PathBuf| match leads_to(link) {
            Some(target) if target == *path => true,
            Some(target) if !target.is_symlink() => false,
            _ => fs::canonicalize(link).is_ok_and(|target| target == *path),
        };
        let mut links: Vec<PathBuf> = match record {
            Some(text) => {
                text.lines().filter_map(|l| l.strip_prefix("S:")).map(|l| self.dev.join(l)).filter(leads_here).collect()
            }
            // Without udev somebody may have made links by hand.
            None => names(&self.dev.join("disk"))
                .iter()
                .flat_map(|kind| {
                    let directory = self.dev.join("disk").join(kind);
                    names(&directory).into_iter().map(move |n| directory.join(n)).collect::<Vec<_>>()
                })
                .filter(leads_here)
                .collect(),
        };
        links.sort_unstable();
        links
    }

    /// The UUID that udev recorded of what is on it; without udev, the one of a link that leads to it.
    fn uuid(&self, record: Option<&str>, links: &[PathBuf]) -> Option<String> {
        let by_uuid = self.dev.join("disk/by-uuid");
        match record {
            Some(text) => text.lines().find_map(|line| line.strip_prefix("E:ID_FS_UUID=")).map(str::to_owned),
            None => links.iter().find_map(|link| Some(link.strip_prefix(&by_uuid).ok()?.display().to_string())),
        }
    }

    /// Mounts, swap, the running system, and btrfs's further devices: for each device, its partitions and those
    /// built on it.
    fn mark_uses(&self, devices: &mut [BlockDevice], mounts: &[Mount], swaps: &[PathBuf]) {
        let mounted: Vec<(String, &Path)> =
            mounts.iter().map(|m| (self.filesystem_device(m), m.target.as_path())).collect();
        let system = ["/", "/boot", "/boot/efi", "/usr", "/efi"].map(Path::new);
        let system: BTreeSet<&str> =
            mounted.iter().filter(|(_, target)| system.contains(target)).map(|(number, _)| number.as_str()).collect();
        let swaps: BTreeSet<String> = swaps.iter().filter_map(|path| device_number(path)).collect();
        let multiple = self.btrfs_members();
        // Name -> what is built on it or cut out of it.
        let above: BTreeMap<String, Vec<String>> = devices
            .iter()
            .map(|d| (name_of(&d.path), d.partitions.iter().map(|p| name_of(p)).chain(d.holders.clone()).collect()))
            .collect();
        let mut networked = BTreeSet::new();
        for device in devices.iter().filter(|device| device.network) {
            reaches(&name_of(&device.path), &above, &mut networked, &|_| false);
        }
        let numbers: BTreeMap<String, String> = devices.iter().map(|d| (name_of(&d.path), d.number.clone())).collect();
        for device in devices.iter_mut() {
            let own: BTreeSet<&str> = std::iter::once(device.number.as_str())
                .chain(device.partitions.iter().filter_map(|p| numbers.get(&name_of(p)).map(String::as_str)))
                .collect();
            let mut targets: Vec<PathBuf> =
                mounted.iter().filter(|(n, _)| own.contains(n.as_str())).map(|(_, t)| t.to_path_buf()).collect();
            targets.sort_unstable();
            targets.dedup();
            let swap = own.iter().any(|n| swaps.contains(*n));
            let root = reaches(&name_of(&device.path), &above, &mut BTreeSet::new(), &|name| {
                numbers.get(name).is_some_and(|n| system.contains(n.as_str()))
            });
            if targets.is_empty()
                && let Some(uuid) = multiple.get(&self.name(&device.path))
            {
                device.holders.push(format!("btrfs {uuid}"));
            }
            device.network = networked.contains(&name_of(&device.path));
            (device.mounted_at, device.swap, device.root) = (targets, swap, root);
        }
    }

    fn filesystem_device(&self, mount: &Mount) -> String {
        filesystem_device(mount, &self.dev)
    }

    /// Device name -> UUID, of all devices of the btrfs filesystems in use.
    fn btrfs_members(&self) -> BTreeMap<String, String> {
        let all = self.sys.join("fs/btrfs");
        let mut members = BTreeMap::new();
        for uuid in names(&all) {
            for device in names(&all.join(&uuid).join("devices")) {
                members.insert(device, uuid.clone());
            }
        }
        members
    }
}

/// What makes a device a part of something else, as udev's record of it has it.
fn member(record: &str) -> String {
    let value = |key: &str| record.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let kind = value("E:ID_FS_TYPE=");
    // Those of ZFS count as filesystems there.
    let is = ["raid", "crypto"].contains(&value("E:ID_FS_USAGE=")) || kind.ends_with("_member");
    if is { kind.to_owned() } else { String::new() }
}

/// Where a link leads by its own text: links of sysfs and of udev do not lead through others, and the kernel is not asked for every
/// part of the path.
fn leads_to(link: &Path) -> Option<PathBuf> {
    let target = fs::read_link(link).ok()?;
    let mut path = link.parent()?.to_path_buf();
    for part in target.components() {
        match part {
            Component::ParentDir => _ = path.pop(),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    Some(path)
}

/// How a disk is attached, by its place in the device tree (`/sys/devices/…/ata1/host0/…/block/sda`).
fn transport(directory: &Path) -> &'static str {
    let name = name_of(directory);
    let kinds = [("nvme", "nvme"), ("vd", "virtio"), ("mmcblk", "mmc"), ("sd", "scsi")];
    if passes(directory, "usb") {
        "usb"
    } else if passes(directory, "ata") {
        "sata"
    } else {
        kinds.iter().find_map(|(start, kind)| name.starts_with(start).then_some(*kind)).unwrap_or_default()
    }
}

/// Whether the way to a device leads through one of these, each of which has a number: `…/host3/session1/target3:0:0/…` is iSCSI.
fn passes(directory: &Path, word: &str) -> bool {
    let numbered = |part: &str| {
        part.strip_prefix(word).is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    directory.iter().any(|part| numbered(&part.to_string_lossy()))
}

/// The serial that the device reports: SCSI, then NVMe, then virtio; for a loop device its backing file.
pub(crate) fn serial(directory: &Path) -> Option<String> {
    if let Some(file) = line(&directory.join("loop/backing_file")) {
        return Some(file);
    }
    if let Ok(page) = fs::read(directory.join("device/vpd_pg80"))
        && let Some(serial) = vpd_serial(&page)
    {
        return Some(serial);
    }
    line(&directory.join("device/serial")).or_else(|| line(&directory.join("serial"))).filter(|s| !s.is_empty())
}

/// How the models of NVMe controllers begin that tell the same serial on every machine: Azure's, VMware's and VirtualBox's.
const ONE_FOR_ALL: [&str; 3] = ["MSFT NVMe Accelerator", "VMware Virtual NVMe Disk", "ORCL-VBOX-NVME"];

/// Whether its serial is known to be no disk's own. Google's controllers tell their model (`nvme_card-pd`).
fn tells_one_for_all(device: &BlockDevice) -> bool {
    device.id.serial.as_ref() == Some(&device.model) || ONE_FOR_ALL.iter().any(|begin| device.model.starts_with(begin))
}

/// The unit serial number in VPD page 0x80: four bytes of header, the last two its length.
fn vpd_serial(page: &[u8]) -> Option<String> {
    let [_, 0x80, high, low, text @ ..] = page else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(text.len());
    let text = String::from_utf8_lossy(&text[..length]);
    let serial = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!serial.is_empty()).then(|| serial.to_owned())
}

fn reaches(
    name: &str,
    above: &BTreeMap<String, Vec<String>>,
    seen: &mut BTreeSet<String>,
    hit: &impl Fn(&str) -> bool,
) -> bool {
    if !seen.insert(name.to_owned()) {
        return false;
    }
    hit(name) || above.get(name).is_some_and(|next| next.iter().any(|n| reaches(n, above, seen, hit)))
}

/// The number of a mount's device: btrfs shows one that no device has, but its source is one below `dev`.
pub(super) fn filesystem_device(mount: &Mount, dev: &Path) -> String {
    let source = mount.disk_by_source().filter(|source| source.starts_with(dev));
    source.and_then(device_number).unwrap_or_else(|| mount.number.clone())
}

fn device_number(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    meta.file_type().is_block_device().then(|| super::files::number(meta.rdev()))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file of one line, trimmed; `None` where it cannot be read or is empty.
fn line(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).trim_matches(['\0', '\n', ' ', '\t']).to_owned();
    (!text.is_empty()).then_some(text)
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;
