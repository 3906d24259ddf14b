//! Growing a mounted filesystem to the size of its device.

use super::super::tool::Tool;
use super::super::{extent, mounts};
use super::device::Device;
use super::{Order, Report, Verb};
use bowline_ports::{ErrorKind, Filesystem, GrowOrder, PortError, ProgressValue};
use std::path::Path;
use std::time::Duration;

/// ext4 writes the inode tables of what is new later, in the background: this takes seconds.
const GROWING: Duration = Duration::from_secs(3600);

impl Order for GrowOrder {
    const VERB: Verb = Verb::Grow;
    const REPLACED: bool = false;
    type Found = ();

    fn job(&self) -> String {
        GrowOrder::job(&self.volume, &self.id, self.uuid.as_deref())
    }

    fn description(&self) -> String {
        format!("Bowline: grows {} at {} for the volume {}", self.filesystem, self.mount.display(), self.volume)
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn capabilities(&self) -> Option<u64> {
        None
    }

    async fn carry_out(&self, report: Report<'_>) -> Result<(), PortError> {
        grow(self, report).await
    }
}

/// Carries out the order, or refuses it (`Changed`) with what was found.
async fn grow(order: &GrowOrder, report: Report<'_>) -> Result<(), PortError> {
    let (device, mount) = (order.device.display(), order.mount.display());
    let changed = |why: String| PortError::new(ErrorKind::Changed, format!("{device} was not grown: {why}"));
    let open = Device::open(&order.device, false)?;
    let found = open.find(&[])?.ok_or_else(|| changed("the kernel does not list it any more".into()))?;
    if found.id != order.id {
        return Err(changed(format!("it is another disk, or has another size by now ({} bytes)", found.id.size)));
    }
    if !mounts::read()?.iter().any(|one| one.target == order.mount && found.is_mounted_by(one)) {
        return Err(changed(format!("it is not mounted at {mount}")));
    }
    report(ProgressValue {
        done: 0,
        total: 0,
        text: format!("growing {} to the size of its device", order.filesystem),
    });
    let id = match order.filesystem {
        Filesystem::Btrfs => extent::number(&open.file)
            .map_err(|e| PortError::io(format_args!("reading the superblock of {device}"), &e))?,
        Filesystem::Ext4 | Filesystem::Xfs => 0,
    };
    let tool = Tool::Grow { filesystem: order.filesystem, device: &order.device, mount: &order.mount, id };
    let output = tool.run(None, GROWING).await?;
    if output.status.success() {
        return Ok(());
    }
    let failed = tool.failed(&output);
    let noted = order.filesystem == Filesystem::Ext4 && extent::notes_errors(&open.file);
    Err(match advice(&failed.message, noted, &order.device) {
        Some(hint) => failed.hint(hint),
        None => failed,
    })
}

/// What to do about a growth that failed with these words, of an ext4 that has noted errors or not.
fn advice(said: &str, noted: bool, device: &Path) -> Option<String> {
    if said.contains("has unsupported") {
        let text = "it was made by a newer e2fsprogs, and nothing is known to be damaged: install a newer e2fsprogs, or a newer system";
        return Some(text.to_owned());
    }
    // The kernel's word for it is EPERM, and nothing more.
    noted.then(|| {
        format!(
            "it has noted errors, and the kernel grows no ext4 that has: a check takes the note away. With `repair = \"safe\"` on the \
             volume Bowline makes that before the next mount, such as at a boot; or unmount it, and `e2fsck -f -p {}`",
            device.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// resize2fs 1.47.0, of features that it does not know.
    #[test]
    fn a_growth_that_fails_is_told_with_what_helps() {
        let advice = |said: &str, noted| advice(said, noted, Path::new("/dev/sdb")).unwrap_or_default();
        for said in [
            "resize2fs: Filesystem has unsupported feature(s) (/dev/sdb)",
            "resize2fs: Filesystem has unsupported read-only feature(s) while trying to open /dev/sdb; Couldn't find valid \
             filesystem superblock.",
        ] {
            assert!(advice(said, false).contains("install a newer e2fsprogs"), "{said}");
        }
        let denied = "resize2fs: Permission denied to resize filesystem";
        assert_eq!(advice(denied, false), "");
        assert!(advice(denied, true).ends_with("`e2fsck -f -p /dev/sdb`"));
    }
}
