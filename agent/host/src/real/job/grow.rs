//! Growing a mounted filesystem to the size of its device.

use super::super::mounts;
use super::super::tool::Tool;
use super::device::Device;
use super::{Order, Report, Verb};
use bowline_ports::{ErrorKind, GrowOrder, PortError, ProgressValue};
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
    let tool = Tool::Grow { filesystem: order.filesystem, device: &order.device, mount: &order.mount };
    let output = tool.run(None, GROWING).await?;
    if !output.status.success() {
        return Err(tool.failed(&output));
    }
    Ok(())
}
