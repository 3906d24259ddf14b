//! What a scenario's file says.

use bowline_host::sim::{World, WorldAnswer, WorldDisk};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A machine, its settings, and what happens to it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// What there is to see, in a sentence or two.
    pub about: String,
    /// The settings at the first look; empty when there are none yet.
    #[serde(default)]
    pub settings: String,
    /// The machine, where it differs from a small VM with one private network.
    #[serde(default)]
    pub world: World,
    /// What was done before Bowline came.
    #[serde(default)]
    pub before: Vec<Event>,
    /// The power is cut in the middle of this change of the first run, counted from 0.
    pub power_cut: Option<usize>,
    /// The agent is killed in the middle of this change of the first run, counted from 0.
    pub kill: Option<usize>,
    /// The settings that it finds when it is started again; the same where there are none.
    pub meanwhile: Option<String>,
    /// For how many seconds a run waits for what does not come.
    #[serde(default = "patience")]
    pub patience: u64,
    /// What happens after the first run, each followed by another one.
    #[serde(default)]
    pub then: Vec<Event>,
}

fn patience() -> u64 {
    10
}

/// Something that happens to the machine.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The machine boots again.
    Reboot,
    /// Bowline is started again.
    RunAgain,
    /// Time passes.
    Wait {
        /// How much.
        seconds: u64,
    },
    /// A disk is attached.
    Attach {
        /// The disk.
        disk: WorldDisk,
    },
    /// A disk is taken out while the machine runs.
    Detach {
        /// Its node.
        disk: PathBuf,
    },
    /// A disk gets another size.
    Resize {
        /// Its node.
        disk: PathBuf,
        /// Bytes.
        size: u64,
    },
    /// A filesystem meets errors, and notes that down.
    Damage {
        /// Its disk's node.
        disk: PathBuf,
        /// `light`, or `deep` where somebody has to decide what is lost.
        disorder: String,
    },
    /// Somebody erases a disk.
    Wipe {
        /// Its node.
        disk: PathBuf,
    },
    /// udev's record of a disk is away, or there again.
    Udev {
        /// Its node.
        disk: PathBuf,
        /// Whether it is there.
        knows: bool,
    },
    /// A disk that was taken out is back.
    PutBack {
        /// The node that it had first.
        disk: PathBuf,
    },
    /// A directory of something mounted is mounted at another place as well.
    Bind {
        /// The directory.
        from: PathBuf,
        /// Where.
        at: PathBuf,
    },
    /// An interface gets an address.
    Address {
        /// `interface address`.
        gives: String,
    },
    /// The host gets another name.
    HostName {
        /// Which.
        is: String,
    },
    /// The cloud's metadata service says something else.
    Cloud {
        /// What, by path.
        says: BTreeMap<String, String>,
    },
    /// The cloud's metadata service is gone.
    CloudGone,
    /// Servers of the cluster answer otherwise from now on.
    Servers {
        /// What, by `host:port`.
        answers: BTreeMap<String, Vec<WorldAnswer>>,
    },
    /// Somebody writes a file.
    Put {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// Somebody writes a file that root alone can read.
    Bring {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// Somebody changes a word in a file.
    Edit {
        /// Where.
        path: PathBuf,
        /// This,
        old: String,
        /// to this.
        new: String,
    },
    /// Somebody removes a file.
    Delete {
        /// Which.
        path: PathBuf,
    },
    /// Somebody starts a unit.
    Start {
        /// Which.
        unit: String,
    },
    /// Somebody enables a unit.
    Enable {
        /// Which.
        unit: String,
    },
    /// Somebody stops a unit.
    Stop {
        /// Which.
        unit: String,
    },
    /// Somebody uses what is mounted there.
    Use {
        /// Where.
        mount: PathBuf,
    },
    /// Nobody uses any mount any more.
    LetGo,
    /// A pod mounts for itself what is mounted there.
    Hold {
        /// `NAMESPACE/NAME`.
        pod: String,
        /// Where.
        mount: PathBuf,
    },
    /// A pod ends.
    EndPod {
        /// Which.
        pod: String,
    },
    /// The disk of the system takes no byte more, or has room again.
    Full {
        /// Whether it is full.
        so: bool,
    },
    /// Somebody takes a released volume back, as `bowline volumes take` does.
    Take {
        /// Its name.
        volume: String,
    },
    /// Somebody writes the settings anew.
    Settings {
        /// All of them; a line `#-- NAME` begins another file.
        text: String,
    },
}

impl Event {
    /// The event as a line of text.
    pub fn line(&self) -> String {
        match self {
            Self::Reboot => "the machine boots again".into(),
            Self::RunAgain => "Bowline is started again".into(),
            Self::Wait { seconds } => format!("{seconds} seconds pass"),
            Self::Attach { disk } => format!("the disk {} is attached", disk.path.display()),
            Self::Detach { disk } => format!("the disk {} is taken out", disk.display()),
            Self::Damage { disk, disorder } => {
                format!("the filesystem on {} meets errors ({disorder})", disk.display())
            }
            Self::Resize { disk, size } => format!("the disk {} has {} GiB from now on", disk.display(), size >> 30),
            Self::Wipe { disk } => format!("somebody erases {}", disk.display()),
            Self::Udev { disk, knows: true } => format!("udev has come to {}", disk.display()),
            Self::Udev { disk, knows: false } => format!("udev's record of {} is away", disk.display()),
            Self::PutBack { disk } => format!("the disk {} is back", disk.display()),
            Self::Bind { from, at } => format!("{} is bound to {}", from.display(), at.display()),
            Self::Address { gives } => format!("an address comes: {gives}"),
            Self::HostName { is } => format!("the host is called {is} from now on"),
            Self::Cloud { .. } => "the cloud's metadata change".into(),
            Self::CloudGone => "the cloud's metadata service is gone".into(),
            Self::Servers { answers } => {
                let names: Vec<_> = answers.keys().map(String::as_str).collect();
                format!("{} answers otherwise", names.join(", "))
            }
            Self::Put { path, .. } => format!("somebody writes {}", path.display()),
            Self::Bring { path, .. } => format!("somebody brings {}, for root alone", path.display()),
            Self::Edit { path, old, new } => format!("somebody changes “{old}” to “{new}” in {}", path.display()),
            Self::Delete { path } => format!("somebody removes {}", path.display()),
            Self::Start { unit } => format!("somebody starts {unit}"),
            Self::Enable { unit } => format!("somebody enables {unit}"),
            Self::Stop { unit } => format!("somebody stops {unit}"),
            Self::Use { mount } => format!("somebody uses {}", mount.display()),
            Self::LetGo => "nobody uses it any more".into(),
            Self::Hold { pod, mount } => format!("the pod {pod} has {} mounted", mount.display()),
            Self::EndPod { pod } => format!("the pod {pod} ends"),
            Self::Full { so: true } => "the disk of the system is full".into(),
            Self::Full { so: false } => "the disk of the system has room again".into(),
            Self::Take { volume } => format!("the volume {volume} is taken back"),
            Self::Settings { .. } => "the settings are written anew".into(),
        }
    }
}
