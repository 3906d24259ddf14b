//! Generated machines, and what their owners want of them.

use crate::{Case, KEY, SECRET, good_settings, text};
use bowline_enroll::wire::{Agreed, Grant, Labels, NodeAnswer, VERSION};
use bowline_host::sim::{World, WorldAnswer, WorldCloud, WorldDisk, WorldSpace};
use bowline_settings::Role;
use proptest::prelude::*;

/// What a machine is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A server that founds a cluster.
    Founder,
    /// The same, with a label that only the cloud can tell.
    InACloud,
    /// The same, whose volume is told to Kubernetes.
    Persistent,
    /// An agent that is let in by a server.
    Agent,
    /// Its Kubernetes is somebody else's.
    Managed,
    /// Volumes, and no Kubernetes.
    Plain,
}

/// The disk that the volume of a good machine is on.
pub(crate) const GOOD_DISK: &str = "device = \"/dev/disk/by-id/scsi-0HC_Volume_12345678\"";

/// An agent on which everything can be done: it is let in, and what its Node lacks is given to it.
pub fn agent_case() -> Case {
    let mut world = World::default();
    world.disks.push(WorldDisk::volume("/dev/sdb", "12345678"));
    Kind::Agent.case(world, GOOD_DISK, "blank-only")
}

/// A further server of a cluster.
pub fn member_case() -> Case {
    let mut world = World::default();
    world.secrets.insert("/etc/bowline/cluster.key".into(), format!("{KEY}\n"));
    world.answers.insert("10.0.1.9:7470".into(), vec![lets_in(Role::Server)]);
    let settings = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                    key-file = \"/etc/bowline/cluster.key\"\nservers = [\"10.0.1.9\"]\n[node]\naddress = \"10.0.1.0/24\"\n";
    Case { world, settings: settings.into() }
}

/// The machine of [`good_case`](crate::good_case) at Hetzner, with a label that only the metadata service can tell.
pub fn cloud_case() -> Case {
    let Case { world, .. } = crate::good_case();
    Kind::InACloud.case(world, GOOD_DISK, "blank-only")
}

/// What may be freed.
const RECLAIM: &str = "[reclaim]\norder = [\"rotated-logs\", \"journal\"]\n";

impl Kind {
    /// The machine, with what this kind has besides, and its settings.
    fn case(self, mut world: World, source: &str, format: &str) -> Case {
        let good = good_settings(source, format);
        let volume = good.split_once("[[volume]]").map(|(_, volume)| format!("[[volume]]{volume}")).unwrap_or_default();
        let settings = match self {
            Self::Founder => good + RECLAIM,
            Self::InACloud => {
                world.cloud = Some(hetzner());
                good.replace("labels = { ", "labels = { zone = \"{zone}\", ")
            }
            Self::Persistent => good + "persistent-volume = { claim = \"kafka/data-kafka-0\" }\n",
            Self::Agent => {
                world.secrets.remove(std::path::Path::new("/etc/bowline/cluster.key"));
                world.answers.insert("10.0.1.9:7470".into(), vec![lets_in(Role::Agent)]);
                format!(
                    "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.9\"]\nticket = \"{KEY}\"\n\
                     [node]\naddress = \"10.0.1.0/24\"\nlabels = {{ role = \"kafka\", at = \"{{address}}\", \
                     \"node-role.kubernetes.io/kafka\" = \"true\" }}\n{volume}"
                )
            }
            Self::Managed => {
                let unit = "[Service]\nExecStart=/usr/bin/kubelet\n[Install]\nWantedBy=multi-user.target\n";
                let units = "/etc/systemd/system";
                world.files.insert(format!("{units}/kubelet.service").into(), unit.into());
                let link = format!("{units}/multi-user.target.wants/kubelet.service");
                world.files.insert(link.into(), format!("-> {units}/kubelet.service"));
                format!("[cluster]\ndistribution = \"none\"\nservices = [\"kubelet.service\"]\n{volume}")
            }
            Self::Plain => format!("[node]\nname = \"n1\"\n{volume}{RECLAIM}"),
        };
        Case { world, settings }
    }
}

fn hetzner() -> WorldCloud {
    WorldCloud {
        dmi: text(&[("sys_vendor", "Hetzner"), ("product_uuid", "5e1cd5a3-0b2f-4f0e-9d3c-1f4b7c6a8d90")]),
        answers: text(&[
            ("/hetzner/v1/metadata/instance-id", "42"),
            ("/hetzner/v1/metadata/availability-zone", "fsn1-dc14"),
            ("/hetzner/v1/metadata/private-networks", "[]"),
        ]),
        ..WorldCloud::default()
    }
}

