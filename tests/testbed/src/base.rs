//! The base root file systems: made by mmdebstrap from the host's own apt sources, once for each operating system.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::artefacts::checkout;
use crate::cache::{self, Artefact, Key};
use crate::{Os, run, sources};

/// What a machine has before anything is installed on it.
const PACKAGES: &[&str] = &[
    // the system
    "systemd,systemd-sysv,dbus,udev,kmod,mount,procps,netbase,iproute2,iputils-ping,ca-certificates,locales,apt-utils,gpgv,gnupg",
    // what cloud images have
    "cloud-init,needrestart,fdisk,e2fsprogs,xfsprogs,btrfs-progs",
    // what Kubernetes needs
    "containerd,runc,containernetworking-plugins,iptables,nftables,ebtables,conntrack,socat,ethtool",
    // what tests use
    "prometheus,curl,jq,openssl,strace,lsof,faketime,busybox-static",
];

/// The tree that is copied into every base, and the script `setup` that finishes it.
fn tree() -> PathBuf {
    checkout().join("tests/testbed/base")
}

/// The base of `os`, from the cache or built (about a minute).
pub(crate) fn get(os: Os) -> Result<Artefact> {
    let found = sources::find()?;
    let text = found.for_suite(os.suite());
    let mut key = Key::new();
    key.add(os.suite().as_bytes());
    key.add(text.as_bytes());
    PACKAGES.iter().for_each(|packages| key.add(packages.as_bytes()));
    key.add_tree(&tree())?;
    let base = cache::get(&format!("base-{}", os.suite()), key, |building| {
        build(os, found.listed(os)?.path(), &building.join("root"))
    })?;
    Ok(base)
}

/// The root folder within the artefact.
pub(crate) fn root(base: &Artefact) -> PathBuf {
    base.path().join("root")
}

fn build(os: Os, sources: &Path, root: &Path) -> Result<()> {
    let tree = tree().display().to_string();
    let hooks = [format!("cp -r {tree}/etc {tree}/usr \"$1\""), format!("{tree}/setup \"$1\"")];
    bootstrap(os, &PACKAGES.join(","), &hooks, sources, root)
}

/// A root file system with these packages and what they need; each hook is a shell command with the root as `$1`.
pub(crate) fn bootstrap(os: Os, packages: &str, hooks: &[String], sources: &Path, root: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command.arg("--variant=minbase").arg(format!("--include={packages}"));
    command.arg("--aptopt=Acquire::Languages \"none\"");
    for unneeded in ["doc", "man", "locale"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{unneeded}/*"));
    }
    command.args(hooks.iter().map(|hook| format!("--customize-hook={hook}")));
    command.arg(os.suite()).arg(root).arg(sources);
    // No root boots by an initramfs, which takes long to make.
    let output = run::run(command.env("INITRD", "No"), &[], Duration::from_secs(1800))?;
    if !output.success() {
        bail!("mmdebstrap: {output}");
    }
    Ok(())
}
