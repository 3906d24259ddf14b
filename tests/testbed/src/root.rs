//! A machine's files before it boots: what makes it this machine, laid over the base.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::bed::random_hex;
use crate::builder::Spec;
use crate::{GATEWAY, run};

/// Masked, since nobody types passwords: each takes an inotify instance, of which a host has few for all its machines.
const NOT_NEEDED: [&str; 2] = ["systemd-ask-password-console.path", "systemd-ask-password-wall.path"];

/// What the kernel says is the host's: it is in the machine's `/dev/kmsg`, for a kubelet, and would be two thousand lines of each journal.
const JOURNAL: &str = "[Journal]\nReadKMsg=no\n";

/// The folders of one machine. `/` is an overlay on the base; `/var` is a plain folder and a mount of its own, since
/// containerd inside cannot stack overlays, and so that no path below it is a mount point before a volume is.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) dir: PathBuf,
}

impl Root {
    pub(crate) fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Files of the host, beneath what the machine writes.
    pub(crate) fn layer(&self) -> PathBuf {
        self.dir.join("layer")
    }

    pub(crate) fn merged(&self) -> PathBuf {
        self.dir.join("root")
    }

    pub(crate) fn var(&self) -> PathBuf {
        self.dir.join("var")
    }

    pub(crate) fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// Makes the files of a new machine.
    pub(crate) fn create(&self, base: &Path, spec: &Spec) -> Result<()> {
        for dir in [self.upper(), self.work(), self.merged(), self.layer()] {
            fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        for (file, inside) in &spec.layer {
            let link = self.layer().join(inside.trim_start_matches('/'));
            fs::create_dir_all(link.parent().context("a file at the root")?)?;
            fs::hard_link(file, &link).or_else(|_| fs::copy(file, &link).map(drop))?;
        }
        run::ok(Command::new("cp").arg("-a").arg(base.join("var")).arg(self.var()))?;
        self.write("/etc/hostname", format!("{}\n", spec.name).as_bytes(), 0o644)?;
        self.write("/etc/machine-id", format!("{}\n", random_hex(16)?).as_bytes(), 0o444)?;
        let mut hosts = String::from("127.0.0.1 localhost\n");
        if let Some(address) = &spec.address {
            hosts.push_str(&format!("{address} {}\n", spec.name));
        }
        self.write("/etc/hosts", hosts.as_bytes(), 0o644)?;
        self.write("/etc/systemd/network/10-host0.network", network(spec).as_bytes(), 0o644)?;
        self.write("/etc/systemd/journald.conf.d/50-bowline-bed.conf", JOURNAL.as_bytes(), 0o644)?;
        match &spec.cloud_init {
            None => self.write("/etc/cloud/cloud-init.disabled", b"", 0o644)?,
            Some(user_data) => {
                let meta = format!("instance-id: i-{}\nlocal-hostname: {}\n", random_hex(4)?, spec.name);
                self.write("/var/lib/cloud/seed/nocloud/meta-data", meta.as_bytes(), 0o644)?;
                self.write("/var/lib/cloud/seed/nocloud/user-data", user_data.as_bytes(), 0o600)?;
            }
        }
        for unit in NOT_NEEDED {
            self.write(&format!("/etc/systemd/system/{unit}"), b"", 0o644)?;
        }
        for file in &spec.files {
            self.write(&file.path, &file.bytes, file.mode)?;
        }
        Ok(())
    }

    /// Writes a file of a machine that is not running.
    pub(crate) fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let Some(relative) = path.strip_prefix('/').filter(|path| !path.split('/').any(|part| part == "..")) else {
            bail!("not an absolute path: {path:?}");
        };
        let target = match relative.strip_prefix("var/") {
            Some(below) => self.var().join(below),
            None => self.upper().join(relative),
        };
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        // A link in the machine's files must not lead to a file of the host.
        if target.symlink_metadata().is_ok() {
            fs::remove_file(&target)?;
        }
        fs::write(&target, bytes).with_context(|| target.display().to_string())?;
        Ok(fs::set_permissions(&target, fs::Permissions::from_mode(mode))?)
    }

    /// Removes what `create` and the machine made; the console's text stays.
    pub(crate) fn wipe(&self) -> Result<()> {
        for dir in [self.upper(), self.work(), self.var(), self.layer()] {
            if dir.exists() {
                remove(&dir)?;
            }
        }
        Ok(())
    }
}

/// Removes a directory of a machine's. Bowline's mount points are unwritable (`chattr +i`), for whoever removes them too.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    if fs::remove_dir_all(dir).is_ok() {
        return Ok(());
    }
    Command::new("chattr").args(["-R", "-f", "-i"]).arg(dir).status()?;
    fs::remove_dir_all(dir).with_context(|| dir.display().to_string())
}

fn network(spec: &Spec) -> String {
    let mut text = String::from("[Match]\nName=host0\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n");
    if let Some(address) = &spec.address {
        text.push_str(&format!("Address={address}/24\nGateway={GATEWAY}\n"));
    }
    for address in &spec.further_addresses {
        text.push_str(&format!("Address={address}\n"));
    }
    text
}
