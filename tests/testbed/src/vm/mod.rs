//! Virtual machines: a kernel of their own, disks that are plugged in and out, grow and fail, and real power cuts.

mod door;
mod drive;
mod image;
mod qemu;
mod qmp;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

pub use drive::Drive;

use crate::bed::{Bed, Inner as BedInner, lock};
use crate::boot::check_name;
use crate::cache::Artefact;
use crate::disk::{self, Disk};
use crate::run::{self, Output};
use crate::system::System;
use crate::wait::PATIENCE;

/// How long a boot may take: emulated, and beside all that the host has to do.
const BOOT: Duration = Duration::from_secs(240);

/// A virtual machine with Bowline's package on it: Debian 12 on emulated processors, without a network. Its disks are of its
/// bed, and it ends with that. Commands run one after the other. Clones are the same machine.
#[derive(Clone)]
pub struct VirtualMachine {
    inner: Arc<Inner>,
}

struct Inner {
    bed: Arc<BedInner>,
    name: String,
    id: String,
    dir: PathBuf,
    image: Artefact,
    drives: Mutex<Vec<Drive>>,
    qemu: Mutex<Option<Arc<qemu::Qemu>>>,
}

impl Bed {
    /// A booted virtual machine with this Debian package, as it is when it was installed and the machine booted once.
    pub fn virtual_machine(&self, name: &str, package: &Path) -> Result<VirtualMachine> {
        check_name(name)?;
        let image = image::with(package)?;
        let dir = self.inner.dir.join("machines").join(name);
        fs::create_dir(&dir).with_context(|| format!("the machine {name} is there already"))?;
        // A copy, and no overlay: of a write that is to be on the disk at once (FUA), with which a journal commits, QEMU's NVMe
        // leaves an overlay's table of clusters in its memory, and a power cut took back what had been synced.
        let mut copy = Command::new("cp");
        copy.arg("--sparse=always").arg(image.path().join("image"));
        run::ok(copy.arg(dir.join("root.img")))?;
        let (bed, name, id) = (Arc::clone(&self.inner), name.to_owned(), self.inner.next_id());
        let (drives, qemu) = (Mutex::default(), Mutex::default());
        let machine = VirtualMachine { inner: Arc::new(Inner { bed, name, id, dir, image, drives, qemu }) };
        self.inner.add_virtual_machine(&machine);
        machine.boot()?;
        Ok(machine)
    }
}

impl VirtualMachine {
    /// Boots it, with what is plugged in now. Returns when it takes commands; units may still be starting.
    pub fn boot(&self) -> Result<()> {
        let inner = &self.inner;
        let mut running = lock(&inner.qemu);
        if running.as_ref().is_some_and(|qemu| qemu.running()) {
            bail!("{} runs already", inner.name);
        }
        if let Some(ended) = running.take() {
            ended.end()?;
        }
        let drives = lock(&inner.drives).clone();
        let kernel = inner.image.path().join("vmlinuz");
        let qemu = qemu::Qemu::start(&inner.bed, &inner.id, &inner.dir, &kernel, &drives)?;
        *running = Some(Arc::new(qemu));
        drop(running);
        self.run_with("true", &[], BOOT / PATIENCE).map(drop)
    }

    /// Cuts its power. What it has not written to its disks is lost; [`VirtualMachine::boot`] starts it again.
    pub fn power_cut(&self) -> Result<()> {
        match lock(&self.inner.qemu).take() {
            Some(qemu) => qemu.end(),
            None => Ok(()),
        }
    }

    /// Shuts it down from inside, and waits for that.
    pub fn power_off(&self) -> Result<()> {
        let qemu = self.qemu()?;
        // It may go before it answers.
        self.run("systemctl poweroff --no-block").ok();
        let off = qemu.wait(BOOT)?;
        self.power_cut()?;
        if !off {
            bail!("{} did not go down within {BOOT:?}", self.inner.name);
        }
        Ok(())
    }

