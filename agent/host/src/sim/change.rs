//! Changing the simulated machine. Every change first asks the faults.

use super::SimHost;
use super::fault::{FaultMode, failure};
use super::state::{Content, State};
use bowline_ports::{Change, ErrorKind, FetchOrder, FormatOrder, Fut, Job, PortError, Progress, ProgressValue};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl SimHost {
    /// One change with all faults: `half` is what a crash in its middle leaves behind.
    fn change<'a, T: Send + 'a>(
        &'a self,
        half: impl FnOnce(&mut State) + Send + 'a,
        whole: impl FnOnce(&mut State) -> Result<T, PortError> + Send + 'a,
    ) -> Fut<'a, T> {
        Box::pin(async move {
            match self.faults.next().await {
                None => whole(&mut self.lock()),
                Some(FaultMode::FailBefore) => Err(failure()),
                Some(FaultMode::FailAfter) => {
                    whole(&mut self.lock())?;
                    Err(failure())
                }
                Some(FaultMode::CrashBefore) => self.dead().await,
                Some(FaultMode::CrashDuring) => {
                    half(&mut self.lock());
                    self.dead().await
                }
                Some(FaultMode::CrashAfter) => {
                    let _ = whole(&mut self.lock());
                    self.dead().await
                }
            }
        })
    }

    async fn dead<T>(&self) -> Result<T, PortError> {
        self.faults.die().await;
        Err(failure())
    }
}

impl Change for SimHost {
    fn write<'a>(&'a self, path: &'a Path, content: &'a [u8], mode: u32) -> Fut<'a, ()> {
        self.change(
            |_| {}, // atomic: a cut leaves the old file
            move |state| {
                state.put(path, content.to_vec(), mode);
                Ok(())
            },
        )
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Fut<'a, ()> {
        self.change(
            |_| {},
            move |state| {
                state.files.remove(path);
                Ok(())
            },
        )
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path, mode: u32) -> Fut<'a, ()> {
        self.change(
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
            |_| {},
            move |state| {
                let text = format!("-> {}", target.display());
                state.put(path, text.into_bytes(), 0o777);
                Ok(())
            },
        )
    }

    fn reload_units(&self) -> Fut<'_, ()> {
        self.change(
            |_| {},
            |state| {
                state.reload();
                Ok(())
            },
        )
    }

    fn start<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change(|_| {}, move |state| state.start(unit))
    }

    fn start_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change(
            |_| {},
            move |state| {
                // Queued: what becomes of it is seen by looking.
                let _ = state.start(unit);
                Ok(())
            },
        )
    }

    fn restart_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change(
            |_| {},
            move |state| {
                state.stop(unit);
                let _ = state.start(unit);
                Ok(())
            },
        )
    }

    fn enable<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        self.change(|_| {}, move |state| state.enable(unit))
    }

    fn format<'a>(&'a self, order: &'a FormatOrder, progress: &'a Progress) -> Fut<'a, ()> {
        let name = format!("mkfs-{}", order.volume);
        Box::pin(async move {
            progress.set(ProgressValue { done: 0, total: 0, text: format!("making {}", order.filesystem) });
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.change(
                |state| {
                    if check(state, order).is_ok() {
                        set(state, &order.device, Content::HalfMade);
                    }
                },
                move |state| {
                    check(state, order)?;
                    let (name_, uuid) = (order.filesystem.name().to_string(), order.uuid.clone());
                    set(state, &order.device, Content::Filesystem { name: name_, uuid, precious: false });
                    state.jobs.insert(name, Job::Done);
                    Ok(())
                },
            )
            .await
        })
    }

    fn fetch<'a>(&'a self, order: &'a FetchOrder, progress: &'a Progress) -> Fut<'a, ()> {
        Box::pin(async move {
            progress.set(ProgressValue { done: 1 << 20, total: 70 << 20, text: "downloading".into() });
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.change(
                |_| {},
                move |state| {
                    let version = state
                        .k3s
                        .releases
                        .iter()
                        .find(|v| order.url.contains(&v.replace('+', "%2B")) || order.url.contains(v.as_str()))
                        .cloned();
                    let Some(version) = version else {
                        return Err(PortError::new(ErrorKind::Invalid, format!("{}: 404 Not Found", order.url))
                            .hint("does that version exist?"));
                    };
                    state.put(&order.to, format!("k3s {version}").into_bytes(), 0o755);
                    Ok(())
                },
            )
            .await
        })
    }

    fn apply_labels<'a>(&'a self, _: &'a Path, node: &'a str, labels: &'a BTreeMap<String, String>) -> Fut<'a, ()> {
        self.change(|_| {}, move |state| apply(state, node, labels))
    }
}

/// What the real host checks under the lock before it writes the first byte.
fn check(state: &mut State, order: &FormatOrder) -> Result<(), PortError> {
    let changed = |why: &str| PortError::new(ErrorKind::Changed, format!("{}: {why}", order.device.display()));
    let Some(disk) = state.disks.iter().find(|d| d.device.path == order.device) else {
        return Err(changed("is gone"));
    };
    if disk.device.id != order.id {
        return Err(changed("is another disk now"));
    }
    if disk.device.root || !disk.device.mounted_at.is_empty() {
        return Err(changed("is in use"));
    }
    match (&disk.content, order.resume) {
        (Content::Blank, _) | (Content::HalfMade, true) => Ok(()),
        (Content::Raw, true) => {
            state.violations.push(format!("a stranger's data on {} was written over", order.device.display()));
            Ok(())
        }
        (_, _) => Err(changed("is not blank")),
    }
}

fn set(state: &mut State, device: &PathBuf, content: Content) {
    if let Some(disk) = state.disks.iter_mut().find(|d| d.device.path == *device) {
        disk.content = content;
    }
}

/// Server-side apply without force, for labels.
fn apply(state: &mut State, name: &str, labels: &BTreeMap<String, String>) -> Result<(), PortError> {
    const MANAGER: &str = "bowline";
    let Some(node) = state.node(name)?.and(state.node.as_mut()) else {
        return Err(PortError::new(ErrorKind::NotFound, format!("there is no Node {name}")));
    };
    for (key, value) in labels {
        let others = node.managers.get(key).into_iter().flatten().find(|m| *m != MANAGER);
        if let (Some(other), true) = (others, node.labels.get(key) != Some(value)) {
            return Err(PortError::new(ErrorKind::Invalid, format!("conflict: {key} is managed by {other}")));
        }
    }
    let owned = |managers: &BTreeMap<String, Vec<String>>, key: &String| {
        managers.get(key).is_some_and(|m| m.iter().any(|m| m == MANAGER))
    };
    for key in node.labels.keys().cloned().collect::<Vec<_>>() {
        if owned(&node.managers, &key) && !labels.contains_key(&key) {
            let managers = node.managers.entry(key.clone()).or_default();
            managers.retain(|m| m != MANAGER);
            if managers.is_empty() {
                node.labels.remove(&key);
                node.managers.remove(&key);
            }
        }
    }
    for (key, value) in labels {
        node.labels.insert(key.clone(), value.clone());
        if !owned(&node.managers, key) {
            node.managers.entry(key.clone()).or_default().push(MANAGER.into());
        }
    }
    Ok(())
}
