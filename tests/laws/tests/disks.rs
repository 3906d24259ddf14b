//! Law `no_data_loss`, for disks alone and thoroughly: machines with any disks, settings that name them in any way, and a
//! history of runs, crashes, boots, changed settings, and disks that go and come. `DISK_HISTORIES=200000` tries more.

use bowline_host::sim::{Content, Fault, FaultMode, SimHost, World, WorldDisk};
use bowline_laws::{Case, law, number, run_for, simulate};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many histories, unless `$DISK_HISTORIES` says otherwise.
const HISTORIES: u32 = 20_000;
/// What waits is looked at again by the next run of the history.
const PATIENCE: Duration = Duration::from_secs(2);
const PATHS: [&str; 4] = ["/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde"];

/// How a volume names its disk, and what may be done to it.
#[derive(Debug, Clone)]
struct Wish {
    source: String,
    filesystem: &'static str,
    format: &'static str,
}

#[derive(Debug, Clone)]
enum Event {
    /// The agent runs, and something happens at a change that it makes.
    Run(Option<(usize, FaultMode)>),
    Reboot,
    /// A disk is pulled out.
    Pull(usize),
    /// It is put back as it was.
    PutBack(usize),
    /// It comes back from another machine, where somebody has stored something on it.
    Used(usize),
    /// The settings of a volume become those of another wish.
    Wish(usize, Wish),
}

fn disk() -> impl Strategy<Value = WorldDisk> {
    let content = prop_oneof![
        5 => Just("blank"),
        1 => Just("buried"),
        1 => Just("raw"),
        1 => Just("half-made"),
        1 => prop_oneof![Just("ext4"), Just("xfs"), Just("btrfs"), Just("vfat")],
        1 => prop_oneof![Just("gpt"), Just("unreadable"), Just("ambivalent")],
    ];
    let serial = prop_oneof![6 => Just("own"), 1 => Just("same"), 1 => Just("")];
    // udev's links were seen at the wrong disk.
    let link = prop_oneof![8 => Just(None), 1 => (0usize..4).prop_map(Some)];
    (content, serial, link, any::<bool>()).prop_map(|(content, serial, link, large)| {
        let mut disk = WorldDisk::volume("", serial);
        disk.content = content.into();
        disk.size = if large { 40 << 30 } else { 20 << 30 };
        disk.links = link.map(|of| link_of(of).into()).into_iter().collect();
        disk
    })
}

fn link_of(disk: usize) -> String {
    format!("/dev/disk/by-id/scsi-0HC_Volume_1000{disk}")
}

fn wish() -> impl Strategy<Value = Wish> {
    let source = prop_oneof![
        3 => (0usize..4).prop_map(|disk| format!("device = \"{}\"", link_of(disk))),
        2 => (0usize..4).prop_map(|disk| format!("serial = \"1000{disk}\"")),
        1 => Just("serial = \"same\"".to_owned()),
        1 => Just("match = { vendor = \"SIM\" }".to_owned()),
        1 => Just("match = { max-size = \"30GiB\" }".to_owned()),
    ];
    let filesystem = prop_oneof![3 => Just("ext4"), 1 => Just("xfs"), 1 => Just("btrfs")];
    let format = prop_oneof![4 => Just("blank-only"), 1 => Just("never")];
    (source, filesystem, format).prop_map(|(source, filesystem, format)| Wish { source, filesystem, format })
}

fn event() -> impl Strategy<Value = Event> {
    let mode = prop_oneof![
        Just(FaultMode::FailBefore),
        Just(FaultMode::FailAfter),
        Just(FaultMode::CrashBefore),
        Just(FaultMode::CrashDuring),
        Just(FaultMode::CrashAfter),
    ];
    prop_oneof![
        6 => proptest::option::weighted(0.7, (0usize..12, mode)).prop_map(Event::Run),
        1 => Just(Event::Reboot),
        1 => (0usize..4).prop_map(Event::Pull),
        1 => (0usize..4).prop_map(Event::PutBack),
        1 => (0usize..4).prop_map(Event::Used),
        1 => (0usize..2, wish()).prop_map(|(volume, wish)| Event::Wish(volume, wish)),
    ]
}

