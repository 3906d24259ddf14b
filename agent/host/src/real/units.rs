//! Units of systemd: looking at them, starting them, and waiting for what comes of it.

use super::bus::{self, Bus, CALL, limited};
use super::tool::{Tool, parse};
use bowline_ports::text::shell;
use bowline_ports::{ActiveState, DEPENDENCY, ErrorKind, PortError, Unit};
use futures::StreamExt;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use zbus::wire::{ObjectPath, OwnedObjectPath, OwnedVariant};

const START: Duration = Duration::from_secs(100);
const RELOAD: Duration = Duration::from_secs(60);
const JOURNAL: Duration = Duration::from_secs(5);
const SYSTEMD: &str = "org.freedesktop.systemd1";

/// Single properties: all of a service's would make systemd read its cgroup's accounting.
const SERVICE: &[&str] = &["Result", "NRestarts", "ExecMainStatus", "ExecMainStartTimestamp"];
/// Of one that is up: it was started, and how its last run ended is past.
const SERVICE_UP: &[&str] = &["NRestarts"];

type Properties = HashMap<String, OwnedVariant>;

/// A unit as systemd knows it.
pub(crate) async fn unit(bus: &Bus, name: &str) -> Result<Unit, PortError> {
    let what = format!("reading {name}");
    // Who asks for an object of systemd's has the unit loaded: one question instead of two, for each of many volumes.
    let path = ObjectPath::try_from(object_path(name))
        .map_err(|e| PortError::new(ErrorKind::Invalid, format!("{what}: {e}")))?;
    let common = match bus.unit(&what, &path).await {
        Ok(common) => common,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Unit::not_found()),
        Err(error) => return Err(error),
    };
    let says = |key: &str, value: &str| common.get(key).is_some_and(|v| <&str>::try_from(v).ok() == Some(value));
    let up = says("ActiveState", "active");
    // There is nothing to ask of what was never there.
    let nothing = says("LoadState", "not-found") && says("ActiveState", "inactive");
    let kind = name.rsplit_once('.').map(|(_, suffix)| suffix).filter(|_| !nothing);
    let (interface, wanted): (_, &[&str]) = match kind {
        Some("service") => ("org.freedesktop.systemd1.Service", if up { SERVICE_UP } else { SERVICE }),
        Some("mount") if !up => ("org.freedesktop.systemd1.Mount", &["Result"]),
        _ => ("", &[]),
    };
    let mut special = Properties::new();
    for property in wanted {
        let value = bus.property(&what, SYSTEMD, &path, interface, property).await?;
        special.insert((*property).to_owned(), value);
    }
    let mut unit = from_properties(&common, &special);
    unit.started |= up && kind == Some("service");
    // What has been enabled since systemd read the unit is told by the links only, and no reason to read all anew.
    if unit.file_state == "disabled" {
        let manager = bus.manager().await?;
        unit.file_state = limited(&what, CALL, manager.get_unit_file_state(name)).await.unwrap_or(unit.file_state);
    }
    Ok(unit)
}

