//! Everything that is read before a volume's plan is made.

use crate::decide::filesystem;
use crate::intent::Intent;
use crate::units::{MARK, UNITS, disk_unit_name, gate_path, mount_unit_name, mount_unit_path};
use crate::{Found, Volumes, find, why_not};
use bowline_ports::{BlockDevice, FileKind, GrowOrder, Inspect, Job, Mount, PortError, Probe, Unit};
use bowline_settings::{Volume, VolumeSource};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was read of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// All block devices.
    pub devices: Vec<BlockDevice>,
    /// PID 1's mount table.
    pub mounts: Vec<Mount>,
    /// One for each volume of the settings, in their order; a disk that fails must not hide the others.
    pub volumes: Vec<Result<VolumeFacts, PortError>>,
    /// Names of volumes whose gate is still there though the settings have forgotten them.
    pub left_behind: Vec<String>,
}

/// What was read for one volume.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeFacts {
    /// `major:minor` of what stands at the volume's path, links followed.
    pub number: Option<String>,
    /// What its device holds; read only when the device is not mounted and no `mkfs` is at work on it.
    pub probe: Option<Result<Probe, PortError>>,
    /// How many bytes of its mounted device the filesystem takes, where that could be read.
    pub extent: Result<Option<u64>, PortError>,
    /// Growing it to the size that the device has now, under way or ended since boot.
    pub growing: Option<Job>,
    /// The record of a formatting that was begun, or why it can not be read.
    pub intent: Option<Result<Intent, String>>,
    /// The mark that writing was begun.
    pub begun: Option<String>,
    /// `mkfs` under way or ended since boot.
    pub job: Option<Job>,
    /// The mount unit as systemd knows it.
    pub unit: Unit,
    /// When its disk last appeared, in microseconds since boot; 0 for never. Read only after it was unmounted once.
    pub disk_came: u64,
    /// The text of the mount unit's file in /etc.
    pub unit_file: Option<String>,
    /// Mount units of ours for earlier mount points.
    pub former: Vec<Former>,
    /// Service -> text of its gate.
    pub gates: BTreeMap<String, Option<String>>,
    /// What the mount point is.
    pub mount_point: MountPoint,
}

/// A mount unit that Bowline wrote for an earlier `mount` of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Its name.
    pub unit: String,
    /// Where it mounts.
    pub at: PathBuf,
    /// Something is mounted there.
    pub mounted: bool,
}

/// What stands at a mount point, beneath any mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountPoint {
    /// Nothing, or an empty directory.
    Free,
    /// A directory with entries: the first few of them.
    Filled(Vec<String>),
    /// Not a directory.
    NotADirectory,
    /// Something is mounted there, and hides what is beneath.
    Mounted,
}

/// So often at most, while mounts come and go.
const LOOKS: usize = 3;

impl Volumes {
    /// Whether two mount tables say the same of the places that matter here.
    fn same_mounts(&self, one: &[Mount], other: &[Mount]) -> bool {
        self.volumes.iter().all(|v| {
            let here = |table: &[Mount]| table.iter().filter(|m| m.target == v.mount).cloned().collect::<Vec<_>>();
            here(one) == here(other)
        })
    }
}

pub(crate) async fn observe(spec: &Volumes, host: &dyn Inspect) -> Result<Facts, PortError> {
    if spec.volumes.is_empty() && spec.services.is_empty() {
        return Ok(Facts { devices: Vec::new(), mounts: Vec::new(), volumes: Vec::new(), left_behind: Vec::new() });
    }
    let own = own_mounts(host).await?;
    let mut looks = 0;
    let (devices, mounts, volumes) = loop {
        let mounts = host.mounts().await?;
        let devices = host.block_devices().await?;
        // Each takes a look at its disk: at the same time, so that a slow one holds up nobody.
        let all = spec.volumes.iter().map(|volume| observe_volume(spec, volume, &own, &devices, &mounts, host));
        let volumes = futures::future::join_all(all).await;
        // All of them at once: what failed is the machine (systemd does not answer), not a disk.
        if volumes.iter().all(Result::is_err)
            && let Some(Err(error)) = volumes.first()
        {
            return Err(error.clone());
        }
        looks += 1;
        // What was mounted meanwhile would look like files beneath its mount point.
        if looks == LOOKS || spec.same_mounts(&mounts, &host.mounts().await?) {
            break (devices, mounts, volumes);
        }
    };
    let left_behind = left_behind(spec, host).await?;
    Ok(Facts { devices, mounts, volumes, left_behind })
}

