//! Disks: sparse images behind loop devices, which a real udevd in the machine names like a cloud's volumes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::stat::{major, minor};
use nix::unistd::{Whence, lseek64};
use sha2::{Digest, Sha256};

use crate::bed::{Inner as Bed, lock};
use crate::machine::Machine;
use crate::root::Root;
use crate::{Os, base, run};

/// Bytes are compared and hashed in blocks of this size.
const BLOCK: usize = 4096;

/// A disk of a bed. Clones are the same disk; it outlives machines and ends with its bed.
#[derive(Clone)]
pub struct Disk {
    inner: Arc<Inner>,
}

struct Inner {
    bed: std::sync::Weak<Bed>,
    serial: String,
    image: PathBuf,
    device: Mutex<Option<PathBuf>>,
}

impl Disk {
    pub(crate) fn create(bed: &Arc<Bed>, serial: &str, size: &str) -> Result<Disk> {
        if serial.is_empty() || serial.len() > 32 || !serial.bytes().all(|b| b.is_ascii_alphanumeric()) {
            bail!("a disk's serial number is up to 32 letters and digits: {serial:?}");
        }
        let image = bed.dir.join("disks").join(format!("{serial}.img"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&image)
            .with_context(|| image.display().to_string())?;
        file.set_len(bytes_of(size)?)?;
        let device = Mutex::new(None);
        Ok(Disk { inner: Arc::new(Inner { bed: Arc::downgrade(bed), serial: serial.to_owned(), image, device }) })
    }

    pub(crate) fn holds(&self, image: &Path) -> Result<()> {
        run::ok(Command::new("cp").args(["--sparse=always", "--no-preserve=all"]).arg(image).arg(&self.inner.image))
            .map(drop)
    }

    /// The file that it is.
    pub(crate) fn image(&self) -> &Path {
        &self.inner.image
    }

    /// Its serial number.
    pub fn serial(&self) -> &str {
        &self.inner.serial
    }

    /// The link by which a machine knows it.
    pub fn link(&self) -> String {
        Self::link_of(&self.inner.serial)
    }

    /// That of the disk with this serial.
    pub fn link_of(serial: &str) -> String {
        format!("/dev/disk/by-id/scsi-0HC_Volume_{serial}")
    }

    /// Its size in bytes.
    pub fn size(&self) -> Result<u64> {
        Ok(fs::metadata(&self.inner.image)?.len())
    }

    /// Makes a file system with the base's own tools: `mkfs("ext4")`, `mkfs("xfs")`, `mkfs("btrfs")`, with further options after the type.
    pub fn mkfs(&self, words: &str) -> Result<()> {
        let (kind, options) = words.split_once(' ').unwrap_or((words, ""));
        let quiet = if kind == "btrfs" { "-q" } else { "-q " };
        self.tool(&format!("mkfs.{kind} {quiet} {options} \"$1\""))
    }

    /// Gives it a partition table with one partition. (The partition has no device: loop devices are not scanned.)
    pub fn partition(&self) -> Result<()> {
        self.tool("echo ';' | sfdisk --quiet --label gpt \"$1\"")
    }

    /// Runs a shell command of the base with the disk's image as `$1`.
    pub fn tool(&self, command: &str) -> Result<()> {
        self.flush()?;
        let bed = self.inner.bed.upgrade().context("the bed is gone")?;
        let base = bed.base(Os::Bookworm)?;
        let root = base::root(&base);
        let name = self.inner.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let inside =
            r#"mount --bind "$1" "$2/mnt" && mount --bind /proc "$2/proc" && exec chroot "$2" sh -c "$3" sh "/mnt/$4""#;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", inside, "sh"]);
        unshare.arg(bed.dir.join("disks")).arg(root).arg(command).arg(name);
        run::ok(&mut unshare)?;
        self.flush()
    }

    /// Writes bytes from this offset on.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        let file = OpenOptions::new().write(true).open(&self.inner.image)?;
        file.write_all_at(bytes, offset)?;
        file.sync_all()?;
        self.flush()
    }

    /// Fills `length` bytes from `offset` with one value.
    pub fn fill(&self, offset: u64, length: usize, byte: u8) -> Result<()> {
        self.write(offset, &vec![byte; length])
    }

