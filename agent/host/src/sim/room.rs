//! Room that is freed, and room that is kept.

use super::state::State;
use bowline_ports::{PortError, RESERVE_BEGUN, ReclaimOrder, ReclaimRecord, Reclaiming, Reclaims, json};
use std::path::Path;

impl State {
    /// Frees what there is of it, and counts it.
    pub(super) fn reclaim(&mut self, order: &ReclaimOrder) -> Result<(), PortError> {
        let name = order.name.as_str();
        let there = self.space.garbage.get(name).copied().unwrap_or(0);
        let freed = match &order.what {
            Reclaiming::Journal { keep } => there.saturating_sub(*keep),
            Reclaiming::RotatedLogs { at_most, .. }
            | Reclaiming::PodLogs { at_most, .. }
            | Reclaiming::Images { at_most, .. } => there.min(*at_most),
        };
        if let Some(left) = self.space.garbage.get_mut(name) {
            *left -= freed;
        }
        self.space.free += freed;
        let text = self.files.get(&order.record).map(|file| file.content.clone()).unwrap_or_default();
        let mut record: Reclaims = serde_json::from_slice(&text).unwrap_or_default();
        let one = record.entry(name.to_owned()).or_default();
        *one = ReclaimRecord { at: self.unix(), freed, total: one.total + freed, trouble: String::new() };
        let text = json(&order.record, &record)?;
        self.put(&order.record, text, 0o600);
        Ok(())
    }

    /// Whether the disk takes a file.
    pub(super) fn has_room(&self, path: &Path) -> Result<(), PortError> {
        match self.full && !path.starts_with("/run") {
            true => Err(full(format_args!("writing {}", path.display()))),
            false => Ok(()),
        }
    }

    /// What a power cut leaves of one: the earlier one is gone, and the new one has not its name yet.
    pub(super) fn begin_reserve(&mut self, path: &Path, bytes: u64) {
        self.files.remove(path);
        self.give_up(path);
        // Without room nothing was begun.
        let _ = self.reserve(Path::new(RESERVE_BEGUN), bytes);
    }

    /// Makes a file that takes room.
    pub(super) fn reserve(&mut self, path: &Path, bytes: u64) -> Result<(), PortError> {
        self.files.remove(Path::new(RESERVE_BEGUN));
        self.give_up(Path::new(RESERVE_BEGUN));
        self.give_up(path);
        if self.space.free < bytes {
            return Err(full(format_args!("keeping room with {}", path.display())));
        }
        self.space.free -= bytes;
        self.put(path, Vec::new(), 0o600);
        self.reserve = Some((path.to_path_buf(), bytes));
        Ok(())
    }

    /// The room of a file that is gone is free.
    pub(super) fn give_up(&mut self, path: &Path) {
        if let Some((_, bytes)) = self.reserve.take_if(|(at, _)| at == path) {
            self.space.free += bytes;
        }
    }
}

fn full(what: std::fmt::Arguments<'_>) -> PortError {
    PortError::io(what, &std::io::Error::from_raw_os_error(nix::libc::ENOSPC))
}
