//! What the cases ask of a report: how one volume stands, and what is said about it.

use crate::{VOLUME, configure, deb, report};
use anyhow::{Result, bail};
use bowline_testbed::{Disk, Machine, System, wait_some};
use serde_json::Value;
use std::time::Duration;

/// How long one answer may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(40);

/// One `[[volume]]`, found by the link of its disk.
pub fn volume_on(disk: &Disk, name: &str, more: &str) -> String {
    format!("[[volume]]\nname = \"{name}\"\ndevice = \"{}\"\nmount = \"/mnt/{name}\"\n{more}\n", disk.link())
}

/// The data volume's disk by its number, and blank disks are formatted.
pub const BLANK_ONLY: &str = "format = \"blank-only\"";

/// Settings and package, without a wait.
pub fn install(machine: &Machine, settings: &str) -> Result<()> {
    configure(machine, settings)?;
    machine.install(&deb()?)?;
    Ok(())
}

/// The node that a disk has in the machine now.
pub fn node_of(machine: &dyn System, disk: &Disk) -> Result<String> {
    Ok(machine.ok(&format!("readlink -f {}", disk.link()))?.trim().to_string())
}

/// How one item of the report stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// Nothing is left to do.
    Ready,
    /// Why not, and what to do.
    Refused(String, String),
    /// For what, and why.
    Waiting(String, String),
    /// With what error, and what to do.
    Failing(String, String),
    /// Steps are left.
    Working(String),
    /// The machine could not be looked at.
    Unknown(String),
}

/// How `volume/NAME` stands in a report.
pub fn stand(report: &Value, name: &str) -> Stand {
    let item = format!("volume/{name}");
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_string();
    let Some(volumes) = report["capabilities"].as_array().into_iter().flatten().find(|c| c["name"] == "volumes") else {
        return Stand::Unknown(format!("no volumes in {report}"));
    };
    let first = |kind: &str| volumes[kind].as_array().and_then(|all| all.iter().find(|r| r["item"] == item.as_str()));
    if let Some(error) = volumes["error"].as_str() {
        return Stand::Unknown(error.to_string());
    }
    if let Some(refusal) = first("refusals") {
        return Stand::Refused(text(refusal, "why"), text(refusal, "hint"));
    }
    if let Some(step) = first("steps") {
        let failing = &step["failing"];
        return match failing.is_null() {
            true => Stand::Working(text(step, "what")),
            false => Stand::Failing(text(failing, "error"), text(failing, "hint")),
        };
    }
    if let Some(wait) = first("waits") {
        return Stand::Waiting(text(wait, "what"), text(wait, "why"));
    }
    match report["conditions"][&item] == "ready" {
        true => Stand::Ready,
        false => Stand::Unknown(format!("nothing is said of {item}")),
    }
}

/// Waits until `volume/NAME` stands so that `fits` says yes, and returns how.
pub fn until(machine: &dyn System, name: &str, what: &str, fits: impl Fn(&Stand) -> bool) -> Result<Stand> {
    let mut last = String::new();
    let found = wait_some(&format!("volume {name}: {what}"), SOON, || {
        let stand = stand(&report(machine)?, name);
        last = format!("{stand:?}");
        Ok(fits(&stand).then_some(stand))
    });
    match found {
        Ok(stand) => Ok(stand),
        Err(error) => bail!("{error:#}; it stands {last}"),
    }
}

/// Waits until a volume is mounted and nothing is left to do for it.
pub fn until_ready(machine: &dyn System, name: &str) -> Result<()> {
    until(machine, name, "to be ready", |s| *s == Stand::Ready).map(drop)
}

/// Waits until a volume is refused for exactly this reason, and returns what is advised.
pub fn until_refused(machine: &dyn System, name: &str, why: &str) -> Result<String> {
    let fits = |s: &Stand| matches!(s, Stand::Refused(reason, _) if reason == why);
    match until(machine, name, &format!("refused: {why}"), fits)? {
        Stand::Refused(_, hint) => Ok(hint),
        other => bail!("{other:?}"),
    }
}

/// Has the daemon look again at once, as a person does after mending something.
pub fn look_again(machine: &dyn System) -> Result<String> {
    look_again_within(machine, SOON)
}

/// The same where the steps under way, with which it ends, are many.
pub fn look_again_within(machine: &dyn System, patience: Duration) -> Result<String> {
    Ok(machine.run_with("bowline apply --wait 1s", b"", patience)?.stdout)
}

/// The link of the data volume.
pub fn data_link() -> String {
    format!("/dev/disk/by-id/scsi-0HC_Volume_{VOLUME}")
}
