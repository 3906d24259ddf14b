//! Changing the simulated machine. Every change first asks the faults.

use super::SimHost;
use super::fault::{FaultMode, failure};
use super::state::{Content, State};
use super::work::Order;
use bowline_ports::{
    Answered, Ask, BlockDevice, Change, ErrorKind, FIELD_MANAGER, FetchOrder, Filesystem, FormatOrder, Fut, GrowOrder,
    Job, PortError, Progress, Proofs, ReclaimOrder, TaintChange, TendOrder, Write,
};
use std::collections::BTreeMap;
use std::path::Path;

impl SimHost {
    /// One change with all faults: `half` is what a crash in its middle leaves behind.
    pub(super) fn change<'a, T: Send + 'a>(
        &'a self,
        call: &'static str,
        half: impl FnOnce(&mut State) + Send + 'a,
        whole: impl FnOnce(&mut State) -> Result<T, PortError> + Send + 'a,
    ) -> Fut<'a, T> {
        Box::pin(async move {
            let Some(fault) = self.faults.change(call).await else { return whole(&mut self.lock()) };
            match fault.mode {
                FaultMode::FailBefore | FaultMode::CrashBefore => {}
                FaultMode::CrashDuring => half(&mut self.lock()),
                FaultMode::FailAfter => drop(whole(&mut self.lock())?),
                FaultMode::CrashAfter => drop(whole(&mut self.lock())),
            }
            if !fault.mode.is_failure() {
                self.faults.die().await;
            }
            Err(failure(call, fault.kind))
        })
    }
}

impl Change for SimHost {
    fn random<'a>(&'a self, into: &'a mut [u8]) -> Fut<'a, ()> {
        self.change(
            "random",
            |_| {},
            move |state| {
                state.random += 1;
                into.iter_mut().zip(1u8..).for_each(|(byte, at)| *byte = at.wrapping_mul(state.random));
                Ok(())
            },
        )
    }

