//! What cases install: the K3s stand-in and Bowline's package, built from the checkout when their sources changed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Artefact, Key};
use crate::run;

/// How long a build may take from nothing.
const LIMIT: Duration = Duration::from_secs(3600);
/// What goes into the package.
const SOURCES: &[&str] =
    &["agent", "debian", "systemd", "config", "packaging", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// A K3s binary: `$K3S` where that is a path, else the stand-in of `tests/k3s`.
pub fn k3s() -> Result<Artefact> {
    if let Some(path) = env::var_os("K3S").filter(|path| !path.is_empty()).map(PathBuf::from) {
        if !path.is_file() {
            bail!("K3S={}: no such file", path.display());
        }
        return Ok(Artefact::outside(path));
    }
    let checkout = checkout();
    let key = sources_key(&["tests/k3s"])?;
    let built = cache::get("k3s", key, |building| build(&checkout.join("tests/k3s/build.sh"), &building.join("k3s")))?;
    Ok(built.file("k3s"))
}

/// Bowline's Debian package.
pub fn package() -> Result<Artefact> {
    let built = cache::get("package", sources_key(SOURCES)?, |building| {
        build(&checkout().join("packaging/build-deb"), building)?;
        find_package(building).map(drop)
    })?;
    let path = find_package(built.path())?;
    Ok(built.file(&path.file_name().unwrap_or_default().to_string_lossy()))
}

fn find_package(dir: &Path) -> Result<PathBuf> {
    let names = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("bowline_") && name.ends_with(".deb")
    };
    names.into_iter().find(ours).with_context(|| format!("no bowline_*.deb in {}", dir.display()))
}

fn build(script: &Path, output: &Path) -> Result<()> {
    let said = run::run(Command::new(script).arg(output).current_dir(checkout()), &[], LIMIT)?;
    if !said.success() {
        bail!("{}: {said}", script.display());
    }
    Ok(())
}

/// A hash of names and contents of what git knows, or would, below these paths.
fn sources_key(paths: &[&str]) -> Result<Key> {
    let checkout = checkout();
    let there: Vec<_> = paths.iter().filter(|path| checkout.join(path).exists()).collect();
    let mut git = Command::new("git");
    git.current_dir(&checkout).args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
    ]);
    let listed = run::ok(git.args(there))?;
    let mut files: Vec<_> = listed.split('\0').filter(|file| !file.is_empty()).collect();
    files.sort_unstable();
    files.dedup();
    if files.is_empty() {
        bail!("nothing to build from: {} has none of {paths:?}", checkout.display());
    }
    let mut key = Key::new();
    for file in files {
        let path = checkout.join(file);
        key.add(file.as_bytes());
        // What git knows may have been removed since.
        if path.symlink_metadata().is_ok() {
            key.add_tree(&path)?;
        }
    }
    Ok(key)
}

/// The checkout that these tests are of.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}
