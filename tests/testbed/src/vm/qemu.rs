//! One run of a virtual machine: QEMU with emulated processors, from its start to its end.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::door::Door;
use super::drive::Drive;
use super::qmp::Qmp;
use crate::bed::{Inner as Bed, lock, wait_child};
use crate::cgroup::Groups;

/// Enters the control groups, by which the keeper finds it, and the bed's network, which no machine is attached to, and
/// becomes QEMU. Emulated processors are always busy: what else runs on the host goes first.
const LAUNCH: &str = r#"
for dir in $BED_GROUPS; do echo $$ > "$dir/cgroup.procs" || exit 1; done
exec nsenter "$BED_NET" nice -n 10 qemu-system-x86_64 "$@""#;

/// The root is on NVMe, whose driver is in the kernel; the drivers that are kept out have nothing to do.
///
/// A kernel that counts its timer's ticks at boot takes a busy host for a broken timer, and panics: it is not to count. Nor is
/// it to measure how fast other clocks are: its time went five times as fast as the host's then. Any other panic ends the
/// machine, and is no silence.
const KERNEL: &str = "root=/dev/nvme0n1 rw console=ttyS0 quiet apparmor=0 lsm=capability mitigations=off \
    no_timer_check clocksource=hpet nolapic_timer panic=-1 random.trust_cpu=on cryptomgr.notests 8250.nr_uarts=1 \
    module_blacklist=kvm,kvm_amd,kvm_intel,qemu_fw_cfg";

/// A QEMU that runs.
pub(crate) struct Qemu {
    child: Mutex<Child>,
    groups: Groups,
    pub(crate) qmp: Mutex<Qmp>,
    pub(crate) door: Mutex<Door>,
}

impl Qemu {
    /// Starts it. `dir` has `root.img` and takes `console.log`; the machine is booting when this returns.
    pub(crate) fn start(bed: &Bed, id: &str, dir: &Path, kernel: &Path, drives: &[Drive]) -> Result<Qemu> {
        let groups = Groups::create(&bed.layout, &format!("bowline-{id}"), |dir| {
            bed.record("cgroups", &dir.display().to_string())
        })?;
        let started = spawn(bed, &groups, dir, kernel, drives);
        let (mut child, qmp, door) = match started {
            Ok(started) => started,
            Err(error) => {
                groups.remove();
                return Err(error);
            }
        };
        match Qmp::new(qmp) {
            Ok(qmp) => {
                Ok(Qemu { child: Mutex::new(child), groups, qmp: Mutex::new(qmp), door: Mutex::new(Door::new(door)) })
            }
            Err(error) => {
                child.kill().ok();
                child.wait().ok();
                groups.remove();
                Err(error.context(fs::read_to_string(dir.join("qemu.log")).unwrap_or_default()))
            }
        }
    }

    pub(crate) fn running(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// Waits until the machine has switched itself off.
    pub(crate) fn wait(&self, limit: Duration) -> Result<bool> {
        wait_child(&mut lock(&self.child), limit)
    }

    /// Ends it as a power cut does: at once, and what the machine has not written yet is lost.
    pub(crate) fn end(&self) -> Result<()> {
        let mut child = lock(&self.child);
        child.kill()?;
        child.wait()?;
        self.groups.remove();
        Ok(())
    }

    /// Collects the status of a machine that the keeper has ended.
    pub(crate) fn reap(&self) {
        wait_child(&mut lock(&self.child), Duration::from_secs(5)).ok();
    }
}

/// QEMU is told things by its standard input and output, which are sockets: they end when it does, and have no names.
fn spawn(
    bed: &Bed,
    groups: &Groups,
    dir: &Path,
    kernel: &Path,
    drives: &[Drive],
) -> Result<(Child, UnixStream, UnixStream)> {
    let (qmp, its_qmp) = UnixStream::pair()?;
    let (door, its_door) = UnixStream::pair()?;
    let log = OpenOptions::new().create(true).append(true).open(dir.join("qemu.log"))?;
    let mut words = groups.prefix.clone();
    words.extend(["sh", "-c", LAUNCH, "launch"].map(String::from));
    let (program, words) = words.split_first().context("no command")?;
    let dirs: Vec<_> = groups.dirs.iter().map(|dir| dir.display().to_string()).collect();
    let child = Command::new(program)
        .args(words)
        .args(options(dir, kernel, drives)?)
        .env("BED_GROUPS", if groups.prefix.is_empty() { dirs.join(" ") } else { String::new() })
        .env("BED_NET", bed.net_option())
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(its_qmp)))
        .stdout(Stdio::from(OwnedFd::from(its_door)))
        .stderr(log)
        .spawn()
        .context("qemu-system-x86_64")?;
    Ok((child, qmp, door))
}

fn options(dir: &Path, kernel: &Path, drives: &[Drive]) -> Result<Vec<String>> {
    let in_dir = |name: &str| {
        let path = dir.join(name).display().to_string();
        if path.contains(',') { bail!("QEMU takes no comma in a path: {path}") } else { Ok(path) }
    };
    let root = format!("driver=raw,node-name=root,file.driver=file,file.filename={}", in_dir("root.img")?);
    let console = format!("file,id=console,append=on,path={}", in_dir("console.log")?);
    let kernel = kernel.display().to_string();
    let mut options: Vec<String> = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-nic",
        "none",
        "-machine",
        "q35,sata=off,smbus=off,vmport=off",
        "-accel",
        "tcg,tb-size=256",
        // With an instruction for random numbers: without one the kernel gathers them by a second of busy waiting.
        "-cpu",
        "qemu64,+rdrand",
        "-smp",
        "1",
        "-m",
        "512",
        "-kernel",
        &kernel,
        "-append",
        KERNEL,
        "-blockdev",
        &root,
        "-device",
        "nvme,drive=root,serial=root",
        "-device",
        "virtio-scsi-pci,id=scsi",
        "-device",
        "virtio-serial-pci",
        "-chardev",
        "socket,id=door,fd=1",
        "-device",
        "virtserialport,chardev=door,name=bowline",
        "-chardev",
        "socket,id=qmp,fd=0",
        "-mon",
        "chardev=qmp,mode=control",
        "-chardev",
        &console,
        "-serial",
        "chardev:console",
    ]
    .map(String::from)
    .to_vec();
    options.extend(drives.iter().flat_map(Drive::parts).flat_map(|part| part.option()));
    Ok(options)
}
