//! cloud-init in a machine: waiting for its end, and how it went.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::machine::Machine;

/// How long a first boot may take: the package lock may be held for five minutes.
const LIMIT: Duration = Duration::from_secs(600);

/// What cloud-init says about its run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CloudInit {
    /// The data source that it used.
    pub datasource: Option<String>,
    /// What went wrong; empty where all went well.
    pub errors: Vec<String>,
}

#[derive(Deserialize)]
struct ResultFile {
    v1: CloudInit,
}

pub(crate) fn wait(machine: &Machine) -> Result<CloudInit> {
    const RESULT: &str = "/run/cloud-init/result.json";
    machine.wait_for("the end of cloud-init", LIMIT, || Ok(machine.run(&format!("test -s {RESULT}"))?.success()))?;
    let text = machine.read(RESULT)?;
    Ok(serde_json::from_str::<ResultFile>(&text).with_context(|| text)?.v1)
}