fn settings(wishes: &[Wish]) -> String {
    let volume = |(number, Wish { source, filesystem, format }): (usize, &Wish)| {
        format!(
            "[[volume]]\nname = \"v{number}\"\nmount = \"/mnt/v{number}\"\ngate = false\n{source}\n\
             filesystem = \"{filesystem}\"\nformat = \"{format}\"\n"
        )
    };
    // Two of the same name are refused before anything is looked at.
    let first = |(number, wish): &(usize, &Wish)| wishes[..*number].iter().all(|other| other.source != wish.source);
    wishes.iter().enumerate().filter(first).map(volume).collect()
}

/// What each disk holds, of those that are attached: the same bytes count as the same, found or not, in use or not.
fn contents(disks: &[WorldDisk], host: &SimHost) -> BTreeMap<String, Content> {
    let known = |content| match content {
        Content::Filesystem { name, uuid, .. } => Content::Filesystem { name, uuid, precious: true },
        Content::Buried => Content::Raw,
        other => other,
    };
    let all = disks.iter().filter_map(|disk| Some((disk.path.display().to_string(), known(host.content(&disk.path)?))));
    all.collect()
}

proptest! {
    #![proptest_config(law("disks", number("DISK_HISTORIES", HISTORIES)))]

    #[test]
    fn no_byte_of_a_disk_that_is_not_blank_changes(
        disks in proptest::collection::vec(disk(), 1..4),
        wishes in proptest::collection::vec(wish(), 1..3),
        history in proptest::collection::vec(event(), 1..6),
    ) {
        let mut disks = disks;
        for (number, disk) in disks.iter_mut().enumerate() {
            disk.path = PATHS[number].into();
            disk.uuid = Some(format!("0000000{number}-0000-4000-8000-000000000000"));
            disk.serial = match disk.serial.as_deref() {
                Some("own") => Some(format!("1000{number}")),
                Some("same") => Some("same".into()),
                _ => None,
            };
            if disk.links.is_empty() {
                disk.links.push(link_of(number).into());
            }
        }
        let mut world = World::default();
        world.disks.extend(disks.iter().cloned());
        let host = SimHost::new(&world);
        let mut case = Case { world, settings: settings(&wishes) };
        let mut wishes = wishes;
        let mut last = contents(&disks, &host);
        // Begun by Bowline, and cut off.
        let mut ours: Vec<String> = Vec::new();
        for event in history {
            let ran = matches!(event, Event::Run(_));
            match event {
                Event::Run(fault) => simulate(async {
                    if let Some((at, mode)) = fault {
                        host.arm(Fault::at_change(at, mode));
                    }
                    if run_for(&case, &host, &mut Vec::new(), PATIENCE).await.is_none() {
                        host.restart_agent();
                    }
                }),
                Event::Reboot => host.reboot(),
                Event::Pull(disk) => host.detach(PATHS[disk]),
                Event::PutBack(disk) => host.put_back(PATHS[disk]),
                Event::Used(disk) => {
                    // What somebody writes onto what is half made can not be told from it, whoever does it.
                    if let Some(disk) = disks.get(disk).filter(|disk| !ours.contains(&disk.path.display().to_string())) {
                        host.detach(&disk.path);
                        host.attach(&WorldDisk { content: "raw".into(), ..disk.clone() });
                    }
                }
                Event::Wish(volume, wish) => {
                    if let Some(old) = wishes.get_mut(volume) {
                        *old = wish;
                    }
                    case.settings = settings(&wishes);
                }
            }
            prop_assert!(host.violations().is_empty(), "{:?}", host.violations());
            let now = contents(&disks, &host);
            for (path, content) in &now {
                let Some(before) = last.get(path).filter(|before| *before != content) else { continue };
                let may = case.settings.contains("blank-only") && (*before == Content::Blank || ours.contains(path));
                prop_assert!(!ran || may, "{path} held {before:?}, and now {content:?}");
                match content {
                    Content::HalfMade if ran => ours.push(path.clone()),
                    _ => ours.retain(|one| one != path),
                }
            }
            last.extend(now);
        }
    }
}