/// The object of a unit: letters and digits stay, others become `_` and two hex digits.
pub(super) fn object_path(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

fn from_properties(common: &Properties, special: &Properties) -> Unit {
    let text = |from: &Properties, key: &str| {
        from.get(key).and_then(|v| <&str>::try_from(v).ok()).map(str::to_owned).unwrap_or_default()
    };
    // From systemd 254 on a restart that a dependency made fail leaves the unit so: nothing goes on, and a start is taken.
    let cut_off = text(common, "SubState") == "auto-restart-queued" && !is_queued(common);
    let active = match text(common, "ActiveState").as_str() {
        _ if cut_off => ActiveState::Failed,
        "active" => ActiveState::Active,
        "reloading" | "refreshing" => ActiveState::Reloading,
        "activating" => ActiveState::Activating,
        "deactivating" | "maintenance" => ActiveState::Deactivating,
        // A start that systemd has not got to yet: the unit is on its way.
        _ if is_queued(common) => ActiveState::Activating,
        "failed" => ActiveState::Failed,
        _ => ActiveState::Inactive,
    };
    let mut result = if cut_off { DEPENDENCY.into() } else { text(special, "Result") };
    if result.is_empty() {
        result = if active == ActiveState::Failed { "failed".into() } else { "success".into() };
    }
    // A start that an assertion or a condition prevented leaves the unit as it was, failed or not; one that was let up says so of its
    // own. A command of `ExecCondition` that says no counts as such a condition, too, and has a result of its own.
    let prevented = |result: &str, at: &str| {
        common.get(at).and_then(|v| u64::try_from(v).ok()).is_some_and(|t| t > 0)
            && common.get(result).and_then(|v| bool::try_from(v).ok()) == Some(false)
    };
    if active.is_down() && prevented("AssertResult", "AssertTimestamp") {
        result = "assert".into();
    } else if active == ActiveState::Inactive
        && result == "success"
        && prevented("ConditionResult", "ConditionTimestamp")
    {
        result = "condition".into();
    }
    let time = |key: &str| common.get(key).and_then(|v| u64::try_from(v).ok()).unwrap_or_default();
    let drop_ins = common
        .get("DropInPaths")
        .and_then(|v| v.try_clone().ok())
        .and_then(|v| Vec::<String>::try_from(v).ok())
        .unwrap_or_default();
    Unit {
        load: text(common, "LoadState"),
        active,
        sub: text(common, "SubState"),
        result,
        file_state: text(common, "UnitFileState"),
        fragment: Some(text(common, "FragmentPath")).filter(|p| !p.is_empty()).map(PathBuf::from),
        drop_ins: drop_ins.into_iter().map(PathBuf::from).collect(),
        restarts: special.get("NRestarts").and_then(|v| u32::try_from(v).ok()).unwrap_or_default(),
        started: special.get("ExecMainStartTimestamp").and_then(|v| u64::try_from(v).ok()).is_some_and(|t| t > 0),
        began: time("InactiveExitTimestampMonotonic"),
        left: time("ActiveExitTimestampMonotonic"),
        ended: time("InactiveEnterTimestampMonotonic"),
        exit_status: special.get("ExecMainStatus").and_then(|v| i32::try_from(v).ok()).unwrap_or_default(),
        needs_reload: common.get("NeedDaemonReload").and_then(|v| bool::try_from(v).ok()).unwrap_or_default(),
    }
}

/// Whether a job of the unit waits or runs: what is down has jobs only to come up.
fn is_queued(common: &Properties) -> bool {
    let job = common.get("Job").and_then(|job| job.try_clone().ok());
    job.and_then(|job| <(u32, OwnedObjectPath)>::try_from(job).ok()).is_some_and(|(id, _)| id != 0)
}

/// Starts a unit and waits until its job has ended.
pub(crate) async fn start(bus: &Bus, name: &str) -> Result<(), PortError> {
    up(bus, name, false).await
}

/// Restarts a unit, or starts one that is down, and waits until its job has ended.
pub(crate) async fn restart(bus: &Bus, name: &str) -> Result<(), PortError> {
    up(bus, name, true).await
}

async fn up(bus: &Bus, name: &str, anew: bool) -> Result<(), PortError> {
    let what = format!("{} {name}", if anew { "restarting" } else { "starting" });
    let manager = bus.manager().await?;
    bus::subscribe(&what, &manager).await?;
    let mut ended = limited(&what, CALL, manager.receive_job_removed_with_args(&[(2, name)])).await?;
    let job = match anew {
        true => limited(&what, CALL, manager.restart_unit(name, "replace")).await?,
        false => limited(&what, CALL, manager.start_unit(name, "replace")).await?,
    };
    let waited = tokio::time::timeout(START, async {
        while let Some(signal) = ended.next().await {
            if let Ok(args) = signal.args()
                && args.job == *job
            {
                return Some(args.result.to_string());
            }
        }
        None
    })
    .await;
    let result = match waited {
        Ok(Some(result)) => result,
        Ok(None) => {
            return Err(PortError::new(
                ErrorKind::Unreachable,
                format!("{what}: the system bus (D-Bus) went away meanwhile"),
            ));
        }
        Err(_) => {
            return Err(PortError::new(
                ErrorKind::Timeout,
                format!("{what}: not done after {} s; systemd goes on with it", START.as_secs()),
            )
            .hint("look with: systemctl list-jobs"));
        }
    };
    let unit = unit(bus, name).await?;
    if result == "done" && !came_to_nothing(name, &unit) {
        return Ok(());
    }
    let last = last_said(name, unit.result == "exit-code").await;
    Err(start_failed(name, &result, &unit, &last))
}

/// What a unit said last. Where a program of its own has failed it mostly said why, and on a busy machine journald takes that up later
/// than systemd tells of the failure.
async fn last_said(name: &str, says_why: bool) -> Vec<String> {
    const LATER: [Duration; 4] =
        [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(600)];
    for pause in LATER.iter().take(if says_why { LATER.len() } else { 1 }) {
        tokio::time::sleep(*pause).await;
        let last = journal_tail(name, 5).await.unwrap_or_default();
        if !last.is_empty() {
            return last;
        }
    }
    Vec::new()
}

/// A mount that is not up, or a unit that failed: the job of a `oneshot` ends well with the unit inactive.
fn came_to_nothing(name: &str, unit: &Unit) -> bool {
    match unit.active {
        ActiveState::Failed => true,
        ActiveState::Inactive | ActiveState::Deactivating => name.ends_with(".mount") || unit.result != "success",
        ActiveState::Active | ActiveState::Reloading | ActiveState::Activating => false,
    }
}

fn start_failed(name: &str, result: &str, unit: &Unit, last: &[String]) -> PortError {
    let cause = match (result, unit.result.as_str()) {
        ("done", other) => format!("it is {} ({other})", unit.sub),
        ("dependency", _) => "something that it needs did not start".to_owned(),
        ("timeout", _) => "systemd gave up waiting (timeout)".to_owned(),
        ("canceled", _) => "its start was canceled by another job".to_owned(),
        ("assert", _) | (_, "assert") => "an assertion in its unit file does not hold".to_owned(),
        ("skipped" | "failed", "success") => format!("systemd says {result}"),
        (job, other) => format!("systemd says {job} ({other})"),
    };
    let words = if last.is_empty() { String::new() } else { format!(": {}", last.join("; ")) };
    let kind = match result {
        "timeout" => ErrorKind::Timeout,
        "canceled" => ErrorKind::Busy,
        _ => ErrorKind::Other,
    };
    let others = if result == "dependency" { "; journalctl -b -u 'bowline-check-*'" } else { "" };
    let quoted = shell(name);
    PortError::new(kind, format!("{name} did not start: {cause}{words}"))
        .hint(format!("look with: systemctl status {quoted}; journalctl -u {quoted}{others}"))
}

/// Queues a start.
pub(crate) async fn start_no_block(bus: &Bus, name: &str) -> Result<(), PortError> {
    let manager = bus.manager().await?;
    limited(&format!("starting {name}"), CALL, manager.start_unit(name, "replace")).await.map(drop)
}

/// Queues a restart.
pub(crate) async fn restart_no_block(bus: &Bus, name: &str) -> Result<(), PortError> {
    let manager = bus.manager().await?;
    limited(&format!("restarting {name}"), CALL, manager.restart_unit(name, "replace")).await.map(drop)
}

/// Queues a stop.
pub(crate) async fn stop_no_block(bus: &Bus, name: &str) -> Result<(), PortError> {
    let manager = bus.manager().await?;
    limited(&format!("stopping {name}"), CALL, manager.stop_unit(name, "replace")).await.map(drop)
}

/// Has systemd read its unit files again.
pub(crate) async fn reload(bus: &Bus) -> Result<(), PortError> {
    let manager = bus.manager().await?;
    limited("reloading systemd's unit files", RELOAD, manager.reload()).await
}

/// Whether systemd has read this unit from a file. To read all files again takes it a tenth of a second and more, during which it
/// does nothing else; a unit that it has not found it looks for again by itself when it is asked for it and its folders have
/// changed (since systemd 246).
pub(crate) async fn has_read(bus: &Bus, name: &str) -> Result<bool, PortError> {
    let what = format!("asking whether systemd has read {name}");
    let manager = bus.manager().await?;
    let path = match limited(&what, CALL, manager.get_unit(name)).await {
        Ok(path) => path,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let load = bus.property(&what, SYSTEMD, &path, "org.freedesktop.systemd1.Unit", "LoadState").await?;
    Ok(<&str>::try_from(&load).is_ok_and(|load| load != "not-found"))
}

/// Enables a unit. For a service systemd reads its files again: what nothing wants is forgotten as soon as it is down,
/// and with it that somebody stopped it. For a mount the next boot does, which saves a quarter of a second in the first.
pub(crate) async fn enable(bus: &Bus, name: &str) -> Result<(), PortError> {
    let what = format!("enabling {name}");
    let manager = bus.manager().await?;
    let (installable, changes) = limited(&what, CALL, manager.enable_unit_files(&[name], false, false)).await?;
    if !installable {
        return Err(PortError::new(ErrorKind::Invalid, format!("{what}: its unit file has no [Install] section")));
    }
    if changes.is_empty() || name.ends_with(".mount") {
        return Ok(());
    }
    limited(&what, RELOAD, manager.reload()).await
}

/// The devices of active swap units: `/proc/swaps` is out of sight in the sandbox.
pub(crate) async fn swaps(bus: &Bus) -> Result<Vec<PathBuf>, PortError> {
    let what = "asking systemd for swap devices";
    let manager = bus.manager().await?;
    let units = limited(what, CALL, manager.list_units_by_patterns(&["active"], &["*.swap"])).await?;
    let mut devices = Vec::new();
    for unit in units {
        let value = bus.property(what, SYSTEMD, &unit.6, "org.freedesktop.systemd1.Swap", "What").await?;
        devices.extend(<&str>::try_from(&value).ok().map(PathBuf::from));
    }
    Ok(devices)
}

/// Whether systemd's time service sees the kernel's clock synchronised, by whatever program.
pub(crate) async fn clock_synchronised(bus: &Bus) -> Result<bool, PortError> {
    let path = ObjectPath::from_static_str("/org/freedesktop/timedate1")
        .map_err(|e| PortError::new(ErrorKind::Other, format!("asking for the clock: {e}")))?;
    let service = "org.freedesktop.timedate1";
    let value = bus.property("asking whether the clock is synchronised", service, &path, service, "NTPSynchronized");
    Ok(bool::try_from(&value.await?).unwrap_or(false))
}

/// What a unit wrote last.
pub(crate) async fn journal_tail(unit: &str, lines: usize) -> Result<Vec<String>, PortError> {
    let tool = Tool::Journal { unit, lines };
    let output = tool.run(None, JOURNAL).await?;
    if !output.status.success() {
        return Err(tool.failed(&output));
    }
    Ok(parse::journal(&String::from_utf8_lossy(&output.stdout)))
}

#[cfg(test)]
mod tests;
