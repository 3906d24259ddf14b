//! The files of a job: its order, its progress, its result, and what it found out.

use super::super::files;
use bowline_ports::{ErrorKind, PortError, ProgressValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two writes of the progress.
const PACE: Duration = Duration::from_millis(250);

/// The directory of the jobs.
#[derive(Debug, Clone)]
pub(crate) struct JobFiles(PathBuf);

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// Well.
    Done,
    /// With this error.
    Failed(PortError),
}

impl Outcome {
    pub(crate) fn into_result(self) -> Result<(), PortError> {
        match self {
            Self::Done => Ok(()),
            Self::Failed(error) => Err(error),
        }
    }
}

impl JobFiles {
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Those of the job whose order is this file, and that job.
    pub(crate) fn of_order(path: &Path) -> Result<(Self, String), PortError> {
        let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".order.json"));
        match (path.parent(), name) {
            (Some(directory), Some(job)) => Ok((Self(directory.to_path_buf()), job.to_owned())),
            _ => Err(PortError::new(ErrorKind::Invalid, format!("{}: not an order file", path.display()))),
        }
    }

    fn path(&self, job: &str, kind: &str) -> PathBuf {
        self.0.join(format!("{}.{kind}.json", job.replace('/', "_")))
    }

    /// Puts a new order down; what an earlier one left is removed.
    pub(crate) fn begin<O: Serialize>(&self, job: &str, order: &O) -> Result<PathBuf, PortError> {
        let text = serde_json::to_vec_pretty(order)
            .map_err(|e| PortError::new(ErrorKind::Other, format!("the order of {job}: {e}")))?;
        for kind in ["result", "progress", "found"] {
            files::remove(&self.path(job, kind))?;
        }
        let path = self.path(job, "order");
        files::write(&path, &text, 0o600)?;
        Ok(path)
    }

    /// Takes an order back that could not be started.
    pub(crate) fn abandon(&self, job: &str) {
        // Left behind it would look like work that was cut off: not wrong, only less clear.
        let _ = files::remove(&self.path(job, "order"));
    }

    /// Nobody is to be told of a job any more that has ended.
    pub(crate) fn forget(&self, job: &str) -> Result<(), PortError> {
        ["order", "result", "progress", "found"].iter().try_for_each(|kind| files::remove(&self.path(job, kind)))
    }

    pub(crate) fn has_order(&self, job: &str) -> bool {
        self.path(job, "order").exists()
    }

    pub(crate) fn order<O: DeserializeOwned>(&self, job: &str) -> Result<Option<O>, PortError> {
        self.read(job, "order")
    }

    pub(crate) fn result(&self, job: &str) -> Result<Option<Outcome>, PortError> {
        self.read(job, "result")
    }

    /// What it found out; in force as soon as there is a result.
    pub(crate) fn found<T: DeserializeOwned>(&self, job: &str) -> Result<Option<T>, PortError> {
        self.read(job, "found")
    }

    /// Puts down what was found out, if that is anything.
    pub(crate) fn put_found<T: Serialize>(&self, job: &str, found: &T) -> Result<(), PortError> {
        let text = serde_json::to_vec(found)
            .map_err(|e| PortError::new(ErrorKind::Other, format!("what {job} found: {e}")))?;
        if text == b"null" { Ok(()) } else { files::write(&self.path(job, "found"), &text, 0o600) }
    }

    /// The progress, if there is one that can be read.
    pub(crate) fn progress(&self, job: &str) -> Option<ProgressValue> {
        self.read(job, "progress").ok().flatten()
    }

    fn read<T: DeserializeOwned>(&self, job: &str, kind: &str) -> Result<Option<T>, PortError> {
        let path = self.path(job, kind);
        let Some(file) = files::read(&path)? else { return Ok(None) };
        serde_json::from_slice(&file.content)
            .map(Some)
            .map_err(|e| PortError::new(ErrorKind::Invalid, format!("{}: {e}", path.display())))
    }

    /// Puts the result down.
    pub(crate) fn finish(&self, job: &str, outcome: &Result<(), PortError>) -> Result<(), PortError> {
        let outcome = match outcome {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(error.clone()),
        };
        let text = serde_json::to_vec_pretty(&outcome)
            .map_err(|e| PortError::new(ErrorKind::Other, format!("the result of {job}: {e}")))?;
        files::write(&self.path(job, "result"), &text, 0o600)
    }

    pub(crate) fn progress_writer(&self, job: &str) -> ProgressWriter {
        ProgressWriter { path: self.path(job, "progress"), last: Mutex::new(None) }
    }
}

/// Writes progress, at most four times a second unless the text changes.
#[derive(Debug)]
pub(crate) struct ProgressWriter {
    path: PathBuf,
    last: Mutex<Option<(Instant, String)>>,
}

impl ProgressWriter {
    pub(crate) fn set(&self, value: ProgressValue) {
        let Ok(mut last) = self.last.lock() else { return };
        if last.as_ref().is_some_and(|(at, text)| at.elapsed() < PACE && *text == value.text) {
            return;
        }
        // Progress that cannot be written is no reason to end the work. Not synced: it need not survive anything.
        let temporary = files::temporary(&self.path);
        let written = serde_json::to_vec(&value)
            .map_err(std::io::Error::other)
            .and_then(|text| fs::write(&temporary, text))
            .and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_ok() {
            *last = Some((Instant::now(), value.text));
        }
    }
}
