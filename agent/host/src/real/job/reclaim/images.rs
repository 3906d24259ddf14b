//! Images that no container uses, by the runtime itself: `crictl`.

use super::super::super::tool::Tool;
use super::{Freed, Meanwhile};
use bowline_ports::{ErrorKind, PortError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A runtime that is short of disk is slow.
const ANSWER: Duration = Duration::from_secs(120);
/// What crictl itself waits for, which is two seconds if it is not told: to remove an image of gigabytes takes longer.
const ITS_OWN: &str = "--timeout=100s";

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

/// What may go, the largest first, no more than so many bytes together.
pub(super) fn choose(images: Images, containers: Containers, at_most: u64) -> Vec<Image> {
    let used = in_use(containers);
    let free = |image: &Image| !image.pinned && !image.is_pause() && !image.id.is_empty() && !image.used(&used);
    let mut free: Vec<Image> = images.images.into_iter().filter(free).collect();
    free.sort_by(|one, other| other.bytes().cmp(&one.bytes()).then_with(|| one.id.cmp(&other.id)));
    let mut sum = 0_u64;
    free.retain(|image| {
        let fits = sum.saturating_add(image.bytes()) <= at_most;
        sum += if fits { image.bytes() } else { 0 };
        fits
    });
    free
}

/// Has them removed. How large they are is what the runtime says.
pub(super) async fn unused(k3s: Option<&Path>, at_most: u64, meanwhile: Meanwhile<'_>) -> Freed {
    let chosen = async {
        let images = asked(k3s, &["images", "-o", "json"]).await?;
        Ok::<_, PortError>(choose(images, asked(k3s, &["ps", "-a", "-o", "json"]).await?, at_most))
    };
    let chosen = match chosen.await {
        Ok(chosen) => chosen,
        Err(error) => return (0, Err(error)),
    };
    let (mut freed, mut result) = (0, Ok(()));
    for image in chosen {
        // A container may have been made of it since.
        let used = match asked(k3s, &["ps", "-a", "-o", "json"]).await {
            Ok(containers) => in_use(containers),
            Err(error) => return (freed, Err(error)),
        };
        if image.used(&used) {
            continue;
        }
        match run(k3s, &["rmi", &image.id]).await {
            Ok(_) => {
                freed += image.bytes();
                meanwhile(freed);
            }
            // The kubelet removes images too, and one that cannot go must not keep the others here.
            Err(error) => match asked::<Images>(k3s, &["images", "-o", "json"]).await {
                Ok(now) if now.images.iter().all(|other| other.id != image.id) => {}
                Ok(_) | Err(_) => result = Err(error),
            },
        }
    }
    (freed, result.map(|()| String::new()))
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
