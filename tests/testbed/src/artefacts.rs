//! What cases install: the K3s stand-in and Bowline's package, built from the checkout when their sources changed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bed::Bed;
use crate::cache::{self, Artefact, Key};
use crate::run;

/// How long a build may take from nothing.
const LIMIT: Duration = Duration::from_secs(3600);
/// What goes into the package.
const SOURCES: &[&str] = &[
    "agent",
    "debian",
    "systemd",
    "config",
    "packaging",
    "CLUSTERS.md",
    "README.md",
    "SECURITY.md",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
];

/// The version of K3s that cases use unless they say otherwise.
pub const K3S_VERSION: &str = "v1.34.1+k3s1";

/// The K3s binary that `$K3S` asks for: a path, `download` (the real one from its release page), or nothing (the stand-in of `tests/k3s`).
pub fn k3s() -> Result<Artefact> {
    match env::var_os("K3S").filter(|value| !value.is_empty()) {
        None => k3s_stand_in(K3S_VERSION),
        Some(value) if value == "download" => k3s_download(K3S_VERSION),
        Some(path) => {
            let path = PathBuf::from(path);
            if !path.is_file() {
                bail!("K3S={}: no such file (a path, or `download`)", path.display());
            }
            Ok(Artefact::outside(path))
        }
    }
}

/// The stand-in, calling itself this version.
pub fn k3s_stand_in(version: &str) -> Result<Artefact> {
    let mut key = sources_key(&["tests/k3s"])?;
    key.add(version.as_bytes());
    let script = checkout().join("tests/k3s/build.sh");
    let built = cache::get("k3s", key, |building| {
        build(Command::new(&script).arg(building.join("k3s")).env("K3S_VERSION", version)).map(drop)
    })?;
    Ok(built.file("k3s"))
}

/// The conformance tests of `tests/k3s`, as one program.
pub fn k3s_conformance() -> Result<Artefact> {
    let folder = checkout().join("tests/k3s");
    let built = cache::get("k3s-conformance", sources_key(&["tests/k3s"])?, |building| {
        let mut go = Command::new("go");
        go.args(["test", "-c", "-trimpath", "-o"]).arg(building.join("conformance")).arg("./conformance");
        build(go.env("CGO_ENABLED", "0").current_dir(&folder)).map(drop)
    })?;
    Ok(built.file("conformance"))
}

/// The contract suite of `agent/host`, as one program: the one that `make test` runs on the host too. What of it is not built
/// is, by Cargo, which knows best what changed.
pub fn host_contract() -> Result<Artefact> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What is chosen here decides how dependencies are built: with the choice of `tests/run` nothing is built twice.
    cargo.args("test --quiet --locked --no-run --message-format=json --test contract --workspace".split(' '));
    let said = build(&mut cargo)?;
    let messages = said.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let made = |message: serde_json::Value| {
        let ours = message["target"]["name"] == "contract";
        message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
    };
    let path = messages.filter_map(made).next_back().context("cargo built no program for the contract suite")?;
    Ok(Artefact::outside(path))
}

/// Runs `tests`, unless they have passed with this very stand-in in these machines: as with all that is kept in the cache,
/// what it was made from decides. With another K3s they always run. Says whether they ran.
pub fn unless_passed(name: &str, tests: impl FnOnce() -> Result<()>) -> Result<bool> {
    if env::var_os("K3S").is_some_and(|value| !value.is_empty()) {
        return tests().map(|()| true);
    }
    let mut ran = false;
    cache::get(name, sources_key(&["tests/k3s", "tests/testbed/base"])?, |_| {
        ran = true;
        tests()
    })?;
    Ok(ran)
}

/// The real K3s, checked against its release's own checksums.
fn k3s_download(version: &str) -> Result<Artefact> {
    let mut key = Key::new();
    key.add(version.as_bytes());
    let (suffix, arch) = if cfg!(target_arch = "aarch64") { ("-arm64", "arm64") } else { ("", "amd64") };
    let page = format!("https://github.com/k3s-io/k3s/releases/download/{}", version.replace('+', "%2B"));
    let script = format!(
        "curl -fsSL -o k3s{suffix} {page}/k3s{suffix} && curl -fsSL {page}/sha256sum-{arch}.txt | grep ' k3s{suffix}$' | sha256sum --check && \
         chmod 755 k3s{suffix} && mv k3s{suffix} binary"
    );
    let built = cache::get("k3s-real", key, |building| {
        build(Command::new("sh").args(["-c", &script]).env("LC_ALL", "C").current_dir(building)).map(drop)
    })?;
    Ok(built.file("binary"))
}

