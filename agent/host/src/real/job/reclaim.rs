//! Freeing room: the journal by `journalctl`, images by the container runtime, and logs by removing files.
//!
//! - `logs`: files beneath `/var/log`; `images`: what no container uses.

mod images;
mod logs;

use super::super::files;
use super::super::tool::Tool;
use super::super::unix_now;
use super::{Order, Report, Verb};
use bowline_ports::{PortError, ProgressValue, ReclaimOrder, ReclaimRecord, Reclaiming, Reclaims, json, latest};
use bowline_usage::{Control, Request, Threads, scan};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use zbus::wire::Variant;

/// `DAC_OVERRIDE`, `DAC_READ_SEARCH` and `FOWNER`: to remove files in directories of others.
const FILES: u64 = 1 << 1 | 1 << 2 | 1 << 3;
/// `SYS_PTRACE`: to see which of them somebody has open.
const OPEN: u64 = 1 << 19;
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
const CUT_OFF: &str = "it was cut off before its end";
const VACUUM: Duration = Duration::from_secs(300);
/// Bytes, with those of the programs that it starts: others decide how many files there are, and how many are open.
const MEMORY: u64 = 512 << 20;
/// Between two looks at what `journalctl` has freed by now.
const PACE: Duration = Duration::from_secs(1);

/// What came of it: bytes that are free now, and what is to be said of the rest, or what went wrong after that.
type Freed = (u64, Result<String, PortError>);

/// Is told the bytes that are free by now, again and again while it goes on.
type Meanwhile<'a> = &'a mut (dyn FnMut(u64) + Send);

impl Order for ReclaimOrder {
    const VERB: Verb = Verb::Reclaim;
    const REPLACED: bool = false;
    type Found = ();

    fn job(&self) -> String {
        ReclaimOrder::job(self)
    }

    fn description(&self) -> String {
        format!("Bowline: frees room ({})", self.name)
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn capabilities(&self) -> Option<u64> {
        Some(match &self.what {
            Reclaiming::RotatedLogs { .. } | Reclaiming::PodLogs { .. } => FILES | OPEN,
            Reclaiming::Journal { .. } | Reclaiming::Images { .. } => FILES,
        })
    }

    fn properties(&self) -> Vec<(&'static str, Variant<'static>)> {
        let mut writes = vec!["/run/bowline", "/var/lib/bowline"];
        match &self.what {
            // Either may be missing.
            Reclaiming::Journal { .. } => writes.extend(["-/var/log/journal", "-/run/log/journal"]),
            Reclaiming::RotatedLogs { .. } | Reclaiming::PodLogs { .. } => writes.push("/var/log"),
            // The runtime removes them, by its socket.
            Reclaiming::Images { .. } => {}
        }
        vec![
            ("ProtectSystem", Variant::from("strict")),
            ("ReadWritePaths", Variant::from(writes)),
            ("PrivateNetwork", Variant::from(true)),
            ("RuntimeMaxUSec", Variant::from(900_000_000_u64)),
            ("MemoryMax", Variant::from(MEMORY)),
        ]
    }

    async fn carry_out(&self, report: Report<'_>) -> Result<(), PortError> {
        // Also when the power is cut, or the unit stopped, it is not tried again at once, and what is free by then is counted.
        let mut tally = Tally::begin(self)?;
        let mut meanwhile = |freed| tally.reach(freed);
        report(ProgressValue { done: 0, total: 0, text: format!("freeing {}", self.name) });
        let (freed, result) = match &self.what {
            Reclaiming::Journal { keep } => measured(vacuum(*keep), journals, &mut meanwhile).await,
            Reclaiming::RotatedLogs { patterns, older_than, at_most } => {
                logs::rotated(Path::new("/var/log"), patterns, *older_than, *at_most, &mut meanwhile)
            }
            Reclaiming::PodLogs { ended, older_than, at_most } => {
                logs::of_pods(Path::new("/var/log/pods"), ended, *older_than, *at_most, &mut meanwhile)
            }
            Reclaiming::Images { k3s, place, at_most } => {
                images::unused(k3s.as_deref(), || images::room(place), *at_most, &mut meanwhile).await
            }
        };
        let trouble = result.as_ref().map_or_else(ToString::to_string, Clone::clone);
        let counted = tally.end(freed, trouble);
        result.and(counted)
    }
}

async fn vacuum(keep: u64) -> Result<String, PortError> {
    let vacuum = Tool::Vacuum { bytes: keep };
    match vacuum.run(None, VACUUM).await? {
        output if output.status.success() => Ok(String::new()),
        output => Err(vacuum.failed(&output)),
    }
}

/// Measures what another program frees, while it is at work too: nobody else could tell once this one is cut off.
async fn measured(
    work: impl Future<Output = Result<String, PortError>>,
    size: impl Fn() -> u64,
    meanwhile: Meanwhile<'_>,
) -> Freed {
    let before = size();
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(PACE, &mut work).await {
            Ok(result) => return (before.saturating_sub(size()), result),
            Err(_) => meanwhile(before.saturating_sub(size())),
        }
    }
}

/// Bytes that the journal takes.
fn journals() -> u64 {
    let one = |path: &str| {
        let request = Request { threads: Threads::One, ..Request::of(Path::new(path)) };
        scan(&request, &Control::new()).map_or(0, |tree| tree.size().allocated)
    };
    JOURNALS.into_iter().map(one).sum()
}

/// What one go has freed, on record from its beginning on: until its end as one that was cut off.
struct Tally<'a> {
    order: &'a ReclaimOrder,
    /// Bytes that are in the total.
    counted: u64,
}

impl<'a> Tally<'a> {
    fn begin(order: &'a ReclaimOrder) -> Result<Self, PortError> {
        let mut tally = Self { order, counted: 0 };
        tally.count(0, CUT_OFF.into())?;
        Ok(tally)
    }

    /// So much is free by now. What cannot be written down is so with the next, or at the end.
    fn reach(&mut self, freed: u64) {
        let _ = self.count(freed, CUT_OFF.into());
    }

    fn end(mut self, freed: u64, trouble: String) -> Result<(), PortError> {
        self.count(freed, trouble)
    }

    fn count(&mut self, freed: u64, trouble: String) -> Result<(), PortError> {
        count(self.order, freed, freed.saturating_sub(self.counted), trouble)?;
        self.counted = freed;
        Ok(())
    }
}

/// Writes to the record what this go has freed, and adds what is new of it to the total. A record that cannot be read begins
/// anew. On a disk that is so full that it cannot be written, or read-only, it goes to the other place.
fn count(order: &ReclaimOrder, freed: u64, new: u64, trouble: String) -> Result<(), PortError> {
    let read = |path: &Path| -> Result<Reclaims, PortError> {
        let text = files::read(path)?.map(|file| file.content).unwrap_or_default();
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    };
    let mut all = latest(read(&order.record).unwrap_or_default(), read(&order.spare)?);
    let one = all.entry(order.name.clone()).or_default();
    *one = ReclaimRecord { at: unix_now(), freed, total: one.total.saturating_add(new), trouble };
    let text = json(&order.record, &all)?;
    files::write(&order.record, &text, 0o600).or_else(|_| files::write(&order.spare, &text, 0o600))
}

#[cfg(test)]
mod tests;
