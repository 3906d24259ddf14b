//! Images that no container uses, by the runtime itself: `crictl`.
//!
//! What the runtime calls an image's size is that of its compressed layers, those that others share among them. So what was freed
//! is measured: by how much room there is more than before. Runtimes give it back soon after their answer, not before it.

use super::super::super::space;
use super::super::super::tool::Tool;
use super::{Freed, Meanwhile};
use bowline_ports::{ErrorKind, PortError};
use rustix::fs::syncfs;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A runtime that is short of disk is slow.
const ANSWER: Duration = Duration::from_secs(120);
/// What crictl itself waits for, which is two seconds if it is not told: to remove an image of gigabytes takes longer.
const ITS_OWN: &str = "--timeout=100s";
/// Between two looks at how much room there is.
const PACE: Duration = Duration::from_millis(250);
/// What was removed has become room when there was no more of it for so long.
const QUIET: Duration = Duration::from_secs(1);
/// It is waited for no longer than this.
const LATEST: Duration = Duration::from_secs(10);

/// `crictl images -o json`: <https://github.com/kubernetes-sigs/cri-tools>, fields of the CRI's `Image`.
#[derive(Debug, Deserialize)]
pub(super) struct Images {
    #[serde(default)]
    pub(super) images: Vec<Image>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Image {
    pub(super) id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    /// A number, in quotes as protocol buffers write it.
    size: String,
    pinned: bool,
}

impl Image {
    fn bytes(&self) -> u64 {
        self.size.parse().unwrap_or(0)
    }

    /// The image of pods' sandboxes, which `ps` does not list; runtimes older than containerd 1.7 do not pin it.
    fn is_pause(&self) -> bool {
        let named = |name: &String| {
            let path = name.split('@').next().unwrap_or_default();
            let last = path.rsplit('/').next().unwrap_or_default();
            ["pause", "mirrored-pause"].contains(&last.split(':').next().unwrap_or_default())
        };
        self.repo_tags.iter().chain(&self.repo_digests).any(named)
    }

    fn used(&self, by: &BTreeSet<String>) -> bool {
        [&self.id].into_iter().chain(&self.repo_tags).chain(&self.repo_digests).any(|name| by.contains(name))
    }
}

/// `crictl ps -a -o json`.
#[derive(Debug, Deserialize)]
pub(super) struct Containers {
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    image: Spec,
    image_ref: String,
    image_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    image: String,
    user_specified_image: String,
}

/// All names by which containers know their images.
fn in_use(containers: Containers) -> BTreeSet<String> {
    let names = |one: Container| [one.image.image, one.image.user_specified_image, one.image_ref, one.image_id];
    containers.containers.into_iter().flat_map(names).filter(|name| !name.is_empty()).collect()
}

/// What may go, the largest first; and how many others are larger than so many bytes, even compressed.
pub(super) fn choose(images: Images, containers: Containers, at_most: u64) -> (Vec<Image>, usize) {
    let used = in_use(containers);
    let free = |image: &Image| !image.pinned && !image.is_pause() && !image.id.is_empty() && !image.used(&used);
    let (mut free, too_large): (Vec<Image>, Vec<Image>) =
        images.images.into_iter().filter(free).partition(|image| image.bytes() <= at_most);
    free.sort_by(|one, other| other.bytes().cmp(&one.bytes()).then_with(|| one.id.cmp(&other.id)));
    (free, too_large.len())
}

/// Bytes that are free on the filesystem of the runtime's directory. btrfs tells of what was removed only once that is written down.
pub(super) fn room(place: &Path) -> Result<u64, PortError> {
    let asked = || -> std::io::Result<u64> {
        let directory = File::open(place)?;
        if space::is_btrfs(&directory)? {
            syncfs(&directory)?;
        }
        Ok(space::ask(place)?.free)
    };
    asked().map_err(|error| PortError::io(format_args!("asking the filesystem at {}", place.display()), &error))
}

/// What has become room.
struct Gain<F> {
    room: F,
    /// Bytes that were free at the last look.
    before: u64,
    freed: u64,
}

impl<F: Fn() -> Result<u64, PortError>> Gain<F> {
    fn new(room: F) -> Result<Self, PortError> {
        Ok(Self { before: room()?, room, freed: 0 })
    }

