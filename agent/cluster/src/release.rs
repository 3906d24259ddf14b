//! Where the files of a K3s release are, and how a download is verified.

use crate::BINARY;
use bowline_ports::{Arch, Digest, FetchOrder};
use bowline_settings::{Cluster, Mirror};
use std::path::{Path, PathBuf};

/// K3s's own release page; a mirror has the same layout below its base.
pub const RELEASES: &str = "https://github.com/k3s-io/k3s/releases/download";

/// The files of one release for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `…/v1.34.1%2Bk3s1`
    pub base: String,
    /// `k3s` or `k3s-arm64`.
    pub asset: &'static str,
    /// `sha256sum-amd64.txt`.
    pub sums: String,
}

impl Release {
    /// The release that the settings name.
    pub fn new(spec: &Cluster, arch: Arch) -> Self {
        let version = spec.version.to_string();
        let base = match &spec.mirror {
            None => format!("{RELEASES}/{}", version.replace('+', "%2B")),
            Some(Mirror::Https(base) | Mirror::Http(base)) => format!("{base}/{}", version.replace('+', "%2B")),
            Some(Mirror::Directory(path)) => format!("file:{}/{version}", path.display()),
        };
        let asset = match arch {
            Arch::Amd64 => "k3s",
            Arch::Arm64 => "k3s-arm64",
        };
        Self { base, asset, sums: format!("sha256sum-{}.txt", arch.name()) }
    }

    /// The download: verified by the pinned sum where the settings have one, else by the release's own file.
    pub fn order(&self, spec: &Cluster, arch: Arch) -> FetchOrder {
        let digest = match pinned(spec, arch) {
            Some(sum) => Digest::Pinned(sum),
            None => Digest::File { url: format!("{}/{}", self.base, self.sums), name: self.asset.into() },
        };
        FetchOrder {
            name: "k3s".into(),
            url: format!("{}/{}", self.base, self.asset),
            ca_file: spec.ca_file.clone(),
            digest,
            to: staged(&spec.version.to_string()),
        }
    }
}

/// The pinned sum for an architecture.
pub(crate) fn pinned(spec: &Cluster, arch: Arch) -> Option<String> {
    let key = match arch {
        Arch::Amd64 => bowline_settings::Arch::Amd64,
        Arch::Arm64 => bowline_settings::Arch::Arm64,
    };
    spec.sha256.get(&key).map(|sum| sum.as_str().to_string())
}

/// How the names of verified downloads begin; the version follows.
pub(crate) const STAGED: &str = "k3s.bowline-";

/// Where a verified download waits: beside its final place, so that installing it is one rename.
pub(crate) fn staged(version: &str) -> PathBuf {
    Path::new(BINARY).with_file_name(format!("{STAGED}{version}"))
}
