//! Law `no_data_loss`, for disks alone and thoroughly: machines with any disks, settings that name them in any way, and a
//! history of runs, crashes, work that goes on without its agent or is killed, boots, changed settings, volumes that are
//! released, taken back, moved and forgotten, and disks that grow, go, and come back by other names.
//! `DISK_HISTORIES=200000` tries more.

use crate::history::{Event, PATHS, PLACES, Wish, disk, event, in_force, link_of, settings, wish};
use bowline_engine::Capability;
use bowline_host::sim::{Content, Disorder, Fault, FaultMode, SimHost, World, WorldDisk};
use bowline_laws::{Case, law, number, run_for, simulate};
use bowline_ports::{DeviceId, Filesystem, Progress};
use bowline_volumes::{Action, Intent, Released, Volumes};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many histories, unless `$DISK_HISTORIES` says otherwise.
const HISTORIES: u32 = 20_000;
/// What waits is looked at again by the next run of the history.
const PATIENCE: Duration = Duration::from_secs(2);

/// A machine in the midst of its history.
struct Story {
    host: SimHost,
    case: Case,
    disks: Vec<WorldDisk>,
    wishes: Vec<Option<Wish>>,
    /// Begun by Bowline, and cut off.
    ours: BTreeSet<PathBuf>,
    /// Where something was mounted that Bowline did not mount.
    by_hand: BTreeSet<PathBuf>,
    used: Option<PathBuf>,
    /// Units went on with these when the last event came.
    at_work: Vec<PathBuf>,
}

type Contents = BTreeMap<PathBuf, (Content, Option<Disorder>)>;

impl Story {
    fn new(mut disks: Vec<WorldDisk>, wishes: Vec<Option<Wish>>) -> Self {
        for (number, disk) in disks.iter_mut().enumerate() {
            disk.path = PATHS[number].into();
            disk.uuid = Some(format!("0000000{number}-0000-4000-8000-000000000000"));
            disk.serial = match disk.serial.as_deref() {
                Some("own") => Some(format!("1000{number}")),
                Some("same") => Some("same".into()),
                Some("controller") => Some("controller".into()),
                _ => None,
            };
            if disk.links.is_empty() {
                disk.links.push(link_of(number).into());
            }
        }
        let mut world = World::default();
        world.disks.extend(disks.iter().cloned());
        let host = SimHost::new(&world);
        let case = Case { world, settings: settings(&wishes) };
        let (ours, by_hand, used, at_work) = Default::default();
        Self { host, case, disks, wishes, ours, by_hand, used, at_work }
    }

    /// The same bytes count as the same, found or not, in use or not.
    fn contents(&self) -> Contents {
        let known = |content| match content {
            Content::Filesystem { name, uuid, .. } => Content::Filesystem { name, uuid, precious: true },
            Content::Buried => Content::Raw,
            other => other,
        };
        self.host.contents().into_iter().map(|(home, content, disorder)| (home, (known(content), disorder))).collect()
    }