/// A server that lets the machine in, and gives its Node what it asks for.
fn lets_in(role: Role) -> WorldAnswer {
    let agent = role == Role::Agent;
    let kafka = ("node-role.kubernetes.io/kafka".to_owned(), "true".to_owned());
    let role = || Labels(Some(kafka.clone()).filter(|_| agent).into_iter().collect());
    let (issuers, now) = (vec!["10.0.1.9:7470".to_owned()], World::default().clock.unsigned_abs());
    let grant = Grant {
        version: VERSION,
        token: bowline_settings::Secret::new(format!("K10{KEY}::{SECRET}")),
        token_lasts: agent.then_some(180),
        issuers: issuers.clone(),
        servers: vec!["https://10.0.1.9:6443".into()],
        agreed: Agreed::default(),
        kubernetes: "v1.34.1+k3s1".into(),
        labels: role(),
        taints: Vec::new(),
        cut: Vec::new(),
        join: None,
        now,
    };
    let (taints, cut) = (Vec::new(), Vec::new());
    let node = NodeAnswer { version: VERSION, labels: role(), taints, cut, registered: true, issuers, now };
    let body = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    WorldAnswer::LetsIn { enroll: body(grant.to_body()), node: body(node.to_body()) }
}

/// Machines with good, foreign, missing, broken and ambiguous disks, networks and versions.
pub fn cases() -> impl Strategy<Value = Case> {
    // To let one in takes a tenth of a second of a processor, for the hash of its password.
    let kind = prop_oneof![
        20 => Just(Kind::Founder),
        4 => Just(Kind::InACloud),
        4 => Just(Kind::Persistent),
        1 => Just(Kind::Agent),
        6 => Just(Kind::Managed),
        2 => Just(Kind::Plain),
    ];
    let content = prop_oneof![
        4 => Just("blank"),
        2 => Just("ext4"),
        1 => Just("xfs"),
        1 => Just("raw"),
        1 => Just("buried"),
        1 => Just("gpt"),
        1 => Just("half-made"),
        1 => Just("unreadable"),
        1 => Just("ambivalent"),
    ];
    let disk = (content, prop_oneof![3 => Just(false), 1 => Just(true)], any::<bool>());
    let disks = proptest::collection::vec(disk, 0..3);
    let source = prop_oneof![
        Just("device = \"/dev/disk/by-id/scsi-0HC_Volume_1\""),
        Just("serial = \"1\""),
        Just("serial = \"same\""),
        Just("match = { vendor = \"SIM\", max-size = \"30GiB\" }"),
        Just("device = \"/dev/disk/by-id/scsi-0HC_Volume_9\"\nmatch = { serial = \"*\" }"),
    ];
    let format = prop_oneof![3 => Just("blank-only"), 1 => Just("never")];
    let file = prop_oneof![
        4 => Just(None),
        1 => Just(Some("/var/lib/kafka/stray")),
        1 => Just(Some("/etc/systemd/system/var-lib-kafka.mount")),
    ];
    let network = prop_oneof![4 => Just("eth1 10.0.1.10"), 1 => Just("eth1 192.168.0.9")];
    let k3s = prop_oneof![5 => Just("fine"), 1 => Just("dies"), 1 => Just("unknown-version")];
    // A disk of the system that is large or small, and as full as this.
    let space = prop_oneof![
        4 => Just((100_u64 << 30, 75_u64 << 30)),
        2 => Just((20 << 30, 15 << 30)),
        1 => Just((20 << 30, 2 << 30)),
        1 => Just((20 << 30, 50 << 20)),
    ];
    let machine = (disks, file, network, k3s, space).prop_map(|(disks, file, network, k3s, (size, free))| {
        let garbage = [("journal".into(), 3 << 30), ("rotated-logs".into(), 1 << 30)].into();
        World { space: WorldSpace { size, free, garbage }, ..machine(disks, file, network, k3s) }
    });
    (machine, kind, source, format).prop_map(|(world, kind, source, format)| kind.case(world, source, format))
}

fn machine(disks: Vec<(&str, bool, bool)>, file: Option<&str>, network: &str, k3s: &str) -> World {
    let mut world = World::default();
    world.files.insert("/var/log/journal/system.journal".into(), String::new());
    world.addresses[2] = network.into();
    for (index, (content, mounted, same)) in disks.into_iter().enumerate() {
        let path = ["/dev/sdb", "/dev/sdc", "/dev/sdd"][index];
        let mut disk = WorldDisk::volume(path, &(index + 1).to_string());
        disk.content = content.into();
        disk.uuid = Some(format!("0000000{index}-0000-4000-8000-000000000000"));
        if same {
            disk.serial = Some("same".into());
        }
        if mounted && content == "ext4" {
            disk.mounted_at = Some(format!("/mnt/foreign-{index}").into());
        }
        world.disks.push(disk);
    }
    if let Some(file) = file {
        world.files.insert(file.into(), "somebody's".into());
    }
    world.secrets.insert("/etc/bowline/cluster.key".into(), format!("{KEY}\n"));
    match k3s {
        // K3s repeats what it was told.
        "dies" => world.k3s.dies_with = Some(format!("no: {SECRET}")),
        "unknown-version" => world.k3s.releases.clear(),
        _ => {}
    }
    world
}