/// The examples of `agent/usage`, `scan` and `tree`, in one folder: the scanner as a program, and what makes trees for it.
pub fn scanner() -> Result<Artefact> {
    let key = sources_key(&["agent/usage", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"])?;
    cache::get("scanner", key, |building| {
        build(Command::new("cargo").args(["build", "--locked", "--release", "--package=bowline-usage", "--examples"]))?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from);
        for name in ["scan", "tree"] {
            let from = checkout().join(&target).join("release/examples").join(name);
            std::fs::copy(&from, building.join(name)).with_context(|| from.display().to_string())?;
        }
        Ok(())
    })
}

/// Another scanner of directories, to be measured beside it.
pub fn diskus() -> Result<Artefact> {
    let version = "0.9.0";
    let mut key = Key::new();
    key.add(version.as_bytes());
    let built = cache::get("diskus", key, |building| {
        let mut install = Command::new("cargo");
        install.args(["install", "diskus", "--version", version, "--locked", "--root"]).arg(building);
        build(&mut install).map(drop)
    })?;
    Ok(built.file("bin/diskus"))
}

/// Bowline's Debian package.
pub fn package() -> Result<Artefact> {
    let mut key = sources_key(SOURCES)?;
    // The two variables of packaging/build-program that change its result.
    key.add(env::var_os("BOWLINE_PROFILE").unwrap_or_default().as_encoded_bytes());
    if let Some(binary) = env::var_os("BOWLINE_BINARY") {
        key.add_tree(Path::new(&binary))?;
    }
    let script = checkout().join("packaging/build-deb");
    let built = cache::get("package", key, |building| {
        build(Command::new(&script).arg(building))?;
        find_package(building).map(drop)
    })?;
    let path = find_package(built.path())?;
    Ok(built.file(&path.file_name().unwrap_or_default().to_string_lossy()))
}

impl Bed {
    /// A package with another version and nothing else changed, for tests of upgrades.
    pub fn renumbered(&self, package: &Path, version: &str) -> Result<PathBuf> {
        let tree = self.dir().join(format!("renumbered-{version}"));
        run::ok(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&tree))?;
        run::ok(
            Command::new("sed")
                .args(["-i", &format!("s/^Version: .*/Version: {version}/")])
                .arg(tree.join("DEBIAN/control")),
        )?;
        let made = self.dir().join(format!("renumbered_{version}.deb"));
        run::ok(
            Command::new("dpkg-deb").args(["-Zgzip", "-z1", "--root-owner-group", "--build"]).arg(&tree).arg(&made),
        )?;
        Ok(made)
    }
}

fn find_package(dir: &Path) -> Result<PathBuf> {
    let names = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("bowline_") && name.ends_with(".deb")
    };
    names.into_iter().find(ours).with_context(|| format!("no bowline_*.deb in {}", dir.display()))
}

fn build(command: &mut Command) -> Result<run::Output> {
    if command.get_current_dir().is_none() {
        command.current_dir(checkout());
    }
    // What cargo tells its tests would make another cargo build everything anew.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|of| text.starts_with(of)) {
            command.env_remove(&name);
        }
    }
    let said = run::run(command, &[], LIMIT)?;
    if !said.success() {
        bail!("{}: {said}", run::describe(command));
    }
    Ok(said)
}

/// A hash of names and contents of what git knows, or would, below these paths.
fn sources_key(paths: &[&str]) -> Result<Key> {
    let checkout = checkout();
    let there: Vec<_> = paths.iter().filter(|path| checkout.join(path).exists()).collect();
    if there.is_empty() {
        bail!("nothing to build from: {} has none of {paths:?}", checkout.display());
    }
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

/// The checkout that these tests are of: Cargo tells whatever it runs, and the folder decides of what is run by hand.
/// Not the one in which this was compiled, as checkouts share what is.
pub fn checkout() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.and_then(|package| package.ancestors().nth(2).map(Path::to_owned)).unwrap_or_else(|| PathBuf::from("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_by_git_and_their_absence_is_said() {
        assert!(sources_key(&["tests/testbed"]).is_ok());
        let error = sources_key(&["tests/nothing-here"]).err().unwrap().to_string();
        assert!(error.contains("nothing to build from"), "{error}");
    }
}
