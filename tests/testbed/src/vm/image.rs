//! The root file systems of virtual machines, as images: Debian 12 by mmdebstrap, and on it the package under test.
//!
//! The kernel is Debian's for clouds: it finds its root without an initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::artefacts::checkout;
use crate::cache::{self, Artefact, Key};
use crate::{Os, base, run, sources};

/// What a virtual machine has before anything is installed on it.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,kmod,mount,procps,netbase,iproute2,e2fsprogs,xfsprogs,btrfs-progs,\
    dmsetup,fdisk,linux-image-cloud-amd64";

/// Much more than is in it; the image is sparse.
const SIZE: &str = "1200M";

/// Installs a package into a root that no systemd runs in.
const INSTALL: &str = r#"
mount --bind /proc "$1/proc" && cp "$2" "$1/package.deb" &&
DEBIAN_FRONTEND=noninteractive chroot "$1" dpkg --install /package.deb && rm "$1/package.deb""#;

/// Any will do: these machines have no network.
const MACHINE_ID: &str = "b0f11e5e7e57bed0b0f11e5e7e57bed0\n";

/// The tree that is copied into every root, and the script `setup` that finishes it.
fn tree() -> PathBuf {
    checkout().join("tests/testbed/vm")
}

/// The image of a machine with this Debian package (`image`), and its kernel (`vmlinuz`). The root is from the cache or
/// made (about a minute), the image takes a few seconds.
pub(crate) fn with(package: &Path) -> Result<Artefact> {
    if !cfg!(target_arch = "x86_64") {
        bail!("virtual machines are made for amd64 only");
    }
    let found = sources::find()?;
    let mut key = Key::new();
    key.add(PACKAGES.as_bytes());
    key.add(found.for_suite(Os::Bookworm.suite()).as_bytes());
    key.add_tree(&tree())?;
    let root = cache::get("vm-root", key.clone(), |building| {
        let tree = tree().display().to_string();
        let hooks = [format!("cp -r {tree}/etc {tree}/usr \"$1\""), format!("{tree}/setup \"$1\"")];
        base::bootstrap(Os::Bookworm, PACKAGES, &hooks, found.listed(Os::Bookworm)?.path(), &building.join("root"))
    })?;
    key.add(SIZE.as_bytes());
    key.add_tree(package)?;
    cache::get_newest("vm-image", key, |building| make(root.path(), package, building))
}

fn make(from: &Path, package: &Path, building: &Path) -> Result<()> {
    let root = building.join("root");
    run::ok(Command::new("cp").arg("-a").arg(from.join("root")).arg(&root))?;
    let mut install = Command::new("unshare");
    install.args(["--mount", "--propagation", "private", "sh", "-c", INSTALL, "sh"]);
    run::ok(install.arg(&root).arg(package))?;
    fs::rename(root.join("vmlinuz"), building.join("vmlinuz"))?;
    // mmdebstrap takes it away. A machine without one takes each boot for its first, and goes through all units.
    fs::write(root.join("etc/machine-id"), MACHINE_ID)?;
    let mut image = Command::new("mkfs.ext4");
    image.args(["-q", "-F", "-m", "0", "-L", "root", "-d"]).arg(&root).arg(building.join("image")).arg(SIZE);
    run::ok(&mut image)?;
    Ok(fs::remove_dir_all(root)?)
}
