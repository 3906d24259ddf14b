//! Everything that is read before a volume's plan is made.

mod boot;
mod folders;
mod place;
mod strays;

use crate::decide::filesystem;
use crate::intent::Intent;
use crate::others::{self, CLOUD_CONFIG, Claim, FSTAB};
use crate::release::{STOPPED, gone_path};
use crate::shield::Shielded;
use crate::units::{check_unit_path, disk_unit_name, gate_path, mount_unit_name, mount_unit_path, used};
use crate::{Found, Kubernetes, Released, Volumes, find, kubernetes, why_not};
pub use boot::Boot;
use bowline_ports::{
    BlockDevice, FileKind, GoneDisk, GrowOrder, Inspect, Job, Meta, Mount, PortError, Probe, Unit, uncordon,
};
use bowline_settings::{Volume, VolumeSource};
use folders::{Files, Records};
use place::mount_point;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use strays::{former, mount_units, strays};

/// What was read of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// All block devices.
    pub devices: Vec<BlockDevice>,
    /// PID 1's mount table.
    pub mounts: Vec<Mount>,
    /// One for each volume of the settings, in their order; a disk that fails must not hide the others.
    pub volumes: Vec<Result<VolumeFacts, PortError>>,
    /// What others say is mounted where.
    pub claims: Vec<Claim>,
    /// What cloud-init was told.
    pub cloud_config: Option<String>,
    /// What is there of volumes that are not in the settings any more, by their names.
    pub orphans: Vec<Orphan>,
    /// Mount points that were made unwritable for a volume that is not, or no longer, to be mounted there.
    pub stray_shields: Vec<Shielded>,
    /// Gates of volumes of the settings on services that are not Kubernetes's any more.
    pub stray_gates: Vec<(String, PathBuf)>,
    /// The gated services; read only while a volume is released, and where they are started from here.
    pub services: Vec<(String, Unit)>,
    /// When services were stopped for a release, in seconds since boot.
    pub stopped: Option<String>,
    /// The volume for whose release, which is over, the Node was told to take no pods.
    pub uncordon: Vec<String>,
    /// Disks that are gone, and pods that have them still. Read only while a volume is not mounted, or after it was not, and of such a
    /// filesystem as that has.
    pub gone: Vec<GoneDisk>,
    /// A Kubernetes that runs; read only while a volume has a bare mount point, or pods have a disk that is gone.
    pub kubernetes: Kubernetes,
    /// This boot; read only while a volume is not mounted.
    pub boot: Boot,
}

/// What Bowline made for a volume that the settings have forgotten.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Orphan {
    /// Its name.
    pub volume: String,
    /// Its mount units.
    pub units: Vec<Former>,
    /// Files of its gates.
    pub gates: Vec<PathBuf>,
    /// A person released it.
    pub released: bool,
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
    /// Whether its mounted filesystem answers.
    pub answer: Result<(), PortError>,
    /// Growing it to the size that the device has now, under way or ended since boot.
    pub growing: Option<Job>,
    /// The record of a formatting that was begun, or why it cannot be read.
    pub intent: Option<Result<Intent, String>>,
    /// The mark that writing was begun.
    pub begun: Option<String>,
    /// A person released it, or why that cannot be read.
    pub released: Option<Result<Released, String>>,
    /// Unmounting it, under way or ended since boot. Read only when it was released.
    pub unmounting: Option<Job>,
    /// Since when the disk that was released is gone, in seconds since boot, where that is on record. Read only when it was released.
    pub gone: Option<u64>,
    /// Owner and mode of its own directory, where its device is mounted and answers, and the settings say something of them.
    pub root: Option<Meta>,
    /// Directories of the settings that are not on it; read only where its device is mounted and answers.
    pub missing: Vec<PathBuf>,
    /// `mkfs` under way or ended since boot.
    pub job: Option<Job>,
    /// The mount unit as systemd knows it.
    pub unit: Unit,
    /// When its disk last appeared, in microseconds since boot; 0 for never. Read only after it was unmounted once.
    pub disk_came: u64,
    /// The text of the mount unit's file in /etc.
    pub unit_file: Option<String>,
    /// The text of the unit that it requires.
    pub check_file: Option<String>,
    /// Mount units of ours for earlier mount points.
    pub former: Vec<Former>,
    /// Service -> text of its gate.
    pub gates: BTreeMap<String, Option<String>>,
    /// What the mount point is.
    pub mount_point: MountPoint,
    /// The bare mount point is there, and nobody can write to it; or its filesystem cannot keep them from it.
    pub shielded: bool,
    /// It is, and there is no record of that: earlier builds wrote none.
    pub unrecorded: bool,
    /// Pods that have the bare mount point, or something beneath it (`NAMESPACE/NAME`).
    pub pods: Vec<String>,
}

