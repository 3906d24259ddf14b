//! Making a filesystem: the last look before the only act that destroys.
//!
//! Everything is done on one open device, under the lock that udev and partitioning tools respect: who it is, who
//! uses it, and that it is blank is proven again, and `mkfs` gets that very device, not a name.

mod counted;

use super::super::{block, files, probe, tool::Tool};
use super::Report;
use super::device::{Device, lock};
use super::tend::shield;
use bowline_ports::{BlockDevice, ErrorKind, FormatOrder, PortError, ProgressValue, SignatureKind};
use probe::Evidence;
use std::fs::File;
use std::process::Output;
use std::time::Duration;

const AGAIN: Duration = Duration::from_millis(100);

/// Carries out the order, or refuses it (`Changed`) with what was found.
pub(crate) async fn format(order: &FormatOrder, report: Report<'_>) -> Result<(), PortError> {
    let say = |text: &str| report(ProgressValue { done: 0, total: 0, text: text.to_owned() });
    let shown = order.device.display().to_string();
    let open = Device::open(&order.device, true)?;
    let device = &open.file;

    say("waiting for the lock");
    lock(device, &order.device).await?;
    let found = identify(&open, &shown)?;
    // Partitioning tools and udev lock the whole disk.
    let disk = match &found.partition_of {
        Some(path) => {
            let disk = File::open(path).map_err(|e| PortError::io(format_args!("opening {}", path.display()), &e))?;
            lock(&disk, path).await?;
            Some(disk)
        }
        None => None,
    };
    let wrong = objections(order, &found);
    if !wrong.is_empty() {
        return Err(changed(&shown, &wrong.join(", ")));
    }

    let mark = order.mark();
    let begun = order.resume && files::read(&order.begun)?.is_some_and(|file| file.text() == mark);
    let proving = |done, total| report(ProgressValue { done, total, text: "proving it is blank".into() });
    proving(0, 0);
    let evidence = probe::of(device, &shown, probe::PROOF, &proving).await?;
    if let Some(error) = &evidence.probe.read_error {
        let text = format!("{shown} was not formatted: it cannot be read ({error})");
        return Err(PortError::new(ErrorKind::Invalid, text).hint(
            "nothing was written. Look at `dmesg`: the disk may be failing; read errors are no proof that it is blank",
        ));
    }
    match judge(order, begun, &evidence) {
        Judgement::Blank => {}
        Judgement::Made => {
            files::remove(&order.begun)?;
            return shield(&order.mount).await;
        }
        Judgement::Refused(reason) => return Err(holds(&shown, &reason)),
    }
    // The proof may have taken minutes, and not everybody asks for the lock.
    let wrong = objections(order, &identify(&open, &shown)?);
    if !wrong.is_empty() {
        return Err(changed(&shown, &wrong.join(", ")));
    }
    let last = probe::of(device, &shown, probe::ENDS, &|_, _| {}).await?;
    match judge(order, begun, &last) {
        Judgement::Blank => {}
        Judgement::Made => return Err(changed(&shown, "somebody else made a filesystem on it meanwhile")),
        Judgement::Refused(reason) => return Err(holds(&shown, &format!("since it was proven blank, {reason}"))),
    }

    // From here on, bytes without a signature are ours.
    files::write(&order.begun, mark.as_bytes(), 0o600)?;
    say(&format!("making {}", order.filesystem));
    let tool = Tool::Mkfs { filesystem: order.filesystem, label: &order.volume, uuid: &order.uuid };
    let output = make(&tool, device, report).await?;
    if !output.status.success() {
        return Err(tool.failed(&output));
    }

    say("writing it to the disk");
    device.sync_all().map_err(|e| PortError::io(format_args!("syncing {shown}"), &e))?;
    let made = probe::of(device, &shown, probe::GLANCE, &|_, _| {}).await?.probe;
    let good = made
        .filesystem()
        .is_some_and(|s| s.name == order.filesystem.name() && s.uuid.as_deref() == Some(order.uuid.as_str()));
    drop((open, disk));
    if good {
        // What is there now is known by its UUID.
        files::remove(&order.begun)?;
        return shield(&order.mount).await;
    }
    let found = made.signatures.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(PortError::new(
        ErrorKind::Other,
        format!("{} ended well, but {shown} does not hold what it should have made (found: {found})", tool.name()),
    ))
}

/// The device as the kernel shows it now.
fn identify(device: &Device, shown: &str) -> Result<BlockDevice, PortError> {
    // Here, outside the sandbox, swap must be visible: without it nothing is proven.
    let found = device.find(&block::proc_swaps()?)?;
    found.ok_or_else(|| changed(shown, "the kernel does not list it any more"))
}

