//! A Node that a command has told to take no pods: whoever ends the command before anything came of it finds the Node as it was.

use super::output;
use crate::paths;
use bowline_host::real::control::Lock;
use bowline_ports::{CORDONED, ErrorKind, Objects, PortError, Write, node_path};
use serde_json::{Value, json};
use std::path::Path;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// From an undoing to the look at whether it lasts, and from one look to the next: longer than a call is waited for.
const MOMENT: Duration = Duration::from_secs(1);
const LOOKS: u32 = 6;

/// The Node, for as long as its cordon is to go with the command.
#[derive(Default)]
pub(super) struct Cordon {
    node: Mutex<Option<Told>>,
    /// Whether what it is for is being put on record.
    recording: watch::Sender<bool>,
}

/// A Node that was told to take no pods.
struct Told {
    name: String,
    /// The API has answered: nothing is on its way any more.
    answered: bool,
}

impl Cordon {
    /// The right to move pods off this machine, given back when dropped: whoever ends one of two commands would let pods come that
    /// the other one has just moved away.
    ///
    /// # Errors
    /// Another command has it.
    pub(super) fn alone() -> Result<Lock, PortError> {
        Self::alone_by(Path::new(paths::DRAIN))
    }

    /// The same, by the lock at this path.
    ///
    /// # Errors
    /// Another command has it.
    pub(super) fn alone_by(path: &Path) -> Result<Lock, PortError> {
        Lock::take(path).map_err(|error| match error.kind {
            ErrorKind::Busy => PortError::new(
                ErrorKind::Busy,
                "another command is moving pods off this machine: nothing was changed",
            )
            .hint(
                "`pgrep -af 'bowline (leave|volumes)'` shows it, and Ctrl-C ends it; run this again once it has ended",
            ),
            _ => error,
        })
    }

    /// The Node is about to be told.
    pub(super) fn begins(&self, node: &str) {
        *self.node() = Some(Told { name: node.to_owned(), answered: false });
    }

    /// What came of it: without an answer it may still come.
    pub(super) fn answered(&self, told: &Result<(), PortError>) {
        let silent = |error: &PortError| matches!(error.kind, ErrorKind::Timeout | ErrorKind::Unreachable);
        if let Some(node) = self.node().as_mut() {
            node.answered = !told.as_ref().is_err_and(silent);
        }
    }

    /// It outlives the command, which says so.
    pub(super) fn stays(&self) {
        self.node().take();
    }

    /// Puts on record what it is for, with which it outlives the command. Who ends the command meanwhile does not end that.
    ///
    /// # Errors
    /// Those of `write`: it goes with the command, as before.
    pub(super) async fn put_on_record(
        &self,
        write: impl Future<Output = Result<(), PortError>>,
    ) -> Result<(), PortError> {
        let node = self.node().take();
        self.recording.send_replace(true);
        let done = write.await;
        if done.is_err() {
            *self.node() = node;
        }
        self.recording.send_replace(false);
        done
    }

    /// Lets the Node take pods again, and says whether it does.
    pub(super) async fn undo(&self, objects: &dyn Objects) {
        let told = self.node().take();
        let Some(Told { name: node, answered }) = told else { return };
        let path = node_path(&node);
        let patch = json!({ "metadata": { "annotations": { CORDONED: Value::Null } }, "spec": { "unschedulable": Value::Null } });
        let mut undone = objects.write(&path, Write::Merge(&patch)).await;
        // A cordon that was on its way may come after that, once.
        for _ in 0..if answered { 0 } else { LOOKS } {
            tokio::time::sleep(MOMENT).await;
            let Ok(Some(now)) = objects.get(&path).await else { break };
            if now["metadata"]["annotations"][CORDONED] == "true" {
                undone = objects.write(&path, Write::Merge(&patch)).await;
                break;
            }
        }
        output::complain(&match undone {
            Ok(()) => format!("{node} takes pods again"),
            Err(error) => {
                format!(
                    "{node} could not be told to take pods again ({}): `kubectl uncordon {node}` on a server does it",
                    error.message
                )
            }
        });
    }

    /// Carries out a command's work, unless it is told to end before; `told` says with which exit status. What is being put on record
    /// by then is waited for.
    ///
    /// # Errors
    /// Those of the work: what is not on record by then is undone.
    pub(super) async fn unless<T>(
        &self,
        told: impl Future<Output = T>,
        objects: &dyn Objects,
        work: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        // It stays until all is undone, and with it that no other command moves pods.
        let mut work = pin!(work);
        let (code, recorded) = tokio::select! {
            done = &mut work => {
                if done.is_err() {
                    self.undo(objects).await;
                }
                return done;
            }
            code = told => {
                // Half of it would be a Node that takes no pods, and nobody who knows why.
                let mut recording = self.recording.subscribe();
                tokio::select! {
                    biased;
                    _ = recording.wait_for(|recording| !recording) => (code, Ok(())),
                    done = &mut work => (code, done.map(drop)),
                }
            }
        };
        self.undo(objects).await;
        recorded.map(|()| code)
    }

    fn node(&self) -> MutexGuard<'_, Option<Told>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until somebody ends the command, by Ctrl-C, a terminal that is closed, or `kill`: the number of the signal. What the command
/// was started to ignore, as `nohup` does, does not end it.
pub(super) async fn told_to_end() -> u8 {
    let ignored = std::fs::read_to_string("/proc/self/status").map(|text| ignored(&text)).unwrap_or_default();
    let heard = |kind: SignalKind| async move {
        let number = kind.as_raw_value();
        match (ignored >> (number - 1) & 1 == 0).then(|| signal(kind)) {
            Some(Ok(mut signal)) => drop(signal.recv().await),
            Some(Err(_)) | None => std::future::pending().await,
        }
        u8::try_from(number).unwrap_or_default()
    };
    tokio::select! {
        number = heard(SignalKind::interrupt()) => number,
        number = heard(SignalKind::terminate()) => number,
        number = heard(SignalKind::hangup()) => number,
    }
}

/// The signals that a process ignores, a bit each, by its `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    #[tokio::test]
    async fn every_way_to_end_a_command_is_heard() {
        let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap());
        // The tests themselves may have been started to ignore some.
        for number in [2_u8, 15, 1].into_iter().filter(|number| ignored >> (number - 1) & 1 == 0) {
            let told = tokio::spawn(told_to_end());
            tokio::time::sleep(Duration::from_millis(50)).await;
            let kill = format!("kill -{number} {}", std::process::id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            assert_eq!(told.await.unwrap(), number);
        }
    }

    #[test]
    fn what_nohup_has_ignored_stays_ignored() {
        assert_eq!(ignored("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000004000\n"), 1);
        assert_eq!(ignored(""), 0);
    }
}