impl VolumeFacts {
    /// The UUID of the filesystem that the volume was mounted from, as its own mount unit has it.
    pub fn used(&self, volume: &Volume) -> Option<&str> {
        self.unit_file.as_deref().and_then(|text| used(volume, text))
    }
}

/// A mount unit that Bowline wrote for an earlier `mount` of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Its name.
    pub unit: String,
    /// Where it mounts.
    pub at: PathBuf,
    /// The UUID of the filesystem that it mounts.
    pub uuid: Option<String>,
    /// What is mounted there: its filesystem, or somebody else's.
    pub mount: Option<Mount>,
    /// The volume's filesystem is being made, or made ready, which ends with making a place unwritable.
    pub under_way: bool,
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
    /// It is a link, or lies behind one: what would be mounted leads here, and systemd refuses such a place.
    Leads(PathBuf),
    /// Something is mounted there, and hides what is beneath.
    Mounted,
}

/// Where systemd waits for somebody to go there (`x-systemd.automount`).
const AUTOFS: &str = "autofs";
/// So often at most, while mounts come and go.
const LOOKS: usize = 3;

impl Volumes {
    /// What is mounted where volumes belong. Of many mounts few are, and of each volume the whole table would be asked.
    fn mounted_here<'a>(&self, mounts: &'a [Mount]) -> Vec<&'a Mount> {
        let places: HashSet<&Path> = self.volumes.iter().map(|volume| volume.mount.as_path()).collect();
        mounts.iter().filter(|mount| places.contains(mount.target.as_path())).collect()
    }
}

pub(crate) async fn observe(spec: &Volumes, host: &dyn Inspect) -> Result<Facts, PortError> {
    let (own, foreign) = mount_units(host).await?;
    let files = Files::of(spec, host).await?;
    let mut looks = 0;
    let (devices, mut mounts, volumes) = loop {
        let mounts = host.mounts().await?;
        let devices = host.block_devices().await?;
        let records = Records::of(host).await?;
        let here = spec.mounted_here(&mounts);
        let around = Around {
            spec,
            own: &own,
            files: &files,
            records: &records,
            devices: &devices,
            mounts: &mounts,
            here: &here,
        };
        // Each takes a look at its disk: at the same time, so that a slow one holds up nobody.
        let all = spec.volumes.iter().map(|volume| observe_volume(volume, around, host));
        let volumes = futures::future::join_all(all).await;
        // All of them at once: what failed is the machine (systemd does not answer), not a disk.
        if volumes.iter().all(Result::is_err)
            && let Some(Err(error)) = volumes.first()
        {
            return Err(error.clone());
        }
        looks += 1;
        // What was mounted meanwhile would look like files beneath its mount point.
        if looks == LOOKS || here == spec.mounted_here(&host.mounts().await?) {
            break (devices, mounts, volumes);
        }
    };
    // What systemd mounts when somebody goes there is not mounted yet.
    mounts.retain(|mount| mount.fstype != AUTOFS);
    let (orphans, stray_gates) = strays(spec, &own, &mounts, host).await?;
    let stray_shields = Shielded::strays(spec, &own, &mounts, host).await?;
    let mut services = Vec::new();
    if spec.starts || volumes.iter().flatten().any(|seen| seen.released.is_some()) {
        for service in &spec.services {
            services.push((service.clone(), host.unit(service).await?));
        }
    }
    let stopped = host.read(Path::new(STOPPED)).await?.map(|file| file.text());
    let uncordon = uncordon(host).await?;
    let fstab = host.read(Path::new(FSTAB)).await?.map(|file| others::fstab(&file.text())).unwrap_or_default();
    let claims = fstab.into_iter().chain(foreign).collect();
    let gone = kubernetes::gone_disks(spec, &volumes, host).await;
    let kubernetes = kubernetes::observe(spec, &volumes, !gone.is_empty(), host).await?;
    let away = |(volume, seen): (&Volume, &Result<VolumeFacts, PortError>)| {
        seen.as_ref().is_ok_and(|seen| seen.released.is_some()) || mounts.iter().all(|m| m.target != volume.mount)
    };
    let boot = if spec.volumes.iter().zip(&volumes).any(away) { Boot::of(host).await? } else { Boot::default() };
    let cloud_config = host.read(Path::new(CLOUD_CONFIG)).await.ok().flatten().map(|file| file.text());
    Ok(Facts {
        devices,
        mounts,
        volumes,
        claims,
        cloud_config,
        orphans,
        stray_shields,
        stray_gates,
        services,
        stopped,
        uncordon,
        gone,
        kubernetes,
        boot,
    })
}