    fn write<'a>(&'a self, path: &'a Path, content: &'a [u8], mode: u32) -> Fut<'a, ()> {
        self.change(
            "write",
            |_| {}, // atomic: a cut leaves the old file
            move |state| {
                state.has_room(path)?;
                state.put(path, content.to_vec(), mode);
                Ok(())
            },
        )
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Fut<'a, ()> {
        self.change(
            "remove",
            |_| {},
            move |state| {
                state.files.remove(path);
                state.give_up(path);
                Ok(())
            },
        )
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path, mode: u32) -> Fut<'a, ()> {
        self.change(
            "rename",
            |_| {},
            move |state| {
                let Some(mut file) = state.files.remove(from) else {
                    return Err(PortError::new(ErrorKind::NotFound, format!("{} does not exist", from.display())));
                };
                file.mode = mode;
                state.files.insert(to.to_path_buf(), file);
                Ok(())
            },
        )
    }

    fn link<'a>(&'a self, target: &'a Path, path: &'a Path) -> Fut<'a, ()> {
        self.change(
            "link",
            |_| {},
            move |state| {
                let text = format!("-> {}", target.display());
                if state.files.get(path).is_some_and(|there| there.text() != text) {
                    return Err(PortError::new(ErrorKind::Changed, format!("{}: it is taken", path.display())));
                }
                state.put(path, text.into_bytes(), 0o777);
                Ok(())
            },
        )
    }

    fn reload_units(&self) -> Fut<'_, ()> {
        self.change(
            "reload_units",
            |_| {},
            |state| {
                state.reload();
                Ok(())
            },
        )
    }

    fn write_unit<'a>(&'a self, _: &'a str, path: &'a Path, text: &'a str) -> Fut<'a, ()> {
        self.change(
            "write_unit",
            |state| state.put(path, text.as_bytes().to_vec(), 0o644),
            |state| {
                state.has_room(path)?;
                state.put(path, text.as_bytes().to_vec(), 0o644);
                state.reload();
                Ok(())
            },
        )
    }

    fn start<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change("start", |_| {}, move |state| state.start(unit))
    }

    fn start_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change(
            "start_no_block",
            |_| {},
            move |state| {
                // Queued: what becomes of it is seen by looking.
                let _ = state.start(unit);
                Ok(())
            },
        )
    }

    fn restart<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change(
            "restart",
            move |state| state.stop(unit), // killed in between
            move |state| {
                state.stop(unit);
                state.start(unit)
            },
        )
    }

    fn restart_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change(
            "restart_no_block",
            |_| {},
            move |state| {
                state.stop(unit);
                let _ = state.start(unit);
                Ok(())
            },
        )
    }

    fn stop_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change(
            "stop_no_block",
            |_| {},
            move |state| {
                state.stop(unit);
                Ok(())
            },
        )
    }

    fn enable<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change("enable", |_| {}, move |state| state.enable(unit))
    }

    fn format<'a>(&'a self, order: &'a FormatOrder, progress: &'a Progress) -> Fut<'a, ()> {
        self.work("format", Order::Format(order.clone()), progress)
    }

    fn grow<'a>(&'a self, order: &'a GrowOrder, progress: &'a Progress) -> Fut<'a, ()> {
        self.work("grow", Order::Grow(order.clone()), progress)
    }

    fn tend<'a>(&'a self, order: &'a TendOrder, progress: &'a Progress) -> Fut<'a, ()> {
        self.work("tend", Order::Tend(order.clone()), progress)
    }

    fn fetch<'a>(&'a self, order: &'a FetchOrder, progress: &'a Progress) -> Fut<'a, ()> {
        self.work("fetch", Order::Fetch(order.clone()), progress)
    }

    fn reclaim<'a>(&'a self, order: &'a ReclaimOrder, progress: &'a Progress) -> Fut<'a, ()> {
        self.work("reclaim", Order::Reclaim(order.clone()), progress)
    }

    fn reserve<'a>(&'a self, path: &'a Path, bytes: u64) -> Fut<'a, ()> {
        let half = move |state: &mut State| state.begin_reserve(path, bytes);
        self.change("reserve", half, move |state| state.reserve(path, bytes))
    }

    fn apply_labels<'a>(&'a self, _: &'a Path, node: &'a str, labels: &'a BTreeMap<String, String>) -> Fut<'a, ()> {
        self.change("apply_labels", |_| {}, move |state| apply(state, node, labels))
    }

    fn set_taints<'a>(&'a self, _: &'a Path, node: &'a str, change: &'a TaintChange) -> Fut<'a, ()> {
        self.change("set_taints", |_| {}, move |state| taint(state, node, change))
    }

    fn write_object<'a>(&'a self, _: &'a Path, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
        self.change_object(path, write)
    }

    fn ask<'a>(&'a self, ask: &'a Ask, proofs: &'a dyn Proofs) -> Fut<'a, Answered> {
        self.exchange(ask, proofs)
    }
}

impl State {
    /// Notes how a job ended.
    pub(super) fn ended(&mut self, job: String, result: Result<(), PortError>) -> Result<(), PortError> {
        let end = result.as_ref().map_or_else(|error| Job::Failed(error.clone()), |()| Job::Done);
        self.jobs.insert(job, end);
        result
    }
}

impl State {
    pub(super) fn grow(&mut self, order: &GrowOrder) -> Result<(), PortError> {
        let disk = self.disks.iter_mut().find(|disk| disk.device.path == order.device && disk.device.id == order.id);
        let is_here = |device: &BlockDevice| {
            self.mounts.iter().any(|mount| mount.target == order.mount && device.is_mounted_by(mount))
        };
        let Some(disk) = disk.filter(|disk| is_here(&disk.device)) else {
            let text = format!("{} was not grown: it is another disk, or not mounted", order.device.display());
            return Err(PortError::new(ErrorKind::Changed, text));
        };
        // As the kernel does with one that has noted errors.
        if order.filesystem == Filesystem::Ext4 && disk.disorder.is_some() {
            let text = "resize2fs failed (exit status: 1): Permission denied to resize filesystem";
            return Err(PortError::new(ErrorKind::Other, text).hint("it has noted errors: a check takes the note away"));
        }
        disk.extent = order.id.size;
        Ok(())
    }
}