    async fn happen(&mut self, event: Event) {
        let host = self.host.clone();
        self.at_work = host.being_written();
        match event {
            Event::Run(fault) => {
                if let Some(fault) = fault {
                    host.arm(fault);
                }
                run_for(&self.case, &host, &mut Vec::new(), PATIENCE).await;
                // What is armed still is not for the next run.
                host.restart_agent();
            }
            Event::KillWork => host.kill_work(),
            Event::Reboot => {
                host.reboot();
                self.by_hand.clear();
            }
            Event::Pull(disk) => self.pull(disk),
            Event::PutBack(disk, name) => host.put_back_as(PATHS[disk], PATHS[name]),
            Event::Used(disk, name) => {
                // What somebody writes onto what is half made cannot be told from it, whoever does it.
                if let Some(like) = self.disks.get(disk).filter(|disk| !self.ours.contains(&disk.path)) {
                    let like = WorldDisk { content: "raw".into(), ..like.clone() };
                    self.pull(disk);
                    host.overwrite(PATHS[disk], &like);
                    host.put_back_as(PATHS[disk], PATHS[name]);
                }
            }
            Event::Wish(volume, wish) => {
                if let Some(old) = self.wishes.get_mut(volume) {
                    *old = wish;
                }
                self.case.settings = settings(&self.wishes);
            }
            Event::Release(volume) => self.release(volume),
            Event::Unrecord(volume) => host.delete(Intent::path_of(&format!("v{volume}"))),
            Event::Take(volume) => host.delete(Released::path_of(&format!("v{volume}"))),
            Event::Use(place) => {
                let place = PathBuf::from(PLACES[place]);
                self.used = host.mounted().contains(&place).then_some(place);
                host.use_mount(self.used.as_deref());
            }
            Event::LetGo => {
                self.used = None;
                host.use_mount(None);
            }
            Event::Bind(place) => {
                let (from, at) = (Path::new(PLACES[place]), Path::new("/var/lib/kubelet/pods").join(place.to_string()));
                if host.mounted().iter().any(|mount| mount == from) && !host.mounted().contains(&at) {
                    host.bind(from.join("data"), at);
                }
            }
            Event::MountByHand(disk, place) => {
                let filesystem = matches!(host.contents().get(disk), Some((_, Content::Filesystem { .. }, _)));
                if let Some(device) = host.device(PATHS[disk]).filter(|one| filesystem && one.mounted_at.is_empty())
                    && !host.mounted().iter().any(|mount| mount == Path::new(PLACES[place]))
                {
                    host.mount(&device.path, PLACES[place]);
                    self.by_hand.insert(PLACES[place].into());
                }
            }
            Event::Resize(disk, size) => {
                if let Some(device) = host.device(PATHS[disk]) {
                    host.resize(&device.path, size);
                }
            }
        }
    }

    fn pull(&self, disk: usize) {
        if let Some(device) = self.host.device(PATHS[disk]) {
            self.host.detach(&device.path);
        }
    }

    /// As the command does: what is not mounted is not released.
    fn release(&self, volume: usize) {
        let Some(Some(wish)) = self.wishes.get(volume) else { return };
        let place = Path::new(PLACES[wish.place]);
        let mounted =
            |disk: &WorldDisk| self.host.device(&disk.path).filter(|d| d.mounted_at.iter().any(|at| at == place));
        if let Some(device) = self.disks.iter().find_map(mounted) {
            let record = Released::of(&device, 1_800_000_000, false);
            let text = serde_json::to_string(&record).unwrap_or_default();
            self.host.put_secret(Released::path_of(&format!("v{volume}")), &text);
        }
    }

    /// What a run may have changed on a disk, and nothing else.
    fn permits(&self, home: &Path, before: &(Content, Option<Disorder>), now: &(Content, Option<Disorder>)) -> bool {
        // What was begun under other settings goes on.
        let at_work = self.at_work.iter().any(|one| one == home);
        let format = at_work || self.case.settings.contains("blank-only");
        let made = before.0 == Content::Blank || self.ours.contains(home);
        // A repair loses nothing, and is done where the settings say so; what has to be decided is left as it is.
        let repair = at_work || self.case.settings.contains("\"safe\"");
        let repaired = before.1 == Some(Disorder::Light) && now.1.is_none() && repair;
        (before.0 == now.0 || format && made) && (before.1 == now.1 || repaired)
    }

    /// Nothing is mounted by Bowline where no volume of the settings belongs, or one that was released.
    fn strays(&self) -> Vec<PathBuf> {
        let released = |volume: usize| self.host.text(Released::path_of(&format!("v{volume}"))).is_some();
        let wanted = |place: &Path| {
            let mut all = in_force(&self.wishes);
            all.any(|(volume, wish)| Path::new(PLACES[wish.place]) == place && !released(volume))
        };
        let mounted = self.host.mounted();
        // In the way is who uses it, and what is mounted on it.
        let stays = |place: &PathBuf| {
            let uses = |at: &PathBuf| at.starts_with(place);
            self.by_hand.contains(place)
                || self.used.as_ref().is_some_and(uses)
                || mounted.iter().any(|at| at != place && uses(at))
        };
        let places = mounted.iter().filter(|at| PLACES.iter().any(|place| Path::new(place) == *at));
        places.filter(|place| !wanted(place) && !stays(place)).cloned().collect()
    }
}