/// `major:minor` of the device that stands at a volume's path, links followed; `None` where it has no path, or nothing is there.
///
/// # Errors
/// It cannot be looked at.
pub async fn number(volume: &Volume, host: &dyn Inspect) -> Result<Option<String>, PortError> {
    Ok(match &volume.source {
        VolumeSource::Device(path) | VolumeSource::DeviceOrMatch { device: path, .. } => {
            host.meta(path).await?.filter(|m| m.kind == FileKind::Block).map(|m| m.device)
        }
        VolumeSource::Serial(_) | VolumeSource::Match(_) => None,
    })
}

/// What is read once for all volumes.
#[derive(Clone, Copy)]
struct Around<'a> {
    spec: &'a Volumes,
    /// Names and texts of our mount units.
    own: &'a [(String, String)],
    files: &'a Files,
    records: &'a Records,
    devices: &'a [BlockDevice],
    mounts: &'a [Mount],
    /// Those where volumes belong.
    here: &'a [&'a Mount],
}

async fn observe_volume(volume: &Volume, around: Around<'_>, host: &dyn Inspect) -> Result<VolumeFacts, PortError> {
    let Around { spec, own, files, records, devices, mounts, here } = around;
    let number = number(volume, host).await?;
    // A directory that systemd mounts on when somebody goes there is not looked into.
    let covered = here.iter().any(|m| m.target == volume.mount);
    let mounted = here.iter().any(|m| m.target == volume.mount && m.fstype != AUTOFS);
    let job = host.job(&format!("mkfs-{}", volume.name)).await?;
    let name = mount_unit_name(&volume.mount);
    let unit_file = match own.iter().find(|(one, _)| *one == name) {
        Some((_, text)) => Some(text.clone()),
        None => host.read(&mount_unit_path(&volume.mount)).await?.map(|f| f.text()),
    };
    let found = match find(volume, number.as_deref(), unit_file.as_deref().and_then(|text| used(volume, text)), devices)
    {
        Found::One(device) => Some(device),
        Found::None | Found::Several(_) => None,
    };
    let probe = match found {
        Some(device)
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
    let mut answer = Ok(());
    let (mut root, mut missing) = (None, Vec::new());
    if let Some(device) = found
        && device.mounted_at.contains(&volume.mount)
    {
        extent = host.extent(&device.path, filesystem(volume)).await;
        growing = host.job(&GrowOrder::job(&volume.name, &device.id, device.uuid.as_deref())).await?;
        // What does not answer, or is of a disk that is gone, hides no other fact.
        match arranged(volume, host).await {
            Ok(there) => (root, missing) = there,
            Err(error) => answer = Err(error),
        }
    }
    let path = Released::path_of(&volume.name);
    let read = |text: String| serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()));
    let released = records.read(&path, host).await?.map(read);
    let (mut unmounting, mut gone) = (None, None);
    if released.is_some() {
        unmounting = host.job(&format!("unmount-{}", volume.name)).await?;
        gone = host.read(&gone_path(&volume.name)).await?.and_then(|file| file.text().trim().parse().ok());
    }
    let path = Intent::path_of(&volume.name);
    let read = |text: String| serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()));
    let intent = records.read(&path, host).await?.map(read);
    let begun = records.read(&Intent::begun_of(&volume.name), host).await?;
    let gate = |service: &String| (service.clone(), files.text(&gate_path(service, &volume.name)));
    let gates = spec.services.iter().map(gate).collect();
    let unit = host.unit(&name).await?;
    let disk_came = match unit_file.as_deref().and_then(disk_unit_name).filter(|_| unit.ended > 0) {
        Some(disk) => host.unit(&disk).await?.began,
        None => 0,
    };
    let (mount_point, shielded) = mount_point(&volume.mount, covered, host).await?;
    let unrecorded = shielded && !Shielded::is_recorded(volume, host).await?;
    let pods = match mount_point {
        MountPoint::Free => host.pods_at(&volume.mount).await?,
        _ => Vec::new(),
    };
    Ok(VolumeFacts {
        number,
        probe,
        extent,
        answer,
        growing,
        intent,
        begun,
        released,
        unmounting,
        gone,
        root,
        missing,
        job,
        unit,
        disk_came,
        unit_file,
        check_file: files.text(&check_unit_path(&volume.mount)),
        former: former(spec, volume, own, mounts, host).await?,
        gates,
        mount_point,
        shielded,
        unrecorded,
        pods,
    })
}

/// Owner and mode of a volume's own directory, and which directories are not on it, as far as the settings say something of them.
async fn arranged(volume: &Volume, host: &dyn Inspect) -> Result<(Option<Meta>, Vec<PathBuf>), PortError> {
    host.space(&volume.mount).await?;
    let (mut root, mut missing) = (None, Vec::new());
    if volume.owner.is_some() || volume.mode.is_some() {
        root = host.meta(&volume.mount).await?;
    }
    for directory in &volume.directories {
        if host.meta(&volume.mount.join(&directory.path)).await?.is_none() {
            missing.push(directory.path.clone());
        }
    }
    Ok((root, missing))
}