/// Why this is not the device of the order, or must not be touched.
fn objections(order: &FormatOrder, found: &BlockDevice) -> Vec<String> {
    let mut wrong = Vec::new();
    let quoted = |serial: &Option<String>| serial.as_ref().map_or("none".to_owned(), |s| format!("\"{s}\""));
    if found.id.serial != order.id.serial {
        wrong.push(format!("its serial is {} instead of {}", quoted(&found.id.serial), quoted(&order.id.serial)));
    }
    if found.id.size != order.id.size {
        wrong.push(format!("its size is {} instead of {} bytes", found.id.size, order.id.size));
    }
    if found.root {
        wrong.push("it holds the running system".to_owned());
    }
    if found.read_only {
        wrong.push("it is read-only".to_owned());
    }
    if found.swap {
        wrong.push("it is in use as swap".to_owned());
    }
    let paths =
        |paths: &[std::path::PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" and ");
    if !found.partitions.is_empty() {
        wrong.push(format!("it has partitions ({})", paths(&found.partitions)));
    }
    if !found.mounted_at.is_empty() {
        wrong.push(format!("it is mounted at {}", paths(&found.mounted_at)));
    }
    if !found.holders.is_empty() {
        wrong.push(format!("it is part of {}", found.holders.join(" and ")));
    }
    wrong
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// Nothing on it is anybody else's.
    Blank,
    /// Our own earlier attempt had come to its end.
    Made,
    Refused(String),
}

/// `begun`: it has been written to, for this very order.
fn judge(order: &FormatOrder, begun: bool, evidence: &Evidence) -> Judgement {
    let probe = &evidence.probe;
    if let Some(error) = &probe.read_error {
        return Judgement::Refused(format!("it cannot be read ({error})"));
    }
    if probe.ambivalent {
        return Judgement::Refused("it holds signatures that contradict each other".to_owned());
    }
    let ours = |uuid: Option<&str>| order.resume && uuid == Some(order.uuid.as_str());
    if let Some(one) = probe.filesystem()
        && ours(one.uuid.as_deref())
        && one.name == order.filesystem.name()
    {
        return Judgement::Made;
    }
    if let Some(foreign) = probe.signatures.iter().find(|s| !ours(s.uuid.as_deref())) {
        let label = foreign.label.as_ref().map(|l| format!(", label \"{l}\"")).unwrap_or_default();
        let uuid = foreign.uuid.as_ref().map(|u| format!(", UUID {u}")).unwrap_or_default();
        let kind = match foreign.kind {
            SignatureKind::Filesystem => "a filesystem",
            SignatureKind::PartitionTable => "a partition table",
            SignatureKind::Member => "a member of something larger",
        };
        return Judgement::Refused(format!("it holds {kind} ({}{label}{uuid})", foreign.name));
    }
    if let Some(foreign) = evidence.remains.iter().find(|r| !ours(Some(&r.uuid))) {
        return Judgement::Refused(format!(
            "it holds what is left of another filesystem ({}, UUID {}, superblock copy at byte {})",
            foreign.name, foreign.uuid, foreign.offset
        ));
    }
    match probe.data_at {
        Some(at) if !begun => Judgement::Refused(format!("it is not blank: there is data at byte {at}")),
        _ if probe.zeros == 0 && !begun => Judgement::Refused("nothing on it was read as zero".to_owned()),
        _ => Judgement::Blank,
    }
}

fn changed(shown: &str, reason: &str) -> PortError {
    PortError::new(ErrorKind::Changed, format!("{shown} was not formatted: {reason}"))
        .hint("nothing was written; Bowline looks at the disk again, and says what is to be done")
}

/// What it holds is in the way. Only here is it said how that is erased: where it may be another disk, the command would be for that.
fn holds(shown: &str, reason: &str) -> PortError {
    changed(shown, reason).hint(format!(
        "nothing was written; if all on {shown} may really be erased, empty it yourself (`wipefs -a {shown}`, then \
         `blkdiscard -z {shown}`)"
    ))
}

/// Runs `mkfs`, and reports how far it is. Newer ones take the lock themselves: it is handed over to one that waits for it.
async fn make(tool: &Tool<'_>, device: &File, report: Report<'_>) -> Result<Output, PortError> {
    let handle = device.try_clone().map_err(|e| PortError::io(format_args!("starting {}", tool.name()), &e))?;
    let mut child = tool.command(Some(handle)).spawn().map_err(|e| tool.not_started(&e))?;
    let pid = child.id();
    let words = child.stdout.take();
    let said = async {
        match words {
            Some(words) => counted::follow(words, report).await,
            None => Ok(Vec::new()),
        }
    };
    let end = async {
        let (said, output) = futures::future::join(said, child.wait_with_output()).await;
        Ok::<_, std::io::Error>(Output { stdout: said?, ..output? })
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            output = &mut end => {
                return output.map_err(|e| PortError::io(format_args!("waiting for {}", tool.name()), &e));
            }
            () = tokio::time::sleep(AGAIN) => {}
        }
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        if pid.is_some_and(|pid| waits(&locks, pid)) {
            device.unlock().map_err(|e| PortError::io(format_args!("handing the lock to {}", tool.name()), &e))?;
        }
    }
}

/// Whether a process waits for a lock, in `/proc/locks`.
fn waits(locks: &str, pid: u32) -> bool {
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [_, "->", "FLOCK", _, _, waiter, ..] if *waiter == pid.to_string())
    })
}

#[cfg(test)]
mod tests;