/// What the real host checks under the lock before it writes the first byte; `false` when all is done already.
pub(super) fn check(state: &mut State, order: &FormatOrder) -> Result<bool, PortError> {
    let changed = |why: &str| PortError::new(ErrorKind::Changed, format!("{}: {why}", order.device.display()));
    let Some(disk) = state.disks.iter_mut().find(|d| d.device.path == order.device) else {
        return Err(changed("is gone"));
    };
    // Nothing makes one of these while somebody is about to format: whoever asks did not look.
    if disk.device.root || !disk.device.holders.is_empty() || !disk.device.partitions.is_empty() {
        state.violations.push(format!("{} is asked for, and others are built on it", order.device.display()));
        return Err(changed("is in use"));
    }
    if disk.content == Content::Buried {
        disk.content = Content::Raw;
        return Err(changed("is not blank"));
    }
    if disk.device.id != order.id {
        return Err(changed("is another disk now"));
    }
    let begun = order.resume && state.files.get(&order.begun).is_some_and(|file| file.text() == order.mark());
    if !disk.device.mounted_at.is_empty() {
        return Err(changed("is in use"));
    }
    match (&disk.content, begun) {
        (Content::Blank, _) | (Content::HalfMade, true) => Ok(true),
        (Content::Filesystem { name, uuid, .. }, _)
            if order.resume && name == order.filesystem.name() && *uuid == order.uuid =>
        {
            Ok(false)
        }
        (Content::Raw, true) => {
            state.violations.push(format!("a stranger's data on {} was written over", order.device.display()));
            Ok(true)
        }
        (_, _) => Err(changed("is not blank")),
    }
}

pub(super) fn set(state: &mut State, order: &FormatOrder, content: Content) {
    if let Some(disk) = state.disks.iter_mut().find(|d| d.device.path == order.device) {
        disk.content = content;
        disk.extent = order.id.size;
    }
}

/// Server-side apply without force, for labels.
fn apply(state: &mut State, name: &str, labels: &BTreeMap<String, String>) -> Result<(), PortError> {
    let Some(node) = state.node(name)?.and(state.node.as_mut()) else {
        return Err(PortError::new(ErrorKind::Changed, format!("labelling the Node {name}: there is no such Node")));
    };
    for (key, value) in labels {
        let others = node.managers.get(key).into_iter().flatten().find(|m| *m != FIELD_MANAGER);
        if let (Some(other), true) = (others, node.labels.get(key) != Some(value)) {
            let text = format!("labelling the Node {name}: another manager owns a label: {key} belongs to \"{other}\"");
            let hint = "take it out of Bowline's settings, or remove it on a server: kubectl label node";
            return Err(PortError::new(ErrorKind::Busy, text).hint(format!("{hint} {name} {key}-")));
        }
    }
    let owned = |managers: &BTreeMap<String, Vec<String>>, key: &String| {
        managers.get(key).is_some_and(|m| m.iter().any(|m| m == FIELD_MANAGER))
    };
    for key in node.labels.keys().cloned().collect::<Vec<_>>() {
        if owned(&node.managers, &key) && !labels.contains_key(&key) {
            let managers = node.managers.entry(key.clone()).or_default();
            managers.retain(|m| m != FIELD_MANAGER);
            if managers.is_empty() {
                node.labels.remove(&key);
                node.managers.remove(&key);
            }
        }
    }
    for (key, value) in labels {
        node.labels.insert(key.clone(), value.clone());
        if !owned(&node.managers, key) {
            node.managers.entry(key.clone()).or_default().push(FIELD_MANAGER.into());
        }
    }
    Ok(())
}

/// The Node's taints, where they are still what was looked at.
fn taint(state: &mut State, name: &str, change: &TaintChange) -> Result<(), PortError> {
    let changed = |why: &str| PortError::new(ErrorKind::Changed, format!("tainting the Node {name}: {why}"));
    let there = state.node(name)?.and(state.node.as_mut()).filter(|node| node.uid == change.uid);
    let node = there.ok_or_else(|| changed("there is another Node now"))?;
    let taints = change.of(node.taints.clone(), node.own_taints.as_deref(), String::clone, |text| Some(text.into()));
    node.taints = taints.ok_or_else(|| changed("its taints are not any more what was looked at"))?;
    node.own_taints = Some(change.after.clone()).filter(|record| !record.is_empty());
    Ok(())
}
