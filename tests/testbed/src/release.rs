//! K3s's release page on the bed's web server: the binary and its checksums, at the paths that the real one has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use crate::bed::{Bed, GATEWAY, lock};
use crate::web::{Count, Fault, Web};
use crate::{cache, run};

/// Where releases are below the server's root.
const RELEASES: &str = "/k3s-io/k3s/releases/download";

/// A release page with the layout of K3s's own.
pub struct Releases {
    web: Arc<Web>,
}

impl Bed {
    /// The bed's release page, at [`Releases::url`].
    pub fn releases(&self) -> Result<Releases> {
        Ok(Releases { web: self.web()? })
    }
}

impl Releases {
    /// What stands before `/<tag>/<asset>`: the value of `mirror`.
    pub fn url(&self) -> String {
        format!("https://{GATEWAY}{RELEASES}")
    }

    /// The CA that the server's certificate is signed by.
    pub fn ca_pem(&self) -> &str {
        self.web.ca_pem()
    }

    /// Publishes `binary` as K3s for amd64 and arm64 with its checksum files, and returns its sha256.
    pub fn publish(&self, tag: &str, binary: &Path) -> Result<String> {
        let hash = sha256(binary)?;
        for (arch, suffix) in [("amd64", ""), ("arm64", "-arm64")] {
            self.web.put_file(&path(tag, &format!("k3s{suffix}")), binary);
            // The real file names the images first.
            let sums = format!("{}  k3s-airgap-images-{arch}.tar\n{hash}  k3s{suffix}\n", "0".repeat(64));
            self.web.put(&path(tag, &format!("sha256sum-{arch}.txt")), sums);
        }
        Ok(hash)
    }

    /// Breaks an asset of a release, such as `k3s` or `sha256sum-amd64.txt`.
    pub fn fault(&self, tag: &str, asset: &str, fault: Fault) {
        self.web.fault(&path(tag, asset), fault);
    }

    /// Mends it.
    pub fn mend(&self, tag: &str, asset: &str) {
        self.web.mend(&path(tag, asset));
    }

    /// How often an asset was asked for, and how much of it was sent.
    pub fn count(&self, tag: &str, asset: &str) -> Count {
        self.web.count(&path(tag, asset))
    }
}

/// `+` is percent-encoded, as on the real page.
fn path(tag: &str, asset: &str) -> String {
    format!("{RELEASES}/{}/{asset}", tag.replace('+', "%2B"))
}

/// The SHA-256 of a program in the cache, which never changes; of others it is computed anew. Not by our own code: K3s is
/// large, and tests are not built for speed.
fn sha256(binary: &Path) -> Result<String> {
    static KNOWN: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());
    let kept = binary.starts_with(cache::folder()?);
    if let Some(known) = lock(&KNOWN).get(binary).filter(|_| kept) {
        return Ok(known.clone());
    }
    let said = run::ok(Command::new("sha256sum").arg("--binary").arg(binary))?;
    let hash = said.split(' ').next().context("no checksum")?.to_owned();
    lock(&KNOWN).insert(binary.to_owned(), hash.clone());
    Ok(hash)
}