    /// Counts what there is more than at the last look, once that is `due` at least and becomes no more. Where others fill the disk
    /// meanwhile, nothing was freed.
    async fn count(&mut self, due: u64) -> Result<(), PortError> {
        let begun = Instant::now();
        let (mut last, mut grown) = ((self.room)()?, begun);
        let mut most = last;
        while begun.elapsed() < LATEST && (grown.elapsed() < QUIET || most.saturating_sub(self.before) < due) {
            sleep(PACE).await;
            last = (self.room)()?;
            if last > most {
                (most, grown) = (last, Instant::now());
            }
        }
        self.freed = self.freed.saturating_add(most.saturating_sub(self.before));
        self.before = last;
        Ok(())
    }
}

/// Has them removed, until as much is free as may be. `room` says how many bytes are free where they are.
pub(super) async fn unused(
    k3s: Option<&Path>,
    room: impl Fn() -> Result<u64, PortError>,
    at_most: u64,
    meanwhile: Meanwhile<'_>,
) -> Freed {
    let begin = async {
        let images = asked(k3s, &["images", "-o", "json"]).await?;
        let chosen = choose(images, asked(k3s, &["ps", "-a", "-o", "json"]).await?, at_most);
        Ok::<_, PortError>((chosen, Gain::new(room)?))
    };
    let ((chosen, too_large), mut gain) = match begin.await {
        Ok(begun) => begun,
        Err(error) => return (0, Err(error)),
    };
    let (mut removed, mut stated, mut result) = (0_u64, 0_u64, Ok(()));
    for image in chosen {
        // Compressed it is smaller than what it leaves, but for what it shares; and where others fill the disk meanwhile, nothing
        // becomes room, however much goes.
        let gone = gain.freed.max(stated);
        if gone >= at_most || gone.saturating_add(image.bytes()) > at_most {
            continue;
        }
        // A container may have been made of it since.
        let used = match asked(k3s, &["ps", "-a", "-o", "json"]).await {
            Ok(containers) => in_use(containers),
            Err(error) => return (gain.freed, Err(error)),
        };
        if image.used(&used) {
            continue;
        }
        match run(k3s, &["rmi", &image.id]).await {
            Ok(_) => {
                (removed, stated) = (removed + 1, stated.saturating_add(image.bytes()));
                if let Err(error) = gain.count(0).await {
                    return (gain.freed, Err(error));
                }
                meanwhile(gain.freed);
            }
            // The kubelet removes images too, and one that cannot go must not keep the others here.
            Err(error) => match asked::<Images>(k3s, &["images", "-o", "json"]).await {
                Ok(now) if now.images.iter().all(|other| other.id != image.id) => {}
                Ok(_) | Err(_) => result = Err(error),
            },
        }
    }
    // A runtime that is slow gives it back later.
    if gain.freed < stated
        && let Err(error) = gain.count(stated - gain.freed).await
    {
        return (gain.freed, Err(error));
    }
    if too_large > 0 && result.is_ok() {
        let text = format!("{too_large} of them are larger than at-most, and stay");
        result = Err(PortError::new(ErrorKind::Other, text));
    }
    let told = match removed {
        1.. if gain.freed == 0 => {
            format!("{removed} of them were removed, which made no room: others share their layers, or filled it")
        }
        _ => String::new(),
    };
    (gain.freed, result.map(|()| told))
}

async fn asked<T: DeserializeOwned>(k3s: Option<&Path>, arguments: &[&str]) -> Result<T, PortError> {
    let text = run(k3s, arguments).await?;
    serde_json::from_slice(&text).map_err(|error| {
        PortError::new(ErrorKind::Invalid, format!("crictl {}: what it says is not understood: {error}", arguments[0]))
    })
}

async fn run(k3s: Option<&Path>, arguments: &[&str]) -> Result<Vec<u8>, PortError> {
    let arguments = [&[ITS_OWN], arguments].concat();
    let tool = Tool::Crictl { k3s, arguments: &arguments };
    let output = tool.run(None, ANSWER).await?;
    if output.status.success() { Ok(output.stdout) } else { Err(tool.failed(&output)) }
}