async fn observe_volume(
    spec: &Volumes,
    volume: &Volume,
    own: &[(String, String)],
    devices: &[BlockDevice],
    mounts: &[Mount],
    host: &dyn Inspect,
) -> Result<VolumeFacts, PortError> {
    let number = match &volume.source {
        VolumeSource::Device(path) | VolumeSource::DeviceOrMatch { device: path, .. } => {
            host.meta(path).await?.filter(|m| m.kind == FileKind::Block).map(|m| m.device)
        }
        VolumeSource::Serial(_) | VolumeSource::Match(_) => None,
    };
    let mounted = mounts.iter().any(|m| m.target == volume.mount);
    let job = host.job(&format!("mkfs-{}", volume.name)).await?;
    let probe = match find(volume, number.as_deref(), devices) {
        Found::One(device)
            if why_not(device, volume).is_none()
                && device.mounted_at.is_empty()
                && !mounted
                && !matches!(job, Some(Job::Running(_))) =>
        {
            Some(host.probe(&device.path).await)
        }
        _ => None,
    };
    let (mut extent, mut growing) = (Ok(None), None);
    if let Found::One(device) = find(volume, number.as_deref(), devices)
        && device.mounted_at.contains(&volume.mount)
    {
        extent = host.extent(&device.path, filesystem(volume)).await;
        growing = host.job(&GrowOrder::job(&volume.name, device.id.size)).await?;
    }
    let intent = host.read(&Intent::path_of(&volume.name)).await?.map(|file| {
        serde_json::from_slice(&file.content).map_err(|e| format!("{}: {e}", Intent::path_of(&volume.name).display()))
    });
    let begun = host.read(&Intent::begun_of(&volume.name)).await?.map(|file| file.text());
    let mut gates = BTreeMap::new();
    for service in &spec.services {
        let text = host.read(&gate_path(service, &volume.name)).await?.map(|f| f.text());
        gates.insert(service.clone(), text);
    }
    let unit = host.unit(&mount_unit_name(&volume.mount)).await?;
    let unit_file = host.read(&mount_unit_path(&volume.mount)).await?.map(|f| f.text());
    let disk_came = match unit_file.as_deref().and_then(disk_unit_name).filter(|_| unit.ended > 0) {
        Some(disk) => host.unit(&disk).await?.began,
        None => 0,
    };
    Ok(VolumeFacts {
        number,
        probe,
        extent,
        growing,
        intent,
        begun,
        job,
        unit,
        disk_came,
        unit_file,
        former: former(spec, volume, own, mounts),
        gates,
        mount_point: mount_point(&volume.mount, mounted, host).await?,
    })
}

async fn mount_point(path: &Path, mounted: bool, host: &dyn Inspect) -> Result<MountPoint, PortError> {
    if mounted {
        return Ok(MountPoint::Mounted);
    }
    Ok(match host.meta(path).await? {
        None => MountPoint::Free,
        Some(meta) if meta.kind != FileKind::Directory => MountPoint::NotADirectory,
        Some(_) => match host.list(path).await?.unwrap_or_default() {
            entries if entries.is_empty() => MountPoint::Free,
            mut entries => {
                entries.truncate(5);
                MountPoint::Filled(entries)
            }
        },
    })
}

async fn left_behind(spec: &Volumes, host: &dyn Inspect) -> Result<Vec<String>, PortError> {
    let mut names = Vec::new();
    for service in &spec.services {
        let folder = format!("/etc/systemd/system/{service}.d");
        for file in host.list(Path::new(&folder)).await?.unwrap_or_default() {
            let name = file.strip_prefix("50-bowline-volume-").and_then(|f| f.strip_suffix(".conf"));
            if let Some(name) = name.filter(|name| !spec.volumes.iter().any(|v| v.name == *name)) {
                names.push(name.to_string());
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Mount units that Bowline wrote: names and texts.
async fn own_mounts(host: &dyn Inspect) -> Result<Vec<(String, String)>, PortError> {
    let folder = Path::new(UNITS);
    let mut own = Vec::new();
    for name in host.list(folder).await?.unwrap_or_default() {
        if name.ends_with(".mount")
            && let Some(file) = host.read(&folder.join(&name)).await?
            && file.text().starts_with(MARK)
        {
            own.push((name, file.text()));
        }
    }
    Ok(own)
}

/// Those of this volume for another mount point. One that is another volume's by now is written over, not removed.
fn former(spec: &Volumes, volume: &Volume, own: &[(String, String)], mounts: &[Mount]) -> Vec<Former> {
    let ours = format!("{MARK} from [[volume]] name = \"{}\"", volume.name);
    let mut found = Vec::new();
    for (unit, text) in own.iter().filter(|(_, text)| text.starts_with(&ours)) {
        let Some(at) = text.lines().find_map(|l| l.strip_prefix("Where=")).map(PathBuf::from) else { continue };
        if spec.volumes.iter().all(|v| mount_unit_name(&v.mount) != *unit) {
            let mounted = mounts.iter().any(|m| m.target == at);
            found.push(Former { unit: unit.clone(), at, mounted });
        }
    }
    found
}