    /// Reads bytes.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.flush()?;
        let mut bytes = vec![0; length];
        File::open(&self.inner.image)?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// A hash of what is on it: of every block that is not zero, and where it is. Holes cost nothing.
    pub fn sha256(&self) -> Result<String> {
        self.flush()?;
        let mut file = File::open(&self.inner.image)?;
        let end = file.metadata()?.len();
        let mut hash = Sha256::new();
        hash.update(end.to_le_bytes());
        let mut at = 0;
        let mut block = vec![0; BLOCK];
        // An error is the end: there is no data after `at`.
        while let Ok(data) = lseek64(&file, at, Whence::SeekData) {
            let hole = lseek64(&file, data, Whence::SeekHole)?;
            let mut offset = u64::try_from(data)? / BLOCK as u64 * BLOCK as u64;
            file.seek(SeekFrom::Start(offset))?;
            while offset < u64::try_from(hole)? {
                let length = usize::try_from((end - offset).min(BLOCK as u64))?;
                file.read_exact(&mut block[..length])?;
                if block[..length].iter().any(|byte| *byte != 0) {
                    hash.update(offset.to_le_bytes());
                    hash.update(&block[..length]);
                }
                offset += length as u64;
            }
            at = hole;
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Makes it larger (or smaller), also while machines use it.
    pub fn resize(&self, size: &str) -> Result<()> {
        OpenOptions::new().write(true).open(&self.inner.image)?.set_len(bytes_of(size)?)?;
        if let Some(device) = &*lock(&self.inner.device) {
            run::ok(Command::new("losetup").arg("--set-capacity").arg(device))?;
        }
        Ok(())
    }

    /// The loop device, set up when first needed.
    fn device(&self) -> Result<PathBuf> {
        let mut device = lock(&self.inner.device);
        if let Some(device) = &*device {
            return Ok(device.clone());
        }
        let said = run::ok(Command::new("losetup").args(["--find", "--show"]).arg(&self.inner.image))?;
        // Somebody's earlier disk behind this loop device may have been made read-only: that stays with the device.
        run::ok(Command::new("blockdev").arg("--setrw").arg(said.trim()))?;
        Ok(device.insert(PathBuf::from(said.trim())).clone())
    }

    /// The numbers of its device node.
    fn numbers(&self) -> Result<(u64, u64)> {
        let device = self.device()?;
        let rdev = fs::metadata(&device).with_context(|| device.display().to_string())?.rdev();
        Ok((major(rdev), minor(rdev)))
    }

    /// The node and its announcement in a running machine whose rules know the disk.
    pub(crate) fn plug(&self, machine: &Machine) -> Result<()> {
        let (device, name) = self.node()?;
        let (major, minor) = self.numbers()?;
        machine.ok(&format!(
            "[ -e {device} ] || mknod -m 660 {device} b {major} {minor}; udevadm control --reload && udevadm trigger --action=add /sys/block/{name}"
        ))?;
        Ok(())
    }

    /// The opposite, in a running machine whose rules have forgotten the disk.
    pub(crate) fn unplug(&self, machine: &Machine) -> Result<()> {
        let (device, name) = self.node()?;
        machine.ok(&format!(
            "udevadm control --reload && udevadm trigger --action=remove --settle /sys/block/{name}; rm -f {device}"
        ))?;
        let link = self.link();
        machine.wait_for(&format!("{link} to go"), Duration::from_secs(5), || {
            Ok(!machine.run(&format!("test -L {link}"))?.success())
        })
    }

    /// No machine has it now: the loop device is given back.
    pub(crate) fn released(&self) -> Result<()> {
        match lock(&self.inner.device).take() {
            Some(device) => run::ok(Command::new("losetup").arg("--detach").arg(device)).map(drop),
            None => Ok(()),
        }
    }

    fn node(&self) -> Result<(String, String)> {
        let device = self.device()?;
        let name = device.file_name().ok_or_else(|| anyhow!("no name"))?.to_string_lossy().into_owned();
        Ok((device.display().to_string(), name))
    }

    /// Image and device show the same bytes after this.
    fn flush(&self) -> Result<()> {
        match &*lock(&self.inner.device) {
            Some(device) => run::ok(Command::new("blockdev").arg("--flushbufs").arg(device)).map(drop),
            None => Ok(()),
        }
    }
}

/// What a machine must have in its files to know `disks` and no others: paths and texts.
pub(crate) fn rules(bed: &Bed, disks: &[Disk]) -> Result<[(&'static str, String); 2]> {
    let (mut list, mut rules) = (String::new(), String::from("# Loop devices that play the cloud's volumes.\n"));
    let bed = bed.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for disk in disks {
        let (device, _) = disk.node()?;
        let (major, minor) = disk.numbers()?;
        let serial = disk.serial();
        list.push_str(&format!("{device} {major} {minor}\n"));
        rules.push_str(&format!(
            "SUBSYSTEM==\"block\", KERNEL==\"loop[0-9]*\", ATTR{{loop/backing_file}}==\"*/{bed}/disks/{serial}.img\", \
             ENV{{ID_BUS}}=\"scsi\", ENV{{ID_SCSI}}=\"1\", ENV{{ID_VENDOR}}=\"HC\", ENV{{ID_MODEL}}=\"Volume\", \
             ENV{{ID_SERIAL}}=\"0HC_Volume_{serial}\", ENV{{ID_SERIAL_SHORT}}=\"{serial}\", ENV{{ID_SCSI_SERIAL}}=\"{serial}\", \
             ENV{{BOWLINE_BED}}=\"1\", SYMLINK+=\"disk/by-id/scsi-0HC_Volume_{serial}\"\n"
        ));
    }
    Ok([("/etc/bowline-bed/disks", list), ("/etc/udev/rules.d/40-bowline-bed.rules", rules)])
}

/// The same for a machine that is about to boot.
pub(crate) fn write_rules(root: &Root, bed: &Bed, disks: &[Disk]) -> Result<()> {
    rules(bed, disks)?.iter().try_for_each(|(path, text)| root.write(path, text.as_bytes(), 0o644))
}

/// `20G` in bytes.
pub(crate) fn bytes_of(size: &str) -> Result<u64> {
    let (number, unit) = size.split_at(size.trim_end_matches(['K', 'M', 'G', 'T']).len());
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => bail!("not a size: {size:?}"),
    };
    Ok(number.parse::<u64>().with_context(|| format!("not a size: {size:?}"))? << shift)
}

/// For messages.
impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "disk {} ({})", self.inner.serial, Path::new(&self.inner.image).display())
    }
}