    /// Plugs a disk in, hot if the machine runs.
    pub fn plug(&self, drive: impl Into<Drive>) -> Result<()> {
        let drive = drive.into();
        if let Ok(qemu) = self.qemu() {
            let mut qmp = lock(&qemu.qmp);
            for part in drive.parts() {
                let (command, arguments) = part.command();
                qmp.command(command, arguments)?;
            }
        }
        lock(&self.inner.drives).push(drive);
        Ok(())
    }

    /// Pulls a disk out, whether it is in use or not.
    pub fn unplug(&self, disk: &Disk) -> Result<()> {
        let drive = self.drive(disk)?;
        if let Ok(qemu) = self.qemu() {
            let mut qmp = lock(&qemu.qmp);
            qmp.delete(&drive.device())?;
            for node in drive.nodes() {
                qmp.command("blockdev-del", json!({ "node-name": node }))?;
            }
            qmp.command("object-del", json!({ "id": drive.group() }))?;
        }
        lock(&self.inner.drives).retain(|other| other.device() != drive.device());
        Ok(())
    }

    /// Makes a disk larger that is plugged in; the machine is told.
    pub fn resize(&self, disk: &Disk, size: &str) -> Result<()> {
        let node = self.drive(disk)?.node();
        let qemu = self.qemu()?;
        lock(&qemu.qmp).command("block_resize", json!({ "node-name": node, "size": disk::bytes_of(size)? })).map(drop)
    }

    /// Lets a disk write so many bytes a second at most from now on; 0 for as many as it can.
    pub fn throttle(&self, disk: &Disk, bytes: u64) -> Result<()> {
        let slower = self.drive(disk)?.writing(bytes);
        let limits = json!({ "path": format!("/objects/{}", slower.group()), "property": "limits", "value": { "bps-write": bytes } });
        if let Ok(qemu) = self.qemu() {
            lock(&qemu.qmp).command("qom-set", limits)?;
        }
        let mut drives = lock(&self.inner.drives);
        drives.retain(|other| other.device() != slower.device());
        drives.push(slower);
        Ok(())
    }

    pub(crate) fn reap(&self) {
        if let Some(qemu) = lock(&self.inner.qemu).take() {
            qemu.reap();
        }
    }

    fn drive(&self, disk: &Disk) -> Result<Drive> {
        let drives = lock(&self.inner.drives);
        let found = drives.iter().find(|drive| drive.disk.serial() == disk.serial()).cloned();
        found.with_context(|| format!("{disk} is not plugged in"))
    }

    fn qemu(&self) -> Result<Arc<qemu::Qemu>> {
        lock(&self.inner.qemu).clone().ok_or_else(|| anyhow!("{} does not run", self.inner.name))
    }
}

impl System for VirtualMachine {
    fn name(&self) -> String {
        self.inner.name.clone()
    }

    fn is_running(&self) -> bool {
        self.qemu().is_ok_and(|qemu| qemu.running())
    }

    fn run_with(&self, command: &str, input: &[u8], limit: Duration) -> Result<Output> {
        let qemu = self.qemu()?;
        let answer = lock(&qemu.door).run(command, input, limit * PATIENCE);
        answer.with_context(|| format!("{}: {command}", self.inner.name))
    }

    fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        // On its disk when this returns, whatever becomes of the power.
        let script = format!(
            "dir=$(dirname '{path}') && mkdir -p \"$dir\" && umask 077 && cat > '{path}.bowline-vm' && chmod {mode:o} '{path}.bowline-vm' && \
             sync '{path}.bowline-vm' && mv '{path}.bowline-vm' '{path}' && sync \"$dir\""
        );
        let said = self.run_with(&script, bytes, run::LIMIT / PATIENCE)?;
        if !said.success() {
            bail!("{}: could not write {path}: {said}", self.inner.name);
        }
        Ok(())
    }

    fn console(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.inner.dir.join("console.log"))?).into_owned())
    }
}