/// Whether a volume that names its disk by number has had another one mounted, also when that one is not there.
fn misplaced(story: &Story, before: &[PathBuf]) -> Vec<String> {
    let attached: Vec<_> = story.disks.iter().filter_map(|disk| story.host.device(&disk.path)).collect();
    let serial = |number: usize| Some(format!("1000{number}"));
    let wrong = |wish: &Wish| {
        let (number, place) = (wish.number()?, PathBuf::from(PLACES[wish.place]));
        let there = attached.iter().find(|one| one.mounted_at.contains(&place))?;
        let new = !before.contains(&place) && !story.by_hand.contains(&place);
        // One without a serial says nothing of itself.
        (new && there.id.serial.is_some() && there.id.serial != serial(number))
            .then(|| format!("{there:?} at {}", place.display()))
    };
    in_force(&story.wishes).filter_map(|(_, wish)| wrong(wish)).collect()
}

/// As on Azure: disks of one size have one serial, and the settings name their place.
#[test]
fn what_is_in_the_place_of_a_half_made_disk_with_its_serial_and_size_is_not_taken_for_it() {
    let disk = |content: &str| WorldDisk {
        content: content.into(),
        shared: true,
        size: 20 << 30,
        ..WorldDisk::volume("", "controller")
    };
    let half_made = (0..12).filter(|at| {
        simulate(async {
            let mut story = Story::new(vec![disk("blank"), disk("raw")], vec![Some(Wish::at(PATHS[0]))]);
            story.happen(Event::Pull(1)).await;
            story.happen(Event::Run(Some(Fault::at_change(*at, FaultMode::CrashDuring)))).await;
            story.happen(Event::KillWork).await;
            story.happen(Event::Reboot).await;
            let cut_off = story.contents()[Path::new(PATHS[0])].0 == Content::HalfMade;
            story.happen(Event::Pull(0)).await;
            story.happen(Event::PutBack(1, 0)).await;
            story.happen(Event::Run(None)).await;
            assert_eq!(story.contents()[Path::new(PATHS[1])].0, Content::Raw, "cut off at change {at}");
            assert!(story.host.violations().is_empty(), "{:?}", story.host.violations());
            cut_off
        })
    });
    assert!(half_made.count() > 0, "none was cut off in the midst of it");
}

/// Or what somebody writes to the disk before that is begun would be taken for half of it.
#[test]
fn a_record_begins_without_the_mark_of_an_earlier_one_that_was_removed() {
    let (volume, device, uuid) = ("data".to_owned(), "/dev/sdb".into(), "ab-1".to_owned());
    let intent = Intent { volume, device, id: DeviceId::default(), filesystem: Filesystem::Ext4, uuid };
    simulate(async {
        let host = SimHost::new(&World::default());
        host.put_secret(Intent::begun_of("data"), &intent.mark());
        let spec = Volumes { volumes: Vec::new(), services: Vec::new(), starts: false };
        spec.apply(&Action::Record(intent.clone()), &host, &Progress::default()).await.unwrap();
        assert!(host.text(intent.path()).is_some());
        assert_eq!(host.text(Intent::begun_of("data")), None);
    });
}

proptest! {
    #![proptest_config(law("disks", number("DISK_HISTORIES", HISTORIES)))]

    #[test]
    fn no_byte_of_a_disk_that_is_not_blank_changes(
        disks in proptest::collection::vec(disk(), 1..4),
        wishes in proptest::collection::vec(proptest::option::weighted(0.9, wish()), 1..3),
        history in proptest::collection::vec(event(), 1..8),
    ) {
        // One clock for all of it: what works on does so from run to run.
        simulate(async {
            let mut story = Story::new(disks, wishes);
            let mut last = story.contents();
            for event in history {
                let (ran, whole) = (matches!(event, Event::Run(_)), matches!(event, Event::Run(None)));
                let mounted = story.host.mounted();
                story.happen(event).await;
                prop_assert!(story.host.violations().is_empty(), "{:?}", story.host.violations());
                let now = story.contents();
                for (home, content) in &now {
                    let Some(before) = last.get(home).filter(|before| *before != content) else { continue };
                    prop_assert!(!ran || story.permits(home, before, content), "{home:?} held {before:?}, and now {content:?}");
                    match content.0 {
                        Content::HalfMade if ran => drop(story.ours.insert(home.clone())),
                        _ => drop(story.ours.remove(home)),
                    }
                }
                last = now;
                if whole {
                    prop_assert_eq!(story.strays(), Vec::<PathBuf>::new(), "mounted, and not to be");
                }
                if ran {
                    prop_assert_eq!(misplaced(&story, &mounted), Vec::<String>::new(), "the wrong disk is mounted");
                }
            }
            Ok(())
        })?;
    }
}
