//! What histories of disks are made of.

use bowline_host::sim::{Fault, WorldDisk};
use bowline_laws::faults;
use proptest::prelude::*;

/// Names of disks; the last two are free at first.
pub(crate) const PATHS: [&str; 6] = ["/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde", "/dev/sdf", "/dev/sdg"];
/// Where volumes may be mounted, one of them on another.
pub(crate) const PLACES: [&str; 4] = ["/mnt/v0", "/mnt/v1", "/mnt/v2", "/mnt/v0/inner"];

/// How a volume names its disk, where it is mounted, and what may be done to it.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    source: String,
    pub(crate) place: usize,
    filesystem: &'static str,
    format: &'static str,
    repair: &'static str,
    growth: bool,
    persistent: bool,
}

impl Wish {
    /// A disk by its place, to be formatted as ext4 when it is blank.
    pub(crate) fn at(path: &str) -> Self {
        let source = format!("device = \"{path}\"");
        let (filesystem, format, repair) = ("ext4", "blank-only", "never");
        Self { source, place: 0, filesystem, format, repair, growth: false, persistent: false }
    }

    /// The number by which it names its disk, where it does.
    pub(crate) fn number(&self) -> Option<usize> {
        let (_, rest) = self.source.split_once("1000")?;
        rest.trim_end_matches('"').parse().ok()
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The agent runs, and something happens at a call that it makes.
    Run(Option<Fault>),
    Reboot,
    /// Units that are at work for an agent are killed.
    KillWork,
    /// A disk is pulled out.
    Pull(usize),
    /// It is put back as it was, under this name or another.
    PutBack(usize, usize),
    /// It comes back from another machine, where somebody has stored something on it.
    Used(usize, usize),
    /// A volume has other settings from now on, or left them.
    Wish(usize, Option<Wish>),
    /// A person releases a volume.
    Release(usize),
    /// And takes it back.
    Take(usize),
    /// A person removes the record of a formatting that was begun, and not its mark.
    Unrecord(usize),
    /// Somebody uses what is mounted there,
    Use(usize),
    /// or nobody any more.
    LetGo,
    /// A container has a directory of what is mounted there.
    Bind(usize),
    /// Somebody mounts a disk.
    MountByHand(usize, usize),
    /// A disk becomes larger, or smaller.
    Resize(usize, u64),
}

pub(crate) fn disk() -> impl Strategy<Value = WorldDisk> {
    let content = prop_oneof![
        5 => Just("blank"),
        1 => Just("buried"),
        1 => Just("raw"),
        1 => Just("half-made"),
        2 => prop_oneof![2 => Just("ext4"), 1 => Just("xfs"), 1 => Just("btrfs"), 1 => Just("vfat")],
        1 => prop_oneof![Just("gpt"), Just("unreadable"), Just("ambivalent")],
        1 => prop_oneof![Just("crypto_LUKS"), Just("LVM2_member"), Just("linux_raid_member")],
    ];
    // What is built on it may be of any content: a mapping without a header, and a table that only the kernel has.
    let built = prop_oneof![10 => Just(""), 1 => Just("holder"), 1 => Just("partition")];
    let serial = prop_oneof![6 => Just("own"), 1 => Just("same"), 2 => Just("controller"), 1 => Just("")];
    // udev's links were seen at the wrong disk.
    let link = prop_oneof![8 => Just(None), 1 => (0usize..4).prop_map(Some)];
    let disorder = prop_oneof![4 => Just(""), 1 => Just("light"), 1 => Just("deep")];
    (content, serial, link, any::<bool>(), disorder, built).prop_map(
        |(content, serial, link, large, disorder, built)| {
            let mut disk = WorldDisk::volume("", serial);
            disk.shared = serial == "controller";
            disk.content = content.into();
            disk.size = if large { 40 << 30 } else { 20 << 30 };
            disk.links = link.map(|of| link_of(of).into()).into_iter().collect();
            if ["ext4", "xfs", "btrfs"].contains(&content) {
                disk.disorder = disorder.into();
            }
            match built {
                "holder" => disk.holders.push("dm-0".into()),
                "partition" => disk.partitions.push("/dev/sdz1".into()),
                _ => {}
            }
            disk
        },
    )
}

pub(crate) fn link_of(disk: usize) -> String {
    format!("/dev/disk/by-id/scsi-0HC_Volume_1000{disk}")
}

pub(crate) fn wish() -> impl Strategy<Value = Wish> {
    let source = prop_oneof![
        3 => (0usize..4).prop_map(|disk| format!("device = \"{}\"", link_of(disk))),
        2 => (0usize..4).prop_map(|disk| format!("serial = \"1000{disk}\"")),
        1 => Just("serial = \"same\"".to_owned()),
        1 => Just("serial = \"controller\"".to_owned()),
        // As clouds name places; a disk with any serial, and any other of its size, may be there.
        1 => (0..PATHS.len()).prop_map(|name| format!("device = \"{}\"", PATHS[name])),
        // That of the running system.
        1 => prop_oneof![Just("device = \"/dev/sda\"".to_owned()), Just("serial = \"root\"".to_owned())],
        1 => Just("match = { vendor = \"SIM\" }".to_owned()),
        1 => Just("match = { max-size = \"30GiB\" }".to_owned()),
    ];
    let filesystem = prop_oneof![3 => Just("ext4"), 1 => Just("xfs"), 1 => Just("btrfs")];
    let format = prop_oneof![4 => Just("blank-only"), 1 => Just("never")];
    let repair = prop_oneof![2 => Just("never"), 1 => Just("safe")];
    let rest = (0..PLACES.len(), repair, any::<bool>(), proptest::bool::weighted(0.05));
    (source, filesystem, format, rest).prop_map(|(source, filesystem, format, (place, repair, growth, persistent))| {
        Wish { source, place, filesystem, format, repair, growth, persistent }
    })
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let disk = 0usize..4;
    let name = 0..PATHS.len();
    let size = prop_oneof![Just(10u64 << 30), Just(20 << 30), Just(40 << 30), Just(60 << 30)];
    prop_oneof![
        12 => proptest::option::weighted(0.6, faults(0..12, 0..300)).prop_map(Event::Run),
        2 => Just(Event::Reboot),
        1 => Just(Event::KillWork),
        2 => disk.clone().prop_map(Event::Pull),
        2 => (disk.clone(), name.clone()).prop_map(|(disk, name)| Event::PutBack(disk, name)),
        2 => (disk.clone(), name).prop_map(|(disk, name)| Event::Used(disk, name)),
        3 => (0usize..2, proptest::option::weighted(0.7, wish())).prop_map(|(volume, wish)| Event::Wish(volume, wish)),
        2 => (0usize..2).prop_map(Event::Release),
        1 => (0usize..2).prop_map(Event::Take),
        1 => (0usize..2).prop_map(Event::Unrecord),
        1 => (0..PLACES.len()).prop_map(Event::Use),
        1 => Just(Event::LetGo),
        1 => (0..PLACES.len()).prop_map(Event::Bind),
        1 => (disk.clone(), 0..PLACES.len()).prop_map(|(disk, place)| Event::MountByHand(disk, place)),
        2 => (disk, size).prop_map(|(disk, size)| Event::Resize(disk, size)),
    ]
}

/// Those that are in the settings, by their numbers: two of the same disk or place are refused before anything is looked at.
pub(crate) fn in_force(wishes: &[Option<Wish>]) -> impl Iterator<Item = (usize, &Wish)> {
    let there = || wishes.iter().enumerate().filter_map(|(number, wish)| Some((number, wish.as_ref()?)));
    there().filter(move |(number, wish)| {
        there().all(|(other, one)| other >= *number || (one.source != wish.source && one.place != wish.place))
    })
}

/// A node that is nothing but its volumes; one of which Kubernetes is told has Kubernetes, too.
pub(crate) fn settings(wishes: &[Option<Wish>]) -> String {
    let volume = |(number, wish): (usize, &Wish)| {
        let Wish { source, place, filesystem, format, repair, growth, persistent } = wish;
        let mount = PLACES[*place];
        let more = if *persistent {
            format!("persistent-volume = {{ claim = \"kafka/data-{number}\" }}\n")
        } else {
            "gate = false\n".to_owned()
        };
        format!(
            "[[volume]]\nname = \"v{number}\"\nmount = \"{mount}\"\n{source}\n{more}filesystem = \"{filesystem}\"\n\
             format = \"{format}\"\nrepair = \"{repair}\"\ngrowth = {growth}\n"
        )
    };
    let head = match in_force(wishes).any(|(_, wish)| wish.persistent) {
        true => "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n",
        false => "[node]\nname = \"n1\"\n",
    };
    std::iter::once(head.to_owned()).chain(in_force(wishes).map(volume)).collect()
}
